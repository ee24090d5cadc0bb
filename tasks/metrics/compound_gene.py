"""Drug-target retrieval: do the targets of a compound lie nearer to it in the map than genes drawn at random?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ranked_lists import ListScores, score_lists

Array = NDArray[np.float64]
NEGATIVES_PER_ACTIVE = 2


@dataclass(frozen=True)
class Query:
    """One compound and the genes that it is asked about.

    Attributes:
        compound: name.
        actives: genes that it acts on, sorted.
        pool: genes from which negatives are drawn, sorted.
        n_negatives: how many are drawn.
    """

    compound: str
    actives: tuple[str, ...]
    pool: tuple[str, ...]
    n_negatives: int


@dataclass(frozen=True)
class Queries:
    """The compounds that can be asked about, sorted by name, and why others cannot.

    Attributes:
        queries: one a compound.
        without_active: compounds of the map for which no active gene is known.
        small_pool: compounds with fewer genes in the pool than negatives are needed.
        absent_genes: genes of the truth that are not in the map.
    """

    queries: tuple[Query, ...]
    without_active: tuple[str, ...]
    small_pool: tuple[str, ...]
    absent_genes: tuple[str, ...]


def pose_queries(
    interactions: Iterable[tuple[str, str, float]],
    compounds: Collection[str],
    genes: Collection[str],
    *,
    active_nm: float = 1000.0,
    exclude_nm: float = 10_000.0,
    min_negatives: int = 20,
) -> Queries:
    """Derive from measured affinities what each compound is asked.

    A gene is active at or below ``active_nm``, left out above it up to ``exclude_nm`` (unless another measurement
    makes it active), and in the pool of negatives otherwise, measured or not. Genes that are not in the map are
    removed first. max(2 x actives, ``min_negatives``) negatives are drawn.

    Args:
        interactions: (compound, gene, nM); a pair may stand several times.
        compounds: those in the map.
        genes: those in the map.
        active_nm: largest affinity of an active gene, nM.
        exclude_nm: largest affinity of a gene that is left out, nM.
        min_negatives: least number of negatives.

    Source: recursionpharma/EFAAR_benchmarking, compound-gene benchmark of RxRx3-core; genes outside the map raise
    KeyError there.

    Example:
        >>> truth = [("c", "A", 5.0), ("c", "B", 5000.0), ("d", "C", 2.0), ("d", "D", 3.0)]
        >>> pose_queries(truth, {"c"}, {"A", "B", "C", "D"}, min_negatives=2).queries
        (Query(compound='c', actives=('A',), pool=('C', 'D'), n_negatives=2),)
    """
    affinity: dict[str, dict[str, float]] = {}
    truth: set[str] = set()
    absent: set[str] = set()
    for compound, gene, value in interactions:
        if gene not in genes:
            absent.add(gene)
            continue
        truth.add(gene)
        best = affinity.setdefault(compound, {})
        best[gene] = min(value, best.get(gene, np.inf))
    found: list[Query] = []
    without_active, small_pool = [], []
    for compound in sorted(compounds):
        best = affinity.get(compound, {})
        actives = tuple(sorted(gene for gene, value in best.items() if value <= active_nm))
        pool = tuple(sorted(truth - {gene for gene, value in best.items() if value <= max(active_nm, exclude_nm)}))
        n_negatives = max(NEGATIVES_PER_ACTIVE * len(actives), min_negatives)
        if not actives:
            without_active.append(compound)
        elif len(pool) < n_negatives:
            small_pool.append(compound)
        else:
            found.append(Query(compound, actives, pool, n_negatives))
    return Queries(tuple(found), tuple(without_active), tuple(small_pool), tuple(sorted(absent)))


def draw_negatives(pool: int, count: int, seeds: Sequence[int]) -> NDArray[np.int64]:
    """Draw negatives without replacement, one row a seed: ``default_rng(seed).choice(pool, count)``, (seeds, count)."""
    return np.array([np.random.default_rng(seed).choice(pool, count, replace=False) for seed in seeds], dtype=np.int64)


def score_query(query: Query, similarity: Array, row: Mapping[str, int], seeds: Sequence[int]) -> ListScores:
    """Rank actives and drawn negatives of one compound, at each dose and at the best of them.

    Args:
        query: the compound.
        similarity: (n_doses, n_genes) float64, absolute cosines of the doses present to the genes of the map.
        row: column of each gene in it.
        seeds: one draw of negatives each.

    Returns:
        Scores of shape (n_doses + 1, n_seeds); the last row is ``max``: each gene by its largest similarity.
    """
    actives = np.array([row[gene] for gene in query.actives])
    pool = np.array([row[gene] for gene in query.pool])
    negatives = pool[draw_negatives(len(pool), query.n_negatives, seeds)]
    columns = np.hstack([np.broadcast_to(actives, (len(seeds), len(actives))), negatives])
    stacked = np.vstack([similarity, similarity.max(axis=0, keepdims=True)])
    return score_lists(stacked[:, columns], len(actives))
