"""The reader of HEST tasks on tiny trees: what it refuses, what it joins, and what comes out of a run."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from harness.tasks.datasets.mirror import Repository, find_file, list_files
from hest_factory import (
    BENCH,
    HALF,
    SLIDES,
    UM_PER_PX,
    Attributes,
    Storage,
    Tree,
    alter,
    cut,
    drop,
    rename,
    set_attribute,
    set_counts,
    write_split,
    write_tree,
)
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from harness.cli import main
from harness.errors import DamagedFileError, HarnessError, MissingDataError, SpecError, UsageError
from harness.results import Result, dump_result
from harness.runner import evaluate
from harness.types import DataContext


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the harness's cache in the test's folder."""
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Write a good tree once: A dense uint16, B CSR float32, C CSC float32."""
    return write_tree(tmp_path_factory.mktemp("original"))


@pytest.fixture
def tree(original: Tree, tmp_path: Path) -> Tree:
    """Return a copy of the good tree that a test may damage."""
    return original.copy(tmp_path / "data")


# --- bad input ---------------------------------------------------------------------------------------------------


def first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change that sets the first entry."""

    def change(values: np.ndarray) -> np.ndarray:
        values.flat[0] = value
        return values

    return change


def repeat_row(values: np.ndarray) -> np.ndarray:
    """Give the second row the value of the first."""
    values[1] = values[0]
    return values


