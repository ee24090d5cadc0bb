"""Networks that a card alone does not build: CONCH, CTransPath, OpenPhenom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from harness.models import conch, ctranspath, openphenom
from harness.models.attention_pools import BiasFreePool, MultiheadPool
from harness.models.channel_vit import ChannelVit, ChannelVitStages, wave_positions
from harness.models.channels import adapt_filters
from harness.models.expectations import check_expectations, signature
from harness.models.remaps.conch import resample_positions
from places import needs_shared, reference_models
from torch import Tensor, nn

from harness.cards import ModelCard
from harness.errors import DamagedFileError, HarnessError, MismatchError, MissingDataError, UsageError
from harness.plugins import load_registry
from harness.types import Batch, BuildContext, Model

CARDS = load_registry().cards
NAMES = ["openphenom", "conch-v1", "conch-v1.5", "ctranspath"]
BUILDERS: dict[str, ModuleType] = {
    "openphenom": openphenom, "conch-v1": conch, "conch-v1.5": conch, "ctranspath": ctranspath,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "openphenom": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "conch-v1": {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 4},
    "conch-v1.5": {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 4},
    "ctranspath": {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)},
}
"""What makes networks of the same kind that take milliseconds."""
POOLERS = {
    "conch-v1": {"kind": "multihead", "width": 32, "heads": 4},
    "conch-v1.5": {"kind": "bias-free", "width": 32, "heads": 4},
}
STAGES = {
    "openphenom": {"block1": 0, "block2": 1},
    "conch-v1": {"block1": 0, "block2": 1, "last": 2},
    "conch-v1.5": {"block1": 0, "block2": 1, "last": 2},
}


def small(name: str, **changes: Any) -> ModelCard:
    """Return the card of a small network of the same kind."""
    card = CARDS[name]
    kwargs = {**card.kwargs, **SMALL[name], **({"pooler": POOLERS[name]} if name in POOLERS else {})}
    output = {**card.output.model_dump(), "dim": None, "stages": STAGES.get(name, card.output.stages)}
    given = {**card.input.model_dump(), "size": kwargs.get("img_size", card.input.size)}
    return ModelCard.model_validate(
        {**card.model_dump(), "kwargs": kwargs, "output": output, "input": given, "expect": {}, **changes}
    )


def create(name: str, card: ModelCard) -> Any:
    """Construct the network of a card."""
    return ctranspath.create(card, 3) if name == "ctranspath" else BUILDERS[name].create(card)


def stages_of(name: str, network: Any, card: ModelCard) -> Any:
    """Return what reads the stages of a network."""
    readers = {"openphenom": ChannelVitStages, "ctranspath": ctranspath.CTransPathStages}
    return readers.get(name, conch.ConchStages)(network, card)


def draw(name: str, card: ModelCard, seed: int = 0) -> Any:
    """Draw a small network; no norm, and no batch norm's statistics, have their initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = create(name, card).eval()
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                low = 0.5 if key.endswith(("weight", "running_var", "gamma")) else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network


def batch(images: np.ndarray) -> Batch:
    """Name some images."""
    return Batch(tuple(f"sample/{row}" for row in range(len(images))), "image", images=images)


def noise(channels: int, size: int, n: int = 2, seed: int = 0) -> np.ndarray:
    """Return random images."""
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def build(name: str, card: ModelCard | None = None, channels: int = 3, **more: Any) -> Model:
    """Build a model, untrained unless weights are given."""
    options: Mapping[str, str] = more.pop("options", {})
    untrained = more.pop("untrained", "weights" not in options)
    context = BuildContext(card or CARDS[name], untrained, channels=channels, options=options, **more)
    return BUILDERS[name].build(replace(context, transform=context.card.input))


# ---------------------------------------------------------------------------- cards


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_the_one_its_card_describes(name: str) -> None:
    """Built on the meta device: parameters, tensors, signature, and the length of every stage."""
    card = CARDS[name]
    with torch.device("meta"):
        network = create(name, card).eval()
        check_expectations(network, card)
        assert signature(network.state_dict()) == card.expect.signature
        answer = stages_of(name, network, card)(torch.empty(1, 3, card.input.size, card.input.size), card.stages)
    assert list(answer) == card.stages
    assert answer[card.stages[-1]].shape == (1, card.output.dim)


