"""Average precision of rankings by similarity, with an exact rule for ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ties = Literal["grouped", "pos_first", "neg_first"]
TIES: tuple[Ties, ...] = ("grouped", "pos_first", "neg_first")

_GRID: dict[str, tuple[float, type[np.signedinteger]]] = {
    "float64": (2.0**40, np.int64),
    "float32": (2.0**20, np.int32),
}
"""Similarities are counted in steps of 2^-40 (float32: 2^-20), whatever the order in which a product was summed: equal
vectors tie. A product of matrices alone does not give them equal similarities, as its edges are summed otherwise."""


@dataclass(frozen=True)
class Ranked:
    """Average precision of queries.

    Attributes:
        score: (q,) float64 in (0, 1], 1 best; NaN where the gallery holds nothing relevant.
        relevant: (q,) int64, relevant items in the gallery, M.
        gallery: (q,) int64, items that were ranked, L.
    """

    score: NDArray[np.float64]
    relevant: NDArray[np.int64]
    gallery: NDArray[np.int64]


def average_precision(
    similarity: NDArray[np.float64] | NDArray[np.float32],
    relevant: NDArray[np.bool_],
    gallery: NDArray[np.bool_],
    ties: Ties = "grouped",
) -> Ranked:
    """Score the ranking of a gallery by each query: the mean over relevant items of the precision at their rank.

    With s_p the similarity of a relevant item p, the precision at p is ``#(relevant with s >= s_p) / #(s >= s_p)``
    when ties are ``grouped``. ``pos_first`` lets relevant items stand before irrelevant ones of the same similarity
    (optimistic: equal vectors score 1), ``neg_first`` after them (pessimistic).

    Args:
        similarity: (q, n) float64 or float32, finite, in -1 .. 1 (at most 512); closer than one step of the grid is a
            tie.
        relevant: (q, n) bool.
        gallery: (q, n) bool, the items that a query ranks; others count for nothing, relevant or not.
        ties: rule for equal similarities.

    Source: scikit-learn's ``average_precision_score`` is ``grouped``, copairs 0.5.5 is ``pos_first``.

    Example:
        The relevant items stand at ranks 1 and 3: (1/1 + 2/3) / 2. Of four equal items, half are relevant.

        >>> relevant, all_four = np.array([[True, False, True, False]]), np.ones((1, 4), dtype=bool)
        >>> average_precision(np.array([[0.9, 0.8, 0.7, 0.6]]), relevant, all_four).score.round(4)
        array([0.8333])
        >>> [average_precision(np.zeros((1, 4)), relevant, all_four, ties).score.round(4).item() for ties in TIES]
        [0.5, 1.0, 0.4167]
    """
    steps, kind = _GRID[similarity.dtype.name]
    wanted = 0 if ties == "pos_first" else 1  # the last bit of a key orders ties
    scaled = similarity * similarity.dtype.type(-steps)
    keys = np.rint(scaled, out=scaled).astype(kind)
    keys <<= 1
    keys |= relevant if wanted else ~relevant
    last = np.iinfo(kind).max - wanted  # far behind all others, with the bit of an irrelevant item
    np.copyto(keys, last, where=~gallery)
    keys.sort(axis=1)
    found = np.flatnonzero((keys & 1) == wanted)  # relevant items by query, most similar first
    query, rank = np.divmod(found, keys.shape[1])
    counts = np.bincount(query, minlength=len(keys))
    order = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    precision = (order + 1) / (rank + 1)
    if ties == "grouped":
        precision = _share_precision(precision, query, keys.ravel()[found])
    total = np.bincount(query, weights=precision, minlength=len(keys))
    score = np.divide(total, counts, out=np.full(len(keys), np.nan), where=counts > 0)
    return Ranked(score, counts.astype(np.int64), gallery.sum(axis=1, dtype=np.int64))


def _share_precision(
    precision: NDArray[np.float64], query: NDArray[np.int64], key: NDArray[np.signedinteger]
) -> NDArray[np.float64]:
    """Give relevant items of one similarity the precision at the last of them; irrelevant ones stand before them."""
    ends = np.flatnonzero(np.append((key[1:] != key[:-1]) | (query[1:] != query[:-1]), True))
    if len(key) == 0 or len(ends) == len(key):
        return precision
    return np.repeat(precision[ends], np.diff(ends, prepend=-1))
