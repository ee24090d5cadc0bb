"""Files of nuclei read as a stream: little memory whatever their size, GeoJSON of any order of keys and any spacing."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from harness.tasks.datasets import geojson_rings, wkb_rings
from harness.tasks.datasets.hest_nuclei import read_centroids, ring_centroids
from hest_factory import square_about, wkb_multipolygon, wkb_polygon, write_nuclei
from pyarrow import parquet

from harness.errors import DamagedFileError

# --- memory ------------------------------------------------------------------------------------------------------

BLOCK, CORNERS = 1_000, 29
MEASURE = """
import sys, time
from pathlib import Path
import numpy as np
from harness.tasks.datasets.hest_nuclei import read_centroids

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

read_centroids(Path(sys.argv[1]))
before, start = peak(), time.process_time()
centroids = read_centroids(Path(sys.argv[2]))
print(peak() - before, time.process_time() - start)
np.save(sys.argv[3], centroids)
"""
"""Reads a small file, so that all is imported, and a large one; the peak of the process itself, not of its parent."""


def draw_rings(seed: int = 0) -> np.ndarray:
    """Return (BLOCK, CORNERS + 1, 2) closed rings on a quarter-pixel grid."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    around = rng.uniform(8, 14, (BLOCK, CORNERS, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = np.round(4 * (rng.uniform(0, 60_000, (BLOCK, 1, 2)) + around)) / 4
    return np.concatenate([rings, rings[:, :1]], axis=1)


