"""Second moments of features and targets, summed in float64 over parts of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_ROWS = 1024  # rows converted to float64 at a time

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Second moments of some rows of features X (n, D) and targets Y (n, G) about fixed points.

    Attributes:
        n: number of rows.
        shift: (D,) point about which X is taken; near the mean, it keeps the sums free of cancellation.
        target_shift: (G,) the same for Y.
        total: (D,) sum of X - shift.
        target_total: (G,) sum of Y - target_shift.
        gram: (D, D) (X - shift)'(X - shift); only the upper triangle is filled.
        cross: (D, G) (X - shift)'(Y - target_shift).
        limits: (2, D) smallest and largest value of each feature.
        target_limits: (2, G) the same for the targets.
    """

    n: int
    shift: Array
    target_shift: Array
    total: Array
    target_total: Array
    gram: Array
    cross: Array
    limits: Array
    target_limits: Array

    def select(self, columns: NDArray[np.int64]) -> Moments:
        """Keep some targets only."""
        return replace(
            self,
            target_shift=self.target_shift[columns],
            target_total=self.target_total[columns],
            cross=self.cross[:, columns],
            target_limits=self.target_limits[:, columns],
        )


def second_moments(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    rows: NDArray[np.int64],
    shift: Array,
    target_shift: Array,
) -> Moments:
    """Accumulate the moments of some rows in float64.

    Args:
        features: (N, D), finite.
        targets: (N, G), finite.
        rows: (n,) rows to take, n >= 1.
        shift: (D,) point about which the features are taken.
        target_shift: (G,) point about which the targets are taken.
    """
    from scipy.linalg.blas import dsyrk

    width, n_targets = features.shape[1], targets.shape[1]
    gram, cross = np.zeros((width, width), order="F"), np.zeros((width, n_targets))
    total, target_total = np.zeros(width), np.zeros(n_targets)
    limits, target_limits = _limits(features[rows[:1]]), _limits(targets[rows[:1]])
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        x, y = features[part], targets[part]
        limits, target_limits = _widen(limits, _limits(x)), _widen(target_limits, _limits(y))
        left, right = x - shift, y - target_shift
        gram = dsyrk(1.0, left.T, beta=1.0, c=gram, overwrite_c=1)
        cross += left.T @ right
        total += left.sum(axis=0)
        target_total += right.sum(axis=0)
    return Moments(len(rows), shift, target_shift, total, target_total, gram, cross, limits, target_limits)


def add_moments(parts: Sequence[Moments]) -> Moments:
    """Add the moments of disjoint sets of rows taken about the same points."""
    gram = parts[0].gram.copy(order="F")
    for part in parts[1:]:
        gram += part.gram
    limits, target_limits = parts[0].limits, parts[0].target_limits
    for part in parts[1:]:
        limits, target_limits = _widen(limits, part.limits), _widen(target_limits, part.target_limits)
    return Moments(
        n=sum(part.n for part in parts),
        shift=parts[0].shift,
        target_shift=parts[0].target_shift,
        total=np.sum([part.total for part in parts], axis=0),
        target_total=np.sum([part.target_total for part in parts], axis=0),
        gram=gram,
        cross=np.sum([part.cross for part in parts], axis=0),
        limits=limits,
        target_limits=target_limits,
    )


def _limits(values: NDArray[np.floating]) -> Array:
    return np.array([values.min(axis=0), values.max(axis=0)], dtype=np.float64)


def _widen(known: Array, other: Array) -> Array:
    return np.array([np.minimum(known[0], other[0]), np.maximum(known[1], other[1])])
