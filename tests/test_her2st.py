"""Real tissue: the reader against the facts of the data, and scores against a computation without the harness."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from harness.tasks.datasets.h5ad import iterate_counts
from harness.tasks.datasets.hest import READER, Params, Source
from harness.tasks.datasets.hest_dataset import HestDataset
from harness.tasks.protocols.expression_params import Params as ProtocolParams
from harness.tasks.protocols.expression_regression import PROTOCOL
from places import ROOT, SHARED, needs_shared
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.preprocessing import StandardScaler

from harness.results import Result
from harness.runner import evaluate
from harness.types import DataContext, Embeddings

pytestmark = needs_shared
DATA = SHARED / "data"
BENCH = DATA / "MahmoodLab/hest-bench"
FOLDERS = {"hest": "HER2ST", "hest-xp": "HER2ST_XP"}
PATIENT_C = ("SPA141", "SPA140", "SPA139", "SPA138", "SPA137")
FOLDS = {
    "hest": ((("SPA141", "SPA140", "SPA139"), ("SPA138", "SPA137")), (("SPA139", "SPA138", "SPA137"), PATIENT_C[:2])),
    "hest-xp": ((PATIENT_C, ("SPA145",)), (("SPA145",), PATIENT_C)),
}
SIZES = {"hest": ([535, 526], [349, 358]), "hest-xp": ([884, 273], [273, 884])}
"""Samples in the training and in the test sets of the folds."""
TOLERANCE = 1e-6
"""The harness stores features in float32, which moves a correlation by up to 4e-7; the plain way is float64."""


@dataclass(frozen=True)
class Facts:
    """What the description of the data says about a section."""

    um_per_px: float
    n_spots: int
    n_patches: int
    total: int
    attributes: str
    storage: str


SECTIONS = {
    "SPA141": Facts(0.696106, 187, 182, 1_913_917, "factor", "csr_matrix"),
    "SPA140": Facts(0.669053, 180, 176, 2_018_912, "factor", "csr_matrix"),
    "SPA139": Facts(0.690058, 184, 177, 2_198_851, "factor", "array"),
    "SPA138": Facts(0.690717, 181, 175, 2_000_757, "pixel_size", "csr_matrix"),
    "SPA137": Facts(0.698231, 178, 174, 2_241_329, "pixel_size", "csr_matrix"),
    "SPA145": Facts(0.688883, 283, 273, 928_947, "pixel_size", "csr_matrix"),
}


# --- the plain computation: h5py, NumPy, SciPy and scikit-learn only ----------------------------------------------


@dataclass(frozen=True)
class PlainSection:
    """A section without the harness: rows are patches."""

    barcodes: list[str]
    genes: list[str]
    features: np.ndarray
    """(n, 9): channel means, then standard deviations, then skewnesses, in [0, 1]."""
    counts: np.ndarray


def find(kind: str, name: str) -> Path:
    """Return the patch or h5ad file of a section."""
    folder = "HER2ST_XP" if name == "SPA145" else "HER2ST"
    return BENCH / folder / kind / f"{name}.{'h5' if kind == 'patches' else 'h5ad'}"


@functools.cache
def read_plainly(name: str) -> PlainSection:
    """Read a section with h5py and join its spots to its patches by barcode."""
    with h5py.File(find("patches", name)) as file:
        barcodes = [value.decode() for value in file["barcode"][:, 0]]
        features = np.array([describe(image) for image in file["img"][:]])
    with h5py.File(find("adata", name)) as file:
        spots, genes = (
            [value.decode() for value in file[axis][file[axis].attrs["_index"]][:]] for axis in ("obs", "var")
        )
        counts = np.zeros((len(spots), len(genes)))
        if isinstance(file["X"], h5py.Dataset):
            counts[:] = file["X"][:]
        else:
            data, indices, indptr = (file["X"][part][:] for part in ("data", "indices", "indptr"))
            for row in range(len(spots)):
                part = slice(indptr[row], indptr[row + 1])
                counts[row, indices[part]] = data[part]
    return PlainSection(barcodes, genes, features, counts[[spots.index(barcode) for barcode in barcodes]])


def describe(image: np.ndarray) -> np.ndarray:
    """Return mean, standard deviation and skewness of each channel of (224, 224, 3) uint8, from its histogram."""
    levels = np.arange(256) / 255
    shares = np.array([np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]) / 224**2
    means = shares @ levels
    centred = levels - means[:, None]
    deviations = np.sqrt((shares * centred**2).sum(axis=1))
    return np.concatenate([means, deviations, (shares * centred**3).sum(axis=1) / deviations**3])


def read_genes(task: str) -> list[str]:
    """Read the gene list of a task."""
    return json.loads((BENCH / FOLDERS[task] / "var_50genes.json").read_text())["genes"]


def take(names: tuple[str, ...], genes: list[str], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, log counts and section names of some sections, one under the other."""
    sections = [read_plainly(name) for name in names]
    features = np.concatenate([section.features[:, :width] for section in sections])
    counts = [section.counts[:, [section.genes.index(gene) for gene in genes]] for section in sections]
    labels = np.repeat(names, [len(section.barcodes) for section in sections])
    return features, np.log1p(np.concatenate(counts)), labels