def replace_line(path: Path, line: int, text: str) -> None:
    """Replace a line of a text file, counted from 1."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


Break = Callable[[Tree], object]
BAD: dict[str, tuple[Break, type[HarnessError], str]] = {
    # patch files
    "truncated patch file": (lambda t: cut(t.patches("A")), DamagedFileError, r"A\.h5: not a readable HDF5 file"),
    "patch file of text": (lambda t: t.patches("A").write_text("no"), DamagedFileError, r"A\.h5: not a readable HDF5"),
    "no patch file": (lambda t: t.patches("B").unlink(), MissingDataError, r"TASK/patches/B\.h5 not found\. Searched"),
    "no img in one section": (
        lambda t: drop(t.patches("B"), "img"),
        DamagedFileError,
        r"B\.h5: dataset 'img' is missing while other sections have it",
    ),
    "no barcode": (
        lambda t: drop(t.patches("A"), "barcode"),
        DamagedFileError,
        r"A\.h5: dataset 'barcode' is missing \(the file holds coords, img\)",
    ),
    "no coords": (lambda t: drop(t.patches("A"), "coords"), DamagedFileError, r"A\.h5: dataset 'coords' is missing"),
    "a barcode stands twice among the patches": (
        lambda t: alter(t.patches("A"), "barcode", repeat_row),
        DamagedFileError,
        r"A\.h5: barcode: 1 barcodes stand more than once, the first: 000xA",
    ),
    "a barcode is not text": (
        lambda t: alter(t.patches("A"), "barcode", lambda v: np.full(v.shape, b"\xff\xfe")),
        DamagedFileError,
        r"A\.h5: not a readable HDF5 file .*utf-8",
    ),
    "no patches at all": (
        lambda t: [alter(t.patches("A"), name, lambda v: v[:0]) for name in ("img", "barcode", "coords")],
        DamagedFileError,
        r"A\.h5: no patches",
    ),
    "patches of another size": (
        lambda t: alter(t.patches("A"), "img", lambda v: v[:, :128, :128]),
        DamagedFileError,
        r"A\.h5: img: expected shape \(12, 224, 224, 3\) for 12 barcodes, found \(12, 128, 128, 3\)",
    ),
    "channels first": (
        lambda t: alter(t.patches("A"), "img", lambda v: v.transpose(0, 3, 1, 2)),
        DamagedFileError,
        r"found \(12, 3, 224, 224\)",
    ),
    "fewer patches than barcodes": (
        lambda t: alter(t.patches("A"), "img", lambda v: v[:-1]),
        DamagedFileError,
        r"for 12 barcodes, found \(11, 224, 224, 3\)",
    ),
    "patches of another type": (
        lambda t: alter(t.patches("A"), "img", lambda v: v.astype(np.float32)),
        DamagedFileError,
        r"A\.h5: img: expected uint8, found float32",
    ),
    "coords of another shape": (
        lambda t: alter(t.patches("A"), "coords", lambda v: v[:, :1]),
        DamagedFileError,
        r"A\.h5: coords: expected shape \(12, 2\) for 12 barcodes, found \(12, 1\)",
    ),
    "coords of text": (
        lambda t: alter(t.patches("A"), "coords", lambda v: np.full(v.shape, b"left")),
        DamagedFileError,
        r"A\.h5: not a readable HDF5 file",
    ),
    "x and y exchanged": (
        lambda t: alter(t.patches("B"), "coords", lambda v: v[:, ::-1]),
        DamagedFileError,
        r"B\.h5: coords: x and y are exchanged; expected columns x, y",
    ),
    "a pixel size of 0": (
        lambda t: set_attribute(t.patches("A"), "img", "pixel_size", 0.0),
        DamagedFileError,
        r"A\.h5: img: attribute pixel_size: expected a positive number, found 0\.0",
    ),
    "a pixel size of text": (
        lambda t: set_attribute(t.patches("A"), "img", "pixel_size", "half"),
        DamagedFileError,
        r"A\.h5: not a readable HDF5 file .*half",
    ),
    # h5ad files
    "truncated h5ad": (lambda t: cut(t.adata("A")), DamagedFileError, r"A\.h5ad: not a readable HDF5 file"),
    "no h5ad": (lambda t: t.adata("A").unlink(), MissingDataError, r"TASK/adata/A\.h5ad not found\. Searched"),
    "a barcode of the patches is not in the h5ad": (
        lambda t: rename(t.adata("A"), "obs/_index", "003xA", "777xA"),
        DamagedFileError,
        r"A: .*A\.h5: 1 of 12 barcodes are not in .*A\.h5ad, the first: 003xA; are both files of the same section\?",
    ),
    "an h5ad of another section": (
        lambda t: shutil.copy(t.adata("B"), t.adata("A")),
        DamagedFileError,
        r"12 of 12 barcodes are not in .*A\.h5ad, the first: 000xA, 001xA, 002xA;",
    ),
    "a barcode stands twice in the h5ad": (
        lambda t: rename(t.adata("B"), "obs/_index", "900xX", "002xB"),
        DamagedFileError,
        r"B\.h5ad: obs_names: 1 barcodes stand more than once, the first: 002xB",
    ),
    "no obs": (lambda t: drop(t.adata("A"), "obs"), DamagedFileError, r"A\.h5ad: obs: expected an AnnData data frame"),
    "no barcodes in obs": (lambda t: drop(t.adata("A"), "obs/_index"), DamagedFileError, "'obs/_index' is missing"),
    "centres of fewer spots": (
        lambda t: alter(t.adata("A"), "obsm/spatial", lambda v: v[:-1]),
        DamagedFileError,
        r"A\.h5ad: obsm/spatial: expected x and y of 14 spots, found the shape \(13, 2\)",
    ),
    "centres in one column": (
        lambda t: alter(t.adata("A"), "obsm/spatial", lambda v: v[:, 0]),
        DamagedFileError,
        r"A\.h5ad: obsm/spatial: expected x and y of 14 spots, found the shape \(14,\)",
    ),
    "no counts": (lambda t: drop(t.adata("A"), "X"), DamagedFileError, r"A\.h5ad: dataset 'X' is missing"),
    "counts of fewer genes": (
        lambda t: alter(t.adata("A"), "X", lambda v: v[:, 1:]),
        DamagedFileError,
        r"A\.h5ad: X: expected \(14, 7\) \(obs x var\), found \(14, 6\)",
    ),
    "counts of text": (
        lambda t: alter(t.adata("A"), "X", lambda v: v.astype("S")),
        DamagedFileError,
        r"A\.h5ad: X: expected numbers, found \|S",
    ),
    "counts in another encoding": (
        lambda t: set_attribute(t.adata("B"), "X", "encoding-type", "coo_matrix"),
        DamagedFileError,
        r"B\.h5ad: X: expected a dense array, csr_matrix or csc_matrix, found 'coo_matrix'",
    ),
    "half of a sparse array": (
        lambda t: drop(t.adata("B"), "X/indices"),
        DamagedFileError,
        r"B\.h5ad: not a readable HDF5 file .*indices",
    ),
    "a column beyond the last gene": (
        lambda t: alter(t.adata("B"), "X/indices", first(10_000)),
        DamagedFileError,
        r"B\.h5ad: X: not a valid csr_matrix \(.*indices",
    ),
    "a row beyond the last spot": (
        lambda t: alter(t.adata("C"), "X/indices", first(10_000)),
        DamagedFileError,
        r"C\.h5ad: X: not a valid csc_matrix \(.*indices",
    ),
    "row pointers that do not fit": (
        lambda t: alter(t.adata("B"), "X/indptr", lambda v: v[:-1]),
        DamagedFileError,
        r"B\.h5ad: X: not a valid csr_matrix",
    ),
    "a negative count": (
        lambda t: alter(t.adata("B"), "X/data", first(-1)),
        DamagedFileError,
        r"B\.h5ad: X: expected raw counts, found 1 others in rows 0 to 10, the first: -1 of gene \S+ in .* is negative",
    ),
    "a count that is not whole": (
        lambda t: alter(t.adata("B"), "X/data", first(1.5)),
        DamagedFileError,
        r"the first: 1\.5 of gene .* is not a whole number \(already normalised\? then set normalize: none\)",
    ),
    "a count that is NaN": (
        lambda t: alter(t.adata("C"), "X/data", first(np.nan)),
        DamagedFileError,
        r"C\.h5ad: .*the first: nan of gene .* is not finite",
    ),
    "a count that is infinite": (
        lambda t: alter(t.adata("C"), "X/data", first(np.inf)),
        DamagedFileError,
        r"C\.h5ad: .*the first: inf of gene .* is not finite",
    ),
    # genes
    "a gene of the list is not in the h5ad": (
        lambda t: rename(t.adata("C"), "var/_index", "G03", "G99"),
        DamagedFileError,
        r"C\.h5ad: 1 genes of the list are not in var_names: G03; change the gene list",
    ),
    "a gene of the list stands twice in the h5ad": (
        lambda t: rename(t.adata("B"), "var/_index", "EXTRA", "G02"),
        DamagedFileError,
        r"B\.h5ad: 1 genes of the list stand in var_names more than once: G02",
    ),
    "no gene list": (lambda t: t.genes_file.unlink(), MissingDataError, r"TASK/var_50genes\.json not found\. Searched"),
    "a gene list that is not JSON": (
        lambda t: t.genes_file.write_text('{"genes": ["G00", '),
        DamagedFileError,
        r"var_50genes\.json: not a readable JSON file",
    ),
    "a gene list of another form": (
        lambda t: t.genes_file.write_text('["G00", "G01"]'),
        DamagedFileError,
        r'var_50genes\.json: genes: expected \{"genes": \["NAME", \.\.\.\]\}',
    ),
    "a gene list of numbers": (
        lambda t: t.genes_file.write_text('{"genes": [1, 2]}'),
        DamagedFileError,
        r"var_50genes\.json: genes: expected",
    ),
    "an empty gene list": (
        lambda t: t.genes_file.write_text('{"genes": []}'),
        DamagedFileError,
        r"var_50genes\.json: genes: expected",
    ),
    "a gene stands twice in the list": (
        lambda t: t.genes_file.write_text('{"genes": ["G01", "G00", "G01"]}'),
        DamagedFileError,
        r"var_50genes\.json: genes: G01 stands twice",
    ),
    # split files
    "no folder of split files": (
        lambda t: shutil.rmtree(t.task / "splits"),
        MissingDataError,
        r"TASK/splits not found\. Searched",
    ),
    "no split files": (
        lambda t: [path.unlink() for path in (t.task / "splits").iterdir()],
        MissingDataError,
        r"TASK/splits: no train_i\.csv and test_i\.csv",
    ),
    "a test file without its partner": (
        lambda t: t.split("train", 1).unlink(),
        SpecError,
        r"TASK/splits: test_1\.csv has no partner train_1\.csv",
    ),
    "a train file without its partner": (
        lambda t: write_split(t.split("train", 10), ["A"]),
        SpecError,
        r"TASK/splits: train_10\.csv has no partner test_10\.csv",
    ),
    "a section in train and test": (
        lambda t: write_split(t.split("train", 1), ["A", "B", "C"]),
        SpecError,
        r"^fold 1: B is in train and test;",
    ),
    "two sections in train and test": (
        lambda t: write_split(t.split("test", 0), ["B", "A", "C"]),
        SpecError,
        r"^fold 0: B, C are in train and test;",
    ),
    "a section twice in a file": (
        lambda t: write_split(t.split("train", 0), ["B", "C", "B"]),
        SpecError,
        r"train_0\.csv:1: B stands twice",
    ),
    "a section with other paths in another file": (
        lambda t: replace_line(t.split("test", 1), 2, "B,patches/A.h5,adata/B.h5ad"),
        SpecError,
        r"test_1\.csv:1: B has other paths here than in an earlier split file",
    ),
    "two sections with one patch file": (
        lambda t: [
            path.write_text(path.read_text().replace("patches/C.h5", "patches/B.h5"))
            for path in (t.task / "splits").iterdir()
        ],
        SpecError,
        r"train_0\.csv:1: B and C share the patch file TASK/patches/B\.h5",
    ),
    "a section that is nowhere": (
        lambda t: write_split(t.split("test", 2), ["Z"]),
        MissingDataError,
        r"TASK/patches/Z\.h5 not found\. Searched",
    ),
    "a split file cut in a row": (
        lambda t: replace_line(t.split("train", 0), 3, "C,patches/C.h5"),
        DamagedFileError,
        r"train_0\.csv:3: expr_path: missing; truncated\?",
    ),
    "a split file without header": (
        lambda t: replace_line(t.split("train", 0), 1, "a,b,c"),
        DamagedFileError,
        r"train_0\.csv:2: sample_id, patches_path, expr_path: missing",
    ),
    "an empty split file": (lambda t: t.split("test", 0).write_text(""), DamagedFileError, r"test_0\.csv: no rows;"),
    "a split file in another encoding": (
        lambda t: t.split("test", 0).write_bytes(b"sample_id,patches_path,expr_path\n\xe9,a,b\n"),
        DamagedFileError,
        r"test_0\.csv: not a readable CSV file",
    ),
    "a path that leaves the data folder": (
        lambda t: write_split(t.split("test", 0), ["A"], up="../../../../"),
        SpecError,
        r"test_0\.csv:2: the path .* leaves the data folder; paths must stay inside it",
    ),
    "an absolute path": (
        lambda t: write_split(t.split("test", 0), ["A"], up="/"),
        SpecError,
        r"test_0\.csv:2: the path '/patches/A\.h5' leaves the data folder",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(tree: Tree, case: str) -> None:
    """Each damage raises its class, with a message that names the file, what was found and what was expected."""
    damage, error, words = BAD[case]
    damage(tree)
    with pytest.raises(HarnessError, match=words) as caught:
        tree.open()
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("case", "code"), [("no h5ad", 5), ("a section in train and test", 2), ("a barcode stands twice in the h5ad", 7)]
)
def test_bad_input_sets_the_exit_code(tree: Tree, case: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line ends with the code of the class and prints no traceback."""
    BAD[case][0](tree)
    spec, output = str(tree.write_spec()), str(tree.root / "results")
    arguments = ["eval", "--model", "pixel-mean", "--tasks", spec, "--data-dir", str(tree.root), "--output", output]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--offline"])
    assert stop.value.code == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_damaged_chunk_is_found_when_it_is_read(tree: Tree) -> None:
    """Bytes destroyed inside the pixels are an error that names the file, although the file opens."""
    with h5py.File(tree.patches("A")) as file:
        chunk = file["img"].id.get_chunk_info(0)
    with tree.patches("A").open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(bytes(chunk.size))
    dataset = tree.open()
    with pytest.raises(DamagedFileError, match=r"A\.h5: img: cannot be read"):
        dataset.read("image", 0, len(dataset.ids))


