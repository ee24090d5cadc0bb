"""A screen without its samples: rows, wells, folds and relations, read from the tables that a spec names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.hashing import hash_file, hash_value
from harness.specs import TaskSpec
from harness.types import DataContext

from ...wells import Relations, WellFold, Wells
from .columns import ScreenSource
from .folds import make_folds
from .relations import find_lists, read_lists, tell_known
from .rows import Rows, choose_rows, take_wells
from .table import Table, find_path, read_text_table
from .thinning import thin_out
from .wells import make_wells, tell_bare


@dataclass(frozen=True)
class Screen:
    """What the tables say.

    Attributes:
        table: the table, with the columns in use.
        rows: the samples.
        wells: the wells.
        folds: at least one.
        keys: column -> its value for each sample, for the columns that name rows and wells.
        well_names: choices of these columns that name a well: those of the ids, and those of the wells.
        files: source -> file of its known pairs.
        relations: source -> known pairs.
    """

    table: Table
    rows: Rows
    wells: Wells
    folds: tuple[WellFold, ...]
    keys: Mapping[str, tuple[str, ...]]
    well_names: Sequence[tuple[str, ...]]
    files: Mapping[str, Path]
    relations: Mapping[str, Relations]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the data that a reader of a score should see."""
        treated = [
            name for name, control in zip(self.wells.perturbation, self.wells.control, strict=True) if not control
        ]
        return (*tell_bare(self.wells), *tell_known(self.relations, treated))

    @cached_property
    def data_hash(self) -> str:
        """sha256 over the rows of the columns in use, what became of them, and the files of known pairs."""
        wells, rows = self.wells, self.rows.at.tolist()
        dose = None if wells.dose is None else [None if np.isnan(one) else float(one) for one in wells.dose]
        return hash_value(
            {
                "cells": {name: [cells[row] for row in rows] for name, cells in self.table.columns.items()},
                "ids": self.rows.ids,
                "wells": [wells.ids, wells.perturbation, wells.control.tolist(), wells.kind, dose],
                "places": [wells.plate, wells.batch, wells.laboratory, self.rows.well_of.tolist()],
                "folds": [[fold.number, fold.rows.tolist(), fold.controls.tolist()] for fold in self.folds],
                "relations": {name: hash_file(path) for name, path in self.files.items()},
            }
        )  # fmt: skip


def open_screen(source: ScreenSource, context: DataContext, more: Mapping[str, str] | None = None) -> Screen:
    """Read and check the tables of a screen.

    Args:
        source: which columns say what.
        context: where files are found, and about how many samples are wanted.
        more: further columns that are read, with the keys that name them.

    Raises:
        MissingDataError: a file is nowhere.
        DamagedFileError: a file is unreadable or contradicts itself.
        UsageError: a column or value that is not there.
    """
    path = find_path(source.table, context, "table")
    files = find_lists(source.relations, context)
    table = read_text_table(path, [*source.used(), *(more or {}).items()])
    rows = choose_rows(table, source)
    well_names = _choose_names(table, rows, source)
    wells, relations = make_wells(table, rows, source), read_lists(source.relations, files)
    if context.limit is not None and context.limit < len(rows.ids):
        rows = _thin(rows, thin_out(wells, max(1, context.limit * len(rows.wells) // len(rows.ids)), relations))
        wells = make_wells(table, rows, source)
    fold = source.columns.fold
    numbers = None if fold is None else take_wells(table, rows, fold, "columns.fold")
    return Screen(
        table=table,
        rows=rows,
        wells=wells,
        folds=make_folds(table, rows, wells, numbers),
        keys={
            name: tuple(table.columns[name][row] for row in rows.at.tolist())
            for name in dict.fromkeys(name for choice in well_names for name in choice)
        },
        well_names=well_names,
        files=files,
        relations=relations,
    )


def check_views(spec: TaskSpec, reader: str, view: str) -> None:
    """Check that a task asks for the one view of a reader.

    Raises:
        UsageError: it asks for others.
    """
    if spec.input.views != [view]:
        raise UsageError(
            f"{spec.name}: input.views: the reader {reader} offers [{view}], not [{', '.join(spec.input.views)}]"
        )


def _choose_names(table: Table, rows: Rows, source: ScreenSource) -> list[tuple[str, ...]]:
    """Return the columns of ids and wells, with that of ``only`` where rows left out have names of rows taken."""
    taken, choices = set(rows.at.tolist()), []
    for columns in filter(None, (source.id, source.well)):
        names = table.names(columns)
        known = {names[row] for row in taken}
        twice = any(name in known for row, name in enumerate(names) if row not in taken)
        choices.append((*columns, source.only.column) if twice and source.only is not None else tuple(columns))
    return choices


def _thin(rows: Rows, kept: NDArray[np.int64]) -> Rows:
    """Keep the samples of some wells."""
    number = np.full(len(rows.wells), -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    inside = np.flatnonzero(number[rows.well_of] >= 0)
    return replace(
        rows,
        ids=tuple(rows.ids[row] for row in inside.tolist()),
        at=rows.at[inside],
        wells=tuple(rows.wells[well] for well in kept.tolist()),
        well_of=number[rows.well_of[inside]],
        first=rows.first[kept],
    )
