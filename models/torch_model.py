"""A torch network as a model of the harness: ``harness.TorchModel(network, context)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import MismatchError, ModelOutputError, PluginError
from harness.types import Batch, BuildContext

from .channels import fit_channels
from .compiling import Compiled
from .preprocess import Preprocess, effective_transform
from .transfer import Transfer

ReadStages = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]
"""Runs a network once on (n, C, H, W) pixels and returns (n, D) for each stage asked for."""


class TorchModel:
    """Wraps any ``nn.Module`` that turns (n, C, H, W) pixels into (n, D) vectors.

    Owns what every network needs and no network should repeat: resize, normalisation, channel adaptation, device,
    number format (autocast), inference mode, float32 answers in ordinary memory.

    Example::

        def build(context):
            return harness.TorchModel(MyNetwork(), context)
    """

    def __init__(self, module: nn.Module, context: BuildContext, read: ReadStages | None = None) -> None:
        """Put a network to work.

        Args:
            module: the network with its weights, on the CPU.
            context: what the engine said about the run.
            read: reads several stages in one pass; without it the network's own answer is the last stage.

        Raises:
            MismatchError: the images have another number of channels and the card has no rule for them.
        """
        self._context = context
        transform = effective_transform(context)
        fit_channels(module, context.card, context.channels, transform.channel_adapt)
        self._preprocess = Preprocess(transform, context.channels, context.device, context.card.name)
        self._transfer = Transfer(context.device)
        module = module.eval().requires_grad_(requires_grad=False).to(context.device)
        self._module = module.to(memory_format=torch.channels_last)
        read = read or self._read_last
        self._read = Compiled(read, context.card.name) if context.compile else read

    @property
    def module(self) -> nn.Module:
        """The network, on its device, in inference mode."""
        return self._module

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Embed one batch of images in one forward pass.

        Raises:
            MismatchError: the batch holds no images, or images the network cannot take.
            ModelOutputError: the network returns something else than (n, D).
        """
        with torch.inference_mode():
            answer = self._run(batch, stages)
            return {stage: vectors.contiguous().cpu().numpy() for stage, vectors in answer.items()}

    def send(self, batch: Batch) -> None:
        """Begin to fetch the images of a coming batch to the device, where that can be done beside the work."""
        if batch.images is not None:
            self._transfer.send(batch.images)

    def vectors(self, batch: Batch) -> Tensor:
        """Return (N, D) float32 of the last stage, on the device; gradients flow where the caller wants them."""
        last = self._context.card.stages[-1]
        return self._run(batch, [last])[last]

    def _run(self, batch: Batch, stages: Sequence[str]) -> dict[str, Tensor]:
        if batch.images is None:
            raise MismatchError(f"{self._context.card.name}: takes images; the view {batch.view} holds none")
        dtype = getattr(torch, self._context.dtype)
        with torch.autocast(self._context.device, dtype=dtype, enabled=dtype != torch.float32):
            prepared = self._preprocess(self._transfer.take(batch.images))
            answer = self._read(prepared.pixels, stages)
        return {stage: self._average_tiles(answer[stage], prepared.tiles, len(batch), stage) for stage in stages}

    def _read_last(self, pixels: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
        last = self._context.card.stages[-1]
        if list(stages) != [last]:
            raise PluginError(
                f"{self._context.card.name}: stages {', '.join(stages)} asked for, but its builder reads {last} only; "
                "pass TorchModel a function `read` that returns them"
            )
        return {last: self._module(pixels)}

    def _average_tiles(self, features: Tensor, tiles: int, samples: int, stage: str) -> Tensor:
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != samples * tiles:
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ModelOutputError(
                f"{self._context.card.name}: stage {stage}: expected ({samples * tiles}, D) features, got {shape}"
            )
        features = features.float()
        return features if tiles == 1 else features.view(samples, tiles, -1).mean(dim=1)
