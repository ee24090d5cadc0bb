"""Files in other naming: renamed bit for bit, equal to the networks that wrote them, refused when they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.models.checkpoint_file import read_state
from harness.models.remaps import REMAPS, find_remap
from harness.models.timm_backbone import create
from harness.models.weights import fill
from safetensors.torch import save_file
from small_task import enter
from torch import Tensor, nn

from harness.cards import ModelCard
from harness.errors import MissingDataError, UnknownNameError
from harness.plugins import load_registry
from harness.types import BuildContext

CARDS = load_registry().cards
SIDE, PATCH, WIDTH, DEPTH, HEADS = 56, 14, 48, 3, 4
USERS = {"hf-vit": "phikon", "dinov2": "phikon-v2", "dinov2-reg": "hibou-l", "siglip": "medsiglip"}
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


def shrunk(name: str, **changes: Any) -> ModelCard:
    """Return the card of a small network, everything else as in a shipped card."""
    card = CARDS[name]
    small = {"img_size": SIDE, "patch_size": PATCH, "depth": DEPTH, "embed_dim": WIDTH, "num_heads": HEADS, **changes}
    return card.model_copy(update={"kwargs": card.kwargs | small})


def scatter(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter random values of an order at which layers do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator) + 0.1)
    return network.eval()


def fitted(card: ModelCard, path: Path) -> nn.Module:
    """Build the network of a card and load a file into it as a run does."""
    network = create(card).eval()
    fill(network, BuildContext(card, options={"weights": str(path)}))
    return network


def images() -> Tensor:
    """Draw two images."""
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


# --------------------------------------------------- files written by hand from networks


def vit_names(name: str, tensor: Tensor) -> State:
    """Name a tensor of a ViT as Phikon's file does."""
    plain = {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"}
    if name in plain:
        return {plain[name]: tensor}
    name, ending = name.rsplit(".", 1)
    for ours, theirs in {
        "patch_embed.proj": "embeddings.patch_embeddings.projection", "attn.proj": "attention.output.dense",
        "norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense", "blocks": "encoder.layer",
    }.items():  # fmt: skip
        name = name.replace(ours, theirs)
    if name.endswith("attn.qkv"):
        stem = f"{name.removesuffix('attn.qkv')}attention.attention."
        return {
            f"{stem}{part}.{ending}": one for part, one in zip(("query", "key", "value"), tensor.chunk(3), strict=True)
        }
    return {f"{'layernorm' if name == 'norm' else name}.{ending}": tensor}


def dino_names(name: str, tensor: Tensor) -> State:
    """Name a tensor of a DINOv2 network as Phikon-v2's file does."""
    if name.endswith("gamma"):
        block, part = name.split(".")[1:3]
        return {f"encoder.layer.{block}.layer_scale{part[-1]}.lambda1": tensor}
    if any(part in name for part in ("norm1", "norm2", "mlp")):
        return {name.replace("blocks", "encoder.layer"): tensor}
    return vit_names(name, tensor)


def register_names(name: str, tensor: Tensor) -> State:
    """Name a tensor of a DINOv2 network with registers and SwiGLU as Hibou's file does."""
    if name == "reg_token":
        return {"embeddings.register_tokens": tensor}
    if name == "pos_embed":
        return {"embeddings.position_embeddings": torch.cat([torch.zeros_like(tensor[:, :1]), tensor], dim=1)}
    given = dino_names(name, tensor)
    return {one.replace("fc1", "weights_in").replace("fc2", "weights_out"): value for one, value in given.items()}


def siglip_names(name: str, tensor: Tensor) -> State:
    """Name a tensor of a SigLIP vision tower as MedSigLIP's file does."""
    if name == "pos_embed":
        return {"embeddings.position_embedding.weight": tensor[0]}
    if name == "attn_pool.latent":
        return {"head.probe": tensor}
    name, ending = name.rsplit(".", 1)
    if name in ("attn_pool.q", "attn_pool.kv"):
        return {f"head.attention.in_proj_{ending}": tensor}
    for ours, theirs in {
        "patch_embed.proj": "embeddings.patch_embedding", "attn_pool.proj": "head.attention.out_proj",
        "attn_pool.norm": "head.layernorm", "attn_pool": "head", "attn.proj": "self_attn.out_proj",
        "norm1": "layer_norm1", "norm2": "layer_norm2", "blocks": "encoder.layers",
    }.items():  # fmt: skip
        name = name.replace(ours, theirs)
    if name.endswith("attn.qkv"):
        stem = f"{name.removesuffix('attn.qkv')}self_attn."
        return {f"{stem}{part}_proj.{ending}": one for part, one in zip("qkv", tensor.chunk(3), strict=True)}
    return {f"{'post_layernorm' if name == 'norm' else name}.{ending}": tensor}


NAMES: dict[str, Callable[[str, Tensor], State]] = {
    "hf-vit": vit_names, "dinov2": dino_names, "dinov2-reg": register_names, "siglip": siglip_names,
}  # fmt: skip


def as_file(rule: str, state: State) -> State:
    """Write the tensors of a network under the names of a rule's files."""
    named: State = {}
    for name, tensor in state.items():
        for one, value in NAMES[rule](name, tensor).items():
            named[one] = torch.cat([named[one], value]) if one in named else value  # query before key and value
    return {name: tensor.contiguous() for name, tensor in named.items()}


def extras(rule: str) -> tuple[str, list[str]]:
    """Return the prefix a file may have, and names of tensors in it that no encoder needs."""
    if rule == "siglip":
        return "vision_model.", [f"text_model.{DEPTH}.head.weight", "logit_scale", "logit_bias"]
    return "vit.", ["vit.pooler.dense.weight", "vit.pooler.dense.bias", "vit.embeddings.mask_token"]


@pytest.mark.parametrize("rule", USERS)
def test_the_cards_use_the_rules(rule: str) -> None:
    """Every rule belongs to one shipped card, whose file it was made for."""
    weights = CARDS[USERS[rule]].weights
    assert weights is not None
    assert weights.remap == rule
    assert rule in REMAPS


@pytest.mark.parametrize("rule", USERS)
def test_a_file_comes_back_bit_for_bit(rule: str, folder: Path) -> None:
    """A network written under a rule's names fills an empty network with the same bits, prefix and extras or not."""
    card = shrunk(USERS[rule])
    source = scatter(create(card))
    named = as_file(rule, source.state_dict())
    prefix, more = extras(rule)
    whole = {f"{prefix}{name}": value for name, value in named.items()} | {name: torch.ones(1) for name in more}
    for number, state in enumerate((named, whole)):
        save_file(state, folder / f"{number}.safetensors")
        loaded = fitted(card, folder / f"{number}.safetensors").state_dict()
        for name, tensor in source.state_dict().items():
            assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize("rule", USERS)
def test_a_rule_covers_the_whole_network(rule: str) -> None:
    """At full size, on the meta device, every name and shape of the released network comes out, and no other."""
    card = CARDS[USERS[rule]]
    with torch.device("meta"):
        network = create(card)
    state = network.state_dict()
    found = find_remap(rule)(as_file(rule, state), network)
    assert {name: tensor.shape for name, tensor in found.items()} == {name: one.shape for name, one in state.items()}


@pytest.mark.parametrize("rule", USERS)
@pytest.mark.parametrize("lost", ["norm", "part"])
def test_a_missing_tensor_is_named(rule: str, lost: str, folder: Path) -> None:
    """A norm or one of query, key and value that is not in the file is refused; nothing is guessed."""
    card = shrunk(USERS[rule])
    state = as_file(rule, create(card).state_dict())
    ends = {
        "norm": ("post_layernorm.weight", "layernorm.weight"),
        "part": ("1.self_attn.k_proj.bias", "1.attention.attention.key.bias"),
    }[lost]
    gone = next(name for name in state if name.endswith(ends) and not name.startswith("head"))
    save_file({name: tensor for name, tensor in state.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(MissingDataError) as caught:
        fitted(card, folder / "model.safetensors")
    want = "norm.weight" if lost == "norm" else "blocks.1.attn.qkv.bias"
    assert f"1 missing (first: {want})" in str(caught.value)
    assert ("2 unexpected" in str(caught.value)) == (lost == "part")


@pytest.mark.parametrize("rule", USERS)
@pytest.mark.parametrize("surplus", ["encoder.layer.0.adapter.weight", "embeddings.extra", "norm.bias"])
def test_a_surplus_tensor_is_named(rule: str, surplus: str, folder: Path) -> None:
    """What no rule lists is not dropped by chance, a tensor that carries the network's own name included."""
    card = shrunk(USERS[rule])
    state = as_file(rule, create(card).state_dict())
    save_file({**state, surplus: torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(MissingDataError, match=r"1 unexpected|1 wrong shape"):
        fitted(card, folder / "model.safetensors")


def test_a_part_of_the_attention_pool_is_no_classifier(folder: Path) -> None:
    """An unknown tensor under ``head``, which in other files is a classifier and left out, is refused."""
    card = shrunk("medsiglip")
    state = as_file("siglip", create(card).state_dict())
    save_file({**state, "head.mlp.fc3.weight": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(MissingDataError, match=r"1 unexpected \(first: vision_model.head.mlp.fc3.weight"):
        fitted(card, folder / "model.safetensors")


def test_a_file_of_another_depth_or_width_is_refused(folder: Path) -> None:
    """Blocks too many are counted; another width is a wrong shape."""
    card = shrunk("phikon")
    for changes, words in (({"depth": DEPTH + 1}, "12 unexpected"), ({"embed_dim": 2 * WIDTH}, "wrong shape")):
        save_file(as_file("hf-vit", create(shrunk("phikon", **changes)).state_dict()), folder / "model.safetensors")
        with pytest.raises(MissingDataError, match=words):
            fitted(card, folder / "model.safetensors")


def test_gelu_blocks_do_not_fit_swiglu_blocks(folder: Path) -> None:
    """A Hibou file without SwiGLU is refused by the shapes of its feed-forward layers."""
    card = shrunk("hibou-l")
    gelu = {key: value for key, value in card.kwargs.items() if key not in ("mlp_layer", "act_layer", "mlp_ratio")}
    state = create(card.model_copy(update={"kwargs": gelu})).state_dict()
    file = {one: value for name, tensor in state.items() for one, value in register_names(name, tensor).items()}
    file = {name.replace("weights_in", "fc1").replace("weights_out", "fc2"): one for name, one in file.items()}
    save_file(file, folder / "model.safetensors")
    with pytest.raises(MissingDataError, match=r"wrong shape \(first: blocks.0.mlp.fc1.weight"):
        fitted(card, folder / "model.safetensors")


def test_half_precision_tokens_are_added_in_float32() -> None:
    """The position of a class token is added without rounding to the format of the file."""
    token, positions = torch.full((1, 1, 2), 2048.0).half(), torch.ones(1, 3, 2).half()
    found = find_remap("dinov2-reg")(
        {"embeddings.cls_token": token, "embeddings.position_embeddings": positions}, nn.Identity()
    )
    assert found["cls_token"].flatten().tolist() == [2049.0, 2049.0]
    assert found["pos_embed"].shape == (1, 2, 2)


def test_an_unknown_rule_names_the_known_ones() -> None:
    """A misspelt rule on a card of one's own offers the nearest."""
    with pytest.raises(UnknownNameError, match="Did you mean dinov2"):
        find_remap("dino-v2")


# ------------------------------------------------------ files written by another library

transformers = pytest.importorskip("transformers", reason="the reference networks are those of transformers")
SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
SHAPE |= {"image_size": SIDE, "patch_size": PATCH}


def reference_network(kind: str) -> nn.Module:
    """Draw a network of the library whose naming a rule reads."""
    made = {
        "hf-vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SHAPE, intermediate_size=4 * WIDTH)),
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SHAPE)),
        "dinov2 swiglu": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SHAPE, use_swiglu_ffn=True)),
        "dinov2-reg": lambda: transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**SHAPE, use_swiglu_ffn=True, num_register_tokens=4)
        ),
        "siglip": lambda: transformers.SiglipVisionModel(
            transformers.SiglipVisionConfig(**SHAPE, intermediate_size=int(3.7362 * WIDTH))
        ),
    }[kind]()
    return scatter(made)


@pytest.mark.parametrize("kind", ["hf-vit", "dinov2", "dinov2 swiglu", "dinov2-reg", "siglip"])
def test_a_file_of_transformers_gives_its_features(kind: str, folder: Path) -> None:
    """A file that transformers saves, read and renamed, gives the features of transformers' network to 1e-5."""
    rule, _, swiglu = kind.partition(" ")
    packed = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu", "mlp_ratio": 5.34375} if swiglu else {}
    card = shrunk(USERS[rule], **packed)
    reference = reference_network(kind)
    reference.save_pretrained(folder)
    assert not any("q_proj" in name for name in read_state(folder / "model.safetensors")) or rule == "siglip"
    network = fitted(card, folder / "model.safetensors")
    with torch.inference_mode():
        theirs = reference(pixel_values=images())
        want = theirs.pooler_output if rule == "siglip" else theirs.last_hidden_state[:, 0]
        found = network(images())
    assert want.std() > 0.05
    torch.testing.assert_close(found, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "key"), [("hf-vit", "norm_layer"), ("siglip", "act_layer")])
def test_the_small_print_of_a_card_matters(kind: str, key: str, folder: Path) -> None:
    """Without Phikon's epsilon or MedSigLIP's form of GELU the features are others."""
    card = shrunk(USERS[kind])
    reference = reference_network(kind)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(0.05 if kind == "hf-vit" else 1.0)
    reference.save_pretrained(folder)
    careless = card.model_copy(update={"kwargs": {name: one for name, one in card.kwargs.items() if name != key}})
    with torch.inference_mode():
        right, wrong = (fitted(one, folder / "model.safetensors")(images()) for one in (card, careless))
    assert (right - wrong).abs().max() > 1e-5
