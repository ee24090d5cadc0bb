"""What ``--limit`` leaves of folds: fewer images of a well first, then fewer folds, plates, laboratories and wells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .controls import Controls
from .folds import FoldPlates
from .plates import ControlWells, Plate

PlateWells = tuple[tuple[Plate, tuple[tuple[str, str], ...]], ...]
"""Plates of a fold with their control wells, each (well, JCP2022 id)."""


@dataclass(frozen=True)
class Limited:
    """Wells that stay.

    Attributes:
        folds: plates and wells of each fold.
        per_well: at most so many images of a well; None for no limit.
    """

    folds: tuple[PlateWells, ...]
    per_well: int | None


def limit_wells(folds: FoldPlates, wells: ControlWells, controls: Controls, limit: int | None) -> Limited:
    """Take about ``limit`` samples so that an evaluation is still possible.

    Steps, each taken only where the one before leaves too many wells: one fold; one plate of a laboratory; two
    laboratories; two wells of each positive control and four of DMSO on a plate. Then each well gets an equal share of
    the limit, at least one image. The smallest step may hold more than the limit.
    """
    full = tuple(tuple((plate, wells.of.get(plate.key, ())) for plate in fold) for fold in folds)
    if limit is None:
        return Limited(full, None)
    one_each = tuple({plate.source: (plate, of) for plate, of in reversed(full[0])}.values())[::-1]
    two = one_each[:2]
    few = tuple((plate, _thin(of, controls)) for plate, of in two)
    steps: list[tuple[PlateWells, ...]] = [full, full[:1], (one_each,), (two,), (few,)]
    chosen = next((step for step in steps if _count(step) <= limit), steps[-1])
    return Limited(chosen, max(1, limit // max(1, _count(chosen))))


def _thin(wells: tuple[tuple[str, str], ...], controls: Controls) -> tuple[tuple[str, str], ...]:
    seen: Counter[str] = Counter()
    kept = []
    for well, label in wells:
        seen[label] += 1
        if seen[label] <= (4 if label in controls.negative else 2):
            kept.append((well, label))
    return tuple(kept)


def _count(folds: tuple[PlateWells, ...]) -> int:
    return sum(len(wells) for fold in folds for _, wells in fold)
