"""Crops of whole-slide images: one read at the level that suits, then resampled to the pixel's fraction."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError, UsageError

from .slide_faults import describe_head, find_fault
from .slide_openslide import OpenslideReader
from .slide_reader import Reader, UnreadableError
from .slide_resample import Filter, resample
from .slide_tiffslide import TiffslideReader

__all__ = ["Filter", "Fit", "Slide", "open_slide", "pixel_size"]

Fit = Literal["stretch", "pad"]
"""What becomes of a box that is not square: stretched, or centred between white borders."""

INSTALL = "pip install openslide-python openslide-bin"
"""What makes nearly all formats readable."""


class Slide:
    """An open slide; a context manager. For one thread: open it again in another.

    Attributes:
        path: the file.
        size: width and height of level 0 in pixels.
        downsamples: of each level, as the library reports them, ascending; that of level 0 is 1.0.
        backend: the library that reads it, ``openslide`` or ``tiffslide``, with its version.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        """Take over an open reader; :func:`open_slide` makes one."""
        self.path = path
        self.size = reader.dimensions[0]
        self.downsamples = reader.downsamples
        self.backend = reader.name
        self._reader: Reader | None = reader
        self._dimensions = np.array(reader.dimensions, dtype=np.float64)
        # An axis each: the reported downsample is the mean of both. Where a level was cut instead of resized to whole
        # pixels, this is off by less than a pixel of the level at its far end, and no file says which was done.
        self._scales = self._dimensions[0] / self._dimensions

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; again does nothing."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def um_per_px(self) -> float | None:
        """Pixel size of level 0 that the file states, or None."""
        return self._open_reader().um_per_px

    def best_level(self, downsample: float) -> int:
        """Return the coarsest level with at most the given downsample, 0 where all are coarser."""
        return max((level for level, factor in enumerate(self.downsamples) if factor <= downsample), default=0)

    def crop(
        self,
        box: NDArray[np.float64],
        side: int,
        *,
        fit: Fit = "stretch",
        filter: Filter = "area",  # noqa: A002  # the word of every imaging library
    ) -> NDArray[np.uint8]:
        """Read a box once, from the coarsest level whose downsample is at most shorter side / ``side``; resample it.

        Args:
            box: (4,) float64 x0, y0, x1, y1 in pixels of level 0; may lie outside the slide, wholly or in part.
            side: height and width of the crop in pixels.
            fit: ``stretch`` gives the box the new side both ways. ``pad`` gives it to the longer side and rounds the
                shorter one to whole pixels; the border that is left, white, is as wide on both sides (one pixel wider
                on the right or below where it is odd).
            filter: ``area`` or ``linear``.

        Returns:
            (side, side, 3) uint8 RGB, row = y, column = x; white (255) outside the slide.

        Raises:
            DamagedFileError: the region cannot be decoded; other regions may still be.
            ValueError: the box is not finite or has no area, ``side`` is not positive, or the slide is closed.
        """
        reader = self._open_reader()
        low, high = _check_box(box, side)
        level = self.best_level(float((high - low).min()) / side)
        rows, columns = _fit_sides(high - low, side, fit)
        low, high = low / self._scales[level], high / self._scales[level]
        inside = np.maximum(low, 0), np.minimum(high, self._dimensions[level])
        crop = np.full((side, side, 3), 255, dtype=np.uint8)
        if (inside[0] >= inside[1]).any():
            return crop
        try:
            picture, origin = reader.read(level, *inside)
        except UnreadableError as error:
            raise DamagedFileError(
                f"{self.path}: level {level}: the box {np.round(box, 2).tolist()} cannot be decoded ({error}); "
                "truncated or damaged? download the slide again"
            ) from error
        top, left = (side - rows) // 2, (side - columns) // 2
        crop[top : top + rows, left : left + columns] = resample(
            picture, low - origin, high - origin, (rows, columns), filter
        )
        return crop

    def _open_reader(self) -> Reader:
        if self._reader is None:
            raise ValueError(f"{self.path}: the slide is closed")
        return self._reader


def open_slide(path: Path) -> Slide:
    """Open a slide with OpenSlide; with tiffslide where that is not installed or does not open the file.

    Raises:
        MissingDataError: there is no such file.
        DamagedFileError: it is empty, a Git LFS pointer, a web page or truncated, or no library opens it.
        UsageError: neither library is installed.
    """
    if not path.is_file():
        raise MissingDataError(f"{path}: no such slide; download it")
    fault = find_fault(path)
    if fault is not None:
        raise DamagedFileError(f"{path}: {fault}")
    answers: dict[str, str] = {}
    for name, kind in (("openslide", OpenslideReader), ("tiffslide", TiffslideReader)):
        try:
            return Slide(path, kind(path))
        except ImportError:
            continue
        except UnreadableError as error:
            answers[name] = str(error)
    if not answers:
        raise UsageError(f"{path}: no library that reads slides is installed: {INSTALL}")
    advice = "download it again, or convert it" if "openslide" in answers else f"OpenSlide may open it: {INSTALL}"
    raise DamagedFileError(
        f"{path}: expected a slide, found {describe_head(path)} that cannot be opened ({'; '.join(answers.values())}); "
        f"{advice}"
    )


def pixel_size(slide: Slide) -> float | None:
    """Return the micrometres a pixel of level 0 that the file states, or None; metadata of the section go before it."""
    return slide.um_per_px


def _check_box(box: NDArray[np.float64], side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = np.asarray(box, dtype=np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all() or not (corners[:2] < corners[2:]).all():
        raise ValueError(f"expected a box x0 < x1, y0 < y1 in pixels, got {corners.tolist()}")
    if side < 1:
        raise ValueError(f"expected a side of at least 1 px, got {side}")
    return corners[:2], corners[2:]


def _fit_sides(extent: NDArray[np.float64], side: int, fit: Fit) -> tuple[int, int]:
    """Return rows and columns of what the box becomes."""
    if fit == "stretch":
        return side, side
    width, height = (max(1, round(float(length) * side / float(extent.max()))) for length in extent)
    return height, width
