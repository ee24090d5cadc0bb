"""The reader of HEST-1k-1NN on generated sections: neighbourhoods, targets, three views, and a run of the engine."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from harness.tasks.datasets.graph_picture import GraphOptions, draw_graph
from harness.tasks.datasets.hest1nn_dataset import Hest1nnDataset
from harness.tasks.datasets.hest1nn_params import Params
from harness.tasks.datasets.point_graph import nearest_neighbour_edges
from harness.tasks.datasets.slide import open_slide
from hest1nn_factory import MARGIN, PITCH, SIDE, UM_PER_PX, Grid, Shape, put_nuclei, to_geojson, write_grid
from hest_factory import SLIDES, alter, wkb_polygon, write_h5ad, write_nuclei
from places import SHARED, needs_shared
from pydantic import ValidationError

from harness.progress import Silent
from harness.runner import evaluate

VIEWS = ("image", "graph_image", "points")
SHAPES: tuple[Shape, ...] = ("square", "hex")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the harness's cache in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("BIOIMAGE_HARNESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[Shape, Grid]:
    """Write a good task on each grid once."""
    return {shape: write_grid(tmp_path_factory.mktemp(shape), shape) for shape in SHAPES}


@pytest.fixture
def square(originals: dict[Shape, Grid], tmp_path: Path) -> Grid:
    """Return a copy of the square task that a test may change."""
    return originals["square"].copy(tmp_path / "data")


def members_of(dataset: Hest1nnDataset, row: int) -> set[str]:
    """Return the barcodes of the members of a sample."""
    around = dataset.surroundings(row)
    section = next(one for one in dataset.sections if one.plan.name == dataset.section[row])
    return {section.plan.section.patches.barcodes[member] for member in around.members}


def expect_members(grid: Grid, section: str, barcode: str) -> set[str]:
    """Find by array positions who is next to a spot."""
    barcodes = [f"{name}" for name in read_barcodes(grid, section)]
    x, y = map(int, barcode.split("x"))
    if grid.shape == "square":
        ring = set(product((-1, 0, 1), repeat=2))
    else:
        shift = 0 if y % 2 else -1  # odd rows lie half a pitch to the right
        ring = {(0, 0), (-1, 0), (1, 0), *((shift + step, up) for step in (0, 1) for up in (-1, 1))}
    return {f"{x + a:03d}x{y + b:03d}" for a, b in ring} & set(barcodes)


def read_barcodes(grid: Grid, section: str) -> list[str]:
    """Read the barcodes of a patch file."""
    with h5py.File(grid.tree.patches(section)) as file:
        return [name.decode() for name in file["barcode"][:, 0]]


# --- neighbourhoods -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_members_are_the_first_ring(originals: dict[Shape, Grid], shape: Shape) -> None:
    """Up to 9 or 7 spots of the same section, at borders fewer."""
    dataset = originals[shape].open()
    sizes = set()
    for row, name in enumerate(dataset.ids):
        section, barcode = name.split("/")
        members = members_of(dataset, row)
        assert members == expect_members(originals[shape], section, barcode)
        sizes.add(len(members))
    assert max(sizes) == {"square": 9, "hex": 7}[shape]


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_are_the_same_in_every_view(originals: dict[Shape, Grid], shape: Shape) -> None:
    """Neighbourhoods without a nucleus are in no view; ids, targets and folds are of those that are kept."""
    grid = originals[shape]
    dataset = grid.open()
    total = sum(len(corners) for corners in grid.corners.values())
    assert 30 < len(dataset.ids) < total
    assert f"{total - len(dataset.ids)} of {total} neighbourhoods hold no nucleus and are in no view" in dataset.notes
    assert len(dataset.targets) == len(dataset.section) == len(dataset.ids)
    rows = np.concatenate([np.concatenate([fold.train, fold.test]) for fold in dataset.folds[:1]])
    assert sorted(rows) == list(range(len(dataset.ids)))
    for view in VIEWS:
        batch = dataset.read(view, 0, len(dataset.ids))
        assert batch.ids == dataset.ids
    order = [f"{name}/{barcode}" for name in ("B", "C", "A") for barcode in read_barcodes(grid, name)]
    assert dataset.ids == tuple(name for name in order if name in set(dataset.ids))


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_and_cells_by_hand(originals: dict[Shape, Grid], shape: Shape) -> None:
    """The box goes from the first corner to the last corner and 112 um, and holds the nuclei inside it."""
    grid = originals[shape]
    dataset = grid.open()
    for row, name in enumerate(dataset.ids):
        section, around = name[0], dataset.surroundings(row)
        names = read_barcodes(grid, section)
        own = grid.corners[section][[names.index(barcode) for barcode in members_of(dataset, row)]]
        assert around.box.tolist() == [*own.min(axis=0), *(own.max(axis=0) + SIDE)]
        nuclei = grid.nuclei[section]
        inside = nuclei[((nuclei >= around.box[:2]) & (nuclei <= around.box[2:])).all(axis=1)]
        np.testing.assert_allclose(around.cells, inside, atol=1e-6)
        assert names[around.own] == name[2:]


@pytest.mark.parametrize(("average", "log"), [("counts", False), ("log", True)])
def test_targets_are_means_over_all_members(square: Grid, average: str, log: bool) -> None:
    """Raw counts are averaged, then the logarithm is taken; or the other way round on request."""
    dataset = square.open(nn={"average": average})
    for row, name in enumerate(dataset.ids):
        names = read_barcodes(square, name[0])
        own = square.counts[name[0]][[names.index(barcode) for barcode in members_of(dataset, row)]]
        expected = np.log1p(own).mean(axis=0) if log else np.log1p(own.mean(axis=0))
        np.testing.assert_allclose(dataset.targets[row], expected, rtol=1e-12)


def test_targets_follow_normalize(square: Grid) -> None:
    """Without a logarithm the targets are mean counts; scaled to 10,000, spots are scaled before they are averaged."""
    dataset, scaled = square.open(normalize="none"), square.open(normalize="cp10k_log1p")
    row = 3
    names = read_barcodes(square, dataset.ids[row][0])
    own = square.counts[dataset.ids[row][0]][[names.index(barcode) for barcode in members_of(dataset, row)]]
    np.testing.assert_allclose(dataset.targets[row], own.mean(axis=0))
    share = (1e4 * own / own.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(scaled.targets[row], np.log1p(share))
    with pytest.raises(ValidationError, match=r"nn\.average: log needs a normalize"):
        square.open(normalize="none", nn={"average": "log"})


def test_all_spots_may_be_neighbours(square: Grid) -> None:
    """With source adata, spots without a patch count in means and boxes, and are no samples."""
    with_patch, all_spots = square.open(), square.open(nn={"source": "adata"})
    assert set(with_patch.ids) <= set(all_spots.ids)
    row = all_spots.ids.index("B/000x000")
    around, before = all_spots.surroundings(row), with_patch.surroundings(with_patch.ids.index("B/000x000"))
    assert len(around.members) == len(before.members) + 1
    assert around.box[0] == before.box[0] - PITCH + 1  # int() cuts towards 0, and this corner is negative
    assert not any("lonely" in name for name in all_spots.ids)
    assert all_spots.targets[row].min() > np.log1p(100)  # a thousand counts of the spot without a patch


def test_array_positions_take_the_place_of_distances(square: Grid) -> None:
    """With neighbours grid, spots that jitter keep the neighbours that a radius loses."""
    dataset = square.open()
    shake = np.random.default_rng(1).uniform(-30, 30, (len(square.corners["B"]) + 1, 2))
    alter(square.tree.adata("B"), "obsm/spatial", lambda v: v + shake)
    radius, grid = square.open(), square.open(nn={"neighbours": "grid"})
    sizes = [
        [len(one.surroundings(row).members) for row, name in enumerate(one.ids) if name[0] == "B"]
        for one in (dataset, radius, grid)
    ]
    assert sizes[0] == sizes[2]
    assert sum(sizes[1]) < sum(sizes[0])
    with pytest.raises(ValidationError, match="grid needs shape: square"):
        Params.model_validate({"nn": {"shape": "hex", "neighbours": "grid"}})


@needs_shared
@pytest.mark.parametrize("shape", SHAPES)
def test_the_oracle_through_the_reader(tmp_path: Path, shape: Shape) -> None:
    """A section with the oracle's spots, corners, counts and nuclei has its samples, boxes, cells, means and points."""
    oracle = json.loads((SHARED / f"oracles/hest1nn_geometry/{shape}.json").read_text())
    grid = write_grid(tmp_path, shape, sizes=((4, 4), (4, 4)), slides=False)
    names, tree = oracle["barcodes"], grid.tree
    tree.genes_file.write_text(json.dumps({"genes": list("abcd")}))
    write_h5ad(tree.adata("A"), names, list("abcd"), np.array(oracle["counts"]), np.array(oracle["centres_px"]))
    write_h5ad(tree.adata("B"), read_barcodes(grid, "B"), list("abcd"), np.ones((16, 4)), grid.centres["B"])
    alter(tree.patches("A"), "barcode", lambda v: np.array([[name.encode()] for name in names]))
    alter(tree.patches("A"), "coords", lambda v: np.array(oracle["top_left_px"]))
    alter(tree.patches("A"), "img", lambda v: np.zeros((len(names), SIDE, SIDE, 3), dtype=np.uint8))
    grid.set_metadata("A", pixel_size_um_estimated=oracle["pixel_size_um"], inter_spot_dist=oracle["pitch_um"])
    grid.set_metadata("A", fullres_px_width=None, fullres_px_height=None)
    write_nuclei(tree.nuclei("A"), [wkb_polygon([tuple(cell)]) for cell in oracle["cells_px"]])
    dataset = grid.open()
    kept = [(name, one) for name, one in zip(names, oracle["expected"], strict=True) if one["kept"]]
    assert [name for name in dataset.ids if name[0] == "A"] == [f"A/{name}" for name, _ in kept]
    for name, one in kept:
        row = dataset.ids.index(f"A/{name}")
        around, (points,) = dataset.surroundings(row), dataset.read("points", row, row + 1).points
        assert sorted(names[member] for member in around.members) == sorted(one["members"])
        np.testing.assert_allclose(around.box, one["bbox_px"], rtol=0, atol=1e-6)
        assert np.array_equal(around.cells, np.array(oracle["cells_px"])[one["cells"]])
        np.testing.assert_allclose(np.expm1(dataset.targets[row]), one["y_mean_counts"], rtol=0, atol=1e-8)
        np.testing.assert_allclose(points[:3], one["points_first3"], rtol=0, atol=1e-6)
        assert len(nearest_neighbour_edges(points, 5)) == one["edges_undirected"]


