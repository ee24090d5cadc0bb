"""Networks as models: what they return, stage by stage, channel by channel, drawn at random or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from harness.models import alexnet, single_conv, timm_backbone
from harness.models.channels import adapt_filters
from harness.models.preprocess import Preprocess, effective_transform
from harness.models.random_draw import drawn_from
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared

from harness.cards import InputTransform, ModelCard
from harness.errors import MismatchError, ModelOutputError, UsageError
from harness.modelstring import parse_models
from harness.plugins import load_registry
from harness.selection import select_model
from harness.types import Batch, BuildContext, DataContext, Model

CARDS = load_registry().cards


def context(name: str, seed: int = 0, channels: int = 3, options: Mapping[str, str] | None = None) -> BuildContext:
    """Return the context of an untrained twin."""
    card = CARDS[name]
    plain = card.input.model_copy(update={"resize": "none", "crop": "none"})  # probes have the right size
    return BuildContext(card, untrained=True, seed=seed, channels=channels, transform=plain, options=options or {})


def build(name: str, seed: int = 0, channels: int = 3, options: Mapping[str, str] | None = None) -> Model:
    """Build an untrained twin."""
    builders = {"alexnet": alexnet.build, "single-conv": single_conv.build}
    return builders.get(name, timm_backbone.build)(context(name, seed, channels, options))


def probe(channels: int = 3, size: int = 224, n: int = 2) -> Batch:
    """Return images given by a formula: (7x + 13y + 29c + 53i + xy) mod 256."""
    i, c, y, x = np.ogrid[:n, :channels, :size, :size]
    images = ((7 * x + 13 * y + 29 * c + 53 * i + x * y) % 256).astype(np.uint8)
    return Batch(tuple(f"probe/{row}" for row in range(n)), "image", images=images)


def cosine(features: np.ndarray) -> float:
    """Return the cosine between the first two rows."""
    first, second = features[:2].astype(np.float64)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


# ------------------------------------------------------------------ fingerprints

FINGERPRINTS = [
    ("vit-s-16", "vit-s-16", 3, {}),
    ("resnet18", "resnet18", 3, {}),
    ("resnet18 init=active", "resnet18", 3, {"init": "active"}),
    ("resnet50", "resnet50", 3, {}),
    ("alexnet", "alexnet", 3, {}),
    ("single-conv", "single-conv", 3, {}),
    ("single-conv in_chans=6", "single-conv", 6, {}),
    ("vit-s-16 in_chans=6", "vit-s-16", 6, {}),
    ("dinov2-vits14 init=library", "dinov2-vits14", 3, {"init": "library"}),
    ("dinov2-vits14 init=active", "dinov2-vits14", 3, {}),
    ("dinov3-vits16 init=active", "dinov3-vits16", 3, {}),
    ("vit-s-16 seed0 channel_adapt=copy to 5", "vit-s-16", 5, {"channel_adapt": "copy"}),
    ("vit-s-16 seed0 channel_adapt=copy to 6", "vit-s-16", 6, {"channel_adapt": "copy"}),
    ("resnet18 seed0 channel_adapt=timm to 5", "resnet18", 5, {"channel_adapt": "timm"}),
    ("resnet18 seed0 channel_adapt=timm to 6", "resnet18", 6, {"channel_adapt": "timm"}),
]


@needs_shared
@pytest.mark.parametrize(("entry", "name", "channels", "options"), FINGERPRINTS)
def test_untrained_twins_repeat_their_fingerprints(entry: str, name: str, channels: int, options: dict) -> None:
    """Each seed gives the reference's first features, mean, spread and cosine, to float32 on another processor."""
    stored = json.loads((SHARED / "oracles/models/fingerprints.json").read_text())["untrained"][entry]
    for key, want in stored.items():
        model = build(name, int(key.removeprefix("seed")), channels, options)
        last = CARDS[name].stages[-1]
        found = model.embed(probe(channels), (last,))[last]
        tolerance = 1e-3
        assert found.shape == (2, want["dim"])
        np.testing.assert_allclose(found[:, :8], want["first8"], atol=tolerance, rtol=1e-4)
        np.testing.assert_allclose(found.mean(axis=1), want["mean"], atol=tolerance)
        assert cosine(found) == pytest.approx(want["cos01"], abs=1e-4)


