"""CTransPath: a Swin transformer with a convolutional stem in the place of its patch embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from harness.cards import ModelCard
from harness.types import BuildContext

from .channels import built_channels
from .expectations import check_expectations
from .random_draw import drawn_from
from .stages import MapStages, check_patch_size
from .timm_backbone import create as create_timm
from .torch_model import TorchModel
from .weights import fill, identify

__all__ = ["CTransPathStages", "build", "conv_stem", "create", "identify"]


def build(context: BuildContext) -> TorchModel:
    """Build the network, trained or drawn at random.

    Raises:
        MissingDataError: the weights are nowhere or do not fit.
        PluginError: timm does not build what the card describes.
    """
    card = context.card
    with torch.device("meta"):
        check_expectations(create(card, 3), card)
    with drawn_from(context.seed):
        network = create(card, built_channels(context))
    if not context.untrained:
        fill(network, context)
    return TorchModel(network, context, read=CTransPathStages(network, card))


def create(card: ModelCard, channels: int) -> nn.Module:
    """Construct the network of a card with timm, on the current device, and give it its stem.

    Raises:
        PluginError: timm does not know the architecture or an argument.
    """
    network = create_timm(card)
    embed = cast(Any, network).patch_embed  # its norm and the order of its axes (NHWC) stay
    embed.proj = conv_stem(channels, embed.proj.out_channels)
    return network


def conv_stem(channels: int, width: int) -> nn.Sequential:
    """Make the stem: two convolutions halve the image each and double the filters, a third sets the width.

    Args:
        channels: channels of the images.
        width: length of a token, a multiple of 8.

    Source: Xiyue-Wang/TransPath, ``ctran.py``.
    """
    layers: list[nn.Module] = []
    for given, filters in ((channels, width // 8), (width // 8, width // 4)):
        conv = nn.Conv2d(given, filters, kernel_size=3, stride=2, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width // 4, width, kernel_size=1))


class CTransPathStages:
    """Reads the four layers, each averaged over its area, the last after the network's norm."""

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        """Keep the network."""
        self._network = network
        self._name = card.name
        self._maps = MapStages(network, card)

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run the network once, up to the deepest stage asked for."""
        check_patch_size(self._network, self._name, pixels)
        return self._maps(pixels, stages)
