"""What is learnt from control wells: mean and scale of each feature, and principal axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TOLERANCE = 1e-7
"""Axes whose singular value is at most this share of the largest are dropped."""


@dataclass(frozen=True)
class Scaling:
    """Mean and scale of each feature, both (D,) float64; scales are above 0."""

    mean: Array
    scale: Array

    def apply(self, block: Array) -> Array:
        """Return (block - mean) / scale, (n, D)."""
        centred = block - self.mean
        centred /= self.scale
        return centred


@dataclass(frozen=True)
class Axes:
    """Principal axes, strongest first.

    Attributes:
        basis: (D, k) orthonormal columns.
        deviation: (k,) sd (ddof 0) of the rows along each axis, above 0.
        dropped: axes left out as rounding noise.
    """

    basis: Array
    deviation: Array
    dropped: int


def fit_scaling(rows: Array) -> Scaling:
    """Take mean and sd (ddof 0) of each column; a column with sd <= 10 machine eps keeps the scale 1.

    A column that does not vary at all has its own value as mean to the last bit, so that it becomes exactly 0.

    Args:
        rows: (n, D) float64, finite, n >= 1.

    Source: ``sklearn.preprocessing.StandardScaler``; EFAAR_benchmarking@2248f40 uses it.

    Example:
        >>> fit_scaling(np.array([[1.0, 0.1], [3.0, 0.1], [5.0, 0.1]])).scale.round(3).tolist()
        [1.633, 1.0]
    """
    constant = rows.max(axis=0) == rows.min(axis=0)
    mean = np.where(constant, rows[0], rows.mean(axis=0))
    deviation = np.sqrt(np.square(rows - mean).mean(axis=0))
    return Scaling(mean, np.where(deviation <= 10 * np.finfo(np.float64).eps, 1.0, deviation))


def centre_only(rows: Array) -> Scaling:
    """Take the mean of each column as :func:`fit_scaling` does, and 1 as scale."""
    return Scaling(fit_scaling(rows).mean, np.ones(rows.shape[1]))


def fit_axes(rows: Array) -> Axes:
    """Find the principal axes of centred rows.

    By QR and the SVD of R: second moments would lose the weak axes, whose scale later stages divide by.

    Args:
        rows: (n, D) float64 with column means of 0 (up to rounding).

    Returns:
        At most min(n, D) axes; none at all where the rows are all 0.

    Example:
        >>> axes = fit_axes(np.array([[2.0, 0.0], [-2.0, 0.0]]))
        >>> axes.deviation.tolist(), axes.dropped
        ([2.0], 1)
    """
    triangle = np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows
    _, strength, axes = np.linalg.svd(triangle, full_matrices=False)
    keep = strength > TOLERANCE * strength.max(initial=0.0)
    return Axes(axes[keep].T, strength[keep] / np.sqrt(len(rows)), int((~keep).sum()))
