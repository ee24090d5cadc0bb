"""Read the atoms of companion metrics: one parquet table beside a result.

Columns: metric, kind, reduce, undefined, unit (strings), fold, seed (integers), value, weight (double, null =
undefined or equal weights), cluster (string, null = no clusters). ``reduce``, ``undefined`` and ``kind`` are
constant within a metric.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import DamagedFileError
from harness.results import UnitBlock, UnitsFile

COLUMNS = ("metric", "kind", "reduce", "undefined", "unit", "fold", "seed", "value", "weight", "cluster")


def read_units(file: UnitsFile, folder: Path) -> dict[str, UnitBlock]:
    """Read the blocks of all companion metrics.

    Args:
        file: name and checksum, as the result gives them.
        folder: where the result lies.

    Raises:
        DamagedFileError: absent, changed since it was written, or not such a table.
    """
    path = folder / file.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(
            f"{path}: the atoms of the companion metrics cannot be read ({error.strerror})"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DamagedFileError(f"{path}: sha256 is {digest[:12]}…, the result says {file.sha256[:12]}…; run it again")
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in _read_rows(path, content):
        rows.setdefault(row["metric"], []).append(row)
    return {metric: _block(f"{path}: {metric}", found) for metric, found in rows.items()}


def _read_rows(path: Path, content: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{path}: not a parquet file ({error})") from None
    absent = [name for name in COLUMNS if name not in table.column_names]
    if absent:
        raise DamagedFileError(f"{path}: columns {', '.join(absent)} are missing")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _block(where: str, rows: list[dict[str, Any]]) -> UnitBlock:
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    for name in ("kind", "reduce", "undefined"):
        if len(set(columns[name])) > 1:
            raise DamagedFileError(f"{where}: column {name} holds several values")
    optional: dict[str, list[Any] | None] = {}
    for name in ("weight", "cluster"):
        filled = [value is not None for value in columns[name]]
        if any(filled) != all(filled):
            raise DamagedFileError(f"{where}: column {name} is filled for some units only")
        optional[name] = columns[name] if any(filled) else None
    always = {name: columns[name] for name in ("unit", "fold", "seed", "value")}
    kinds = {name: columns[name][0] for name in ("kind", "reduce", "undefined")}
    try:
        return UnitBlock.model_validate({**kinds, **always, **optional})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DamagedFileError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