@needs_shared
@pytest.mark.parametrize("name", NAMES)
def test_a_card_agrees_with_the_reference_table(name: str) -> None:
    """Sizes, signature, stages with their lengths, normalisation, licence and exposure are the table's."""
    row, card = reference_models()[name], CARDS[name]
    assert (card.expect.params, card.expect.tensors) == (int(row["params"]), int(row["state_tensors"]))
    assert card.expect.signature == row["state_signature"]
    assert (card.output.dim, card.input.size) == (int(row["embed_dim"]), int(row["input_size"]))
    assert card.stages == row["stages"].split(",")
    indices = [int(index) for index in row["stage_indices0"].split(",") if index]
    assert list(card.output.stages.values())[: len(indices)] == indices
    assert card.untrained.twin == row["untrained_twin"]
    assert (card.access.licence, card.weights.remap) == (row["licence"], row["remap"])
    assert card.training_data == row["training_data"]
    if row["mean"] != "per-image":
        assert card.input.mean == [float(value) for value in row["mean"].split(",")]
        assert card.input.std == [float(value) for value in row["std"].split(",")]
        assert (card.input.channel_adapt, card.input.interpolation) == (row["channel_adapt"], row["interpolation"])
    columns = {
        "hest": "hest",
        "tcga-brca": "tcga_brca",
        "rxrx3-core": "rxrx3_core",
        "jump-cp": "jump_cp",
        "imagenet-1k": "imagenet1k",
    }
    assert {key: card.exposure[key] for key in columns} == {key: row[f"exposure_{end}"] for key, end in columns.items()}
    with torch.device("meta"):
        network = create(name, card).eval()
        answer = stages_of(name, network, card)(torch.empty(1, 3, card.input.size, card.input.size), card.stages)
    assert [answer[stage].shape[1] for stage in card.stages] == [int(length) for length in row["stage_dims"].split(",")]


# --------------------------------------------------------------------------- pooling


def test_the_pool_of_v1_is_scaled_dot_product_attention_head_by_head() -> None:
    """Softmax of query times keys over the root of the head's width, in an explicit loop over images and heads."""
    torch.manual_seed(0)
    pool, tokens = MultiheadPool(8, 12, heads=2), torch.randn(3, 5, 12)
    for parameter in pool.parameters():
        nn.init.normal_(parameter)
    at = pool.attn
    bias = at.in_proj_bias.split(8)
    with torch.inference_mode():
        for row, image in enumerate(tokens):
            keys = pool.ln_k(image)
            query = at.q_proj_weight @ pool.ln_q(pool.query)[0] + bias[0]
            key, value = keys @ at.k_proj_weight.T + bias[1], keys @ at.v_proj_weight.T + bias[2]
            heads = [
                torch.softmax(key[:, part] @ query[part] / 4**0.5, dim=0) @ value[:, part]
                for part in (slice(0, 4), slice(4, 8))
            ]
            want = at.out_proj(torch.cat(heads))
            torch.testing.assert_close(pool(tokens)[row], want, rtol=1e-4, atol=1e-4)