# --- views ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nn", [{}, {"resize": "pad"}, {"filter": "linear"}])
def test_images_are_crops_of_the_slide(square: Grid, nn: dict[str, str]) -> None:
    """Each picture is what the slide gives for the box, by the same filter and fit."""
    dataset = square.open(nn=nn)
    images = dataset.read("image", 0, len(dataset.ids)).images
    assert images.shape == (len(dataset.ids), 3, SIDE, SIDE)
    for row in (0, 7, len(dataset.ids) - 1):
        with open_slide(square.slide(dataset.section[row])) as slide:
            options = {"fit": nn.get("resize", "stretch"), "filter": nn.get("filter", "area")}
            expected = slide.crop(dataset.surroundings(row).box, SIDE, **options)
        assert np.array_equal(images[row], expected.transpose(2, 0, 1))


def test_images_lie_where_the_boxes_do(square: Grid) -> None:
    """A picture agrees with a plain average of level 0, within the rounding of the pyramid."""
    dataset = square.open()
    row = next(row for row in range(len(dataset.ids)) if len(dataset.surroundings(row).members) == 9)
    x0, y0, x1, y1 = dataset.surroundings(row).box.astype(int)
    piece = square.slides[dataset.section[row]][y0:y1, x0:x1].astype(float)
    ends = [pairwise(np.linspace(0, length, 5).astype(int)) for length in piece.shape[:2]]
    coarse = np.array([piece[a:b, c:d].mean(axis=(0, 1)) for (a, b), (c, d) in product(*ends)]).reshape(4, 4, 3)
    found = dataset.read("image", row, row + 1).images[0].reshape(3, 4, 56, 4, 56).mean(axis=(2, 4))
    np.testing.assert_allclose(found.transpose(1, 2, 0), coarse, atol=2)


