"""A network with a linear classifier on its vectors: what is trained, and what then answers with class scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import MismatchError
from harness.types import Batch, BuildContext, Model

from .egnn import Egnn
from .gcn import Gcn
from .graph_networks import PointModel
from .point_graphs import PointGraph, PointGraphs, directed_edges, join
from .random_draw import drawn_from
from .torch_model import TorchModel

HEAD = "head."
"""Names of the classifier's weights in a checkpoint begin so; loading the network alone leaves them out."""
_SAMPLES_A_PART = {"cpu": 4}
"""Graphs that go through a network together in training: on a CPU, what its caches hold."""
_HEAD_STREAM = 1


@dataclass(frozen=True)
class Part:
    """Samples that go through the network together.

    Attributes:
        inputs: their graphs, or the batch with their images.
        labels: (n,) int64.
    """

    inputs: PointGraphs | Batch
    labels: Tensor


class Classifier(nn.Module):
    """A trunk of any kind and its linear head."""

    def __init__(self, model: Model, context: BuildContext, classes: int, example: Batch) -> None:
        """Put a head drawn from the seed on a freshly drawn network.

        Args:
            model: the wrapped network.
            context: how it was built.
            classes: scores a sample.
            example: a sample, from which the length of a vector is known.

        Raises:
            MismatchError: the model is no torch network that the harness could train.
        """
        super().__init__()
        if not isinstance(model, (PointModel, TorchModel)):
            raise MismatchError(f"{context.card.name}: cannot be trained: its builder returns no TorchModel")
        self._model = model
        self._device = context.device
        self.trunk = model.module.requires_grad_(requires_grad=True)
        with torch.no_grad():
            width = model.vectors(example).shape[1]
        with drawn_from(int(np.random.SeedSequence([context.seed, _HEAD_STREAM]).generate_state(1)[0])):
            self.head = nn.Linear(width, classes)
        self.head.to(self._device)
        self._edges: dict[str, NDArray[np.integer]] = {}

    @property
    def takes_points(self) -> bool:
        """Whether samples are point sets, which may be split into parts without changing a gradient."""
        return isinstance(self._model, PointModel)

    def groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the parameters of the last layers, a graph network's MLP or the head alone, and those below."""
        last = [self.trunk.hidden, self.head] if isinstance(self.trunk, (Gcn, Egnn)) else [self.head]
        above = [parameter for layer in last for parameter in layer.parameters()]
        known = {id(parameter) for parameter in above}
        return above, [parameter for parameter in self.parameters() if id(parameter) not in known]

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights as a checkpoint holds them: those of the network, then the head's."""
        return {**self.trunk.state_dict(), **{HEAD + name: value for name, value in self.head.state_dict().items()}}

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Take over the weights of a checkpoint."""
        own = {name.removeprefix(HEAD): value for name, value in tensors.items() if name.startswith(HEAD)}
        self.head.load_state_dict(own)
        self.trunk.load_state_dict({name: value for name, value in tensors.items() if not name.startswith(HEAD)})

    def split(self, batch: Batch, labels: NDArray[np.int64], *, fixed_graphs: bool) -> list[Part]:
        """Cut a batch into the parts that go through the network together; images stay in one, for batch norms.

        Args:
            batch: n samples.
            labels: (n,) int64.
            fixed_graphs: remember the edges of each sample by its id.
        """
        if batch.points is None:
            return [Part(batch, torch.from_numpy(labels).to(self._device))]
        graphs = [
            PointGraph(points, self._connect(sample, points) if fixed_graphs else directed_edges(points))
            for sample, points in zip(batch.ids, batch.points, strict=True)
        ]
        step = _SAMPLES_A_PART.get(self._device, len(graphs))
        return [
            Part(
                join(graphs[start : start + step], self._device),
                torch.from_numpy(labels[start : start + step]).to(self._device),
            )
            for start in range(0, len(graphs), step)
        ]

    def remembers(self, sample: str) -> bool:
        """Tell whether the edges of a sample are known."""
        return sample in self._edges

    def remember(self, batch: Batch) -> None:
        """Look for the edges of samples and keep them for :meth:`split`; pictures have none."""
        for sample, points in zip(batch.ids, batch.points or (), strict=False):
            self._connect(sample, points)

    def forward(self, inputs: PointGraphs | Batch) -> Tensor:
        """Return (n, classes) float32 scores."""
        if isinstance(inputs, Batch):
            scores: Tensor = self.head(self._model.vectors(inputs))
        else:
            scores = self.head(self.trunk(inputs))
        return scores

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return (N, classes) scores in place of vectors."""
        with torch.inference_mode():
            return dict.fromkeys(stages, self.head(self._model.vectors(batch)).float().cpu().numpy())

    def _connect(self, sample: str, points: NDArray[np.floating]) -> NDArray[np.integer]:
        if sample not in self._edges:
            edges = directed_edges(points)
            self._edges[sample] = edges.astype(np.uint16) if len(points) <= np.iinfo(np.uint16).max else edges
        return self._edges[sample]
