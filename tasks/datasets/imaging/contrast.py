"""From raw intensities to grey levels: centre crop, percentile contrast, rounding. Pure functions of one channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8] | NDArray[np.float32]
Raw = NDArray[np.uint16] | NDArray[np.float64]


def crop_centre(image: Raw, side: int) -> Raw:
    """Cut the square of ``side`` pixels from the centre; an odd rest leaves one row or column more at the end.

    Args:
        image: (H, W), both at least ``side``.
        side: side of the square in pixels.

    Returns:
        (side, side), a view.

    Example:
        >>> crop_centre(np.arange(20, dtype=np.uint16).reshape(4, 5), 2)
        array([[ 6,  7],
               [11, 12]], dtype=uint16)
    """
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def find_percentiles(image: Raw, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return two percentiles with linear interpolation, as ``numpy.percentile`` does.

    Whole numbers are counted, not sorted.

    Args:
        image: (H, W) uint16 or float64, at least one pixel.
        percentiles: from 0 to 100.

    Example:
        >>> find_percentiles(np.array([[0, 10], [20, 30]], dtype=np.uint16), (50, 100))
        (15.0, 30.0)
    """
    if image.dtype != np.uint16:
        low, high = np.percentile(image, percentiles)
        return float(low), float(high)
    below = np.cumsum(np.bincount(image.ravel()))
    place = np.asarray(percentiles, dtype=np.float64) / 100 * (image.size - 1)
    rank = np.floor(place).astype(np.int64)
    first = np.searchsorted(below, rank, side="right")
    second = np.searchsorted(below, np.minimum(rank + 1, image.size - 1), side="right")
    low, high = first + (second - first) * (place - rank)
    return float(low), float(high)


def scale_grey(image: Raw, black: float, white: float, bits: int = 8) -> Grey:
    """Clip to [black, white] and scale to grey levels; halves are rounded to even.

    Args:
        image: (H, W) uint16 or float64.
        black: becomes 0.
        white: becomes the highest level; where it equals ``black`` the result is zero everywhere.
        bits: 8 for uint8 0..255; 16 for float32 in [0, 1] in steps of 1/65535.

    Example:
        >>> scale_grey(np.array([[0, 5, 10, 99]], dtype=np.uint16), 0, 10)
        array([[  0, 128, 255, 255]], dtype=uint8)
    """
    if image.dtype == np.uint16:  # one grey level for each of the 65,536 intensities there can be
        levels = _scale(np.arange(int(image.max()) + 1, dtype=np.float64), black, white, bits)
        chosen: Grey = levels[image]
        return chosen
    return _scale(image.astype(np.float64), black, white, bits)


def _scale(values: NDArray[np.float64], black: float, white: float, bits: int) -> Grey:
    top = 2**bits - 1
    span = white - black
    share = (np.clip(values, black, white) - black) / span if span > 0 else np.zeros_like(values)
    levels: NDArray[np.float64] = np.rint(top * share)
    return levels.astype(np.uint8) if bits == 8 else (levels / top).astype(np.float32)
