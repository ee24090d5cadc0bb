"""Exterior rings of polygons in zipped GeoJSON, read as a stream: one batch of rings is held at a time."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import IO

import ijson
import numpy as np

from harness.errors import DamagedFileError

from .wkb_rings import Rings

_BATCH = 2**18  # vertices in memory at a time, beside those of one polygon
_MARK = b"\xef\xbb\xbf"  # of the byte order, at the start of some files
_VERTEX = ("start_array", "number", "number", "end_array")
_OPENED = {"Polygon": (3,), "MultiPolygon": (4, 1)}  # brackets before the first number; [] has one and no number

Events = Iterator[tuple[str, object]]
"""Tokens of a JSON text with their values: ``("map_key", "type")``, ``("number", 1.5)``, ``("end_array", None)``."""


def read_geojson(path: Path) -> Iterator[Rings]:
    """Read the exterior rings of all polygons, batch by batch, in file order.

    Raises:
        DamagedFileError: unreadable, or another kind of geometry.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".geojson", ".json"))]
            if len(names) != 1:
                raise DamagedFileError(f"{path}: expected one .geojson file inside, found {len(names)}")
            with archive.open(names[0]) as stream:
                yield from _join(_read_text(stream, f"{path}: {names[0]}"))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedFileError(f"{path}: not a readable zip archive ({error}); download it again") from None


def _join(rings: Iterator[list[float]]) -> Iterator[Rings]:
    """Turn rings, each x, y, x, y, …, into batches of arrays."""
    batch: list[list[float]] = []
    size = 0
    for ring in rings:
        batch.append(ring)
        size += len(ring) // 2
        if size >= _BATCH:
            yield _to_arrays(batch)
            batch, size = [], 0
    if batch:
        yield _to_arrays(batch)


def _to_arrays(batch: list[list[float]]) -> Rings:
    lengths = np.array([len(ring) // 2 for ring in batch], dtype=np.int64)
    return np.fromiter(chain.from_iterable(batch), np.float64).reshape(-1, 2), lengths


def _read_text(stream: IO[bytes], where: str) -> Iterator[list[float]]:
    if stream.read(len(_MARK)) != _MARK:
        stream.seek(0)
    try:
        yield from _read_document(ijson.basic_parse(stream, use_float=True), where)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{where}: not readable GeoJSON ({_explain(error)}); download it again") from None


def _explain(error: Exception) -> str:
    """Put the parser's message, and the text about the place that it draws an arrow to, on one line."""
    told = error.args[0] if error.args else ""
    message, *drawing = (told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)).rstrip().split("\n")
    if len(drawing) != 2 or not drawing[1].endswith("^"):
        return message
    place = len(drawing[1]) - 1
    return f"{message.rstrip('.')}, near {drawing[0][max(0, place - 12) : place + 12].strip()!r}"


def _read_document(events: Events, where: str) -> Iterator[list[float]]:
    """Read a list of features, or a collection with other keys about it."""
    first, _ = next(events)
    found = first == "start_array"
    if found:
        yield from _read_features(events, where)
    for key in _iterate_keys(events) if first == "start_map" else ():
        event, _ = next(events)
        if key == "features" and event == "start_array":
            found = True
            yield from _read_features(events, where)
        else:
            _skip(events, event)
    if not found:
        raise ijson.JSONError("expected a list of features, or a collection of them")
    for _ in events:  # a checksum, or text after the end, is looked at only when all was read
        pass


def _read_features(events: Events, where: str) -> Iterator[list[float]]:
    for number, (event, _) in enumerate(events):
        if event == "end_array":
            return
        yield from _read_feature(events, event, f"{where}: feature {number}")


def _read_feature(events: Events, first: str, where: str) -> Iterator[list[float]]:
    found = False
    for key in _iterate_keys(events) if first == "start_map" else ():
        event, _ = next(events)
        if key == "geometry" and event == "start_map":
            found = True
            yield from _read_geometry(events, where)
        else:
            _skip(events, event)
    if not found:
        raise _wrong_kind(None, where)


def _read_geometry(events: Events, where: str) -> Iterator[list[float]]:
    """Read the exterior ring of every polygon; the type may stand before the coordinates or after them."""
    kind: object = None
    opened: int | None = None
    for key in _iterate_keys(events):
        event, value = next(events)
        if key == "type":
            kind = value
            if kind not in _OPENED:
                raise _wrong_kind(kind, where)
        elif key == "coordinates":
            ahead = [(event, value)]
            while ahead[-1][0] == "start_array":
                ahead.append(next(events))
            opened = len(ahead) - 1
            yield from _read_coordinates(chain(ahead, events), opened, where)
        else:
            _skip(events, event)
    if not isinstance(kind, str):
        raise _wrong_kind(kind, where)
    if opened not in _OPENED[kind]:
        raise _wrong_coordinates("none" if opened is None else f"brackets that do not make a {kind}", where)


def _read_coordinates(events: Events, opened: int, where: str) -> Iterator[list[float]]:
    """Read the polygon, or the polygons, that the number of opening brackets tells."""
    first, _ = next(events)
    if first != "start_array":
        raise _wrong_coordinates("no list", where)
    if opened == 3:
        yield _read_polygon(events, where)
        return
    for event, _ in events:
        if event == "end_array":
            return
        if event != "start_array":
            raise _wrong_coordinates("a polygon that is not a list", where)
        yield _read_polygon(events, where)


def _read_polygon(events: Events, where: str) -> list[float]:
    """Read the first ring and pass over the others, the holes."""
    event, _ = next(events)
    if event != "start_array":
        raise _wrong_coordinates("a polygon without a ring", where)
    exterior = _read_ring(events, where)
    for event, _ in events:
        if event == "end_array":
            break
        _skip(events, event)
    return exterior


def _read_ring(events: Events, where: str) -> list[float]:
    ring: list[float] = []
    for event, _ in events:
        if event == "end_array":
            break
        (first, x), (second, y), (last, _) = next(events), next(events), next(events)
        if (event, first, second, last) != _VERTEX:
            raise _wrong_coordinates("a vertex that is not two numbers", where)
        ring += x, y  # type: ignore[arg-type]
    if not ring or not all(map(isfinite, ring)):
        raise _wrong_coordinates("a ring without a vertex, or a vertex that is not finite", where)
    return ring


def _iterate_keys(events: Events) -> Iterator[object]:
    """Give the keys of an object that was entered; whoever asks for the next one has taken the value."""
    seen: set[object] = set()
    for event, key in events:
        if event == "end_map":
            return
        if key in seen:
            raise ijson.JSONError(f"key {key!r} stands twice in one object")
        seen.add(key)
        yield key


def _skip(events: Events, first: str) -> None:
    """Pass over what is left of a value of which the first token was taken."""
    depth = 0
    for event, _ in chain([(first, None)], events):
        depth += event.startswith("start_") - event.startswith("end_")
        if not depth:
            return


def _wrong_kind(kind: object, where: str) -> DamagedFileError:
    found = kind if isinstance(kind, str) else "none"
    return DamagedFileError(f"{where}: geometry: expected a Polygon or MultiPolygon, found {found}")


def _wrong_coordinates(found: str, where: str) -> DamagedFileError:
    return DamagedFileError(f"{where}: coordinates: expected rings of [x, y], found {found}; download it again")
