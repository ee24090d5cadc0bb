"""What a ranking scores that knows nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_EULER = 0.5772156649015329
_EXACT = 4096  # harmonic numbers up to here are summed; beyond, the series is exact to the last digit


def expected_average_precision(positives: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
    """Expect the average precision of a ranking that is drawn uniformly from all orders without ties.

    ``E(M, L) = ((M - 1)/(L - 1) (L - H_L) + H_L) / L`` with ``H_L = 1 + 1/2 + ... + 1/L``: the item at rank r is
    relevant with probability M/L, and the r - 1 items before it then hold (r - 1)(M - 1)/(L - 1) others on average.

    Args:
        positives: number of relevant items M, integers, any shape.
        items: number of ranked items L, integers, broadcast against ``positives``.

    Returns:
        The expectation, float64 of the broadcast shape, in (0, 1]; 1 where all items are relevant, NaN where none is.

    Raises:
        ValueError: a count is negative or no whole number, or there are more relevant items than items.

    Source: closed form of the expectation; agrees with the mean over all permutations (tests).

    Example:
        One relevant item of two stands first or second: (1 + 1/2) / 2.

        >>> expected_average_precision(1, 2).item()
        0.75
        >>> expected_average_precision([1, 3, 0], [21, 3, 5]).round(4)
        array([0.1736, 1.    ,    nan])
    """
    m, n = np.broadcast_arrays(np.asarray(positives, dtype=np.float64), np.asarray(items, dtype=np.float64))
    if not (np.all(m >= 0) and np.all(m <= n) and np.all(m == np.floor(m)) and np.all(n == np.floor(n))):
        raise ValueError("positives and items are whole numbers with 0 <= positives <= items")
    harmonic = _sum_harmonic(n)
    others = np.divide(m - 1, n - 1, out=np.zeros(m.shape), where=n > 1)
    total = others * (n - harmonic) + harmonic
    return np.asarray(np.divide(total, n, out=np.full(m.shape, np.nan), where=m > 0))


def _sum_harmonic(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 + 1/2 + ... + 1/n of each count, 0 for 0."""
    table = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, _EXACT + 1))])
    large = np.maximum(n, _EXACT)
    series = np.log(large) + _EULER + 1 / (2 * large) - 1 / (12 * large**2) + 1 / (120 * large**4)
    return np.where(n <= _EXACT, table[np.minimum(n, _EXACT).astype(np.int64)], series)
