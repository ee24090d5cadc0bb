"""The command line: exit codes, messages, tables, settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import SHARED, needs_shared
from small_task import enter

from harness.cli import BY_PLUGIN, OWN, main
from harness.plugins import load_registry


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


def call(*arguments: str) -> int:
    """Run the command line and return its exit code."""
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_eval_prints_a_table_and_writes_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of eval shows score, deltas to each baseline, chance, and where the files lie."""
    assert call("eval", "--model", "pixel-stats", "--tasks", "tiny.yaml") == 0
    shown = capsys.readouterr()
    for words in (
        "pixel-stats",
        "count-only",
        "pixel-mean  pixel-stats",
        "chance 0.0417",
        "results/tiny-synthetic@graph_image",
    ):
        assert words in shown.out
    assert (folder / "results/tiny-synthetic@graph_image/pixel-stats.json").is_file()
    assert (folder / "results/tiny-synthetic@points/count-only.json").is_file()


def test_json_prints_results_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line on stdout; everything else goes to stderr."""
    assert (
        call("eval", "--model", "pixel-mean,cell-count", "--tasks", "tiny.yaml", "--json", "--baselines", "none") == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["model"]["name"] for line in lines] == ["pixel-mean", "cell-count"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["eval", "--model", "pixel-men", "--tasks", "tiny.yaml"], 3, "Did you mean pixel-mean"),
        (["eval", "--model", "pixel-mean", "--tasks", "sinthetic"], 3, "Did you mean synthetic"),
        (["eval", "--model", "resnet18", "--tasks", "tiny.yaml", "--stages", "layer9"], 3, "layer1"),
        (["eval", "--model", "pixel-mean", "--tasks", "tiny.yaml@points"], 4, "it takes image or graph_image"),
        (["eval", "--model", "pixel-mean", "--tasks", "none.yaml"], 5, "none.yaml"),
        (["eval", "--model", "pixel-mean", "--tasks", "tiny.yaml", "--set", "protocol.params.lamdas=1"], 2, "lambdas"),
        (["eval", "--model", "pixel-mean", "--tasks", "tiny.yaml", "--seeds", "a"], 2, "whole numbers"),
        (["eval", "--model", "pixel-mean", "--tasks", "tiny.yaml", "--shard", "3/2"], 2, "1 <= I <= N"),
        (["eval", "--model", "untrained:pixel-mean", "--tasks", "tiny.yaml"], 2, "no weights"),
        (["eval", "--model", "resnet18", "--tasks", "tiny.yaml", "--offline"], 5, "weights"),
        (["tasks", "show", "synthetic-max"], 3, "synthetic"),
        (["models", "show", "resnet19"], 3, "resnet18"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_failures_have_their_exit_codes(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of failure has its code and says what to do, on stderr."""
    assert call(*arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_a_mismatch_in_a_matrix_is_a_printed_skip(capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fit is named with its reason; the rest runs."""
    arguments = ["--model", "cell-count,pixel-mean", "--tasks", "tiny.yaml@points", "--baselines", "none"]
    assert call("eval", *arguments) == 0
    assert "skipped: pixel-mean on tiny-synthetic@points" in capsys.readouterr().err


def test_interruption_keeps_what_is_finished(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Ctrl-C exits 130 and leaves the results made before it."""
    from harness import runner

    original = runner.evaluate_pairing

    def stop(registry, pairing, *rest):
        if str(pairing.model.request) == "pixel-stats":
            raise KeyboardInterrupt
        return original(registry, pairing, *rest)

    monkeypatch.setattr(runner, "evaluate_pairing", stop)
    assert call("eval", "--model", "pixel-mean,pixel-stats", "--tasks", "tiny.yaml", "--baselines", "none") == 130
    assert "finished work is kept" in capsys.readouterr().err
    assert (folder / "results/tiny-synthetic@graph_image/pixel-mean.json").is_file()


def test_settings_beat_defaults_and_options_beat_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """harness.yaml here is read; the command line wins; doctor says from where a value comes."""
    (folder / "harness.yaml").write_text("output: elsewhere\nbaselines: none\n")
    assert call("eval", "--model", "cell-count", "--tasks", "tiny.yaml") == 0
    assert [path.name for path in (folder / "elsewhere").rglob("*.json")] == ["cell-count.json"]
    assert call("eval", "--model", "cell-count", "--tasks", "tiny.yaml", "--output", "here") == 0
    assert (folder / "here").is_dir()
    capsys.readouterr()
    assert call("doctor") == 0
    assert "harness.yaml:1" in capsys.readouterr().out
    (folder / "harness.yaml").write_text("outputs: x\n")
    assert call("doctor") == 2
    assert "harness.yaml:1: outputs: unknown setting. Did you mean output?" in capsys.readouterr().err


def test_the_store_can_be_listed_verified_and_cleaned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verify names a damaged shard and exits 7; eval mends it; gc finds drafts of killed runs only when old."""
    arguments = ["--model", "cell-count", "--tasks", "tiny.yaml", "--baselines", "none", "--store", "kept"]
    assert call("eval", *arguments) == 0
    assert call("store", "ls", "--store", "kept") == 0
    assert "cell-count on tiny-synthetic@points" in capsys.readouterr().out
    assert call("store", "verify", "--store", "kept") == 0
    shard = next((folder / "kept").rglob("shard-*.npz"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert call("store", "verify", "--store", "kept") == 7
    assert shard.name in capsys.readouterr().err
    assert call("eval", *arguments) == 0
    assert call("store", "verify", "--store", "kept") == 0
    (shard.parent / "shard-000009-0.npz.abc.draft").write_bytes(b"half")
    assert call("store", "gc", "--store", "kept") == 0
    assert "deleted 0.0 MB" in capsys.readouterr().out
    assert call("store", "gc", "--store", "kept", "--unused-days", "0") == 0
    assert not list((folder / "kept").rglob("entry.json"))


def test_new_tasks_and_models_start_from_working_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks new writes a file that validates; models new a package that imports; neither replaces a file."""
    assert call("tasks", "new", "my-screen") == 0
    assert call("tasks", "validate", "my-screen.yaml") == 0
    assert call("tasks", "new", "my-screen") == 8
    assert call("models", "new", "mylab-vit") == 0
    compile((folder / "mylab-vit/mylab_vit.py").read_text(), "mylab_vit.py", "exec")
    assert call("models", "new", "My Lab") == 2
    assert "exists already" in capsys.readouterr().err


def test_help_of_plugin_commands_is_the_plugins_own() -> None:
    """The help lines kept for a quick --help are those that the plugins announce."""
    announced = {name: text for name, (_, text) in load_registry().commands.items()}
    assert announced == BY_PLUGIN
    assert not set(OWN) & set(BY_PLUGIN)


@pytest.mark.parametrize("command", [[], ["eval"], ["tasks", "ls"], ["models", "check"], ["store", "gc"]])
def test_help_holds_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows how the command is used."""
    assert call(*command, "--help") == 0
    assert "Example" in capsys.readouterr().out


def test_models_check_tries_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    """The lint passes for a random network and names what it saw."""
    assert call("models", "check", "single-conv") == 0
    shown = capsys.readouterr().out
    assert "same seed, same network" in shown
    assert "FAILED" not in shown


@needs_shared
def test_real_tissue_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Hand-crafted features of real patches give PCCs, with both baselines in the table."""
    task = Path(__file__).parents[1] / "examples/her2st/hest.yaml"
    arguments = ["--model", "pixel-stats", "--tasks", str(task), "--data-dir", str(SHARED / "data")]
    assert call("eval", *arguments, "--baselines", "pixel-mean") == 0
    shown = capsys.readouterr().out
    assert "hest-her2st: pcc" in shown
    assert "± 0.0" in shown


def test_a_trial_on_some_samples_says_so(tmp_path, monkeypatch, capsys) -> None:
    """The table has a score like any other; the line below it tells that it is a trial."""
    monkeypatch.chdir(tmp_path)
    base = ["eval", "--model", "pixel-mean", "--tasks", "synthetic-mini@graph_image", "--baselines", "none"]
    main([*base, "--limit", "120", "--store", str(tmp_path / "store")])
    assert "partial: --limit took a part of the samples" in capsys.readouterr().out