def test_without_images_only_precomputed_vectors_are_left(tree: Tree) -> None:
    """A mirror without any pixels opens with a note, and asking it for pixels is an error."""
    for name in tree.sections:
        drop(tree.patches(name), "img")
    dataset = tree.open()
    assert dataset.notes == ("the patch files hold no images: only precomputed embeddings can be evaluated",)
    with pytest.raises(DamagedFileError, match="dataset 'img' is missing"):
        dataset.read("image", 0, 1)


def test_another_view_is_refused(tree: Tree) -> None:
    """The reader names the views it offers."""
    dataset = tree.open()
    for ask in (lambda: dataset.read("movie", 0, 1), lambda: dataset.fingerprint("movie")):
        with pytest.raises(UsageError, match="view 'movie': the hest reader offers image, graph_image, points"):
            ask()


def test_a_gene_list_of_ones_own_must_exist(tree: Tree) -> None:
    """A path that is no file is missing data, with the values that gene_list takes."""
    with pytest.raises(MissingDataError, match="gene_list is var_50genes, train_hvg, or the path of a JSON file"):
        tree.open(gene_list="nowhere.json")


@pytest.mark.parametrize(
    "name",
    ["a b/c d", "x--y/z"],
)
def test_a_repository_of_an_impossible_name_is_missing_data(tmp_path: Path, name: str) -> None:
    """A name that Hugging Face refuses is told like any file that is nowhere."""
    context = DataContext(data_dirs=(tmp_path,), cache=tmp_path / "hub", offline=True)
    for look in (find_file, list_files):
        with pytest.raises(MissingDataError, match=rf"{name}: file not found\. Searched"):
            look(Repository(name), "file", context)


