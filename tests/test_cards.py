"""The built-in cards: every one validates, builds, and is the network the reference table describes."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from harness.models.expectations import check_expectations, signature
from harness.models.timm_backbone import create, read_stages
from places import needs_shared, reference_models

from harness.cards import ModelCard
from harness.errors import PluginError, UsageError
from harness.plugins import load_registry
from harness.types import BuildContext

CARDS = load_registry().cards
TIMM = sorted(name for name, card in CARDS.items() if card.build == "harness.models.timm_backbone:build")
ASKED = {
    "pixel-mean", "pixel-stats", "raw-pixels", "single-conv", "cell-count", "cell-count-std", "alexnet", "resnet18",
    "resnet34", "resnet50", "resnet152", "vit-s-16", "vit-b-16", "vit-l-16", "vit-h-14",
}  # fmt: skip


@functools.cache
def described(name: str) -> tuple[list[int], int]:
    """Build the network of a card on the meta device, check it, and return its stages' lengths and prefix tokens."""
    card = CARDS[name]
    with torch.device("meta"):
        network = create(card).eval()
        check_expectations(network, card)
        assert signature(network.state_dict()) == card.expect.signature
        size = card.input.size or 224
        context = BuildContext(card, transform=card.input)
        answer = read_stages(network, context)(torch.empty(2, 3, size, size), card.stages)
    assert list(answer) == card.stages
    assert all(len(vectors) == 2 for vectors in answer.values())
    return [vectors.shape[1] for vectors in answer.values()], getattr(network, "num_prefix_tokens", 0)


def test_the_models_of_this_release_are_there() -> None:
    """Every name that a user may expect has a card."""
    assert set(CARDS) >= ASKED


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_card_says_what_a_user_must_know(name: str) -> None:
    """Licence, exposure with its basis, ordered stages; networks trained on photographs name their normalisation."""
    card = CARDS[name]
    assert card.access.licence
    assert card.exposure["basis"]
    assert set(card.exposure) >= {"hest", "rxrx3-core", "jump-cp", "imagenet-1k", "tcga-brca", "synthetic-24"}
    depths = list(card.output.stages.values())
    assert depths == sorted(set(depths))
    if card.weights is not None and card.views != ["points"] and card.input.channels != "any":
        assert card.input.mean
        assert card.input.std
        assert card.expect.params
        assert card.input.channel_adapt in ("timm", "copy")


@pytest.mark.parametrize("name", TIMM)
def test_a_network_is_the_one_its_card_describes(name: str) -> None:
    """Built on the meta device: parameters, tensors, signature, and the length of the last stage."""
    assert described(name)[0][-1] == CARDS[name].output.dim


@needs_shared
@pytest.mark.parametrize("name", [*TIMM, "alexnet"])
def test_a_card_agrees_with_the_reference_table(name: str) -> None:
    """Architecture, parameters, tensors, signature, length, input size, normalisation and stages are the table's."""
    row, card = reference_models()[name], CARDS[name]
    assert (card.expect.params, card.expect.tensors) == (int(row["params"]), int(row["state_tensors"]))
    assert card.expect.signature == row["state_signature"]
    assert (card.output.dim, card.input.size) == (int(row["embed_dim"]), int(row["input_size"]))
    assert card.input.mean == [float(value) for value in row["mean"].split(",")]
    assert card.input.std == [float(value) for value in row["std"].split(",")]
    assert card.input.channel_adapt == row["channel_adapt"]
    assert card.stages == row["stages"].split(",")
    assert card.untrained.twin == row["untrained_twin"]
    assert card.access.licence == row["licence"]
    if name != "alexnet":
        assert list(card.output.stages.values()) == [
            int(index or int(row["depth"]) - 1)  # no index: what follows the last block
            for index in row["stage_indices0"].split(",")
        ]
        assert card.arch == row["arch"]
        assert card.kwargs == json.loads(row["create_kwargs"])
        lengths, prefix = described(name)
        assert lengths == [int(length) for length in row["stage_dims"].split(",")]
        assert prefix == int(row["prefix_tokens"] or 0)


def test_another_network_than_the_card_says_is_refused() -> None:
    """A wrong number of parameters names both numbers and the library; other names are a warning only."""
    card = CARDS["resnet18"]
    wrong = card.model_copy(update={"expect": card.expect.model_copy(update={"params": 5})})
    with torch.device("meta"):
        network = create(card)
    with pytest.raises(PluginError, match=r"expected 5 parameters, got 11176512 \(torch .*timm"):
        check_expectations(network, wrong)


def test_a_card_with_an_argument_without_value_is_refused() -> None:
    """Arguments that are None, which timm drops without a word, are an error."""
    card = ModelCard.model_validate(
        {**CARDS["vit-s-16"].model_dump(), "kwargs": {"num_classes": 0, "init_values": None}}
    )
    with pytest.raises(UsageError, match=r"kwargs.init_values is null"):
        create(card)
