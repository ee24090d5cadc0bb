"""Scores of a classification, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Count samples by true and predicted class.

    Args:
        truth: (n,) int64 in 0..n_classes-1.
        predicted: (n,) int64 in 0..n_classes-1.
        n_classes: number of classes.

    Returns:
        (n_classes, n_classes) int64; row = true class, column = predicted class.

    Raises:
        ValueError: different lengths, or a class out of range.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"expected two vectors of one length, got {truth.shape} and {predicted.shape}")
    both = np.concatenate([truth, predicted])
    if ((both < 0) | (both >= n_classes)).any():
        raise ValueError(f"expected classes in 0..{n_classes - 1}")
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def f1_by_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 score of every class: 2 TP / (2 TP + FP + FN).

    Args:
        confusion: (K, K) int64, row = true class, column = predicted class.

    Returns:
        (K,) float64 in [0, 1], best 1; NaN for a class that has no samples and is never predicted; 0 for a class
        that has samples but is never predicted.

    Example:
        >>> f1_by_class(np.array([[1, 1], [0, 1]])).round(6).tolist()
        [0.666667, 0.666667]
    """
    hits = np.diag(confusion).astype(np.float64)
    total = (confusion.sum(axis=0) + confusion.sum(axis=1)).astype(np.float64)
    return np.asarray(np.divide(2 * hits, total, out=np.full(len(hits), np.nan), where=total > 0))


def recall_by_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each class's samples that are recognised.

    Args:
        confusion: (K, K) int64, row = true class, column = predicted class.

    Returns:
        (K,) float64 in [0, 1], best 1; NaN for a class without samples. Weighted by the samples of the classes,
        the mean is the accuracy.

    Example:
        >>> recall_by_class(np.array([[1, 1], [0, 1]])).tolist()
        [0.5, 1.0]
    """
    samples = confusion.sum(axis=1).astype(np.float64)
    return np.asarray(np.divide(np.diag(confusion), samples, out=np.full(len(samples), np.nan), where=samples > 0))
