"""Where the nuclei of a section are: centroids of segmented polygons, from GeoParquet or zipped GeoJSON.

Every polygon is one nucleus, also where a row or a feature holds many; holes are left out of account (both our choice).
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

_BATCH = 8192  # polygons of a parquet file in memory at a time
_FLAT = 1e-12  # area over squared extent below which a polygon has no inside
_POLYGON, _MULTIPOLYGON = 3, 6  # WKB's numbers
_HEAD = 13  # bytes of a WKB polygon before its first vertex: byte order, kind, number of rings, of vertices


def read_centroids(path: Path) -> NDArray[np.float64]:
    """Read the centroid of every polygon of a segmentation.

    Args:
        path: GeoParquet (WKB polygons or multipolygons), or GeoJSON in a ``.zip`` archive (a list of features, or a
            FeatureCollection).

    Returns:
        (n, 2) float64 x, y in full-resolution slide pixels, in file order, finite.

    Raises:
        DamagedFileError: unreadable, another kind of geometry, or no polygons at all.
    """
    parts = _read_geojson(path) if path.suffix == ".zip" else _read_parquet(path)
    centroids = [ring_centroids(vertices, lengths) for vertices, lengths in parts if len(lengths)]
    if not centroids:
        raise DamagedFileError(f"{path}: no polygons; is the segmentation complete? download it again")
    return np.concatenate(centroids)


def ring_centroids(vertices: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the centre of gravity of the inside of each ring (shoelace formula).

    Args:
        vertices: (t, 2) float64 x, y, ring after ring, finite; the last of a ring may repeat its first.
        lengths: (n,) int64 vertices of each ring, at least 1; n at least 1.

    Returns:
        (n, 2) float64. The mean of the vertices where a ring has no inside: a point, a line, or parts that cancel
        (area below 1e-12 of the squared extent). The repeated vertex counts once.

    Example:
        >>> triangle_and_line = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
        >>> ring_centroids(triangle_and_line, np.array([4, 2])).tolist()
        [[1.0, 1.0], [2.0, 3.0]]
    """
    first = np.cumsum(lengths) - lengths
    last = first + lengths - 1
    origin = vertices[first]
    near = vertices - np.repeat(origin, lengths, axis=0)  # small numbers: their products lose no digits
    following = np.arange(1, len(near) + 1)
    following[last] = first
    after = near[following]
    cross = near[:, 0] * after[:, 1] - after[:, 0] * near[:, 1]
    twice_area = np.add.reduceat(cross, first)
    extent = np.maximum.reduceat(np.abs(near).max(axis=1), first)
    flat = np.abs(twice_area) <= _FLAT * extent**2
    moments = np.add.reduceat((near + after) * cross[:, None], first)
    weight = np.ones(len(near))
    weight[last[(lengths > 1) & (near[last] == 0).all(axis=1)]] = 0
    means = np.add.reduceat(near * weight[:, None], first) / np.add.reduceat(weight, first)[:, None]
    gravity = moments / np.where(flat, 1.0, 3 * twice_area)[:, None]
    centroids: NDArray[np.float64] = origin + np.where(flat[:, None], means, gravity)
    return centroids


