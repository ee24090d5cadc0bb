"""The synthetic-24 generator: reference numbers, naive twins of graph and picture, streams, refusals."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness.tasks.datasets.point_graph import draw_edges, nearest_neighbour_edges
from harness.tasks.datasets.synthetic import READER, Source, limited
from harness.tasks.datasets.synthetic_landscapes import Landscape, analytic_mean, height, numeric_mean
from harness.tasks.datasets.synthetic_params import Landscapes, Params, PerClass, SampleClass, disc_circle
from harness.tasks.datasets.synthetic_points import Key, augmentation_stream, grid_sites, rotate_and_mirror
from harness.tasks.datasets.synthetic_samples import Row, SyntheticDataset
from harness.tasks.protocols.linear_probe import PROTOCOL
from harness.tasks.protocols.linear_probe import Params as ProbeParams
from hypothesis import example, given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared
from scipy.spatial import cKDTree

from harness.binding import bind
from harness.errors import SpecError, UnknownNameError, UsageError
from harness.plugins import Registry, load_registry
from harness.scoring import stack
from harness.specs import load_spec
from harness.summary import summarise
from harness.types import DataContext, Embeddings

ORACLES = SHARED / "oracles" / "synthetic"
EXACT = {0: 900, 1: 900, 2: 890, 3: 848, 5: 1028, 7: 819, 13: 900}
"""Points in every sample of the grid classes without a disc placed at random."""
FEW = PerClass(train=3, val=2, test=2)
PAIR = [{"id": 0, "sampling": "poisson"}, {"id": 1, "sampling": "grid"}]
EDGE_NAMES = ("count", "nn1_mean", "nn5_mean", "nn1_cv", "edges", "edge_len_mean", "pixels_on", "vmr10", "empty10")


def make(**changes: Any) -> SyntheticDataset:
    """Return a small dataset with changed parameters."""
    params = Params.model_validate({"per_class": FEW.model_dump(), **changes})
    return SyntheticDataset(params, params.per_class)


def full(**changes: Any) -> SyntheticDataset:
    """Return the dataset of the task with changed parameters; nothing is generated yet."""
    params = Params.model_validate(changes)
    return SyntheticDataset(params, params.per_class)


def picture(points: np.ndarray, side: int = 224) -> np.ndarray:
    """Draw the 5-nearest-neighbour graph of a point set."""
    return draw_edges(points * side, nearest_neighbour_edges(points, 5), side, side)


def digest(dataset: SyntheticDataset, rows: list[int]) -> dict[str, str]:
    """Return a sha256 of both views of each sample."""
    digests = {}
    for row in rows:
        images, points = (dataset.read_rows(view, [row]) for view in ("graph_image", "points"))
        content = np.ascontiguousarray(images.images).tobytes() + points.points[0].tobytes()
        digests[images.ids[0]] = hashlib.sha256(content).hexdigest()
    return digests


def describe(points: np.ndarray) -> list[float]:
    """Return the statistics of the reference table for one sample."""
    edges = nearest_neighbour_edges(points, 5)
    reach = cKDTree(points).query(points, k=6)[0]
    quadrats = np.histogram2d(points[:, 0], points[:, 1], bins=10, range=[[0, 1], [0, 1]])[0]
    return [
        len(points),
        reach[:, 1].mean(),
        reach[:, 5].mean(),
        reach[:, 1].std() / reach[:, 1].mean(),
        len(edges),
        np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).mean(),
        (draw_edges(points * 224, edges, 224, 224) > 0).mean(),
        quadrats.var() / quadrats.mean(),
        (quadrats == 0).mean(),
    ]


# ------------------------------------------------------------- reference numbers


@needs_shared
@pytest.mark.parametrize("label", range(24))
def test_exact_samples(label: int) -> None:
    """Training sample 0 of each class has the reference's number of points, first three points and sums, to 1e-6."""
    expected = json.loads((ORACLES / "exact_samples.json").read_text())["classes"][str(label)]
    points = full().points(Row("train", label, 0, 0))
    assert len(points) == expected["n"]
    np.testing.assert_allclose(points[:3], expected["first3"], atol=1e-6)
    np.testing.assert_allclose(points.sum(axis=0), expected["sum"], atol=1e-6)


