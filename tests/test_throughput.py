"""Batches: how large they begin, what happens when memory runs out, and how they reach the device."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy
from harness.models import compiling, devices
from harness.models.torch_model import TorchModel
from harness.models.transfer import Transfer
from torch import nn

from harness.cards import ModelCard
from harness.errors import ModelOutputError, PluginError, UsageError
from harness.feed import read_ahead
from harness.halving import PatientModel
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.progress import Silent
from harness.runner import run
from harness.types import Batch, BuildContext

CARDS = load_registry().cards
SILENT = Silent()


def batch(n: int = 32, ids: Sequence[str] = ()) -> Batch:
    """Return small random images."""
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return Batch(tuple(ids or (f"sample/{row}" for row in range(n))), "image", images=images)


class Bounded:
    """A model whose memory holds a few samples only."""

    def __init__(self, most: int, error: Exception) -> None:
        """Raise the error for more samples than that."""
        self.most, self.error = most, error
        self.sizes: list[int] = []

    def embed(self, given, stages):
        """Return the sums of the pixels."""
        self.sizes.append(len(given))
        if len(given) > self.most:
            raise self.error
        return {stage: given.images.reshape(len(given), 3, -1).sum(axis=2, dtype=np.float32) for stage in stages}


EXHAUSTED = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.0 GB)"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("f4")),
]


@pytest.mark.parametrize("error", EXHAUSTED, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(error: Exception) -> None:
    """32, 16, 8 samples fail, 4 fit; the vectors are those of one call, the warning comes once, and 4 is kept."""
    model, progress = Bounded(4, error), Silent()
    patient = PatientModel(model, "toy", progress)
    found = patient.run(batch(), ("last",))["last"]
    assert np.array_equal(found, Bounded(99, error).embed(batch(), ("last",))["last"])
    assert model.sizes == [32, 16, 8, *[4] * 8]
    patient.run(batch(6), ("last",))
    assert model.sizes[-2:] == [4, 2]
    assert progress.warnings == [
        "toy: out of memory with 32 samples a call; goes on with fewer. --batch-size 16 starts with what may fit"
    ]


def test_other_failures_are_not_mistaken_for_memory() -> None:
    """An error of another kind is the plugin's, and is not tried again."""
    for error in (ValueError("out of range"), RuntimeError("shape mismatch")):
        model = Bounded(4, error)
        with pytest.raises(PluginError, match="failed on samples sample/0 to sample/31"):
            PatientModel(model, "toy", SILENT).run(batch(), ("last",))
        assert model.sizes == [32]


def test_one_sample_that_does_not_fit_is_the_end() -> None:
    """The message names what helps."""
    with pytest.raises(UsageError, match="out of memory with one sample a call; try --dtype bfloat16"):
        PatientModel(Bounded(0, MemoryError()), "toy", SILENT).run(batch(), ("last",))


def test_the_memory_of_a_failed_call_is_free_before_the_next() -> None:
    """Nothing, the traceback included, keeps what the failed call had made."""
    alive: list[weakref.ref] = []

    class Greedy:
        def embed(self, given, stages):
            assert not [one for one in alive if one() is not None]
            made = torch.zeros(1000)
            alive.append(weakref.ref(made))
            if len(given) > 2:
                raise MemoryError
            return {"last": np.ones((len(given), 1), dtype=np.float32)}

    gc.disable()
    try:
        PatientModel(Greedy(), "toy", SILENT).run(batch(8), ("last",))
    finally:
        gc.enable()
    assert len(alive) == 6


def test_a_wrong_answer_after_halving_is_still_refused() -> None:
    """Every smaller batch is checked as a whole one is."""

    class Wrong(Bounded):
        def embed(self, given, stages):
            return {"last": super().embed(given, stages)["last"][:-1]}

    with pytest.raises(ModelOutputError, match=r"expected \(4, D\) features, got shape \(3, 3\)"):
        PatientModel(Wrong(4, MemoryError()), "toy", SILENT).run(batch(8), ("last",))


def test_results_do_not_depend_on_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that had to halve its batches stores the same shards, and its result says how many samples a call fit."""
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))
    registry, original = toy.registry(tmp_path), toy.ToyModel.embed

    def go(name: str, progress: Silent):
        options = RunOptions(baselines="none", store=str(tmp_path / f"store-{name}"), output=tmp_path / name)
        (result,) = run(parse_models("toy-sum"), "toy", options, registry=registry, progress=progress).results
        return result

    def exhausted(self, given, stages):
        if len(given) > 10:
            raise MemoryError
        return original(self, given, stages)

    plain = go("plain", Silent())
    progress = Silent()
    monkeypatch.setattr(toy.ToyModel, "embed", exhausted)
    halved = go("halved", progress)
    assert halved.embedding_hash == plain.embedding_hash
    assert (plain.provenance.batch_size, halved.provenance.batch_size) == (32, 8)
    assert len(progress.warnings) == 1
    shards = [sorted(p.name for p in (tmp_path / f"store-{name}").rglob("shard-*")) for name in ("plain", "halved")]
    assert shards[0] == shards[1]


@pytest.mark.parametrize(
    ("device", "gigabytes", "name", "expected"),
    [
        ("cpu", 16, "resnet18", 32),
        ("cpu", 4, "resnet18", 16),
        ("cpu", 4, "dinov2-vitg14", 1),
        ("cuda", 80, "dinov2-vitg14", 128),
        ("cuda", 24, "vit-l-16", 128),
        ("cuda", 8, "resnet50", 32),
        ("cuda", 24, "dinov2-vitg14", 64),
        ("cuda", 40, "dinov3-vit7b16", 1),
        ("cuda", 141, "dinov3-vit7b16", 128),
        ("mps", 16, "vit-b-16", 64),
        ("cpu", None, "vit-h-14", 32),
    ],
)
def test_auto_batches_are_a_rule_from_memory(
    device: str, gigabytes: float | None, name: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and samples take at most half of the device; a power of two, never more than keeps it busy."""
    monkeypatch.setattr(devices, "_memory", lambda device: None if gigabytes is None else int(gigabytes * 1e9))
    assert devices.batch_size(device, CARDS[name]) == expected


