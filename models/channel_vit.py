"""A vision transformer for any number of channels: every channel is cut into patches of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.cards import ModelCard

from .stages import check_patch_size

_NORM_EPS = 1e-5
"""Added to the variance of a channel, as torch's instance norm does."""
_PERIOD = 10000.0
"""The longest wave of a position is about 2 pi times this many patches."""


class ChannelVit(nn.Module):
    """One projection for all channels; the tokens of channel 0 come first, then those of channel 1, and so on.

    Each image and channel is brought to mean 0 and variance 1 before, as part of the network: a task that leaves out
    the normalisation of photographs does not leave out this one. A token knows where it lies, not from which channel
    it comes, so the order of the channels does not matter.

    Source: arXiv 2404.10242; recursionpharma/maes_microscopy@fb9dcbf, ``vit.py`` and ``huggingface_mae.py``.
    """

    def __init__(self, backbone: nn.Module, max_channels: int) -> None:
        """Take the layers of a timm ViT for one channel, and give it fixed positions for up to ``max_channels``.

        Args:
            backbone: a ViT of timm built with ``in_chans=1`` and ``global_pool="avg"``.
            max_channels: most channels of an image.
        """
        super().__init__()
        given = cast(Any, backbone)
        self.patch_embed = given.patch_embed
        self.cls_token = given.cls_token
        rows, columns = given.patch_embed.grid_size
        positions = wave_positions(rows, columns, given.embed_dim, max_channels)
        self.pos_embed = nn.Parameter(positions, requires_grad=False)
        self.blocks = given.blocks
        self.fc_norm = given.fc_norm  # in the released file, but not between the last block and the features
        self.max_channels = max_channels

    def tokens(self, pixels: Tensor) -> Tensor:
        """Turn (n, C, H, W) into (n, 1 + C * patches, D) tokens with their positions, the class token first."""
        count, channels = pixels.shape[:2]
        pixels = functional.instance_norm(pixels, eps=_NORM_EPS)
        patches = self.patch_embed(pixels.reshape(count * channels, 1, *pixels.shape[2:]))
        patches = patches.reshape(count, -1, patches.shape[-1])
        tokens = torch.cat([self.cls_token.expand(count, -1, -1), patches], dim=1)
        return tokens + self.pos_embed[:, : tokens.shape[1]]

    def patch_means(self, pixels: Tensor, blocks: Sequence[int]) -> dict[int, Tensor]:
        """Run the blocks once and return (n, D), the mean of all patch tokens, after each block asked for."""
        tokens, means = self.tokens(pixels), {}
        for number, block in enumerate(self.blocks[: max(blocks) + 1]):
            tokens = block(tokens)
            if number in blocks:
                means[number] = tokens[:, 1:].mean(dim=1)
        return means

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn (n, C, H, W) in [0, 1] into (n, D), the mean of the patch tokens after the last block."""
        last = len(self.blocks) - 1
        return self.patch_means(pixels, [last])[last]


class ChannelVitStages:
    """Reads blocks of a :class:`ChannelVit`."""

    def __init__(self, network: ChannelVit, card: ModelCard) -> None:
        """Keep the network."""
        self._network = network
        self._card = card

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run the network once, up to the deepest stage asked for."""
        check_patch_size(self._network, self._card.name, pixels)
        block_of = {stage: self._card.output.stages[stage] for stage in stages}
        means = self._network.patch_means(pixels, sorted(set(block_of.values())))
        return {stage: means[block] for stage, block in block_of.items()}


def wave_positions(rows: int, columns: int, width: int, repeats: int) -> Tensor:
    """Compute where each patch lies, as sines and cosines, the same for every channel.

    Args:
        rows: patches from top to bottom.
        columns: patches from left to right.
        width: length D of a token, a multiple of 4.
        repeats: how often the patches of one channel are repeated.

    Returns:
        (1, 1 + repeats * rows * columns, D) float32: zeros for the class token, then the patches row by row, each
        ``[sin(row w), cos(row w), sin(column w), cos(column w)]`` with D / 4 frequencies w from 1 down.

    Example:
        >>> [round(value, 3) for value in wave_positions(1, 2, 4, 1)[0, 2].tolist()]
        [0.0, 1.0, 0.841, 0.54]
    """
    frequencies = _PERIOD ** (-torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [torch.outer(place.flatten().float(), frequencies) for place in (row, column)]
    patches = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return torch.cat([torch.zeros(1, width), patches.repeat(repeats, 1)])[None]
