"""Retrieval by cosine in blocks of queries: all against all without all pairs in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .average_precision import Ranked, Ties, average_precision

Gallery = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""From the rows of b queries to (b, n) bool: the items each of them ranks. The query itself never is one."""

LARGEST_EXACT = 20_000
"""Up to so many rows similarities are float64; beyond, float32, which moves a mean average precision by < 1e-5."""

_PIECE = 2**18
"""Similarities that are ranked at a time, so that they stay in the processor's cache."""


def unit_rows(profiles: NDArray[np.floating]) -> NDArray[np.float64] | NDArray[np.float32]:
    """Scale rows to length 1; a zero row stays zero, so that its cosine with everything is 0.

    Args:
        profiles: (n, D), finite.

    Returns:
        (n, D) float64, or float32 beyond ``LARGEST_EXACT`` rows.

    Raises:
        ValueError: a value is NaN or infinite.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    if not np.isfinite(profiles).all():
        raise ValueError("profiles: NaN or infinite")
    kind: type[np.floating] = np.float64 if len(profiles) <= LARGEST_EXACT else np.float32
    units = np.empty(profiles.shape, dtype=kind)
    for start in range(0, len(profiles), 4096):
        part = profiles[start : start + 4096].astype(np.float64)
        largest = np.abs(part).max(axis=1, initial=0.0, keepdims=True)
        part /= np.where(largest > 0, largest, 1.0)  # squares of very large or small values would not be finite
        length = np.sqrt(np.einsum("ij,ij->i", part, part))[:, None]
        units[start : start + 4096] = part / np.where(length > 0, length, 1.0)
    return units


def retrieve(
    units: NDArray[np.float64] | NDArray[np.float32],
    label: NDArray[np.int64],
    *,
    queries: NDArray[np.int64] | None = None,
    gallery: Gallery | None = None,
    ties: Ties = "grouped",
    block: int = 512,
) -> Ranked:
    """Rank items by cosine for every query and score how high those of its label stand.

    Args:
        units: (n, D) rows of length 1 (or 0), as from :func:`unit_rows`.
        label: (n,) int64; an item is relevant if it has the label of the query.
        queries: (q,) int64 rows that ask; None for all.
        gallery: which items a query ranks; None for all others.
        ties: rule for equal similarities.
        block: queries at a time; memory is about ``block * n`` numbers beside the rows.

    Returns:
        Scores in the order of the queries.

    Example:
        The last row meets the stranger first, then its own at ranks 2 and 3: (1/2 + 2/3) / 2.

        >>> units = unit_rows(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.5, 1.0]]))
        >>> retrieve(units, np.array([0, 0, 1, 0])).score.round(4).tolist()
        [1.0, 1.0, nan, 0.5833]
    """
    asking = np.arange(len(units), dtype=np.int64) if queries is None else queries
    buffer = np.empty((min(block, len(asking)), len(units)), dtype=units.dtype)
    step = max(1, _PIECE // max(1, len(units)))
    parts: list[Ranked] = []
    for start in range(0, len(asking), block):
        rows = asking[start : start + block]
        similarity = np.matmul(units[rows], units.T, out=buffer[: len(rows)])
        for low in range(0, len(rows), step):
            some = rows[low : low + step]
            shown = np.ones((len(some), len(units)), dtype=bool) if gallery is None else gallery(some).copy()
            shown[np.arange(len(some)), some] = False
            parts.append(average_precision(similarity[low : low + step], label[some][:, None] == label, shown, ties))
    if not parts:
        return Ranked(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return Ranked(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.relevant for part in parts]),
        np.concatenate([part.gallery for part in parts]),
    )
