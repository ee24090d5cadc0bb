"""Slides read by tiffslide, for where OpenSlide is not installed or does not know the file."""

from __future__ import annotations

import math
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .slide_reader import UnreadableError, put_on_white, to_pixel_size

_ERRORS = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, zlib.error)
"""tiffslide passes on whatever tifffile and the codecs raise; errors of theirs are kinds of these."""


class TiffslideReader:
    """A slide read by tiffslide. It keeps no tiles: where crops overlap, it takes several times as long."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            ImportError: the library is not installed.
            UnreadableError: it does not open the file.
        """
        import tiffslide

        self.name = f"tiffslide {version('tiffslide')}"
        try:
            self._handle: Any = tiffslide.TiffSlide(path)
            self.dimensions = tuple((int(width), int(height)) for width, height in self._handle.level_dimensions)
            self.downsamples = tuple(float(factor) for factor in self._handle.level_downsamples)
            self.um_per_px = to_pixel_size(self._handle.properties.get("tiffslide.mpp-x"))
        except _ERRORS as error:
            raise UnreadableError(f"tiffslide: {error or type(error).__name__}") from error

    def read(
        self, level: int, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Read as :meth:`Reader.read` says; the corner returned is a whole pixel of the level."""
        origin = np.floor(low)
        size = np.ceil(high - origin).astype(int)
        x, y = (_to_cell(int(value), self.downsamples[level]) for value in origin)
        try:
            region = np.asarray(self._handle.read_region((x, y), level, (int(size[0]), int(size[1])), as_array=True))
        except _ERRORS as error:
            raise UnreadableError(f"tiffslide: {error or type(error).__name__}") from error
        if region.dtype != np.uint8 or region.shape[2] not in {3, 4}:
            raise UnreadableError(f"tiffslide: expected 8-bit RGB, found {region.shape[2]} channels of {region.dtype}")
        return put_on_white(region), origin

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _to_cell(pixel: int, factor: float) -> int:
    """Return a pixel of level 0 that the library, cutting off fractions, turns into ``pixel`` of a level."""
    base = math.ceil(pixel * factor)
    return base if int(base / factor) == pixel else base + 1
