"""The line from spec to result on a toy world."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import toy

from harness.errors import (
    CannotWriteError,
    MismatchError,
    ModelOutputError,
    PluginError,
    SpecError,
    UnknownNameError,
    UsageError,
)
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.results import load_result
from harness.runner import RunReport, evaluate, run
from harness.store import Store


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs models on the toy task, with a store and an output of its own."""
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))
    registry = toy.registry(tmp_path)
    toy.CALLS.clear()

    def go(models: str, tasks: str = "toy", **options) -> RunReport:
        options = {"baselines": "none", "store": str(tmp_path / "store"), "output": tmp_path / "out", **options}
        return run(parse_models(models), tasks, RunOptions(**options), registry=registry)

    go.registry, go.folder = registry, tmp_path
    return go


def without_provenance(path: Path) -> dict:
    """Read a result and leave out what may differ between two equal runs."""
    value = json.loads(path.read_text())
    del value["provenance"]
    return value


def test_a_model_and_a_task_give_a_result_file(world) -> None:
    """A run writes OUTPUT/task/model.json with value, atoms and the hashes that identify them."""
    report = world("toy-sum")
    (path,) = report.paths
    assert path == world.folder / "out" / "toy" / "toy-sum.json"
    result = load_result(path)
    assert (result.status, result.stage, result.view) == ("ok", "deep", "image")
    assert result.units["sharpness"].unit == ["a", "b", "c", "d"]
    assert result.metrics["sharpness"].value == pytest.approx(np.mean(result.units["sharpness"].value), abs=1e-15)
    assert result.units_file is not None
    assert (path.parent / result.units_file.path).is_file()


def test_a_second_run_embeds_nothing_and_gives_the_same_bytes(world) -> None:
    """Everything but the provenance is equal, and no model is called."""
    (path,) = world("toy-sum").paths
    first, calls = without_provenance(path), len(toy.CALLS)
    report = world("toy-sum")
    assert without_provenance(path) == first
    assert len(toy.CALLS) == calls
    assert report.results[0].provenance.n_embedded == 0


def test_stages_come_from_one_pass_and_are_stored_apart(world) -> None:
    """All stages cost the calls of one; the last alone is then in the store."""
    report = world("toy-sum", stages="all")
    calls = len(toy.CALLS)
    assert [result.stage for result in report.results] == ["shallow", "deep"]
    assert [path.name for path in report.paths] == ["toy-sum@shallow.json", "toy-sum.json"]
    world("toy-sum")
    assert len(toy.CALLS) == calls == len(set(toy.CALLS))


def test_seeds_are_laid_under_one_another(world) -> None:
    """An untrained twin gives one result with the atoms of each seed and a seed sd."""
    (result,) = world("untrained:toy-sum", seeds=(0, 1, 2)).results
    assert sorted(set(result.units["sharpness"].seed)) == [0, 1, 2]
    assert result.headline.seed_sd is not None
    assert result.headline.n_seeds == 3
    assert result.model.training == "untrained"


def test_models_never_share_an_entry(world) -> None:
    """A model, its twin, its seeds and its options have entries of their own."""
    world("toy-sum,untrained:toy-sum,toy-mean", seeds=(0, 1))
    titles = [entry.facts()["title"] for entry in Store(str(world.folder / "store")).entries()]
    assert len(titles) == len(set(titles)) == 4
    world("toy-sum,fault=none")
    assert len(list(Store(str(world.folder / "store")).entries())) == 5


def test_a_damaged_shard_is_named_and_only_it_is_computed_again(world) -> None:
    """Flipping one byte costs one shard, a warning with its name, and changes no byte of the result."""
    (path,) = world("toy-sum").paths
    first = without_provenance(path)
    (entry,) = Store(str(world.folder / "store")).entries()
    victim = Path(entry.path) / entry.shards()[1]
    content = bytearray(victim.read_bytes())
    content[200] ^= 1
    victim.write_bytes(content)
    toy.CALLS.clear()
    from harness.progress import Silent

    silent = Silent()
    options = RunOptions(baselines="none", store=str(world.folder / "store"), output=world.folder / "out")
    run(parse_models("toy-sum"), "toy", options, registry=world.registry, progress=silent)
    assert {ids[0] for ids in toy.CALLS} >= {"toy/0256"}
    assert sum(map(len, toy.CALLS)) == 256
    assert victim.name in silent.warnings[0]
    assert without_provenance(path) == first