def write_multipolygons(path: Path, blocks: int) -> None:
    """Write a list of two features, one a class."""
    text = ",".join(f"[{ring}]" for ring in draw_rings().tolist()).replace(" ", "")
    start = '{"type":"Feature","geometry":{"type":"MultiPolygon","coordinates":['
    first, second = [text] * (blocks // 2), [text] * (blocks - blocks // 2)
    write_pieces(path, ["[", start, *insert(",", first), "]}},", start, *insert(",", second), "]}}]"])


def write_polygons(path: Path, blocks: int) -> None:
    """Write a collection of one feature a nucleus."""
    start = '{"type":"Feature","properties":{"name":"Dead"},"geometry":{"type":"Polygon","coordinates":['
    text = ",".join(f"{start}{ring}]}}}}" for ring in draw_rings().tolist()).replace(" ", "")
    write_pieces(path, ['{"type":"FeatureCollection","features":[', *insert(",", [text] * blocks), "]}"])


def write_spaced(path: Path, blocks: int) -> None:
    """Write a multipolygon one number a line."""
    text = json.dumps([[ring] for ring in draw_rings().tolist()], indent=2)[1:-1]
    start = '[\n{"geometry" : {\n"type" : "MultiPolygon",\n"coordinates" : ['
    write_pieces(path, [start, *insert(" ,\r\n", [text] * blocks), "\n]\n}\n}\n]\n"])


def insert(comma: str, parts: list[str]) -> Iterator[str]:
    """Give the parts with a comma between two."""
    for number, part in enumerate(parts):
        yield from [comma, part] if number else [part]


def write_pieces(path: Path, pieces: list[str]) -> None:
    """Write the pieces of a JSON text into an archive; most of them are one text many times."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.geojson", "w", force_zip64=True) as file,
    ):
        for piece in pieces:
            file.write(piece.encode())


def write_parquet(path: Path, blocks: int) -> None:
    """Write one row a nucleus in one row group, as stored and without a dictionary."""
    rows = pa.array([struct.pack("<BIII", 1, 3, 1, len(ring)) + ring.tobytes() for ring in draw_rings()], pa.binary())
    table = pa.table({"geometry": pa.chunked_array([rows] * blocks)})
    parquet.write_table(table, path, row_group_size=len(table), use_dictionary=False, compression="none")


LAYOUTS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "multipolygons": ("geojson.zip", write_multipolygons),
    "polygons": ("geojson.zip", write_polygons),
    "spaced": ("geojson.zip", write_spaced),
    "parquet": ("parquet", write_parquet),
}


def measure(folder: Path, layout: str, blocks: int) -> tuple[float, float]:
    """Return growth of the peak in MB and CPU seconds of reading so many blocks; check every centroid."""
    ending, write = LAYOUTS[layout]
    small, large, found = folder / f"small.{ending}", folder / f"large.{ending}", folder / "found.npy"
    write(small, 2)
    write(large, blocks)
    answer = subprocess.run(
        [sys.executable, "-Ic", MEASURE, small, large, found], check=True, capture_output=True, text=True
    )
    rings = draw_rings()
    expected = ring_centroids(rings.reshape(-1, 2), np.full(BLOCK, CORNERS + 1))
    assert np.array_equal(np.load(found), np.tile(expected, (blocks, 1)))
    growth, seconds = map(float, answer.stdout.split())
    return growth, seconds


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")


@needs_proc
@pytest.mark.parametrize("layout", LAYOUTS)
def test_twenty_thousand_nuclei_take_little_memory(tmp_path: Path, layout: str) -> None:
    """Reading 20,000 polygons of 30 vertices adds less than 70 MB to the peak of a process."""
    assert measure(tmp_path, layout, 20)[0] < 70


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_a_million_nuclei_take_little_memory(tmp_path: Path, layout: str) -> None:
    """Reading 500,000 polygons of 30 vertices, 250 MB and more of text, adds less than 100 MB to the peak."""
    growth, seconds = measure(tmp_path, layout, 500)
    print(f"{layout}: {growth:.0f} MB, {seconds:.1f} CPU s")
    assert growth < 100


# --- batches -----------------------------------------------------------------------------------------------------

SQUARES = [(10.0 * number, 3.0 * number) for number in range(1, 8)]


@pytest.mark.parametrize("size", [1, 7, 11, 1000])
def test_batches_of_any_size_give_the_same_centroids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Rings are taken across features and rows in file order, whatever is held at a time."""
    monkeypatch.setattr(geojson_rings, "_BATCH", size)
    monkeypatch.setattr(wkb_rings, "_BATCH", size)
    squares = [square_about(*at) for at in SQUARES]
    parts = [geometry("MultiPolygon", [[square] for square in squares[:3]]), geometry("MultiPolygon", [])]
    parts += [geometry("Polygon", [square]) for square in squares[3:]]
    write_json(tmp_path / "a.geojson.zip", json.dumps(parts))
    polygons = [wkb_polygon(square) for square in squares]
    write_nuclei(tmp_path / "a.parquet", [wkb_multipolygon(*polygons[:3]), wkb_multipolygon(), *polygons[3:]])
    for ending in ("geojson.zip", "parquet"):
        np.testing.assert_allclose(read_centroids(tmp_path / f"a.{ending}"), SQUARES)


def test_long_rows_are_decoded_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that hold all nuclei of a class do not fill the memory with as many rows as of single nuclei."""
    monkeypatch.setattr(wkb_rings, "_BYTES", 1000)
    rows = [wkb_multipolygon(*[wkb_polygon(square_about(*at)) for at in SQUARES]) for _ in range(3)]
    write_nuclei(tmp_path / "a.parquet", rows)
    with parquet.ParquetFile(tmp_path / "a.parquet") as file:
        assert wkb_rings._choose_rows(file, "geometry") == 1
        assert wkb_rings._choose_rows(file, "another") == 1000
    np.testing.assert_allclose(read_centroids(tmp_path / "a.parquet"), SQUARES * 3)


# --- the text ----------------------------------------------------------------------------------------------------

SQUARE = json.dumps(square_about(5, 6))
HOLE = json.dumps(square_about(5, 7, half=1))
GOOD = f'{{"geometry": {{"type": "Polygon", "coordinates": [{SQUARE}]}}}}'


def geometry(kind: str, coordinates: object) -> dict[str, object]:
    """Return a feature without properties."""
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}}


def write_json(path: Path, text: str | bytes) -> Path:
    """Write an archive with one JSON file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"[{GOOD}]",
        f"\ufeff[{GOOD}]",
        f"\r\n\t[ {GOOD}\n]\n",
        f'[{{"geometry": {{"coordinates": [{SQUARE}], "type": "Polygon"}}}}]',
        f'[{{"geometry": {{"coordinates": [[{SQUARE}, {HOLE}]], "bbox": [0, [1]], "type": "MultiPolygon"}}}}]',
        f'{{"type": "FeatureCollection", "features": [{GOOD}], "name": {{"features": [1], "é": null}}}}',
        f'[{{"properties": {{"geometry": {{"type": "Point"}}}}, "geometry": '
        f'{{"type": "Polygon", "coordinates": [{SQUARE}]}}, "id": 7}}]',
    ],
)
def test_order_of_keys_and_spacing_do_not_matter(tmp_path: Path, text: str) -> None:
    """A byte order mark, white space, a type after its coordinates, holes and keys from elsewhere change nothing."""
    assert read_centroids(write_json(tmp_path / "a.geojson.zip", text)).tolist() == [[5, 6]]


