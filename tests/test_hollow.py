"""Trained networks are in memory once, and are what they would be without that care."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from harness.models import hollow, memory, timm_backbone
from harness.models.checkpoint_file import read_state
from safetensors.torch import save_file
from torch import nn

from harness.cards import ModelCard
from harness.errors import UsageError
from harness.plugins import load_registry
from harness.types import BuildContext

NETWORKS = {
    "vit": ("vit_tiny_patch16_224", {"depth": 2}),
    "eva with rotary tables": ("eva02_tiny_patch14_224", {"depth": 2}),
    "dinov3": ("vit_small_patch16_dinov3", {"depth": 2}),
    "swin with masks": ("swin_tiny_patch4_window7_224", {"depths": (2, 2), "embed_dim": 24, "num_heads": (2, 4)}),
    "swin v2": ("swinv2_tiny_window8_256", {"depths": (2, 2), "embed_dim": 24, "num_heads": (2, 4)}),
    "resnet": ("resnet18", {}),
}


def make(arch: str, arguments: dict) -> Callable[[], nn.Module]:
    """Return a function that constructs a network."""
    return lambda: timm.create_model(arch, num_classes=0, **arguments).eval()


def context(path: Path, arch: str = "resnet18") -> BuildContext:
    """Say where the weights of a network lie."""
    card = ModelCard(name="tiny-net", build="x:y", arch=arch, options=["weights"])
    return BuildContext(card, options={"weights": str(path)})


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_built_hollow_is_the_ordinary_one(kind: str, tmp_path: Path) -> None:
    """Parameters, buffers, tables that no file holds, and the answer equal those of a network built and then loaded."""
    maker = make(*NETWORKS[kind])
    torch.manual_seed(1)
    ordinary = maker()
    save_file(ordinary.state_dict(), tmp_path / "model.safetensors")
    built = hollow.filled(maker, context(tmp_path / "model.safetensors")).eval()
    for tensors in ("named_parameters", "named_buffers"):
        wanted, found = dict(getattr(ordinary, tensors)()), dict(getattr(built, tensors)())
        assert list(wanted) == list(found)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert all(found[name].dtype == wanted[name].dtype for name in wanted)
    assert {name for name, _ in built.named_buffers()} - {*built.state_dict()} or kind in ("vit", "resnet")
    size = ordinary.pretrained_cfg["input_size"]
    with torch.inference_mode():
        pixels = torch.rand(1, *size)
        assert torch.equal(built(pixels), ordinary(pixels))


def test_no_parameter_is_made_twice(tmp_path: Path) -> None:
    """The tensors read from the file are those of the network, and nothing is drawn at random on the way."""
    maker = make("resnet18", {})
    save_file(maker().state_dict(), tmp_path / "model.safetensors")
    read: list[int] = []

    def note(path: Path) -> dict[str, torch.Tensor]:
        state = read_state(path)
        read.extend(tensor.data_ptr() for tensor in state.values())
        return state

    def refuse(*arguments: object) -> None:
        raise AssertionError("drawn at random")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.models.weights.read_state", note)
        patch.setattr(torch.Tensor, "normal_", lambda tensor, *_, **__: tensor if tensor.is_meta else refuse())
        built = hollow.filled(maker, context(tmp_path / "model.safetensors"))
    assert {parameter.data_ptr() for parameter in built.parameters()} <= {*read}
    assert {parameter.data_ptr() % 64 for parameter in built.parameters()} == {0}


class OddTables(nn.Module):
    """A network whose tables timm's method does not make, or that keeps a tensor where nobody looks."""

    def __init__(self, where: str) -> None:
        """Keep the numbers 0 to 3 in a buffer, in a plain attribute, or in a list."""
        super().__init__()
        self.line = nn.Linear(4, 4)
        self.where = where
        table = torch.arange(4.0)
        if where.startswith("buffer"):
            self.register_buffer("table", table, persistent=False)
        else:
            self.table = table if where == "attribute" else [table]
        if where == "buffer that stays unset":
            self.init_non_persistent_buffers = lambda: None


@pytest.mark.parametrize("where", ["buffer", "buffer that stays unset", "attribute", "list"])
def test_tables_that_nobody_can_compute_cost_an_ordinary_network(where: str, tmp_path: Path) -> None:
    """Such a network is built in the ordinary way and takes over the tensors: right before frugal."""
    ordinary = OddTables(where)
    save_file(ordinary.state_dict(), tmp_path / "model.safetensors")
    built = hollow.filled(lambda: OddTables(where), context(tmp_path / "model.safetensors"))
    table = built.table[0] if where == "list" else built.table
    assert table.tolist() == [0, 1, 2, 3]
    assert torch.equal(built.line.weight, ordinary.line.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_number_format_are_converted(dtype: torch.dtype, tmp_path: Path) -> None:
    """A file in half precision gives a float32 network with just these values."""
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in
             make("resnet18", {})().state_dict().items()}  # fmt: skip
    save_file(state, tmp_path / "model.safetensors")
    built = hollow.filled(make("resnet18", {}), context(tmp_path / "model.safetensors")).state_dict()
    assert {tensor.dtype for tensor in built.values()} == {torch.float32, torch.long}
    assert all(torch.equal(built[name], state[name].to(built[name].dtype)) for name in state)


