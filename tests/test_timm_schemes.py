"""Networks that nobody registered: any timm model, and repositories in timm's layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from harness.models.timm_backbone import build, create
from harness.models.timm_schemes import hub_card, timm_card
from safetensors.torch import save_file
from small_task import enter
from torch import nn

from harness import ModelCard, evaluate
from harness.errors import DamagedFileError, HarnessError, MissingDataError, UnknownNameError
from harness.types import Batch, BuildContext, DataContext


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch, train=2, val=1, test=1)


def card(text: str) -> ModelCard:
    """Make the card of ``timm:text``."""
    return timm_card(text, DataContext())


def batch(side: int, channels: int = 3) -> Batch:
    """Return two random images."""
    images = np.random.default_rng(0).integers(0, 256, (2, channels, side, side), dtype=np.uint8)
    return Batch(("a", "b"), "image", images=images)


def normalise(given: Batch, transform: Any) -> torch.Tensor:
    """Normalise images by hand."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (transform.mean, transform.std))
    return (torch.from_numpy(given.images).float() / 255 - mean) / std


def mirror(folder: Path, repository: str, config: Any, network: nn.Module | None = None) -> DataContext:
    """Write a repository in timm's layout under a data folder."""
    place = folder / "data" / repository
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if network is not None:
        save_file(network.state_dict(), place / "model.safetensors")
    return DataContext(data_dirs=(folder / "data",), cache=folder / "cache", offline=True)


def built(made: ModelCard, context: DataContext, **changes: Any) -> Any:
    """Build a model from a mirror."""
    asked = BuildContext(made, data_dirs=context.data_dirs, cache=context.cache, offline=True)
    return build(replace(asked, **changes))


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("resnet18", "hf-hub:timm/resnet18.a1_in1k"),
        ("resnet18.tv_in1k", "hf-hub:timm/resnet18.tv_in1k"),
        ("vit_small_patch14_dinov2.lvd142m", "hf-hub:timm/vit_small_patch14_dinov2.lvd142m"),
    ],
)
def test_the_card_has_timms_own_transform(text: str, source: str) -> None:
    """Size, mean, standard deviation and interpolation are those of the tag, the default one if none is named."""
    made, known = card(text), timm.models.get_pretrained_cfg(text)
    assert made.weights is not None
    assert (made.weights.source, made.label) == (source, f"timm:{text}")
    assert made.input.size == known.input_size[-1]
    assert (tuple(made.input.mean), tuple(made.input.std)) == (known.mean, known.std)
    assert made.input.interpolation == known.interpolation
    assert made.exposure == {}
    assert made.pretrain_domain == "unknown"


def test_tags_differ() -> None:
    """Two tags of one architecture lead to two weights files, and each keeps its own transform."""
    first, second = card("vit_base_patch16_224.augreg_in1k"), card("vit_base_patch16_224.dino")
    assert first.weights != second.weights
    assert first.input.mean == [0.5, 0.5, 0.5]
    assert second.input.mean == [0.485, 0.456, 0.406]


def test_the_network_is_built_for_the_size_of_its_tag() -> None:
    """A network whose weights were made at another size than 224 px takes that size."""
    made = card("vit_small_patch14_dinov2.lvd142m")
    with torch.device("meta"):
        assert create(made).patch_embed.img_size == (518, 518)
    assert made.input.size == 518


@pytest.mark.parametrize(
    ("text", "stages", "dim", "family", "twin"),
    [
        ("vit_tiny_patch16_224", {"block3": 2, "block6": 5, "block9": 8, "block12": 11}, 192, "vit", "library"),
        ("vit_large_patch16_224", {"block6": 5, "block12": 11, "block18": 17, "block24": 23}, 1024, "vit", "library"),
        ("vit_small_patch14_dinov2", {"block3": 2, "block6": 5, "block9": 8, "block12": 11}, 384, "vit", "active"),
        ("vit_small_patch16_dinov3", {"block3": 2, "block6": 5, "block9": 8, "block12": 11}, 384, "vit", "active"),
        ("resnet18", {f"stage{number}": number for number in range(5)}, 512, "cnn", "library"),
        ("swin_tiny_patch4_window7_224", {f"stage{number}": number for number in range(4)}, 768, "cnn", "library"),
        ("convnext_atto", {f"stage{number}": number for number in range(4)}, 320, "cnn", "active"),
        ("mobilenetv3_small_050", {f"stage{number}": number for number in range(5)}, 1024, "cnn", "library"),
    ],
)
def test_stages_length_and_twin_follow_the_network(
    text: str, stages: dict[str, int], dim: int, family: str, twin: str
) -> None:
    """Four blocks at the quarters or every map; LayerScale asks for the active twin."""
    made = card(text)
    assert made.output.stages == stages
    assert (made.output.dim, made.family, made.untrained.twin) == (dim, family, twin)


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        ("vit_tiny_patch16_224", [192, 192, 192, 192]),
        ("vit_small_patch16_dinov3", [384, 384, 384, 384]),
        ("swin_tiny_patch4_window7_224", [96, 192, 384, 768]),
        ("convnext_atto", [40, 80, 160, 320]),
        ("mobilenetv3_small_050", [16, 8, 16, 24, 1024]),
    ],
)
def test_twins_answer_at_every_stage(text: str, dims: list[int]) -> None:
    """A random twin needs no file, gives every stage in its length, and tells images apart."""
    made = card(text)
    asked = BuildContext(made, untrained=True, offline=True)
    model = build(asked)
    answer = model.embed(batch(made.input.size or 224), made.stages)
    assert [answer[stage].shape for stage in made.stages] == [(2, dim) for dim in dims]
    assert all(np.ptp(answer[stage], axis=0).max() > 1e-4 for stage in made.stages)
    assert answer[made.stages[-1]].shape[1] == made.output.dim