def test_graphs_are_drawn_in_micrometres(square: Grid) -> None:
    """A picture is the 5-nearest-neighbour graph on a canvas of the box in um, three times the same channel."""
    dataset = square.open(graph={"k": 3, "um_per_px": 0.5})
    images = dataset.read("graph_image", 0, len(dataset.ids)).images
    assert np.array_equal(images[:, 0], images[:, 2])
    for row in (0, 11, len(dataset.ids) - 1):
        around = dataset.surroundings(row)
        cells = (around.cells - around.box[:2]) * UM_PER_PX
        expected = draw_graph(
            cells, (around.box[2:] - around.box[:2]) * UM_PER_PX, GraphOptions(k=3, um_per_px=0.5), SIDE
        )
        assert np.array_equal(images[row, 0], expected)


def test_points_are_scaled_by_the_longer_side(square: Grid) -> None:
    """Points lie within -1 .. 1 about the centre of the box, or about the mean of the cells."""
    dataset, centred = square.open(), square.open(points={"centre": "centroid"})
    sets = dataset.read("points", 0, len(dataset.ids)).points
    for row, points in enumerate(sets):
        around = dataset.surroundings(row)
        size = around.box[2:] - around.box[:2]
        expected = 2 * (around.cells - (around.box[:2] + around.box[2:]) / 2) / size.max()
        np.testing.assert_allclose(points, expected, atol=1e-6)
        assert points.dtype == np.float32
    (other,) = centred.read("points", 4, 5).points
    np.testing.assert_allclose(other.mean(axis=0), 0, atol=1e-6)