@needs_shared
@pytest.mark.parametrize("label", range(24))
def test_class_statistics(label: int) -> None:
    """Means and standard deviations over test samples 0 to 199 equal the reference's six printed digits.

    The reference used the same random stream; for another, means may differ by 4 standard errors.
    """
    with (ORACLES / "class_stats.csv").open() as stream:
        expected = {name: float(value) for name, value in list(csv.DictReader(stream))[label].items()}
    dataset = full()
    found = np.array([describe(dataset.points(Row("test", label, index, 0))) for index in range(200)])
    for name, column in zip(EDGE_NAMES, found.T, strict=True):
        mean, sd = expected[f"{name}_mean"], expected[f"{name}_sd"]
        assert abs(column.mean() - mean) <= 4 * sd / math.sqrt(200) + 1e-9
        assert column.mean() == pytest.approx(mean, rel=1e-5, abs=1e-9)
        assert column.std(ddof=1) == pytest.approx(sd, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("label", [*EXACT, 4, 6])
def test_counts_of_grid_classes(label: int) -> None:
    """Grids without a random disc have one count in every sample, the two others 964 and 864 on average."""
    dataset = full()
    counts = np.array([len(dataset.points(Row("test", label, index, 0))) for index in range(200)])
    if label in EXACT:
        assert (counts == EXACT[label]).all()
    else:
        middle, tolerance = {4: (964, 2.0), 6: (864, 1.2)}[label]
        assert abs(counts.mean() - middle) <= tolerance


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """(50400, 1) float64, points of every sample of the task, in its order."""
    dataset = full()
    return np.array([[len(dataset.points(row))] for row in dataset.rows], dtype=np.float64)


def score_counts(dataset: SyntheticDataset, features: np.ndarray) -> dict[str, float | None]:
    """Return the scores of a decision tree on the number of points."""
    embeddings = Embeddings(tuple(dataset.ids), features.astype(np.float32), "last", 0, "")
    units = PROTOCOL.evaluate(embeddings, dataset, ProbeParams(head="tree"), 0).units
    return {name: summarise(stack([one], [0])).value for name, one in units.items()}


def test_the_count_alone_tells_grid_classes_apart(counts: np.ndarray) -> None:
    """A tree on the count reaches a macro-F1 of .297 and an accuracy of .331 on the full splits."""
    found = score_counts(full(), counts)
    assert found["f1_macro"] == pytest.approx(0.297, abs=0.01)
    assert found["accuracy"] == pytest.approx(0.331, abs=0.01)


def test_matched_counts_tell_nothing(counts: np.ndarray) -> None:
    """With match_count every sample has 800 points, those drawn with fewer too; a constant guess scores .0033."""
    dataset, plain = full(match_count=True), full()
    short = [row for row, count in enumerate(counts[:, 0]) if count < 800]
    assert 0 < len(short) < 0.001 * len(counts)
    assert all(plain.params.classes[plain.rows[row].label].sampling == "poisson" for row in short)
    for row in [*short, *range(0, len(counts), 101)]:
        thinned, whole = dataset.points(dataset.rows[row]), plain.points(dataset.rows[row])
        assert thinned.shape == (800, 2)
        assert (row in short) != ({*map(tuple, thinned)} <= {*map(tuple, whole)})
    found = score_counts(dataset, np.full_like(counts, 800))
    assert found["f1_macro"] == pytest.approx(0.0033, abs=1e-4)
    assert found["accuracy"] == pytest.approx(1 / 24)


def test_poisson_classes_aim_at_one_count(counts: np.ndarray) -> None:
    """Whatever the landscape, Poisson classes have 900 points on average with the variance of a Poisson law."""
    labels = full().labels
    for label in range(24):
        if Params().classes[label].sampling == "poisson":
            own = counts[labels == label, 0]
            assert own.mean() == pytest.approx(900, abs=4 * 30 / math.sqrt(len(own)))
            assert own.var() == pytest.approx(900, rel=4 * math.sqrt(2 / len(own)))


# ------------------------------------------------------------------ point sets


def test_all_points_lie_in_the_square() -> None:
    """No sample of any class and split leaves the unit square before augmentation."""
    dataset = make(per_class={"train": 20, "val": 1, "test": 5})
    for row in dataset.rows:
        points = dataset.points(row)
        assert points.dtype == np.float64
        assert ((points >= 0) & (points <= 1)).all()


def test_void_discs_hold_no_points_and_dense_ones_three_times_as_many() -> None:
    """Poisson samples of classes 16 and 17 have 3 and 0 times the outside's density within their discs."""
    dataset = full()
    for label, contrast in ((16, 3.0), (17, 0.0)):
        discs = dataset.params.classes[label].discs
        points = np.concatenate([dataset.points(Row("val", label, index, 0)) for index in range(50)])
        reach = np.linalg.norm(points[:, None] - np.array(disc_circle(discs)), axis=2).min(axis=1)
        inside, area = (reach <= discs.radius).sum(), 2 * math.pi * discs.radius**2
        outside = (len(points) - inside) / (1 - area)
        assert inside / area / outside == pytest.approx(contrast, abs=0.1)


def test_analytic_means_agree_with_sums() -> None:
    """The mean of every landscape equals the average over 1,000 x 1,000 squares to 1 in 2,000."""
    for kind in Params().classes:
        centres = np.array([[0.4, 0.6]])
        if kind.discs is not None and kind.discs.n > 1:
            centres = np.array(disc_circle(kind.discs))
        radius = 0.0 if kind.discs is None else kind.discs.radius
        landscape = Landscape(kind.density, Landscapes(), centres[: 0 if kind.discs is None else None], radius)
        assert analytic_mean(landscape) == pytest.approx(numeric_mean(landscape, 1000), rel=5e-4)


def test_heights_by_hand() -> None:
    """Slope is 1/3 + 4/3 x, the step rises at 1/2, and the rim belongs to a disc."""
    points, none = np.array([[0.0, 0.2], [0.5, 0.2], [1.0, 0.2]]), np.empty((0, 2))
    np.testing.assert_allclose(height(Landscape("slope", Landscapes(), none), points), [1 / 3, 1, 5 / 3])
    assert height(Landscape("step", Landscapes(), none), points).tolist() == [0.5, 1.5, 1.5]
    rim = Landscape("dense", Landscapes(), np.array([[0.25, 0.2]]), 0.25)
    assert height(rim, points).tolist() == [3.0, 3.0, 1.0]


def test_grid_sites_by_hand() -> None:
    """Two voxels a side and 16 points put 2 x 2 points into each, by voxel, then x, then y."""
    sites = grid_sites(Landscape("const", Landscapes(), np.empty((0, 2))), 2, 16)
    first = [[0.125, 0.125], [0.125, 0.375], [0.375, 0.125], [0.375, 0.375]]
    np.testing.assert_allclose(sites[:4], first)
    np.testing.assert_allclose(sites[4:8], np.array(first) + np.array([0, 0.5]))
    np.testing.assert_allclose(sites[8:], sites[:8] + np.array([0.5, 0]))


def test_half_points_round_to_even() -> None:
    """A voxel that should hold 2.5 x 2.5 points holds 2 x 2, one of 3.5 x 3.5 holds 4 x 4."""
    flat = Landscape("const", Landscapes(), np.empty((0, 2)))
    assert [len(grid_sites(flat, 2, points)) for points in (25, 49)] == [16, 64]


# ---------------------------------------------------------------- random streams


def test_samples_do_not_depend_on_order_process_or_thread() -> None:
    """A fresh process, threads, another order and another dataset size give the same bytes of both views."""
    dataset = make()
    rows = list(range(0, len(dataset.rows), 7))
    expected = digest(dataset, rows)
    assert digest(make(), rows[::-1]) == expected
    with ThreadPoolExecutor(4) as executor:
        together = executor.map(lambda row: digest(dataset, [row]), rows)
        assert {name: value for one in together for name, value in one.items()} == expected
    larger = make(per_class={"train": 5, "val": 4, "test": 9})
    there = {name: place for place, name in enumerate(larger.ids)}
    assert digest(larger, [there[name] for name in expected]) == expected
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import test_synthetic as t;"
        "print(json.dumps(t.digest(t.make(), json.loads(sys.argv[2]))))"
    )
    here = __file__.rpartition("/")[0]
    command = [sys.executable, "-I", "-c", code, here, json.dumps(rows[::-1])]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == expected