def test_layer_scale_makes_an_untrained_network_blind() -> None:
    """With the library's initialisation two different images look the same; the active twin tells them apart."""
    last = "block12"
    library = build("dinov2-vits14", options={"init": "library"}).embed(probe(), (last,))[last]
    active = build("dinov2-vits14").embed(probe(), (last,))[last]
    assert cosine(library) > 1 - 1e-6
    assert cosine(active) == pytest.approx(0.9425, abs=1e-3)


# -------------------------------------------------------------------------- twins


@pytest.mark.parametrize("name", ["resnet18", "vit-s-16", "single-conv"])
def test_seeds_are_networks_and_the_callers_randomness_stays(name: str) -> None:
    """The same seed gives the same bits, another seed others; torch's global state is as before."""
    torch.manual_seed(7)
    before = torch.get_rng_state()
    stage = CARDS[name].stages[-1]
    first, again, other = (build(name, seed).embed(probe(size=224), (stage,))[stage] for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_active_and_library_share_all_other_weights() -> None:
    """init=active changes the silenced batch norms of a ResNet and nothing else."""
    with drawn_from(3):
        library = timm_backbone.create(CARDS["resnet18"])
    with drawn_from(3):
        active = timm_backbone.activate(timm_backbone.create(CARDS["resnet18"]))
    changed = {
        name for name, value in library.state_dict().items() if not torch.equal(value, active.state_dict()[name])
    }
    assert changed == {f"layer{layer}.{block}.bn2.weight" for layer in (1, 2, 3, 4) for block in (0, 1)}


# ------------------------------------------------------------------------- stages


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("vit-s-16", 224), ("dinov3-vits16", 224)])
def test_stages_are_what_hooks_see(name: str, size: int) -> None:
    """One pass returns, at every stage, the pooled output of the block or layer that a hook on it catches."""
    card = CARDS[name]
    tokens = card.family == "vit"
    changed = card.model_copy(update={"output": card.output.model_copy(update={"stage_norm": False})})
    with drawn_from(0):
        network = timm_backbone.create(changed).eval()
    seen: dict[str, torch.Tensor] = {}
    for stage, index in card.output.stages.items():
        part = network.blocks[index] if tokens else getattr(network, f"layer{index}")
        part.register_forward_hook(lambda _module, _given, out, stage=stage: seen.__setitem__(stage, out))
    pixels = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        network(pixels)
        read = timm_backbone.read_stages(network, BuildContext(changed, transform=card.input))
        hooked = {
            stage: (network.norm(out)[:, 0] if stage == card.stages[-1] else out[:, 0]) if tokens else out.mean((2, 3))
            for stage, out in seen.items()
        }
        found = read(pixels, card.stages)
    for stage in card.stages:
        torch.testing.assert_close(found[stage], hooked[stage], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "vit-s-16", "alexnet"])
def test_all_stages_cost_one_pass_and_the_last_stays_the_same(name: str) -> None:
    """The first convolution is called once for all stages; the last stage of all equals the last alone."""
    model, card = build(name), CARDS[name]
    calls = []
    first = next(part for part in model.module.modules() if isinstance(part, torch.nn.Conv2d))
    first.register_forward_hook(lambda *_: calls.append(1))
    every = model.embed(probe(), card.stages)
    assert len(calls) == 1
    alone = model.embed(probe(), card.stages[-1:])
    assert list(every) == card.stages
    assert np.array_equal(every[card.stages[-1]], alone[card.stages[-1]])


def test_registers_are_never_averaged_in() -> None:
    """pool=avg is the mean of the patch tokens; pool=cls+avg appends it to the class token."""
    card = CARDS["dinov3-vits16"]
    average = build("dinov3-vits16", options={"pool": "avg"}).embed(probe(), ("block12",))["block12"]
    both = build("dinov3-vits16", options={"pool": "cls+avg"}).embed(probe(), ("block12",))["block12"]
    with drawn_from(0):
        network = timm_backbone.activate(timm_backbone.create(card)).eval()
    prepared = Preprocess(card.input, 3, "cpu", "x")(probe().images)
    with torch.inference_mode():
        tokens = network.forward_features(prepared.pixels)
    want = tokens[:, network.num_prefix_tokens :].mean(dim=1).numpy()
    np.testing.assert_allclose(average, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both[:, card.output.dim :], want, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"pool=max: expected one of cls, avg, cls\+avg, head"):
        build("dinov3-vits16", options={"pool": "max"})


