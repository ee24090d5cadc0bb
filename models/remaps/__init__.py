"""How the names and shapes of released checkpoints become those of a network, one module a family of files."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from harness.errors import UnknownNameError

Remap = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]
"""Takes the tensors of a file and the network they are for; returns tensors under the network's names. What the network
does not need is dropped by name, never by chance: a surplus key is refused afterwards."""

REMAPS: dict[str, str] = {
    "hf-vit": "hf_vit:remap",
    "dinov2": "dinov2:remap",
    "dinov2-reg": "dinov2_reg:remap",
    "siglip": "siglip:remap",
    "conch-v1": "conch:remap_v1",
    "conch-v1.5": "conch:remap_v1_5",
    "conch-v1.5-native": "conch:remap_v1_5_native",
    "ctranspath": "ctranspath:remap",
    "openphenom": "openphenom:remap",
}
"""``weights.remap`` of a card -> ``module:function`` in this folder."""


def find_remap(name: str) -> Remap:
    """Return the function that renames a checkpoint; ``none`` changes nothing.

    Raises:
        UnknownNameError: no such rule.
    """
    if name == "none":
        return lambda tensors, network: tensors  # noqa: ARG005 - the signature of all rules
    if name not in REMAPS:
        raise UnknownNameError("weights.remap", name, ("none", *REMAPS))
    module, _, function = REMAPS[name].partition(":")
    return cast(Remap, getattr(importlib.import_module(f".{module}", __name__), function))
