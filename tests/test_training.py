"""Training: gradients against a plain twin, determinism, resuming, the kept epoch, and tasks that train end to end."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.models import training_reading
from harness.models.classifier import Classifier
from harness.models.graph_networks import build_egnn, build_gcn
from harness.models.point_graphs import connect, join, merge
from harness.models.random_draw import drawn_from
from harness.models.spreading import spread_thresholds
from harness.models.timm_backbone import build as build_timm
from harness.models.training import train
from harness.models.training_state import digest, read
from harness.models.whitening import fold_whitening, pool
from harness.tasks.datasets.synthetic_params import Params, PerClass
from harness.tasks.datasets.synthetic_samples import SyntheticDataset
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from small_task import enter
from torch.nn import functional

import harness
from harness.cli import main
from harness.errors import DamagedFileError, MismatchError, MissingDataError, ModelOutputError, UsageError
from harness.plugins import load_registry
from harness.progress import Silent
from harness.recipes import Recipe
from harness.trainjob import Trained, TrainJob
from harness.types import BuildContext

REGISTRY = load_registry()
BUILDERS = {"gcn": build_gcn, "egnn": build_egnn, "resnet18": build_timm}
KINDS = [kind for kind in Params().classes if kind.id in (3, 17)]
SMALL = {"points": 60, "classes": [kind.model_dump() for kind in KINDS], "image_size": 32}
SPEC = """\
include: {base}
name: tiny-training
protocol:
  params:
    per_class: {{train: 6, val: 3, test: 4}}
    points: 60
    image_size: 32
    recipe: {{epochs: 2, batch: 40}}
