"""Baselines read straight off the pixels, at full resolution and before any resize.

``pixel-mean`` and ``pixel-stats`` follow arXiv 2603.13377 (channel means; means, standard deviations, skewnesses);
where it is silent the choices are ours: float64, population moments, values in [0, 1]. ``raw-pixels`` is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import MismatchError
from harness.types import Batch, BuildContext

from .option_values import whole_number

_FLAT = 1e-8
"""A channel whose standard deviation is below this has no skewness: 0."""
Describe = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(C, H, W) float64 in [0, 1] to (D,) float64."""


class PixelModel:
    """Describes each image by itself, so that an answer does not depend on the batch."""

    def __init__(self, context: BuildContext, describe: Describe) -> None:
        """Keep how one image is described."""
        self._name = context.card.name
        self._describe = describe

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Describe each image.

        Raises:
            MismatchError: the batch holds no images.
        """
        if batch.images is None:
            raise MismatchError(f"{self._name}: takes images; the view {batch.view} holds none")
        top = 255.0 if batch.images.dtype == np.uint8 else 1.0
        rows = [self._describe(image.astype(np.float64) / top) for image in batch.images]
        features = np.stack(rows).astype(np.float32)
        return dict.fromkeys(stages, features)


def build_mean(context: BuildContext) -> PixelModel:
    """Build ``pixel-mean``."""
    return PixelModel(context, channel_means)


def build_stats(context: BuildContext) -> PixelModel:
    """Build ``pixel-stats``."""
    return PixelModel(context, channel_moments)


def build_raw(context: BuildContext) -> PixelModel:
    """Build ``raw-pixels``; the option ``size`` is the side in pixels, 32 by default."""
    side = whole_number(context, "size", 32)
    return PixelModel(context, lambda image: shrink(image, side).ravel())


def channel_means(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each channel: (C, H, W) to (C,)."""
    means: NDArray[np.float64] = image.reshape(len(image), -1).mean(axis=1)
    return means


def channel_moments(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means, then the population standard deviations, then the skewnesses m3 / sd^3 of all channels.

    Args:
        image: (C, H, W) float64.

    Returns:
        (3 C,) float64; a skewness is 0 where the standard deviation is below 1e-8.

    Example:
        >>> channel_moments(np.array([[[0.0, 0.0, 0.0, 1.0]]])).round(4).tolist()
        [0.25, 0.433, 1.1547]
    """
    pixels = image.reshape(len(image), -1)
    mean = pixels.mean(axis=1)
    centred = pixels - mean[:, None]
    square = centred * centred
    sd = np.sqrt(square.mean(axis=1))
    third = (square * centred).mean(axis=1)
    skewness = np.divide(third, sd**3, out=np.zeros_like(sd), where=sd >= _FLAT)
    return np.concatenate([mean, sd, skewness])


def shrink(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Average an image over a grid of side x side equal areas, whole pixels or parts of them.

    Args:
        image: (C, H, W) float64.
        side: rows and columns of the grid.

    Returns:
        (C, side, side) float64.

    Example:
        >>> shrink(np.array([[[0.0, 3.0, 6.0]]]), 2).tolist()
        [[[1.0, 5.0], [1.0, 5.0]]]
    """
    rows, columns = (_overlaps(length, side) for length in image.shape[1:])
    shrunk: NDArray[np.float64] = rows @ image @ columns.T
    return shrunk


def _overlaps(length: int, side: int) -> NDArray[np.float64]:
    """Return (side, length) weights: the share of each cell's extent that a pixel covers; rows sum to 1."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float64] = np.clip(covered, 0, None) * (side / length)
    return weights