def test_an_interrupted_run_goes_on_where_it_stopped(world) -> None:
    """Shards written before a failure are not computed again, and the bytes are those of a run in one piece."""
    with pytest.MonkeyPatch.context() as patch:
        original = toy.ToyModel.embed

        def stop_late(self, batch, stages):
            if "toy/0520" in batch.ids:
                raise KeyboardInterrupt
            return original(self, batch, stages)

        patch.setattr(toy.ToyModel, "embed", stop_late)
        with pytest.raises(KeyboardInterrupt):
            world("toy-sum")
    toy.CALLS.clear()
    (path,) = world("toy-sum").paths
    assert min(ids[0] for ids in toy.CALLS) == "toy/0512"
    whole = world("toy-sum", store=str(world.folder / "other"), output=world.folder / "whole").paths[0]
    assert without_provenance(path) == without_provenance(whole)


def test_two_runs_at_the_same_time_share_a_store(world) -> None:
    """Both end right although both write the same shards."""
    reports: list[RunReport] = []
    runs = [
        threading.Thread(target=lambda name=name: reports.append(world("toy-sum", output=world.folder / name)))
        for name in ("one", "two")
    ]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert len(reports) == 2
    files = [without_provenance(report.paths[0]) for report in reports]
    assert files[0] == files[1]
    assert not [draft for entry in Store(str(world.folder / "store")).entries() for draft in entry.drafts()]


def test_shares_of_the_store_add_up(world) -> None:
    """Two shares embed everything, write no result, and the run after them embeds nothing."""
    for share in ((0, 2), (1, 2)):
        report = world("toy-sum", share=share)
        assert report.results == []
        assert report.shares == ["toy-sum on toy@image"]
    assert sum(map(len, toy.CALLS)) == 600
    assert world("toy-sum").results[0].provenance.n_embedded == 0


def test_a_begun_entry_keeps_its_batch_size(world) -> None:
    """Going on with another --batch-size uses the stored one, so that bytes do not depend on the interruption."""
    world("toy-sum", share=(0, 2), batch_size=16)
    toy.CALLS.clear()
    (result,) = world("toy-sum", batch_size=64).results
    assert max(map(len, toy.CALLS)) == 16
    assert result.provenance.batch_size == 16


def test_a_changed_parameter_has_a_file_and_a_hash_of_its_own(world) -> None:
    """--set enters spec_hash and the folder's name; the unchanged result stays."""
    plain = world("toy-sum").results[0]
    report = world("toy-sum", changes={"protocol.params.scale": "0.5"})
    (changed,) = report.results
    assert changed.task.spec_hash != plain.task.spec_hash
    assert report.paths[0].parent.name == f"toy+{changed.task.spec_hash[:8]}"
    assert changed.provenance.n_embedded == 0
    default = world("toy-sum", changes={"protocol.params.scale": "1.0"}).results[0]
    assert default.task.spec_hash == plain.task.spec_hash


def test_cheap_baselines_run_beside_the_model(world) -> None:
    """Tiny models that the task names are added; `all` adds the untrained twin."""
    names = [result.model_string for result in world("toy-sum", baselines="cheap").results]
    assert names == ["toy-sum", "toy-mean"]
    names = [result.model_string for result in world("toy-sum", baselines="all").results]
    assert names == ["toy-sum", "toy-mean", "untrained:toy-sum"]


