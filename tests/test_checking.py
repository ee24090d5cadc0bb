"""The lint for models: what breaks the contract is found and named with what to do, what is meant so is a warning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import toy
import yaml
from safetensors.torch import save_file
from small_task import enter

from harness.build_trials import centred_cosine
from harness.checking import CheckOptions, check
from harness.cli import main
from harness.errors import MismatchError
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.trials import Line

MODEL = '''
import numpy as np
import torch
from torch import nn


class Plain:
    """Mean, spread and corner of every channel."""

    card = {{"views": ["image"], "input": {{"channels": 3, "size": 16, "resize": "none", "mean_std": "none"}},
            "access": {{"licence": "MIT"}}, {card}}}

    def __init__(self, context):
        self.context, self.calls = context, 0
        self.shift = np.random.default_rng(context.seed).normal(size=9)

    def embed(self, batch, stages):
        images = batch.images
        pixels = images.astype(np.float64) / (255 if images.dtype == np.uint8 else 1)
        vectors = np.concatenate([pixels.mean((2, 3)), pixels.std((2, 3)), pixels[:, :, 0, 0]], axis=1)
        {twist}
        return {{stage: vectors.astype(np.float32) for stage in stages}}
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


@pytest.fixture
def lint(folder: Path) -> Callable[..., dict[str, Line]]:
    """Return a function that checks a model whose embedding is twisted by one line of code."""

    def go(twist: str = "pass", card: str = "", prefix: str = "") -> dict[str, Line]:
        path = folder / f"m{abs(hash((twist, card)))}.py"
        path.write_text(MODEL.format(twist=twist, card=card))
        (request,) = parse_models(f"{prefix}file:{path}:Plain")
        return {line.name: line for line in check(load_registry(), request, RunOptions())}

    return go


def states(lines: dict[str, Line]) -> set[str]:
    """Return the states that occur."""
    return {line.state for line in lines.values()}


def test_a_good_model_passes(lint) -> None:
    """Every line is ok and there is nothing to do."""
    lines = lint()
    assert states(lines) == {"ok"}
    assert {line.advice for line in lines.values()} == {""}
    assert lines["length as on the card"].seen == "card None, answer 9"


@pytest.mark.parametrize(
    ("twist", "name", "words"),
    [
        ("vectors = vectors[:-1]", "answers", "embed(batch, stages) returns"),
        ("vectors[0, 0] = np.nan", "answers", "finite"),
        ("self.calls += 1; vectors = vectors + self.calls", "repeats itself", "dropout"),
        ("vectors = vectors - vectors.mean(0)", "same answer alone as in a batch", "normalising by batch"),
        ("vectors = vectors + np.arange(len(vectors))[:, None]", "order of samples does not matter", "batch"),
        ("vectors = vectors * 0 + 1", "tells samples apart", "init=active"),
        ("images *= 0", "leaves its input alone", "copy"),
        (
            "vectors = vectors * (255 if images.dtype == np.uint8 else 1)", "uint8 and float32 are one image",
            "divide uint8 by 255",
        ),
        ("vectors = (vectors - vectors[:, :1]) / pixels.std((1, 2, 3))[:, None]", "black, grey and white images",
         "add a small number"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_contract_is_found(twist: str, name: str, words: str, lint) -> None:
    """The line of the check has failed and says what to do."""
    line = lint(twist)[name]
    assert line.state == "failed"
    assert words in line.advice


@pytest.mark.parametrize(
    ("twist", "name"),
    [
        ("vectors = np.sort(vectors.reshape(-1, 3, 3), axis=2).reshape(-1, 9)", "order of channels counts"),
        ("vectors = (pixels > pixels.mean((2, 3), keepdims=True))[:, :, :3, :3].reshape(len(pixels), -1) * 1.0",
         "brightness counts"),
    ],
)  # fmt: skip
def test_what_may_be_meant_so_is_a_warning(twist: str, name: str, lint) -> None:
    """A model that does not see brightness, or the order of channels, keeps the contract."""
    lines = lint(twist)
    assert lines[name].state in ("warning", "ok")
    assert "warning" in states(lines)
    assert "failed" not in states(lines)
    assert lines["order of channels counts"].state == "warning" or lines["brightness counts"].state == "warning"


def test_a_card_that_says_too_little_is_a_warning(folder: Path) -> None:
    """Without licence, normalisation or exposure a model runs, and the lint names the keys of the card."""
    path = folder / "bare.py"
    source = NETWORK.format(network=SMALL.format(tail=""), after="pass")
    bare = source.replace(', "mean_std": "none"', "").replace('"access": {"licence": "MIT"},', "")
    path.write_text(bare.replace('"requires"', '"weights": {"source": "hf-hub:lab/net"}, "requires"'))
    (request,) = parse_models(f"file:{path}:model")
    lines = {line.name: line for line in check(load_registry(), request, RunOptions(dtype="float32"))}
    for name, words in (
        ("licence on the card", "access: {licence"),
        ("transform on the card", "input: {size, mean, std}"),
        ("exposure on the card", "exposure: {data set"),
    ):
        assert lines[name].state == "warning"
        assert words in lines[name].advice


def test_a_network_that_names_no_library_needs_a_transform_too(folder: Path) -> None:
    """What a card requires is not what tells whether it looks at pixels."""
    path = folder / "bare.py"
    source = NETWORK.format(network=SMALL.format(tail=""), after="pass")
    path.write_text(source.replace(', "mean_std": "none"', "").replace('"requires": ["torch"],', ""))
    (request,) = parse_models(f"file:{path}:model")
    lines = {line.name: line for line in check(load_registry(), request, RunOptions(dtype="float32"))}
    assert lines["transform on the card"].state == "warning"
    (request,) = parse_models("pixel-stats")
    assert "transform on the card" not in {line.name for line in check(load_registry(), request, RunOptions())}


def mirror(folder: Path, digest: str | None) -> tuple[str, str]:
    """Put weights of a small network into a mirror, and write its card; return the model string and the sha256."""
    place = folder / "mirror/lab/net/model.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18", num_classes=0).state_dict(), place)
    found = hashlib.sha256(place.read_bytes()).hexdigest()
    weights = {"source": "hf-hub:lab/net", "sha256": found[:12] if digest == "right" else digest}
    card = {
        "name": "net",
        "build": "harness.models.timm_backbone:build",
        "arch": "resnet18",
        "kwargs": {"num_classes": 0},
        "weights": weights,
        "input": {"size": 64, "mean": [0.5] * 3, "std": [0.5] * 3},
        "output": {"pooling": "gap", "stages": {"last": 4}},
        "options": ["weights"],
    }
    (folder / "net.yaml").write_text(yaml.safe_dump(card))
    return "file:net.yaml", found


@pytest.mark.parametrize(
    ("digest", "own", "state", "words"),
    [
        ("right", False, "ok", ""),
        ("right", True, "ok", ""),
        (None, False, "skipped", "; the card names none"),
        ("0" * 12, True, "skipped", ", of weights=mirror/lab/net/model.safetensors"),
    ],
)
def test_weights_are_compared_with_the_card(
    digest: str | None, own: bool, state: str, words: str, folder: Path
) -> None:
    """One line says whether the file is the one that the card names."""
    text, found = mirror(folder, digest)
    (request,) = parse_models(text + (",weights=mirror/lab/net/model.safetensors" if own else ""))
    lines = check(load_registry(), request, RunOptions(data_dirs=(folder / "mirror",), offline=True))
    (line,) = [one for one in lines if one.name == "weights are the card's"]
    assert (line.state, line.seen) == (state, f"sha256 {found[:16]}…{words}")


def test_weights_of_another_hash_end_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal is that of an evaluation, and nothing is built before; a twin has no weights to compare."""
    text, found = mirror(folder, "0" * 12)
    with pytest.raises(SystemExit) as stop:
        main(["models", "check", text, "--data-dir", "mirror", "--offline"])
    assert stop.value.code == 5
    shown = " ".join(capsys.readouterr().err.split())
    assert f"is not the file its card names: expected sha256 000000000000…, found {found[:16]}…" in shown
    lines = check(load_registry(), parse_models(f"untrained:{text}")[0], RunOptions(offline=True))
    assert "weights are the card's" not in {line.name for line in lines}


