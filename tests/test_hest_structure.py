"""The structure views of HEST tasks: nuclei read, counted and drawn, on tiny trees and on the real sections."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from harness.tasks.datasets.graph_picture import GraphOptions, draw_graph, draw_lines, resize_linear
from harness.tasks.datasets.hest import READER, Params, Source
from harness.tasks.datasets.hest_dataset import HestDataset
from harness.tasks.datasets.hest_nuclei import read_centroids, ring_centroids
from harness.tasks.datasets.point_graph import nearest_neighbour_edges
from harness.tasks.metrics.binning import points_in_boxes
from harness.tasks.protocols.expression_params import Params as ProtocolParams
from harness.tasks.protocols.expression_regression import PROTOCOL
from hest_factory import (
    HALF,
    SLIDES,
    UM_PER_PX,
    Tree,
    alter,
    cut,
    set_attribute,
    set_counts,
    square_about,
    wkb_multipolygon,
    wkb_polygon,
    write_nuclei,
    write_slides,
    write_tree,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT, SHARED, needs_shared
from scipy.ndimage import map_coordinates
from scipy.stats import pearsonr

from harness.cli import main
from harness.errors import DamagedFileError, HarnessError, MissingDataError, SpecError
from harness.results import Result
from harness.runner import evaluate
from harness.types import DataContext, Embeddings

DATA = SHARED / "data"
SECTIONS = {
    "SPA141": (35_749, 17, 57.9, 101),
    "SPA140": (32_601, 17, 57.9, 95),
    "SPA139": (33_927, 19, 55.9, 92),
    "SPA138": (32_987, 22, 55.2, 99),
    "SPA137": (38_036, 16, 62.5, 102),
    "SPA145": (32_823, 1, 36.8, 123),
}
"""Nuclei of a section; fewest, mean and most of a patch: from the description of the data."""
STRUCTURE = ("graph_image", "points")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the harness's cache in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("BIOIMAGE_HARNESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Write a good tree with nuclei once."""
    tree = write_tree(tmp_path_factory.mktemp("original"), sizes=(5, 4, 4))
    write_slides(tree)
    return tree


@pytest.fixture
def tree(original: Tree, tmp_path: Path) -> Tree:
    """Return a copy of the good tree that a test may damage."""
    return original.copy(tmp_path / "data")


def corners(tree: Tree, section: str) -> np.ndarray:
    """Read the corners of the patches of a section."""
    with h5py.File(tree.patches(section)) as file:
        return file["coords"][()]


# --- centroids ---------------------------------------------------------------------------------------------------


def exact_centroid(ring: list[tuple[float, float]]) -> tuple[float, float]:
    """Compute the centroid of one ring with fractions."""
    vertices = [(Fraction(x), Fraction(y)) for x, y in ring]
    if len(vertices) > 1 and vertices[0] == vertices[-1]:
        vertices.pop()
    pairs = list(zip(vertices, vertices[1:] + vertices[:1], strict=True))
    crosses = [x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs]
    area = sum(crosses)
    if area == 0:
        return tuple(float(sum(axis) / len(vertices)) for axis in zip(*vertices, strict=True))
    return tuple(
        float(sum((a[k] + b[k]) * cross for (a, b), cross in zip(pairs, crosses, strict=True)) / (3 * area))
        for k in (0, 1)
    )


