"""Multinomial logistic regression with an L2 penalty, fitted by L-BFGS in float64."""

from __future__ import annotations

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
    penalty: float,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    start: LogisticFit | None = None,
) -> LogisticFit:
    """Minimise mean cross-entropy + penalty / 2 * (sum of squared weights); the intercept is free.

    Equals scikit-learn's ``LogisticRegression(C=1 / (n * penalty))`` within the tolerance.

    Args:
        features: (n, D) float64, standardised.
        labels: (n,) int64 in 0..n_classes-1.
        n_classes: K.
        penalty: lambda > 0, on the scale of the mean cross-entropy.
        tolerance: largest absolute gradient component at which the fit counts as converged.
        max_iterations: L-BFGS iterations at most.
        start: where to start, for example the fit of a larger penalty; zeros by default.
    """
    from scipy.optimize import minimize

    dim = features.shape[1]
    first = np.zeros((n_classes, dim + 1))
    if start is not None:
        first = np.column_stack([start.weights, start.intercept])
    found = minimize(
        _objective,
        first.ravel(),
        args=(features, labels, n_classes, penalty),
        jac=True,
        method="L-BFGS-B",
        # The gradient alone decides; ftol only ends a search that rounding keeps from getting anywhere.
        options={
            "gtol": tolerance,
            "ftol": 4 * np.finfo(np.float64).eps,
            "maxiter": max_iterations,
            "maxfun": 20 * max_iterations,
        },
    )
    both = found.x.reshape(n_classes, dim + 1)
    steepest = float(np.abs(found.jac).max())
    return LogisticFit(both[:, :-1].copy(), both[:, -1].copy(), int(found.nit), steepest, steepest <= tolerance)


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


def _objective(
    flat: NDArray[np.float64],
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    n_classes: int,
    penalty: float,
) -> tuple[float, NDArray[np.float64]]:
    n, dim = features.shape
    both = flat.reshape(n_classes, dim + 1)
    weights = both[:, :-1]
    scores = features @ weights.T
    scores += both[:, -1]
    scores -= scores.max(axis=1, keepdims=True)
    of_truth = scores[np.arange(n), labels]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1)
    loss = float((np.log(total) - of_truth).mean() + penalty / 2 * np.einsum("kd,kd->", weights, weights))
    scores /= total[:, None]
    scores[np.arange(n), labels] -= 1
    scores /= n
    gradient = np.empty_like(both)
    gradient[:, :-1] = scores.T @ features + penalty * weights
    gradient[:, -1] = scores.sum(axis=0)
    return loss, gradient.ravel()