# ----------------------------------------------------------------------- channels


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 11])
def test_filters_are_copied_in_turn(n: int) -> None:
    """Copy repeats RGB filters; timm's rule also scales by 3/n, and sums for one channel, as timm itself does."""
    from timm.models import adapt_input_conv

    weight = torch.randn(4, 3, 2, 2)
    turns = [channel % 3 for channel in range(n)]
    assert torch.equal(adapt_filters(weight, n, "copy"), weight[:, turns])
    torch.testing.assert_close(adapt_filters(weight, n, "timm"), adapt_input_conv(n, weight.clone()))


def test_zero_channels_change_nothing_for_a_copied_network() -> None:
    """Three more channels that are black after normalisation leave a network with copied filters unchanged."""
    card = CARDS["vit-s-16"]
    black = card.model_copy(update={"input": card.input.model_copy(update={"mean_std": "none"})})
    made = replace(
        context("vit-s-16", channels=6, options={"channel_adapt": "copy"}), card=black, transform=black.input
    )
    six = timm_backbone.build(made)
    three = timm_backbone.build(replace(made, channels=3))
    images = probe().images
    padded = np.concatenate([images, np.zeros_like(images)], axis=1)
    want = three.embed(probe(), ("block12",))["block12"]
    found = six.embed(Batch(probe().ids, "image", images=padded), ("block12",))["block12"]
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "vit-s-16", "alexnet", "single-conv"])
@pytest.mark.parametrize("channels", [1, 5, 6])
def test_any_number_of_channels_runs(name: str, channels: int) -> None:
    """A twin is drawn for as many channels as the images have."""
    model, stage = build(name, channels=channels), CARDS[name].stages[-1]
    assert model.embed(probe(channels), (stage,))[stage].shape == (2, CARDS[name].output.dim)


def test_a_card_without_a_rule_refuses_other_channels() -> None:
    """A trained network without a rule names both numbers instead of guessing."""
    card = CARDS["vit-s-16"]
    stiff = card.model_copy(update={"input": card.input.model_copy(update={"channel_adapt": "none"})})
    network = timm_backbone.create(card)
    from harness.models.torch_model import TorchModel

    with pytest.raises(MismatchError, match=r"images have 5 channels, the network takes 3"):
        TorchModel(network, BuildContext(stiff, channels=5, transform=stiff.input))


# --------------------------------------------------------------------- preprocess


def transform(**changes: object) -> InputTransform:
    """Return a small transform."""
    values = {"size": 8, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], **changes}
    return InputTransform.model_validate(values)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_normalisation_is_the_plain_formula(seed: int, floats: bool, interleaved: bool) -> None:
    """(x - mean) / std, whatever the number format and the memory order of the images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    given_images = images if interleaved else np.ascontiguousarray(images)
    given_images = given_images.astype(np.float32) / np.float32(255) if floats else given_images
    mean, std = (np.array(values)[:, None, None] for values in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    found = Preprocess(transform(), 3, "cpu", "x")(given_images)
    np.testing.assert_allclose(found.pixels.numpy(), (images / 255.0 - mean) / std, atol=2e-6)
    assert found.pixels.is_contiguous(memory_format=torch.channels_last)


def test_means_are_cycled_over_more_channels() -> None:
    """Channels 4 and 5 get the mean and spread of channels 1 and 2, as filters are repeated."""
    images = np.full((1, 5, 8, 8), 255, dtype=np.uint8)
    found = Preprocess(transform(), 5, "cpu", "x")(images).pixels[0, :, 0, 0].tolist()
    assert found == pytest.approx([0.5 / 0.2, 0.6 / 0.3, 0.7 / 0.4, 0.5 / 0.2, 0.6 / 0.3], abs=1e-5)


def test_pixels_that_nobody_normalises_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A card without mean and sd runs, with one warning; one that says there is no normalisation runs without."""
    bare = transform(mean=None, std=None)
    for meant in (transform(), bare.model_copy(update={"mean_std": "none"})):
        Preprocess(meant, 3, "cpu", "told-once")
    Preprocess(bare.model_copy(update={"channel_norm": "instance"}), 3, "cpu", "told-once")
    assert not caplog.messages
    for _ in range(2):
        Preprocess(bare, 3, "cpu", "told-once")
    assert caplog.messages == ["told-once: the card gives no mean and sd; pixels go in as 0..1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "untrained:resnet18,weights=x.pt",
            "x.pt: weights= has no meaning for untrained:resnet18, which is drawn at random; leave out one of the two",
        ),
        ("untrained:gcn,weights=x.pt", "weights= has no meaning for untrained:gcn"),
        ("untrained:timm:resnet18,weights=x.pt", "weights= has no meaning for untrained:timm:resnet18"),
        (
            "resnet18,init=active",
            "resnet18,init=active: init= has no meaning for resnet18, which is trained; leave it out, or ask for "
            "untrained:resnet18,init=active",
        ),
        ("timm:resnet18,weights=x.pt,init=active", "ask for untrained:timm:resnet18,init=active"),
    ],
)
def test_an_option_that_would_change_nothing_but_the_name_is_refused(text: str, words: str) -> None:
    """Weights of a twin, and the initialisation of a trained network, are asked for by mistake."""
    with pytest.raises(UsageError) as caught:
        select_model(load_registry(), parse_models(text)[0], DataContext())
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text", ["untrained:resnet18,init=active", "resnet18,weights=x.pt", "untrained:gcn", "gcn", "gcn,weights=x.pt"]
)
def test_options_that_change_something_are_taken(text: str) -> None:
    """Each of the two options has its place."""
    assert str(select_model(load_registry(), parse_models(text)[0], DataContext()).request) == text


