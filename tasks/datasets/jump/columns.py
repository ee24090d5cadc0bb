"""Tables whose columns are all text: plate names that look like numbers stay as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import DamagedFileError

from ..text_tables import check_headings, read_cells, read_headings

_MANGLED = r"^[+-]?[0-9]+(\.[0-9]*([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)$"
"""A whole number that went through a float: the name it stood for may have lost digits or zeros."""
_WELL = re.compile(r"^([A-Za-z]{1,2})0*([0-9]{1,2})$")


def read_columns(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Any:
    """Read columns of a parquet, csv or csv.gz file as text.

    Args:
        path: the file.
        needed: columns that it must have.
        optional: columns that are read where it has them.

    Returns:
        A pyarrow table of string columns without nulls.

    Raises:
        DamagedFileError: unreadable, a column is missing, an entry is empty, or Metadata_Plate was made a number.
    """
    import pyarrow as pa

    held = read_headings(path)
    check_headings(path, held, needed)
    table = read_cells(path, [name for name in (*needed, *optional) if name in held])
    return pa.table({name: _as_text(table[name], name, path) for name in table.column_names})


def rows_of(table: Any) -> list[tuple[str, ...]]:
    """Return the rows of a table of text, entries in the order of its columns."""
    columns: Mapping[str, list[str]] = table.to_pydict()
    return list(zip(*columns.values(), strict=True))


def pad_well(name: str) -> str:
    """Write a well as ``A01``.

    Raises:
        ValueError: not a well.

    Example:
        >>> pad_well("A1"), pad_well("p24"), pad_well("AF07")
        ('A01', 'P24', 'AF07')
    """
    parts = _WELL.match(name)
    if parts is None:
        raise ValueError(f"{name!r} is not a well such as A01")
    return f"{parts[1].upper()}{int(parts[2]):02d}"


def _as_text(column: Any, name: str, path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if name == "Metadata_Plate":
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
            raise DamagedFileError(f"{path}: column Metadata_Plate holds {kind}; plates are names, write them as text")
        mangled = column.filter(pc.match_substring_regex(column.cast(pa.string()), _MANGLED))
        if len(mangled):
            raise DamagedFileError(
                f"{path}: column Metadata_Plate: {mangled[0].as_py()!r} was a name and became a number; write the "
                "table with text columns"
            )
    text = column.cast(pa.string())
    if text.null_count or pc.any(pc.equal(text, "")).as_py():
        row = pc.index(pc.fill_null(pc.equal(pc.fill_null(text, ""), ""), True), True).as_py()
        raise DamagedFileError(f"{path}: column {name}: row {row + 1} is empty")
    return text
