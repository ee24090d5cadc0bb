"""Merging: the same bytes in any order, baselines found, contradictions refused."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np
import pytest
from harness.leaderboard.board_file import dump_board
from harness.leaderboard.merge import merge
from harness.leaderboard.read import LoadedResult
from hypothesis import given, settings
from hypothesis import strategies as st
from result_factory import make_block, make_reported, make_result

from harness.board import Cell, Delta, Leaderboard
from harness.errors import DamagedFileError
from harness.results import Result


def board_of(*results: Result, **options: bool) -> Leaderboard:
    """Merge results without files."""
    return merge([LoadedResult(result) for result in results], **options)


def cell_of(board: Leaderboard, model: str, task: str = "toy", stage: str = "last", view: str = "image") -> Cell:
    """Find one cell."""
    (row,) = (row for row in board.rows if row.model == model and row.status == "ok")
    (cell,) = (cell for cell in row.cells if (cell.task, cell.stage, cell.view) == (task, stage, view))
    return cell


def delta_of(cell: Cell, vs: str) -> Delta:
    """Find one delta of a cell."""
    (delta,) = (delta for delta in cell.deltas if delta.vs == vs)
    return delta


def names(cells: Iterable[Cell]) -> list[str]:
    """List tasks of cells."""
    return [cell.task for cell in cells]


SOME = [
    make_result("resnet18", [[0.5, 0.7], [0.4, 0.6]]),
    make_result("untrained:resnet18", np.full((3, 2, 2), [[0.3, 0.4], [0.2, 0.3]])),
    make_result("pixel-mean", [[0.1, 0.2], [0.1, 0.3]]),
    make_result("resnet18", [[0.2, 0.3]], task="other", baselines=["pixel-stats"]),
    make_result("resnet18", [[0.4, 0.6], [0.4, 0.6]], stage="early", stages=["early", "last"]),
    make_reported("uni", 0.45),
]


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_and_repetition_change_no_byte(generator: random.Random) -> None:
    """Merging in any order, or with every result given twice, writes the same file."""
    shuffled = SOME * generator.choice([1, 2])
    generator.shuffle(shuffled)
    assert dump_board(board_of(*shuffled)) == dump_board(board_of(*SOME))


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.permutations(range(6)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_units_changes_no_delta(values: list[float], order: list[int]) -> None:
    """Units written in another order give the same deltas."""
    names_of_units = [f"g{index}" for index in range(6)]
    base = make_result("pixel-mean", [0.1] * 6, units=names_of_units)
    mine = board_of(make_result("resnet18", values, units=names_of_units), base)
    permuted = make_result("resnet18", [values[i] for i in order], units=[names_of_units[i] for i in order])
    assert dump_board(board_of(permuted, base)) == dump_board(mine)


def test_a_trained_model_stands_beside_its_twin_and_the_named_baseline() -> None:
    """.55 against .3 and .175: abs, gain, share; best-shortcut is the higher one; ranks follow the scores."""
    board = board_of(*SOME)
    cell = cell_of(board, "resnet18")
    twin, pixels, best = (delta_of(cell, vs) for vs in ("untrained", "pixel-mean", "best-shortcut"))
    assert (twin.model, twin.view, twin.value) == ("untrained:resnet18", "image", pytest.approx(0.3))
    assert (twin.abs, twin.gain, twin.share) == pytest.approx((0.25, 0.25 / 0.7, 0.3 / 0.55))
    assert pixels.abs == pytest.approx(0.375)
    assert (best.model, best.abs) == ("untrained:resnet18", twin.abs)
    assert [cell_of(board, model).rank for model in ("resnet18", "untrained:resnet18", "pixel-mean")] == [1, 2, 3]
    assert cell_of(board, "resnet18", stage="early").rank is None
    for delta in cell.deltas:
        assert (delta.abs_ci95, delta.gain_ci95, delta.p, delta.p_holm, delta.verdict) == (None,) * 5


def test_a_model_has_no_delta_with_itself_and_none_without_training() -> None:
    """pixel-mean is its own baseline and has no twin; an untrained network neither."""
    board = board_of(*SOME)
    own = cell_of(board, "pixel-mean")
    assert delta_of(own, "pixel-mean").reasons == {"abs": "is_baseline"}
    assert delta_of(own, "untrained").reasons == {"abs": "not_applicable"}
    assert delta_of(cell_of(board, "untrained:resnet18"), "untrained").reasons == {"abs": "not_applicable"}
    assert delta_of(cell_of(board, "untrained:resnet18"), "best-shortcut").model == "pixel-mean"


def test_a_baseline_that_did_not_run_is_null_with_its_command() -> None:
    """The reason is the command that helps: view, stage, changed parameters and options included."""
    board = board_of(
        make_result("vit", [0.5, 0.6], args={"weights": "w.pt", "pool": "avg"}, selected={"protocol.params.k": "3"}),
        make_result("vit", [0.4, 0.6], stage="early", stages=["early", "last"]),
    )
    tuned = cell_of(board, "vit,pool=avg,weights=w.pt")
    assert delta_of(tuned, "pixel-mean").reasons == {
        "abs": "not_run: harness eval --model pixel-mean --tasks toy --set protocol.params.k=3"
    }
    assert delta_of(tuned, "untrained").reasons == {
        "abs": "not_run: harness eval --model untrained:vit,pool=avg --tasks toy@image --set protocol.params.k=3"
    }
    assert delta_of(cell_of(board, "vit", stage="early"), "untrained").reasons == {
        "abs": "not_run: harness eval --model untrained:vit --tasks toy@image --stages early"
    }
    assert delta_of(tuned, "best-shortcut").reasons["abs"].startswith("not_run: harness eval --model vit,")


def test_a_twin_is_of_the_same_stage_and_view_with_options_but_without_weights() -> None:
    """Early is compared with early; weights do not name another twin."""
    stages = ["early", "last"]
    board = board_of(
        make_result("vit", [0.5, 0.6], args={"pool": "avg", "weights": "w.pt"}, stage="early", stages=stages),
        make_result("untrained:vit", [0.1, 0.2], args={"pool": "avg"}, stage="early", stages=stages),
        make_result("untrained:vit", [0.2, 0.3], args={"pool": "avg"}, stages=stages),
        make_result("untrained:vit", [0.3, 0.4], args={"pool": "avg"}, stage="early", stages=stages, view="points"),
    )
    twin = delta_of(cell_of(board, "vit,pool=avg,weights=w.pt", stage="early"), "untrained")
    assert (twin.model, twin.value) == ("untrained:vit,pool=avg", pytest.approx(0.15))


def test_a_named_baseline_of_another_view_stands_in_and_says_so() -> None:
    """cell-count sees points only; where a baseline ran on the same view, that one counts."""
    common = {"baselines": ["cell-count", "pixel-mean"]}
    board = board_of(
        make_result("resnet18", [0.5, 0.6], **common),
        make_result("cell-count", [0.3, 0.3], view="points", **common),
        make_result("pixel-mean", [0.1, 0.1], **common),
        make_result("pixel-mean", [0.2, 0.2], view="graph_image", **common),
    )
    cell = cell_of(board, "resnet18")
    assert (delta_of(cell, "cell-count").view, delta_of(cell, "pixel-mean").view) == ("points", "image")


def test_structure_best_is_the_highest_that_sees_positions_trained_or_not() -> None:
    """Of a trained graph network and cell-count the higher stands; without any such row there is no such delta."""
    image, graph = make_result("resnet18", [0.5, 0.6]), make_result("gcn", [0.4, 0.5], view="points")
    count = make_result("cell-count", [0.3, 0.3], view="points")
    board = board_of(image, graph, count)
    assert delta_of(cell_of(board, "resnet18"), "structure-best").model == "gcn"
    assert delta_of(cell_of(board, "gcn", view="points"), "structure-best").model == "cell-count"
    alone = board_of(image, graph)
    assert delta_of(cell_of(alone, "gcn", view="points"), "structure-best").reasons == {"abs": "is_baseline"}
    assert "structure-best" not in [delta.vs for delta in cell_of(board_of(image), "resnet18").deltas]


@given(st.floats(0.0, 0.3))
@settings(max_examples=25, deadline=None)
def test_a_weaker_baseline_never_moves_best_shortcut(score: float) -> None:
    """One more non-learned model below the best leaves its value where it was."""
    before = delta_of(cell_of(board_of(*SOME), "resnet18"), "best-shortcut")
    extra = make_result("pixel-stats", np.full((2, 2), score * 0.999))
    assert delta_of(cell_of(board_of(*SOME, extra), "resnet18"), "best-shortcut") == before


def test_units_that_differ_are_not_subtracted_and_are_listed() -> None:
    """Two genes against three: null, with how many lack where and the first names."""
    board = board_of(
        make_result("resnet18", [0.5, 0.6], units=["a", "b"]),
        make_result("pixel-mean", [0.1, 0.2, 0.3], units=["b", "c", "d"]),
    )
    delta = delta_of(cell_of(board, "resnet18"), "pixel-mean")
    assert (delta.abs, delta.model, delta.value) == (None, "pixel-mean", pytest.approx(0.2))
    assert delta.reasons["abs"] == (
        "units_differ: of 4 (unit, fold) pairs 2 not in resnet18 (c fold 0, d fold 0) "
        "and 1 not in pixel-mean (a fold 0)"
    )


def test_an_undefined_score_has_no_delta_and_no_rank() -> None:
    """Null stays null: never 0, never last."""
    board = board_of(make_result("resnet18", [math.nan, math.nan]), make_result("pixel-mean", [0.1, 0.2]))
    cell = cell_of(board, "resnet18")
    assert (cell.score, cell.rank, cell.n_undefined) == (None, None, 2)
    assert delta_of(cell, "pixel-mean").reasons == {"abs": "undefined"}
    assert delta_of(cell_of(board, "pixel-mean"), "best-shortcut").reasons == {"abs": "is_baseline"}


def test_other_data_are_not_compared() -> None:
    """Same spec, other files: no delta, no rank, and the board says so."""
    board = board_of(make_result("resnet18"), make_result("pixel-mean", data_hash="99" * 32))
    assert delta_of(cell_of(board, "resnet18"), "pixel-mean").reasons["abs"].startswith("data_differ")
    assert cell_of(board, "resnet18").rank is None
    assert (board.tasks[0].data_hash, board.inference["data_differ"]) == (None, ["toy"])


def test_lower_is_better_ranks_and_selects_the_lowest() -> None:
    """The smallest error is rank 1 and the best shortcut."""
    common = {"higher_is_better": False, "chance": 1.0, "ceiling": 0.0}
    board = board_of(
        make_result("resnet18", [0.2, 0.2], **common),
        make_result("pixel-mean", [0.6, 0.6], **common),
        make_result("single-conv", [0.4, 0.4], **common),
    )
    cell = cell_of(board, "resnet18")
    best = delta_of(cell, "best-shortcut")
    assert (cell.rank, best.model, best.abs, best.gain) == (1, "single-conv", pytest.approx(0.2), pytest.approx(0.5))


def test_equal_scores_share_the_lower_rank() -> None:
    """Two firsts and a third."""
    board = board_of(*(make_result(model, [score]) for model, score in [("a", 0.5), ("b", 0.5), ("c", 0.4)]))
    assert [cell_of(board, model).rank for model in "abc"] == [1, 1, 3]


def test_chance_by_permutation_is_not_known_to_the_board() -> None:
    """A ratio above chance needs a number; abs and gain do not."""
    board = board_of(make_result("resnet18", chance="permutation"), make_result("pixel-mean", [[0.1, 0.2]]))
    delta = delta_of(cell_of(board, "resnet18"), "pixel-mean")
    assert delta.reasons == {"rel": "chance_unknown", "share": "chance_unknown"}
    assert (delta.abs, delta.gain) == pytest.approx((0.35, 0.35 / 0.85))


def test_clipped_shares_are_kept_raw() -> None:
    """A shortcut far above the model: share 1.5, the ratio stands in inference."""
    board = board_of(make_result("resnet18", [0.1, 0.1]), make_result("pixel-mean", [0.4, 0.4], baselines=[]))
    assert delta_of(cell_of(board, "resnet18"), "pixel-mean").share == 1.5
    where = {"model": "resnet18", "task": "toy", "view": "image", "stage": "last"}
    assert board.inference["share_clipped"] == [
        {**where, "vs": vs, "share": pytest.approx(4.0)} for vs in ("pixel-mean", "best-shortcut")
    ]


def test_a_changed_spec_has_a_column_of_its_own() -> None:
    """One spec keeps the task's name; two are told apart by their hash and never compared."""
    plain, changed = make_result("resnet18"), make_result("pixel-mean", spec_hash="12" * 32)
    assert [column.name for column in board_of(plain).tasks] == ["toy"]
    board = board_of(plain, changed)
    assert [column.name for column in board.tasks] == ["toy+12121212", "toy+abababab"]
    delta = delta_of(cell_of(board, "resnet18", "toy+abababab"), "pixel-mean")
    assert delta.reasons["abs"].startswith("not_run")
    version = board_of(plain, make_result("pixel-mean", version=2))
    assert [column.name for column in version.tasks] == ["toy+abababab.v1", "toy+abababab.v2"]


