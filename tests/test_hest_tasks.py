"""The ten shipped HEST tasks on a generated tree: they run, and their group has the mean it should."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness.leaderboard.merge import merge
from harness.leaderboard.read import read_results
from hest_factory import write_tree

from harness import evaluate
from harness.plugins import load_registry
from harness.selection import select_tasks

NINE = ["ccrcc", "coad", "idc", "lung", "lymph-idc", "paad", "prad", "read", "skcm"]
FOLDERS = ["CCRCC", "COAD", "IDC", "LUNG", "LYMPH_IDC", "PAAD", "PRAD", "READ", "SKCM", "HCC"]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one tiny task folder for each shipped task, all with other counts."""
    root = tmp_path_factory.mktemp("mirror")
    for seed, folder in enumerate(FOLDERS):
        tree = write_tree(tmp_path_factory.mktemp(folder), sizes=(9, 7), seed=seed)
        shutil.copytree(tree.task, root / "MahmoodLab" / "hest-bench" / folder)
    return root


@pytest.fixture(scope="module")
def results(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the group once."""
    folder = tmp_path_factory.mktemp("run")
    evaluate(
        "pixel-mean,pixel-stats", "hest@image", data_dirs=(mirror,), output=folder / "results",
        store=str(folder / "store"), baselines="none", offline=True,
    )  # fmt: skip
    return folder / "results"


def test_the_group_is_the_nine_tasks_of_the_benchmark() -> None:
    """Hest selects ten tasks, and the mean asks for nine: hcc does not count."""
    bound = select_tasks(load_registry(), "hest")
    assert sorted(task.spec.name for task in bound) == sorted([*(f"hest-{name}" for name in NINE), "hest-hcc"])
    assert {task.group_members for task in bound} == {tuple(f"hest-{name}" for name in NINE)}
    assert [task.spec.name for task in bound if not task.spec.in_group_mean] == ["hest-hcc"]
    assert {task.spec.source.keys["folder"] for task in bound} == set(FOLDERS)


def test_the_group_mean_is_that_of_nine_tasks(results: Path) -> None:
    """Plain mean of the task means, hcc left out although it ran."""
    board = merge(read_results((results,)))
    for row in board.rows:
        scores = {cell.task: cell.score for cell in row.cells}
        assert len(scores) == 11
        nine = [scores[f"hest-{name}"] for name in NINE]
        assert scores["hest"] == pytest.approx(sum(nine) / 9, abs=1e-12)


def test_a_missing_task_leaves_the_mean_null_with_its_coverage(results: Path, tmp_path: Path) -> None:
    """A task that nobody ran is missing for all, because every result names the members of its group."""
    shutil.copytree(results, tmp_path / "results")
    (skcm,) = (tmp_path / "results").glob("hest-skcm*")
    shutil.rmtree(skcm)
    board = merge(read_results((tmp_path / "results",)))
    assert [next(cell for cell in row.cells if cell.task == "hest").score for row in board.rows] == [None, None]
    told = board.inference["groups"]["hest"]
    assert told["members"] == [f"hest-{name}" for name in NINE]
    assert told["incomplete"][0] == {
        "model": "pixel-mean", "view": "image", "coverage": pytest.approx(8 / 9), "missing": ["hest-skcm"],
    }  # fmt: skip


def test_the_table_shows_the_group(results: Path) -> None:
    """Harness leaderboard merge prints a column for the group, with what it is the mean of."""
    from harness.leaderboard.commands import leaderboard

    output = str(results.parent / "board.json")
    shown = CliRunner().invoke(leaderboard, ["merge", str(results), "--output", output])
    assert shown.exit_code == 0, shown.output
    assert "hest: pcc, higher is better, chance 0, ceiling 1, mean over 9 tasks" in shown.output
