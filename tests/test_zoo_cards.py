"""The cards of released encoders: each says what the reference table says, and a small copy of it can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from harness.models.stages import MapStages
from harness.models.timm_backbone import build, create, read_stages
from harness.models.weights import identify
from places import needs_shared, reference_models
from small_task import enter
from torch import Tensor, nn

from harness.cards import ModelCard
from harness.cli import main
from harness.errors import MissingDataError, UsageError
from harness.plugins import load_registry
from harness.types import Batch, BuildContext

CARDS = load_registry().cards
TIMM = sorted(name for name, card in CARDS.items() if card.build == "harness.models.timm_backbone:build")
RELEASED = [
    "h-optimus-0", "h-optimus-1", "hibou-l", "kaiko-b8", "medsiglip", "phikon", "phikon-v2", "prov-gigapath", "uni",
    "uni2-h", "virchow", "virchow2",
]  # fmt: skip
GATED = sorted(name for name, card in CARDS.items() if card.access.gated != "no")
GATES = {
    "yes: institutional e-mail, manual": "institutional",
    "yes: academic, manual review": "manual",
    "yes: terms": "auto",
    "yes: share contact": "auto",
    "yes: click-through": "auto",
}
TRANSFORMS = {
    "none": ("none", None, "none"),
    "squash": ("squash", None, "none"),
    "224": ("shortest", None, "center"),
    "256, centre crop 224": ("shortest", 256, "center"),
}
POOLINGS = {"cls": "cls", "conc": "cls+avg", "atte": "map", "glob": "gap"}
SIDE, WIDTH = 112, 48


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


# ------------------------------------------------------------------ the table


def test_every_released_encoder_has_a_card() -> None:
    """The encoders of pathology and medicine that timm can build are there, and none of them waits for a builder."""
    assert set(RELEASED) <= set(TIMM)


@needs_shared
@pytest.mark.parametrize("name", TIMM)
def test_a_card_says_what_the_table_says(name: str) -> None:
    """Transform, pooling, access, exposure, training data and year of each card are the table's."""
    row, card = reference_models()[name], CARDS[name]
    wanted = TRANSFORMS[row["resize"] if row["resize"] in TRANSFORMS else row["resize"].split()[0]]
    assert (card.input.resize, card.input.resize_to, card.input.crop) == wanted
    assert card.input.interpolation == row["interpolation"]
    assert card.output.pooling == POOLINGS[row["pooling"][:4]]
    assert card.output.stage_origin == row["stage_origin"].lower()
    assert card.access.gated == GATES.get(row["gated"], "no")
    assert (card.family, card.pretrain_domain) == (row["family"], row["pretrain_domain"])
    assert card.views == row["views"].split("|")
    columns = {"imagenet-1k": "imagenet1k"}
    for dataset in ("hest", "tcga-brca", "rxrx3-core", "jump-cp", "imagenet-1k"):
        column = columns.get(dataset, dataset.replace("-", "_"))
        assert card.exposure[dataset] == row[f"exposure_{column}"], dataset
    assert card.exposure["basis"] == row["exposure_basis"]
    assert card.training_data == row["training_data"]
    assert card.year == int(row["year"])
    assert card.um_per_px == (row["mpp"] if row["mpp"] not in ("", "n/a") else None)


@needs_shared
@pytest.mark.parametrize("name", TIMM)
def test_a_card_finds_its_weights_where_the_table_says(name: str) -> None:
    """Repository, rule of renaming, and the place of the file below a data folder are the table's."""
    row, weights = reference_models()[name], CARDS[name].weights
    assert weights is not None
    assert weights.remap == row["remap"]
    repository = weights.source.removeprefix("hf-hub:")
    places = row["data_dir_path"].split(" | ")
    assert {*places} <= {*(weights.paths or [f"{repository}/{file}" for file in weights.files])}
    assert (weights.paths or [f"{repository}/{weights.files[0]}"])[0] in places  # what the advice names
    assert repository in row["source"].replace("timm:", "timm/")


@needs_shared
@pytest.mark.parametrize("name", [*TIMM, "mae-l-8", "mae-g-8"])
def test_labels_of_the_papers_lead_to_the_card(name: str) -> None:
    """Whatever a table of the papers calls a model can be typed."""
    aliases = load_registry().aliases
    for label in filter(None, reference_models()[name]["paper_label"].split(" / ")):
        assert label in aliases, label
        assert aliases[label] == name


# ------------------------------------------------------------------ small copies


