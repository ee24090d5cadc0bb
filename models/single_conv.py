"""One random convolution and a global average.

Source: arXiv 2603.13377 ("random local filters followed by global pooling"); size, stride and ReLU are ours. Without
the ReLU the average of a convolution is a linear map of the channel means, and the baseline would repeat
``pixel-mean``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.types import BuildContext

from .option_values import choose, whole_number
from .random_draw import drawn_from
from .torch_model import TorchModel

_MAP_BYTES = {"cpu": 8 << 20, "cuda": 512 << 20, "mps": 128 << 20}
"""Most memory the feature maps of one step may take: they are averaged a few images at a time and never kept."""
_ACTIVATIONS = {"relu": nn.ReLU, "none": nn.Identity}


class SingleConv(nn.Module):
    """Convolution, activation, average over the image."""

    def __init__(self, conv: nn.Conv2d, activation: nn.Module, map_bytes: int) -> None:
        """Keep the layers and the memory they may fill."""
        super().__init__()
        self.conv = conv
        self.activation = activation
        self._map_bytes = map_bytes

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn (n, C, H, W) into (n, filters) float32."""
        return torch.cat([self._average(part) for part in torch.split(pixels, self._images_a_step(pixels))])

    def _average(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.activation(self.conv(pixels))
        return maps.mean(dim=(2, 3), dtype=torch.float32)

    def _images_a_step(self, pixels: Tensor) -> int:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        rows, columns = ((side - kernel) // stride + 1 for side in pixels.shape[2:])
        return max(1, self._map_bytes // max(1, 4 * self.conv.out_channels * rows * columns))


def build(context: BuildContext) -> TorchModel:
    """Draw the filters with torch's default initialisation, for as many channels as the images have.

    Options: ``filters`` (512), ``kernel`` (7), ``stride`` (4), ``activation`` (relu or none).
    """
    filters = whole_number(context, "filters", 512)
    kernel = whole_number(context, "kernel", 7)
    stride = whole_number(context, "stride", 4)
    activation = _ACTIVATIONS[choose(context, "activation", tuple(_ACTIVATIONS), "relu")]
    with drawn_from(context.seed):
        conv = nn.Conv2d(context.channels, filters, kernel, stride)
    return TorchModel(SingleConv(conv, activation(), _MAP_BYTES[context.device]), context)
