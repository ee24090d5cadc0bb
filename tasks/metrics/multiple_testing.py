"""Adjustment of p-values for the number of tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def benjamini_hochberg(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return q-values: the smallest false discovery rate at which each test would be called.

    Args:
        p_values: (m,) float64 in 0 .. 1; NaN stands for a test that was not made and does not count in m.

    Returns:
        (m,) float64 in 0 .. 1, NaN where the p-value is; equal p-values have equal q-values.

    Raises:
        ValueError: a p-value lies outside 0 .. 1.

    Source: Benjamini and Hochberg 1995, the step-up procedure.

    Example:
        The second is 0.02 * 3 / 2; the first, 0.01 * 3 / 1, is no larger.

        >>> benjamini_hochberg(np.array([0.01, 0.5, np.nan, 0.02])).round(6)
        array([0.03, 0.5 ,  nan, 0.03])
    """
    made = np.flatnonzero(~np.isnan(p_values))
    tested = p_values[made]
    if ((tested < 0) | (tested > 1)).any():
        raise ValueError("a p-value lies outside 0 .. 1")
    order = np.argsort(tested, kind="stable")
    raised = tested[order] * len(tested) / np.arange(1, len(tested) + 1)
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[made[order]] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return adjusted