def test_samples_differ() -> None:
    """Seeds, splits, classes and indices have streams of their own."""
    keys = [Key(*numbers) for numbers in itertools.product((0, 1), (0, 1, 2), (0, 8), (0, 1))]
    streams = [key.stream() for key in keys] + [key.stream(purpose) for key in keys for purpose in (1, 3)]
    assert len({float(stream.random()) for stream in streams}) == 3 * len(keys)


def test_evaluation_is_augmented_by_index_and_training_by_epoch() -> None:
    """Validation and test samples look the same at every epoch; each epoch turns training samples anew."""
    dataset = make(classes=PAIR)
    for view in ("points", "graph_image"):
        first, later = (
            [digest(one, [row]) for row in range(len(dataset.rows))] for one in (dataset, dataset.at_epoch(1))
        )
        same = [one == other for one, other in zip(first, later, strict=True)]
        assert same == [row.split != "train" for row in dataset.rows], view
    key = Key(0, 2, 5, 7)
    expected = np.random.default_rng([0, 2, 5, 7, 1]).random()
    assert augmentation_stream(key, training=False, epoch=3).random() == expected
    assert (
        augmentation_stream(key, training=True, epoch=3).random() == np.random.default_rng([0, 2, 5, 7, 2, 3]).random()
    )


