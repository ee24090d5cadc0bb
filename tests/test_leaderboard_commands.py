"""``harness leaderboard``: what a person sees, in 80 and in 120 columns."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from harness.leaderboard.board_file import load_board
from harness.leaderboard.commands import leaderboard
from harness.leaderboard.merge import merge
from harness.leaderboard.read import LoadedResult
from harness.leaderboard.render import render_csv, render_latex, render_markdown, render_text
from result_factory import make_reported, make_result, write_result

from harness.board import Leaderboard
from harness.errors import DamagedFileError, HarnessError, MissingDataError, UsageError

BASELINES = ["untrained", "count-only", "cell-count", "pixel-mean", "pixel-stats", "single-conv"]


def make_board() -> Leaderboard:
    """Merge models of all kinds on one task."""
    common = {"baselines": BASELINES, "chance": 1 / 24, "task": "synthetic_mini", "view": "graph_image"}
    seeds = np.array([0.4, 0.42, 0.44])[:, None, None] * np.ones((1, 1, 2))
    results = [
        make_result("vit-s-16", [0.6, 0.7], exposure="undisclosed", **common),
        make_result("vit-s-16", [0.5, 0.6], stage="block3", stages=["block3", "last"], **common),
        make_result("resnet18", [[0.5, 0.6], [0.7, 0.6]], exposure="exposed", **common),
        make_result("untrained:resnet18", [[0.4, 0.5], [0.3, 0.4]], **common),
        make_result("single-conv", seeds, **common),
        make_result("pixel-mean", [[0.2, 0.2], [0.3, 0.2]], **common),
        make_reported("uni", 0.5, "synthetic_mini"),
    ]
    return merge([LoadedResult(result) for result in results])


def run(folder: Path, *arguments: str) -> Result:
    """Run the command in a folder, with 100 columns."""
    runner = CliRunner(env={"COLUMNS": "100"})
    return runner.invoke(leaderboard, list(arguments), catch_exceptions=True, standalone_mode=True)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two results into the default folder."""
    monkeypatch.chdir(tmp_path)
    for result in (make_result("resnet18"), make_result("pixel-mean", [[0.1, 0.2]])):
        write_result(tmp_path / "results/toy", result)
    return tmp_path


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """Deltas that do not fit are named below the table instead of breaking it."""
    text = render_text(make_board(), width)
    assert max(map(len, text.splitlines())) <= width
    assert ("too wide for this terminal" in text) == (width < 160)


def test_a_table_says_what_its_numbers_are() -> None:
    """Direction, chance, which sd, why a delta is missing, which baseline was best, who saw the data."""
    text = render_text(make_board(), 160)
    for words in (
        "synthetic_mini: pcc, higher is better, chance 0.0417, ceiling 1",
        "resnet18 †",
        "vit-s-16@block3",
        "0.600 ± 0.050",
        "0.420 ± 0.020 s",
        "±: sd over folds (ddof 0)",
        "± … s: sd over seeds (ddof 1)",
        "not run: harness eval --model untrained:vit-s-16 --tasks synthetic_mini@graph_image",
        "uni [1]",
        "[1] reported, not run here: arXiv 2603.13377, Table 8",
        "? training data undisclosed",
        "† trained on data of this task",
        "itself: the model is this baseline",
        "units: scored on different units",
        "best-shortcut: single-conv (untrained:resnet18 for the best one itself)",
        "No intervals yet",
    ):
        assert words in text


def test_rows_stand_in_the_order_of_their_scores() -> None:
    """Best first, reported numbers last."""
    lines = [line.split() for line in render_text(make_board(), 80).splitlines()]
    ranked = [words[1] for words in lines if words and words[0].isdigit()]
    assert ranked == ["vit-s-16", "resnet18", "single-conv", "untrained:resnet18", "pixel-mean"]


def test_several_tasks_get_a_table_over_all() -> None:
    """Scores side by side, ordered by mean gain, incomplete groups said so."""
    results = [
        make_result(model, [score], task=task, group="g")
        for task in ("g-a", "g-b")
        for model, score in [("m", 0.5), ("untrained:m", 0.25), ("pixel-mean", 0.2)]
        if (task, model) != ("g-b", "pixel-mean")
    ]
    text = render_text(merge([LoadedResult(result) for result in results]), 80)
    head, rows = text.splitlines()[1], text.splitlines()[3:6]
    assert head.split() == ["model", "mean", "gain", "of", "tasks", "g", "g-a", "g-b"]
    assert [row.split() for row in rows] == [
        ["m", "+0.333", "100%", "0.500", "0.500", "0.500"],
        ["untrained:m", "0.250", "0.250", "0.250"],
        ["pixel-mean", "incomplete", "0.200"],
    ]


