"""On a CUDA device: the rules for placing, the same vectors as on the CPU, too little memory, and training.

Skipped where there is none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.models import devices, training_reading
from harness.models.point_graphs import connect, join
from harness.models.torch_model import TorchModel
from harness.models.training import train
from harness.models.training_state import read
from harness.tasks.datasets.synthetic_params import Params, PerClass
from harness.tasks.datasets.synthetic_samples import SyntheticDataset

from harness.halving import PatientModel
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import load_registry
from harness.progress import Silent
from harness.recipes import Recipe
from harness.selection import select_model
from harness.specs import TaskInput
from harness.trainjob import TrainJob
from harness.types import Batch, BuildContext, Model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
REGISTRY = load_registry()


def place(request: str, view: str = "image", **options: str) -> tuple[Model, BuildContext]:
    """Build a model as a run would."""
    asked = RunOptions(offline=True, **options)
    chosen = select_model(REGISTRY, parse_models(request)[0], asked.data_context)
    context = place_model(REGISTRY, chosen, view, TaskInput(views=[view]), asked)
    return build_model(chosen, context), context


def images(n: int = 64, side: int = 224) -> Batch:
    """Return smooth random images."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, 3, 14, 14), dtype=np.uint8)
    return Batch(tuple(map(str, range(n))), "image", np.kron(coarse, np.ones((side // 14, side // 14), np.uint8)))


def synthetic(train_samples: int = 6) -> SyntheticDataset:
    """Return two kinds of small patterns."""
    kinds = [kind.model_dump() for kind in Params().classes if kind.id in (3, 17)]
    params = Params.model_validate({"points": 60, "classes": kinds, "image_size": 32})
    return SyntheticDataset(params, PerClass(train=train_samples, val=4, test=4))


def job(file: Path, request: str, device: str, **recipe: object) -> TrainJob:
    """Return a short training."""
    view = "points" if request.endswith(("nn", "gcn")) else "graph_image"
    model, context = place(request, view, device=device, dtype="float32")
    if view == "graph_image":
        context = replace(context, transform=context.card.input.model_copy(update={"size": 32}))
        model = build_model(select_model(REGISTRY, parse_models(request)[0], RunOptions().data_context), context)
    return TrainJob(
        title=request,
        model=model,
        context=context,
        dataset=synthetic(),
        recipe=Recipe.model_validate({"epochs": 1, "batch": 12, "fixed_graphs": True, **recipe}),
        file=file,
        identity={"model": request},
        provenance={},
        progress=Silent(),
    )


def test_auto_takes_the_gpu_and_its_number_format() -> None:
    """CUDA before the CPU; bfloat16 where device and card allow it; full batches on a card with room."""
    native = torch.cuda.get_device_capability() >= (8, 0)
    assert devices.place("auto", "auto", ["float32", "bfloat16"]) == ("cuda", "bfloat16" if native else "float32")
    assert devices.place("auto", "auto", ["float32"]) == ("cuda", "float32")
    assert 1 <= devices.batch_size("cuda", REGISTRY.cards["vit-l-16"]) <= 128


@pytest.mark.parametrize("name", ["untrained:resnet18", "untrained:vit-s-16", "untrained:ctranspath", "single-conv"])
def test_vectors_equal_those_of_the_cpu(name: str) -> None:
    """In float32, all stages; sent ahead or not; and in bfloat16 they tell the same samples apart."""
    here, context = place(name, device="cpu", dtype="float32")
    there, _ = place(name, device="cuda", dtype="float32")
    batch, stages = images(), tuple(context.card.stages)
    expected = here.embed(batch, stages)
    assert isinstance(there, TorchModel)
    there.send(batch)
    for found in (there.embed(batch, stages), there.embed(batch, stages)):
        for stage in stages:
            largest = np.abs(expected[stage]).max()
            assert np.abs(found[stage] - expected[stage]).max() <= 2e-3 * largest, stage
    if "bfloat16" in context.card.dtypes:
        low, _ = place(name, device="cuda", dtype="bfloat16")
        one, two = (low.embed(batch, stages[-1:])[stages[-1]], expected[stages[-1]])
        one, two = one - one.mean(axis=0), two - two.mean(axis=0)
        cosine = (one * two).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
        assert cosine.mean() >= 0.999


@pytest.mark.parametrize("name", ["gcn", "egnn"])
def test_graph_networks_equal_those_of_the_cpu(name: str) -> None:
    """Vectors of point sets of many sizes, an empty one among them."""
    rng = np.random.default_rng(1)
    points = tuple(rng.uniform(-1, 1, (n, 2)).astype(np.float32) for n in (0, 1, 3, 40, 900, 7))
    batch = Batch(tuple(map(str, range(6))), "points", points=points)
    (here, _), (there, _) = (place(f"untrained:{name}", "points", device=device) for device in ("cpu", "cuda"))
    expected, found = (model.embed(batch, ("last",))["last"] for model in (here, there))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_sparse_products_add_up_on_the_device() -> None:
    """The compressed product equals the sum row by row, with its gradient."""
    graphs = join([connect(np.random.default_rng(2).random((300, 2))) for _ in range(3)], "cuda")
    features = torch.randn(900, 16, device="cuda", requires_grad=True)
    for matrix in (graphs.normalised, graphs.at_receiver, graphs.at_sender.transpose):
        given = features if matrix.width == 900 else torch.randn(matrix.width, 16, device="cuda", requires_grad=True)
        weights = torch.randn(matrix.height, 16, device="cuda")
        (gradient,) = torch.autograd.grad(((matrix @ given) * weights).sum(), given)
        torch.testing.assert_close(matrix @ given, matrix.summed(given), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient, matrix.transpose.summed(weights), rtol=1e-4, atol=1e-4)


def test_too_little_memory_halves_the_batch() -> None:
    """The allocator itself refuses; the run goes on with what fits and gives the same vectors."""
    model, context = place("untrained:vit-s-16", device="cuda", dtype="float32")
    batch, stage, progress = images(256), tuple(context.card.stages)[-1:], Silent()
    expected = model.embed(batch, stage)[stage[0]]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + (400 << 20)) / total)
    try:
        patient = PatientModel(model, "vit", progress)
        found = patient.run(batch, stage)[stage[0]]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert patient.most is not None
    assert patient.most < 256
    assert len(progress.warnings) == 1
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["untrained:gcn", "untrained:egnn", "untrained:resnet18"])
def test_a_step_of_training_equals_one_on_the_cpu(name: str, tmp_path: Path) -> None:
    """One plain step moves every weight by the same."""
    plan = {"optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "learning_rate": 0.05}
    moved = {}
    for device in ("cpu", "cuda"):
        asked = job(tmp_path / f"{device}.safetensors", name, device, **plan)
        before = {key: value.detach().cpu().clone() for key, value in asked.model.module.state_dict().items()}
        after, _ = read(train(asked).checkpoint)
        moved[device] = {key: after[key].double() - value for key, value in before.items() if value.is_floating_point()}
    largest = max(float(change.abs().max()) for change in moved["cpu"].values())
    for key, change in moved["cpu"].items():
        assert float((moved["cuda"][key] - change).abs().max()) <= 1e-2 * largest, key


@pytest.mark.parametrize("name", ["untrained:egnn", "untrained:gcn"])
def test_training_is_taken_up_on_the_device(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOAP's state goes to disk and back; processes read the samples."""
    monkeypatch.setattr(training_reading, "count_processes", lambda device: 2)
    plan = {"epochs": 8, "optimiser": "soap", "learning_rate": 1e-3, "spread": True}
    trained = train(job(tmp_path / "a.safetensors", name, "cuda", **plan))
    assert len(trained.history) == 8
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