def test_an_unknown_twin_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """The prefix does not hide what was meant."""
    with pytest.raises(SystemExit) as stop:
        main(["models", "check", "untrained:resnt18"])
    assert stop.value.code == 3
    assert "unknown model 'resnt18'. Did you mean resnet18" in capsys.readouterr().err


def test_stages_that_depend_on_the_question_are_found(lint) -> None:
    """A stage that is another alone than among all is named."""
    card = '"output": {"stages": {"shallow": 0, "deep": 1}}'
    good, bad = lint(card=card), lint("vectors = vectors * len(stages)", card)
    name = "each stage alone equals it among all"
    assert good[name].state == "ok"
    assert (bad[name].state, bad[name].seen[:8]) == ("failed", "shallow:")


@pytest.mark.parametrize(
    ("twist", "name", "state"),
    [
        ("vectors = vectors + self.shift", "other seed, other network", "ok"),
        ("pass", "other seed, other network", "failed"),
        ("vectors = vectors + self.shift + id(self) % 97", "same seed, same network", "failed"),
    ],
)
def test_seeds_of_twins(twist: str, name: str, state: str, lint) -> None:
    """The same seed must give the same network, another seed another."""
    lines = lint(twist, '"untrained": {"twin": "library"}', "untrained:")
    assert lines[name].state == state


