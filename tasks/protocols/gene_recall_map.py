"""One map of genes, and which known pairs lie in which tails of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from ..metrics.alignment import Aligned
from ..metrics.cosine_map import CosineMap, map_cosines, pool_rows
from ..metrics.known_pairs import KnownPairs, Pairs
from ..metrics.recall import TAILS, find_hits, find_query_hits
from .gene_recall_params import Params
from .well_groups import Groups

Hits = NDArray[np.bool_]
_FEWEST = 20


@dataclass(frozen=True)
class MapLayout:
    """Rows of a map: genes first, then whatever else the null holds.

    Attributes:
        groups: the rows.
        genes: names of the genes, sorted.
        pairs: known pairs of each source by rows.
    """

    groups: Groups
    genes: tuple[str, ...]
    pairs: Mapping[str, Pairs]


@dataclass(frozen=True)
class MapRecall:
    """Hits of one map.

    Attributes:
        tails: tail -> source -> (m,) bool, hit or miss of each known pair; without ``per_query``.
        near: source -> for both directions of each pair (m,) bool, or None where nobody asked.
        n_null: number of cosines compared with.
        zero: genes that count as zero vectors.
        components: principal axes, or None where the alignment takes none.
        notes: of the alignment.
    """

    tails: Mapping[str, Mapping[str, Hits]]
    near: Mapping[str, tuple[Hits, Hits]] | None
    n_null: int
    zero: tuple[str, ...]
    components: int | None
    notes: tuple[str, ...]


def lay_out(groups: Groups, known: KnownPairs, params: Params) -> MapLayout:
    """Choose the rows of the map.

    Raises:
        UsageError: fewer than 20 genes, or a gene at several doses.
    """
    genes = groups.gene & (params.keep_control | ~groups.control)
    names = tuple(groups.perturbation[row] for row in np.flatnonzero(genes))
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} stands at several doses; known pairs of such perturbations are ambiguous")
    if len(names) < _FEWEST:
        raise UsageError(
            f"the map holds {len(names)} perturbations; recall needs {_FEWEST}, below that chance means nothing"
        )
    more = groups.treatment & groups.on_grid if params.null_rows == "all" else np.zeros(len(groups), dtype=np.bool_)
    chosen = groups.choose(np.flatnonzero(genes), np.flatnonzero(more & ~genes))
    return MapLayout(chosen, names, known.locate(names))


def score_map(aligned: Aligned, layout: MapLayout, params: Params) -> MapRecall:
    """Pool aligned wells, take all cosines and look where the known pairs stand."""
    profiles = pool_rows(aligned.features, layout.groups.codes, len(layout.groups), params.aggregate)
    cosines = map_cosines(profiles)
    names = [tail for tail in params.tails if tail != "per_query"]
    queries = [cosines.read(pairs.first, pairs.second) for pairs in layout.pairs.values()]
    found = find_hits(cosines.triangle, queries, [TAILS[name] for name in names])
    asked = any(params.asks_genes(tail) for tail in params.tails)
    return MapRecall(
        tails={name: dict(zip(layout.pairs, hits, strict=True)) for name, hits in zip(names, found, strict=True)},
        near=_find_near(cosines, layout) if asked else None,
        n_null=len(cosines.triangle),
        zero=tuple(name for name, zero in zip(layout.genes, cosines.zero, strict=False) if zero),
        components=aligned.components,
        notes=aligned.notes,
    )


def _find_near(cosines: CosineMap, layout: MapLayout) -> dict[str, tuple[Hits, Hits]]:
    square = cosines.square(len(layout.genes))
    return {source: find_query_hits(square, pairs) for source, pairs in layout.pairs.items()}
