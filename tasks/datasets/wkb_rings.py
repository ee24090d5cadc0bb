"""Exterior rings of polygons in GeoParquet files, straight from their well-known binary."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_BATCH = 8192  # polygons in memory at a time
_BYTES = 2**22  # of a column in memory at a time, or one row
_BUFFER = 2**20  # bytes of a file read ahead
_POLYGON, _MULTIPOLYGON = 3, 6  # WKB's numbers
_HEAD = 13  # bytes of a WKB polygon before its first vertex: byte order, kind, number of rings, of vertices

Rings = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Vertices of exterior rings, and how many each has: what :func:`ring_centroids` takes."""


def read_parquet(path: Path) -> Iterator[Rings]:
    """Read the exterior rings of all polygons, batch by batch, in file order.

    Raises:
        DamagedFileError: unreadable, or another kind of geometry.
    """
    import pyarrow as pa
    from pyarrow import parquet

    row = 0
    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:  # else it holds a row group
            column = _geometry_column(file.schema_arrow.names, file.schema_arrow.metadata or {}, path)
            for batch in file.iter_batches(batch_size=_choose_rows(file, column), columns=[column]):
                values = batch.column(0).cast(pa.large_binary())
                if values.null_count:
                    raise DamagedFileError(f"{path}: {column}: {values.null_count} rows from row {row} on are empty")
                _, bounds, content = values.buffers()
                if len(values):
                    ends = np.frombuffer(bounds, np.int64, len(values) + 1, 8 * values.offset)
                    yield from _exterior_rings(np.frombuffer(content or b"", np.uint8), ends, f"{path}: {column}", row)
                row += len(values)
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(f"{path}: not a readable parquet file ({error}); download it again") from None


def _geometry_column(names: list[str], metadata: dict[bytes, bytes], path: Path) -> str:
    try:
        column = str(json.loads(metadata.get(b"geo", b"{}")).get("primary_column", "geometry"))
    except (ValueError, AttributeError):
        column = "geometry"
    if column not in names:
        raise DamagedFileError(f"{path}: column {column!r} is missing (the file holds {', '.join(names) or 'nothing'})")
    return column


def _choose_rows(file: ParquetFile, column: str) -> int:
    """Return how many rows to decode at a time: a row may be one nucleus, or all nuclei of a class."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [(group.num_rows, group.column(leaf)) for group in groups for leaf in range(group.num_columns)]
    sizes = [chunk.total_uncompressed_size / rows for rows, chunk in chunks if rows and chunk.path_in_schema == column]
    return int(np.clip(_BYTES / max([1.0, *sizes]), 1, _BATCH))


def _exterior_rings(content: NDArray[np.uint8], ends: NDArray[np.int64], where: str, row: int) -> Iterator[Rings]:
    """Take the exterior rings out of consecutive WKB values; ``row`` is the number of the first, for messages."""
    starts, owner = _find_polygons(content, ends, where, row)
    for first in range(0, len(starts), _BATCH):
        part = slice(first, first + _BATCH)
        yield _take_rings(content, starts[part], ends[owner[part] + 1], _Refusal(where, row + owner[part]))


@dataclass(frozen=True)
class _Refusal:
    """Refuses polygons by the rows that hold them."""

    where: str
    rows: NDArray[np.int64]

    def check(self, bad: NDArray[np.bool_], problem: str) -> None:
        if bad.any():
            raise DamagedFileError(
                f"{self.where}: row {self.rows[np.argmax(bad)]}: expected WKB polygons, found {problem}; "
                "download it again"
            )


def _take_rings(
    content: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], refusal: _Refusal
) -> Rings:
    """Take the exterior rings out of polygons; ``stops`` are the ends of the values that hold them."""
    room = stops - starts
    for problem, bad in (
        ("cut off", room < _HEAD),
        ("not a polygon in two dimensions, little-endian", ~_all_at(content, starts, room, b"\x01\x03\x00\x00\x00")),
        ("a polygon without a ring", _number_at(content, starts + 5, room >= _HEAD) < 1),
        ("a ring without a vertex", _number_at(content, starts + 9, room >= _HEAD) < 1),
    ):
        refusal.check(bad, problem)
    lengths = _number_at(content, starts + 9, room >= _HEAD)
    refusal.check(room < _HEAD + 16 * lengths, "cut off")
    first = np.cumsum(lengths) - lengths
    steps = np.arange(lengths.sum()) - np.repeat(first, lengths)
    at = np.repeat(starts + _HEAD, lengths) + 16 * steps
    vertices = np.lib.stride_tricks.sliding_window_view(content, 16)[at].view("<f8").astype(np.float64, copy=False)
    lost = np.add.reduceat((~np.isfinite(vertices)).any(axis=1), first, dtype=np.int64) > 0
    refusal.check(lost, "a vertex that is not finite")
    return vertices, lengths


def _find_polygons(
    content: NDArray[np.uint8], ends: NDArray[np.int64], where: str, row: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each polygon starts, and in which value; the parts of multipolygons are walked one by one."""
    starts, owner = ends[:-1], np.arange(len(ends) - 1)
    many = _all_at(content, starts, np.diff(ends), bytes([1, _MULTIPOLYGON, 0, 0, 0]))
    if not many.any():
        return starts, owner
    found = [
        _parts(content, ends[at : at + 2], f"{where}: row {row + at}") if many[at] else [starts[at]] for at in owner
    ]
    return np.array(list(chain.from_iterable(found)), dtype=np.int64), np.repeat(owner, [len(part) for part in found])


def _parts(content: NDArray[np.uint8], span: NDArray[np.int64], where: str) -> list[int]:
    start, stop = int(span[0]), int(span[1])
    data, found = content[start:stop].tobytes(), []
    try:
        (count,) = struct.unpack_from("<I", data, 5)
        at = 9
        for _ in range(count):
            found.append(start + at)
            (rings,) = struct.unpack_from("<I", data, at + 5)
            at += 9
            for _ in range(rings):
                (length,) = struct.unpack_from("<I", data, at)
                at += 4 + 16 * length
    except struct.error:
        raise DamagedFileError(f"{where}: cut off; expected {count if found else 'some'} polygons") from None
    return found


def _all_at(
    content: NDArray[np.uint8], starts: NDArray[np.int64], room: NDArray[np.int64], pattern: bytes
) -> NDArray[np.bool_]:
    """Tell where the bytes from each start on are these; False where they do not fit."""
    fits = room >= len(pattern)
    found = np.zeros(len(starts), dtype=bool)
    places = starts[fits][:, None] + np.arange(len(pattern))
    found[fits] = (content[places] == np.frombuffer(pattern, np.uint8)).all(axis=1)
    return found


def _number_at(content: NDArray[np.uint8], places: NDArray[np.int64], fits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Read an unsigned 32-bit number at each place; 0 where it does not fit."""
    numbers = np.zeros(len(places), dtype=np.int64)
    raw = content[places[fits][:, None] + np.arange(4)]
    numbers[fits] = np.ascontiguousarray(raw).view("<u4")[:, 0]
    return numbers