_Rings = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Vertices of exterior rings, and how many each has: what :func:`ring_centroids` takes."""


def _read_parquet(path: Path) -> Iterator[_Rings]:
    import pyarrow as pa
    from pyarrow import parquet

    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            column = _geometry_column(file.schema_arrow.names, file.schema_arrow.metadata or {}, path)
            for batch in file.iter_batches(batch_size=_BATCH, columns=[column]):
                values = batch.column(0).cast(pa.large_binary())
                if values.null_count:
                    raise DamagedFileError(f"{path}: {column}: {values.null_count} rows from row {row} on are empty")
                _, bounds, content = values.buffers()
                if len(values):
                    ends = np.frombuffer(bounds, np.int64, len(values) + 1, 8 * values.offset)
                    yield _exterior_rings(np.frombuffer(content or b"", np.uint8), ends, f"{path}: {column}", row)
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


def _exterior_rings(content: NDArray[np.uint8], ends: NDArray[np.int64], where: str, row: int) -> _Rings:
    """Take the exterior rings out of consecutive WKB values; ``row`` is the number of the first, for messages."""
    starts, owner = _find_polygons(content, ends, where, row)
    room = ends[owner + 1] - starts
    for problem, bad in (
        ("cut off", room < _HEAD),
        ("not a polygon in two dimensions, little-endian", ~_all_at(content, starts, room, b"\x01\x03\x00\x00\x00")),
        ("a polygon without a ring", _number_at(content, starts + 5, room >= _HEAD) < 1),
        ("a ring without a vertex", _number_at(content, starts + 9, room >= _HEAD) < 1),
    ):
        _refuse(bad, problem, owner, where, row)
    lengths = _number_at(content, starts + 9, room >= _HEAD)
    _refuse(room < _HEAD + 16 * lengths, "cut off", owner, where, row)
    first = np.cumsum(lengths) - lengths
    steps = np.arange(lengths.sum()) - np.repeat(first, lengths)
    at = np.repeat(starts + _HEAD, lengths) + 16 * steps
    vertices = np.lib.stride_tricks.sliding_window_view(content, 16)[at].view("<f8").astype(np.float64, copy=False)
    lost = np.add.reduceat((~np.isfinite(vertices)).any(axis=1), first, dtype=np.int64) > 0
    _refuse(lost, "a vertex that is not finite", owner, where, row)
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


def _refuse(bad: NDArray[np.bool_], problem: str, owner: NDArray[np.int64], where: str, row: int) -> None:
    if bad.any():
        raise DamagedFileError(
            f"{where}: row {row + owner[np.argmax(bad)]}: expected WKB polygons, found {problem}; download it again"
        )


def _read_geojson(path: Path) -> Iterator[_Rings]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".geojson", ".json"))]
            if len(names) != 1:
                raise DamagedFileError(f"{path}: expected one .geojson file inside, found {len(names)}")
            text = archive.read(names[0]).decode("utf-8-sig")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path}: not a readable zip archive ({error}); download it again") from None
    where = f"{path}: {names[0]}"
    try:
        for number, feature in enumerate(_iterate_features(text)):
            yield _feature_rings(feature, f"{where}: feature {number}")
    except (json.JSONDecodeError, IndexError) as error:
        raise DamagedFileError(f"{where}: not readable GeoJSON ({error}); download it again") from None


def _iterate_features(text: str) -> Iterator[object]:
    """Decode the features of a list or of a FeatureCollection one by one: decoded they take ten times the memory."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    if text[at] == "{":  # a collection: pass over the other keys
        while True:
            key, at = decoder.raw_decode(text, _skip(text, at + 1))
            at = _expect(text, at, ":")
            if key == "features":
                break
            _, at = decoder.raw_decode(text, at)
            at = _expect(text, at, ",") - 1
    at = _expect(text, at, "[")
    while text[at] != "]":
        feature, at = decoder.raw_decode(text, at)
        yield feature
        at = _skip(text, at)
        if text[at] != "]":
            at = _expect(text, at, ",")


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _expect(text: str, at: int, sign: str) -> int:
    """Return the place of the next token after this sign."""
    at = _skip(text, at)
    if text[at] != sign:
        raise json.JSONDecodeError(f"expected {sign!r}", text, at)
    return _skip(text, at + 1)


def _feature_rings(feature: object, where: str) -> _Rings:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        raise DamagedFileError(f"{where}: geometry: expected a Polygon or MultiPolygon, found {kind or 'none'}")
    try:
        polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
        rings = [polygon[0] for polygon in polygons]
        lengths = np.array([len(ring) for ring in rings], dtype=np.int64)
        numbers = np.fromiter(chain.from_iterable(chain.from_iterable(rings)), np.float64)
        vertices = numbers.reshape(lengths.sum(), 2)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{where}: coordinates: expected rings of [x, y] ({error}); download it again") from None
    if not np.isfinite(vertices).all() or (lengths < 1).any():
        raise DamagedFileError(f"{where}: coordinates: a ring without a vertex, or a vertex that is not finite")
    return vertices, lengths