def test_a_neighbourhood_with_one_nucleus(square: Grid) -> None:
    """It is one point, and one dot in the graph."""
    box = square.corners["C"].min(axis=0) + 30.0
    put_nuclei(square, "C", box[None])
    dataset = square.open()
    rows = [row for row, name in enumerate(dataset.ids) if name[0] == "C"]
    assert [len(points) for points in dataset.read("points", rows[0], rows[-1] + 1).points] == [1] * len(rows)
    pictures = dataset.read("graph_image", rows[0], rows[-1] + 1).images[:, 0]
    assert all(0 < (picture > 0).sum() < 40 for picture in pictures)


def test_union_counts_cells_in_patches_only(square: Grid) -> None:
    """Patches overlap here, so the box holds only what lies between them in addition: with gaps it holds more."""
    box, union = square.open(), square.open(nn={"cells": "union"})
    assert set(union.ids) <= set(box.ids)
    for row, name in enumerate(union.ids):
        assert len(union.surroundings(row).cells) <= len(box.surroundings(box.ids.index(name)).cells)


def test_mosaics_of_patches_resemble_crops(square: Grid) -> None:
    """Patches laid out at their places look like the slide; the result says that they are no crops."""
    shutil.rmtree(square.slide("A").parent)
    dataset = square.open(nn={"image_source": "patches"})
    assert "images are laid out patches (nn.image_source: patches), not crops of slides" in dataset.notes
    images = dataset.read("image", 0, len(dataset.ids)).images
    for row in (0, 9, len(dataset.ids) - 1):
        x0, y0, x1, y1 = dataset.surroundings(row).box.astype(int)
        piece = square.slides[dataset.section[row]][y0:y1, x0:x1]
        if len(dataset.surroundings(row).members) in {4, 6, 9}:  # else a corner is white
            assert np.abs(images[row].mean(axis=(1, 2)) - piece.mean(axis=(0, 1))).max() < 2
    assert images.min() < 100


