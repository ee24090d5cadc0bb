"""Exterior rings of polygons in zipped GeoJSON, feature by feature."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from harness.errors import DamagedFileError

from .wkb_rings import Rings


def read_geojson(path: Path) -> Iterator[Rings]:
    """Read the exterior rings of all polygons, feature by feature, in file order.

    Raises:
        DamagedFileError: unreadable, or another kind of geometry.
    """
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


def _feature_rings(feature: object, where: str) -> Rings:
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