@functools.cache
def score_plainly(task: str, model: str, rounded: bool = False) -> dict[str, np.ndarray]:
    """Return each metric as (2 folds, 50 genes), from features in float64, or rounded to float32 first."""
    genes, width = read_genes(task), {"pixel-mean": 3, "pixel-stats": 9}[model]
    scores: dict[str, list[Any]] = {"pcc": [], "pcc_per_sample": [], "mse": [], "r2": []}
    for train, test in FOLDS[task]:
        left, known, _ = take(train, genes, width)
        right, truth, labels = take(test, genes, width)
        if rounded:
            left, right = (rows.astype(np.float32).astype(np.float64) for rows in (left, right))
        scale = StandardScaler().fit(left)
        pca = PCA(min(256, width, len(left) - 1), svd_solver="full").fit(scale.transform(left))
        ridge = Ridge(100 / (pca.n_components_ * 50), fit_intercept=False, solver="cholesky")
        ridge.fit(pca.transform(scale.transform(left)), known)
        predicted = ridge.predict(pca.transform(scale.transform(right)))
        scores["pcc"].append(correlate(truth, predicted))
        inside = [correlate(truth[labels == name], predicted[labels == name]) for name in test]
        scores["pcc_per_sample"].append(np.mean(inside, axis=0))
        scores["mse"].append(mean_squared_error(truth, predicted, multioutput="raw_values"))
        scores["r2"].append(r2_score(truth, predicted, multioutput="raw_values"))
    return {metric: np.array(rows) for metric, rows in scores.items()}


