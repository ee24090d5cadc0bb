"""Which rows of a table belong to a task, what they are called, and which well each shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError, nearest

from .columns import Pick, ScreenSource
from .table import Table


@dataclass(frozen=True)
class Rows:
    """The rows of the task, each one sample.

    Attributes:
        ids: (n,) names of the samples, unique.
        at: (n,) int64, rows of the table.
        wells: names of the wells, in the order in which the table first names them.
        well_of: (n,) int64, the well of each sample.
        first: int64, for each well its first row of the table.
    """

    ids: tuple[str, ...]
    at: NDArray[np.int64]
    wells: tuple[str, ...]
    well_of: NDArray[np.int64]
    first: NDArray[np.int64]


def choose_rows(table: Table, source: ScreenSource) -> Rows:
    """Take the rows that belong to the task.

    Raises:
        DamagedFileError: rows without a name, or a name twice.
        UsageError: a value of ``only`` that no row has.
    """
    at = np.arange(table.n_rows) if source.only is None else np.flatnonzero(find_rows(table, source.only, "only"))
    ids = _name(table, source.id, at, "id")
    twins = [name for name, count in Counter(ids).items() if count > 1]
    if twins:
        raise DamagedFileError(
            f"{table.path}: {len(twins)} ids stand more than once in {', '.join(source.id)} (source.id), first: "
            f"{', '.join(twins[:3])}; name more columns, so that together they name one row"
        )
    names = ids if source.well is None else _name(table, source.well, at, "well")
    wells = {name: number for number, name in enumerate(dict.fromkeys(names))}
    well_of = np.array([wells[name] for name in names], dtype=np.int64)
    _, first = np.unique(well_of, return_index=True)
    return Rows(ids, at, tuple(wells), well_of, at[first])


def find_rows(table: Table, pick: Pick, key: str) -> NDArray[np.bool_]:
    """Tell for each row of the table whether it has one of the values.

    Raises:
        UsageError: a value that no row has; the nearest are named.
    """
    cells = table.columns[pick.column]
    known = list(dict.fromkeys(cells))
    for value in pick.values:
        if value not in known:
            near = nearest(value, known) or known[:8]
            raise UsageError(
                f"{table.path}: source.{key}: no row has {value!r} in column {pick.column}; it holds values such as "
                f"{', '.join(map(repr, near))}"
            )
    return np.isin(np.array(cells, dtype=object), pick.values)


def take_wells(table: Table, rows: Rows, column: str, key: str) -> tuple[str, ...]:
    """Return the value of a column for each well.

    Raises:
        DamagedFileError: rows of one well contradict each other.
    """
    cells = table.columns[column]
    for row, well in zip(rows.at.tolist(), rows.well_of.tolist(), strict=True):
        kept = cells[rows.first[well]]
        if cells[row] != kept:
            raise DamagedFileError(
                f"{table.path}:{row + 2}: {column} (source.{key}): well {rows.wells[well]} has {cells[row]!r} "
                f"here and {kept!r} in line {rows.first[well] + 2}"
            )
    return tuple(cells[row] for row in rows.first.tolist())


def _name(table: Table, columns: Sequence[str], at: NDArray[np.int64], key: str) -> tuple[str, ...]:
    for column in columns:
        cells = table.columns[column]
        nameless = [row for row in at.tolist() if not cells[row]]
        if nameless:
            raise DamagedFileError(
                f"{table.path}:{nameless[0] + 2}: {len(nameless)} rows are empty in column {column} (source.{key})"
            )
    joined = table.names(columns)
    return tuple(joined[row] for row in at.tolist())