def test_augmented_copies_are_one_sample_turned() -> None:
    """Copies of a training sample have its points in their order at other angles; other splits have no copies."""
    dataset = make(classes=PAIR, augmented_copies=3)
    assert [name for name in dataset.ids if name.startswith("train/00/0001")] == [
        "train/00/0001",
        "train/00/0001/a1",
        "train/00/0001/a2",
    ]
    assert len(dataset.ids) == len(set(dataset.ids)) == 2 * (3 * 3 + 2 + 2)
    one, two = dataset.read("points", 0, 2).points
    assert not np.allclose(one, two)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1), atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(one, axis=0), axis=1), np.linalg.norm(np.diff(two, axis=0), axis=1), atol=1e-6
    )


def test_eight_symmetries_are_drawn_alike() -> None:
    """Rotation and mirror give all eight symmetries of the square, each about as often."""
    corner = np.array([[0.1, 0.3]])
    seen = [tuple(np.round(rotate_and_mirror(corner, np.random.default_rng(seed))[0], 9)) for seed in range(800)]
    x, y = 0.1, 0.3
    expected = {(a, b) for p, q in ((x, y), (y, x)) for a in (p, round(1 - p, 9)) for b in (q, round(1 - q, 9))}
    assert set(seen) == expected
    assert min(map(seen.count, expected)) > 100 - 4 * math.sqrt(100 * 7 / 8)


# ------------------------------------------------------------------------- views


def test_graph_images_have_three_equal_channels() -> None:
    """Images are (N, 3, 224, 224) uint8 of 0 and 255, the turned sample's graph drawn in every channel."""
    dataset = make()
    start = dataset.ids.index("test/04/0000")
    batch = dataset.read("graph_image", start, start + 2)
    assert batch.ids == ("test/04/0000", "test/04/0001")
    assert (batch.images.shape, batch.images.dtype, batch.points) == ((2, 3, 224, 224), np.uint8, None)
    assert set(np.unique(batch.images)) == {0, 255}
    assert (batch.images[:, 1:] == batch.images[:, :1]).all()
    row = dataset.rows[start]
    turned = rotate_and_mirror(dataset.points(row), np.random.default_rng([0, 2, 4, 0, 1]))
    assert np.array_equal(batch.images[0, 0], picture(turned))