def correlate(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Correlate gene by gene."""
    return [pearsonr(a, b).statistic for a, b in zip(truth.T, predicted.T, strict=True)]


# --- the harness -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the harness's cache in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("BIOIMAGE_HARNESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def results(cache: Path) -> dict[tuple[str, str], Result]:
    """Evaluate both models on both tasks."""
    found = {}
    for task in FOLDS:
        for result in run(task, cache):
            found[task, result.model.name] = result
    return found


def run(task: str, folder: Path, models: str = "pixel-mean,pixel-stats", **options: Any) -> list[Result]:
    """Evaluate models on the patches of a task of the examples."""
    spec = f"{ROOT / 'examples/her2st' / task}.yaml@image"
    return evaluate(
        models,
        spec,
        data_dirs=(DATA,),
        output=None,
        store=str(folder / "store"),
        baselines="none",
        offline=True,
        **options,
    )


@pytest.fixture(scope="module", params=list(FOLDS))
def task(request: pytest.FixtureRequest) -> str:
    """Name a task."""
    return request.param


@pytest.fixture(scope="module")
def dataset(task: str) -> HestDataset:
    """Open a task."""
    context = DataContext(data_dirs=(DATA,), offline=True)
    return READER.open(None, Source(bench="MahmoodLab/hest-bench", folder=FOLDERS[task]), Params(), context)


@pytest.mark.parametrize("model", ["pixel-mean", "pixel-stats"])
def test_every_gene_equals_the_plain_computation(results: Any, task: str, model: str) -> None:
    """The correlation of each of the 50 genes in each fold agrees to 1e-6."""
    table = lay_out(results[task, model], task)
    np.testing.assert_allclose(table, score_plainly(task, model)["pcc"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("model", ["pixel-mean", "pixel-stats"])
def test_only_the_rounding_of_the_features_differs(results: Any, task: str, model: str) -> None:
    """With features rounded to float32 the plain computation agrees to 1e-9."""
    table = lay_out(results[task, model], task)
    np.testing.assert_allclose(table, score_plainly(task, model, rounded=True)["pcc"], rtol=0, atol=1e-9)


def lay_out(result: Result, task: str) -> np.ndarray:
    """Return the correlations of a result as (2 folds, 50 genes), and check that no other cell is there."""
    block, genes = result.units["pcc"], read_genes(task)
    found = dict(zip(zip(block.fold, block.unit, strict=True), block.value, strict=True))
    assert set(found) == {(fold, gene) for fold in (0, 1) for gene in genes}
    return np.array([[found[fold, gene] for gene in genes] for fold in (0, 1)])


@pytest.mark.parametrize("model", ["pixel-mean", "pixel-stats"])
def test_headlines_equal_the_plain_computation(results: Any, task: str, model: str) -> None:
    """Each metric is the mean over genes, then over folds, and its spread the sd of the folds with ddof 0."""
    expected = score_plainly(task, model)
    metrics = results[task, model].metrics
    assert set(metrics) == set(expected)
    for name, table in expected.items():
        folds = table.mean(axis=1)
        assert metrics[name].value == pytest.approx(folds.mean(), rel=0, abs=TOLERANCE), name
        assert metrics[name].fold_sd == pytest.approx(folds.std(), rel=0, abs=TOLERANCE), name


@pytest.mark.parametrize("model", ["pixel-mean", "pixel-stats"])
def test_a_result_says_what_was_done(results: Any, task: str, model: str) -> None:
    """Status, chance, ceiling, atoms, sizes of the folds, components and penalty stand in the result."""
    result, width = results[task, model], {"pixel-mean": 3, "pixel-stats": 9}[model]
    assert (result.status, result.view, result.stage) == ("ok", "image", "last")
    assert (result.task.primary, result.task.chance, result.task.ceiling) == ("pcc", 0.0, 1.0)
    assert (result.task.name, result.task.group) == (f"hest-her2st{task.removeprefix('hest')}", "hest-local")
    headline = result.headline
    assert (headline.n_units, headline.n_folds, headline.n_seeds, headline.n_undefined) == (50, 2, 1, 0)
    block = result.units["pcc"]
    assert (block.kind, len(block.value), set(block.seed)) == ("gene", 100, {0})
    assert block.unit[:50] == block.unit[50:] == read_genes(task)
    assert block.cluster[:50] == block.cluster[50:]
    facts = result.diagnostics
    assert (facts["n_train"], facts["n_test"]) == SIZES[task]
    assert facts["components"] == [width, width]
    assert facts["alpha"] == [pytest.approx(100 / (width * 50))] * 2
    assert result.provenance.n_embedded == {"hest": 884, "hest-xp": 1157}[task]


def test_warnings_of_the_data_stand_in_the_result(results: Any) -> None:
    """A reader of the score sees that neighbouring sections are optimistic, and that there are two patients only."""
    assert any("neighbouring sections of one patient" in note for note in results["hest", "pixel-mean"].notes)
    assert any(note.startswith("Two patients only") for note in results["hest-xp", "pixel-mean"].notes)


def test_clusters_are_modules_of_coexpression(dataset: HestDataset, task: str) -> None:
    """In the first training set genes of a module correlate by .3 or more on average, modules by less."""
    _, known, _ = take(FOLDS[task][0][0], read_genes(task), 3)
    correlation, labels = np.corrcoef(known, rowvar=False), np.array(dataset.clusters)
    modules = list(dict.fromkeys(labels))
    assert modules == [f"m{index:02d}" for index in range(len(modules))]
    assert 1 < len(modules) < 50
    for first in modules:
        for second in modules:
            block = correlation[np.ix_(labels == first, labels == second)]
            if first != second:
                assert block.mean() < 0.3
            elif len(block) > 1:
                assert block[np.triu_indices(len(block), 1)].mean() >= 0.3


@pytest.mark.parametrize("name", SECTIONS)
def test_the_reader_repeats_the_table_of_the_data(name: str) -> None:
    """Spots, patches, genes, counts, pixel size, attributes and storage of a section are those described."""
    facts, found = SECTIONS[name], open_section(name)
    assert len(found.spots.names) == facts.n_spots
    assert len(found.patch_rows) == len(found.patches.barcodes) == facts.n_patches
    assert len(found.spots.genes) == 13_345
    assert sum(int(block.sum(dtype=np.float64)) for _, block in iterate_counts(found.spots)) == facts.total
    assert found.patches.um_per_px == pytest.approx(facts.um_per_px, abs=1e-6)
    assert found.warning is None
    with h5py.File(found.patches.path) as patches, h5py.File(found.spots.path) as spots:
        assert facts.attributes in patches["img"].attrs
        assert spots["X"].attrs["encoding-type"] == facts.storage


@pytest.mark.parametrize("name", SECTIONS)
def test_corners_follow_from_centres(name: str) -> None:
    """Each corner is int(centre - P // 2) with P = 112 um in pixels, for the spot with the same barcode."""
    found = open_section(name)
    metadata = json.loads((DATA / f"MahmoodLab/hest/metadata/{name}.json").read_text())
    side = 112 / metadata["pixel_size_um_estimated"]
    centres = found.spots.centres[found.spot_rows]
    assert np.array_equal((centres - side // 2).astype(int), found.patches.corners)


def open_section(name: str) -> Any:
    """Return a section of the cross-patient task, which holds all six."""
    return next(section for section in open_all().sections if section.name == name)


@functools.cache
def open_all() -> HestDataset:
    """Open the cross-patient task."""
    context = DataContext(data_dirs=(DATA,), offline=True)
    return READER.open(None, Source(bench="MahmoodLab/hest-bench", folder="HER2ST_XP"), Params(), context)


def test_folds_are_those_of_the_description(dataset: HestDataset, task: str) -> None:
    """Sections and sizes of each fold, and all sections of the task, are those described."""
    labels = np.array(dataset.section)
    for fold, (train, test), n_train, n_test in zip(dataset.folds, FOLDS[task], *SIZES[task], strict=True):
        assert set(labels[fold.train]) == set(train)
        assert set(labels[fold.test]) == set(test)
        assert (len(fold.train), len(fold.test)) == (n_train, n_test)
        assert not set(fold.train) & set(fold.test)
    assert [fold.number for fold in dataset.folds] == [0, 1]
    assert len(dataset.ids) == len(set(dataset.ids)) == {"hest": 884, "hest-xp": 1157}[task]


def test_samples_stand_in_the_order_of_the_files(dataset: HestDataset, task: str) -> None:
    """Sections follow the split files, samples their patch file, and every target is that of its barcode."""
    names: list[str] = []
    for number in (0, 1):
        for side in ("train", "test"):
            with (BENCH / FOLDERS[task] / f"splits/{side}_{number}.csv").open(newline="") as stream:
                names += [row["sample_id"] for row in csv.DictReader(stream)]
    order = tuple(dict.fromkeys(names))
    assert dataset.ids == tuple(f"{name}/{barcode}" for name in order for barcode in read_plainly(name).barcodes)
    assert dataset.genes == tuple(read_genes(task))
    assert np.array_equal(dataset.targets, take(order, read_genes(task), 3)[1])


def test_pixels_across_a_border_equal_the_files(dataset: HestDataset) -> None:
    """A range over the end of one section holds the last patches of it and the first of the next."""
    names = list(dict.fromkeys(dataset.section))
    border = 0
    for left, right in pairwise(names):
        border += SECTIONS[left].n_patches
        batch = dataset.read("image", border - 5, border + 11)
        with h5py.File(find("patches", left)) as one, h5py.File(find("patches", right)) as two:
            expected = np.concatenate([one["img"][-5:], two["img"][:11]])
            barcodes = [*one["barcode"][-5:, 0], *two["barcode"][:11, 0]]
        assert batch.images.dtype == np.uint8
        assert np.array_equal(batch.images, expected.transpose(0, 3, 1, 2))
        owners = [left] * 5 + [right] * 11
        assert batch.ids == tuple(f"{name}/{barcode.decode()}" for name, barcode in zip(owners, barcodes, strict=True))


def test_noise_scores_nothing_and_colour_beats_it(results: Any, dataset: HestDataset, task: str) -> None:
    """Gaussian noise stays within .03 of 0 on average of five draws, far below the mean colour."""
    found = []
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal((len(dataset.ids), 64)).astype(np.float32)
        evaluation = PROTOCOL.evaluate(Embeddings(dataset.ids, noise, "last", 0, ""), dataset, ProtocolParams(), 0)
        found.append(evaluation.units["pcc"].value.mean())
    assert abs(np.mean(found)) < 0.03
    assert results[task, "pixel-mean"].headline.value > max(found) + 0.05


def test_a_limit_leaves_every_section_and_fold(task: str, cache: Path) -> None:
    """A run on about 40 samples is partial and has a score in both folds."""
    (result,) = run(task, cache, "pixel-mean", limit=40)
    n_sections = {"hest": 5, "hest-xp": 6}[task]
    assert result.status == "partial"
    assert abs(result.provenance.n_embedded - 40) <= n_sections
    assert all(n >= 3 for n in [*result.diagnostics["n_train"], *result.diagnostics["n_test"]])
    assert (result.headline.n_folds, result.headline.value is None) == (2, False)