# ------------------------------------------------------------------------------------------------- peak of memory

PROGRAM = """
import resource, sys
import torch
from harness.cards import ModelCard
from harness.models.timm_backbone import build
from harness.types import BuildContext

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

kwargs = {kwargs!r}
def model(name, kwargs, options, **more):
    card = ModelCard(name=name, build="x:y", arch={arch!r}, kwargs=kwargs, options=["weights"],
                     output={{"pooling": "cls", "stages": {{"last": 0}}}}, input={{"size": 224}}, **more)
    return BuildContext(card, options=options)

small = dict(kwargs, depth=1, embed_dim=96, num_heads=2)
from dataclasses import replace
build(replace(model("warm", small, {{}}), untrained=True))    # imports, and the libraries' own memory
before = peak()
built = build(model("big", kwargs, {{"weights": sys.argv[1]}}))
print(peak() - before, sum(parameter.nbytes for parameter in built.module.parameters()))
"""


def write_random(arch: str, kwargs: dict, path: Path) -> None:
    """Write a file of random values for a network, tensor by tensor of one small pool, without building it."""
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in timm.create_model(arch, **kwargs).state_dict().items()}
    save_file({name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}, path)


def peak_of_loading(arch: str, kwargs: dict, path: Path) -> float:
    """Load a file in a process of its own; return its peak over that before, as a share of the file."""
    program = PROGRAM.format(arch=arch, kwargs=kwargs)
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown, weights = map(int, done.stdout.split())
    assert weights == pytest.approx(path.stat().st_size, rel=1e-3)
    return grown / path.stat().st_size


GIANT = {
    "img_size": 224, "patch_size": 14, "num_classes": 0, "global_pool": "token", "reg_tokens": 4,
    "no_embed_class": True, "init_values": 1e-5,
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is told in other units elsewhere")
def test_loading_takes_the_memory_of_the_weights_once(tmp_path: Path) -> None:
    """A network of 150 MB peaks at one copy of its file (and a few MB beside), not two."""
    kwargs = {**GIANT, "embed_dim": 768, "num_heads": 12, "depth": 5}
    write_random("vit_giant_patch14_reg4_dinov2", kwargs, tmp_path / "model.safetensors")
    assert peak_of_loading("vit_giant_patch14_reg4_dinov2", kwargs, tmp_path / "model.safetensors") <= 1.25


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is told in other units elsewhere")
def test_a_giant_takes_its_memory_once(tmp_path: Path) -> None:
    """1.1 billion parameters, 4.5 GB, peak at no more than 1.15 of the file."""
    free, disk = memory.free_memory() or 0, shutil.disk_usage(tmp_path).free
    if free < 12e9 or disk < 10e9:
        pytest.skip(f"needs 12 GB of free memory and 10 GB of disk; {free / 1e9:.0f} and {disk / 1e9:.0f} are free")
    path = tmp_path / "model.safetensors"
    try:
        write_random("vit_giant_patch14_reg4_dinov2", GIANT, path)
        assert path.stat().st_size > 4.5e9
        assert peak_of_loading("vit_giant_patch14_reg4_dinov2", GIANT, path) <= 1.15
    finally:
        path.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------- free memory


def test_a_network_without_memory_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells what is needed, what is free, and the largest sibling that fits; nothing is built."""
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 2_000_000_000)
    card = load_registry().cards["dinov2-vitg14"]
    asked = BuildContext(card, untrained=True, transform=card.input)
    with pytest.raises(UsageError) as caught:
        timm_backbone.build(asked)
    assert str(caught.value) == (
        "untrained:dinov2-vitg14: its 1,135 M parameters need 4.5 GB of memory, 2.0 GB are free (cpu); use its smaller "
        "sibling dinov2-vitl14, or end other programs or use a larger machine"
    )
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 1_000_000)
    with pytest.raises(UsageError, match=r"dinov2-vitg14: .* use a smaller model, or end other programs"):
        timm_backbone.build(replace(asked, untrained=False))
    small = load_registry().cards["resnet18"]
    timm_backbone.build(BuildContext(small, untrained=True, transform=small.input))


def test_unknown_memory_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell, building goes on; the same network is refused where it tells of too little."""
    with torch.device("meta"):
        network = nn.Linear(100_000, 100_000)
    asked: list[str] = []

    def silent(device: str = "cpu") -> None:
        asked.append(device)

    monkeypatch.setattr(memory, "free_memory", silent)
    card = load_registry().cards["vit-h-14"]
    memory.require_memory(network, card, "vit-h-14", "cpu")
    assert asked == ["cpu"]
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 1)
    with pytest.raises(UsageError, match="vit-h-14: its 10,000 M parameters"):
        memory.require_memory(network, card, "vit-h-14", "cpu")


def test_free_memory_is_the_kernels_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smaller of MemAvailable and what a control group leaves counts; no file, no answer."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:     4000 kB\n")
    assert memory.free_memory() == 4_096_000
    for name, text in (("max", "3000000"), ("current", "2500000"), ("stat", "anon 1\ninactive_file 100000")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free_memory() == 600_000
    (tmp_path / "memory.max").write_text("max")
    assert memory.free_memory() == 4_096_000
    if os.name == "posix":
        monkeypatch.undo()
        assert memory.free_memory() is None or memory.free_memory() > 0