def test_the_pool_of_v1_5_is_torchs_attention_without_biases() -> None:
    """With the same weights torch's multi-head attention gives the same vector."""
    torch.manual_seed(0)
    pool, tokens = BiasFreePool(8, 12, heads=2), torch.randn(3, 5, 12)
    for norm in (pool.ln_q, pool.ln_k):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    twin = nn.MultiheadAttention(8, 2, bias=False, kdim=12, vdim=12, batch_first=True)
    with torch.no_grad():
        twin.q_proj_weight.copy_(pool.to_q.weight)
        twin.k_proj_weight.copy_(pool.to_kv.weight[:8])
        twin.v_proj_weight.copy_(pool.to_kv.weight[8:])
        twin.out_proj.weight.copy_(pool.to_out.weight)
        keys = pool.ln_k(tokens)
        want = twin(pool.ln_q(pool.query).expand(3, 1, 8), keys, keys)[0][:, 0]
        torch.testing.assert_close(pool(tokens), want, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------- positions


def test_positions_are_sines_and_cosines() -> None:
    """Each patch holds the waves of its row, then of its column; the class token has none; channels repeat them."""
    found = wave_positions(3, 4, 16, repeats=2)
    assert found.shape == (1, 25, 16)
    assert not found[0, 0].any()
    want = np.zeros((12, 16))
    for row in range(3):
        for column in range(4):
            for k in range(4):
                frequency = 10000.0 ** (-k / 4)
                want[4 * row + column, [k, 4 + k, 8 + k, 12 + k]] = (
                    np.sin(row * frequency), np.cos(row * frequency),
                    np.sin(column * frequency), np.cos(column * frequency),
                )  # fmt: skip
    np.testing.assert_allclose(found[0, 1:13].numpy(), want, atol=1e-6)
    assert torch.equal(found[0, 1:13], found[0, 13:])


def cubic(x: float, a: float = -0.75) -> float:
    """Return the weight of a sample at distance x in bicubic interpolation."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def test_positions_of_v1_5_are_resampled_with_the_upstream_scale() -> None:
    """A loop over weights: 14 points to 28 with the scale 28.1 / 14, bicubic, edges repeated, no antialiasing."""
    torch.manual_seed(0)
    given = torch.randn(1, 197, 3)
    weights = np.zeros((28, 14))
    for out in range(28):
        place = (out + 0.5) / (28.1 / 14) - 0.5
        for near in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            weights[out, min(max(near, 0), 13)] += cubic(place - near)
    maps = given[0, 1:].reshape(14, 14, 3).double().numpy()
    want = np.einsum("ia,jb,abd->ijd", weights, weights, maps).reshape(784, 3)
    found = resample_positions(given, 28, 28)
    assert torch.equal(found[:, 0], given[:, 0])
    np.testing.assert_allclose(found[0, 1:].numpy(), want, atol=1e-5)
    assert torch.equal(resample_positions(given, 14, 14), given)


# ---------------------------------------------------------------------- checkpoints


def released(name: str, network: nn.Module) -> dict[str, Any]:
    """Write the state of a network under the names of the released file, with what that file holds beside it."""
    state = network.state_dict()
    extra = torch.zeros(2)
    if name == "openphenom":
        named = {f"encoder.vit_backbone.{key}": tensor for key, tensor in state.items()}
        return {"state_dict": named | {"decoder.mask_token": extra, "encoder_decoder_proj.weight": extra}}
    if name == "conch-v1":
        named = {f"module.visual.{key}": tensor for key, tensor in state.items()}
        others = (
            "visual.proj_contrast",
            "visual.attn_pool_caption.query",
            "visual.ln_caption.bias",
            "text.cls_emb",
            "logit_scale",
        )
        return named | {f"module.{key}": extra for key in others}
    if name == "ctranspath":
        named = {}
        for key, tensor in state.items():
            parts = key.split(".")
            if parts[2:3] == ["downsample"]:
                parts[1] = str(int(parts[1]) - 1)
            named[".".join(parts)] = tensor
        others = ("layers.0.blocks.1.attn_mask", "layers.0.blocks.0.attn.relative_position_index", "head.weight")
        return {"model": named | dict.fromkeys(others, extra), "epoch": 3}
    return dict(state)


def native(name: str, path: Path) -> dict[str, str]:
    """Ask for a file of weights whose positions fit the small network as they are."""
    return {"weights": str(path)} | ({"pos_embed": "native"} if name == "conch-v1.5" else {})


@pytest.mark.parametrize("name", NAMES)
def test_a_released_checkpoint_gives_the_network_itself(name: str, tmp_path: Path) -> None:
    """Loaded under the released names, every tensor is bit-equal and the features are those of the network."""
    card = small(name)
    network = draw(name, card)
    torch.save(released(name, network), tmp_path / "model.bin")
    model = build(name, card, options=native(name, tmp_path / "model.bin"))
    loaded = model.module.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in network.state_dict().items())
    images = noise(3, card.input.size)
    pixels = torch.from_numpy(images).float() / 255
    if card.input.mean is not None:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (card.input.mean, card.input.std))
        pixels = (pixels - mean) / std
    with torch.inference_mode():
        want = network(pixels).numpy()
    last = card.stages[-1]
    np.testing.assert_allclose(model.embed(batch(images), (last,))[last], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grid", [14, 16])
def test_positions_in_a_file_of_v1_5_are_brought_to_the_grid(grid: int, tmp_path: Path) -> None:
    """14 x 14 positions are resampled; others shrink to 14 x 14 first; ``native`` refuses both by name."""
    card = small("conch-v1.5")
    state = dict(draw("conch-v1.5", card).state_dict())
    state["trunk.pos_embed"] = torch.randn(1, 1 + grid * grid, 48)
    torch.save(state, tmp_path / "model.bin")
    loaded = build("conch-v1.5", card, options={"weights": str(tmp_path / "model.bin")}).module.state_dict()
    maps = state["trunk.pos_embed"][:, 1:].reshape(1, grid, grid, 48).permute(0, 3, 1, 2)
    if grid != 14:
        maps = nn.functional.interpolate(maps, size=(14, 14), mode="bilinear")
    maps = nn.functional.interpolate(maps, scale_factor=4.1 / 14, mode="bicubic")
    want = torch.cat([state["trunk.pos_embed"][:, :1], maps.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(loaded["trunk.pos_embed"], want)
    with pytest.raises(
        MissingDataError, match=rf"trunk.pos_embed \(1, {1 + grid * grid}, 48\) instead of \(1, 17, 48\)"
    ):
        build("conch-v1.5", card, options={"weights": str(tmp_path / "model.bin"), "pos_embed": "native"})


WRONG = [
    ("openphenom", {"drop": "encoder.vit_backbone.cls_token"}, r"1 missing \(first: cls_token\)"),
    ("openphenom", {"depth": 3}, "the encoder of this file has 3 blocks, the network 2"),
    ("openphenom", {"embed_dim": 96}, r"wrong shape \(first: cls_token \(1, 1, 96\) instead of \(1, 1, 48\)\)"),
    ("conch-v1", {"drop": "module.visual.attn_pool_contrast.query"}, r"1 missing \(first: attn_pool_contrast.query\)"),
    ("conch-v1.5", {"drop": "ln_contrast.bias"}, r"1 missing \(first: ln_contrast.bias\)"),
    ("ctranspath", {"drop": "patch_embed.proj.0.weight"}, r"1 missing \(first: patch_embed.proj.0.weight\)"),
]


@pytest.mark.parametrize(("name", "change", "words"), WRONG)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(name: str, change: dict, words: str, tmp_path: Path) -> None:
    """Missing tensors, other shapes, another number of blocks: the first key, the file, and nothing loaded in part."""
    card = small(name)
    other = {key: value for key, value in change.items() if key != "drop"}
    file = released(name, draw(name, card.model_copy(update={"kwargs": card.kwargs | other})))
    inner = file.get("model", file.get("state_dict", file))
    inner.pop(change.get("drop"), None)
    torch.save(file, tmp_path / "model.bin")
    with pytest.raises(MissingDataError, match=words):
        build(name, card, options=native(name, tmp_path / "model.bin"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_model_is_refused(name: str, tmp_path: Path) -> None:
    """Names that the rule does not know are listed as missing and unexpected."""
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "model.bin")
    with pytest.raises(MissingDataError, match=rf"{name}: .* missing .*1 unexpected \(first: layer.weight\)"):
        build(name, small(name), options={"weights": str(tmp_path / "model.bin")})


def test_other_positions_in_a_file_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The computed positions of OpenPhenom are used; a file that holds others says so in the log."""
    card = small("openphenom")
    network = draw("openphenom", card)
    file = released("openphenom", network)
    torch.save(file, tmp_path / "model.bin")
    build("openphenom", card, options={"weights": str(tmp_path / "model.bin")})
    assert not caplog.text
    file["state_dict"]["encoder.vit_backbone.pos_embed"] = torch.zeros(1, 257, 48)
    torch.save(file, tmp_path / "model.bin")
    loaded = build("openphenom", card, options={"weights": str(tmp_path / "model.bin")}).module
    assert torch.equal(loaded.pos_embed, network.pos_embed)
    assert "the position embedding in the file is not the computed one" in caplog.text


PAGES = {
    "conch-v1": "model page of MahmoodLab/conch",
    "conch-v1.5": "model page of MahmoodLab/conchv1_5",
    "ctranspath": "dataset page of MahmoodLab/hest-bench",
}


@pytest.mark.parametrize("name", list(PAGES))
def test_gated_weights_without_a_token_say_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline and without a file: terms, page, place of the file, twin."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    card, page = CARDS[name], PAGES[name]
    with pytest.raises(MissingDataError) as caught:
        BUILDERS[name].identify(BuildContext(card, cache=tmp_path, offline=True))
    message, owner = str(caught.value), page.partition(" of ")[2]
    assert message.startswith(
        f"{name}: weights are gated ({card.access.gated}). Licence: {card.access.licence}. Not found ("
    )
    assert (
        f"Accept the terms on the {page} on Hugging Face, log in (hf auth login), and run without --offline to "
        f"download it; or place {card.weights.files[0]} at DIR/{owner}/{card.weights.files[0]} and pass --data-dir "
        f"DIR, or use {name},weights=PATH. untrained:{name} runs at once, without weights."
    ) in message


# ----------------------------------------------------------------------------- stages


@pytest.mark.parametrize("name", NAMES)
def test_stages_in_one_pass_are_what_hooks_see(name: str) -> None:
    """One pass returns what hooks on the blocks catch; the last stage of all equals the last alone."""
    card = small(name)
    network = draw(name, card)
    trunk = getattr(network, "trunk", network)
    parts = trunk.layers if name == "ctranspath" else trunk.blocks
    seen: list[Tensor] = []
    for part in parts:
        part.register_forward_hook(lambda _module, _given, out: seen.append(out))
    pixels = torch.rand(2, 3, card.input.size, card.input.size)
    with torch.inference_mode():
        found = stages_of(name, network, card)(pixels, card.stages)
        assert len(seen) == len(parts)
        hooked = list(seen)
        for stage, index in card.output.stages.items():
            torch.testing.assert_close(found[stage], pooled(name, network, hooked, index), rtol=1e-4, atol=1e-4)
        alone = stages_of(name, network, card)(pixels, card.stages[-1:])[card.stages[-1]]
        assert torch.equal(found[card.stages[-1]], alone)
        seen.clear()
        stages_of(name, network, card)(pixels, card.stages[:1])
        assert len(seen) == card.output.stages[card.stages[0]] + 1


def pooled(name: str, network: Any, outputs: Sequence[Tensor], index: int) -> Tensor:
    """Return the vector of a stage, from what the blocks or layers gave."""
    if name == "openphenom":
        return outputs[index][:, 1:].mean(dim=1)
    if name == "ctranspath":
        maps = network.norm(outputs[index]) if index == len(outputs) - 1 else outputs[index]
        return maps.mean(dim=(1, 2))
    if index == len(outputs):
        return network.ln_contrast(network.attn_pool_contrast(network.trunk.norm(outputs[-1])))
    return network.trunk.norm(outputs[index])[:, 0]


@pytest.mark.parametrize("name", ["openphenom", "conch-v1", "ctranspath"])
def test_images_of_another_size_are_named(name: str) -> None:
    """Without a resize the size found and the size wanted are told."""
    card = small(name)
    plain = card.input.model_copy(update={"resize": "none", "crop": "none", "tiles": "whole"})
    context = BuildContext(card, untrained=True, transform=plain)
    with pytest.raises(MismatchError, match="images are 80 x 80 px, the network takes"):
        BUILDERS[name].build(context).embed(batch(noise(3, 80)), card.stages[-1:])


# --------------------------------------------------------------------------- channels


@pytest.mark.parametrize("name", ["conch-v1", "conch-v1.5", "ctranspath"])
@pytest.mark.parametrize("channels", [1, 5])
def test_first_layers_are_copied_for_other_channels(name: str, channels: int, tmp_path: Path) -> None:
    """A trained network repeats its RGB filters in turn, unscaled; a twin is drawn for the channels there are."""
    card = small(name)
    network = draw(name, card)
    torch.save(released(name, network), tmp_path / "model.bin")
    trained = build(name, card, channels, options=native(name, tmp_path / "model.bin"))
    first = "patch_embed.proj.0.weight" if name == "ctranspath" else "trunk.patch_embed.proj.weight"
    found = trained.module.state_dict()[first]
    assert torch.equal(found, adapt_filters(network.state_dict()[first], channels, "copy"))
    assert build(name, card, channels).module.state_dict()[first].shape == found.shape
    images, last = noise(channels, card.input.size), card.stages[-1]
    assert trained.embed(batch(images), (last,))[last].shape[0] == 2


@pytest.fixture(scope="module")
def network() -> ChannelVit:
    """Draw a small channel-agnostic network."""
    return draw("openphenom", small("openphenom"))


@pytest.mark.parametrize("channels", range(1, 12))
def test_every_channel_brings_256_tokens(channels: int, network: ChannelVit) -> None:
    """C channels of 256 px are 256 C + 1 tokens, channel by channel, each at its position."""
    pixels = torch.rand(1, channels, 256, 256)
    with torch.inference_mode():
        tokens = network.tokens(pixels)
        assert tokens.shape == (1, 256 * channels + 1, 48)
        alone = network.tokens(pixels[:, -1:])
    torch.testing.assert_close(tokens[:, -256:], alone[:, 1:], rtol=1e-4, atol=1e-4)


def test_the_order_of_channels_does_not_matter(network: ChannelVit) -> None:
    """Positions repeat from channel to channel, so the mean is the same in any order."""
    pixels = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels), network(pixels[:, [2, 0, 1]]), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(network(pixels), network(pixels[:, :2]), atol=1e-2)


