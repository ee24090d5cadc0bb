"""Slides read by OpenSlide."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .slide_reader import UnreadableError, put_on_white, to_pixel_size

CACHE_BYTES = 64 * 2**20
"""Decoded tiles that OpenSlide keeps: of 256 x 256 px, 256; neighbouring crops share most of theirs."""


class OpenslideReader:
    """A slide read by OpenSlide. After a failure its handle answers nothing more, so the next read opens another."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            ImportError: the library is not installed.
            UnreadableError: it does not open the file.
        """
        import openslide

        self._path = path
        self._handle: Any = self._open()
        self.name = f"openslide {openslide.__library_version__}"
        self.dimensions = tuple((int(width), int(height)) for width, height in self._handle.level_dimensions)
        self.downsamples = tuple(float(factor) for factor in self._handle.level_downsamples)
        self.um_per_px = to_pixel_size(self._handle.properties.get("openslide.mpp-x"))

    def read(
        self, level: int, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Read as :meth:`Reader.read` says.

        OpenSlide takes whole pixels of level 0 as the place. Where these are not whole pixels of the level, it
        interpolates; then the corner returned is fractional, at most 1 / (2 x downsample) px off a whole one. Reading
        takes some three times as long then, and fine grain is blurred a little.
        """
        from openslide import OpenSlideError

        factor = self.downsamples[level]
        place = [_to_base(float(value), factor) for value in low]
        origin = np.array(place) / factor
        size = np.ceil(high - origin).astype(int)
        try:
            if self._handle is None:
                self._handle = self._open()
            region = self._handle.read_region((place[0], place[1]), level, (int(size[0]), int(size[1])))
        except OpenSlideError as error:
            self.close()
            raise UnreadableError(f"OpenSlide: {error}") from error
        return put_on_white(np.asarray(region)), origin

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _open(self) -> Any:
        import openslide

        try:
            handle = openslide.OpenSlide(str(self._path))
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise UnreadableError("OpenSlide: not a format it knows") from error
        except openslide.OpenSlideError as error:
            raise UnreadableError(f"OpenSlide: {error}") from error
        with suppress(openslide.OpenSlideError):  # before 4.0, the library knows its own cache of 32 MiB only
            handle.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        return handle


def _to_base(value: float, factor: float) -> int:
    """Return the pixel of level 0 that is nearest to a whole pixel of a level and not after ``value`` of it."""
    base = round(math.floor(value) * factor)
    return base if base / factor <= value else max(round((math.floor(value) - 1) * factor), 0)