def test_resizing_clamps_and_crops() -> None:
    """Bicubic overshoot is clamped to the range; the shortest side is resized and the centre is cut out."""
    images = np.zeros((1, 3, 20, 40), dtype=np.uint8)
    images[:, :, :, 20:] = 255
    plain = transform(resize="shortest", crop="center", interpolation="bicubic", mean_std="none")
    pixels = Preprocess(plain, 3, "cpu", "x")(images).pixels
    assert pixels.shape == (1, 3, 8, 8)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert pixels[0, 0, 0, [0, -1]].tolist() == pytest.approx([0, 1], abs=1e-6)


def test_tiles_are_crops_of_the_models_size() -> None:
    """A grid of tiles is cut from the centre and the vectors of one image are averaged."""
    images = np.arange(2 * 3 * 17 * 17, dtype=np.int64).reshape(2, 3, 17, 17).astype(np.uint8)
    found = Preprocess(transform(tiles="grid", mean_std="none"), 3, "cpu", "x")(images)
    assert found.tiles == 4
    want = torch.from_numpy(images[:, :, :16, :16]).float() / 255
    torch.testing.assert_close(found.pixels[0], want[0, :, :8, :8])
    torch.testing.assert_close(found.pixels[5], want[1, :, :8, 8:])


def test_instance_normalisation_knows_no_brightness() -> None:
    """channel_norm=instance: an image and a darker copy of it become the same pixels."""
    chosen = effective_transform(context("vit-s-16", options={"channel_norm": "instance"}))
    images = np.random.default_rng(0).integers(0, 128, (1, 3, 224, 224), dtype=np.uint8)
    both = [Preprocess(chosen, 3, "cpu", "x")(one).pixels for one in (images, images * 2)]
    torch.testing.assert_close(both[0], both[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 3, 4, 40), dtype=np.uint8), "smaller than the crop"),
    ],
)
def test_images_that_do_not_fit_are_named(images: np.ndarray, words: str) -> None:
    """An image smaller than the crop says both sizes."""
    with pytest.raises(MismatchError, match=words):
        Preprocess(transform(resize="none", crop="center"), 3, "cpu", "x")(images)


def test_patches_that_do_not_divide_are_named() -> None:
    """A vision transformer that gets 100 px without a resize says which sizes it takes."""
    card = CARDS["vit-s-16"]
    made = replace(context("vit-s-16"), transform=card.input.model_copy(update={"resize": "none", "size": None}))
    with pytest.raises(MismatchError, match=r"100 x 100"):
        timm_backbone.build(made).embed(probe(size=100), ("block12",))


def test_points_are_refused_by_networks_and_images_by_counts() -> None:
    """The model names itself and the view."""
    points = Batch(("a",), "points", points=(np.zeros((3, 2)),))
    with pytest.raises(MismatchError, match="resnet18: takes images; the view points holds none"):
        build("resnet18").embed(points, ("layer4",))


def test_a_network_that_returns_no_matrix_is_named() -> None:
    """A feature map instead of (N, D) vectors is an error with its shape."""
    from harness.models.torch_model import TorchModel

    card = ModelCard(name="maps", build="x:y", input=InputTransform(channels="any", size=None, resize="none"))
    model = TorchModel(torch.nn.Conv2d(3, 2, 3), BuildContext(card, transform=card.input))
    with pytest.raises(ModelOutputError, match=r"expected \(2, D\) features, got \(2, 2, 6, 6\)"):
        model.embed(probe(size=8), ("last",))
