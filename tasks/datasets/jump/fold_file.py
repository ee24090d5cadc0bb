"""Folds that somebody wrote down: ``protocol.params.folds.file``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import DamagedFileError, MissingDataError, SpecError
from harness.types import DataContext

from .columns import read_columns, rows_of
from .controls import Controls
from .folds import FoldPlates
from .plates import ControlWells, Plate


def find_folds(name: str, context: DataContext) -> Path:
    """Find the file: an absolute path, or one below a data folder or the working folder.

    Raises:
        MissingDataError: it is nowhere.
    """
    places = [place / name for place in (*context.data_dirs, Path.cwd())]  # an absolute name stays as it is
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        searched = "\n".join(f"  {place}" for place in dict.fromkeys(places))
        raise MissingDataError(f"protocol.params.folds.file: {name} not found. Searched:\n{searched}")
    return found


def read_folds(path: Path, plates: Sequence[Plate], wells: ControlWells, controls: Controls) -> FoldPlates:
    """Read folds from a CSV file with fold, Metadata_Source, Metadata_Batch and Metadata_Plate; fold numbers from 0.

    Raises:
        SpecError: a fold number that is none, folds that are not numbered 0, 1, …, a plate twice or unknown.
        DamagedFileError: unreadable, or a plate without positive controls.
    """
    columns = ("fold", "Metadata_Source", "Metadata_Batch", "Metadata_Plate")
    known, by_fold = {plate.key: plate for plate in plates}, dict[int, dict[Plate, None]]()
    taken: dict[Plate, int] = {}
    for number, source, batch, name in rows_of(read_columns(path, columns).select(columns)):
        where = f"{path}: plate {source}/{name}"
        if not number.isdecimal():
            raise SpecError(f"{where}: fold {number!r} is not a whole number")
        plate = known.get((source, name))
        if plate is None:
            raise SpecError(f"{where}: the plate table has no such plate")
        if plate.batch != batch:
            raise SpecError(f"{where}: batch {batch}, but {plate.batch} in the plate table")
        if plate in taken:
            raise SpecError(f"{where}: stands in fold {taken[plate]} and in fold {int(number)}")
        if not any(wells.count(plate.key)[label] for label in controls.positive):
            raise DamagedFileError(f"{where}: the well table has no positive control on it")
        taken[plate] = int(number)
        by_fold.setdefault(int(number), {})[plate] = None
    if sorted(by_fold) != list(range(len(by_fold))) or not by_fold:
        found = ", ".join(map(str, sorted(by_fold))) or "none"
        raise SpecError(f"{path}: expected folds 0, 1, … without a gap, found {found}")
    return tuple(tuple(sorted(by_fold[number])) for number in sorted(by_fold))
