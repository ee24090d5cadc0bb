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


def diagnose(folds: Sequence[FoldAnswers], params: Params) -> dict[str, Field]:
    """Tell what was asked, what chance gives and how far the draws of negatives spread; one entry a fold."""
    chance, spread = [], []
    for fold in folds:
        actives = np.array([len(query.actives) for query in fold.queries.queries])
        items = actives + np.array([query.n_negatives for query in fold.queries.queries], dtype=np.int64)
        chance.append(float(expected_average_precision(actives, items).mean()) if len(actives) else None)
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
        "chance": chance[0] if len(chance) == 1 else chance,
        "negative_sd": spread[0] if len(spread) == 1 else spread,
    }