def of(kind: str, coordinates: str) -> str:
    """Return a list of a good feature and of one whose geometry holds this."""
    return f'[{GOOD}, {{"geometry": {{"type": "{kind}", "coordinates": {coordinates}}}}}]'


TEXT, RINGS = r"a\.geojson: not readable GeoJSON", r"feature 1: coordinates: expected rings of \[x, y\], found"
KIND = r"feature 1: geometry: expected a Polygon or MultiPolygon, found"
BAD: dict[str, tuple[str | bytes, str]] = {
    "no text": ("", rf"{TEXT} \(parse error: premature EOF"),
    "text cut off": (f"[{GOOD}"[:-9], rf"{TEXT} \(parse error: premature EOF"),
    "text after the end": (f"[{GOOD}] x", rf"{TEXT} \(parse error: trailing garbage"),
    "another encoding": ('["\xe9"]'.encode("latin-1"), rf"{TEXT} \(lexical error: invalid bytes in UTF8 string"),
    "a number": ("5", rf"{TEXT} \(expected a list of features, or a collection of them\)"),
    "features that are no list": ('{"features": {}}', rf"{TEXT} \(expected a list of features, or a collection"),
    "a key that stands twice": (f'[{GOOD[:-2]}, "coordinates": []}}}}]', rf"{TEXT} \(key 'coordinates' stands twice"),
    "NaN": (of("Polygon", "[[[1, 2], [NaN, 3]]]"), rf"{TEXT} \(lexical error: invalid char .*, near '.*NaN, 3"),
    "infinity": (of("Polygon", "[[[1, 2], [-Infinity, 3]]]"), rf"{TEXT} \(lexical error: malformed .*-Infinity, 3"),
    "a number too large": (of("Polygon", "[[[1, 2], [1e999, 3]]]"), rf"{TEXT} \(parse error: numeric.*near '.*1e999"),
    "a feature that is null": (f"[{GOOD}, null]", rf"{KIND} none"),
    "a geometry that is null": (f'[{GOOD}, {{"geometry": null}}]', rf"{KIND} none"),
    "a line": (of("LineString", "[[0, 0], [1, 1]]"), rf"{KIND} LineString"),
    "lines, told after them": (
        f'[{GOOD}, {{"geometry": {{"coordinates": [{SQUARE}], "type": "MultiLineString"}}}}]',
        rf"{KIND} MultiLineString",
    ),
    "no type": (f'[{GOOD}, {{"geometry": {{"coordinates": [{SQUARE}]}}}}]', rf"{KIND} none"),
    "no coordinates": (f'[{GOOD}, {{"geometry": {{"type": "Polygon"}}}}]', rf"{RINGS} none"),
    "coordinates that are null": (of("Polygon", "null"), rf"{RINGS} no list"),
    "a polygon without a ring": (of("Polygon", "[]"), rf"{RINGS} brackets that do not make a Polygon"),
    "a part without a ring": (of("MultiPolygon", f"[[{SQUARE}], []]"), rf"{RINGS} a polygon without a ring"),
    "a part that is a number": (of("MultiPolygon", f"[[{SQUARE}], 5]"), rf"{RINGS} a polygon that is not a list"),
    "a part without a vertex": (of("MultiPolygon", f"[[{SQUARE}], [[]]]"), rf"{RINGS} a ring without a vertex"),
    "one polygon as many": (of("MultiPolygon", f"[{SQUARE}]"), rf"{RINGS} brackets that do not make a MultiPolygon"),
    "many polygons as one": (of("Polygon", f"[[{SQUARE}]]"), rf"{RINGS} brackets that do not make a Polygon"),
    "a vertex of one number": (of("Polygon", "[[[1], [2, 3]]]"), rf"{RINGS} a vertex that is not two numbers"),
    "a vertex of text": (of("Polygon", '[[["1", 2], [2, 3]]]'), rf"{RINGS} a vertex that is not two numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_text_is_refused_by_place(tmp_path: Path, case: str) -> None:
    """Each fault names the file, and the feature or the text about it, on one line."""
    text, words = BAD[case]
    path = write_json(tmp_path / "a.geojson.zip", text)
    with pytest.raises(DamagedFileError, match=words) as caught:
        read_centroids(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_changed_digit_breaks_the_checksum(tmp_path: Path) -> None:
    """A fault that leaves good GeoJSON is found where the archive ends."""
    path = tmp_path / "a.geojson.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.geojson", f"[{GOOD}]")
    path.write_bytes(path.read_bytes().replace(b"[9.0,", b"[8.0,", 1))
    with pytest.raises(DamagedFileError, match=r"not a readable zip archive \(Bad CRC-32"):
        read_centroids(path)
