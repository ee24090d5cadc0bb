"""Folds that somebody drew already: a CSV with a row a well."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from harness.errors import MissingDataError, SpecError

from ...wells import WellFold
from ..text_tables import read_text_table
from .folds import Split
from .metadata import Metadata

_COLUMNS = ("well_id", "fold")


def read_folds(path: Path, wells: Metadata) -> Split:
    """Read ``well_id,fold``; ``EMPTY_control`` wells normalise their fold, all others are scored.

    Args:
        path: the file; folds are whole numbers, wells may stand in any order, a control may stand in several folds.
        wells: the wells that the task allows.

    Raises:
        MissingDataError: no such file.
        DamagedFileError: unreadable, or without one of the columns.
        SpecError: a well that the table does not have, a well twice, a fold that is no number or has no gene.
    """
    entries = _read_rows(path)
    _refuse_twins(path, entries, wells)
    row_of = {name: row for row, name in enumerate(wells.ids)}
    absent = [name for name, _ in entries if name not in row_of]
    if absent:
        raise SpecError(
            f"{path}: {len(absent)} of {len(entries)} wells are not among the {len(wells)} wells of the task, first: "
            f"{', '.join(absent[:3])}; protocol.params.rows says which kinds count"
        )
    rows_of: dict[int, list[int]] = defaultdict(list)
    for name, fold in entries:
        rows_of[fold].append(row_of[name])
    folds = []
    for number, rows in sorted(rows_of.items()):
        sorted_rows = np.array(sorted(rows), dtype=np.int64)
        normalises = wells.control[sorted_rows]
        if normalises.all():
            raise SpecError(f"{path}: fold {number} holds controls only; give it wells of genes or remove it")
        folds.append(WellFold(number, sorted_rows[~normalises], sorted_rows[normalises]))
    return Split(tuple(folds))


def _read_rows(path: Path) -> list[tuple[str, int]]:
    if not path.is_file():
        raise MissingDataError(f"folds.file: {path}: no such file; name a CSV with the columns {', '.join(_COLUMNS)}")
    table = read_text_table(path, _COLUMNS)
    folds = [_number(path, line, text) for line, text in enumerate(table["fold"].to_pylist(), start=2)]
    return list(zip(table["well_id"].to_pylist(), folds, strict=True))


def _number(path: Path, line: int, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SpecError(f"{path}:{line}: fold: expected a whole number, found {text!r}") from None


def _refuse_twins(path: Path, entries: list[tuple[str, int]], wells: Metadata) -> None:
    controls = set(wells.ids[wells.control])
    counts = Counter(entry if entry[0] in controls else entry[0] for entry in entries)
    twice = [str(entry[0] if isinstance(entry, tuple) else entry) for entry, count in counts.items() if count > 1]
    if twice:
        raise SpecError(
            f"{path}: {len(twice)} wells stand more than once, first: {', '.join(twice[:3])}; folds do not overlap"
        )