def vertices_of(rings: list[list[tuple[float, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Join rings as the kernel takes them."""
    return np.array([vertex for ring in rings for vertex in ring]), np.array([len(ring) for ring in rings])


QUARTERS = st.integers(0, 200).map(lambda number: 30_000 + number / 4)
RINGS = st.lists(st.lists(st.tuples(QUARTERS, QUARTERS), min_size=1, max_size=7), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(RINGS, st.booleans())
def test_centroids_equal_exact_arithmetic(rings: list[list[tuple[float, float]]], closed: bool) -> None:
    """Any rings, open or closed, degenerate or crossing themselves, have the centroids that fractions give."""
    rings = [ring + ring[:1] if closed else ring for ring in rings]
    expected = [exact_centroid(ring) for ring in rings]
    np.testing.assert_allclose(ring_centroids(*vertices_of(rings)), expected, rtol=0, atol=1e-6)


def test_centroids_by_hand() -> None:
    """An L of three unit squares has its centroid at 5/6; a line and a point have the mean of their vertices."""
    corner = [(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (0.0, 2.0), (0.0, 0.0)]
    line, point = [(0.0, 0.0), (1.0, 1.0), (5.0, 5.0), (0.0, 0.0)], [(7.0, 9.0)]
    found = ring_centroids(*vertices_of([corner, line, point]))
    np.testing.assert_allclose(found, [[5 / 6, 5 / 6], [2, 2], [7, 9]], rtol=1e-15)


SIMPLE = st.lists(st.lists(st.tuples(QUARTERS, QUARTERS), min_size=1, max_size=7, unique=True), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(SIMPLE, st.integers(0, 6), st.booleans())
def test_centroids_do_not_depend_on_start_or_direction(rings: Any, shift: int, backwards: bool) -> None:
    """The same ring of different vertices from another of them, or the other way round, has the same centroid."""
    turned = [ring[shift % len(ring) :] + ring[: shift % len(ring)] for ring in rings]
    turned = [ring[::-1] for ring in turned] if backwards else turned
    np.testing.assert_allclose(
        ring_centroids(*vertices_of(turned)), ring_centroids(*vertices_of(rings)), rtol=0, atol=1e-6
    )


# --- files of nuclei ---------------------------------------------------------------------------------------------

SQUARES = [(10.0 * number, 3.0 * number) for number in range(1, 8)]


def test_parquet_is_read_across_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small groups and batches give the centroids in file order, whatever the geometry column is called."""
    monkeypatch.setattr("harness.tasks.datasets.wkb_rings._BATCH", 2)
    write_nuclei(tmp_path / "a.parquet", [wkb_polygon(square_about(*at)) for at in SQUARES], column="shape", rows=3)
    np.testing.assert_allclose(read_centroids(tmp_path / "a.parquet"), SQUARES)


def test_every_part_of_a_multipolygon_is_a_nucleus(tmp_path: Path) -> None:
    """Polygons and multipolygons mix in a column, in order, and holes do not move a centroid."""
    hole = square_about(11, 4, half=1)
    polygons = [wkb_polygon(square_about(*at)) for at in SQUARES]
    with_hole = wkb_polygon(square_about(*SQUARES[1]), hole)
    rows = [polygons[0], wkb_multipolygon(with_hole, *polygons[2:4]), polygons[4], wkb_multipolygon(*polygons[5:])]
    write_nuclei(tmp_path / "a.parquet", rows)
    np.testing.assert_allclose(read_centroids(tmp_path / "a.parquet"), SQUARES)


def write_geojson(path: Path, document: object, name: str = "a.geojson") -> None:
    """Write a zip archive with one JSON file, or text as it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, document if isinstance(document, str) else json.dumps(document, indent=1))


def feature(kind: str, coordinates: object, name: str = "Neoplastic") -> dict[str, object]:
    """Return a GeoJSON feature."""
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": {"classification": {"name": name}}, "geometry": geometry}


FEATURES = [
    feature("MultiPolygon", [[square_about(*at)] for at in SQUARES[:4]]),
    feature("MultiPolygon", [], "Dead"),
    feature("Polygon", [square_about(*SQUARES[4]), square_about(*SQUARES[4], half=1)], "a class nobody knows"),
    feature("MultiPolygon", [[square_about(*at)] for at in SQUARES[5:]], "Unknown"),
]


@pytest.mark.parametrize(
    "document",
    [
        FEATURES,
        {"type": "FeatureCollection", "features": FEATURES},
        {"crs": {"type": "name", "features": [1]}, "features": FEATURES, "type": "FeatureCollection"},
    ],
)
def test_geojson_is_a_list_or_a_collection(tmp_path: Path, document: object) -> None:
    """Features of any class are read in order from a list and from a collection with other keys about it."""
    write_geojson(tmp_path / "a.geojson.zip", document)
    np.testing.assert_allclose(read_centroids(tmp_path / "a.geojson.zip"), SQUARES)


def to_geojson(tree: Tree, section: str, document: object = FEATURES) -> Path:
    """Replace the parquet file of a section by GeoJSON."""
    path = tree.nuclei(section).with_suffix("").with_suffix(".geojson.zip")
    tree.nuclei(section).unlink()
    write_geojson(path, document)
    return path


def test_geojson_takes_the_place_of_parquet(tree: Tree) -> None:
    """A section whose nuclei are zipped GeoJSON has the points it had from parquet, in the same order."""
    before = tree.open(slides=SLIDES).read("points", 0, 13).points
    rings = [[square_about(*at)] for at in read_centroids(tree.nuclei("A"))]
    to_geojson(tree, "A", [feature("MultiPolygon", rings[:20]), feature("MultiPolygon", rings[20:], "Dead")])
    after = tree.open(slides=SLIDES).read("points", 0, 13).points
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


# --- bad input ---------------------------------------------------------------------------------------------------

GOOD = wkb_polygon(square_about(10, 10))


def set_size(tree: Tree, value: object, **fields: object) -> None:
    """Set the pixel size of section B."""
    tree.metadata("B").write_text(json.dumps({"id": "B", "pixel_size_um_estimated": value, **fields}))


def write_table(tree: Tree, rows: list[tuple[str, object]]) -> None:
    """Write the table of all sections as HEST does, with a byte order mark."""
    with (tree.root / SLIDES / "HEST_v1_1_0.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows(
            [("dataset_title", "id", "pixel_size_um_estimated"), *(("a, b", *r) for r in rows)]
        )


def exchange(tree: Tree, section: str) -> None:
    """Write nuclei with x and y exchanged into a section whose patches lie off the diagonal."""
    away = np.array([20_000, 0])
    alter(tree.patches(section), "coords", lambda v: v + away)
    alter(tree.adata(section), "obsm/spatial", lambda v: v + away)
    centres = read_centroids(tree.nuclei(section)) + away
    write_nuclei(tree.nuclei(section), [wkb_polygon(square_about(y, x)) for x, y in centres])


Break = Callable[[Tree], object]
BAD: dict[str, tuple[Break, type[HarnessError], str]] = {
    "truncated parquet": (
        lambda t: cut(t.nuclei("B")),
        DamagedFileError,
        r"B_cellvit_seg\.parquet: not a readable parq",
    ),
    "parquet of text": (lambda t: t.nuclei("B").write_text("no"), DamagedFileError, r"not a readable parquet file"),
    "no segmentation": (
        lambda t: t.nuclei("B").unlink(),
        MissingDataError,
        r"section B: graph_image and points need its nuclei:(.|\n)*\.parquet not found(.|\n)*\.geojson\.zip not found",
    ),
    "no geometry": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD], column="wkt") or strip_metadata(t.nuclei("B")),
        DamagedFileError,
        r"column 'geometry' is missing \(the file holds class, wkt\)",
    ),
    "a row without geometry": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD, None]),
        DamagedFileError,
        r"geometry: 1 rows from row 0 on are empty",
    ),
    "no rows": (lambda t: write_nuclei(t.nuclei("B"), []), DamagedFileError, r"B_cellvit_seg\.parquet: no polygons"),
    "a point": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD] * 60 + [b"\x01\x01\x00\x00\x00" + bytes(16)]),
        DamagedFileError,
        r"row 60: expected WKB polygons, found not a polygon in two dimensions",
    ),
    "three dimensions": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD[:1] + b"\xeb\x03\x00\x00" + GOOD[5:]]),
        DamagedFileError,
        r"row 0: .* found not a polygon in two dimensions",
    ),
    "a polygon cut in its vertices": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD, GOOD[:-1], GOOD]),
        DamagedFileError,
        r"row 1: expected WKB polygons, found cut off",
    ),
    "a polygon cut in its head": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD, GOOD[:7]]),
        DamagedFileError,
        r"row 1: expected WKB polygons, found cut off",
    ),
    "a multipolygon cut": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD, wkb_multipolygon(GOOD, GOOD)[:-100]]),
        DamagedFileError,
        r"row 1: cut off",
    ),
    "a polygon without rings": (
        lambda t: write_nuclei(t.nuclei("B"), [wkb_polygon() + bytes(4)]),
        DamagedFileError,
        r"row 0: .* found a polygon without a ring",
    ),
    "a ring without vertices": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD, wkb_polygon([])]),
        DamagedFileError,
        r"row 1: .* found a ring without a vertex",
    ),
    "a vertex at infinity": (
        lambda t: write_nuclei(t.nuclei("B"), [GOOD, wkb_polygon(square_about(float("inf"), 0))]),
        DamagedFileError,
        r"row 1: .* found a vertex that is not finite",
    ),
    "truncated zip": (lambda t: cut(to_geojson(t, "B")), DamagedFileError, r"geojson\.zip: not a readable zip archive"),
    "a zip without GeoJSON": (
        lambda t: write_geojson(to_geojson(t, "B"), FEATURES, name="a.txt"),
        DamagedFileError,
        r"expected one \.geojson file inside, found 0",
    ),
    "broken JSON": (
        lambda t: to_geojson(t, "B", json.dumps(FEATURES)[:-30]),
        DamagedFileError,
        r"a\.geojson: not readable GeoJSON",
    ),
    "JSON of another form": (
        lambda t: to_geojson(t, "B", '{"type": "FeatureCollection"}'),
        DamagedFileError,
        r"a\.geojson: not readable GeoJSON \(expected a list of features, or a collection of them\)",
    ),
    "a feature that is a point": (
        lambda t: to_geojson(t, "B", [FEATURES[0], feature("Point", [1, 2])]),
        DamagedFileError,
        r"a\.geojson: feature 1: geometry: expected a Polygon or MultiPolygon, found Point",
    ),
    "vertices of three numbers": (
        lambda t: to_geojson(t, "B", [feature("Polygon", [[[0, 0, 0], [1, 1, 1], [0, 1, 2]]])]),
        DamagedFileError,
        r"feature 0: coordinates: expected rings of \[x, y\]",
    ),
    "no features": (lambda t: to_geojson(t, "B", []), DamagedFileError, r"geojson\.zip: no polygons"),
    "nuclei of another section": (
        lambda t: write_nuclei(t.nuclei("B"), [wkb_polygon(square_about(9e4 + i, 9e4)) for i in range(9)]),
        DamagedFileError,
        r"0\.00% of 9 nuclei lie in a patch of section B, expected at least 1%; the file of another section",
    ),
    "nuclei with x and y exchanged": (
        lambda t: exchange(t, "B"),
        DamagedFileError,
        r"0\.00% of 48 nuclei lie in a patch of section B.*with x and y exchanged it would be 5\d\.\d+%",
    ),
    # pixel sizes
    "no metadata": (
        lambda t: t.metadata("B").unlink(),
        MissingDataError,
        r"section B: the size of a pixel is unknown(.|\n)*metadata/B\.json not found(.|\n)*HEST_v1_1_0\.csv not found",
    ),
    "a pixel size of null": (
        lambda t: set_size(t, None),
        MissingDataError,
        r"section B: the size of a pixel is unknown(.|\n)*B\.json: section B: no pixel_size_um_estimated",
    ),
    "a table without the section": (
        lambda t: [set_size(t, None), write_table(t, [("A", 0.7)])],
        MissingDataError,
        r"HEST_v1_1_0\.csv: section B: no pixel_size_um_estimated",
    ),
    "a section twice in the table": (
        lambda t: [set_size(t, None), write_table(t, [("B", 0.7), ("B", 0.5)])],
        DamagedFileError,
        r"HEST_v1_1_0\.csv: id: section B has 2 rows",
    ),
    "a pixel of 12 um": (
        lambda t: set_size(t, 12),
        DamagedFileError,
        r"section B: pixel_size_um_estimated: expected micrometres a pixel from 0\.1 to 1\.2, found 12;",
    ),
    "a pixel of .05 um": (lambda t: set_size(t, 0.05), DamagedFileError, r"section B: .* found 0\.05"),
    "a pixel size of text": (lambda t: set_size(t, "half"), DamagedFileError, r"section B: .* found 'half'"),
    "a pixel size of NaN": (lambda t: set_size(t, float("nan")), DamagedFileError, r"section B: .* found nan"),
    "another pixel size in the metadata": (
        lambda t: set_size(t, 0.349),
        DamagedFileError,
        r"B\.json: section B: pixel_size_um_estimated: 0\.349 um, but .*B\.h5: img states 0\.7 um, expected .* 5%",
    ),
    "nuclei outside the slide": (
        lambda t: set_size(t, UM_PER_PX, fullres_px_width=6000, fullres_px_height=6000),
        DamagedFileError,
        r"B_cellvit_seg\.parquet: section B: \d+ of \d+ nuclei \(.*%\) lie outside the slide of 6000 x 6000 px, expect",
    ),
    "the nuclei of another section": (
        lambda t: shutil.copy(t.nuclei("A"), t.nuclei("B")),
        DamagedFileError,
        r"sections A and B: expected two segmentations, found the same|lie in a patch of section B",
    ),
    "metadata of another form": (
        lambda t: t.metadata("B").write_text("[1]"),
        DamagedFileError,
        r"B\.json: expected the fields of section B, found a list",
    ),
    "metadata that are not JSON": (
        lambda t: t.metadata("B").write_text("{"),
        DamagedFileError,
        r"B\.json: not a readable JSON file",
    ),
}


def strip_metadata(path: Path) -> None:
    """Write a parquet file again without a word about its geometry."""
    from pyarrow import parquet

    parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(tree: Tree, case: str) -> None:
    """Each damage raises its class and names the section or file, in both views, and the image view still works."""
    damage, error, words = BAD[case]
    damage(tree)
    dataset = tree.open(slides=SLIDES)
    for ask in (lambda: dataset.read("points", 0, 1), lambda: dataset.fingerprint("graph_image")):
        with pytest.raises(HarnessError, match=words) as caught:
            ask()
        assert type(caught.value) is error
    assert dataset.read("image", 0, 1).images.shape == (1, 3, 224, 224)
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("case", "slides", "code"),
    [("no segmentation", SLIDES, 5), ("a pixel of 12 um", SLIDES, 7), ("truncated zip", SLIDES, 7), (None, None, 2)],
)
def test_bad_input_sets_the_exit_code(
    tree: Tree, case: str | None, slides: str | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line ends with the code of the class, also where no repository of slides is named."""
    if case:
        BAD[case][0](tree)
    spec, output = f"{tree.write_spec('image', *STRUCTURE, slides=slides)}@points", str(tree.root / "results")
    arguments = ["eval", "--model", "cell-count", "--tasks", spec, "--data-dir", str(tree.root), "--output", output]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--offline"])
    assert stop.value.code == code
    assert "Traceback" not in capsys.readouterr().err


def test_the_image_view_needs_no_slides(tree: Tree) -> None:
    """Without nuclei on disk and without a word of them in the spec, patches are read as before."""
    before = tree.open(slides=SLIDES).fingerprint("image")
    shutil.rmtree(tree.root / SLIDES)
    for slides in (None, SLIDES):
        dataset = tree.open(slides=slides)
        assert dataset.fingerprint("image") == before
        assert dataset.read("image", 0, 13).images.shape == (13, 3, 224, 224)
    with pytest.raises(SpecError, match=r"source\.slides: missing; graph_image and points need"):
        tree.open().read("points", 0, 1)


@pytest.mark.parametrize("present", ["null", "no file"])
def test_the_table_states_pixel_sizes_too(tree: Tree, present: str) -> None:
    """Where a JSON file is silent or absent, the row of the table gives the same points."""
    before = tree.open(slides=SLIDES).read("points", 0, 13).points
    if present == "null":
        set_size(tree, None)
    else:
        tree.metadata("B").unlink()
    write_table(tree, [("A", 0.2), ("B", UM_PER_PX)])
    after = tree.open(slides=SLIDES).read("points", 0, 13).points
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


# --- cells of patches --------------------------------------------------------------------------------------------


def test_points_are_the_nuclei_of_the_closed_square(tree: Tree) -> None:
    """Each patch holds every nucleus in its square, in file order, as 2 (xy - centre) / P in float32."""
    centres = write_slides(tree, per_patch=9, seed=3)
    dataset = tree.open(slides=SLIDES)
    sets = dict(zip(dataset.ids, dataset.read("points", 0, 13).points, strict=True))
    side = 112 / UM_PER_PX
    for name, nuclei in centres.items():
        for row, corner in enumerate(corners(tree, name)):
            inside = nuclei[((corner <= nuclei) & (nuclei <= corner + side)).all(axis=1)]
            found = sets[f"{name}/{row:03d}x{name}"]
            assert found.dtype == np.float32
            assert len(found) >= 8  # one may fall out of the square by the rounding of its centroid
            np.testing.assert_allclose(found, 2 * (inside - (corner + side / 2)) / side, atol=1e-6)


def test_a_nucleus_on_the_border_belongs_to_both_patches(tree: Tree) -> None:
    """The square is closed, and a nucleus where two patches overlap counts in both."""
    alter(tree.patches("B"), "coords", lambda v: np.array([[0, 0], [100, 0], [500, 500], [900, 0]]))
    write_nuclei(tree.nuclei("B"), [wkb_polygon(square_about(*at)) for at in [(0, 0), (100, 0), (160, 160), (260, 10)]])
    dataset = tree.open(slides=SLIDES)
    first = dataset.ids.index("B/000xB")
    counts = [len(points) for points in dataset.read("points", first, first + 4).points]
    assert round(2 * HALF, 9) == 160
    assert counts == [3, 3, 0, 0]


def test_patches_without_nuclei_stay(tree: Tree) -> None:
    """They give an empty (0, 2) array and a black picture, and are counted in the notes once nuclei were read."""
    corner = corners(tree, "B")[1]
    inside = [wkb_polygon(square_about(*(corner + HALF + step))) for step in range(3)]
    write_nuclei(tree.nuclei("B"), inside)
    dataset = tree.open(slides=SLIDES)
    dataset.fingerprint("image")
    assert dataset.notes == ()
    counts = [len(points) for points in dataset.read("points", 0, 13).points]
    first = dataset.ids.index("B/000xB")
    assert counts[first : first + 4] == [0, 3, 0, 0]
    assert dataset.read("points", first, first + 1).points[0].shape == (0, 2)
    pictures = dataset.read("graph_image", 0, 13).images
    assert [bool(picture.any()) for picture in pictures] == [count > 0 for count in counts]
    assert dataset.notes == ("graph_image and points: 3 of 13 patches hold no nucleus",)
    inverted = tree.open(slides=SLIDES, graph={"invert": True})
    assert inverted.read("graph_image", first, first + 1).images.min() == 255
    assert inverted.notes == dataset.notes


@pytest.mark.parametrize(("view", "model"), [("graph_image", "pixel-mean"), ("points", "cell-count")])
def test_a_result_says_how_many_patches_are_empty(tree: Tree, view: str, model: str) -> None:
    """Empty patches are evaluated like others, and the result carries their number; so does one made from the store."""
    corner = corners(tree, "B")[1]
    write_nuclei(tree.nuclei("B"), [wkb_polygon(square_about(*(corner + HALF + step))) for step in range(3)])
    spec = f"{tree.write_spec('image', *STRUCTURE, slides=SLIDES)}@{view}"
    options: dict[str, Any] = {"data_dirs": (tree.root,), "store": str(tree.root / "store"), "baselines": "none"}
    first, again = (evaluate(model, spec, output=None, offline=True, **options)[0] for _ in range(2))
    assert first.headline.value is not None
    assert "graph_image and points: 3 of 13 patches hold no nucleus" in first.notes
    assert (first.provenance.n_embedded, again.provenance.n_embedded) == (13, 0)
    assert again.notes == first.notes


def test_what_a_structure_view_lacks_is_not_said_of_images(tree: Tree) -> None:
    """Views of one run have notes of their own: the image result says what it says when it runs alone."""
    corner = corners(tree, "B")[1]
    write_nuclei(tree.nuclei("B"), [wkb_polygon(square_about(*(corner + HALF + step))) for step in range(3)])
    spec = str(tree.write_spec("graph_image", "image", "points", slides=SLIDES))
    results = evaluate(
        "cell-count,pixel-mean", spec, data_dirs=(tree.root,), store=str(tree.root / "store"), baselines="none",
        output=None, offline=True,
    )  # fmt: skip
    said = {result.view: any("hold no nucleus" in note for note in result.notes) for result in results}
    assert said == {"graph_image": True, "image": False, "points": True}


def test_the_share_in_patches_is_that_of_all_patches(tree: Tree) -> None:
    """A limit leaves few patches, yet the nuclei are still known to be those of the section."""
    write_slides(tree, per_patch=400)
    dataset = tree.open(slides=SLIDES, limit=1)
    assert [len(points) >= 400 for points in dataset.read("points", 0, 9).points] == [True] * 9


def test_threads_copies_and_ranges_give_the_same(tree: Tree) -> None:
    """Reads from threads, from a pickled copy and range by range equal one read in one piece."""
    whole = tree.open(slides=SLIDES)
    points, pictures = whole.read("points", 0, 13).points, whole.read("graph_image", 0, 13).images
    fresh = tree.open(slides=SLIDES)
    with ThreadPoolExecutor(4) as executor:
        parts = list(executor.map(lambda start: fresh.read("points", start, start + 3).points, range(0, 13, 3)))
    assert all(np.array_equal(a, b) for a, b in zip(sum(parts, ()), points, strict=True))
    copied = pickle.loads(pickle.dumps(whole))
    assert np.array_equal(copied.read("graph_image", 3, 11).images, pictures[3:11])
    assert copied.fingerprint("points") == whole.fingerprint("points")


@needs_shared
@pytest.mark.parametrize("kind", ["square", "hex"])
def test_counts_equal_the_oracle_of_geometry(tmp_path: Path, kind: str) -> None:
    """Every patch of the brute-force oracle holds as many cells as it says."""
    oracle = json.loads((SHARED / f"oracles/hest1nn_geometry/{kind}.json").read_text())
    tree = write_tree(tmp_path, sizes=(len(oracle["barcodes"]), 3))
    write_slides(tree)
    alter(tree.patches("A"), "coords", lambda v: np.array(oracle["top_left_px"]))
    tree.metadata("A").write_text(json.dumps({"pixel_size_um_estimated": oracle["pixel_size_um"]}))
    set_attribute(tree.patches("A"), "img", "pixel_size", oracle["pixel_size_um"])
    write_nuclei(tree.nuclei("A"), [wkb_polygon([tuple(cell)]) for cell in oracle["cells_px"]])
    dataset = tree.open(slides=SLIDES)
    first = dataset.ids.index("A/000xA")
    sets = dataset.read("points", first, first + len(oracle["barcodes"])).points
    assert [len(points) for points in sets] == [entry["n_cells_1x1"] for entry in oracle["expected"]]


# --- pictures ----------------------------------------------------------------------------------------------------


def draw_naively(pixels: np.ndarray, edges: np.ndarray, rows: int, columns: int, width: int, antialias: bool) -> Any:
    """Ask of every pixel how far its centre is from every edge."""
    canvas = np.zeros((rows, columns), dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            centre, best = np.array([column + 0.5, row + 0.5]), np.inf
            for first, second in edges:
                start, along = pixels[first], pixels[second] - pixels[first]
                squared = along @ along
                share = min(max((centre - start) @ along / squared, 0), 1) if squared else 0.0
                best = min(best, float(np.hypot(*(centre - start - share * along))))
            if antialias:
                canvas[row, column] = round(255 * min(max(width / 2 + 0.5 - best, 0), 1))
            elif best <= width / 2:
                canvas[row, column] = 255
    return canvas


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_lines_equal_a_naive_drawing(width: int, antialias: bool) -> None:
    """Random edges, dots and edges that leave the canvas light the pixels that a loop over all of them does."""
    rng = np.random.default_rng(width)
    pixels = rng.uniform(-3, 25, (9, 2))
    edges = np.array([[0, 1], [1, 2], [3, 3], [4, 8], [5, 6]])
    found = draw_lines(pixels, edges, 18, 23, width=width, antialias=antialias)
    expected = draw_naively(pixels, edges, 18, 23, width, antialias)
    assert expected.any()
    assert np.abs(found.astype(int) - expected).max() <= (1 if antialias else 0)  # the last bit of a rounded grey


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_resizing_is_linear_interpolation(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    """Any size gives what scipy interpolates between pixel centres, rounded."""
    picture = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in ((rows, height), (columns, width))]
    grid = np.meshgrid(*places, indexing="ij")
    expected = map_coordinates(picture.astype(float), grid, order=1, mode="nearest")
    assert np.abs(resize_linear(picture, rows, columns) - expected).max() <= 0.5 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 70), st.sampled_from([{}, {"um_per_px": 0.5}, {"antialias": True}]))
def test_a_quarter_turn_of_the_cells_turns_the_picture(seed: int, n: int, options: dict[str, Any]) -> None:
    """Cells turned by 90 degrees about the centre of the patch give the turned picture, to a rounded grey level."""
    cells = np.random.default_rng(seed).uniform(0, 112, (n, 2))
    chosen = GraphOptions(**options)
    picture = draw_graph(cells, (112, 112), chosen, 224)
    turned = draw_graph(np.column_stack([112 - cells[:, 1], cells[:, 0]]), (112, 112), chosen, 224)
    apart = np.abs(np.rot90(picture, -1).astype(int) - turned)
    assert (apart > 1).mean() < 1e-3  # a pixel at exactly half a width may fall on either side
    assert picture.any() == (n > 0)


def test_pictures_by_hand() -> None:
    """One cell is a dot of the line's width, two are a line, none is black; inverted they are white with black."""
    options = GraphOptions()
    dot = draw_graph(np.array([[10.0, 20.0]]), (112, 112), options, 112)
    assert sorted(zip(*np.nonzero(dot), strict=True)) == [(19, 9), (19, 10), (20, 9), (20, 10)]
    line = draw_graph(np.array([[10.0, 20.0], [30.0, 20.0]]), (112, 112), options, 112)
    assert np.array_equal(np.unique(np.nonzero(line)[0]), [19, 20])
    assert np.array_equal(np.unique(np.nonzero(line)[1]), np.arange(9, 31))
    none = draw_graph(np.empty((0, 2)), (112, 112), options, 224)
    assert none.shape == (224, 224)
    assert none.max() == 0
    assert np.array_equal(draw_graph(np.array([[10.0, 20.0]]), (112, 112), GraphOptions(invert=True), 112), 255 - dot)


def test_the_view_draws_the_graph_in_micrometres(tree: Tree) -> None:
    """A picture equals canvas, naive lines of the 5 nearest neighbours and resize, put together by hand."""
    dataset = tree.open(slides=SLIDES, graph={"k": 3, "width": 3})
    batch = dataset.read("graph_image", 2, 4)
    assert (batch.images.shape, batch.images.dtype) == ((2, 3, 224, 224), np.uint8)
    assert np.array_equal(batch.images[:, 0], batch.images[:, 1])
    assert np.array_equal(batch.images[:, 0], batch.images[:, 2])
    for picture, points in zip(batch.images[:, 0], dataset.read("points", 2, 4).points, strict=True):
        cells = (points.astype(np.float64) + 1) * 56
        canvas = draw_naively(cells, nearest_neighbour_edges(cells, 3), 112, 112, 3, False)
        assert (picture != resize_linear(canvas, 224, 224)).mean() < 1e-3  # points are float32


@pytest.mark.parametrize(
    ("options", "words"),
    [({"widht": 2}, "widht"), ({"width": 0}, "width"), ({"um_per_px": 0}, "um_per_px"), ({"k": 0}, "k")],
)
def test_options_of_drawing_are_checked(
    tree: Tree, options: dict[str, int], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt or impossible option ends with code 2 and is named."""
    spec = tree.write_spec(*STRUCTURE, slides=SLIDES)
    ((key, value),) = options.items()
    arguments = ["eval", "--model", "pixel-mean", "--tasks", str(spec), "--set", f"protocol.params.graph.{key}={value}"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--data-dir", str(tree.root), "--offline", "--output", str(tree.root / "results")])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


# --- fingerprints ------------------------------------------------------------------------------------------------


def prints(tree: Tree, limit: int | None = None, **graph: object) -> dict[str, str]:
    """Return the fingerprint of each view and the hash of the data."""
    dataset = tree.open(slides=SLIDES, limit=limit, graph=graph)
    return {view: dataset.fingerprint(view) for view in ("image", *STRUCTURE)} | {"data": dataset.data_hash}


def move_nuclei(tree: Tree) -> None:
    """Move the nuclei of a section by a quarter of a pixel."""
    centres = read_centroids(tree.nuclei("C")) + 0.25
    write_nuclei(tree.nuclei("C"), [wkb_polygon(square_about(*at)) for at in centres])


CHANGES: dict[str, tuple[Break, dict[str, object], set[str]]] = {
    "a copy": (lambda t: None, {}, set()),
    "nuclei": (move_nuclei, {}, {"graph_image", "points"}),
    "pixel size": (lambda t: set_size(t, 0.71), {}, {"graph_image", "points"}),
    "prose of the metadata": (
        lambda t: t.metadata("B").write_text(json.dumps({"pixel_size_um_estimated": UM_PER_PX, "organ": "Liver"})),
        {},
        set(),
    ),
    "a pixel of a patch": (lambda t: alter(t.patches("A"), "img", lambda v: v ^ 1), {}, {"image", "data"}),
    "a corner": (
        lambda t: alter(t.patches("A"), "coords", lambda v: v + 1),
        {},
        {"image", "graph_image", "points", "data"},
    ),
    "a count": (lambda t: set_counts(t.adata("A"), "G00", 3), {}, {"data"}),
    "an option of drawing": (lambda t: None, {"width": 3}, {"graph_image"}),
    "fewer samples": (lambda t: None, {"limit": 10}, {"image", "graph_image", "points"}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_fingerprints_cover_what_shapes_a_view(original: Tree, tree: Tree, case: str) -> None:
    """Each change alters the fingerprints of the views it shapes and no other; nuclei never alter the data's hash."""
    change, options, expected = CHANGES[case]
    before = prints(original)
    change(tree)
    after = prints(tree, **options)
    assert {name for name in before if before[name] != after[name]} == expected
    assert len(set(before.values())) == 4


# --- real sections -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> HestDataset:
    """Open the cross-patient task, which holds all six sections."""
    source = Source(bench="MahmoodLab/hest-bench", folder="HER2ST_XP", slides="MahmoodLab/hest")
    return READER.open(None, source, Params(), DataContext(data_dirs=(DATA,), offline=True))


@needs_shared
@pytest.mark.parametrize("name", SECTIONS)
def test_nuclei_are_those_of_the_description(real: HestDataset, name: str) -> None:
    """Nuclei of a section and of squares about its spots repeat the table; those of the patches are as many within 1.

    The table counts about the centre of the spot; a patch starts at a whole pixel, up to one to the left and above.
    """
    total, *expected = SECTIONS[name]
    number = [section.name for section in real.sections].index(name)
    section, cells = real.sections[number], real.structure.cells[number]
    side = 112 / cells.um_per_px
    centres = section.spots.centres[section.spot_rows]
    about = points_in_boxes(cells.nuclei, np.concatenate([centres - side / 2, centres + side / 2], axis=1)).counts
    assert len(cells.nuclei) == total
    assert [about.min(), round(float(about.mean()), 1), about.max()] == expected
    counts = cells.members.counts
    assert counts.min() == expected[0]
    assert abs(counts.mean() - expected[1]) <= 0.1
    assert abs(counts.max() - expected[2]) <= 1
    assert real.notes == ()


@needs_shared
def test_both_formats_of_a_section_agree() -> None:
    """SPA137 has the same centroids in the same order from parquet and from GeoJSON."""
    folder = DATA / "MahmoodLab/hest/cellvit_seg"
    found = [read_centroids(folder / f"SPA137_cellvit_seg.{ending}") for ending in ("parquet", "geojson.zip")]
    assert found[0].shape == (38_036, 2)
    assert np.array_equal(*found)


MODELS = {
    "points": "cell-count,cell-count-std",
    "graph_image": "pixel-stats,single-conv",
    "image": "single-conv",
}


@pytest.fixture(scope="module")
def results(cache: Path) -> dict[tuple[str, str], Result]:
    """Evaluate the models on the views they take, five sections of one patient, one seed."""
    found: dict[tuple[str, str], Result] = {}
    for view, models in MODELS.items():
        spec = f"{ROOT / 'examples/her2st/hest.yaml'}@{view}"
        options: dict[str, Any] = {"data_dirs": (DATA,), "store": str(cache / "store"), "seeds": (0,), "offline": True}
        for result in evaluate(models, spec, baselines="none", output=cache / "out", **options):
            found[result.view, result.model.name] = result
    return found


@needs_shared
def test_every_model_scores_on_every_view_it_takes(results: dict[tuple[str, str], Result], cache: Path) -> None:
    """Scores are finite, on the same data and targets, each in a folder of its view."""
    wanted = {(view, model) for view, models in MODELS.items() for model in models.split(",")}
    assert set(results) == wanted
    assert all(0 < result.headline.value < 0.5 for result in results.values())
    assert len({result.task.data_hash for result in results.values()}) == 1
    assert {result.headline.n_undefined for result in results.values()} == {0}
    assert {str(path.relative_to(cache / "out")) for path in (cache / "out").rglob("*.json")} == {
        f"hest-her2st@{view}/{model}.json" for view, model in wanted
    }


@needs_shared
def test_counts_beat_noise(results: dict[tuple[str, str], Result], real: HestDataset) -> None:
    """Both forms of the cell count score above any of five draws of noise of the same width."""
    source = Source(bench="MahmoodLab/hest-bench", folder="HER2ST")
    dataset = READER.open(None, source, Params(), DataContext(data_dirs=(DATA,), offline=True))
    found = []
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal((len(dataset.ids), 256)).astype(np.float32)
        units = PROTOCOL.evaluate(Embeddings(dataset.ids, noise, "last", 0, ""), dataset, ProtocolParams(), 0).units
        found.append(units["pcc"].value.mean())
    assert results["points", "cell-count"].headline.value > max(found) + 0.01
    assert results["points", "cell-count-std"].headline.value > max(found) + 0.01


@needs_shared
def test_the_count_alone_scores_what_plain_correlations_say(real: HestDataset) -> None:
    """A line on one feature correlates like the feature itself: each gene's score is its r with the count, or - r."""
    rows = [row for row, name in enumerate(real.ids) if not name.startswith("SPA145")]
    counts = np.array([len(points) for points in real.read("points", 0, len(real.ids)).points])[rows]
    source = Source(bench="MahmoodLab/hest-bench", folder="HER2ST")
    dataset = READER.open(None, source, Params(), DataContext(data_dirs=(DATA,), offline=True))
    count = dict(zip([real.ids[row] for row in rows], counts, strict=True))
    feature_ = np.array([count[name] for name in dataset.ids], dtype=float)
    embeddings = Embeddings(dataset.ids, feature_[:, None].astype(np.float32), "last", 0, "")
    block = PROTOCOL.evaluate(embeddings, dataset, ProtocolParams(), 0).units["pcc"]
    scores = dict(zip(zip(block.fold.tolist(), block.unit, strict=True), block.value, strict=True))
    for fold in dataset.folds:
        for gene, column in zip(dataset.genes, dataset.targets.T, strict=True):
            known, tested = (pearsonr(feature_[side], column[side]).statistic for side in (fold.train, fold.test))
            assert scores[fold.number, gene] == pytest.approx(np.sign(known) * tested, abs=1e-6)