"""


def dataset(train: int = 12, val: int = 6, test: int = 6, **changes: object) -> SyntheticDataset:
    """Return two kinds of small point patterns that are easy to tell apart."""
    params = Params.model_validate({**SMALL, **changes})
    return SyntheticDataset(params, PerClass(train=train, val=val, test=test))


def job(
    file: Path, name: str = "gcn", *, seed: int = 0, samples: SyntheticDataset | None = None, **recipe: object
) -> TrainJob:
    """Return a short training of a fresh twin."""
    card = REGISTRY.cards[name]
    view = card.views[-1]
    channels = 0 if view == "points" else 3
    transform = card.input.model_copy(update={"size": 32})
    context = BuildContext(card, untrained=True, seed=seed, view=view, channels=channels, transform=transform)
    chosen = Recipe.model_validate({"epochs": 3, "batch": 8, "fixed_graphs": True, **recipe})
    return TrainJob(
        title=f"training {name}",
        model=BUILDERS[name](context),
        context=context,
        dataset=samples or dataset(),
        recipe=chosen,
        file=file,
        identity={"model": name, "seed": seed},
        provenance={"who": "a test"},
        progress=Silent(),
    )


def without_seconds(trained: Trained) -> list[dict[str, float]]:
    """Return the curves of a training without what differs from run to run."""
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in trained.history]


class StopAfter(Silent):
    """Interrupts a training once so many epochs are kept."""

    def __init__(self, epochs: int) -> None:
        """Count down."""
        super().__init__()
        self.left = epochs

    def advance(self, steps: int) -> None:
        """Stop like Ctrl-C when enough is done."""
        self.left -= steps
        if self.left <= 0 and steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["gcn", "egnn"])
def test_one_step_in_parts_equals_one_step_of_plain_torch(name: str, tmp_path: Path) -> None:
    """Gradients added part by part move the weights as one backward pass over all samples does."""
    samples, rate = dataset(train=5), 0.05
    plan = {"epochs": 1, "batch": 10, "optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    asked = job(tmp_path / "a.safetensors", name, samples=samples, learning_rate=rate, **plan)
    trunk = asked.model.module
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    after = load_file(train(asked).checkpoint)

    rows = np.flatnonzero(samples.split == "train")
    points = samples.read_rows("points", rows.tolist()).points
    trunk.load_state_dict(before)
    trunk.zero_grad()
    trunk.requires_grad_(requires_grad=True)
    head = torch.nn.Linear(256, 2)
    with drawn_from(int(np.random.SeedSequence([0, 1]).generate_state(1)[0])):
        head.reset_parameters()
    parameters = [*trunk.named_parameters(), *((f"head.{key}", value) for key, value in head.named_parameters())]
    scores = head(trunk(join([connect(one) for one in points])))
    functional.cross_entropy(scores, torch.from_numpy(samples.labels[rows])).backward()
    largest = max(float(value.grad.abs().max()) for _, value in parameters if value.grad is not None)
    for key, value in parameters:
        moved = value.detach() - rate * (value.grad if value.grad is not None else 0.0)
        assert torch.allclose(after[key], moved, atol=1e-5 * rate * largest, rtol=1e-6), key
    assert largest > 1e-4


@pytest.mark.parametrize("name", ["gcn", "resnet18"])
def test_a_seed_gives_the_same_bytes_whatever_the_threads(name: str, tmp_path: Path) -> None:
    """The number of workers and the run change nothing; another seed changes the weights."""
    before = torch.get_num_threads()
    trained = {}
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads if name == "gcn" else 1)  # a picture network adds in an order of its threads
            trained[threads] = train(job(tmp_path / str(threads) / "a.safetensors", name, epochs=2))
            assert torch.get_num_threads() == (threads if name == "gcn" else 1)
    finally:
        torch.set_num_threads(before)
    assert trained[1].digest == trained[2].digest
    assert without_seconds(trained[1]) == without_seconds(trained[2])
    assert train(job(tmp_path / "b.safetensors", name, seed=1, epochs=2)).digest != trained[1].digest


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("gcn", {"optimiser": "adamw", "whiten": 4, "trunk_rate": 0.1}),
        ("gcn", {"optimiser": "sgd"}),
        ("gcn", {"optimiser": "soap", "spread": True, "whiten": 4}),
        ("egnn", {"optimiser": "soap", "whiten": 4}),
        ("resnet18", {"optimiser": "sgd"}),
    ],
)
def test_an_interrupted_training_ends_as_one_without_interruption(
    name: str, plan: dict[str, object], tmp_path: Path
) -> None:
    """Weights, optimiser and curves are taken up: the end is the same to the last bit, and the state is cleared."""
    plan = {**plan, "epochs": 4, "learning_rate": 1e-2, "warmup_epochs": 1.5}
    whole = train(job(tmp_path / "whole.safetensors", name, **plan))
    file = tmp_path / "cut.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(replace(job(file, name, **plan), progress=StopAfter(2)))
    assert not file.exists()
    assert (tmp_path / "cut.training" / "state.safetensors").exists()
    cut = train(job(file, name, **plan))
    assert cut.digest == whole.digest
    assert without_seconds(cut) == without_seconds(whole)
    assert sorted(path.name for path in (tmp_path / "cut.training").iterdir()) == ["curves.csv", "curves.png"]


@pytest.mark.parametrize("name", ["gcn", "egnn"])
def test_whitening_scales_what_enters_the_mlp_and_adds_no_weight(name: str, tmp_path: Path) -> None:
    """The first layer sees principal directions of unit variance through its drawn weights; numpy says the same."""
    asked = job(tmp_path / "a.safetensors", name)
    samples, trunk = asked.dataset, asked.model.module
    rows = np.flatnonzero(samples.split == "train")
    network = Classifier(asked.model, asked.context, 2, samples.read_rows("points", [0]))
    parts = network.split(samples.read_rows("points", rows.tolist()), samples.labels[rows], fixed_graphs=True)
    with torch.no_grad():
        pooled = torch.cat([pool(network, part) for part in parts]).double()
    drawn, bias = (value.detach().double().numpy().copy() for value in (trunk.hidden.weight, trunk.hidden.bias))
    names = {key: value.shape for key, value in network.tensors().items()}
    fold_whitening(network, pooled, 3)
    assert {key: value.shape for key, value in network.tensors().items()} == names

    values = pooled.numpy()
    centred = values - values.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(values))
    variance, axes = variance[::-1][:3], axes[:, ::-1][:, :3]
    white = centred @ axes / np.sqrt(variance)
    np.testing.assert_allclose(white.std(axis=0), 1, atol=1e-6)
    expected = bias + white @ (drawn @ axes * np.sqrt(values.shape[1] / 3)).T
    seen = values @ trunk.hidden.weight.detach().double().numpy().T + trunk.hidden.bias.detach().double().numpy()
    np.testing.assert_allclose(seen, expected, atol=2e-3 * np.abs(expected).max())


def test_spread_channels_have_unit_variance_and_switch_on_at_different_shares_of_the_points(tmp_path: Path) -> None:
    """On training samples every channel of every layer varies by 1, and thresholds lie between 5 and 95 % of points."""
    asked = job(tmp_path / "a.safetensors")
    samples, trunk = asked.dataset, asked.model.module
    rows = np.flatnonzero(samples.split == "train")
    network = Classifier(asked.model, asked.context, 2, samples.read_rows("points", [0]))
    parts = network.split(samples.read_rows("points", rows.tolist()), samples.labels[rows], fixed_graphs=True)
    names = {key: value.shape for key, value in network.tensors().items()}
    spread_thresholds(network, parts, np.random.default_rng(0))
    assert {key: value.shape for key, value in network.tensors().items()} == names
    states = [trunk.projection(part.inputs.points) for part in parts]
    with torch.no_grad():
        for layer in trunk.convolutions:
            states = [layer(state, part.inputs) for state, part in zip(states, parts, strict=True)]
            values = torch.cat(states)
            on = (values > 0).double().mean(dim=0)
            assert torch.allclose(values.std(dim=0), torch.ones(128), atol=1e-3)
            assert 0.04 < float(on.min()) < 0.2
            assert 0.8 < float(on.max()) < 0.96
            states = [torch.relu(state) for state in states]


def test_degrees_and_distances_weigh_alike_in_egnn() -> None:
    """Every linear map of a layer gives mean 0 and unit variance; a rotation still changes nothing."""
    asked = job(Path("unused"), "egnn")
    network = Classifier(asked.model, asked.context, 2, asked.dataset.read_rows("points", [0]))
    rows = np.flatnonzero(asked.dataset.split == "train")
    parts = network.split(
        asked.dataset.read_rows("points", rows.tolist()), asked.dataset.labels[rows], fixed_graphs=True
    )
    seen: dict[str, torch.Tensor] = {}
    layers = {
        f"{number}.{name}": part
        for number, layer in enumerate(network.trunk.layers)
        for name, part in (("message", layer.message), ("first", layer.change[0]), ("last", layer.change[2]))
    }
    spread_thresholds(network, parts, np.random.default_rng(0))
    whole = merge([part.inputs for part in parts])
    for name, part in {"profile": network.trunk.projection, **layers}.items():
        part.register_forward_hook(lambda _module, _given, values, name=name: seen.update({name: values.double()}))
    with torch.no_grad():
        before = network.trunk(whole)
    for name, values in seen.items():
        if name != "profile":
            assert float(values.mean(dim=0).abs().max()) < 1e-3, name
            torch.testing.assert_close(values.std(dim=0, correction=0), torch.ones(128).double(), rtol=0, atol=1e-3)
    pair = network.trunk.layers[0].pair.weight.detach().abs()
    squared = (whole.points[whole.receiver] - whole.points[whole.sender]).square().sum(dim=1)
    feature = (pair[:, :128] * seen["profile"].std(dim=0).float()).mean()
    assert 0.5 < float(pair[:, -1].mean() * squared.std() / feature) < 3
    turned = replace(whole, points=whole.points @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]]))
    with torch.no_grad():
        torch.testing.assert_close(network.trunk(turned), before, rtol=1e-3, atol=1e-4)


def test_picture_networks_stay_as_drawn(tmp_path: Path) -> None:
    """There is nothing to spread."""
    digests = {train(job(tmp_path / str(on) / "a", "resnet18", epochs=1, spread=on)).digest for on in (True, False)}
    assert len(digests) == 1


def test_only_graph_networks_can_be_whitened(tmp_path: Path) -> None:
    """A picture network has no pooled values that a recipe could whiten, and the error says what to set."""
    with pytest.raises(UsageError, match=r"recipe\.whiten: only graph networks"):
        train(job(tmp_path / "a.safetensors", "resnet18", whiten=4))


def test_layers_below_the_last_learn_at_their_share_of_the_rate(tmp_path: Path) -> None:
    """With plain gradient descent, a share of a tenth moves them a tenth as far, and the last layers as before."""
    plan = {"epochs": 1, "batch": 64, "optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"}
    start = {key: value.clone() for key, value in job(tmp_path / "x").model.module.state_dict().items()}
    moved = {}
    for share in (1.0, 0.1):
        trained = train(job(tmp_path / f"{share}.safetensors", learning_rate=10.0, trunk_rate=share, **plan))
        moved[share] = {key: load_file(trained.checkpoint)[key] - value for key, value in start.items()}
    for key in start:
        factor = 1.0 if key.startswith("hidden") else 0.1
        assert torch.allclose(moved[0.1][key], factor * moved[1.0][key], atol=1e-6), key
    assert float(moved[1.0]["layers.0.linear.weight"].abs().max()) > 1e-3


def test_the_first_best_epoch_is_kept(tmp_path: Path) -> None:
    """Of all epochs, the first with the highest validation score gives the checkpoint, and its score is real."""
    samples = dataset(train=30, val=20)
    trained = train(job(tmp_path / "a.safetensors", "egnn", samples=samples, epochs=6, whiten=20))
    scores = [epoch["val_f1_macro"] for epoch in trained.history]
    assert trained.best == 1 + int(np.argmax(scores))
    rows = np.flatnonzero(samples.split == "val")
    answer = trained.load().embed(samples.read_rows("points", rows.tolist()), ["last"])["last"]
    seen = f1_score(samples.labels[rows], answer.argmax(axis=1), average="macro")
    assert seen == pytest.approx(scores[trained.best - 1], abs=1e-12)
    assert trained.history[-1]["train_loss"] < 0.9 * trained.history[0]["train_loss"]
    assert [epoch["epoch"] for epoch in trained.history] == list(range(1, 7))


def test_the_learning_rate_follows_the_recipe(tmp_path: Path) -> None:
    """It rises in the warm-up, then falls along a cosine; what the curves show is the last step of each epoch."""
    recipe = Recipe(epochs=4, batch=8, learning_rate=2e-3, warmup_epochs=1)
    trained = train(job(tmp_path / "a.safetensors", epochs=4, learning_rate=2e-3, warmup_epochs=1))
    steps = math.ceil(24 / 8)
    shown = [epoch["learning_rate"] for epoch in trained.history]
    assert shown == [recipe.rate((number + 1) * steps - 1, steps) for number in range(4)]
    assert shown[0] == 2e-3
    assert shown[3] == pytest.approx(2e-3 * (1 + math.cos(math.pi * 8 / 9)) / 2)
    assert recipe.model_copy(update={"schedule": "constant"}).rate(7, steps) == 2e-3
    with pytest.raises(ValueError, match="warmup_epochs"):
        Recipe(epochs=2, warmup_epochs=2)


def test_the_network_of_a_checkpoint_loads_without_its_classifier(tmp_path: Path) -> None:
    """The weights option takes a checkpoint; the vectors are those under the trained classifier."""
    trained = train(job(tmp_path / "a.safetensors"))
    card = REGISTRY.cards["gcn"]
    context = BuildContext(card, view="points", channels=0, options={"weights": str(trained.checkpoint)})
    batch = dataset().read("points", 0, 5)
    vectors = build_gcn(context).embed(batch, ["last"])["last"]
    tensors = load_file(trained.checkpoint)
    scores = vectors @ tensors["head.weight"].numpy().T + tensors["head.bias"].numpy()
    np.testing.assert_allclose(scores, trained.load().embed(batch, ["last"])["last"], atol=1e-5)
    untrained = build_gcn(replace(context, untrained=True, options={})).embed(batch, ["last"])["last"]
    assert np.abs(vectors - untrained).max() > 1e-4
    _, facts = read(trained.checkpoint)
    assert facts["identity"] == {"model": "gcn", "seed": 0}
    assert facts["provenance"] == {"who": "a test"}
    assert facts["best"] == trained.best


def test_graphs_that_are_remembered_change_nothing(tmp_path: Path) -> None:
    """Points that are moved rigidly keep their neighbours, so looking for them once gives the same network."""
    once = train(job(tmp_path / "once.safetensors", epochs=2))
    always = train(job(tmp_path / "always.safetensors", epochs=2, fixed_graphs=False))
    assert once.digest == always.digest


def test_training_on_pictures_learns_the_statistics_of_batch_norms(tmp_path: Path) -> None:
    """The running means of a trained ResNet leave zero, and the evaluation uses them: alone or in a batch is one."""
    trained = train(job(tmp_path / "a.safetensors", "resnet18", epochs=2))
    assert float(load_file(trained.checkpoint)["bn1.running_mean"].abs().max()) > 1e-3
    model, samples = trained.load(), dataset()
    batch = samples.read("graph_image", 0, 4)
    alone = [model.embed(samples.read("graph_image", row, row + 1), ["layer4"])["layer4"] for row in range(4)]
    np.testing.assert_allclose(model.embed(batch, ["layer4"])["layer4"], np.concatenate(alone), atol=1e-4)


def test_files_of_another_training_are_refused_and_stay(tmp_path: Path) -> None:
    """A checkpoint or a state of other facts is named with what differs; neither is written over."""
    file = tmp_path / "a.safetensors"
    train(job(file))
    content = file.read_bytes()
    with pytest.raises(UsageError, match=r"belongs to another training.*seed 0 instead of 1"):
        train(job(file, seed=1))
    assert file.read_bytes() == content
    other = tmp_path / "b.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(replace(job(other), progress=StopAfter(1)))
    with pytest.raises(UsageError, match=r"state\.safetensors.*seed 0 instead of 1"):
        train(job(other, seed=1))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """A truncated file, or one that this harness did not write, says what to do."""
    file = tmp_path / "a.safetensors"
    train(job(file))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DamagedFileError, match="delete it to train anew"):
        train(job(file))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    """The message says where it happened and which numbers to change."""
    with pytest.raises(ModelOutputError, match=r"the loss is \S+ in step \d+ of epoch \d+; try a lower"):
        train(job(tmp_path / "a.safetensors", optimiser="sgd", learning_rate=1e12, epochs=5))
    assert not (tmp_path / "a.safetensors").exists()


def test_training_needs_a_validation_split(tmp_path: Path) -> None:
    """Without validation samples no epoch can be chosen, and the error says so."""
    with pytest.raises(UsageError, match="splits train and val"):
        train(job(tmp_path / "a.safetensors", samples=dataset().only("train")))


def test_a_model_that_is_no_network_cannot_be_trained(tmp_path: Path) -> None:
    """The error names the model and what its builder lacks."""
    asked = job(tmp_path / "a.safetensors")
    with pytest.raises(MismatchError, match="gcn: cannot be trained"):
        train(replace(asked, model=object()))


def test_the_digest_tells_weights_apart_and_nothing_else() -> None:
    """It does not depend on the order of names; names, shapes and values count."""
    one = {"a": torch.ones(2, 2), "b": torch.zeros(3)}
    assert digest(one) == digest(dict(reversed(one.items())))
    assert digest(one) != digest({**one, "a": torch.ones(4)})
    assert digest(one) != digest({**one, "a": 2 * torch.ones(2, 2)})


def small_task(folder: Path, monkeypatch: pytest.MonkeyPatch, base: str = "synthetic-gnn") -> Path:
    """Work in a folder with ``tiny-training.yaml``."""
    enter(folder, monkeypatch)
    (folder / "tiny-training.yaml").write_text(SPEC.format(base=base))
    return folder


def test_a_task_trains_scores_and_shows_its_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds are trained one by one, test samples alone are embedded, curves lie in and beside the result."""
    small_task(tmp_path, monkeypatch)
    results = harness.evaluate("gcn", "tiny-training.yaml", seeds=(0, 1))
    trained, count, *_ = results
    assert [trained.model.name, count.model.name] == ["gcn", "count-only"]
    assert trained.model.training == "scratch"
    assert trained.provenance.seeds == [0, 1]
    assert trained.provenance.n_embedded == 2 * 24 * 4
    assert trained.model.dim == 24
    assert trained.diagnostics["head"] == "trained"
    assert count.diagnostics["head"] == "tree"
    folder = tmp_path / "results" / "tiny-training"
    for seed in (0, 1):
        losses = trained.diagnostics[f"training.seed{seed}.train_loss"]
        with (folder / f"gcn.training-seed{seed}.csv").open() as stream:
            shown = [float(row["train_loss"]) for row in csv.DictReader(stream)]
        assert losses == shown
        assert len(losses) == 2
        assert (folder / f"gcn.training-seed{seed}.png").read_bytes()[:4] == b"\x89PNG"
    again, *_ = harness.evaluate("gcn", "tiny-training.yaml", seeds=(0, 1))
    assert again.provenance.n_embedded == 0
    assert again.metrics == trained.metrics
    named, *_ = harness.evaluate("untrained:gcn", "tiny-training.yaml", seeds=(0, 1), baselines="none")
    assert named.metrics == trained.metrics  # the same network under its other name


