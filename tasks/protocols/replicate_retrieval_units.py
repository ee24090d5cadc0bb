"""From ranked queries to scores of compounds, plates or laboratories: the atoms of every metric of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.types import Units

from ..metrics.chance import expected_average_precision
from ..metrics.multiple_testing import benjamini_hochberg
from ..metrics.retrieval import retrieve
from ..metrics.retrieval_p_values import Nulls, p_values_by_unit
from .replicate_retrieval_companions import Question
from .replicate_retrieval_params import Params

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UnitScores:
    """Answers to one question in one fold, one entry a unit.

    Attributes:
        metric: name of the metric.
        kind: what a unit is.
        fold: number of the fold.
        names: (k) names of the units.
        value: (k,) mean average precision over the queries of the unit, NaN where it has none.
        chance: (k,) its expectation under random rankings, NaN likewise.
        n_queries: (k,) int64 queries with anything relevant to find.
        relevant: (k,) mean number of relevant items of a query.
        gallery: (k,) mean number of ranked items of a query.
        left_out: queries without anything relevant to find.
        undefined: why no unit can have a value, or None.
        p: (k,) p-values, or None when not asked for.
    """

    metric: str
    kind: str
    fold: int
    names: tuple[str, ...]
    value: Array
    chance: Array
    n_queries: NDArray[np.int64]
    relevant: Array
    gallery: Array
    left_out: int
    undefined: str | None
    p: Array | None = None

    @property
    def q(self) -> Array | None:
        """(k,) q-values over the units of the fold."""
        return None if self.p is None else benjamini_hochberg(self.p)


def answer(
    question: Question, units: NDArray[np.float64] | NDArray[np.float32], params: Params, fold: int, nulls: Nulls
) -> UnitScores:
    """Rank by every query of a question and average by unit.

    Args:
        question: who asks and who is ranked.
        units: (n, D) rows of length 1 of all wells of the fold.
        params: ``ties``, ``block`` and ``p_values``.
        fold: number of the fold.
        nulls: distributions that were drawn already; new ones are added.
    """
    group = question.group
    queries = question.queries[:0] if question.undefined else question.queries
    everyone = len(question.items) == len(units)
    ranked = retrieve(
        units if everyone else units[question.items],
        group.code,
        queries=queries,
        gallery=question.gallery,
        ties=params.ties,
        block=params.block,
    )
    asked = ranked.relevant > 0
    unit = group.code[queries][asked]
    counts = np.bincount(unit, minlength=len(group.names))

    def average(values: Array) -> Array:
        total = np.bincount(unit, weights=values[asked], minlength=len(counts))
        return np.asarray(np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0))

    value, p = average(ranked.score), None
    if params.p_values is not None and question.tested:
        size, seed = params.p_values.null_size, params.p_values.seed
        p = p_values_by_unit(value, unit, ranked.relevant[asked], ranked.gallery[asked], nulls, size=size, seed=seed)
    return UnitScores(
        question.metric,
        group.kind,
        fold,
        group.names,
        value,
        average(expected_average_precision(ranked.relevant, ranked.gallery)),
        counts.astype(np.int64),
        average(ranked.relevant.astype(np.float64)),
        average(ranked.gallery.astype(np.float64)),
        int((~asked).sum()),
        question.undefined,
        p,
    )


def normalise(scores: UnitScores) -> Array:
    """Return (value - chance) / (1 - chance): 0 at chance, 1 best; NaN where everything ranked is relevant."""
    room = 1 - scores.chance
    return np.asarray(np.divide(scores.value - scores.chance, room, out=np.full(len(room), np.nan), where=room > 1e-12))


def lay_out(folds: Sequence[UnitScores], values: Sequence[Array], params: Params) -> Units:
    """Lay the units of all folds under one another."""
    return Units(
        kind=folds[0].kind,
        unit=tuple(name for one in folds for name in one.names),
        fold=np.concatenate([np.full(len(one.names), one.fold, dtype=np.int64) for one in folds]),
        value=np.concatenate(values),
        undefined=params.undefined,
    )


def split_by_name(whole: Units) -> dict[str, Units]:
    """Return one block a unit: its scores in all folds."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(whole.unit):
        rows.setdefault(name, []).append(row)
    return {
        name: Units(whole.kind, (name,) * len(here), whole.fold[here], whole.value[here], undefined=whole.undefined)
        for name, here in rows.items()
    }