def test_a_gap_of_a_mosaic_is_white(square: Grid) -> None:
    """Where no member lies, the mosaic is white: a missing corner of a neighbourhood."""
    names = read_barcodes(square, "B")
    gone = names.index("000x000")
    for part in ("barcode", "coords", "img"):
        alter(square.tree.patches("B"), part, lambda v: np.delete(v, gone, axis=0))
    dataset = square.open(nn={"image_source": "patches"})
    row = dataset.ids.index("B/001x001")
    picture = dataset.read("image", row, row + 1).images[0]
    assert (picture[:, :60, :60] == 255).all()
    assert (picture[:, 80:, 80:] < 255).any(axis=0).all()


def test_ranges_threads_and_copies_give_the_same(square: Grid) -> None:
    """Reads from threads, from a pickled copy and over borders of sections equal one read in one piece."""
    dataset = square.open()
    total = len(dataset.ids)
    whole = {view: dataset.read(view, 0, total) for view in VIEWS}
    fresh = square.open()
    with ThreadPoolExecutor(4) as pool:
        parts = list(
            pool.map(lambda start: fresh.read("image", start, min(start + 7, total)).images, range(0, total, 7))
        )
    assert np.array_equal(np.concatenate(parts), whole["image"].images)
    copied = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copied.read("graph_image", 5, 30).images, whole["graph_image"].images[5:30])
    assert copied.fingerprint("image") == dataset.fingerprint("image")


def test_a_limit_leaves_means_over_all_spots(square: Grid) -> None:
    """About so many samples, evenly spaced in every section, with the targets and pictures they have without it."""
    whole, part = square.open(), square.open(limit=12)
    assert 9 <= len(part.ids) <= 15
    rows = [whole.ids.index(name) for name in part.ids]
    assert np.array_equal(part.targets, whole.targets[rows])
    assert np.array_equal(
        part.read("image", 0, len(rows)).images,
        np.concatenate([whole.read("image", row, row + 1).images for row in rows]),
    )


@pytest.mark.parametrize("missing", ["st", "adata"])
def test_either_file_of_counts_suffices(square: Grid, missing: str) -> None:
    """Counts of the task are taken where they are; else those of all genes of the slides' repository."""
    before = square.open()
    st = square.tree.root / SLIDES / "st"
    st.mkdir()
    for section in square.tree.sections:
        if missing == "adata":
            square.tree.adata(section).rename(st / f"{section}.h5ad")
    after = square.open()
    assert np.array_equal(after.targets, before.targets)
    named = [name for name, _ in after.files if name.endswith(".h5ad")]
    assert all((SLIDES in name) == (missing == "adata") for name in named)


