"""Any timm network as a model: built from its card, trained or drawn at random, read at any of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from harness.cards import ModelCard
from harness.errors import PluginError, UsageError
from harness.types import BuildContext

from .channels import built_channels
from .expectations import check_expectations
from .hollow import filled, hollow
from .memory import require_memory
from .option_values import choose
from .random_draw import activate, drawn_from
from .stages import MAP_POOLINGS, TOKEN_POOLINGS, MapStages, TokenStages, is_token_network
from .torch_model import ReadStages, TorchModel
from .weights import identify
from .weights_place import shown_name

__all__ = ["build", "create", "identify", "read_stages"]


def build(context: BuildContext) -> TorchModel:
    """Build a network; nothing is downloaded and no file is needed for a random twin.

    The twin ``active`` differs from ``library`` only in that LayerScale and zeroed residual branches count; a trained
    network ignores ``init``.

    Raises:
        PluginError: timm does not build what the card describes.
        UsageError: there is no memory for a network of this size.
        MissingDataError: the weights are nowhere or do not fit.
    """
    card, channels = context.card, built_channels(context)
    empty = hollow(lambda: create(card))
    check_expectations(empty, card)
    require_memory(empty, card, shown_name(context), context.device)
    with drawn_from(context.seed):
        if context.untrained:
            network = create(card, channels)
        else:
            reused = empty if channels == card.input.channels else None
            network = filled(lambda: create(card, channels), context, reused)
    if context.untrained and choose(context, "init", ("library", "active"), card.untrained.twin) == "active":
        activate(network)
    return TorchModel(network, context, read=read_stages(network, context))


def create(card: ModelCard, channels: int | str | None = None) -> nn.Module:
    """Construct the network of a card with timm, on the current device.

    Raises:
        UsageError: an argument without a value, which timm would drop without a word.
        PluginError: timm does not know the architecture or an argument.
    """
    import timm

    empty = [key for key, value in card.kwargs.items() if value is None]
    if empty:
        raise UsageError(f"{card.name}: kwargs.{empty[0]} is null, which timm ignores; leave it out or give a value")
    arguments = dict(card.kwargs)
    if channels not in (None, card.input.channels):
        arguments["in_chans"] = channels
    try:
        network: nn.Module = timm.create_model(str(card.arch), pretrained=False, **_named_layers(arguments))
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise PluginError(f"{card.name}: timm cannot build {card.arch}: {error}") from error
    return network


def read_stages(network: nn.Module, context: BuildContext) -> ReadStages:
    """Choose how the stages of a network are read, from its kind and the option ``pool``.

    Raises:
        UsageError: a pooling that this kind of network does not have.
    """
    tokens = is_token_network(network)
    known = TOKEN_POOLINGS if tokens else MAP_POOLINGS
    pooling = choose(context, "pool", known, context.card.output.pooling)
    if pooling not in known:
        raise UsageError(f"{context.card.name}: output.pooling {pooling!r}: expected one of {', '.join(known)}")
    return TokenStages(network, context.card, pooling) if tokens else MapStages(network, context.card)


def _named_layers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace names of layers that YAML can write by classes; timm's own names of norms and activations stay."""
    from timm.layers import LayerNorm, SwiGLUPacked, get_act_layer, get_norm_layer

    mlps, norms = {"SwiGLUPacked": SwiGLUPacked}, {"layernorm-1e-12": partial(LayerNorm, eps=1e-12)}
    made = dict(arguments)
    if "mlp_layer" in made and made["mlp_layer"] not in mlps:
        raise UsageError(f"kwargs.mlp_layer: {made['mlp_layer']!r} is not known; known: {', '.join(mlps)}")
    for key, known in (("mlp_layer", mlps), ("norm_layer", norms)):
        if made.get(key) in known:
            made[key] = known[made[key]]
    for key, find in (("act_layer", get_act_layer), ("norm_layer", get_norm_layer)):
        try:
            find(made.get(key))
        except KeyError:
            raise UsageError(f"kwargs.{key}: {made[key]!r} is not a name that timm knows") from None
    return made
