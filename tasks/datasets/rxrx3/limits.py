"""Fewer wells for a trial: fewer genes, fewer images of each and fewer controls, so that a score stays defined."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ...wells import Relations, WellFold
from .folds import Split
from .interactions import Interaction
from .metadata import Metadata

_FEWEST_GENES = 40
"""A map of fewer than 20 genes has no score, and a compound is ranked among 20 genes that it does not bind."""
_FEWEST_COMPOUNDS = 4
_FEWEST_CONTROLS = 2
"""Controls a batch keeps, so that their spread is defined."""
_SHARES = (*(0.9**step for step in range(80)), 0.0)


def thin_out(split: Split, wells: Metadata, limit: int | None, order: Sequence[str]) -> Split:
    """Keep at most ``limit`` wells of all folds together, or the fewest with which a score is defined.

    Genes are kept from the beginning of ``order``, wells of a gene and controls of an experiment in the order of
    their names; experiments without a gene that is kept lose their controls.

    Args:
        split: all folds.
        wells: the table that their rows point into.
        limit: how many; None for all.
        order: genes and compounds, those first whose relations are known.

    Returns:
        The folds with fewer rows, and a note.
    """
    whole = _count(split.folds)
    if limit is None or limit >= whole:
        return split
    plans = [_plan(fold, wells, order) for fold in split.folds]
    fits = bisect_left(_SHARES, True, key=lambda share: _count([plan.cut(share) for plan in plans]) <= limit)
    folds = tuple(plan.cut(_SHARES[min(fits, len(_SHARES) - 1)]) for plan in plans)
    kept = _count(folds)
    told = f"a trial on {kept} of {whole} wells (--limit {limit}): fewer genes, images of a gene, and controls"
    return Split(folds, (*split.notes, told + ("; fewer would leave no score" if kept > limit else "")))


def order_by_relations(relations: Mapping[str, Relations], wells: Metadata) -> tuple[str, ...]:
    """Order genes so that the first ones have known pairs in every source; those without any stand last.

    Sources take turns with their pairs, in alphabetical order, of which both genes were perturbed.
    """
    genes = set(wells.perturbation[wells.gene])
    known = [[pair for pair in one.pairs if genes.issuperset(pair)] for one in relations.values()]
    turns = (gene for turn in zip_longest(*known) for pair in turn if pair for gene in pair)
    return tuple(dict.fromkeys([*turns, *_sorted_names(wells)]))


def order_by_interactions(interactions: Sequence[Interaction], wells: Metadata) -> tuple[str, ...]:
    """Order genes and compounds so that the first ones bind one another, the strongest first."""
    present = set(wells.perturbation)
    strongest = sorted(interactions, key=lambda item: (item.nanomolar, item))
    ends = (name for item in strongest if present.issuperset(item[:2]) for name in item[:2])
    return tuple(dict.fromkeys([*ends, *_sorted_names(wells)]))


@dataclass(frozen=True)
class _Plan:
    """A fold with all that tells which of its wells go first.

    Attributes:
        fold: the whole fold.
        wells: the table.
        rows: (n,) int64, the rows that are scored and no ``EMPTY_control``; the columns below are about them.
        place: (n,) int64, place of the perturbation of each row among those of its kind.
        n_of_kind: (n,) int64, number of perturbations of the same kind.
        rank: (n,) int64, place of each row among the wells of one perturbation and dose.
        size: (n,) int64, number of those wells.
        fewest: (n,) int64, perturbations of the kind of each row that must stay.
    """

    fold: WellFold
    wells: Metadata
    rows: NDArray[np.int64]
    place: NDArray[np.int64]
    n_of_kind: NDArray[np.int64]
    rank: NDArray[np.int64]
    size: NDArray[np.int64]
    fewest: NDArray[np.int64]

    def cut(self, share: float) -> WellFold:
        """Keep about a share of the perturbations, of the wells of each, and of the controls."""
        stays = self.place < np.maximum(self.fewest, np.ceil(share * self.n_of_kind))
        stays &= self.rank < np.maximum(1, np.ceil(share * self.size))
        rows, controls = self.rows[stays], self.fold.controls
        batches = self.wells.experiment[controls]
        rank, size = _ranks(batches)
        enough = rank < np.maximum(_FEWEST_CONTROLS, np.ceil(share * size))
        used = np.isin(batches.astype(str), np.unique(self.wells.experiment[rows].astype(str)))
        kept = controls[enough & used]
        return WellFold(self.fold.number, np.union1d(rows, kept[np.isin(kept, self.fold.rows)]), kept)


def _plan(fold: WellFold, wells: Metadata, order: Sequence[str]) -> _Plan:
    rows = fold.rows[~wells.control[fold.rows]]
    names, kinds, doses = wells.perturbation[rows], wells.kind[rows], wells.dose[rows]
    position = {name: index for index, name in enumerate(order)}
    place, n_of_kind = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    for kind in set(kinds):
        of_kind = np.flatnonzero(kinds == kind)
        distinct, inverse = np.unique([position[name] for name in names[of_kind]], return_inverse=True)
        place[of_kind], n_of_kind[of_kind] = inverse, len(distinct)
    rank, size = _ranks(zip(names, kinds, doses.astype(str), strict=True))
    fewest = np.where(kinds == "CRISPR", _FEWEST_GENES, _FEWEST_COMPOUNDS)
    return _Plan(fold, wells, rows, place, n_of_kind, rank, size, fewest)


def _ranks(groups: Iterable[object]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the place of each element among those equal to it, and how many those are."""
    listed, seen = list(groups), dict[object, int]()
    rank = np.array([_next(seen, group) for group in listed], dtype=np.int64)
    return rank, np.array([seen[group] for group in listed], dtype=np.int64)


def _next(seen: dict[object, int], group: object) -> int:
    seen[group] = seen.get(group, 0) + 1
    return seen[group] - 1


def _sorted_names(wells: Metadata) -> Iterator[str]:
    return iter(sorted(set(wells.perturbation)))


def _count(folds: Sequence[WellFold]) -> int:
    """Count the wells of all folds, each once."""
    return len(np.unique(np.concatenate([array for fold in folds for array in (fold.rows, fold.controls)])))
