"""Models in a file of one's own: found, called, checked, and known by the code that shapes their numbers."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.models.file_model import build, file_card
from small_task import enter

from harness import ModelCard, evaluate
from harness.errors import (
    HarnessError,
    MissingDataError,
    PluginError,
    SpecError,
    UnknownNameError,
    UsageError,
)
from harness.modelstring import parse_models
from harness.plugins import load_registry
from harness.results import Result
from harness.selection import select_model
from harness.types import Batch, BuildContext, DataContext

MODELS = '''\
import numpy as np
import torch
from torch import nn

WIDTH = 5


class Means:
    """Means of the channels, times a factor."""

    factor = 1.0

    def embed(self, batch, stages):
        pixels = batch.images.astype(np.float32).mean(axis=(2, 3))
        return {stage: self.factor * pixels for stage in stages}


class Staged(Means):
    card = {
        "views": ["image"],
        "label": "Staged means",
        "output": {"stages": {"early": 0, "late": 1}},
        "options": ["factor"],
        "untrained": {"twin": "library"},
        "kwargs": {"depth": 2},
    }

    def __init__(self, context):
        self.factor = float(context.options.get("factor", 1)) + context.seed + 10 * context.untrained
        self.depth = context.card.kwargs["depth"]


def network():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, pixels):
        return self.layer(pixels.mean(dim=(2, 3)))


def positional(ctx):
    return Staged(ctx)


def named(width=3, *, context):
    assert width == 3
    return Staged(context)


def beside_defaults(width=3, context=None):
    assert width == 3
    return Staged(context)


for factory in (positional, named, beside_defaults):
    factory.card = Staged.card


def returns_a_list():
    return [1, 2]


def misspelt():
    return Means()


misspelt.card = {"vews": ["image"]}


def not_a_dict():
    return Means()


not_a_dict.card = ["image"]
'''
BATCH = Batch(("a", "b"), "image", images=np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))
MEANS = BATCH.images.mean(axis=(2, 3))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    (tmp_path / "mine.py").write_text(MODELS)
    return enter(tmp_path, monkeypatch)


def card(text: str) -> ModelCard:
    """Make the card of ``file:text``."""
    return file_card(text, DataContext())


def embed(text: str, stage: str = "last", **changes: object) -> np.ndarray:
    """Build the model of ``file:text`` and embed two images."""
    context = replace(BuildContext(card(text)), **changes)
    return np.asarray(build(context).embed(BATCH, [stage])[stage])


def failure(text: str, kind: type[HarnessError], code: int) -> str:
    """Select and build ``file:text``, which must fail; return the message."""
    with pytest.raises(kind) as caught:
        build(BuildContext(card(text)))
    assert caught.value.exit_code == code
    return str(caught.value)


def test_a_class_with_embed_is_a_model() -> None:
    """An object that has embed() is used as it is; images reach it unchanged, in any number of channels."""
    np.testing.assert_allclose(embed("mine.py:Means"), MEANS, rtol=1e-6)
    made = card("mine.py:Means")
    assert (made.name, made.label, made.stages, made.input.channels) == ("file-mine-means", "Means", ["last"], "any")
    assert made.untrained.twin == "none"


@pytest.mark.parametrize(("name", "width"), [("network", 5), ("Net", 4)])
def test_a_network_is_wrapped(name: str, width: int) -> None:
    """A function that returns a module, or a module's class, gives its forward pass on pixels in [0, 1]."""
    answer = embed(f"mine.py:{name}")
    assert answer.shape == (2, width)
    assert answer.dtype == np.float32
    assert (answer == embed(f"mine.py:{name}", seed=0)).all()
    assert (answer != embed(f"mine.py:{name}", seed=1)).any()
    assert np.ptp(answer, axis=0).max() > 0


def test_a_network_sees_pixels_between_0_and_1() -> None:
    """The wrapped network's answer is that of the network itself on pixels divided by 255."""
    made = build(BuildContext(card("mine.py:Net")))
    with torch.inference_mode():
        wanted = made._module(torch.from_numpy(BATCH.images).float() / 255)
    np.testing.assert_allclose(made.embed(BATCH, ["last"])["last"], wanted.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["Staged", "positional", "named", "beside_defaults"])
def test_the_context_is_handed_over(name: str) -> None:
    """A needed argument, whatever its name, and one called context, wherever it stands, get the context."""
    answer = embed(f"mine.py:{name}", "early", seed=2, options={"factor": "3"}, untrained=True)
    np.testing.assert_allclose(answer, 15 * MEANS, rtol=1e-6)