def test_brightness_and_contrast_do_not_matter(network: ChannelVit) -> None:
    """Each channel is normalised by itself, whatever the task asks for: scaled and shifted images give the same."""
    card = small("openphenom")
    bare = card.input.model_copy(update={"mean_std": "none"})
    model = openphenom.build(BuildContext(card, untrained=True, channels=2, transform=bare))
    images = noise(2, 256, n=1).astype(np.float32) / np.float32(255)
    scale, shift = (np.array(values, dtype=np.float32)[:, None, None] for values in ([0.5, 0.25], [0.1, 0.4]))
    first, second = (model.embed(batch(one), ("block2",))["block2"] for one in (images, images * scale + shift))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [0, 12])
def test_more_channels_than_positions_are_refused(channels: int) -> None:
    """OpenPhenom takes 1 to 11 channels and says so."""
    with pytest.raises(MismatchError, match=f"openphenom: images have {channels} channels, the network takes 1 to 11"):
        build("openphenom", channels=channels)


def test_a_large_image_is_the_mean_of_its_crops() -> None:
    """512 px are four crops of 256 px whose vectors are averaged; a smaller image is resized whole."""
    card = small("openphenom")
    model, image = build("openphenom", card, 2), noise(2, 512, n=1)
    crops = np.concatenate([image[:, :, y : y + 256, x : x + 256] for y in (0, 256) for x in (0, 256)])
    apart = model.embed(batch(crops), card.stages)
    whole = model.embed(batch(image), card.stages)
    for stage in card.stages:
        np.testing.assert_allclose(whole[stage][0], apart[stage].mean(axis=0), rtol=1e-4, atol=1e-5)
    grown = nn.functional.interpolate(
        torch.from_numpy(image[:, :, :224, :224]).float(), (256, 256), mode="bilinear", antialias=True
    )
    want = model.embed(batch((grown / 255).numpy()), ("block2",))["block2"]
    np.testing.assert_allclose(
        model.embed(batch(image[:, :, :224, :224]), ("block2",))["block2"], want, rtol=1e-3, atol=1e-3
    )


