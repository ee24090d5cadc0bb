"""Principal components and ridge step by step as HEST's own code takes them, through scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .expression_solvers import Array, Rows


class ScikitSolver:
    """HEST's own sequence of scikit-learn steps.

    Source: mahmoodlab/HEST@afd42c3 ``trainer.py`` and ``benchmark.py``. The scores of the training rows come from
    ``fit_transform``, which differs from ``fit`` and ``transform`` under the randomized solver; scores are rounded to
    float32 and then regressed in float64. Features without components are regressed in their own float type.
    """

    def __init__(self, features: NDArray[np.floating], targets: Array, *, seed: int, intercept: bool) -> None:
        """Keep the data: features (n, D) in their own float type, targets (n, G) float64."""
        self._features, self._targets = features, targets
        self._seed, self._intercept = seed, intercept

    def fit(self, train: Rows, columns: Rows, components: int | None) -> ScikitFit:
        """Fit on training rows in the given order."""
        from sklearn.decomposition import PCA
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        targets = self._targets[np.ix_(train, columns)]
        if components is None:
            return ScikitFit(self._features, None, self._features[train], targets, "none", self._seed, self._intercept)
        pca = PCA(n_components=components, random_state=self._seed)
        pipeline = Pipeline([("scale", StandardScaler()), ("pca", pca)])
        scores = _round(pipeline.fit_transform(self._features[train]))
        solver = str(getattr(pca, "_fit_svd_solver", "auto"))
        return ScikitFit(self._features, pipeline, scores, targets, solver, self._seed, self._intercept)


class Transformer(Protocol):
    """A fitted chain of scikit-learn steps."""

    def transform(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        """Map (n, D) features to (n, k) scores."""


@dataclass(frozen=True)
class ScikitFit:
    """Scores by scikit-learn, regressed by its iterative ridge solver for each alpha asked for."""

    features: NDArray[np.floating]
    pipeline: Transformer | None
    scores: NDArray[np.floating]
    targets: Array
    solver: str
    seed: int
    intercept: bool

    def project(self, rows: Rows) -> NDArray[np.floating]:
        """Return the scores, or the features where there are no components."""
        chosen = self.features[rows]
        return chosen if self.pipeline is None else _round(self.pipeline.transform(chosen))

    def predict(self, rows: Rows, alpha: float) -> Array:
        """Predict (n, G)."""
        from sklearn.linear_model import Ridge

        ridge = Ridge(alpha=alpha, solver="lsqr", max_iter=1000, fit_intercept=self.intercept, random_state=self.seed)
        ridge.fit(self.scores, self.targets)
        return np.asarray(ridge.predict(self.project(rows))).reshape(len(rows), -1)


def _round(scores: NDArray[np.floating]) -> Array:
    return scores.astype(np.float32).astype(np.float64)
