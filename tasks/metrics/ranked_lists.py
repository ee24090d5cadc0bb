"""Average precision and area under the ROC curve of many short ranked lists at once; ties are grouped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ListScores:
    """Scores of lists, each of the shape of all but the last axis, float64 in [0, 1], 1 best, NaN undefined.

    Attributes:
        average_precision: chance is :func:`~harness.tasks.metrics.chance.expected_average_precision`.
        auc: area under the ROC curve; chance 0.5.
    """

    average_precision: Array
    auc: Array


def score_lists(scores: Array, positives: int) -> ListScores:
    """Score lists whose first items are the relevant ones.

    Items of one score share one place: precision is taken at its end, and an irrelevant item that ties with a
    relevant one counts half for the area. Agrees with scikit-learn to 1e-12.

    Args:
        scores: (..., L) float64, higher is nearer, without NaN.
        positives: the first so many items are relevant, 0 <= positives <= L.

    Returns:
        NaN where there is no relevant item, and for the area where there is no other.

    Raises:
        ValueError: there are more relevant items than items.

    Example:
        The relevant item stands second of three: precision 1/2, one of two others behind it.

        >>> found = score_lists(np.array([0.5, 0.9, 0.1]), 1)
        >>> found.average_precision.item(), found.auc.item()
        (0.5, 0.5)
    """
    length = scores.shape[-1]
    if not 0 <= positives <= length:
        raise ValueError(f"score_lists: {positives} relevant of {length} items")
    empty = np.full(scores.shape[:-1], np.nan)
    if positives == 0:
        return ListScores(empty, empty)
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=-1)
    relevant = order < positives
    first, last = _tie_bounds(ranked)
    found = np.take_along_axis(np.cumsum(relevant, axis=-1), last, axis=-1)
    precision = np.where(relevant, found / (last + 1.0), 0.0).sum(axis=-1) / positives
    if positives == length:
        return ListScores(precision, empty)
    place = np.where(relevant, (first + last) / 2.0, 0.0).sum(axis=-1)  # mean place of a tie, from 0
    others = place - positives * (positives - 1) / 2  # irrelevant items before relevant ones, ties half
    return ListScores(precision, 1.0 - others / (positives * (length - positives)))


def _tie_bounds(ranked: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last place of the tie that each place of sorted lists belongs to."""
    length = ranked.shape[-1]
    places = np.broadcast_to(np.arange(length), ranked.shape)
    changes = ranked[..., 1:] != ranked[..., :-1]
    edge = np.ones((*ranked.shape[:-1], 1), dtype=bool)
    starts = np.concatenate([edge, changes], axis=-1)
    ends = np.concatenate([changes, edge], axis=-1)
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=-1)
    backwards = np.where(ends, places, length)[..., ::-1]
    return first, np.minimum.accumulate(backwards, axis=-1)[..., ::-1]