def test_the_memory_of_this_machine_is_known() -> None:
    """On Linux and macOS the rule has a number to go by."""
    assert (devices._memory("cpu") or 0) > 1e9


# ------------------------------------------------------------------------------------------------------- to the device


class Watching:
    """A model that notes what it is sent and given."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.events: list[tuple[str, str]] = []

    def send(self, given):
        """Note a batch announced."""
        self.events.append(("send", given.ids[0]))

    def embed(self, given, stages):
        """Note a batch to be embedded."""
        self.events.append(("embed", given.ids[0]))
        return {"last": np.ones((len(given), 1), dtype=np.float32)}


def test_batches_are_sent_as_soon_as_they_are_read() -> None:
    """Every batch is sent once, in order, before it is embedded, and the next ones before this one is done."""
    model = Watching()
    ids = [str(number) for number in range(6)]
    source = SimpleNamespace(ids=ids, read=lambda view, start, stop: batch(stop - start, ids[start:stop]))
    spans = [(number, number + 1) for number in range(6)]
    for _, part in read_ahead(source, "image", spans, "toy", needs_pixels=True, send=model.send):
        model.embed(part, ("last",))
    sent = [name for kind, name in model.events if kind == "send"]
    assert sent == ids
    assert all(model.events.index(("send", name)) < model.events.index(("embed", name)) for name in ids)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_pixels_arrive_as_they_are(device: str) -> None:
    """Sent ahead or not, in any memory order, the tensor on the device equals the images, batch after batch."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    transfer, rng = Transfer(device), np.random.default_rng(0)
    plain = [rng.integers(0, 256, (4, 3, 6, 5), dtype=np.uint8) for _ in range(6)]
    turned = [rng.random((4, 6, 5, 3), dtype=np.float32).transpose(0, 3, 1, 2) for _ in range(6)]
    odd = [images[:, :, ::-1] for images in plain]
    for images in (plain, turned, odd):
        for now, coming in zip(images, [*images[1:], None], strict=True):
            if coming is not None:
                transfer.send(coming)
            assert np.array_equal(transfer.take(now).cpu().numpy(), now)


class Brightness(nn.Module):
    """A small network."""

    def forward(self, pixels):
        """Return the mean of each channel."""
        return pixels.mean(dim=(2, 3))


def wrapped(**changes) -> TorchModel:
    """Return a small network as a model."""
    card = ModelCard(name="brightness", build="x:y", input={"size": None, "resize": "none", "mean_std": "none"})
    return TorchModel(Brightness(), BuildContext(card, transform=card.input, **changes))


def test_compiled_networks_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.compile returns is called; without the option it is not asked."""
    calls: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda read: calls.append(read) or read)
    plain = wrapped().embed(batch(), ("last",))["last"]
    assert not calls
    assert np.array_equal(wrapped(compile=True).embed(batch(), ("last",))["last"], plain)
    assert len(calls) == 1


def test_a_failing_compiler_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One warning with its first line, then the network as it is; running out of memory is not its fault."""
    failing = [RuntimeError("InductorError: no C++ compiler\nlong story")]

    def compiled(read):
        def fail(*_):
            raise failing[-1]

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    model = wrapped(compile=True)
    for _ in range(2):
        assert model.embed(batch(), ("last",))["last"].shape == (32, 3)
    (record,) = caplog.records
    assert record.getMessage() == (
        "brightness: torch.compile failed (RuntimeError: InductorError: no C++ compiler); it runs uncompiled"
    )
    assert record.name == compiling.__name__
    failing.append(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        wrapped(compile=True).embed(batch(), ("last",))


def test_compiled_vectors_are_stored_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--compile enters the key of an embedding, for its sums are rounded in another order."""
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))
    registry = toy.registry(tmp_path)
    for compiled in (False, True, False):
        options = RunOptions(baselines="none", store=str(tmp_path / "store"), output=None, compile=compiled)
        run(parse_models("toy-sum"), "toy", options, registry=registry)
    assert len(list((tmp_path / "store").rglob("entry.json"))) == 2


def test_drawing_a_giant_once_a_seed_is_told() -> None:
    """Above 700 million parameters the cost stands in a line before the run, with the way to a third of it."""
    from harness.costs import costly_twins
    from harness.selection import select_model
    from harness.types import DataContext

    wanted = parse_models("untrained:dinov2-vitg14,untrained:vit-h-14,untrained:dinov2-vitg14,dinov2-vitg14,pixel-mean")
    models = [select_model(load_registry(), request, DataContext()) for request in wanted]
    assert list(costly_twins(models, (0, 1, 2))) == [
        "untrained:dinov2-vitg14: 1,135 M parameters (4.5 GB in memory) are drawn and run 3 times, once a seed; "
        "--seeds 0 costs 1/3 of it"
    ]
    assert not list(costly_twins(models, (0,)))
