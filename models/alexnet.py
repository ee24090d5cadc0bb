"""AlexNet, from torchvision: timm has none.

The published comparison does not say which layer it reads; ``fc7`` (the classifier without its last Linear, after
ReLU) is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.types import BuildContext

from .channels import built_channels
from .expectations import check_expectations
from .random_draw import drawn_from
from .torch_model import TorchModel
from .weights import fill, identify

__all__ = ["build", "identify"]


def build(context: BuildContext) -> TorchModel:
    """Build the network, trained or drawn at random."""
    from torchvision.models import alexnet

    channels = built_channels(context)
    with drawn_from(context.seed):
        network = alexnet(weights=None)
        if channels != context.card.input.channels:
            network.features[0] = nn.Conv2d(channels, 64, kernel_size=11, stride=4, padding=2)
    if channels == context.card.input.channels:
        check_expectations(network, context.card)
    if not context.untrained:
        fill(network, context)
    return TorchModel(network, context, read=AlexNetStages(network))


class AlexNetStages:
    """Reads the averaged feature map and both hidden layers of the classifier."""

    def __init__(self, network: nn.Module) -> None:
        """Keep the network."""
        self._network = network

    def __call__(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        """Run the network once, up to the deepest stage asked for."""
        maps: Tensor = self._network.get_submodule("features")(pixels)
        answer = {"features": functional.adaptive_avg_pool2d(maps, 1).flatten(1)}
        if set(stages) == {"features"}:
            return answer
        vector = torch.flatten(self._network.get_submodule("avgpool")(maps), 1)
        classifier = self._network.get_submodule("classifier")
        for number, layer in enumerate(list(classifier.children())[:-1]):
            vector = layer(vector)
            if number == 2:  # dropout, Linear, ReLU; dropout, Linear, ReLU; Linear
                answer["fc6"] = vector
        answer["fc7"] = vector
        return answer
