"""Tables of metadata in which every cell stays the text that somebody wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DamagedFileError, MissingDataError, UsageError, nearest
from harness.types import DataContext

from ..text_tables import read_cells, read_headings

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")
_EXACT = 2**53
"""Whole numbers beyond this are not exact as float64."""


@dataclass(frozen=True)
class Table:
    """Columns of text.

    Attributes:
        path: the file.
        columns: name -> cells; an empty cell is ``""``.
        n_rows: rows.
    """

    path: Path
    columns: Mapping[str, tuple[str, ...]]
    n_rows: int

    def names(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Join the cells of several columns with a slash, row by row."""
        return tuple(map("/".join, zip(*(self.columns[name] for name in columns), strict=True)))


def find_path(name: str, context: DataContext, key: str) -> Path:
    """Find a file or folder that a spec names.

    Args:
        name: absolute, or relative to a data folder or to the working folder; the first that exists is taken.
        context: where the data folders are.
        key: which key of the spec names it, for the message.

    Raises:
        MissingDataError: it is nowhere.
    """
    places = [place / name for place in (*context.data_dirs, Path.cwd())]  # an absolute name stays as it is
    found = next((place for place in places if place.exists()), None)
    if found is None:
        searched = "\n".join(f"  {place}" for place in dict.fromkeys(places))
        raise MissingDataError(
            f"source.{key}: {name} not found. Searched:\n{searched}\nPass --data-dir DIR, or move it"
        )
    return found


def read_text_table(path: Path, used: Iterable[tuple[str, str]]) -> Table:
    """Read some columns of a table as text: ``001`` stays ``001`` and ``NA`` stays ``NA``.

    Numbers of a parquet file are written as whole numbers where all of a column are, and empty where missing.

    Args:
        path: csv or txt (commas), tsv (tabs), either also as gz; or parquet.
        used: (column, the key of the spec that names it).

    Raises:
        UsageError: columns that are not there (with the nearest names), or another kind of file.
        DamagedFileError: unreadable, a heading that stands twice, or no rows.
    """
    if not path.name.lower().endswith(KINDS):
        raise UsageError(f"{path}: expected one of {', '.join(KINDS)}")
    wanted = _check_columns(path, read_headings(path), used)
    arrow = read_cells(path, wanted)
    if not arrow.num_rows:
        raise DamagedFileError(f"{path}: holds no rows")
    return Table(path, {name: _cells(path, name, arrow.column(name)) for name in wanted}, arrow.num_rows)


def _check_columns(path: Path, held: list[str], used: Iterable[tuple[str, str]]) -> list[str]:
    wanted = dict(used)
    wrong = []
    for name, key in wanted.items():
        if name not in held:
            near = nearest(name, held)
            known = ", ".join(held[:8]) + (" …" if len(held) > 8 else "")
            wrong.append(f"source.{key}: no column {name!r}. " + (f"Did you mean {', '.join(near)}? " if near else "")
                         + f"Columns: {known}")  # fmt: skip
    if wrong:
        raise UsageError("\n".join(f"{path}: {line}" for line in wrong))
    return list(wanted)


def _cells(path: Path, name: str, column: pa.ChunkedArray) -> tuple[str, ...]:
    values = column.to_pylist()
    kinds = {type(value) for value in values if value is not None}
    if float in kinds:
        numbers = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - not NaN
        if any(abs(value) > _EXACT for value in numbers):
            raise DamagedFileError(f"{path}: column {name} holds numbers too large to be exact; write it as text")
        whole = all(float(value).is_integer() for value in numbers)
        values = [None if value is None or value != value else int(value) if whole else value for value in values]  # noqa: PLR0124
    return tuple("" if value is None else str(value) for value in values)
