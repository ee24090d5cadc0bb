"""Agreement of predicted with measured columns: Pearson correlation, squared error, explained variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Undefined = Literal["omit", "propagate", "zero"]


def is_constant(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which columns hold one value only, by exact equality with their first row.

    Args:
        values: (n, g), n >= 1. A tolerance would call weak signals constant; a variance of 0 is missed by rounding.

    Returns:
        (g,) bool.
    """
    return np.asarray((values == values[:1]).all(axis=0))


def pearson(target: NDArray[np.floating], prediction: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlate columns pairwise.

    Args:
        target: (n, g), finite.
        prediction: (n, g), finite.

    Returns:
        (g,) float64 in -1 .. 1, 1 best; NaN where a column of either is constant.

    Example:
        >>> pearson(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [3.0], [2.0]])).round(6).tolist()
        [0.5]
    """
    undefined = is_constant(target) | is_constant(prediction)
    left, right = _unit_columns(target), _unit_columns(prediction)
    product = np.clip(np.einsum("ng,ng->g", left, right), -1.0, 1.0)
    return np.where(undefined, np.nan, product)


def pearson_by_section(
    target: NDArray[np.floating],
    prediction: NDArray[np.floating],
    section: Sequence[str],
    undefined: Undefined = "omit",
) -> NDArray[np.float64]:
    """Correlate columns inside each section, then average over sections with equal weights.

    Args:
        target: (n, g), finite.
        prediction: (n, g), finite.
        section: section of each row.
        undefined: what a section with a constant column does: ``omit`` leaves it out (NaN when none is left),
            ``propagate`` makes the mean NaN, ``zero`` counts it as 0.

    Returns:
        (g,) float64 in -1 .. 1.
    """
    labels = np.asarray(section)
    table = np.array([pearson(target[labels == name], prediction[labels == name]) for name in dict.fromkeys(section)])
    if undefined == "zero":
        return np.asarray(np.nan_to_num(table).mean(axis=0))
    if undefined == "propagate":
        return np.asarray(table.mean(axis=0))
    defined = ~np.isnan(table)
    summed, count = np.where(defined, table, 0.0).sum(axis=0), defined.sum(axis=0)
    return np.asarray(np.divide(summed, count, out=np.full(table.shape[1], np.nan), where=count > 0))


def mean_squared_error(target: NDArray[np.floating], prediction: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean squared difference of each column: (g,) float64, 0 best.

    Example:
        >>> mean_squared_error(np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]])).tolist()
        [2.0]
    """
    return np.asarray(((target - prediction) ** 2).mean(axis=0), dtype=np.float64)


def explained_variance(target: NDArray[np.floating], prediction: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return R2 = 1 - residual sum of squares / sum of squares about the mean, per column.

    Returns:
        (g,) float64, 1 best, unbounded below; NaN where the target is constant.

    Example:
        >>> explained_variance(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [2.0]])).tolist()
        [0.5]
    """
    residual = ((target - prediction) ** 2).sum(axis=0)
    total = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    defined = ~is_constant(target) & (total > 0)
    ratio = np.divide(residual, total, out=np.full(target.shape[1], np.nan), where=defined)
    return np.asarray(1.0 - ratio)


def _unit_columns(values: NDArray[np.floating]) -> NDArray[np.float64]:
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    largest = np.abs(centred).max(axis=0)
    centred /= np.where(largest > 0, largest, 1.0)  # squares of tiny numbers would underflow
    length = np.sqrt(np.einsum("ng,ng->g", centred, centred))
    return np.asarray(centred / np.where(length > 0, length, 1.0))