def test_partial_results_say_so_and_do_not_replace_whole_ones(world) -> None:
    """--limit marks the result, and refuses to overwrite a whole one before anything is embedded."""
    world("toy-sum")
    toy.CALLS.clear()
    report = world("toy-sum", limit=100)
    assert isinstance(report.failures[0][1], CannotWriteError)
    assert "holds a result of another data, status" in str(report.failures[0][1])
    assert toy.CALLS == []
    (result,) = world("toy-sum", limit=100, output=world.folder / "small").results
    assert result.status == "partial"


def test_a_whole_result_takes_the_place_of_a_trial(world) -> None:
    """What --limit made keeps nobody from running the task."""
    (trial,) = world("toy-sum", limit=100).results
    report = world("toy-sum")
    assert not report.failures
    assert [result.status for result in report.results] == ["ok"]
    assert trial.status == "partial"
    assert load_result(report.paths[0]).status == "ok"


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("nan", ModelOutputError, "toy/0300"),
        ("length", ModelOutputError, "from sample toy/0320"),
        ("rows", ModelOutputError, "expected (32, D)"),
        ("raise", PluginError, "toy broke"),
    ],
)
def test_faulty_models_are_named(world, fault: str, error: type[Exception], words: str) -> None:
    """NaN, a changed vector length, missing rows and exceptions name model, stage and sample (exit 6)."""
    report = world(f"toy-sum,fault={fault},toy-mean")
    title, failure = report.failures[0]
    assert isinstance(failure, error)
    assert words in str(failure)
    assert failure.exit_code == 6
    assert "toy-sum" in title
    assert [result.model_string for result in report.results] == ["toy-mean"]


@pytest.mark.parametrize(
    ("models", "tasks", "options", "error", "words"),
    [
        ("toy-sun", "toy", {}, UnknownNameError, "toy-sum"),
        ("toy-sum", "tou", {}, UnknownNameError, "toy"),
        ("toy-sum", "toy", {"stages": "depp"}, UnknownNameError, "deep"),
        ("toy-sum", "toy@points", {}, UnknownNameError, "image"),
        ("toy-sum,falt=1", "toy", {}, UsageError, "fault"),
        ("untrained:toy-mean", "toy", {}, UsageError, "no weights"),
        ("toy-sum", "toy", {"changes": {"protocol.params.scal": "2"}}, SpecError, "scale"),
        ("toy-sum", "toy", {"changes": {"title": "x"}}, UsageError, "protocol.params"),
        ("toy-points", "toy", {}, MismatchError, "it takes points; the task offers image"),
    ],
)
def test_wrong_names_are_refused_before_anything_runs(world, models, tasks, options, error, words) -> None:
    """Unknown names offer the nearest; nothing is embedded."""
    with pytest.raises(error, match=words):
        world(models, tasks, **options)
    assert toy.CALLS == []


def test_a_read_only_store_is_an_error_that_loses_nothing(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while writing the second shard: exit 8, and the first shard stays usable."""
    from harness.store import Entry

    original = Entry._put

    def full(self, name, content):
        if name.startswith("shard-000001"):

            def refuse(*_args, **_kwargs):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(self.fs, "pipe_file", refuse)
        return original(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Entry, "_put", full)
        report = world("toy-sum")
        assert report.failures[0][1].exit_code == 8
        assert "No space left" in str(report.failures[0][1])
    monkeypatch.undo()
    toy.CALLS.clear()
    run_again = world("toy-sum")
    assert min(ids[0] for ids in toy.CALLS) == "toy/0256"
    assert run_again.results


def test_python_and_command_line_take_one_path(world) -> None:
    """harness.evaluate gives what the command gives."""
    (by_command,) = world("toy-sum").results
    (by_python,) = evaluate(
        "toy-sum", "toy", registry=world.registry, baselines="none", output=None, store=str(world.folder / "store")
    )
    assert by_python.model_copy(update={"provenance": None, "units_file": None}) == by_command.model_copy(
        update={"provenance": None, "units_file": None}
    )
    with pytest.raises(UsageError, match="known"):
        evaluate("toy-sum", "toy", registry=world.registry, sores=1)