def test_points_are_scaled_to_two_units() -> None:
    """Points come as float32 2 p - 1; augmentation rotates them about the middle and clips none."""
    plain, turned = make(augmentation=False), make()
    first = plain.rows[0]
    batch, moved = (one.read("points", 0, 3) for one in (plain, turned))
    assert (batch.images, len(batch.points), batch.points[0].dtype) == (None, 3, np.float32)
    assert np.array_equal(batch.points[0], (2 * plain.points(first) - 1).astype(np.float32))
    radius = [np.linalg.norm(one.points[0], axis=1) for one in (batch, moved)]
    np.testing.assert_allclose(radius[0], radius[1], atol=1e-6)
    assert not np.allclose(batch.points[0], moved.points[0], atol=1e-3)
    assert np.array_equal(make(augmentation=False).read("graph_image", 0, 1).images[0, 0], picture(plain.points(first)))


def test_ids_labels_and_splits_belong_together() -> None:
    """An id tells split, class and index of its sample, and reading past the end stops there."""
    dataset = make()
    for name, label, split in zip(dataset.ids, dataset.labels, dataset.split, strict=True):
        parts = name.split("/")
        assert (parts[0], parts[1]) == (split, dataset.class_names[label])
    assert [int((dataset.split == split).sum()) for split in ("train", "val", "test")] == [72, 48, 48]
    assert dataset.read("points", 166, 900).ids == ("test/23/0000", "test/23/0001")


def test_an_unknown_view_is_refused() -> None:
    """The message offers the two views."""
    with pytest.raises(UnknownNameError, match=r"unknown view 'image'.*graph_image or points"):
        make().read("image", 0, 1)


def test_fingerprints_tell_contents_apart() -> None:
    """Views, parameters, epochs and the samples in use have fingerprints of their own; equal ones agree."""
    changes: list[dict[str, Any]] = [
        {},
        {"data_seed": 1},
        {"noise": 0.01},
        {"augmentation": False},
        {"match_count": True},
    ]
    datasets = [make(**change) for change in changes]
    datasets += [datasets[0].at_epoch(1), replace(datasets[0], kept=PerClass(train=2, val=1, test=1))]
    seen = [dataset.fingerprint(view) for dataset in datasets for view in ("graph_image", "points")]
    assert len(set(seen)) == 2 * len(datasets)
    assert make().fingerprint("points") == datasets[0].fingerprint("points")
    assert make().data_hash != make(data_seed=1).data_hash


# -------------------------------------------------------------- graph and picture


def naive_edges(points: np.ndarray, k: int) -> list[list[int]]:
    """Connect each point with the k nearest others by sorting all distances."""
    edges = set()
    for i, one in enumerate(points):
        others = sorted((math.dist(one, other), j) for j, other in enumerate(points) if j != i)
        edges |= {(min(i, j), max(i, j)) for _, j in others[:k]}
    return sorted(map(list, edges))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(1, 7))
def test_edges_agree_with_sorting_all_distances(seed: int, n: int, k: int) -> None:
    """Point sets without ties, from none to many points, have the edges of the naive twin."""
    points = np.random.default_rng(seed).random((n, 2))
    found = nearest_neighbour_edges(points, k)
    assert (found.dtype, found.shape[1]) == (np.int64, 2)
    assert found.tolist() == naive_edges(points, k)


@pytest.mark.parametrize("label", [0, 8, 21])
def test_edges_of_real_samples_agree_with_sorting_all_distances(label: int) -> None:
    """Whole samples of grid and Poisson classes have the edges of the naive twin."""
    points = full().points(Row("val", label, 3, 0))
    assert nearest_neighbour_edges(points, 5).tolist() == naive_edges(points, 5)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=40), st.integers(1, 6))
