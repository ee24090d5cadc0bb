"""Embeddings that hardly depend on the sample: their scores are rounding noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.types import Field

MOST_ALIKE = 1 - 1e-6
"""Mean pairwise cosine above which half precision stores mostly constant columns."""
_ROWS = 4096


def diagnose(features: NDArray[np.floating]) -> dict[str, Field]:
    """Tell whether embeddings are collapsed.

    Args:
        features: (n, D) finite floats, one row a sample.

    Returns:
        ``collapsed`` and ``collapsed_reasons``: ``constant`` (no dimension varies) and ``cosine`` (mean pairwise
        cosine above 1 - 1e-6). One sample alone is never collapsed.

    Example:
        >>> diagnose(np.array([[1.0, 2.0], [2.0, 4.0]]))
        {'collapsed': True, 'collapsed_reasons': ['cosine']}
    """
    reasons: list[str] = []
    if len(features) > 1:
        if bool((features == features[0]).all()):
            reasons.append("constant")
        if mean_cosine(features) > MOST_ALIKE:
            reasons.append("cosine")
    return {"collapsed": bool(reasons), "collapsed_reasons": reasons}


def mean_cosine(features: NDArray[np.floating]) -> float:
    """Return the mean cosine over all pairs of different rows, in [-1, 1].

    The squared length of the summed unit rows holds every pair twice and every row with itself once, so O(n D)
    operations in float64 suffice. A row of zeros has no direction; its cosine with any other counts as 0.

    Args:
        features: (n, D) finite floats, n >= 2.

    Raises:
        ValueError: fewer than two rows.

    Example:
        >>> mean_cosine(np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])) == 1 / 3
        True
    """
    if len(features) < 2:
        raise ValueError(f"mean cosine: expected at least 2 rows, got {len(features)}")
    total = np.zeros(features.shape[1])
    directed = 0
    for start in range(0, len(features), _ROWS):
        rows = features[start : start + _ROWS].astype(np.float64)
        rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)  # squares stay finite
        norms = np.linalg.norm(rows, axis=1)
        present = norms > 0
        total += (rows[present] / norms[present, None]).sum(axis=0)
        directed += int(present.sum())
    return float((total @ total - directed) / (len(features) * (len(features) - 1)))
