"""CONCH files: v1 holds image tower, text tower and decoder; v1.5 the image tower alone."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_log = logging.getLogger(__name__)
_TOWER = ("trunk.", "attn_pool_contrast.", "ln_contrast.")
_POSITIONS = "trunk.pos_embed"
_BASE = 14
"""Patches on a side for which v1.5 keeps positions: 224 px in patches of 16."""
_OFFSET = 0.1
"""Added to the number of patches asked for, against rounding; it shifts the positions a little."""


def remap_v1(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:  # noqa: ARG001 - as all rules
    """Keep the image tower up to its contrastive pool; texts, captions and the projection are left out.

    A file without an image tower keeps its names, and is refused later.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    tower = {name.removeprefix("visual."): tensor for name, tensor in plain.items() if name.startswith("visual.")}
    return {name: tensor for name, tensor in tower.items() if name.startswith(_TOWER)} or plain


def remap_v1_5(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Keep all names; bring the positions to the grid of the network as the authors do at run time."""
    positions = tensors.get(_POSITIONS)
    if positions is None or positions.ndim != 3 or math.isqrt(positions.shape[1] - 1) ** 2 != positions.shape[1] - 1:
        return tensors  # another network: refused later
    rows, columns = cast(Any, network).trunk.patch_embed.grid_size
    return {**tensors, _POSITIONS: resample_positions(positions, rows, columns)}


def remap_v1_5_native(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:  # noqa: ARG001 - as all
    """Keep names and positions; positions of another grid than the network's are refused later."""
    return tensors


def resample_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Resample learned positions as CONCH v1.5 does: first to 14 x 14, then to the grid.

    The way to 14 x 14 is bilinear (nothing happens where the file holds 14 x 14), the way to the grid bicubic with the
    scale (rows + 0.1) / 14 and without antialiasing, which is not what timm does (about 1 % off).

    Args:
        positions: (1, 1 + side * side, D), the class token first.
        rows: patches from top to bottom.
        columns: patches from left to right.

    Returns:
        (1, 1 + rows * columns, D) float32.

    Source: mahmoodlab/TRIDENT@a91fa84, the encoder conch_v15 (``resize_pos_embed``, ``interpolate_pos_encoding``).
    """
    token, patches = positions[:, :1].float(), positions[:, 1:].float()
    side = math.isqrt(patches.shape[1])
    maps = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if side != _BASE:
        _log.warning("conch-v1.5: the file holds positions of %d x %d patches, shrunk to 14 x 14 first", side, side)
        maps = functional.interpolate(maps, size=(_BASE, _BASE), mode="bilinear", align_corners=False)
    if (rows, columns) != (_BASE, _BASE):
        scale = ((rows + _OFFSET) / _BASE, (columns + _OFFSET) / _BASE)
        maps = functional.interpolate(maps, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([token, maps.flatten(2).transpose(1, 2)], dim=1)