def test_pictures_are_trained_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of a picture network is trained; one that brings weights is refused, as a baseline too."""
    small_task(tmp_path, monkeypatch, "synthetic-scratch")
    result, *_ = harness.evaluate("untrained:resnet18", "tiny-training.yaml", seeds=(0,), baselines="none")
    assert result.view == "graph_image"
    assert result.model.training == "scratch"
    with pytest.raises(MismatchError, match="trains from random weights; ask for untrained:resnet18"):
        harness.evaluate("resnet18", "tiny-training.yaml", seeds=(0,))
    beside = harness.evaluate("pixel-mean", "tiny-training.yaml", seeds=(0,), baselines="resnet18,pixel-stats")
    assert [one.model.name for one in beside] == ["pixel-mean", "pixel-stats"]  # no baseline enters by the back door


def test_the_command_trains_and_the_card_finds_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`harness train` writes a checkpoint that the option weights and, in its usual place, gcn-synthetic take."""
    small_task(tmp_path, monkeypatch)
    main(["train", "gcn", "--task", "tiny-training.yaml", "--output", "kept/g.safetensors", "--seed", "3"])
    told = capsys.readouterr().out
    assert "epoch" in told
    assert "wrote kept/g.safetensors" in told
    assert Path("kept/g.training/curves.csv").exists()
    _, facts = read(Path("kept/g.safetensors"))
    assert facts["identity"]["task"] == "tiny-training"
    assert facts["identity"]["seed"] == 3
    assert facts["provenance"]["versions.torch"] == torch.__version__.partition("+")[0] or facts["provenance"]
    with pytest.raises(SystemExit) as stop:
        main(["train", "gcn", "--task", "tiny-training.yaml", "--output", "kept/g.txt"])
    assert stop.value.code == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    with pytest.raises(MissingDataError, match=r"gcn-synthetic: trained weights needed\..*harness train gcn"):
        harness.evaluate("gcn-synthetic", "tiny.yaml", baselines="none")
    place = tmp_path / "cache" / "trained" / "synthetic-gnn" / "gcn-seed-0.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(Path("kept/g.safetensors").read_bytes())
    by_card, *_ = harness.evaluate("gcn-synthetic", "tiny.yaml", baselines="none")
    by_file, *_ = harness.evaluate("gcn,weights=kept/g.safetensors", "tiny.yaml", baselines="none")
    assert by_card.metrics == by_file.metrics
    assert by_card.model.pretrain_domain == "synthetic-points"
    assert by_card.model.training == "iid"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gcn", "--task", "synthetic-mini"], 2, "nothing is trained here"),
        (["pixel-stats", "--task", "synthetic-scratch"], 2, "nothing is trained here"),
        (["gcn,egnn", "--task", "synthetic-gnn"], 2, "one training at a time"),
        (["gcn,weights=x", "--task", "synthetic-gnn"], 4, "ask for untrained:gcn"),
        (["gcm", "--task", "synthetic-gnn"], 3, "gcn"),
        (["vit-s-16", "--task", "synthetic-gnn"], 4, "it takes image or graph_image"),
    ],
)
def test_what_cannot_be_trained_is_said_before_any_work(
    arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Each wrong request ends with its exit code and a sentence that helps."""
    enter(tmp_path, monkeypatch)
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    assert caught.value.code == code
    assert words in capsys.readouterr().err


def test_ctrl_c_keeps_finished_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt ends with 130; the same command goes on with the epochs that are missing."""
    small_task(tmp_path, monkeypatch)
    command = [sys.executable, "-m", "harness", "train", "gcn", "--task", "tiny-training.yaml", "--output",
               "a.safetensors", "--set", "protocol.params.recipe.epochs=12"]  # fmt: skip
    heard = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores it, and so would its child
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    finally:
        signal.signal(signal.SIGINT, heard)
    state = tmp_path / "a.training" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "run the same command again" in told
    done = json.loads(json.dumps(read(state)[1]["epochs"]))
    assert 1 <= len(done) < 12
    main(command[3:])
    _, facts = read(tmp_path / "a.safetensors")
    assert facts["epochs"][: len(done)] == done  # seconds included: these epochs were not trained again
    assert len(facts["epochs"]) == 12


@pytest.mark.parametrize("name", ["gcn", "resnet18"])
def test_processes_read_what_a_thread_reads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are the same to the last bit, also where augmentation draws anew in every epoch."""
    plain = train(job(tmp_path / "thread.safetensors", name, epochs=2))
    monkeypatch.setattr(training_reading, "count_processes", lambda device: 2)
    parallel = train(job(tmp_path / "processes.safetensors", name, epochs=2))
    assert parallel.digest == plain.digest
    assert without_seconds(parallel) == without_seconds(plain)


def test_a_dataset_that_cannot_be_sent_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hold open files; and a CPU keeps its cores for the training."""
    monkeypatch.setattr(training_reading, "count_processes", lambda device: 2)
    held, context = dataset(), job(Path("unused")).context
    object.__setattr__(held, "handle", lambda: None)  # cannot be pickled
    before = multiprocessing.active_children()
    with training_reading.open_reader(held, context) as reader:
        (read,) = reader.reads([np.array([3, 1])], epoch=4)
        assert read().ids == (held.ids[3], held.ids[1])
        assert multiprocessing.active_children() == before
    monkeypatch.undo()
    assert training_reading.count_processes("cpu") == 0


def test_a_script_without_a_guard_trains_with_one_thread(tmp_path: Path) -> None:
    """Processes run the script again and fail there; the training goes on, with a warning that says what to do."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, multiprocessing, sys\n"
        "from harness.models import training_reading\n"
        "from harness.tasks.datasets.synthetic_params import Params, PerClass\n"
        "from harness.tasks.datasets.synthetic_samples import SyntheticDataset\n"
        "from types import SimpleNamespace\n"
        "training_reading.count_processes = lambda device: 2\n"
        "data = SyntheticDataset(Params(), PerClass(train=2, val=1, test=1))\n"
        "context = SimpleNamespace(device='cuda', view='points')\n"
        "with training_reading.open_reader(data, context) as reader:\n"
        "    (read,) = reader.reads([np.array([2])], None)\n"
        "    print(read().ids[0])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "train/01/0000"
    assert "under `if __name__" in done.stderr


class Scrambled(SyntheticDataset):
    """In every epoch but the first, the points of a sample lie elsewhere."""

    def read_rows(self, view, rows):
        """Exchange x and y of every second point."""
        batch = super().read_rows(view, rows)
        if not self.epoch:
            return batch
        moved = []
        for points in batch.points:
            other = points.copy()
            other[::2] = other[::2, ::-1]
            moved.append(other)
        return replace(batch, points=tuple(moved))


def test_a_training_taken_up_late_has_the_graphs_of_the_first_epoch(tmp_path: Path) -> None:
    """Fixed graphs are those of the samples before any augmentation, wherever a training goes on."""
    params = Params.model_validate(SMALL)
    samples = Scrambled(params, PerClass(train=5, val=3, test=3))
    whole = train(job(tmp_path / "whole.safetensors", samples=samples))
    stopped = replace(job(tmp_path / "stopped.safetensors", samples=samples), progress=StopAfter(2))
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    again = train(job(tmp_path / "stopped.safetensors", samples=samples))
    assert again.digest == whole.digest
    assert without_seconds(again) == without_seconds(whole)
