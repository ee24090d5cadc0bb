"""What a head of the expression protocol asks of its solver, and the widening of narrow features."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .expression_params import PcaParams

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


class Fit(Protocol):
    """Features reduced and regressed on one training set."""

    @property
    def solver(self) -> str:
        """Name of the algorithm that found the components."""

    def project(self, rows: Rows) -> NDArray[np.floating]:
        """Return what the head is given: (n, k) scores, or the features as they are."""

    def predict(self, rows: Rows, alpha: float) -> Array:
        """Predict (n, G) by ridge regression."""


class Solver(Protocol):
    """Reduces and regresses on any of the training sets it was made for."""

    def fit(self, train: Rows, columns: Rows, components: int | None) -> Fit:
        """Fit on training rows and target columns."""


def pad_features(features: NDArray[np.floating], pca: PcaParams) -> NDArray[np.floating]:
    """Tile narrow features to the number of components and add noise of sd 1e-3.

    Returns:
        (n, components) float32; wider features come back unchanged.

    Source: arXiv 2603.13377 E.1 (tiling and noise for the count baseline; the size of the noise is ours).
    """
    if pca.components is None or features.shape[1] >= pca.components:
        return features
    repeats = -(-pca.components // features.shape[1])
    tiled = np.tile(features, (1, repeats))[:, : pca.components]
    noise = np.random.default_rng(pca.seed).normal(0.0, 1e-3, tiled.shape)
    return (tiled + noise).astype(np.float32)