@example([(1, 1)] * 40, 3)
def test_coinciding_points_are_neighbours_of_one_another(places: list[tuple[int, int]], k: int) -> None:
    """With ties and duplicates no point is its own neighbour, all closer ones are joined, and no farther one is."""
    points = np.array(places, dtype=np.float64).reshape(-1, 2)
    n = len(points)
    edges = nearest_neighbour_edges(points, k)
    joined = {(i, j) for i, j in edges.tolist() if i < j}
    assert [*map(tuple, edges.tolist())] == sorted(joined)
    assert len(joined) <= n * k
    reach = []
    for i in range(n):
        distances = sorted(math.dist(points[i], points[j]) for j in range(n) if j != i)
        reach.append(distances[min(k, n - 1) - 1] if n > 1 else 0.0)
        assert sum(i in edge for edge in joined) >= min(k, n - 1)
    for i, j in itertools.combinations(range(n), 2):
        distance = math.dist(points[i], points[j])
        if distance < max(reach[i], reach[j]):
            assert (i, j) in joined
        if distance > max(reach[i], reach[j]):
            assert (i, j) not in joined


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 60), st.randoms(use_true_random=False))
def test_edges_do_not_depend_on_the_order_of_points(seed: int, n: int, random: Any) -> None:
    """Permuted points have the same edges under their new numbers."""
    points = np.random.default_rng(seed).random((n, 2))
    order = random.sample(range(n), n)
    renamed = np.array(order)[nearest_neighbour_edges(points[order], 5)]
    assert sorted(np.sort(renamed, axis=1).tolist()) == nearest_neighbour_edges(points, 5).tolist()


def test_edges_refuse_what_has_no_distance() -> None:
    """Points that are not finite and fewer than one neighbour are refused."""
    for strange in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            nearest_neighbour_edges(np.array([[0.0, strange], [1.0, 1.0]]), 1)
    with pytest.raises(ValueError, match="k = 0"):
        nearest_neighbour_edges(np.zeros((2, 2)), 0)


def naive_picture(pixels: np.ndarray, edges: np.ndarray, height: int, width: int) -> np.ndarray:
    """Walk along each edge in equal steps of at most one pixel and switch on what is passed."""
    canvas = np.zeros((height, width), dtype=np.uint8)
    for i, j in edges:
        (x, y), (dx, dy) = pixels[i], pixels[j] - pixels[i]
        steps = math.ceil(max(abs(dx), abs(dy)))
        for step in range(steps + 1):
            share = step / max(steps, 1)
            column, row = math.floor(x + share * dx), math.floor(y + share * dy)
            canvas[min(max(row, 0), height - 1), min(max(column, 0), width - 1)] = 255
    return canvas


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(-3, 24, width=32), st.floats(-3, 16, width=32)), min_size=2, max_size=8), st.data())
def test_lines_agree_with_walking_along_them(places: list[tuple[float, float]], data: st.DataObject) -> None:
    """Any lines, also of length 0, on pixel borders and off the canvas, set the pixels of the naive twin."""
    number = st.integers(0, len(places) - 1)
    edges = np.array(data.draw(st.lists(st.tuples(number, number), max_size=6)), dtype=np.int64).reshape(-1, 2)
    pixels = np.array(places, dtype=np.float64)
    assert np.array_equal(draw_edges(pixels, edges, 14, 20), naive_picture(pixels, edges, 14, 20))


@pytest.mark.parametrize("label", [3, 23])
def test_pictures_of_real_samples_agree_with_walking(label: int) -> None:
    """A whole sample sets the pixels of the naive twin; x is the column and y the row."""
    points = full().points(Row("val", label, 0, 0))
    edges = nearest_neighbour_edges(points, 5)
    assert np.array_equal(picture(points), naive_picture(points * 224, edges, 224, 224))
    corner = picture(np.array([[0.9, 0.1], [0.99, 0.1]]))
    assert corner[22, 201:222].all()
    assert np.count_nonzero(corner) == 222 - 201


