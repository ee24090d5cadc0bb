"""Exact principal components and ridge regression from second moments, in float64.

With Z the scores on the leading principal components, Z'Z = diag(w), so the ridge coefficients are Z'Y / (w + alpha):
one eigen-decomposition a training set gives the coefficients for every alpha. The covariance of a training set is the
sum of the second moments of its parts, so that folds share one pass over the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .correlation import is_constant
from .ridge_moments import Moments

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RidgePath:
    """Principal components of a training set, with ridge coefficients for every alpha.

    Attributes:
        centre: (D,) subtracted from features.
        basis: (D, k) maps centred features to scores.
        strength: (k,) w, the sums of squares of the training scores, descending.
        response: (k, G) Z'Y.
        target_mean: (G,) mean of the training targets (or the point they are taken about).
    """

    centre: Array
    basis: Array
    strength: Array
    response: Array
    target_mean: Array

    def project(self, features: NDArray[np.floating]) -> Array:
        """Return the scores (n, k) of features (n, D)."""
        return np.asarray((features - self.centre) @ self.basis)

    def coefficients(self, alpha: float) -> Array:
        """Return the coefficients (k, G) on the scores for one penalty; alpha > 0, or all strengths > 0."""
        return np.asarray(self.response / (self.strength + alpha)[:, None])

    def predict(self, features: NDArray[np.floating], alpha: float) -> Array:
        """Predict (n, G) from features (n, D) without an intercept; add ``target_mean`` for one."""
        weights = self.basis @ self.coefficients(alpha)
        return np.asarray(features @ weights - self.centre @ weights)


def fit_from_moments(moments: Moments, components: int | None, *, centre: bool = True, scale: bool = True) -> RidgePath:
    """Standardise, find the leading components and regress, all from second moments (for n >= D).

    Args:
        moments: of the training rows.
        components: number of components, at most D; None for all.
        centre: take features and targets about their training means, else about the shifts of the moments.
        scale: divide features by their standard deviations (ddof 0); needs ``centre``.

    Returns:
        The path. When centred, a constant feature counts as 0 and is not scaled, as in scikit-learn's
        ``StandardScaler``, and a constant target has coefficients of exactly 0.
    """
    gram, cross = moments.gram.copy(order="F"), moments.cross.copy()
    origin, target_origin = moments.shift, moments.target_shift
    keep = np.ones(len(gram))
    if centre:
        mean, target_mean = moments.total / moments.n, moments.target_total / moments.n
        gram -= moments.n * np.outer(mean, mean)
        cross -= moments.n * np.outer(mean, target_mean)
        cross[:, moments.target_limits[0] == moments.target_limits[1]] = 0.0
        origin, target_origin = origin + mean, target_origin + target_mean
        deviation = np.sqrt(np.maximum(np.diag(gram), 0.0) / moments.n) if scale else keep
        constant = moments.limits[0] == moments.limits[1]
        keep = np.where(constant, 0.0, 1.0 / np.where(deviation > 0, deviation, 1.0))
        gram *= keep[:, None]
        gram *= keep
        cross *= keep[:, None]
    strength, vectors = _leading(gram, components or len(gram))
    return RidgePath(origin, vectors * keep[:, None], strength, vectors.T @ cross, target_origin)


def fit_from_rows(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    components: int | None,
    *,
    centre: bool = True,
    scale: bool = True,
) -> RidgePath:
    """Do the same as :func:`fit_from_moments` through the (n, n) Gram matrix of the rows (for n < D).

    Args:
        features: (n, D) training rows, finite.
        targets: (n, G), finite.
        components: number of components, at most n; None for all.
        centre: as in :func:`fit_from_moments`, else features and targets are taken about 0.
        scale: as in :func:`fit_from_moments`.
    """
    left, right = features.astype(np.float64), targets.astype(np.float64)
    origin, keep, target_origin = np.zeros(left.shape[1]), np.ones(left.shape[1]), np.zeros(right.shape[1])
    if centre:
        origin, target_origin = left.mean(axis=0), right.mean(axis=0)
        left -= origin
        right -= target_origin
        right[:, is_constant(targets)] = 0.0
        deviation = left.std(axis=0) if scale else keep
        keep = np.where(is_constant(features), 0.0, 1.0 / np.where(deviation > 0, deviation, 1.0))
        left *= keep
    strength, vectors = _leading(np.asfortranarray(left @ left.T), components or len(left))
    root = np.sqrt(strength)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    basis = (left.T @ vectors) * inverse * keep[:, None]
    return RidgePath(origin, basis, strength, root[:, None] * (vectors.T @ right), target_origin)


def _leading(gram: Array, count: int) -> tuple[Array, Array]:
    """Return the largest eigenvalues, descending, and their vectors; ``gram`` (upper triangle) is overwritten.

    Eigenvalues that are rounding errors of 0 are returned as 0.
    """
    from scipy.linalg import eigh

    size = len(gram)
    part = None if count == size else (size - count, size - 1)
    driver: Literal["evd", "evr"] = "evr" if part else "evd"
    values, vectors = eigh(gram, lower=False, overwrite_a=True, check_finite=False, driver=driver, subset_by_index=part)
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = size * np.finfo(np.float64).eps * max(float(values[0]), 0.0)
    return np.where(values > noise, values, 0.0), vectors
