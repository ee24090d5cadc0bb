"""The nine shipped HEST-1k-1NN tasks on a generated tree, and the example on real tissue."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from harness.leaderboard.merge import merge
from harness.leaderboard.read import read_results
from harness.tasks.datasets.hest1nn import READER, Params, Source
from harness.tasks.datasets.hest1nn_dataset import Hest1nnDataset
from harness.tasks.datasets.hest_frame import check_frame
from hest1nn_factory import write_grid
from hest_factory import BENCH, SLIDES
from places import ROOT, SHARED, needs_shared

from harness import evaluate
from harness.errors import DamagedFileError
from harness.evaluation import open_dataset
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.selection import select_tasks
from harness.types import DataContext

SHAPES = {
    "ccrcc": "hex", "coad": "square", "idc": "square", "lung": "square", "lymph-idc": "hex", "paad": "square",
    "prad": "hex", "read": "hex", "skcm": "square",
}  # fmt: skip
"""Grid of each task: Xenium square, Visium hexagonal."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the harness's cache in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny task folder for each shipped task; sections of different tasks have different names."""
    root = tmp_path_factory.mktemp("mirror")
    for seed, (name, shape) in enumerate(SHAPES.items()):
        folder = name.upper().replace("-", "_")
        grid = write_grid(tmp_path_factory.mktemp(name), shape, sizes=((4, 3), (3, 3)), seed=seed, folder=folder)
        _rename_sections(grid.tree.root, folder)
        shutil.copytree(grid.tree.root / BENCH, root / "MahmoodLab/hest-bench", dirs_exist_ok=True)
        shutil.copytree(grid.tree.root / SLIDES, root / "MahmoodLab/hest", dirs_exist_ok=True)
    return root


def _rename_sections(root: Path, prefix: str) -> None:
    for path in [*root.rglob("*")]:
        if path.suffix == ".csv":
            lines = path.read_text().splitlines()
            named = [f"{prefix}{line}".replace("/", f"/{prefix}") for line in lines[1:]]
            path.write_text("\n".join([lines[0], *named]) + "\n")
        elif path.is_file() and path.name[0] in "AB" and path.name[1] in "._":
            path.rename(path.with_name(prefix + path.name))


def test_the_group_is_the_nine_tasks() -> None:
    """hest1nn selects nine tasks, each with the grid of its technology, the folder of its twin and three views."""
    bound = select_tasks(load_registry(), "hest1nn")
    assert sorted(task.spec.name for task in bound) == [f"hest1nn-{name}" for name in SHAPES]
    twins = {task.spec.name: task.spec for task in select_tasks(load_registry(), "hest")}
    for task in bound:
        twin = twins[task.spec.name.replace("hest1nn", "hest")]
        assert task.reader_params.nn.shape == SHAPES[task.spec.name.removeprefix("hest1nn-")]
        assert task.spec.source.keys == twin.source.keys
        assert (task.spec.warnings, task.spec.licence) == (twin.warnings, twin.licence)
        assert task.spec.input.views == ["image", "graph_image", "points"]
        assert "cell-count" in task.spec.baselines
        assert task.group_members == tuple(sorted(f"hest1nn-{name}" for name in SHAPES))


def test_the_group_runs_and_has_a_mean(mirror: Path, tmp_path: Path) -> None:
    """All nine tasks have a score of pixels and of cell counts, and the group is their plain mean."""
    evaluate(
        "pixel-mean,cell-count", "hest1nn@image,hest1nn@points", data_dirs=(mirror,), output=tmp_path / "results",
        store=str(tmp_path / "store"), baselines="none", offline=True,
    )  # fmt: skip
    board = merge(read_results((tmp_path / "results",)))
    assert len(board.rows) == 2
    for row in board.rows:
        scores = {cell.task: cell.score for cell in row.cells}
        assert scores["hest1nn"] == pytest.approx(np.mean([scores[f"hest1nn-{name}"] for name in SHAPES]), abs=1e-12)


# --- real tissue ----------------------------------------------------------------------------------------------------