def test_turned_points_give_the_turned_picture() -> None:
    """A quarter turn of the points turns the picture, but for .1 % of its pixels at most."""
    dataset = full()
    for label in range(24):
        points = dataset.points(Row("test", label, 5, 0))
        turned = np.column_stack([1 - points[:, 1], points[:, 0]])
        before, after = np.rot90(picture(points), -1), picture(turned)
        assert np.count_nonzero(before != after) <= 0.001 * np.count_nonzero(before)


# ---------------------------------------------------------- limits and bad input


@settings(deadline=None)
@given(st.integers(0, 120_000), st.integers(1, 4), st.sampled_from(["synthetic", "synthetic-mini"]))
def test_limits_are_kept(limit: int, copies: int, task: str) -> None:
    """A limit keeps 2 training, 1 validation and 1 test sample a class or refuses; it never keeps more than allowed."""
    sizes = PerClass() if task == "synthetic" else PerClass(train=100, val=20, test=100)
    params = Params(per_class=sizes, augmented_copies=copies)
    if limit < 24 * (2 * copies + 2):
        with pytest.raises(UsageError, match=rf"--limit {limit}: 24 classes need at least {24 * (2 * copies + 2)}"):
            limited(params, limit)
        return
    kept = limited(params, limit)
    whole = 24 * (copies * sizes.train + sizes.val + sizes.test)
    assert 24 * (copies * kept.train + kept.val + kept.test) <= limit
    assert (kept.train, kept.val, kept.test) >= (2, 1, 1)
    assert (kept == sizes) == (limit >= whole)


def open_task(limit: int | None = None, **changes: Any) -> SyntheticDataset:
    """Open the shipped task with changed parameters."""
    spec = load_spec(load_registry().spec_path("synthetic"))
    return READER.open(spec, Source(), Params.model_validate(changes), DataContext(limit=limit))


def test_a_limited_dataset_holds_the_first_samples() -> None:
    """Under a limit the first samples of each class and split remain what they were, and the data hash differs."""
    few, all_of_them = open_task(limit=240), open_task()
    assert (len(few.ids), len(all_of_them.ids)) == (192, 50_400)
    assert few.ids[:5] == ["train/00/0000", "train/00/0001", "train/00/0002", "train/00/0003", "train/01/0000"]
    there = [all_of_them.ids.index(name) for name in few.ids[::40]]
    assert digest(few, [*range(0, 192, 40)]) == digest(all_of_them, there)
    assert few.data_hash != all_of_them.data_hash


def test_the_small_task_takes_the_first_samples_of_the_large_one() -> None:
    """Samples of synthetic-mini are those of synthetic with the same ids."""
    small, large = SyntheticDataset(Params(), PerClass(train=100, val=20, test=100)), full()
    assert len(small.ids) == 24 * 220
    assert set(small.ids) < set(large.ids)
    name = "test/17/0099"
    assert [*digest(small, [small.ids.index(name)]).values()] == [*digest(large, [large.ids.index(name)]).values()]