# --- good input --------------------------------------------------------------------------------------------------


def assert_joined(tree: Tree, dataset: Any) -> None:
    """Compare ids, sections, genes, targets and folds with what the factory wrote."""
    names = list(dict.fromkeys(dataset.section))
    assert sorted(names) == list(tree.sections)
    assert dataset.genes == tree.genes
    assert dataset.ids == tuple(f"{name}/{row:03d}x{name}" for name in names for row in range(len(tree.counts[name])))
    assert np.array_equal(dataset.targets, np.log1p(np.concatenate([tree.counts[name] for name in names])))
    labels = np.array(dataset.section)
    for fold in dataset.folds:
        assert set(labels[fold.test]) == {tree.sections[fold.number]}
        assert sorted([*fold.train, *fold.test]) == list(range(len(labels)))
        assert np.array_equal(fold.columns, np.arange(len(tree.genes)))


@pytest.mark.parametrize("numbers", [np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("storage", ["dense", "csr", "csc"])
def test_rows_and_genes_are_joined_by_label(tmp_path: Path, storage: Storage, numbers: Any) -> None:
    """Shuffled spots and genes with extra ones among them give the right targets, in every storage and number type."""
    tree = write_tree(tmp_path, sizes=(4, 3), storage=(storage,), numbers=numbers)
    dataset = tree.open()
    assert_joined(tree, dataset)
    assert dataset.notes == ()


def test_counts_are_read_block_by_block(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks of rows give the same targets and genes as large ones, and errors name the rows of the file."""
    selected = tree.open(gene_list="train_hvg")
    monkeypatch.setattr("harness.tasks.datasets.h5ad._BLOCK", 5)
    assert_joined(tree, tree.open())
    again = tree.open(gene_list="train_hvg")
    assert again.genes == selected.genes
    assert np.array_equal(again.targets, selected.targets)
    with h5py.File(tree.adata("B")) as file:
        eighth, name = int(file["X/indptr"][7]), file["obs/_index"][7].decode()

    def spoil(values: np.ndarray) -> np.ndarray:
        values[eighth] = -2
        return values

    alter(tree.adata("B"), "X/data", spoil)
    with pytest.raises(
        DamagedFileError, match=rf"found 1 others in rows 5 to 9, the first: -2 of gene \S+ in {name} is"
    ):
        tree.open()


def test_a_rounding_error_is_still_a_count(tree: Tree) -> None:
    """Counts within 1e-3 of a whole number are taken."""
    alter(tree.adata("B"), "X/data", lambda values: values + np.float32(5e-4))
    np.testing.assert_allclose(tree.open().targets[:9], np.log1p(tree.counts["B"]), atol=6e-4)


@pytest.mark.parametrize("attributes", ["new", "old"])
def test_pixel_size_comes_from_new_and_old_attributes(tmp_path: Path, attributes: Attributes) -> None:
    """Both spellings give the same pixel size, and no warning."""
    dataset = write_tree(tmp_path, sizes=(4, 3), attributes=attributes).open()
    assert [section.patches.um_per_px for section in dataset.sections] == [pytest.approx(UM_PER_PX)] * 2
    assert dataset.notes == ()


def test_without_a_pixel_size_positions_are_not_checked(tmp_path: Path) -> None:
    """Exchanged coordinates pass where the file does not state its pixel size, because nothing can be compared."""
    tree = write_tree(tmp_path, sizes=(4, 3), attributes="none")
    alter(tree.patches("B"), "coords", lambda v: v[:, ::-1])
    dataset = tree.open()
    assert [section.patches.um_per_px for section in dataset.sections] == [None, None]
    assert dataset.notes == ()


def test_spots_without_a_position_are_named(tree: Tree) -> None:
    """Their number and the first barcode stand in the note, not a mean of NaN."""
    with h5py.File(tree.adata("B")) as file:
        rows = [row for row, name in enumerate(file["obs/_index"][()]) if name[:3] in (b"000", b"001", b"002")]
    alter(tree.adata("B"), "obsm/spatial", lambda v: np.where(np.isin(np.arange(len(v)), rows)[:, None], np.nan, v))
    assert tree.open().notes == ("B: 3 spots without a position, first 000xB",)


def test_one_section_under_two_names_is_refused(tree: Tree) -> None:
    """Patch files of the same content are one section, whatever they are called."""
    shutil.copy(tree.patches("A"), tree.patches("B"))
    shutil.copy(tree.adata("A"), tree.adata("B"))
    with pytest.raises(DamagedFileError, match=r"sections (A and B|B and A): expected two patch files, found the same"):
        tree.open()


def name_patients(tree: Tree, **patients: str) -> None:
    """Write metadata that name the patients of sections."""
    for section, patient in patients.items():
        tree.metadata(section).parent.mkdir(parents=True, exist_ok=True)
        tree.metadata(section).write_text(json.dumps({"id": section, "dataset_title": "Study", "patient": patient}))


def test_a_patient_in_train_and_test_is_refused_or_noted(tree: Tree) -> None:
    """As far as metadata name patients; without metadata, or without a repository of them, nothing is compared."""
    assert tree.open(slides=SLIDES).notes == ()
    name_patients(tree, A="P1", B="P2")
    assert tree.open(slides=SLIDES).notes == ()
    name_patients(tree, C="P1")
    with pytest.raises(SpecError, match=r"P1 of 'Study' is in train \(C\) and test \(A\).*shared_patients: note"):
        tree.open(slides=SLIDES)
    told = "patient in train and test: P1 (fold 0, 2); scores are optimistic"
    assert told in tree.open(slides=SLIDES, shared_patients="note").notes
    assert tree.open().notes == ()


def test_coords_that_are_centres_are_a_warning(tree: Tree) -> None:
    """The note names the section, the measured and the expected offset, and stands in the result."""
    alter(tree.patches("B"), "coords", lambda v: v + int(HALF))
    (note,) = tree.open().notes
    assert note.startswith("B: coords lie (0.")
    assert f"expected {HALF:.1f} px (half a patch) in both; are they centres instead of top-left corners?" in note
    assert note in run(tree).notes


def test_paths_may_lead_to_another_task_of_the_data_folder(tree: Tree) -> None:
    """A split file reaches a neighbouring task, and another repository, by ``..``."""
    shutil.move(tree.patches("A"), tree.task.parent / "elsewhere.h5")
    (tree.root / "someone/else/deep").mkdir(parents=True)
    shutil.move(tree.adata("A"), tree.root / "someone/else/deep/A.h5ad")
    for path in (tree.task / "splits").iterdir():
        text = path.read_text().replace("patches/A.h5", "../elsewhere.h5")
        path.write_text(text.replace("adata/A.h5ad", "../../../someone/else/deep/A.h5ad"))
    dataset = tree.open()
    assert_joined(tree, dataset)
    assert dict(dataset.files)["someone/else/deep/A.h5ad"] == tree.root / "someone/else/deep/A.h5ad"
    assert f"{BENCH}/elsewhere.h5" in dict(dataset.files)


def test_folds_are_counted_by_their_files(tree: Tree) -> None:
    """Stray files beside the split files change nothing, and numbers may have gaps."""
    for side in ("train", "test"):
        tree.split(side, 1).rename(tree.split(side, 11))
    (tree.task / "splits/train_0.csv.bak").write_text("old")
    (tree.task / "splits/old").mkdir()
    assert [fold.number for fold in tree.open().folds] == [0, 2, 11]


def test_the_first_mirror_with_a_file_wins(tree: Tree, tmp_path: Path) -> None:
    """Files are taken from the first data folder that has them, the others from the next."""
    near = tmp_path / "near" / BENCH
    near.mkdir(parents=True)
    (near / "only.txt").write_text("near")
    (tree.root / BENCH / "only.txt").write_text("far")
    context = DataContext(data_dirs=(tmp_path / "near", tree.root), cache=tmp_path / "hub", offline=True)
    assert find_file(Repository(BENCH), "only.txt", context) == near / "only.txt"
    assert find_file(Repository(BENCH), "TASK/patches/A.h5", context) == tree.patches("A")
    assert list_files(Repository(BENCH), "TASK/patches", context) == ("A.h5", "B.h5", "C.h5")


@pytest.mark.parametrize("planar", [True, False])
def test_pixels_are_read_across_sections(tmp_path: Path, planar: bool) -> None:
    """Every range, across borders too, holds the written patches as (N, 3, 224, 224), however the chunks lie."""
    tree = write_tree(tmp_path, sizes=(4, 3, 3), planar=planar)
    dataset = tree.open()
    names = dict.fromkeys(dataset.section)
    expected = np.concatenate([tree.images[name] for name in names]).transpose(0, 3, 1, 2)
    for start, stop in ((0, 10), (0, 3), (2, 5), (2, 9), (9, 10), (6, 50)):
        batch = dataset.read("image", start, stop)
        assert batch.ids == dataset.ids[start:stop]
        assert batch.view == "image"
        assert np.array_equal(batch.images, expected[start:stop])


def test_threads_and_copies_read_the_same_pixels(tree: Tree) -> None:
    """Reads from threads and from a pickled copy equal one read in one piece."""
    dataset = tree.open()
    whole = dataset.read("image", 0, 31).images
    copied = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(4) as executor:
        parts = list(executor.map(lambda start: dataset.read("image", start, start + 4).images, range(0, 31, 4)))
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(copied.read("image", 5, 25).images, whole[5:25])
    assert copied.ids == dataset.ids


@pytest.mark.parametrize(("limit", "left"), [(1, [3, 3, 3]), (15, [4, 5, 6]), (31, [9, 10, 12]), (99, [9, 10, 12])])
def test_a_limit_thins_every_section(tree: Tree, limit: int, left: list[int]) -> None:
    """About so many samples are left, at least 3 a section and from its whole length, with their own targets."""
    whole, dataset = tree.open(), tree.open(limit=limit)
    sizes = {name: dataset.section.count(name) for name in tree.sections}
    assert sorted(sizes.values()) == left
    row = {name: index for index, name in enumerate(whole.ids)}
    rows = [row[name] for name in dataset.ids]
    assert rows == sorted(rows)
    assert np.array_equal(dataset.targets, whole.targets[rows])
    assert {"A/000xA", "A/011xA"} <= set(dataset.ids)
    pixels = dataset.read("image", 0, len(rows)).images
    assert np.array_equal(pixels, whole.read("image", 0, 31).images[rows])


def test_a_limit_keeps_every_fold_usable(tree: Tree) -> None:
    """Three samples a section still give a partial result with a score in every fold."""
    result = run(tree, limit=2)
    assert result.status == "partial"
    assert result.diagnostics["n_test"] == [3, 3, 3]
    assert result.headline.n_folds == 3
    assert result.headline.value is not None
    assert result.headline.fold_sd is not None


# --- scores ------------------------------------------------------------------------------------------------------


def run(tree: Tree, model: str = "pixel-mean", limit: int | None = None, **params: str) -> Result:
    """Evaluate one model on a tree, from files to result; ``pca__solver`` stands for ``pca.solver``."""
    (result,) = evaluate(
        model,
        tree.write_spec(),
        data_dirs=(tree.root,),
        output=None,
        store=str(tree.root / "store"),
        baselines="none",
        limit=limit,
        changes={f"protocol.params.{key.replace('__', '.')}": value for key, value in params.items()},
        offline=True,
    )
    return result


def by_fold(result: Result) -> dict[int, list[float | None]]:
    """Return the scores of the genes of each fold, in order."""
    block = result.units["pcc"]
    table: dict[int, list[float | None]] = {}
    for fold, value in zip(block.fold, block.value, strict=True):
        table.setdefault(fold, []).append(value)
    return table


def write_vectors(tree: Tree, width: int) -> tuple[str, np.ndarray]:
    """Write random vectors that know a little of the targets; return the model string and the vectors."""
    dataset = tree.open()
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((len(tree.genes), width))
    vectors = (dataset.targets @ mix + 2 * rng.standard_normal((len(dataset.ids), width)) + 3).astype(np.float32)
    path = tree.root / "vectors.npz"
    np.savez(path, ids=np.array(dataset.ids), features=vectors)
    return f"embeddings:{path}", vectors.astype(np.float64)


def plain_prediction(
    features: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray, multiple: float, raw: bool = False
) -> np.ndarray:
    """Standardise, reduce and regress by scikit-learn's direct solvers."""
    left, right = features[train], features[test]
    if not raw:
        components = min(256, features.shape[1], len(train) - 1)
        scale = StandardScaler().fit(left)
        pca = PCA(components, svd_solver="full").fit(scale.transform(left))
        left, right = pca.transform(scale.transform(left)), pca.transform(scale.transform(right))
    alpha = multiple * 100 / (left.shape[1] * targets.shape[1])
    return Ridge(alpha, fit_intercept=False, solver="cholesky").fit(left, targets[train]).predict(right)


def plain_pcc(targets: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Correlate gene by gene."""
    return [pearsonr(a, b).statistic for a, b in zip(targets.T, predicted.T, strict=True)]


@pytest.mark.parametrize(("width", "components"), [(5, [5, 5, 5]), (40, [18, 21, 20])])
def test_small_data_take_as_many_components_as_there_are(tree: Tree, width: int, components: list[int]) -> None:
    """With fewer than 256 dims or spots, min(256, D, n - 1) components give the scores of a plain computation."""
    model, features = write_vectors(tree, width)
    result, dataset = run(tree, model), tree.open()
    assert result.diagnostics["components"] == components
    assert result.diagnostics["alpha"] == [pytest.approx(100 / (count * 6)) for count in components]
    for fold in dataset.folds:
        predicted = plain_prediction(features, dataset.targets, fold.train, fold.test, 1.0)
        np.testing.assert_allclose(
            by_fold(result)[fold.number], plain_pcc(dataset.targets[fold.test], predicted), atol=1e-9
        )


@pytest.mark.parametrize("width", [5, 40])
def test_no_components_regress_on_the_features_themselves(tree: Tree, width: int) -> None:
    """``pca.components: null`` neither scales nor centres, for few features and for more than samples."""
    model, features = write_vectors(tree, width)
    result, dataset = run(tree, model, pca__components="null"), tree.open()
    assert result.diagnostics["components"] == [None, None, None]
    for fold in dataset.folds:
        predicted = plain_prediction(features, dataset.targets, fold.train, fold.test, 1.0, raw=True)
        np.testing.assert_allclose(
            by_fold(result)[fold.number], plain_pcc(dataset.targets[fold.test], predicted), atol=1e-8
        )


@pytest.mark.parametrize("width", [5, 40])
def test_the_penalty_is_chosen_inside_the_training_sections(tree: Tree, width: int) -> None:
    """``alpha: cv`` takes the multiple with the best mean correlation over left-out training sections."""
    model, features = write_vectors(tree, width)
    result, dataset = run(tree, model, alpha="cv"), tree.open()
    section, grid = np.array(dataset.section), [10.0**power for power in range(-4, 7)]
    for position, fold in enumerate(dataset.folds):
        scores = np.zeros(len(grid))
        for name in set(section[fold.train]):
            inner, left_out = fold.train[section[fold.train] != name], fold.train[section[fold.train] == name]
            for column, multiple in enumerate(grid):
                predicted = plain_prediction(features, dataset.targets, inner, left_out, multiple)
                scores[column] += np.mean(plain_pcc(dataset.targets[left_out], predicted)) / 2
        best = grid[int(np.argmax(scores))]
        components = min(width, len(fold.train) - 1)
        assert result.diagnostics["alpha"][position] == pytest.approx(best * 100 / (components * 6))
        predicted = plain_prediction(features, dataset.targets, fold.train, fold.test, best)
        np.testing.assert_allclose(
            by_fold(result)[fold.number], plain_pcc(dataset.targets[fold.test], predicted), atol=1e-8
        )


def test_a_constant_gene_is_undefined_in_its_fold(tmp_path: Path) -> None:
    """It is null in that fold and counted, other genes and folds keep their scores, and the headline is a number."""
    tree = write_tree(tmp_path, storage=("dense",))
    before = by_fold(run(tree))
    set_counts(tree.adata("B"), "G02", 4)
    result = run(tree)
    found = by_fold(result)
    assert [(fold, gene) for fold, row in found.items() for gene, value in enumerate(row) if value is None] == [(1, 2)]
    assert found[1][:2] + found[1][3:] == pytest.approx(before[1][:2] + before[1][3:], abs=1e-12)
    means = [np.mean([value for value in row if value is not None]) for row in found.values()]
    assert result.headline.value == pytest.approx(np.mean(means), abs=1e-12)
    assert result.headline.n_undefined == 1
    assert result.diagnostics["n_constant_target"] == 1
    assert any("undefined in 1 of 18 gene-fold cells (left out of the mean)" in note for note in result.notes)
    assert "NaN" not in dump_result(result)


def test_a_gene_constant_in_training_predicts_a_constant(tmp_path: Path) -> None:
    """It is undefined where it is tested, because its prediction does not vary, and where it is constant itself."""
    tree = write_tree(tmp_path, storage=("dense",))
    for name in ("B", "C"):
        set_counts(tree.adata(name), "G05", 0)
    result = run(tree)
    assert [row[5] for row in by_fold(result).values()] == [None, None, None]
    assert (result.diagnostics["n_constant_prediction"], result.diagnostics["n_constant_target"]) == (1, 2)
    assert result.headline.n_undefined == 3
    assert result.headline.value is not None


def test_constant_genes_propagate_where_asked(tmp_path: Path) -> None:
    """Under ``nan: propagate`` one undefined gene makes the headline undefined; under ``zero`` it counts 0."""
    tree = write_tree(tmp_path, storage=("dense",))
    set_counts(tree.adata("B"), "G02", 4)
    assert run(tree, nan="propagate").headline.value is None
    zeroed = run(tree, nan="zero")
    assert by_fold(zeroed)[1][2] == 0.0
    assert zeroed.headline.n_undefined == 0
    assert zeroed.headline.value == pytest.approx(np.mean([*by_fold(zeroed).values()]), abs=1e-12)


def test_the_training_mean_has_no_headline(tree: Tree) -> None:
    """``head: mean`` is constant everywhere: null, all cells counted, and the reason among the notes."""
    result = run(tree, head="mean")
    assert result.headline.value is None
    assert result.headline.n_undefined == 18
    assert set(result.units["pcc"].value) == {None}
    assert any(
        note.startswith("pcc is undefined in 18 of 18 gene-fold cells") and "the prediction in 18" in note
        for note in result.notes
    )
    dataset = tree.open()
    errors = [
        ((dataset.targets[fold.test] - dataset.targets[fold.train].mean(axis=0)) ** 2).mean(axis=0).mean()
        for fold in dataset.folds
    ]
    assert result.metrics["mse"].value == pytest.approx(np.mean(errors))
    assert run(tree, head="mean", nan="zero").headline.value == 0.0


# --- targets -----------------------------------------------------------------------------------------------------


def test_counts_can_be_scaled_to_ten_thousand(tree: Tree) -> None:
    """``cp10k_log1p`` divides by the counts of all genes of the spot, those outside the list too."""
    dataset = tree.open(normalize="cp10k_log1p")
    with h5py.File(tree.adata("A")) as file:
        names, genes = (np.char.decode(file[f"{axis}/_index"][()].astype("S")) for axis in ("obs", "var"))
        counts = file["X"][()].astype(np.float64)
    scaled = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    rows = [dataset.ids.index(f"A/{name}") for name in names if name.endswith("A")]
    columns = [list(genes).index(gene) for gene in dataset.genes]
    wanted = scaled[[name.endswith("A") for name in names]][:, columns]
    np.testing.assert_allclose(dataset.targets[rows], wanted, rtol=1e-14)


def test_normalised_numbers_are_taken_when_told(tree: Tree) -> None:
    """Under ``normalize: none`` fractions and negative numbers pass unchanged, NaN never."""
    alter(tree.adata("B"), "X/data", lambda values: values - 1.25)
    dataset = tree.open(normalize="none")
    counts = tree.counts["B"]
    assert np.array_equal(dataset.targets[:9], np.where(counts > 0, counts - 1.25, 0))
    alter(tree.adata("B"), "X/data", first(np.nan))
    with pytest.raises(DamagedFileError, match=r"B\.h5ad: .* is not finite"):
        tree.open(normalize="none")


def test_genes_can_be_selected_inside_each_training_fold(tmp_path: Path) -> None:
    """``train_hvg`` takes the 50 most variable genes seen in a tenth of the spots of every training section."""
    tree = write_tree(tmp_path, sizes=(21, 22, 23), n_genes=60, storage=("dense",))
    rare = [0.0] * 22 + [9.0, 9.0]
    set_counts(tree.adata("B"), "G07", rare)  # 2 of 22 spots, fewer than a tenth; variable enough to win otherwise
    dataset = tree.open(gene_list="train_hvg")
    row = {name: index for index, name in enumerate(dataset.ids)}
    counts = np.zeros((len(row), 61))
    names = [*tree.genes, "EXTRA"]
    for section in tree.sections:
        with h5py.File(tree.adata(section)) as file:
            spots, genes = ([name.decode() for name in file[f"{axis}/_index"][()]] for axis in ("obs", "var"))
            for spot, values in zip(spots, file["X"][()], strict=True):
                if spot.endswith(section):
                    counts[row[f"{section}/{spot}"], [names.index(gene) for gene in genes]] = values
    labels = np.array(dataset.section)
    lists = []
    for fold in dataset.folds:
        seen = np.all(
            [
                (counts[labels == name] > 0).sum(axis=0) >= np.ceil(0.1 * (labels == name).sum())
                for name in tree.sections
                if name != tree.sections[fold.number]
            ],
            axis=0,
        )
        variance = np.where(seen, np.log1p(counts[fold.train]).var(axis=0), -1)
        wanted = sorted(names[column] for column in np.argsort(-variance)[:50])
        lists.append([dataset.genes[column] for column in fold.columns])
        assert lists[-1] == wanted
    assert ["G07" in genes for genes in lists] == [False, True, False]
    assert dataset.genes == tuple(sorted({gene for genes in lists for gene in genes}))


def test_a_gene_list_of_ones_own_is_used(tree: Tree) -> None:
    """The genes of a JSON file are the columns, in its order, and its content is part of the data's hash."""
    path = tree.root / "mine.json"
    path.write_text(json.dumps({"genes": ["G04", "G01"]}))
    dataset = tree.open(gene_list=str(path))
    assert dataset.genes == ("G04", "G01")
    assert np.array_equal(dataset.targets[:9], np.log1p(tree.counts["B"][:, [4, 1]]))
    before = dataset.data_hash
    path.write_text(json.dumps({"genes": ["G04", "G02"]}))
    assert tree.open(gene_list=str(path)).data_hash != before


# --- hashes ------------------------------------------------------------------------------------------------------


def hashes(tree: Tree, limit: int | None = None) -> tuple[str, str]:
    """Return the hash of the data and the fingerprint of the patches."""
    dataset = tree.open(limit=limit)
    return dataset.data_hash, dataset.fingerprint("image")


def test_hashes_do_not_depend_on_the_place(tree: Tree, tmp_path: Path) -> None:
    """A copy elsewhere has the same hashes."""
    assert hashes(tree.copy(tmp_path / "elsewhere")) == hashes(tree)


def test_one_pixel_changes_both_hashes(tree: Tree) -> None:
    """One grey level makes other embeddings and other data."""
    before = hashes(tree)
    alter(tree.patches("C"), "img", first(tree.images["C"].flat[0] ^ 1))
    after = hashes(tree)
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_one_count_changes_the_data_and_keeps_the_embeddings(tree: Tree) -> None:
    """The data have another hash, but the fingerprint under which embeddings are stored stays."""
    before = hashes(tree)
    alter(tree.adata("A"), "X", lambda values: first(values.flat[0] + 1)(values))
    after = hashes(tree)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_one_count_does_not_call_the_model_again(tree: Tree) -> None:
    """After a correction of counts the embeddings come from the store and the result has another data hash."""
    before = run(tree)
    alter(tree.adata("A"), "X", lambda values: values + np.arange(14, dtype=np.uint16)[:, None])
    after = run(tree)
    assert (before.provenance.n_embedded, after.provenance.n_embedded) == (31, 0)
    assert after.embedding_hash == before.embedding_hash
    assert after.task.data_hash != before.task.data_hash
    assert after.headline.value != before.headline.value


def test_another_split_changes_the_data(tree: Tree) -> None:
    """Folds are part of the data."""
    before = hashes(tree)
    write_split(tree.split("train", 0), ["B"])
    assert hashes(tree)[0] != before[0]


def test_a_limit_changes_the_fingerprint(tree: Tree) -> None:
    """Fewer samples are other embeddings of the same data."""
    whole, part = hashes(tree), hashes(tree, limit=12)
    assert part[0] == whole[0]
    assert part[1] != whole[1]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (GatedRepoError, "it is gated. Open"),
        (GatedRepoError, "log in with `hf auth login`"),
        (GatedRepoError, "What runs without: tasks that need no files, such as synthetic-mini"),
        (HfHubHTTPError, "Hugging Face: refused with status 403"),
        (LocalEntryNotFoundError, "Hugging Face: no connection"),
    ],
)
def test_a_refused_download_says_what_to_do_and_what_runs_without(
    kind: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gated data set names its page, the login and what needs no login; other refusals give their reason."""

    def fail(*arguments: Any, **more: Any) -> str:
        error = kind.__new__(kind, "403 Client Error for url: example.org")
        if kind is not LocalEntryNotFoundError:
            error.response = SimpleNamespace(status_code=403)  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(MissingDataError) as caught:
        find_file(Repository("lab/closed"), "a/b.h5", DataContext(cache=tmp_path))
    assert words in str(caught.value)
    assert "example.org" not in str(caught.value)
