"""What a reader of a compound-gene score should know, and what was computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.types import Field

from ..metrics.alignment import Method
from ..metrics.chance import expected_average_precision
from ..metrics.compound_gene import Queries
from .compound_gene_params import Params
from .compound_gene_units import CompoundScores, take_best
from .well_groups import DOSES

_SHOWN = 3


@dataclass(frozen=True)
class FoldAnswers:
    """What was asked in one fold, and the answers under each alignment."""

    number: int
    queries: Queries
    scores: Mapping[Method, Mapping[str, CompoundScores]]
    notes: tuple[str, ...]


def explain(number: int, queries: Queries) -> list[str]:
    """Say which compounds and genes could not be asked about."""
    notes = []
    if not queries.queries:
        notes.append(f"fold {number}: no compound has a known target and enough negatives in the map")
    if queries.small_pool:
        first = ", ".join(queries.small_pool[:_SHOWN])
        notes.append(f"fold {number}: {len(queries.small_pool)} compounds have too few negatives: {first}")
    if queries.absent_genes:
        first = ", ".join(queries.absent_genes[:_SHOWN])
        notes.append(f"fold {number}: {len(queries.absent_genes)} genes of the targets are not in the map: {first}")
    return notes


def expect_chance(folds: Sequence[FoldAnswers], params: Params) -> dict[str, float]:
    """Return the average precision of random rankings: mean over the compounds of each metric, then over folds."""
    by_metric: dict[str, list[float]] = {}
    for fold in folds:
        sizes = {query.compound: (len(query.actives), query.n_negatives) for query in fold.queries.queries}
        answers = fold.scores[params.align.method]
        for dose in (*DOSES, "max"):
            asked = [sizes[name] for name, one in answers.items() if dose == "max" or dose in one.doses]
            if asked:
                actives, negatives = np.array(asked).T
                expected = expected_average_precision(actives, actives + negatives)
                by_metric.setdefault(f"ap.{dose}", []).append(float(expected.mean()))
    return {
        f"{metric}{suffix}": float(np.mean(values))
        for metric, values in by_metric.items()
        for suffix in params.align.suffixes
    }


def diagnose(folds: Sequence[FoldAnswers], params: Params) -> dict[str, Field]:
    """Tell what was asked and how far the draws of negatives spread; lists have one entry a fold."""
    spread: list[float | None] = []
    for fold in folds:
        rows = np.array(list(take_best(fold.scores[params.align.method]).values()))
        draws = rows.mean(axis=0) if len(rows) else np.zeros(0)
        spread.append(float(draws.std(ddof=1)) if len(draws) > 1 else None)
    return {
        "align": list(params.align.methods),
        "folds": [fold.number for fold in folds],
        "n_compounds": [len(fold.queries.queries) for fold in folds],
        "n_without_target": [len(fold.queries.without_active) for fold in folds],
        "n_too_few_negatives": [len(fold.queries.small_pool) for fold in folds],
        "n_absent_genes": [len(fold.queries.absent_genes) for fold in folds],
        "chance": expect_chance(folds, params).get("ap.max"),
        "negative_sd": spread[0] if len(spread) == 1 else spread,
    }