def test_the_card_of_an_object_is_laid_over() -> None:
    """Stages, views, options, twin, label and further kwargs come from the object's own dict."""
    made = card("mine.py:Staged")
    assert (made.stages, made.views, made.options) == (["early", "late"], ["image"], ["factor"])
    assert (made.label, made.untrained.twin, made.kwargs["depth"]) == ("Staged means", "library", 2)
    assert made.build == "harness.models.file_model:build"


@pytest.mark.parametrize(
    ("text", "kind", "code", "words"),
    [
        ("none.py:Means", MissingDataError, 5, "file:none.py: no such file (looked for it in "),
        ("none.yaml", MissingDataError, 5, "none.yaml"),
        ("mine.py:Meens", UnknownNameError, 3, "unknown object of mine.py 'Meens'. Did you mean Means?"),
        ("mine.py:WIDTH", UsageError, 2, "mine.py: WIDTH is a int; expected a class or function"),
        ("mine.py", UsageError, 2, "expected file:PATH.py:OBJECT or file:CARD.yaml"),
        ("mine.py:", UsageError, 2, "expected file:PATH.py:OBJECT or file:CARD.yaml"),
        ("mine.txt:Means", UsageError, 2, "expected file:PATH.py:OBJECT or file:CARD.yaml"),
        ("mine.py:returns_a_list", PluginError, 6, "mine.py: returns_a_list returned list; expected an nn.Module or"),
        ("mine.py:misspelt", SpecError, 2, "mine.py: misspelt.card: vews: unknown key. Did you mean views?"),
        ("mine.py:not_a_dict", SpecError, 2, "mine.py: not_a_dict.card: expected a dict of fields of a card"),
    ],
)
def test_failures_say_what_and_where(text: str, kind: type[HarnessError], code: int, words: str) -> None:
    """Each way to be wrong has its exit code and names file, object and what was expected."""
    assert words in failure(text, kind, code)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_library", "bad.py cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("def f(:", "bad.py cannot be imported: SyntaxError"),
        ("raise SystemExit('bye')", "bad.py cannot be imported: SystemExit: bye"),
    ],
)
def test_a_file_that_cannot_be_imported_is_a_failed_plugin(source: str, words: str, folder: Path) -> None:
    """Whatever a file raises when it is imported is told in one line, and a mended file is then read."""
    (folder / "bad.py").write_text(source)
    assert words in failure("bad.py:Means", PluginError, 6)
    (folder / "bad.py").write_text(MODELS)
    assert embed("bad.py:Means").shape == (2, 3)


def test_a_card_file_is_read_with_its_lines(folder: Path) -> None:
    """file:CARD.yaml is a card of one's own; an error in it names file and line."""
    text = "name: my-net\nbuild: harness.models.pixels:build_mean\ninput: {channels: any}\n"
    (folder / "my.yaml").write_text(text)
    made = card("my.yaml")
    assert (made.name, made.label, made.input.channels) == ("my-net", "file:my.yaml", "any")
    (folder / "my.yaml").write_text(text + "buidl: x\n")
    assert "my.yaml:4: buidl: unknown key. Did you mean build?" in failure("my.yaml", SpecError, 2)


def test_a_twin_needs_a_card_that_has_one() -> None:
    """untrained:file:... is refused for an object whose card says nothing of a twin."""
    registry, context = load_registry(), DataContext()
    (request,) = parse_models("untrained:file:mine.py:Means")
    with pytest.raises(UsageError, match=r"no weights to leave untrained; ask for file:mine\.py:Means") as caught:
        select_model(registry, request, context)
    assert caught.value.exit_code == 2
    (request,) = parse_models("untrained:file:mine.py:Staged,factor=2")
    assert select_model(registry, request, context).random


def test_modules_beside_the_file_are_found_and_kept_apart(folder: Path) -> None:
    """A file imports what lies beside it; a module of the same name beside another file is another one."""
    text = "import helper, parts.scale\nfrom mine import Means\n\n\nclass Mine(Means):\n    def __init__(self):\n"
    text += "        import later\n        self.factor = helper.FACTOR * parts.scale.FACTOR * later.FACTOR\n"
    before = list(sys.path)
    for name, factor in (("one", 2), ("two", 3)):
        (folder / name / "parts").mkdir(parents=True)
        (folder / name / "model.py").write_text(text)
        (folder / name / "mine.py").write_text(MODELS)
        (folder / name / "helper.py").write_text(f"FACTOR = {factor}")
        (folder / name / "parts/__init__.py").write_text("")
        (folder / name / "parts/scale.py").write_text(f"FACTOR = {10 * factor}")
        (folder / name / "later.py").write_text("FACTOR = 1")
    for name, factor in (("one", 40), ("two", 90), ("one", 40)):
        np.testing.assert_allclose(embed(f"{name}/model.py:Mine"), factor * MEANS, rtol=1e-6)
    assert sys.path == before
    assert not {"helper", "parts", "parts.scale", "later", "mine"} & set(sys.modules)


