"""OpenPhenom files: the encoder of a masked autoencoder, without its decoder."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from harness.errors import MissingDataError

from ..channel_vit import ChannelVit

_log = logging.getLogger(__name__)
_PREFIX = "encoder.vit_backbone."
_POSITIONS = "pos_embed"


def remap(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Keep the encoder; its positions are those that the network computed.

    A file without the names of the autoencoder keeps its own, and is refused later.

    Raises:
        MissingDataError: the encoder has another number of blocks.
    """
    if not isinstance(network, ChannelVit):
        raise TypeError("the remap openphenom is for the network openphenom")
    kept = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}
    if not kept:
        return tensors
    held = {name.split(".")[1] for name in kept if name.startswith("blocks.")}
    if len(held) != len(network.blocks):
        raise MissingDataError(
            f"openphenom: the encoder of this file has {len(held)} blocks, the network {len(network.blocks)}: it was "
            "trimmed, or is of another size"
        )
    computed = network.pos_embed.detach()
    stored = kept.get(_POSITIONS, computed)
    if stored.shape != computed.shape or not torch.allclose(stored.float(), computed, atol=1e-3):
        _log.warning(
            "openphenom: the position embedding in the file is not the computed one, which is used (shapes %s, %s)",
            tuple(stored.shape), tuple(computed.shape),
        )  # fmt: skip
    return {**kept, _POSITIONS: computed}