def test_few_points_are_all_joined_and_said() -> None:
    """With k or fewer points k is reduced to n - 1, and a remark counts such samples whatever the spec aims at."""
    sparse = {"id": 0, "sampling": "grid", "voxels": 1}
    dataset = make(points=6, classes=[sparse, {"id": 1, "sampling": "grid", "voxels": 3}], noise=0.01)
    points = dataset.points(dataset.rows[0])
    assert nearest_neighbour_edges(points, 5).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert dataset.read("graph_image", 0, 1).images.any()
    assert dataset.remarks == ("7 of 14 samples have at most k = 5 points; k is reduced there",)
    low = make(classes=[{**sparse, "density": "step"}, PAIR[1]], landscapes={"step_left": 0.005, "step_right": 0.005})
    assert low.remarks == dataset.remarks
    assert make().remarks == ()


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Everything that is registered."""
    return load_registry()


def with_discs(discs: str) -> str:
    """Return YAML of two classes, the second with void discs."""
    return f"[{{id: 0, sampling: grid}}, {{id: 7, sampling: poisson, density: void, discs: {{{discs}}}}}]"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("points", "0", "greater than or equal to 1"),
        ("noise", "-0.1", "greater than or equal to 0"),
        ("noise", ".nan", "finite"),
        ("noise", "1e-2", "got the text '1e-2'"),
        ("neighbours", "0", "greater than or equal to 1"),
        ("image_size", "4", "greater than or equal to 8"),
        ("mean", "guess", "analytic"),
        ("match_points", "0", "greater than or equal to 1"),
        ("augmented_copies", "0", "greater than or equal to 1"),
        ("data_seed", "-1", "greater than or equal to 0"),
        ("per_class.train", "1", "greater than or equal to 2"),
        ("split_keys", "{val: 2}", "two splits share a key"),
        ("landscapes.void", "-1", "greater than or equal to 0"),
        ("landscapes.step_at", "1", "less than 1"),
        ("landscapes.peak", "1", "peak"),
        ("point", "800", "Did you mean"),
        ("classes", "[{id: 0, sampling: grid}]", "at least 2"),
        ("classes", "[{id: 0, sampling: grid}, {id: 24, sampling: grid}]", "less than or equal to 23"),
        ("classes", "[{id: 1, sampling: grid}, {id: 0, sampling: grid}]", "ids must rise"),
        ("classes", "[{id: 0, sampling: grid}, {id: 1, sampling: hexagons}]", "poisson"),
        ("classes", "[{id: 0, sampling: grid}, {id: 1, sampling: grid, density: void}]", "need discs"),
        ("classes", with_discs("radius: .6"), "less than or equal to 0.5"),
        ("classes", with_discs("n: 2, radius: .2, distance: .1"), "discs of class 7 overlap; give mean: numeric"),
        (
            "classes",
            with_discs("n: 2, radius: .2, distance: .4"),
            "discs of class 7 leave the square; give mean: numeric",
        ),
    ],
)
def test_bad_parameters_name_their_key(registry: Registry, key: str, value: str, words: str) -> None:
    """A value that cannot work is refused at its key, with what was expected."""
    with pytest.raises(SpecError) as failure:
        bind(registry, registry.spec_path("synthetic-mini"), None, {f"protocol.params.{key}": value})
    assert f": protocol.params.{key}" in str(failure.value)
    assert words in str(failure.value)


def test_overlapping_discs_work_with_a_numeric_mean() -> None:
    """Counts stay at 900 on average where discs overlap or leave the square, once their mean is taken by sums."""
    for distance in (0.1, 0.45):
        disc = {"n": 2, "radius": 0.2, "distance": distance}
        kind = {"id": 7, "sampling": "poisson", "density": "dense", "discs": disc}
        dataset = make(classes=[PAIR[0], kind], mean="numeric", mean_grid=100)
        found = [len(dataset.points(Row("train", 1, index, 0))) for index in range(100)]
        assert np.mean(found) == pytest.approx(900, abs=12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": 1}, r"synthetic sample train/00/0000 has no points.*protocol\.params\.points"),
        ({"noise": 2.0}, r"train/00/0000 has points outside the unit square; lower protocol\.params\.noise"),
        ({"match_count": True, "match_points": 820}, r"train/07/0000: protocol\.params\.match_points is 820"),
        (
            {
                "landscapes": {"step_left": 0.0, "step_right": 0.0},
                "classes": [PAIR[0], {"id": 12, "sampling": "poisson", "density": "step"}],
            },
            r"protocol\.params\.landscapes: the density step is 0 everywhere",
        ),
    ],
)
def test_parameters_that_give_no_samples_fail_on_opening(changes: dict[str, Any], words: str) -> None:
    """Empty, unbounded and too small samples are refused with the id of the first and the key to change."""
    with pytest.raises(UsageError, match=words):
        open_task(**changes)


def test_a_class_without_discs_takes_none() -> None:
    """Discs of a constant density are refused, because they would do nothing."""
    with pytest.raises(ValueError, match="class 3: densities dense and void need discs, the others take none"):
        SampleClass.model_validate({"id": 3, "sampling": "grid", "discs": {"radius": 0.1}})
