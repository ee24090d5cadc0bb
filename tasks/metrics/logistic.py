"""Multinomial logistic regression with an L2 penalty, fitted by L-BFGS in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """Column-wise standardisation.

    Attributes:
        mean: (D,) float64.
        scale: (D,) float64 > 0; population standard deviation, 1 for a constant column.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True)
class LogisticFit:
    """A fitted classifier.

    Attributes:
        weights: (K, D) float64.
        intercept: (K,) float64.
        iterations: L-BFGS iterations.
        largest_gradient: largest absolute component of the gradient of the objective at the end.
        converged: whether that is within the tolerance.
    """

    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    iterations: int
    largest_gradient: float
    converged: bool


def column_scaling(features: NDArray[np.floating]) -> Scaling:
    """Return the mean and population standard deviation of every column; a constant column gets scale 1.

    Args:
        features: (n, D) float, n >= 1, finite.
    """
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    constant = features.max(axis=0) == features.min(axis=0)  # exact, where rounding leaves a tiny spread
    return Scaling(np.where(constant, features[0], mean), np.where(constant | (spread == 0), 1.0, spread))


def fit_logistic(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    n_classes: int,
    penalties: Sequence[float],
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
) -> dict[float, LogisticFit]:
    """Minimise mean cross-entropy + penalty / 2 * (sum of squared weights) for each penalty; intercepts are free.

    Equals scikit-learn's ``LogisticRegression(C=1 / (n * penalty))`` within the tolerance for three or more classes;
    of two, scikit-learn penalises one difference of weights, which takes twice that C. The search runs along the
    principal axes of the features, each scaled by the curvature expected there: the minimum is the same, and
    correlated features need tens of steps instead of thousands. Penalties are taken from the largest to the smallest,
    each starting from the minimum of the one before.

    Args:
        features: (n, D) float64, finite; standardised, or penalties weigh on columns by their scale.
        labels: (n,) int64 in 0..n_classes-1.
        n_classes: K.
        penalties: different numbers > 0, on the scale of the mean cross-entropy.
        tolerance: largest absolute gradient component, along the features as given, at which a fit is converged.
        max_iterations: L-BFGS iterations a penalty at most.

    Returns:
        penalty -> fit, largest penalty first.
    """
    axes = _principal_axes(features)
    unscaled = np.zeros((n_classes, len(axes.square) + 1))
    fits: dict[float, LogisticFit] = {}
    for penalty in sorted(penalties, reverse=True):
        curvature = np.append(np.sqrt(axes.square / n_classes + penalty), np.sqrt(1 / n_classes))
        search = _Search(axes.scores, labels, penalty, curvature)
        both, gradient, iterations = search.run(unscaled * curvature, axes.directions, tolerance, max_iterations)
        unscaled = both / curvature
        steepest = float(np.abs(gradient).max())
        fits[penalty] = LogisticFit(
            unscaled[:, :-1] @ axes.directions.T, unscaled[:, -1].copy(), iterations, steepest, steepest <= tolerance
        )
    return fits


def predict(fit: LogisticFit, features: NDArray[np.floating], scaling: Scaling) -> NDArray[np.int64]:
    """Return the most probable class of each sample, ties to the lower class.

    Args:
        fit: the classifier.
        features: (n, D) float, not standardised.
        scaling: the standardisation it was fitted under.

    Returns:
        (n,) int64.
    """
    weights = fit.weights / scaling.scale
    scores = features @ weights.T + (fit.intercept - weights @ scaling.mean)
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class _Axes:
    """Principal axes: orthonormal directions (D, r), the features along them (n, r), and their mean squares (r,)."""

    directions: NDArray[np.float64]
    scores: NDArray[np.float64]
    square: NDArray[np.float64]


def _principal_axes(features: NDArray[np.float64]) -> _Axes:
    """Find the principal axes; null directions are left out.

    Along a direction in which all features are 0 the penalty keeps the weights at 0. Mean squares are those of the
    scores, not the eigenvalues: below 1e-16 of the largest these are rounding errors, while a direction that weak
    beside another can still tell classes apart.
    """
    n, dim = features.shape
    if dim > n:  # all features lie in the span of n orthonormal directions
        span, triangle = np.linalg.qr(features.T)
        directions = span @ np.linalg.eigh(triangle @ triangle.T)[1]
    else:
        directions = np.linalg.eigh(features.T @ features)[1]
    scores = features @ directions
    square = np.einsum("ij,ij->j", scores, scores) / n
    size = np.sqrt(square)
    kept = size > size.max() * max(n, dim) * np.finfo(np.float64).eps
    if kept.all():
        return _Axes(directions, scores, square)
    return _Axes(directions[:, kept], scores[:, kept], square[kept])


@dataclass(frozen=True)
class _Search:
    """One penalty: scores (n, r) along the axes, labels, and the scale of each unknown."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    penalty: float
    curvature: NDArray[np.float64]

    def run(
        self, start: NDArray[np.float64], axes: NDArray[np.float64], tolerance: float, max_iterations: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Search until the gradient along the features as given is within the tolerance.

        Returns:
            Scaled unknowns (K, r + 1), gradient (K, D + 1) along the features, iterations.
        """
        from scipy.optimize import minimize

        both, iterations, aim = start, 0, tolerance
        while True:
            found = minimize(
                self._objective,
                both.ravel(),
                jac=True,
                method="L-BFGS-B",
                # The gradient alone decides; ftol only ends a search that rounding keeps from getting anywhere.
                options={
                    "gtol": aim,
                    "ftol": 4 * np.finfo(np.float64).eps,
                    "maxiter": max(max_iterations - iterations, 1),
                    "maxfun": 20 * max_iterations,
                    "maxcor": 20,
                },
            )
            both, steps = found.x.reshape(start.shape), int(found.nit)
            iterations += steps
            along = found.jac.reshape(start.shape) * self.curvature
            gradient = np.column_stack([along[:, :-1] @ axes.T, along[:, -1]])
            steepest = float(np.abs(gradient).max())
            if steepest <= tolerance or steps == 0 or iterations >= max_iterations:
                return both, gradient, iterations
            aim *= 0.5 * tolerance / steepest

    def _objective(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        n = len(self.labels)
        both = flat.reshape(-1, len(self.curvature)) / self.curvature
        weights = both[:, :-1]
        scores = self.scores @ weights.T
        scores += both[:, -1]
        scores -= scores.max(axis=1, keepdims=True)
        of_truth = scores[np.arange(n), self.labels]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        loss = float((np.log(total) - of_truth).mean() + self.penalty / 2 * np.einsum("kd,kd->", weights, weights))
        scores /= total[:, None]
        scores[np.arange(n), self.labels] -= 1
        scores /= n
        gradient = np.empty_like(both)
        gradient[:, :-1] = scores.T @ self.scores + self.penalty * weights
        gradient[:, -1] = scores.sum(axis=0)
        return loss, (gradient / self.curvature).ravel()
