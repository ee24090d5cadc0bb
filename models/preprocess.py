"""From a batch of images to a network's input: crop, resize, normalise."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from harness.cards import InputTransform
from harness.errors import MismatchError, UsageError
from harness.types import BuildContext

from .option_values import choose
from .transfer import Images, as_tensor

_log = logging.getLogger(__name__)
_INSTANCE_EPS = 1e-5
"""Added to the variance of a channel, as torch's instance norm does."""


@dataclass(frozen=True)
class Prepared:
    """Input of a network.

    Attributes:
        pixels: (n * tiles, C, H, W) float32, channels last in memory, normalised.
        tiles: crops of one image, consecutive in ``pixels``.
    """

    pixels: Tensor
    tiles: int


def effective_transform(context: BuildContext) -> InputTransform:
    """Return the transform with the options of the model string laid over it."""
    transform = context.transform or context.card.input
    change = {
        "channel_adapt": choose(context, "channel_adapt", ("timm", "copy", "native", "none"), transform.channel_adapt),
        "channel_norm": choose(context, "channel_norm", ("cycle", "instance"), transform.channel_norm),
        "tiles": choose(context, "tiles", ("whole", "grid", "centre"), transform.tiles),
    }
    return transform.model_copy(update=change)


class Preprocess:
    """Turns images into a network's input on its device.

    Order: uint8 or float as given, tiles, resize (on floats, clamped to the range because bicubic overshoots), crop,
    normalise. What is not needed is not done: an image of the right size is read once and written once.
    """

    def __init__(self, transform: InputTransform, channels: int, device: str, name: str) -> None:
        """Prepare the normalisation.

        Raises:
            UsageError: mean and standard deviation do not go together.
        """
        mean, std = _cycle(transform, channels, name)
        self.transform = transform
        self._device = device
        self._name = name
        self._instance = transform.channel_norm == "instance" and transform.mean_std == "card"
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device)
        self._std = torch.tensor(std, dtype=torch.float32, device=device)
        silent = transform.mean is None and transform.std is None and transform.mean_std != "none"
        if silent and not self._instance:
            _warn_once(name)

    def __call__(self, images: Images | Tensor) -> Prepared:
        """Prepare (N, C, H, W) uint8 0..255 or float32 in [0, 1], in any memory order; a tensor lies on the device.

        Raises:
            MismatchError: an image is smaller than a crop or tile that the transform asks for.
        """
        pixels = images if isinstance(images, Tensor) else as_tensor(images).to(self._device)
        top = 255.0 if pixels.dtype == torch.uint8 else 1.0
        pixels = pixels.to(torch.float32)
        pixels, tiles = self._cut_tiles(pixels)
        pixels = self._resize(pixels, top)
        return Prepared(self._normalise(pixels, top), tiles)

    def _cut_tiles(self, pixels: Tensor) -> tuple[Tensor, int]:
        """Cut a centred grid of crops of the model's size, or the centre one.

        An image that holds no crop is taken whole by the grid, and resized.
        """
        size = self.transform.size
        if self.transform.tiles == "whole" or size is None:
            return pixels, 1
        rows, columns = (
            (1, 1) if self.transform.tiles == "centre" else (pixels.shape[2] // size, pixels.shape[3] // size)
        )
        if not rows * columns and self.transform.resize != "none":
            return pixels, 1
        block = self._centre(pixels, max(rows, 1) * size, max(columns, 1) * size)
        count, channels = block.shape[:2]
        grid = block.reshape(count, channels, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
        return grid.reshape(count * rows * columns, channels, size, size), rows * columns

    def _resize(self, pixels: Tensor, top: float) -> Tensor:
        transform = self.transform
        if transform.size is None:
            return pixels
        target = _target(transform, pixels.shape[2], pixels.shape[3])
        if target != tuple(pixels.shape[2:]):
            pixels = functional.interpolate(
                pixels, target, mode=transform.interpolation, antialias=transform.antialias, align_corners=False
            ).clamp_(0.0, top)
        return self._centre(pixels, transform.size, transform.size) if transform.crop == "center" else pixels

    def _centre(self, pixels: Tensor, height: int, width: int) -> Tensor:
        rows, columns = pixels.shape[2:]
        if rows < height or columns < width:
            raise MismatchError(
                f"{self._name}: images of {rows} x {columns} px are smaller than the crop of {height} x {width} px; "
                "use a transform that resizes"
            )
        top, left = (rows - height) // 2, (columns - width) // 2
        return pixels[:, :, top : top + height, left : left + width]

    def _normalise(self, pixels: Tensor, top: float) -> Tensor:
        if self._instance:
            pixels = functional.instance_norm(pixels / top, eps=_INSTANCE_EPS)
            return pixels.contiguous(memory_format=torch.channels_last)
        scale, shift = 1.0 / (top * self._std), -self._mean / self._std
        if not pixels.is_contiguous(memory_format=torch.channels_last):
            pixels = torch.addcmul(shift[:, None, None], pixels, scale[:, None, None])
            return pixels.contiguous(memory_format=torch.channels_last)
        # Whole image rows at a time: an inner loop over 3 channels costs six times as much.
        count, channels, height, width = pixels.shape
        rows = pixels.permute(0, 2, 3, 1).reshape(count, height, width * channels)
        rows = torch.addcmul(shift.repeat(width), rows, scale.repeat(width))
        return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


@cache
def _warn_once(name: str) -> None:
    _log.warning("%s: the card gives no mean and sd; pixels go in as 0..1", name)


def _cycle(transform: InputTransform, channels: int, name: str) -> tuple[list[float], list[float]]:
    """Repeat mean and standard deviation in turn over the channels, as filters are."""
    mean, std = transform.mean, transform.std
    if transform.mean_std == "none" or (mean is None and std is None):
        return [0.0] * channels, [1.0] * channels
    if not mean or not std or len(mean) != len(std) or min(std) <= 0:
        raise UsageError(f"{name}: input.mean {mean} and input.std {std}: expected equally many, every std above 0")
    turns = [channel % len(mean) for channel in range(channels)]
    return [mean[turn] for turn in turns], [std[turn] for turn in turns]


def _target(transform: InputTransform, height: int, width: int) -> tuple[int, int]:
    size = transform.size or 0
    if transform.resize == "none":
        return height, width
    side = transform.resize_to or (math.floor(size / transform.crop_pct) if transform.crop_pct else size)
    if transform.resize == "squash":
        return side, side
    short = min(height, width)
    return (side, side * width // short) if height == short else (side * height // short, side)