def shrunk(name: str) -> ModelCard:
    """Return the card of a network with four narrow blocks and everything else as in a shipped card."""
    card = CARDS[name]
    small = {"img_size": SIDE, "depth": 4, "embed_dim": WIDTH, "num_heads": 3}
    stages = {stage: index for index, stage in enumerate(card.stages)}
    both = card.output.pooling == "cls+avg"
    output = card.output.model_copy(update={"stages": stages, "dim": WIDTH * (1 + both)})
    return card.model_copy(
        update={"kwargs": card.kwargs | small, "output": output, "expect": card.expect.model_copy(
            update={"params": None, "tensors": None, "signature": None}
        ), "input": card.input.model_copy(update={"size": SIDE, "resize_to": None})}
    )  # fmt: skip


def pixels(count: int = 2, side: int = SIDE) -> Tensor:
    """Draw images."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", RELEASED)
def test_stages_of_released_encoders_are_what_hooks_see(name: str) -> None:
    """At every stage: the normed class token, alone or with the mean of the patch tokens, or the attention pool."""
    card = shrunk(name)
    twin = build(BuildContext(card, untrained=True, transform=card.input))
    network, seen = twin.module, []
    for block in network.blocks:
        block.register_forward_hook(lambda _module, _given, out: seen.append(out))
    with torch.inference_mode():
        whole = network(pixels())
        tokens = [network.norm(out) for out in seen]
        found = read_stages(network, BuildContext(card, transform=card.input))(pixels(), card.stages)
    first = int(network.num_prefix_tokens)
    assert len(found) == 4
    for stage, out in zip(card.stages, tokens, strict=True):
        mean = out[:, first:].mean(dim=1)
        if card.output.pooling == "map":
            want = whole if stage == card.stages[-1] else mean
        else:
            want = torch.cat([out[:, 0], mean], dim=1) if card.output.pooling == "cls+avg" else out[:, 0]
        torch.testing.assert_close(found[stage], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RELEASED)
def test_a_small_copy_embeds_pictures_at_every_stage(name: str) -> None:
    """A random twin turns pictures of another size into finite vectors that tell them apart, at all four stages."""
    card = shrunk(name)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 130, 140), dtype=np.uint8)
    twin = build(BuildContext(card, untrained=True, transform=card.input))
    answer = twin.embed(Batch(("a", "b", "c"), "image", images=images), card.stages)
    assert list(answer) == card.stages
    for stage, vectors in answer.items():
        assert np.isfinite(vectors).all()
        assert np.ptp(vectors, axis=0).max() > 1e-3, stage
    assert answer[card.stages[-1]].shape == (3, card.output.dim)


def test_registers_stay_out_of_the_mean() -> None:
    """Virchow2 has four registers: its mean begins at token 5, that of Virchow at token 1."""
    for name, first in (("virchow", 1), ("virchow2", 5)):
        network = create(shrunk(name))
        assert (network.num_prefix_tokens, network.patch_embed.num_patches) == (first, 64)


# ----------------------------------------------------------------- other families


def plain(arch: str, pooling: str, stages: dict[str, int], **kwargs: object) -> ModelCard:
    """Return the card of a small network."""
    return ModelCard.model_validate(
        {
            "name": "small",
            "build": "harness.models.timm_backbone:build",
            "arch": arch,
            "kwargs": {"num_classes": 0, **kwargs},
            "weights": {"source": "hf-hub:lab/small"},
            "input": {"size": 64},
            "output": {"pooling": pooling, "stages": stages},
            "options": ["weights"],
        }
    )


def test_stages_of_a_swin_are_what_hooks_see() -> None:
    """Feature maps with channels last are averaged over their area; the last one is normed first."""
    card = plain(
        "swin_tiny_patch4_window7_224", "gap", {f"layer{number}": number for number in range(4)},
        img_size=64, window_size=2, embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2],
    )  # fmt: skip
    network, seen = create(card).eval(), []
    for layer in network.layers:
        layer.register_forward_hook(lambda _module, _given, out: seen.append(out))
    with torch.inference_mode():
        whole = network(pixels(side=64))
        want = [*(out.mean(dim=(1, 2)) for out in seen[:3]), whole]
        found = MapStages(network, card)(pixels(side=64), card.stages)
    for vectors, expected in zip(found.values(), want, strict=True):
        torch.testing.assert_close(vectors, expected, rtol=1e-5, atol=1e-6)
    assert [one.shape[1] for one in found.values()] == [12, 24, 48, 96]


def shake(network: nn.Module) -> nn.Module:
    """Give every tensor of a network random values, running statistics included."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_resnet_is_torchvisions(name: str, folder: Path) -> None:
    """A state dict of torchvision loads as it is, and every layer gives torchvision's features."""
    from torchvision import models

    card = CARDS[name]
    network, seen = shake(getattr(models, name)(weights=None)), {}
    torch.save(network.state_dict(), folder / "resnet.pth")
    for stage in card.stages:
        getattr(network, stage).register_forward_hook(
            lambda _module, _given, out, stage=stage: seen.__setitem__(stage, out.mean(dim=(2, 3)))
        )
    ours = build(BuildContext(card, transform=card.input, options={"weights": str(folder / "resnet.pth")})).module
    images = pixels(side=32).double()  # in float64, because layouts in memory round differently
    with torch.inference_mode():
        network.double()(images)
        found = read_stages(ours.double(), BuildContext(card, transform=card.input))(images, card.stages)
    for stage in card.stages:
        torch.testing.assert_close(found[stage], seen[stage], rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- names and errors


def test_names_of_layers_become_layers() -> None:
    """Phikon's norms have its epsilon, MedSigLIP's GELU is the tanh form, SwiGLU is gated by SiLU."""
    norms = [part for part in create(shrunk("phikon")).modules() if isinstance(part, nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-12}
    siglip = create(shrunk("medsiglip"))
    for activation in (siglip.blocks[0].mlp.act, siglip.attn_pool.mlp.act):
        assert torch.equal(activation(pixels()), nn.GELU("tanh")(pixels()))
    assert isinstance(create(shrunk("virchow")).blocks[0].mlp.act, nn.SiLU)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"mlp_layer": "SwiGLU"}, "kwargs.mlp_layer: 'SwiGLU' is not known; known: SwiGLUPacked"),
        ({"act_layer": "gelu-tanh"}, "kwargs.act_layer: 'gelu-tanh' is not a name that timm knows"),
        ({"norm_layer": "layernorm-1e-5"}, "kwargs.norm_layer: 'layernorm-1e-5' is not a name that timm knows"),
    ],
)
def test_unknown_names_of_layers_are_refused(kwargs: dict[str, str], words: str) -> None:
    """A misspelt layer names its key instead of becoming another network."""
    card = shrunk("phikon")
    with pytest.raises(UsageError) as caught:
        create(card.model_copy(update={"kwargs": card.kwargs | kwargs}))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pooling", "words"),
    [
        ("phikon", "map", "pooling map: vit_base_patch16_224 has no attention pool"),
        ("medsiglip", "cls", "pooling cls: vit_so400m_patch14_siglip_378 has no class token"),
        ("medsiglip", "cls+avg", "has no class token; choose avg"),
    ],
)
def test_a_pooling_needs_its_layer(name: str, pooling: str, words: str) -> None:
    """Attention pooling without an attention pool, or a class token where there is none, is an error."""
    card = shrunk(name)
    with pytest.raises(UsageError) as caught:
        build(BuildContext(card, untrained=True, transform=card.input, options={"pool": pooling}))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", GATED)
