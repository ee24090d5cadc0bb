"""A graph convolution network on the coordinates of points.

Source: arXiv 2603.13377, appendix D.3 (projection of the coordinates, four layers, all of them concatenated, maximum,
MLP of two layers); the layer is that of arXiv 1609.02907. Width, ReLU and the length of the feature are ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .point_graphs import PointGraphs

_WIDTH = 128
_LAYERS = 4
_FEATURE = 256


class GcnLayer(nn.Module):
    """One graph convolution: neighbours and the point itself, normalised symmetrically, then a linear map."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Draw weights after Glorot; the bias begins at zero."""
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, graphs: PointGraphs) -> Tensor:
        """Turn (n, inputs) into (n, outputs)."""
        mixed: Tensor = self.linear(graphs.normalised @ features)
        return mixed


class Gcn(nn.Module):
    """Points to one vector a graph, or to class scores."""

    def __init__(self, classes: int | None = None) -> None:
        """Draw the network; without ``classes`` it ends with the feature."""
        super().__init__()
        self.projection = nn.Linear(2, _WIDTH)
        self.layers = nn.ModuleList(GcnLayer(_WIDTH, _WIDTH) for _ in range(_LAYERS))
        self.hidden = nn.Linear(_LAYERS * _WIDTH, _FEATURE)
        self.classifier = nn.Identity() if classes is None else nn.Linear(_FEATURE, classes)

    def features(self, graphs: PointGraphs) -> Tensor:
        """Return (N, 256) features of N graphs; a graph without points counts as one whose maxima are zero."""
        return torch.relu(self.hidden(self.pool(graphs)))

    def pool(self, graphs: PointGraphs) -> Tensor:
        """Return (N, 512), the largest value of each channel of each layer in each graph."""
        first, *others = self.convolutions
        state = torch.relu_(self._first(first, graphs))
        pooled = [largest(state, graphs.sizes)]
        for layer in others:
            state = torch.relu_(layer(state, graphs))
            pooled.append(largest(state, graphs.sizes))
        return torch.cat(pooled, dim=1)  # the maximum of a concatenation, part by part

    @property
    def convolutions(self) -> list[GcnLayer]:
        """The graph convolutions, in order."""
        return [layer for layer in self.layers if isinstance(layer, GcnLayer)]

    def _first(self, layer: GcnLayer, graphs: PointGraphs) -> Tensor:
        """Return (n, 128), projection and first layer as the one linear map that they are, of three columns."""
        columns = torch.cat([self.projection.bias[:, None], self.projection.weight], dim=1)
        return nn.functional.linear(graphs.mixed, layer.linear.weight @ columns, layer.linear.bias)

    def forward(self, graphs: PointGraphs) -> Tensor:
        """Return (N, classes) scores, or the features where there is no classifier."""
        scores: Tensor = self.classifier(self.features(graphs))
        return scores


def largest(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the largest value of each column in each graph.

    Args:
        values: (n, D) float, graph after graph.
        sizes: points of each graph.

    Returns:
        (N, D); zeros for a graph without points. Points that tie for the maximum share its gradient evenly.

    Example:
        >>> largest(torch.tensor([[1.0], [3.0], [2.0]]), (2, 0, 1)).tolist()
        [[3.0], [0.0], [2.0]]
    """
    pooled: Tensor = _Largest.apply(values, sizes)
    return pooled


class _Largest(torch.autograd.Function):
    """The maximum of each graph. torch's own gradient gives the same and takes twice as long."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sizes: tuple[int, ...]) -> Tensor:
        parts = torch.split(values, list(sizes))
        pooled = torch.stack([part.amax(dim=0) if len(part) else part.new_zeros(part.shape[1]) for part in parts])
        ctx.sizes = sizes
        ctx.save_for_backward(values, pooled)
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, pooled = ctx.saved_tensors
        sizes = list(ctx.sizes)
        answer = torch.empty_like(values)
        parts = zip(torch.split(values, sizes), torch.split(answer, sizes), pooled, gradient, strict=True)
        for part, out, top, share in parts:
            if len(part):
                torch.eq(part, top, out=out)
                out.mul_(share / out.sum(dim=0))
        return answer, None
