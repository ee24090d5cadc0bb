"""The graph networks ``gcn`` and ``egnn`` as models: points in, one vector a sample out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import MismatchError, MissingDataError, ModelOutputError
from harness.types import Batch, BuildContext

from . import weights
from .egnn import Egnn
from .expectations import check_expectations
from .gcn import Gcn
from .point_graphs import connect, join
from .random_draw import drawn_from
from .weights_place import model_string

_POINTS_A_STEP = {"cpu": 2_048, "cuda": 262_144, "mps": 65_536}
"""Points of the graphs that go through a network together: on a CPU, what its caches hold."""


class PointModel:
    """Feeds sets of points to a graph network."""

    def __init__(self, network: nn.Module, context: BuildContext) -> None:
        """Put a network with its weights to work."""
        self._context = context
        self._network = network.eval().requires_grad_(requires_grad=False).to(context.device)

    @property
    def module(self) -> nn.Module:
        """The network, on its device, in inference mode."""
        return self._network

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return (N, 256) for each stage.

        A sample without points has the vector of a graph without nodes: its pooled values are zeros.

        Raises:
            MismatchError: the batch holds no points.
            ModelOutputError: points that are not (n, 2) or not finite.
        """
        with torch.inference_mode():
            return dict.fromkeys(stages, self.vectors(batch).cpu().numpy())

    def vectors(self, batch: Batch) -> Tensor:
        """Return (N, 256) float32 on the device; gradients flow where the caller wants them."""
        name, device = self._context.card.name, self._context.device
        if batch.points is None:
            raise MismatchError(f"{name}: takes points; the view {batch.view} holds none")
        for sample, points in zip(batch.ids, batch.points, strict=True):
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ModelOutputError(f"{name}: {sample}: expected finite points (n, 2), got shape {points.shape}")
        rows = []
        for part in split_by_size([len(points) for points in batch.points], _POINTS_A_STEP[device]):
            graphs = join([connect(points) for points in batch.points[part]], device)
            rows.append(self._network(graphs).float())
        return torch.cat(rows)


def build_gcn(context: BuildContext) -> PointModel:
    """Build ``gcn``."""
    return _build(Gcn, context)


def build_egnn(context: BuildContext) -> PointModel:
    """Build ``egnn``."""
    return _build(Egnn, context)


def identify(context: BuildContext) -> str:
    """Return the sha256 of the weights file, for the identity of the model.

    Raises:
        MissingDataError: no weights are named, or they are nowhere.
    """
    _need_weights(context)
    return weights.identify(context)


def split_by_size(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Cut consecutive samples into parts of at most ``most`` points, or of one sample that has more.

    Example:
        >>> [(part.start, part.stop) for part in split_by_size([3, 4, 9, 1], 8)]
        [(0, 2), (2, 3), (3, 4)]
    """
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and total + size > most:
            yield slice(start, place)
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def _build(kind: type[Gcn | Egnn], context: BuildContext) -> PointModel:
    with torch.device("meta"):
        check_expectations(kind(), context.card)
    if not context.untrained:
        _need_weights(context)
    with drawn_from(context.seed):
        network = kind()
    if not context.untrained:
        weights.fill(network, context)
    return PointModel(network, context)


def _need_weights(context: BuildContext) -> None:
    if context.card.weights is None and "weights" not in context.options:
        name = model_string(context.card)
        raise MissingDataError(
            f"{name}: trained weights needed. `harness train {name} --task synthetic-gnn` makes them; then ask for "
            f"{name}-synthetic, or for {name},weights=FILE. untrained:{name} runs at once, without weights."
        )
