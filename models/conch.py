"""CONCH v1 and v1.5: the image towers of two vision-language models for histology."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.cards import ModelCard
from harness.errors import UsageError
from harness.types import BuildContext

from .attention_pools import BiasFreePool, MultiheadPool
from .channels import built_channels
from .expectations import check_expectations
from .hollow import filled, hollow
from .memory import require_memory
from .option_values import choose
from .random_draw import drawn_from
from .stages import check_patch_size
from .timm_backbone import create as create_timm
from .torch_model import TorchModel
from .weights import identify
from .weights_place import shown_name

__all__ = ["ConchStages", "ConchTower", "build", "create", "identify"]

_POOLS: dict[str, type[MultiheadPool | BiasFreePool]] = {"multihead": MultiheadPool, "bias-free": BiasFreePool}


def build(context: BuildContext) -> TorchModel:
    """Build a tower, trained or drawn at random.

    Option ``pos_embed`` of v1.5: ``upstream`` resamples the position embedding of the file as the authors do at run
    time, ``native`` takes it as it is.

    Raises:
        MissingDataError: the weights are nowhere or do not fit.
        UsageError: there is no memory for a network of this size.
        PluginError: timm does not build the trunk that the card describes.
    """
    card = context.card
    positions = choose(context, "pos_embed", ("upstream", "native"), "upstream")
    empty = hollow(lambda: create(card))
    check_expectations(empty, card)
    require_memory(empty, card, shown_name(context), context.device)
    if context.untrained:
        with drawn_from(context.seed):
            tower = create(card, built_channels(context))
    else:
        filled_from = context if positions == "upstream" else _with_native_positions(context)
        tower = cast(ConchTower, filled(lambda: create(card), filled_from, empty))
    return TorchModel(tower, context, read=ConchStages(tower, card))


def create(card: ModelCard, channels: int | None = None) -> ConchTower:
    """Construct the tower of a card, on the current device; ``kwargs.pooler`` describes its pool.

    Raises:
        UsageError: a pool that does not exist.
        PluginError: timm does not know the trunk or an argument.
    """
    arguments = dict(card.kwargs)
    given = arguments.pop("pooler", None)
    pooler = given if isinstance(given, dict) else {}
    pool = _POOLS.get(str(pooler.get("kind")))
    if pool is None or set(pooler) != {"kind", "width", "heads"}:
        raise UsageError(f"{card.name}: kwargs.pooler: expected kind ({', '.join(_POOLS)}), width and heads")
    trunk = create_timm(card.model_copy(update={"kwargs": arguments}), channels)
    width = int(pooler["width"])
    return ConchTower(trunk, pool(width, int(cast(Any, trunk).embed_dim), int(pooler["heads"])), width)


class ConchTower(nn.Module):
    """A vision transformer, an attention pool over all its tokens, a layer norm.

    The vector is the one before the projection that compares images with texts, and is not scaled to length 1.
    """

    def __init__(self, trunk: nn.Module, pool: nn.Module, width: int) -> None:
        """Put the parts together; ``width`` is the length of a pooled vector."""
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = pool
        self.ln_contrast = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn (n, C, H, W) into (n, width)."""
        return self.pool(cast(Any, self.trunk).forward_features(pixels))

    def pool(self, tokens: Tensor) -> Tensor:
        """Turn (n, L, D) tokens, the trunk's last norm applied, into (n, width)."""
        vector: Tensor = self.ln_contrast(self.attn_pool_contrast(tokens))
        return vector


class ConchStages:
    """Reads the class token after blocks of the trunk, and as last stage the pooled vector.

    A stage whose index is the number of blocks is the pooled one.
    """

    def __init__(self, tower: ConchTower, card: ModelCard) -> None:
        """Keep the tower."""
        self._tower = tower
        self._trunk = cast(Any, tower.trunk)
        self._card = card

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run the trunk once, up to the deepest stage asked for."""
        check_patch_size(self._trunk, self._card.name, pixels)
        end = len(self._trunk.blocks)
        depth_of = {stage: self._card.output.stages[stage] for stage in stages}
        blocks = sorted({min(depth, end - 1) for depth in depth_of.values()})
        answers = self._trunk.forward_intermediates(
            pixels, indices=blocks, return_prefix_tokens=True, norm=False, stop_early=True,
            output_fmt="NLC", intermediates_only=True,
        )  # fmt: skip
        tokens = {
            block: torch.cat([prefix, patches], dim=1) for block, (patches, prefix) in zip(blocks, answers, strict=True)
        }
        return {
            stage: self._tower.pool(self._trunk.norm(tokens[end - 1])) if depth == end else self._first(tokens[depth])
            for stage, depth in depth_of.items()
        }

    def _first(self, tokens: Tensor) -> Tensor:
        token: Tensor = self._trunk.norm(tokens[:, 0]) if self._card.output.stage_norm else tokens[:, 0]
        return token


def _with_native_positions(context: BuildContext) -> BuildContext:
    spec = context.card.weights
    if spec is None:
        return context
    native = spec.model_copy(update={"remap": f"{spec.remap}-native"})
    return replace(context, card=context.card.model_copy(update={"weights": native}))
