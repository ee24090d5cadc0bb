"""What a library that opens slides must do, and what all of them need."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_OPAQUE = 250
"""Least opacity of a solid pixel: where OpenSlide interpolates across the seams of tiles, rounding takes some."""


class UnreadableError(Exception):
    """A library refused a file or a region; carries its words, without the path."""


class Reader(Protocol):
    """A slide that a library has opened.

    Attributes:
        name: of the library, with its version.
        dimensions: (width, height) of each level in pixels.
        downsamples: of each level, as the library reports them.
        um_per_px: pixel size of level 0 that the file states, or None.
    """

    name: str
    dimensions: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    um_per_px: float | None

    def read(
        self, level: int, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Read whole pixels that enclose a box.

        Args:
            level: to read from.
            low: (2,) float64 x, y of the upper left corner in pixels of the level, not negative.
            high: (2,) float64 x, y of the lower right corner, inside the level and beyond ``low`` in both.

        Returns:
            (h, w, 3) uint8 RGB, white where the slide is transparent; and (2,) float64 x, y of its upper left corner.

        Raises:
            UnreadableError: the region cannot be decoded.
        """

    def close(self) -> None:
        """Close the file."""


def put_on_white(region: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop the fourth channel of (h, w, 4) pixels, as much white shining through as it says."""
    colours = region[..., :3]
    if region.shape[2] == 3 or region[..., 3].min() >= _OPAQUE:
        return colours
    opacity = region[..., 3:].astype(np.uint16)
    return ((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def to_pixel_size(told: object) -> float | None:
    """Return a property as micrometres a pixel, or None where it is no positive number."""
    try:
        value = float(str(told))
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