def test_the_order_of_options_makes_no_second_row() -> None:
    """`m,a=1,b=2` and `m,b=2,a=1` are one model."""
    scores = [[0.4, 0.6]]
    board = board_of(
        make_result("m", scores, args={"a": "1", "b": "2"}), make_result("m", scores, args={"b": "2", "a": "1"})
    )
    assert [row.model for row in board.rows] == ["m,a=1,b=2"]


def test_equal_results_are_merged_and_contradictions_name_both() -> None:
    """Provenance may differ; values may not, and the message names both, what differs, and the way out."""
    first, again = make_result("resnet18"), make_result("resnet18", created="2026-02-02T00:00:00+00:00")
    assert len(board_of(first, again).rows) == 1
    other = make_result("resnet18", [[0.4, 0.7]], created="2026-03-03T00:00:00+00:00")
    with pytest.raises(DamagedFileError, match=r"resnet18 on toy@image.*differ in metrics, units.*--prefer newest"):
        board_of(first, other)
    for results in ((first, other), (other, first), (other, again, first)):
        board = board_of(*results, prefer_newest=True)
        assert cell_of(board, "resnet18").score == pytest.approx(0.55)
        assert [left["reason"] for left in board.inference["left_out"]] == ["older"]
    same_time = make_result("resnet18", [[0.4, 0.9]])
    with pytest.raises(DamagedFileError, match="same time"):
        board_of(first, same_time, prefer_newest=True)


