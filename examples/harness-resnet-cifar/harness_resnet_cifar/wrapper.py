"""The networks, trained or drawn at random, and how their stages are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

import harness
from harness import identify_weights as identify
from harness.errors import UsageError

__all__ = ["build", "identify"]
"""The engine looks for ``identify`` beside the builder: embeddings of two weights files are never mixed up."""


def build(context: harness.BuildContext) -> harness.TorchModel:
    """Build a network.

    Raises:
        UsageError: the option ``size`` is no whole number of at least 8.
        MissingDataError: the weights are nowhere, or of another network.
    """
    size = context.options.get("size", "32")
    if not size.isdecimal() or int(size) < 8:
        raise UsageError(f"{context.card.name}: option size={size}: expected a whole number of at least 8")
    transform = context.transform or context.card.input
    context = replace(context, transform=transform.model_copy(update={"size": int(size)}))
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        torch.default_generator.manual_seed(context.seed)
        network = ResNet(context.card.kwargs["blocks"], context.channels if context.untrained else 3)
    del network.linear  # drawn above, so that a seed means the network of the original program
    if not context.untrained:
        found = {name.removeprefix("module."): tensor for name, tensor in harness.read_weights(context).items()}
        kept = {name: tensor for name, tensor in found.items() if not name.startswith("linear.")}
        harness.load_weights(network, kept, context)
    return harness.TorchModel(network, context, read=network.read)


class ResNet(nn.Module):
    """A 3 x 3 convolution, three layers of blocks 16, 32 and 64 wide, and a classifier that features do without."""

    def __init__(self, blocks: int, channels: int = 3) -> None:
        """Draw a network: He-normal (fan-in), after torch's own initialisation."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _layer(16, 16, blocks)
        self.layer2 = _layer(16, 32, blocks)
        self.layer3 = _layer(32, 64, blocks)
        self.linear = nn.Linear(64, 10)
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(part.weight)

    def read(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run once, up to the deepest stage asked for; a stage is the mean of its maps over their area, (n, width)."""
        maps, vectors = functional.relu(self.bn1(self.conv1(pixels))), {}
        for name in ("layer1", "layer2", "layer3"):
            if not set(stages) <= set(vectors):
                maps = self.get_submodule(name)(maps)
                vectors[name] = maps.mean(dim=(2, 3))
        return vectors


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut without parameters."""

    def __init__(self, before: int, width: int) -> None:
        """Halve the area where the width grows."""
        super().__init__()
        self.margin = (width - before) // 2
        self.conv1 = nn.Conv2d(before, width, 3, stride=2 if self.margin else 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Add to the maps what the convolutions make of them.

        Where the width grows, the shortcut takes every second pixel and pads the channels with zeros on both sides.
        """
        change = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(maps)))))
        if self.margin:
            maps = functional.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, self.margin, self.margin))
        return functional.relu(change + maps)


def _layer(before: int, width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Block(before if place == 0 else width, width) for place in range(blocks)))