NETWORK = """
import torch
from torch import nn
import harness

{network}

def model(context):
    torch.manual_seed(0)
    made = harness.TorchModel(Network(), context)
    {after}
    return made

model.card = {{"views": ["image"], "access": {{"licence": "MIT"}},
              "input": {{"channels": 3, "size": 16, "resize": "none", "mean_std": "none"}},
              "requires": ["torch"], "dtypes": ["float32", "bfloat16"]}}
"""
SMALL = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, 8)

    def forward(self, pixels):
        return self.head(self.net(pixels).mean((2, 3))) {tail}
"""


def network_lines(folder: Path, after: str, tail: str = "", **options: object) -> dict[str, Line]:
    """Check a small network that is changed after it was wrapped."""
    path = folder / f"n{abs(hash((after, tail)))}.py"
    path.write_text(NETWORK.format(network=SMALL.format(tail=tail), after=after))
    (request,) = parse_models(f"file:{path}:model")
    return {line.name: line for line in check(load_registry(), request, RunOptions(**options))}


def test_training_mode_and_gradients_are_found(folder: Path) -> None:
    """A network left in training mode is named with its part, and its effects show as well."""
    good = network_lines(folder, "pass", dtype="float32")
    assert states(good) == {"ok"}
    bad = network_lines(folder, "made.module.train().requires_grad_(True)", dtype="float32")
    assert bad["in inference mode"].state == "failed"
    assert "Network" in bad["in inference mode"].seen
    assert bad["frozen"].state == "failed"
    assert bad["repeats itself"].state == "failed"


def test_number_formats_are_compared_by_what_tells_samples_apart(folder: Path) -> None:
    """Half precision that keeps the differences passes; a large common part that swallows them does not."""
    good = network_lines(folder, "pass")["bfloat16 against float32"]
    assert good.state == "ok"
    assert good.seen.startswith("mean cosine 0.999") or good.seen.startswith("mean cosine 1.0")
    assert good.seen.endswith("over 64 generated samples, their mean taken away")
    bad = network_lines(folder, "pass", "+ pixels.new_tensor(300.0).to(self.head(pixels.new_zeros(1, 8)).dtype)")
    assert bad["bfloat16 against float32"].state == "failed"
    assert "--dtype float32" in bad["bfloat16 against float32"].advice


def test_a_slow_comparison_waits_to_be_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take minutes is left out with its price, and done with --thorough."""
    monkeypatch.setattr("harness.checking._PATIENCE", 0.0)
    line = network_lines(folder, "pass")["bfloat16 against float32"]
    assert (line.state, line.passed) == ("skipped", True)
    assert "--thorough" in line.advice
    (path,) = folder.glob("n*.py")
    (request,) = parse_models(f"file:{path}:model")
    lines = check(load_registry(), request, RunOptions(), CheckOptions(thorough=True))
    assert [one.state for one in lines if one.name == line.name] == ["ok"]


def test_the_centred_cosine_sees_what_a_plain_one_hides() -> None:
    """Vectors that share a large part have cosine 1 and a centred cosine of what is left; no spread is undefined."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 64, 30))
    assert abs(centred_cosine(one + 1000, two + 1000)) < 0.1
    assert centred_cosine(one, 3 * one + 5) == pytest.approx(1)
    assert centred_cosine(np.ones((4, 3)), np.ones((4, 3))) is None


def test_real_samples_are_spread_over_the_task(tmp_path: Path) -> None:
    """With a task the samples are its own; a model that cannot run it is refused with the reason."""
    registry = toy.registry(tmp_path)
    toy.CALLS.clear()
    (request,) = parse_models("toy-sum")
    lines = list(check(registry, request, RunOptions(), CheckOptions("toy")))
    assert lines[0].state == "ok"
    assert toy.CALLS[0][0] == "toy/0000"
    assert toy.CALLS[0][-1] > "toy/0200"
    with pytest.raises(MismatchError, match="it takes points; the task offers image"):
        list(check(registry, parse_models("toy-points")[0], RunOptions(), CheckOptions("toy")))


def test_the_command_prints_one_line_a_check_and_exits_6(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Failures are in capitals with what to do; warnings alone exit 0."""
    (folder / "model.py").write_text(MODEL.format(twist="vectors = vectors * 0 + 1", card=""))
    with pytest.raises(SystemExit) as stop:
        main(["models", "check", "file:model.py:Plain"])
    assert stop.value.code == 6
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("tells samples apart"))
    assert "FAILED" in row
    assert "init=active" in " ".join(shown.split())
    main(["models", "check", "pixel-stats"])
    assert "FAILED" not in capsys.readouterr().out
