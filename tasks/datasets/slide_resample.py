"""Bring a fractional box of a picture to whole pixels: exact means where it shrinks, interpolation where it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Filter = Literal["area", "linear"]
"""``area``: mean where an axis shrinks, linear where it grows; ``linear``: linear always, without antialiasing."""


def resample(
    picture: NDArray[np.uint8],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    shape: tuple[int, int],
    kind: Filter,
) -> NDArray[np.uint8]:
    """Resample the box between two corners; beyond the picture everything is white.

    Args:
        picture: (h, w, 3) uint8 RGB, h and w >= 1.
        low: (2,) float64 x, y of the upper left corner in pixels; pixel i covers i .. i + 1.
        high: (2,) float64 x, y of the lower right corner, beyond ``low`` in both.
        shape: rows and columns of the result.
        kind: how.

    Returns:
        (rows, columns, 3) uint8, rounded to the nearest level, halves to even.

    Example:
        >>> picture = np.array([[[0] * 3, [100] * 3]], dtype=np.uint8)
        >>> resample(picture, np.array([0.5, 0.0]), np.array([2.0, 1.0]), (1, 1), "area")[..., 0].tolist()
        [[67]]
        >>> resample(picture, np.zeros(2), np.array([2.0, 1.0]), (1, 4), "linear")[..., 0].tolist()
        [[0, 25, 75, 100]]
    """
    (height, width, _), (rows, columns) = picture.shape, shape
    down = weigh_pixels(float(low[1]), float(high[1]), rows, height, kind)
    across = weigh_pixels(float(low[0]), float(high[0]), columns, width, kind)
    dark = np.subtract(255, picture, dtype=np.float32)  # white is 0: weights that fall outside need no pixels
    dark = (down @ dark.reshape(height, width * 3)).reshape(rows, width, 3)
    dark = (across @ dark.swapaxes(0, 1).reshape(width, rows * 3)).reshape(columns, rows, 3)
    return np.rint(255 - dark.swapaxes(0, 1)).astype(np.uint8)


def weigh_pixels(
    low: float,
    high: float,
    length: int,
    have: int,
    kind: Filter,
) -> csr_array[np.float32]:
    """Return how much of each pixel of a line goes into each new pixel.

    Args:
        low: begin of the stretch in pixels; pixel i covers i .. i + 1.
        high: its end.
        length: new pixels that the stretch is cut into.
        have: pixels of the line; weights of pixels outside are left out.
        kind: ``area`` weighs a pixel by the share it has of the new one's footprint when that is at least a pixel
            long. ``linear``, and ``area`` on shorter ones, weighs the two pixels whose centres enclose the new centre
            (the half-pixel convention of OpenCV); beyond the outermost centres the outermost pixel counts alone, as
            if the pixels that the stretch touches had been cut out first.

    Returns:
        (length, have) float32; a row sums to 1 where nothing lies outside.

    Example:
        >>> weigh_pixels(0.5, 4.5, 2, 5, "area").toarray().tolist()
        [[0.25, 0.5, 0.25, 0.0, 0.0], [0.0, 0.0, 0.25, 0.5, 0.25]]
    """
    from scipy.sparse import csr_array

    step = (high - low) / length
    start = low + np.arange(length)[:, None] * step
    if kind == "area" and step >= 1:
        pixel = np.floor(start) + np.arange(int(np.ceil(step)) + 1)
        weight = (np.minimum(pixel + 1, start + step) - np.maximum(pixel, start)) / step
    else:
        centre = start + step / 2 - 0.5
        before = np.floor(centre)
        share = centre - before
        pixel = np.clip(np.hstack([before, before + 1]), np.floor(low), np.ceil(high) - 1)
        weight = np.hstack([1 - share, share])
    kept = (weight > 0) & (pixel >= 0) & (pixel < have)
    ends = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return csr_array((weight[kept].astype(np.float32), pixel[kept].astype(np.int64), ends), shape=(length, have))
