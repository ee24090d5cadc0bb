"""CTransPath files: a Swin transformer in the naming of timm 0.5."""

from __future__ import annotations

import re

from torch import Tensor, nn

_COMPUTED = ("attn_mask", "relative_position_index")
"""Buffers that a network computes from its size."""
_DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.")


def remap(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:  # noqa: ARG001 - as all rules
    """Drop classifier and computed buffers; let a layer begin with the downsampling that ended the one before.

    Example:
        >>> import torch
        >>> list(remap({"layers.0.downsample.norm.bias": torch.zeros(1)}, torch.nn.Identity()))
        ['layers.1.downsample.norm.bias']
    """
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("head.") and not name.endswith(_COMPUTED)
    }
    return {_DOWNSAMPLE.sub(_next_layer, name): tensor for name, tensor in kept.items()}


def _next_layer(found: re.Match[str]) -> str:
    return f"layers.{int(found[1]) + 1}.downsample."