def test_active_twins_differ_from_the_library_only_in_scale() -> None:
    """LayerScale is 1 in the active twin; all other weights are those of the library's draw."""
    made = card("convnext_atto")
    active = build(BuildContext(made, untrained=True))._module.state_dict()
    library = build(BuildContext(made, untrained=True, options={"init": "library"}))._module.state_dict()
    scales = {name for name in active if name.endswith(".gamma")}
    assert scales
    assert all((active[name] == 1).all() and (library[name] < 1e-5).all() for name in scales)
    assert all(torch.equal(active[name], library[name]) for name in set(active) - scales)


POOLS = [
    ("resnet18", 64, {}),
    ("convnext_atto", 64, {}),
    ("swin_tiny_patch4_window7_224", 224, {}),
    ("vit_tiny_patch16_224", 64, {"img_size": 64}),
    ("vit_tiny_patch16_224", 64, {"img_size": 64, "global_pool": "avg"}),
    ("vit_tiny_patch16_224", 64, {"img_size": 64, "global_pool": "map", "class_token": False}),
    ("vit_base_patch16_siglip_224", 64, {"img_size": 64, "depth": 2}),
    ("vit_small_patch16_dinov3", 64, {"img_size": 64, "depth": 3}),
    ("vit_small_patch14_reg4_dinov2", 70, {"img_size": 70, "depth": 3}),
]


@pytest.mark.parametrize(("arch", "side", "arguments"), POOLS)
def test_the_last_stage_is_what_the_network_itself_returns(
    arch: str, side: int, arguments: dict[str, Any], folder: Path
) -> None:
    """For cnn, class token, average, registers and attention pooling, the features are those of model(x) in timm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = timm.create_model(arch, num_classes=0, **arguments).eval()
    config = {
        "architecture": arch,
        "num_classes": 0,
        "pretrained_cfg": {"input_size": [3, side, side], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
        "model_args": arguments,
    }
    context = mirror(folder, "lab/net", config, network)
    made = hub_card("lab/net", context)
    assert made.input.size == side
    given = batch(side)
    answer = built(made, context).embed(given, made.stages[-1:])[made.stages[-1]]
    with torch.inference_mode():
        wanted = network(normalise(given, made.input)).numpy()
    assert np.ptp(wanted, axis=0).max() > 1e-4
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
    assert answer.shape[1] == made.output.dim


def test_a_mirrored_repository_gives_equal_bits(folder: Path) -> None:
    """The network of a repository holds the weights of its file bit for bit, and answers with equal bits."""
    exported = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=96).eval()
    place = folder / "data/My_Lab/Tiny.ViT"
    timm.models.save_for_hf(exported, place, safe_serialization=True)
    context = DataContext(data_dirs=(folder / "data",), cache=folder / "cache", offline=True)
    made = hub_card("My_Lab/Tiny.ViT", context)
    assert (made.name, made.label) == ("hf-hub-my-lab-tiny.vit", "hf-hub:My_Lab/Tiny.ViT")
    assert made.input.size == 96
    model = built(made, context)
    own = timm.create_model(f"local-dir:{place}", pretrained=True, num_classes=0).eval()
    assert {name: tensor.tolist() for name, tensor in model._module.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in own.state_dict().items()
    }
    given = batch(96)
    pixels = model._preprocess(given.images).pixels
    with torch.inference_mode():
        wanted = own.to(memory_format=torch.channels_last)(pixels).numpy()
    assert model.embed(given, ["block12"])["block12"].tobytes() == wanted.tobytes()


def test_channels_and_size_come_from_the_configuration(folder: Path) -> None:
    """A repository of a five-channel network at a fixed size is built like that, as timm builds it."""
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, in_chans=5, img_size=48).eval()
    config = {
        "architecture": "vit_tiny_patch16_224",
        "pretrained_cfg": {"input_size": [5, 48, 48], "fixed_input_size": True, "mean": [0.1] * 5, "std": [0.3] * 5},
    }
    context = mirror(folder, "lab/five", config, network)
    made = hub_card("lab/five", context)
    assert (made.input.channels, made.input.size, made.input.mean) == (5, 48, [0.1] * 5)
    given = batch(48, channels=5)
    answer = built(made, context, channels=5).embed(given, ["block12"])["block12"]
    with torch.inference_mode():
        wanted = network(normalise(given, made.input)).numpy()
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=1e-4)


def test_a_configuration_of_one_level_is_read(folder: Path) -> None:
    """Older repositories have architecture and transform side by side; what is left out is timm's default."""
    config = {"architecture": "resnet18", "input_size": [3, 160, 160], "interpolation": "bilinear", "std": [1, 1, 1]}
    made = hub_card("lab/old", mirror(folder, "lab/old", config))
    assert (made.input.size, made.input.interpolation, made.input.std) == (160, "bilinear", [1.0, 1.0, 1.0])
    assert made.input.mean == [0.485, 0.456, 0.406]


