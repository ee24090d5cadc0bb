"""Recall of known pairs in the tails of all cosines of a map, without ranking anything.

A value lies in a tail if enough of the null lies strictly below (or above) it. That is so exactly if it lies beyond
one order statistic of the null, so a selection of a few of them replaces a sort and a search for every query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .known_pairs import Pairs

Array = NDArray[np.float64]
Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Tail:
    """Shares of the null between which nothing is a hit; None switches a side off."""

    low: float | None
    high: float | None


TAILS: Mapping[str, Tail] = {
    "top5": Tail(None, 0.95),
    "bottom5": Tail(0.05, None),
    "both5": Tail(0.05, 0.95),
    "both10": Tail(0.1, 0.9),
}
PER_QUERY = 20
"""One in so many of the other genes is near enough to a query."""


def find_hits(null: Array, queries: Sequence[Array], tails: Sequence[Tail]) -> list[list[Hits]]:
    """Say which queries lie in which tails of a null distribution.

    With N values in the null, a query is a hit if the share of the null <= it is at most ``low``, or the share
    strictly below it at least ``high``, shares being float64 quotients. A tie with the threshold is a miss: a null
    of equal values has no hits.

    Args:
        null: (N,) float64 in any order, without NaN; left unchanged.
        queries: one array of float64 values a list of pairs.
        tails: tails to test.

    Returns:
        For each tail, for each array of queries, (m,) bool.

    Raises:
        ValueError: the null is empty.

    Source: recursionpharma/EFAAR_benchmarking@2248f40 ``benchmarking.py``, ``compute_recall``.

    Example:
        Of the values 1 to 10 only the largest has nine tenths strictly below it.

        >>> (hits,), = find_hits(np.arange(1.0, 11.0), [np.array([9.0, 10.0])], [Tail(None, 0.9)])
        >>> hits.tolist()
        [False, True]
    """
    total = len(null)
    if not total:
        raise ValueError("find_hits: the null is empty")
    most = [None if tail.low is None else _most_at_or_below(total, tail.low) for tail in tails]
    least = [None if tail.high is None else _least_below(total, tail.high) for tail in tails]
    wanted = {k for k in most if k is not None} | {k - 1 for k in least if k is not None}
    at = _select(null, {k for k in wanted if 0 <= k < total})
    answer = []
    for low, high in zip(most, least, strict=True):
        under = -np.inf if low is None else np.inf if low >= total else at[low]
        over = np.inf if high is None or high > total else -np.inf if high <= 0 else at[high - 1]
        answer.append([(query < under) | (query > over) for query in queries])
    return answer


def find_query_hits(square: Array, pairs: Pairs) -> tuple[Hits, Hits]:
    """Say for both directions of each pair whether the one is among the nearest 5 % of the other.

    Of n profiles, b is near to a if fewer than ceil((n - 1) / 20) others have a strictly larger cosine to a. Ties
    are hits, so in a map of equal values everything is one.

    Args:
        square: (n, n) symmetric float64 cosines; the diagonal is not looked at.
        pairs: known pairs.

    Returns:
        (m,) bool for second near to first, and for first near to second.
    """
    n = len(square)
    near = -(-(n - 1) // PER_QUERY)
    others = square.copy()
    np.fill_diagonal(others, -np.inf)
    limit = np.partition(others, n - near, axis=1)[:, n - near] if near else np.full(n, np.inf)
    cosine = square[pairs.first, pairs.second]
    return cosine >= limit[pairs.first], cosine >= limit[pairs.second]


def _select(values: Array, ranks: Iterable[int]) -> dict[int, float]:
    """Return the values of some ranks (0 = smallest).

    One rank at a time, for which NumPy has vector code: the middle one splits the values, and what lies to its left
    and right is searched for the others.
    """
    parted, found = values.copy(), dict[int, float]()
    left: list[tuple[list[int], int, int]] = [(sorted(ranks), 0, len(values))]
    while left:
        wanted, start, stop = left.pop()
        if wanted:
            middle = len(wanted) // 2
            rank = wanted[middle]
            parted[start:stop].partition(rank - start)
            found[rank] = float(parted[rank])
            left += [(wanted[:middle], start, rank), (wanted[middle + 1 :], rank + 1, stop)]
    return found


def _least_below(total: int, share: float) -> int:
    """Return the smallest count whose float64 share of the total is at least ``share``; total + 1 where none is."""
    count = max(int(share * total) - 2, 0)
    while count <= total and count / total < share:
        count += 1
    return count


def _most_at_or_below(total: int, share: float) -> int:
    """Return the largest count whose float64 share of the total is at most ``share``; shares are >= 0."""
    count = min(int(share * total) + 2, total)
    while count / total > share:
        count -= 1
    return count
