"""Tables whose cells are read letter by letter: ``001`` stays ``001``, and a gene may be called NA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DamagedFileError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 12
"""Headings that a message lists."""


def read_headings(path: Path) -> list[str]:
    """Return the headings of a table; its rows are not read.

    Args:
        path: ``.parquet``; else text with commas, or with tabs where it ends in ``.tsv``; either also as ``.gz``.

    Raises:
        DamagedFileError: unreadable.
    """
    import pyarrow.csv
    import pyarrow.parquet

    with _told(path):
        if _is_parquet(path):
            return list(pyarrow.parquet.read_schema(path).names)
        with pyarrow.csv.open_csv(path, parse_options=_parsing(path)) as reader:
            return list(reader.schema.names)


def check_headings(path: Path, held: Sequence[str], needed: Sequence[str]) -> None:
    """Check that a table has some columns.

    Raises:
        DamagedFileError: it lacks some; the nearest it has are named, or else the first.
    """
    absent = [name for name in needed if name not in held]
    if absent:
        near = list(dict.fromkeys(one for name in absent for one in nearest(name, held))) or held
        more = f" and {len(held) - _SHOWN} others" if len(near) > _SHOWN else ""
        raise DamagedFileError(f"{path}: missing columns: {', '.join(absent)}; found {', '.join(near[:_SHOWN])}{more}")


def read_cells(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns that a table has, in the order of ``columns``.

    Returns:
        Text files: strings, none of them null. Parquet: the types of the file.

    Raises:
        DamagedFileError: unreadable, a line of another length, or a heading that stands twice.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    counts = Counter(read_headings(path))
    twice = [name for name in columns if counts[name] > 1]
    if twice:
        raise DamagedFileError(f"{path}: {len(twice)} headings stand twice: {', '.join(twice[:3])}")
    with _told(path):
        if _is_parquet(path):
            return pyarrow.parquet.read_table(path, columns=list(columns)).select(list(columns))
        convert = pyarrow.csv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
        )
        return pyarrow.csv.read_csv(path, parse_options=_parsing(path), convert_options=convert)


def read_text_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a table of text that was published.

    Returns:
        Strings, at least one row; an absent cell is an empty text, and nothing else is.

    Raises:
        DamagedFileError: as :func:`read_cells`; or a column is missing, or there are no rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    check_headings(path, read_headings(path), columns)
    table = read_cells(path, columns)
    if not table.num_rows:
        raise DamagedFileError(f"{path}: no rows; download it again")
    return pa.table({name: pc.fill_null(table[name].cast(pa.string()), "") for name in columns})


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which table cannot be read."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(f"{path}: not a readable table ({reason}); truncated? copy it again") from None


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _parsing(path: Path) -> Any:
    import pyarrow.csv

    tabs = path.name.lower().endswith((".tsv", ".tsv.gz"))
    return pyarrow.csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True)
