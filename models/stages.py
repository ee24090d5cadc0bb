"""All probed depths of a timm network in one forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.cards import ModelCard
from harness.errors import MismatchError, UsageError

TOKEN_POOLINGS = ("cls", "avg", "cls+avg", "head", "map")
MAP_POOLINGS = ("gap", "avg")


def is_token_network(module: nn.Module) -> bool:
    """Tell whether a network works on tokens with a prefix (ViT, Eva) rather than on feature maps."""
    forward = getattr(module, "forward_intermediates", None)
    return forward is not None and "return_prefix_tokens" in inspect.signature(forward).parameters


class TokenStages:
    """Reads blocks of a ViT or Eva network.

    The same pooling is used at every stage: ``cls`` (the first prefix token), ``avg`` (patch tokens; registers are
    never averaged in), ``cls+avg`` (concatenated), ``map`` (the network's own attention pool at the last block, ``avg``
    before), ``head`` (the network's own head at the last block, ``avg`` before). The final norm is applied to
    intermediate tokens too where the card's ``stage_norm`` says so.
    """

    def __init__(self, module: nn.Module, card: ModelCard, pooling: str) -> None:
        """Keep the network and how its tokens become a vector.

        Raises:
            UsageError: a pooling for which the network has no layer or token.
        """
        if pooling == "map" and getattr(module, "attn_pool", None) is None:
            raise UsageError(f"{card.name}: pooling map: {card.arch} has no attention pool; choose cls, avg or cls+avg")
        if pooling in ("cls", "cls+avg") and not module.num_prefix_tokens:
            raise UsageError(f"{card.name}: pooling {pooling}: {card.arch} has no class token; choose avg")
        self._module = cast(Any, module)
        self._card = card
        self._pooling = pooling
        self._last = len(self._module.blocks) - 1

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run the blocks once, up to the deepest stage asked for."""
        check_patch_size(self._module, self._card.name, pixels)
        block_of = {stage: self._card.output.stages[stage] for stage in stages}
        blocks = sorted(set(block_of.values()))
        prefixed = self._module.num_prefix_tokens > 0
        answers = self._module.forward_intermediates(
            pixels, indices=blocks, return_prefix_tokens=prefixed, norm=False, stop_early=True,
            output_fmt="NLC", intermediates_only=True,
        )  # fmt: skip
        pairs = answers if prefixed else [(patches, patches[:, :0]) for patches in answers]
        vectors = {
            block: self._pool(patches, prefix, block) for block, (patches, prefix) in zip(blocks, pairs, strict=True)
        }
        return {stage: vectors[block] for stage, block in block_of.items()}

    def _pool(self, patches: Tensor, prefix: Tensor, block: int) -> Tensor:
        if self._pooling in ("map", "head") and block == self._last:
            tokens = self._module.norm(torch.cat([prefix, patches], dim=1))
            vector: Tensor = self._module.forward_head(tokens, pre_logits=True)
            return vector
        if self._card.output.stage_norm or block == self._last:
            patches, prefix = self._module.norm(patches), self._module.norm(prefix)
        after = getattr(self._module, "fc_norm", None) or nn.Identity()
        average = patches.mean(dim=1) if self._pooling != "cls" else None
        first = prefix[:, 0] if self._pooling in ("cls", "cls+avg") else None
        return torch.cat([after(part) for part in (first, average) if part is not None], dim=1)


class MapStages:
    """Reads feature maps of a convolutional or hierarchical network, each averaged over its area.

    The deepest map goes through the network's own head without its classifier.
    """

    def __init__(self, module: nn.Module, card: ModelCard) -> None:
        """Keep the network."""
        self._module = cast(Any, module)
        self._card = card
        self._last = len(self._module.feature_info) - 1

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run the network once, up to the deepest stage asked for."""
        map_of = {stage: self._card.output.stages[stage] for stage in stages}
        maps = sorted(set(map_of.values()))
        whole = maps[-1] == self._last
        answer = self._module.forward_intermediates(
            pixels, indices=maps, stop_early=not whole, intermediates_only=not whole
        )
        final, between = answer if whole else (None, answer)
        vectors = {
            index: functional.adaptive_avg_pool2d(one, 1).flatten(1) for index, one in zip(maps, between, strict=True)
        }
        if whole:
            vectors[self._last] = self._module.forward_head(final, pre_logits=True)
        return {stage: vectors[index] for stage, index in map_of.items()}


def check_patch_size(module: nn.Module, name: str, pixels: Tensor) -> None:
    """Check that images can be cut into the patches of a token network.

    Raises:
        MismatchError: an image is smaller than a patch, not a multiple of it, or not of the fixed size.
    """
    embed: Any = getattr(module, "patch_embed", None)
    patch = getattr(embed, "patch_size", None)
    if patch is None:
        return
    size = tuple(pixels.shape[2:])
    fixed = getattr(embed, "img_size", None) if getattr(embed, "strict_img_size", False) else None
    if fixed is not None and size != tuple(fixed):
        raise MismatchError(f"{name}: images are {_by(size)} px, the network takes {_by(fixed)} px; resize them")
    if any(side < step or (side % step and fixed is None) for side, step in zip(size, patch, strict=True)):
        raise MismatchError(f"{name}: images of {_by(size)} px cannot be cut into patches of {_by(patch)} px; resize")


def _by(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)