def test_partial_results_are_left_out_and_listed() -> None:
    """A result of --limit takes no part in anything."""
    board = board_of(make_result("resnet18"), make_result("pixel-mean", status="partial"))
    assert [row.model for row in board.rows] == ["resnet18"]
    (left,) = board.inference["left_out"]
    assert (left["model"], left["task"], left["reason"]) == ("pixel-mean", "toy", "partial")
    assert delta_of(cell_of(board, "resnet18"), "pixel-mean").abs is None


def test_reported_numbers_stand_beside() -> None:
    """A paper's number has a row and a source, and neither rank nor delta nor part in the others'."""
    own = [make_result("uni", [0.4, 0.6]), make_result("pixel-mean", [0.1, 0.2])]
    board, without = (
        board_of(*own, make_reported("uni", 0.9), make_reported("uni", 0.8, table="Table 2")),
        board_of(*own),
    )
    assert [(row.model, row.status) for row in board.rows] == [("pixel-mean", "ok"), ("uni", "ok"), ("uni", "reported")]
    reported = board.rows[2]
    assert [(cell.score, cell.source.table, cell.rank, cell.deltas) for cell in reported.cells] == [
        (0.8, "Table 2", None, []),
        (0.9, "Table 8", None, []),
    ]
    assert (board.rows[:2], board.tasks) == (without.rows, without.tasks)
    alone = board_of(make_reported("uni", 0.9, task="unseen"))
    assert [(column.name, column.spec_hash) for column in alone.tasks] == [("unseen", None)]