# ------------------------------------------------------------------------------ twins


@pytest.mark.parametrize("name", NAMES)
def test_untrained_twins_run_without_files(name: str) -> None:
    """A seed is a network, the caller's randomness stays, and two images are told apart."""
    card = small(name)
    images, last = noise(3, card.input.size), card.stages[-1]
    before = torch.get_rng_state()
    first, again, other = (build(name, card, seed=seed).embed(batch(images), (last,))[last] for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert np.abs(first[0] - first[1]).max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_gives_nearly_the_same(name: str) -> None:
    """In bfloat16 every stage points where it does in float32."""
    card = small(name)
    images = batch(noise(3, card.input.size))
    full, half = (build(name, card, dtype=dtype).embed(images, card.stages) for dtype in ("float32", "bfloat16"))
    for stage in card.stages:
        lengths = np.linalg.norm(full[stage], axis=1) * np.linalg.norm(half[stage], axis=1)
        assert ((full[stage] * half[stage]).sum(axis=1) / lengths).min() > 0.99


def test_layer_scale_of_the_openphenom_twin_is_active() -> None:
    """The twin ``active`` has gammas of 1 where the constructor says 1e-4; all else is the same draw."""
    card = small("openphenom")
    active = build("openphenom", card).module.state_dict()
    library = build("openphenom", card, options={"init": "library"}, untrained=True).module.state_dict()
    changed = {key for key in active if not torch.equal(active[key], library[key])}
    assert changed == {f"blocks.{block}.ls.gamma" for block in range(2)}
    assert all((active[key] == 1).all() for key in changed)


# ------------------------------------------------------------------- released vectors


class Wells:
    """Samples named as wells are."""

    ids = ("a_1_A01", "a_1_A02")
    keys: Mapping[str, Sequence[str]] = {"well_id": ids}


def vectors(folder: Path, width: int = 384, wells: Sequence[str] = ("a_1_A02", "a_1_B01", "a_1_A01")) -> np.ndarray:
    """Write a file of released vectors and return them."""
    table = np.random.default_rng(0).normal(size=(len(wells), width)).astype(np.float32)
    path = folder / openphenom.RELEASED
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(table, columns=[f"feature_{column}" for column in range(width)])
    frame.insert(0, "well_id", list(wells))
    frame.to_parquet(path)
    return table


def from_vectors(folder: Path, **more: Any) -> Model:
    """Build the model that looks vectors up."""
    options = {"from": "embeddings"} | more.pop("options", {})
    return build("openphenom", channels=6, options=options, data_dirs=(folder,), **{"untrained": False, **more})


def test_released_vectors_are_joined_by_well(tmp_path: Path) -> None:
    """``from=embeddings`` reads no image, gives the last stage in the order of the samples, and nothing else."""
    table = vectors(tmp_path)
    model = from_vectors(tmp_path)
    assert model.needs_pixels is False
    model.prepare(Wells(), "image")
    asked = Batch(Wells.ids, "image")
    np.testing.assert_array_equal(model.embed(asked, ("block12",))["block12"], table[[2, 0]])
    with pytest.raises(UsageError, match="has stage block12 only, not block3, block12"):
        model.embed(asked, ("block3", "block12"))
    context = BuildContext(CARDS["openphenom"], options={"from": "embeddings"}, data_dirs=(tmp_path,))
    before = openphenom.identify(context)
    vectors(tmp_path, wells=("a_1_A02", "a_1_B01", "a_1_A03"))
    assert openphenom.identify(context) != before


def test_released_vectors_that_cannot_serve_are_explained(tmp_path: Path) -> None:
    """No file, other samples than wells, wells without a vector, another length, random weights at once."""
    with pytest.raises(
        MissingDataError, match=r"from=embeddings: released vectors not found \(.*OpenPhenom_rxrx3_core"
    ):
        from_vectors(tmp_path)
    vectors(tmp_path, width=5)
    model = from_vectors(tmp_path)

    class Others:
        ids = ("patch/1",)

    with pytest.raises(MismatchError, match="wells of RxRx3-core only; the samples of this task, such as patch/1"):
        model.prepare(Others(), "image")
    model.prepare(Wells(), "image")
    with pytest.raises(DamagedFileError, match="expected 384 features, found 5"):
        model.embed(Batch(Wells.ids, "image"), ("block12",))
    vectors(tmp_path, wells=("a_1_A02", "a_1_B01"))
    with pytest.raises(DamagedFileError, match="1 of 2 samples have no vector"):
        from_vectors(tmp_path).prepare(Wells(), "image")
    with pytest.raises(UsageError, match="which a network drawn at random contradicts"):
        from_vectors(tmp_path, untrained=True)
    with pytest.raises(UsageError, match=r"option from=disk: expected one of weights, embeddings"):
        from_vectors(tmp_path, options={"from": "disk"})


def test_a_pool_that_does_not_exist_is_refused() -> None:
    """The kinds of pools are named."""
    card = small("conch-v1")
    wrong = card.model_copy(update={"kwargs": {**card.kwargs, "pooler": {"kind": "mean", "width": 8, "heads": 2}}})
    error: type[HarnessError] = UsageError
    with pytest.raises(error, match=r"kwargs.pooler: expected kind \(multihead, bias-free\), width and heads"):
        conch.create(wrong)