def test_markdown_and_latex_hold_every_column() -> None:
    """No width, no column left out; letters that LaTeX would read are escaped."""
    markdown, latex = render_markdown(make_board()), render_latex(make_board())
    assert "| Δ single-conv |" in markdown
    assert "| 1 | vit-s-16 ? | 0.650 |" in markdown
    assert r"\begin{tabular}{rll" in latex
    assert r"resnet18 \dag{} & 0.600 $\pm$ 0.050" in latex
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert not set("Δ±†‡") & set(body)


def test_csv_has_one_line_a_delta_with_all_digits() -> None:
    """Every delta of the file, null ones with their reasons."""
    board = make_board()
    lines = list(csv.DictReader(io.StringIO(render_csv(board))))
    assert len(lines) == sum(max(1, len(cell.deltas)) for row in board.rows for cell in row.cells)
    line = next(line for line in lines if (line["model"], line["vs"]) == ("resnet18", "untrained"))
    assert (line["baseline"], float(line["abs"])) == ("untrained:resnet18", pytest.approx(0.2))
    missing = next(line for line in lines if (line["model"], line["vs"]) == ("vit-s-16", "untrained"))
    assert missing["abs"] == ""
    assert missing["reason"].startswith("abs: not_run: harness eval")


def test_merge_writes_shows_and_can_be_checked(results: Path) -> None:
    """Default folder and file; show prints the same table; check recomputes both."""
    merged = run(results, "merge")
    assert merged.exit_code == 0, merged.output
    assert "leaderboard.json: 2 rows, 1 column\n" in merged.output
    assert [row.model for row in load_board(results / "leaderboard.json").rows] == ["pixel-mean", "resnet18"]
    shown = run(results, "show")
    assert merged.output.startswith(shown.output)
    first = (results / "leaderboard.json").read_bytes()
    assert run(results, "merge", "results", "results/toy").exit_code == 0
    assert (results / "leaderboard.json").read_bytes() == first
    checked = run(results, "check", "results", "leaderboard.json")
    assert (
        checked.output == "2 metrics of 2 results recomputed from units: all agree; leaderboard.json is what they say\n"
    )
    assert run(results, "check").output.startswith("2 metrics of 2 results")


@pytest.mark.parametrize("form", ["table", "csv", "md", "latex"])
def test_show_has_four_formats(results: Path, form: str) -> None:
    """Each prints the models and nothing that breaks a pipe."""
    run(results, "merge")
    shown = run(results, "show", "leaderboard.json", "--format", form)
    assert shown.exit_code == 0
    assert "resnet18" in shown.output


def test_contradictions_end_the_merge_unless_the_newest_is_preferred(results: Path) -> None:
    """Exit code 7 names both files and writes nothing; --prefer newest merges and says what was left out."""
    newer = make_result("resnet18", [[0.5, 0.7]], created="2027-01-01T00:00:00+00:00")
    write_result(results / "results/again", newer)
    refused = run(results, "merge")
    assert isinstance(refused.exception, DamagedFileError)
    assert refused.exception.exit_code == 7
    for name in ("results/again/resnet18.json", "results/toy/resnet18.json"):
        assert name in str(refused.exception)
    assert not (results / "leaderboard.json").exists()
    assert "1 result left out" in run(results, "merge", "--prefer", "newest").output
    assert run(results, "check", "results", "leaderboard.json").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["merge", "none"], MissingDataError),
        (["show"], MissingDataError),
        (["check", "leaderboard.json"], UsageError),
    ],
)
def test_failures_are_of_the_harness(results: Path, arguments: list[str], error: type[HarnessError]) -> None:
    """What is absent or misused raises the class that has the right exit code."""
    if arguments[0] == "check":
        run(results, "merge")
    assert isinstance(run(results, *arguments).exception, error)


@pytest.mark.parametrize("kind", ["result", "leaderboard"])
def test_schemas_are_printed(results: Path, kind: str) -> None:
    """The output is JSON with a title and a dialect."""
    schema = json.loads(run(results, "schema", kind).output)
    assert (schema["title"].lower(), schema["$schema"]) == (kind, "https://json-schema.org/draft/2020-12/schema")


@pytest.mark.parametrize("command", ["merge", "show", "check", "schema"])
def test_every_command_has_an_example(results: Path, command: str) -> None:
    """Help of each command ends with one that can be typed."""
    assert f"Example:  harness leaderboard {command}" in run(results, command, "--help").output