def test_mean_gain_averages_tasks_over_the_twin() -> None:
    """Gains .5 and .2 give .35; a third task without a twin lowers coverage only; views are averaged first."""
    pairs = {"a": (0.5, 0.0), "b": (0.6, 0.5)}
    results = []
    for task, (model, twin) in pairs.items():
        results += [make_result("m", [model], task=task), make_result("untrained:m", [twin], task=task)]
    row = board_of(*results).rows[0]
    assert (row.model, row.mean_gain, row.coverage) == ("m", pytest.approx(0.35), 1.0)
    row = board_of(*results, make_result("m", [0.9], task="c")).rows[0]
    assert (row.mean_gain, row.coverage) == (pytest.approx(0.35), pytest.approx(2 / 3))
    view = [make_result(name, [0.0], task="a", view="points") for name in ("m", "untrained:m")]
    assert board_of(*results, *view).rows[0].mean_gain == pytest.approx((0.25 + 0.2) / 2)
    assert (row.wins, row.ties, row.losses) == (None, None, None)


def group_results(skip: str = "") -> list[Result]:
    """Three tasks of one group, one of them outside the mean; two models."""
    results = []
    for task, score, counts in [("g-a", 0.6, True), ("g-b", 0.4, True), ("g-out", 0.9, False)]:
        common = {"task": task, "group": "g", "in_group_mean": counts}
        results.append(make_result("resnet18", [score], **common))
        if task != skip:
            results.append(make_result("pixel-mean", [score / 2], **common))
    return results