def failure(make: Any, text: str, context: DataContext, kind: type[HarnessError], code: int) -> str:
    """Make a card, which must fail, and return the message."""
    with pytest.raises(kind) as caught:
        make(text, context)
    assert caught.value.exit_code == code
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet81", "unknown timm model 'resnet81'. Did you mean resnet18"),
        ("resnet18.a1_in2k", "unknown tag of timm model resnet18 'a1_in2k'. Did you mean a1_in1k"),
        ("resnet18.nothing_like_it", "It has a1_in1k, "),
        ("", "unknown timm model ''"),
    ],
)
def test_unknown_names_offer_the_nearest(text: str, words: str) -> None:
    """An unknown architecture or tag is refused with the nearest names."""
    assert words in failure(timm_card, text, DataContext(), UnknownNameError, 3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{not json", "JSONDecodeError"),
        ('{"architectures": ["ViTModel"]}', "with the key architecture (KeyError"),
        ("[]", "with the key architecture (TypeError"),
        ('{"architecture": "resnet18", "model_args": [1]}', "AttributeError"),
        ('{"architecture": "resnet18", "pretrained_cfg": {"input_size": "large"}}', "ValueError"),
        ('{"architecture": "resnet18", "model_args": {"width_of_stem": 3}}', "timm builds no resnet18 from it: "),
    ],
)
def test_a_broken_configuration_is_damage(config: str, words: str, folder: Path) -> None:
    """A config.json that is cut, of another library or contradictory is named with what is wrong."""
    message = failure(hub_card, "lab/net", mirror(folder, "lab/net", config), DamagedFileError, 7)
    assert str(folder / "data/lab/net/config.json") in message
    assert words in message


def test_an_unknown_architecture_in_a_repository_is_named(folder: Path) -> None:
    """A repository made for another version of timm says which architecture it asks for."""
    context = mirror(folder, "lab/net", {"architecture": "vit_tinyy_patch16_224"})
    message = failure(hub_card, "lab/net", context, UnknownNameError, 3)
    assert "Did you mean vit_tiny_patch16_224" in message
    assert "hf-hub:lab/net asks for it" in message


def test_an_absent_repository_is_explained(folder: Path) -> None:
    """Offline, the places searched are named, and what to put where."""
    context = DataContext(data_dirs=(folder / "data",), cache=folder / "cache", offline=True)
    message = failure(hub_card, "lab/net", context, MissingDataError, 5)
    assert f"{folder}/data/lab/net/config.json; download: not asked (--offline)" in message
    assert "DIR/lab/net and pass --data-dir DIR" in message
    assert "hf auth login" in message
    failure(hub_card, "a/b/c/d", context, MissingDataError, 5)


def test_a_repository_without_weights_is_explained(folder: Path) -> None:
    """The configuration alone builds twins; for the trained network the message names what can be typed."""
    context = mirror(folder, "lab/net", {"architecture": "resnet18"})
    made = hub_card("lab/net", context)
    with pytest.raises(MissingDataError, match=r"pass hf-hub:lab/net,weights=PATH.* untrained:hf-hub:lab/net runs"):
        built(made, context)
    twin = built(made, context, untrained=True)
    assert twin.embed(batch(64), ["stage4"])["stage4"].shape == (2, 512)


def test_model_strings_run_from_end_to_end(folder: Path) -> None:
    """A twin of a timm model and a mirrored repository give results under their model strings."""
    network = timm.create_model("resnet18", num_classes=0)
    mirror(folder, "lab/net", {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 64, 64]}}, network)
    results = evaluate(
        "untrained:timm:test_resnet,hf-hub:lab/net", "tiny.yaml@graph_image", baselines="none", output=None,
        seeds=(0,), data_dirs=(folder / "data",), offline=True,
    )  # fmt: skip
    assert [result.model.name for result in results] == ["untrained:timm:test_resnet", "hf-hub:lab/net"]
    assert [result.stage for result in results] == ["stage4", "stage4"]