def test_gated_weights_say_how_to_get_them(name: str, folder: Path) -> None:
    """Without network and file: licence, model page, log-in, place of the file, and the twin that always runs."""
    card = CARDS[name]
    assert card.weights is not None
    with pytest.raises(MissingDataError) as caught:
        identify(BuildContext(card, offline=True, cache=folder / "cache"))
    message, repository = str(caught.value), card.weights.source.removeprefix("hf-hub:").removeprefix("datasets/")
    assert message.startswith(f"{name}: weights are gated ({card.access.gated}). Licence: {card.access.licence}. ")
    for words in (
        f"page of {repository} on Hugging Face",
        "hf auth login",
        "download: not asked (--offline)",
        f"{card.weights.files[0]} at DIR/{(card.weights.paths or [f'{repository}/{card.weights.files[0]}'])[0]}",
        f"{name},weights=PATH",
        f"untrained:{name} runs at once, without weights.",
        "embeddings:PATH",
    ):
        assert words in message
    assert "\n" not in message


def test_a_gated_model_ends_the_command_with_five(capsys: pytest.CaptureFixture[str]) -> None:
    """``harness eval`` prints the advice and no stack trace."""
    with pytest.raises(SystemExit) as stop:
        main(["eval", "--model", "uni2-h", "--tasks", "tiny.yaml", "--offline", "--baselines", "none"])
    shown = capsys.readouterr().err
    assert stop.value.code == 5
    assert "uni2-h: weights are gated (institutional). Licence: CC-BY-NC-ND-4.0." in shown
    assert "Traceback" not in shown