@pytest.mark.parametrize("edited", ["mine.py", "helper.py", "parts/scale.py"])
def test_an_edit_changes_the_card(edited: str, folder: Path) -> None:
    """A change of the file, of a module beside it or of a package beside it makes another model."""
    (folder / "parts").mkdir()
    for name in ("helper.py", "parts/__init__.py", "parts/scale.py"):
        (folder / name).write_text("FACTOR = 1\n")
    first = card("mine.py:Means")
    assert card("mine.py:Means") == first
    (folder / edited).write_text((folder / edited).read_text() + "\n")
    assert card("mine.py:Means").kwargs["code"] != first.kwargs["code"]


def test_an_edit_during_a_run_does_not_reach_it(folder: Path) -> None:
    """A card keeps the code it was made from; where that code is gone, building says so."""
    context = BuildContext(card("mine.py:Means"))
    (folder / "mine.py").write_text(MODELS.replace("factor = 1.0", "factor = 7.0"))
    np.testing.assert_allclose(build(context).embed(BATCH, ["last"])["last"], MEANS, rtol=1e-6)
    np.testing.assert_allclose(embed("mine.py:Means"), 7 * MEANS, rtol=1e-6)
    kwargs = {**context.card.kwargs, "code": "0" * 64}
    with pytest.raises(PluginError, match="has changed since the run began; start it again"):
        build(replace(context, card=context.card.model_copy(update={"kwargs": kwargs})))


def test_the_random_state_of_the_caller_is_untouched(folder: Path) -> None:
    """Neither importing a file that seeds and draws nor drawing its network moves the caller's random numbers."""
    text = MODELS + "\n\ntorch.manual_seed(99)\nSHIFT = torch.randn(3)\n"
    (folder / "seeding.py").write_text(text)

    def states() -> tuple:
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    torch.manual_seed(5)
    before = states()
    embed("seeding.py:network")
    assert states() == before


def test_what_a_file_draws_when_imported_is_repeatable(folder: Path) -> None:
    """Numbers drawn at import do not depend on what the caller drew before."""
    text = MODELS + "\n\nSHIFT = torch.randn(3).numpy()\n\n\nclass Shifted(Means):\n    factor = SHIFT\n"
    answers = []
    for name in ("first.py", "second.py"):
        (folder / name).write_text(text)
        torch.rand(7)
        answers.append(embed(f"{name}:Shifted"))
    assert (answers[0] == answers[1]).all()


def score(model: str, **options: object) -> Result:
    """Evaluate one model on the small task."""
    (result,) = evaluate(model, "tiny.yaml@graph_image", baselines="none", output=None, **options)
    return result


def test_a_file_model_scores_and_is_never_served_stale(folder: Path) -> None:
    """It runs from its string; a second run embeds nothing; after an edit everything is embedded anew."""
    first = score("file:mine.py:Means")
    again = score("file:mine.py:Means")
    assert first.model.name == "file:mine.py:Means"
    assert first.provenance.n_embedded == 360
    assert again.provenance.n_embedded == 0
    assert again.embedding_hash == first.embedding_hash
    (folder / "mine.py").write_text(MODELS.replace("factor = 1.0", "factor = 7.0"))
    edited = score("file:mine.py:Means")
    assert edited.provenance.n_embedded == 360
    assert edited.embedding_hash != first.embedding_hash


def test_twins_and_options_reach_the_model() -> None:
    """The twin of a file model is drawn for each seed, and its options are part of what it is."""
    (folder := Path("mine.py")).write_text(MODELS.replace('"views": ["image"],', ""))
    trained = score(f"file:{folder}:Staged,factor=2")
    twin = score(f"untrained:file:{folder}:Staged,factor=2", seeds=(0, 1))
    assert trained.model_args == {"factor": "2"}
    assert twin.headline.n_seeds == 2
    assert twin.embedding_hash != trained.embedding_hash
