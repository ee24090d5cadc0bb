"""The wells of all folds in one order, with their labels: what is asked, without any image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.hashing import hash_value

from ...wells import WellFold, Wells
from .controls import Controls
from .limiting import PlateWells
from .plates import Plate


@dataclass(frozen=True)
class Question:
    """Wells in the order fold, source, batch, plate, well.

    Attributes:
        wells: one row a well; ids ``SOURCE/PLATE/WELL``.
        folds: rows are the positive controls, controls the DMSO wells of the same plates.
        plates: the plates of all folds, in order.
        plate_of: for each well the number of its plate.
        names: for each well its name on the plate, ``A01``.
    """

    wells: Wells
    folds: tuple[WellFold, ...]
    plates: tuple[Plate, ...]
    plate_of: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 over folds, wells and labels; the same with and without images."""
        wells, fold_of = self.wells, [-1] * len(self.names)
        for fold in self.folds:
            for row in (*fold.rows.tolist(), *fold.controls.tolist()):
                fold_of[row] = fold.number
        rows = zip(wells.ids, wells.perturbation, wells.batch or (), wells.control.tolist(), fold_of, strict=True)
        return hash_value({"kind": "jump wells", "rows": [list(row) for row in rows]})


def pose(folds: Sequence[PlateWells], controls: Controls) -> Question:
    """Line up the wells of all folds."""
    plates = tuple(plate for fold in folds for plate, _ in fold)
    rows = [(number, fold, well, label) for number, fold, well, label in _lines(folds)]
    of = [plates[number] for number, *_ in rows]
    labels = tuple(label for *_, label in rows)
    control = np.array([label in controls.negative for label in labels], dtype=bool)
    fold_of = np.array([fold for _, fold, *_ in rows], dtype=np.int64)
    names = tuple(well for _, _, well, _ in rows)
    wells = Wells(
        ids=tuple(f"{plate.source}/{plate.name}/{name}" for plate, name in zip(of, names, strict=True)),
        perturbation=labels,
        control=control,
        batch=tuple(f"{plate.source}/{plate.batch}" for plate in of),
        plate=tuple(f"{plate.source}/{plate.name}" for plate in of),
        laboratory=tuple(plate.source for plate in of),
    )
    made = tuple(
        WellFold(number, np.flatnonzero((fold_of == number) & ~control), np.flatnonzero((fold_of == number) & control))
        for number in range(len(folds))
    )
    return Question(wells, made, plates, tuple(number for number, *_ in rows), names)


def _lines(folds: Sequence[PlateWells]) -> list[tuple[int, int, str, str]]:
    """Return (number of the plate, fold, well, label) of each well."""
    lines, number = [], 0
    for fold, plates in enumerate(folds):
        for _, wells in plates:
            lines += [(number, fold, well, label) for well, label in wells]
            number += 1
    return lines