def test_geojson_takes_the_place_of_parquet(square: Grid) -> None:
    """The same polygons in zipped GeoJSON give the same samples and points."""
    before = square.open()
    to_geojson(square, "B")
    after = square.open()
    assert after.ids == before.ids
    for one, other in zip(after.read("points", 0, 20).points, before.read("points", 0, 20).points, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# --- hashes ---------------------------------------------------------------------------------------------------------


def hashes(grid: Grid, **params: Any) -> dict[str, str]:
    """Return the fingerprint of each view and the hash of the data."""
    dataset = grid.open(**params)
    return {view: dataset.fingerprint(view) for view in VIEWS} | {"data": dataset.data_hash}


CHANGES: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    "nothing": (lambda g: None, {}, set()),
    "slide": (lambda g: g.slide("B").write_bytes(g.slide("B").read_bytes() + b"\0"), {}, {"image"}),
    "no slide": (lambda g: g.slide("B").unlink(), {}, {"image"}),
    "nuclei": (lambda g: put_nuclei(g, "B", g.nuclei["B"] + 0.25), {}, {"graph_image", "points", "data"}),
    "pixel size": (lambda g: g.set_metadata("B", pixel_size_um_estimated=0.502), {}, {*VIEWS, "data"}),
    "pitch": (lambda g: g.set_metadata("B", inter_spot_dist=101), {}, {"data"}),
    "prose": (lambda g: g.set_metadata("B", organ="Liver"), {}, set()),
    "filter": (lambda g: None, {"nn": {"filter": "linear"}}, {"image"}),
    "resize": (lambda g: None, {"nn": {"resize": "pad"}}, {"image"}),
    "mosaic": (lambda g: None, {"nn": {"image_source": "patches"}}, {"image"}),
    "width": (lambda g: None, {"graph": {"width": 3}}, {"graph_image"}),
    "centre": (lambda g: None, {"points": {"centre": "centroid"}}, {"points"}),
    "average": (lambda g: None, {"nn": {"average": "log"}}, set()),
    "neighbours": (lambda g: None, {"nn": {"source": "adata"}}, set(VIEWS)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_shapes_a_view_is_in_its_fingerprint(square: Grid, change: str) -> None:
    """A change shows in the views it touches, and in the data hash where samples or targets may move."""
    before = hashes(square)
    alteration, params, expected = CHANGES[change]
    alteration(square)
    after = hashes(square, **params)
    assert {key for key in before if before[key] != after[key]} == expected
    assert not list((square.tree.root / "cache/prepared/hest1nn").glob("*/*.part"))


def test_a_fingerprint_prepares_nothing(square: Grid) -> None:
    """Opening and fingerprints leave only the binned cells in the cache; points need no slide and prepare nothing."""
    shutil.rmtree(square.slide("A").parent)
    shutil.rmtree(square.tree.root / "cache", ignore_errors=True)
    dataset = square.open()
    for view in VIEWS:
        dataset.fingerprint(view)
    dataset.read("points", 0, len(dataset.ids))
    (folder,) = (square.tree.root / "cache/prepared/hest1nn").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["A.h5", "B.h5", "C.h5"]


# --- the engine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_from_end_to_end(originals: dict[Shape, Grid], shape: Shape, tmp_path: Path) -> None:
    """Image, graph and point models all have a score on the same samples; preparing tells how far it is."""
    grid, progress = originals[shape].copy(tmp_path / "data"), Recorder()
    results = evaluate(
        "pixel-stats,cell-count,untrained:gcn", str(grid.write_spec()), data_dirs=(grid.tree.root,),
        store=str(tmp_path / "store"), output=tmp_path / "out", baselines="none", seeds=(0,), offline=True,
        progress=progress,
    )  # fmt: skip
    found = {(result.model.name, result.view): result for result in results}
    assert {
        ("pixel-stats", "image"),
        ("pixel-stats", "graph_image"),
        ("cell-count", "points"),
        ("untrained:gcn", "points"),
    } <= set(found)
    n = len(grid.open().ids)
    for result in results:
        assert result.status == "ok"
        assert result.headline.value is not None
        assert result.provenance.n_embedded == n
        assert any("hold no nucleus and are in no view" in note for note in result.notes)
    assert len({result.task.data_hash for result in results}) == 1
    for title in ("Neighbourhoods of A", "Graphs of C"):
        assert progress.done[title] == progress.totals[title] > 0


class Recorder(Silent):
    """Writes down stretches of work."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self._open: list[str] = []

    def start(self, title: str, total: int) -> None:
        """Note the total."""
        self.totals[title], self.done[title] = total, 0
        self._open.append(title)

    def advance(self, steps: int) -> None:
        """Count."""
        self.done[self._open[-1]] += steps

    def finish(self) -> None:
        """Close the innermost."""
        self._open.pop()


def test_margins_are_as_the_tests_assume() -> None:
    """Nuclei of section A end where the fourth column of neighbourhoods begins."""
    assert MARGIN + 2 * PITCH > 400 > MARGIN + PITCH