def test_a_group_has_a_column_with_the_mean_of_its_tasks() -> None:
    """(.6 + .4)/2, the task outside the mean left out; deltas are averaged; ranks are the group's own."""
    board = board_of(*group_results())
    assert [(column.name, column.kind, column.members) for column in board.tasks] == [
        ("g", "group", ["g-a", "g-b"]),
        ("g-a", "task", []),
        ("g-b", "task", []),
        ("g-out", "task", []),
    ]
    cell = cell_of(board, "resnet18", "g")
    assert (cell.score, cell.rank, cell.stage, cell.metric) == (pytest.approx(0.5), 1, "last", "pcc")
    delta = delta_of(cell, "pixel-mean")
    assert (delta.model, delta.value, delta.abs) == ("pixel-mean", pytest.approx(0.25), pytest.approx(0.25))
    assert delta.gain == pytest.approx((0.3 / 0.7 + 0.2 / 0.8) / 2)
    assert (delta.rel, delta.share, delta.reasons) == (None, None, {"rel": "per_task", "share": "per_task"})
    assert delta_of(cell, "untrained").reasons["abs"].startswith("not_run: harness eval --model untrained:resnet18")
    assert names(next(row for row in board.rows if row.model == "resnet18").cells) == ["g", "g-a", "g-b", "g-out"]


def test_a_group_mean_with_a_missing_task_is_null_with_its_coverage() -> None:
    """Half of the tasks give no mean, and the board names the one that lacks."""
    board = board_of(*group_results(skip="g-b"))
    cell = cell_of(board, "pixel-mean", "g")
    assert (cell.score, cell.rank, cell.deltas) == (None, None, [])
    assert board.inference["groups"]["g"] == {
        "members": ["g-a", "g-b"],
        "incomplete": [{"model": "pixel-mean", "view": "image", "coverage": 0.5, "missing": ["g-b"]}],
    }


def test_a_group_of_several_specs_or_one_task_has_no_column() -> None:
    """Variants of a task cannot be matched across tasks; a mean of one task is none."""
    variant = make_result("resnet18", task="g-a", group="g", spec_hash="12" * 32)
    board = board_of(*group_results(), variant)
    assert board.inference["groups"]["g"] == {"omitted": "several specs of g-a"}
    assert [column.kind for column in board.tasks] == ["task"] * 4
    assert board_of(variant).inference["groups"]["g"] == {"omitted": "only g-a is there"}


def test_a_result_without_spec_is_refused() -> None:
    """Only reported numbers may lack a spec_hash."""
    with pytest.raises(DamagedFileError, match="spec_hash: null"):
        board_of(make_result("resnet18", spec_hash=None))


def test_seeds_of_a_twin_are_averaged_before_the_delta() -> None:
    """Three seeds of the twin count as their mean and compare with one of the model on the same units."""
    twin = make_block(np.array([0.1, 0.2, 0.6])[:, None, None])
    board = board_of(make_result("resnet18", [0.5]), make_result("untrained:resnet18", twin))
    assert delta_of(cell_of(board, "resnet18"), "untrained").abs == pytest.approx(0.2)
