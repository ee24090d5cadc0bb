"""Exact principal components and ridge, with second moments shared by the training sets of all folds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.ridge import RidgePath, fit_from_moments, fit_from_rows
from ..metrics.ridge_moments import Moments, add_moments, second_moments
from .expression_solvers import Array, Rows


@dataclass(frozen=True)
class ExactFit:
    """Exact components and closed-form ridge coefficients."""

    features: NDArray[np.floating]
    path: RidgePath
    components: int | None
    intercept: bool
    solver: str = "exact"

    def project(self, rows: Rows) -> NDArray[np.floating]:
        """Return the scores, or the features where there are no components."""
        return self.features[rows] if self.components is None else self.path.project(self.features[rows])

    def predict(self, rows: Rows, alpha: float) -> Array:
        """Predict (n, G)."""
        prediction = self.path.predict(self.features[rows], alpha)
        return prediction + self.path.target_mean if self.intercept else prediction


class ExactSolver:
    """Exact solver whose training sets share their second moments."""

    def __init__(
        self,
        features: NDArray[np.floating],
        targets: Array,
        train_sets: Sequence[Rows],
        *,
        raw: bool,
        intercept: bool,
        executor: Executor,
    ) -> None:
        """Split the rows into parts of which every training set is a union, and sum each part's moments once.

        Args:
            features: (n, D).
            targets: (n, G) float64.
            train_sets: rows of every training set that will be fitted.
            raw: regress on the features as they are.
            intercept: add the training mean.
            executor: runs the parts.
        """
        self._features, self._targets = features, targets
        self._raw, self._intercept = raw, intercept
        centre = not raw or intercept
        shift = features.mean(axis=0, dtype=np.float64) if centre else np.zeros(features.shape[1])
        target_shift = targets.mean(axis=0) if centre else np.zeros(targets.shape[1])
        self._parts = _common_parts([rows for rows in train_sets if not self._is_wide(rows)], len(features))
        self._moments: list[Moments] = list(
            executor.map(lambda rows: second_moments(features, targets, rows, shift, target_shift), self._parts)
        )

    def fit(self, train: Rows, columns: Rows, components: int | None) -> ExactFit:
        """Fit on one of the announced training sets."""
        options = {"centre": not self._raw or self._intercept, "scale": not self._raw}
        if self._is_wide(train):
            path = fit_from_rows(self._features[train], self._targets[np.ix_(train, columns)], components, **options)
        else:
            member = np.zeros(len(self._features), dtype=bool)
            member[train] = True
            chosen = [moments for rows, moments in zip(self._parts, self._moments, strict=True) if member[rows[0]]]
            path = fit_from_moments(add_moments(chosen).select(columns), components, **options)
        return ExactFit(self._features, path, components, self._intercept)

    def _is_wide(self, rows: Rows) -> bool:
        return len(rows) < int(self._features.shape[1])


def _common_parts(sets: Sequence[Rows], n: int) -> list[Rows]:
    """Split rows into the coarsest parts of which every set is a union; rows in no set are left out."""
    member = np.zeros((n, len(sets)), dtype=bool)
    for column, rows in enumerate(sets):
        member[rows, column] = True
    used = np.flatnonzero(member.any(axis=1))
    if not len(used):
        return []
    _, part = np.unique(member[used], axis=0, return_inverse=True)
    part = part.reshape(-1)
    return [used[part == index] for index in range(part.max() + 1)]
