"""From hits to units: pairs for the tails of the whole map, genes for the tails of each query.

A pair belongs to two genes, and both are clusters of it. ``Units.cluster`` holds one name a unit, so it stays None and
the unit's own name, ``A|B`` or ``SOURCE:A|B``, carries both genes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.types import Units

from ..metrics.alignment import Method
from .gene_recall_map import MapLayout, MapRecall
from .gene_recall_params import Params

NO_PAIR, NO_GENE = "-|-", "-"
"""Names of the one undefined unit of a source without known pairs in the map."""
METRICS = ("recall_top5.*", "recall_both5.*", "recall_bottom5.*", "recall_both10.*", "recall_top5_per_query.*")
"""Patterns: the data name the sources, and any alignment may stand beside."""


@dataclass(frozen=True)
class _Column:
    """Units of one source in one fold; weights are those within the source."""

    names: list[str]
    values: NDArray[np.float64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class FoldMaps:
    """Everything about one fold: its layout, and the hits under each alignment."""

    number: int
    layout: MapLayout
    recalls: Mapping[Method, MapRecall]


def collect_units(folds: Sequence[FoldMaps], params: Params) -> dict[str, Units]:
    """Lay out the units of every metric: each tail, each source and their mean, each alignment."""
    units: dict[str, Units] = {}
    names = [{source: _name_pairs(fold.layout, source) for source in fold.layout.pairs} for fold in folds]
    for suffix, method in params.align.suffixes.items():
        for tail, metric in params.metrics.items():
            by_gene = params.asks_genes(tail)
            columns = [
                {
                    source: _count_genes(fold, method, source)
                    if by_gene
                    else _list_pairs(pairs, fold.recalls[method].tails[tail][source])
                    for source, pairs in named.items()
                }
                for fold, named in zip(folds, names, strict=True)
            ]
            kind = "gene" if by_gene else "pair"
            numbers = [fold.number for fold in folds]
            for source in folds[0].layout.pairs:
                parts = [column[source] for column in columns]
                units[f"{metric}.{source}{suffix}"] = _join(kind, numbers, [[part] for part in parts], _own)
            means = [[_prefix(source, part) for source, part in column.items()] for column in columns]
            units[f"{metric}.mean{suffix}"] = _join(kind, numbers, means, _share)
    return units


def _name_pairs(layout: MapLayout, source: str) -> list[str]:
    pairs, genes = layout.pairs[source], layout.genes
    ends = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    return ["|".join(sorted((genes[first], genes[second]))) for first, second in ends]


def _list_pairs(names: list[str], hits: NDArray[np.bool_]) -> _Column:
    if not names:
        return _Column([NO_PAIR], np.array([np.nan]), np.ones(1))
    return _Column(names, hits.astype(np.float64), np.ones(len(names)))


def _count_genes(fold: FoldMaps, method: Method, source: str) -> _Column:
    pairs, near = fold.layout.pairs[source], fold.recalls[method].near
    if near is None or not len(pairs):
        return _Column([NO_GENE], np.array([np.nan]), np.ones(1))
    gene = np.concatenate([pairs.first, pairs.second])
    known = np.bincount(gene, minlength=len(fold.layout.genes))
    hits = np.bincount(gene, weights=np.concatenate(near[source]), minlength=len(known))
    at = np.flatnonzero(known)
    return _Column([fold.layout.genes[row] for row in at], hits[at] / known[at], known[at].astype(np.float64))


def _prefix(source: str, part: _Column) -> _Column:
    return _Column([f"{source}:{name}" for name in part.names], part.values, part.weights)


def _own(part: _Column) -> NDArray[np.float64]:
    return part.weights


def _share(part: _Column) -> NDArray[np.float64]:
    """Give each source the same weight."""
    return np.asarray(part.weights / part.weights.sum())


def _join(
    kind: str,
    numbers: Sequence[int],
    folds: Sequence[Sequence[_Column]],
    weigh: Callable[[_Column], NDArray[np.float64]],
) -> Units:
    """Lay the columns of all folds under one another; an undefined source makes the value undefined."""
    parts = [(number, part) for number, columns in zip(numbers, folds, strict=True) for part in columns]
    return Units(
        kind=kind,
        unit=tuple(name for _, part in parts for name in part.names),
        fold=np.concatenate([np.full(len(part.names), number, dtype=np.int64) for number, part in parts]),
        value=np.concatenate([part.values for _, part in parts]),
        weight=np.concatenate([weigh(part) for _, part in parts]),
        undefined="propagate",
    )