def open_example(name: str) -> Hest1nnDataset:
    """Open a task of the examples as the engine does."""
    registry, options = load_registry(), RunOptions(data_dirs=(SHARED / "data",), offline=True)
    (task,) = select_tasks(registry, str(ROOT / f"examples/her2st/{name}.yaml"))
    dataset = open_dataset(task, options.data_context)
    assert isinstance(dataset, Hest1nnDataset)
    return dataset


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Hest1nnDataset]:
    """Return what opens the example with other options of neighbourhoods; each is opened once."""
    folder = tmp_path_factory.mktemp("real")

    @functools.cache
    def open_real(limit: int | None = None, **nn: str) -> Hest1nnDataset:
        context = DataContext(data_dirs=(SHARED / "data",), cache=folder, offline=True, limit=limit)
        source = Source(bench="MahmoodLab/hest-bench", folder="HER2ST", slides="MahmoodLab/hest")
        params = Params.model_validate({"nn": {"shape": "square", **nn}, "shared_patients": "note"})
        return READER.open(None, source, params, context)

    return open_real


def members_in(dataset: Hest1nnDataset, section: str) -> list[int]:
    """Return how many members the neighbourhoods of a section have."""
    return [len(dataset.surroundings(row).members) for row, name in enumerate(dataset.section) if name == section]


@needs_shared
def test_real_neighbourhoods(real: Callable[..., Hest1nnDataset]) -> None:
    """Sizes in SPA141 by radius and by array positions, and boxes of 512 um, are as the data are described."""
    dataset = real()
    assert len(dataset.ids) == 884
    assert np.bincount(members_in(dataset, "SPA141"))[4:].tolist() == [8, 16, 17, 32, 49, 60]
    assert np.bincount(members_in(real(neighbours="grid"), "SPA141"))[4:].tolist() == [2, 19, 11, 15, 21, 114]
    full = [one for one in map(dataset.surroundings, range(884)) if len(one.members) == 9]
    spans = np.array([(one.box[2:] - one.box[:2]) * one.um_per_px for one in full])
    assert np.median(spans) == pytest.approx(512, rel=0.03)


@needs_shared
def test_real_cells(real: Callable[..., Hest1nnDataset]) -> None:
    """A box holds about 1,100 nuclei, more than twice what the patches in it hold, for they do not touch."""
    box, union = (
        np.array([len(points) for points in one.read("points", 0, 884).points]) for one in (real(), real(cells="union"))
    )
    assert 1000 < box.mean() < 1200
    assert 2 * union.mean() < box.mean()


@needs_shared
def test_real_notes(real: Callable[..., Hest1nnDataset]) -> None:
    """The jitter of printed spots, how neighbours were found and the patient on both sides are told."""
    notes = real().notes
    assert any("SPA141: inter_spot_dist gives a pitch of 200 um, measured are 189 um" in note for note in notes)
    assert "neighbours by radius on a square grid, pitch metadata" in notes
    assert "patient in train and test: Patient C (fold 0, 1); scores are optimistic" in notes


@pytest.mark.parametrize("name", ["hest-coad", "hest1nn-coad"])
def test_splits_published_with_a_shared_patient_say_so(name: str) -> None:
    """COAD has sections of one patient on both sides; every other shipped task refuses that."""
    chosen = [
        task.reader_params.shared_patients for task in select_tasks(load_registry(), f"{name},hest-idc,hest1nn-idc")
    ]
    assert sorted(chosen) == ["note", "refuse", "refuse"]


@needs_shared
def test_the_example_across_patients() -> None:
    """It has nobody on both sides; and on each of its sections nuclei with x and y exchanged would be refused."""
    dataset = open_example("hest1nn-xp")
    assert len(dataset.ids) == 1157
    assert not any("patient in train and test" in note for note in dataset.notes)
    for one in dataset.sections:
        squares = one.plan.squares[: len(one.plan.section.patch_rows)]
        with pytest.raises(DamagedFileError, match=r"of the patches are empty; with x and y exchanged it would be"):
            check_frame("S", squares, Path("nuclei"), one.cells.nuclei[:, ::-1])


@needs_shared
def test_real_crops_resemble_their_patches(real: Callable[..., Hest1nnDataset]) -> None:
    """In each of some crops, the part where the middle patch lies is that patch, seen four times as coarse."""
    dataset = real(limit=15)
    for row in range(0, len(dataset.ids), 2):
        around, section = dataset.surroundings(row), dataset.section[row]
        scale = 224 / (around.box[2:] - around.box[:2])
        x0, y0, x1, y1 = np.rint((around.boxes[around.own].reshape(2, 2) - around.box[:2]) * scale).astype(int).ravel()
        part = dataset.read("image", row, row + 1).images[0, :, y0:y1, x0:x1].mean(axis=(1, 2))
        with h5py.File(SHARED / f"data/MahmoodLab/hest-bench/HER2ST/patches/{section}.h5") as file:
            patch = file["img"][around.own].mean(axis=(0, 1))
        np.testing.assert_allclose(part, patch, atol=3)
