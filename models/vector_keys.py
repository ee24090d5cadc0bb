"""Vectors joined with samples: by one id, or by several columns that together name a well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError

from .vector_tables import VectorTable

_WELL = re.compile(r"([A-Za-z]{1,2})(\d{1,2})")


@dataclass(frozen=True)
class Joined:
    """The vectors of the samples of a task.

    Attributes:
        rows: (n_samples,) int64, the row of each sample's vector.
        features: (m, D) float32; samples of one well may share a row.
        n_surplus: rows of the table that belong to no sample.
        n_averaged: vectors that are the mean of several rows of the table.
    """

    rows: NDArray[np.int64]
    features: NDArray[np.float32]
    n_surplus: int
    n_averaged: int = 0


def check_averaging(title: str, table: VectorTable, joined: Joined, well_names: Sequence[Sequence[str]]) -> None:
    """Check that rows that were averaged are rows of one well, not of wells of that name on several plates.

    Args:
        title: the model, for messages.
        table: the vectors, with keys.
        joined: what became of them.
        well_names: choices of columns that name a well; a table needs all of one. None: the data set does not say.

    Raises:
        UsageError: several rows were averaged, and the table lacks columns of every choice.
    """
    missing = min(([name for name in choice if name not in table.keys] for choice in well_names), key=len, default=[])
    if joined.n_averaged and missing:
        raise UsageError(
            f"{title}: {joined.n_averaged} vectors would be the mean of several rows, but the table has no column "
            f"{', '.join(missing)}: by {', '.join(table.keys)} alone, rows of other wells may be among them. Add the "
            "column, or join by one column of names with id=COLUMN"
        )


def join_ids(title: str, table: VectorTable, ids: Sequence[str]) -> Joined:
    """Find the row of each sample by its id.

    Raises:
        DamagedFileError: samples without a vector, or with one that is not finite.
    """
    known = {name: row for row, name in enumerate(table.ids)}
    absent = [name for name in ids if name not in known]
    if absent:
        raise DamagedFileError(
            f"{_missing(title, absent, len(ids))}; the file has ids such as {', '.join(table.ids[:3])}. Choose the id "
            "column with id=COLUMN, or compute the missing vectors"
        )
    rows = np.array([known[name] for name in ids], dtype=np.int64)
    _check_finite(title, table, rows, ids, "samples")
    return Joined(rows, table.features, len(known) - len(set(ids)))


def join_keys(
    title: str,
    table: VectorTable,
    ids: Sequence[str],
    wanted: Mapping[str, Sequence[str]],
    well_of: NDArray[np.int64] | None = None,
) -> Joined:
    """Find the rows of each sample by every key column of the table, and average those that serve one sample.

    A row may serve several samples. Wells are compared with two digits at least: ``A1`` is ``A01``. Means are taken in
    float64.

    Args:
        title: the model, for messages.
        table: the vectors, with keys.
        ids: (n,) samples.
        wanted: column -> (n,) its value for each sample; holds the columns of the table's keys.
        well_of: (n,) the well of each sample, where that is known: a row may not serve two wells.

    Raises:
        DamagedFileError: samples without a vector, or rows in use that are not finite.
        UsageError: the columns do not tell wells apart.
    """
    columns = tuple(table.keys)
    asked = [*zip(*(_spell(column, wanted[column]) for column in columns), strict=True)]
    groups = {key: number for number, key in enumerate(dict.fromkeys(asked))}
    rows = np.array([groups[key] for key in asked], dtype=np.int64)
    _check_wells(title, columns, rows, ids, well_of)
    held = zip(*(_spell(column, table.keys[column]) for column in columns), strict=True)
    group = np.array([groups.get(key, -1) for key in held], dtype=np.int64)
    counts = np.bincount(group[group >= 0], minlength=len(groups))
    absent = [name for name, row in zip(ids, rows, strict=True) if not counts[row]]
    if absent:
        raise DamagedFileError(
            f"{_missing(title, absent, len(ids))} by {', '.join(columns)}; the file has rows such as "
            f"{', '.join(table.ids[:3])}. Compute the missing vectors, or join by another column with id=COLUMN"
        )
    used = np.flatnonzero(group >= 0)
    used = used[np.argsort(group[used], kind="stable")]
    _check_finite(title, table, used, [table.ids[row] for row in used], "rows in use")
    return Joined(
        rows, _average(table.features, used, counts), len(group) - len(used), int(np.count_nonzero(counts > 1))
    )


def _spell(column: str, values: Sequence[str]) -> list[str]:
    """Give wells two digits at least; everything else is compared letter by letter."""
    if not column.lower().endswith("well"):
        return list(values)
    return [f"{well[1].upper()}{int(well[2]):02d}" if (well := _WELL.fullmatch(text)) else text for text in values]


def _average(features: NDArray[np.float32], used: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Average runs of rows: ``counts[i]`` of the rows in ``used`` belong to the i-th vector."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    averaged: NDArray[np.float32] = features[used[starts]]
    for number in np.flatnonzero(counts > 1):
        run = used[starts[number] : starts[number] + counts[number]]
        averaged[number] = features[run].mean(axis=0, dtype=np.float64)
    return averaged


def _check_wells(
    title: str,
    columns: Sequence[str],
    rows: NDArray[np.int64],
    ids: Sequence[str],
    well_of: NDArray[np.int64] | None,
) -> None:
    if well_of is None:
        return
    _, first = np.unique(rows, return_index=True)  # rows are numbered from 0 without gaps
    shared = np.flatnonzero(well_of != well_of[first[rows]])
    if len(shared):
        one, other = ids[first[rows[shared[0]]]], ids[shared[0]]
        raise UsageError(
            f"{title}: {', '.join(columns)} do not tell wells apart: {one} and {other} would get the same vector. "
            "Add the columns that do (such as the plate), or join by one column with id=COLUMN"
        )


def _check_finite(title: str, table: VectorTable, rows: NDArray[np.int64], names: Sequence[str], what: str) -> None:
    broken = ~np.isfinite(table.features[rows])
    bad, places = np.flatnonzero(broken.any(axis=1)), np.flatnonzero(broken.any(axis=0))
    if not len(bad):
        return
    first, where = ", ".join(names[row] for row in bad[:3]), ""
    if table.columns:
        where = (
            f", in {len(places)} of {len(table.columns)} columns, first {table.columns[places[0]]}; leave them out "
            "with columns=PATTERN, or leave the rows out of the task"
        )
    raise DamagedFileError(f"{title}: NaN or infinity for {len(bad)} of {len(names)} {what}: {first}{where}")


def _missing(title: str, absent: Sequence[str], n_wanted: int) -> str:
    return f"{title}: {len(absent)} of {n_wanted} samples have no vector, first: {', '.join(absent[:3])}"
