"""An equivariant graph network: it sees distances between neighbours, and neither place nor direction.

Source: arXiv 2102.09844, the defaults of its authors' code (vgsatorras/egnn), for the layer; arXiv 2603.13377, appendix
D.3, for degree profiles, three layers, mean and MLP of two layers. Width and the length of the feature are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .point_graphs import PointGraphs

_WIDTH = 128
_LAYERS = 3
_FEATURE = 256
_PROFILE = 5
_GAIN = 0.001
"""Points hardly move before training."""


class EgnnLayer(nn.Module):
    """One equivariant layer: messages along edges, then new places, then new features."""

    def __init__(self, width: int) -> None:
        """Draw the three small networks."""
        super().__init__()
        self.pair = nn.Linear(2 * width + 1, width)
        self.message = nn.Linear(width, width)
        scale = nn.Linear(width, 1, bias=False)
        self.shift = nn.Sequential(nn.Linear(width, width), nn.SiLU(), scale)
        self.change = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.xavier_uniform_(scale.weight, gain=_GAIN)

    def forward(self, features: Tensor, places: Tensor, graphs: PointGraphs, *, moves: bool) -> tuple[Tensor, Tensor]:
        """Return (n, width) new features and (n, 2) new places; a point without neighbours stays.

        Args:
            features: (n, width).
            places: (n, 2).
            graphs: the edges.
            moves: compute new places; without it they are the old ones.
        """
        away = graphs.at_receiver @ places - graphs.at_sender @ places
        messages = self._messages(features, away, graphs)
        if moves:
            total = graphs.at_receiver.transpose @ (away * self.shift(messages))
            places = places + total / graphs.degree.clamp(min=1)[:, None]
        received = graphs.at_receiver.transpose @ messages
        return features + self.change(torch.cat([features, received], dim=1)), places

    def _messages(self, features: Tensor, away: Tensor, graphs: PointGraphs) -> Tensor:
        """Return (e, width) messages; the first linear map is applied to points, of which there are fewer."""
        width = features.shape[1]
        received, sent, distance = torch.split(self.pair.weight, [width, width, 1], dim=1)
        mapped = graphs.at_receiver @ functional.linear(features, received, self.pair.bias)
        mapped = mapped + graphs.at_sender @ functional.linear(features, sent)
        mapped = mapped + away.square().sum(dim=1, keepdim=True) * distance.T
        return functional.silu(self.message(functional.silu(mapped)))


class Egnn(nn.Module):
    """Points to one vector a graph, or to class scores."""

    def __init__(self, classes: int | None = None) -> None:
        """Draw the network; without ``classes`` it ends with the feature."""
        super().__init__()
        self.projection = nn.Linear(_PROFILE, _WIDTH)
        self.layers = nn.ModuleList(EgnnLayer(_WIDTH) for _ in range(_LAYERS))
        self.hidden = nn.Linear(_WIDTH, _FEATURE)
        self.classifier = nn.Identity() if classes is None else nn.Linear(_FEATURE, classes)

    def features(self, graphs: PointGraphs) -> Tensor:
        """Return (N, 256) features of N graphs; a graph without points counts as one whose means are zero."""
        return functional.silu(self.hidden(self.pool(graphs)))

    def pool(self, graphs: PointGraphs) -> Tensor:
        """Return (N, 128), the mean of each channel of the last layer over the points of each graph.

        Nothing reads the places after the last layer, so they are not computed there: the weights ``shift`` of that
        layer exist, as in the authors' code, and get no gradient.
        """
        state: Tensor = self.projection(local_degree_profile(graphs))
        places = graphs.points
        for number, layer in enumerate(self.layers):
            state, places = layer(state, places, graphs, moves=number < _LAYERS - 1)
        parts = torch.split(state, list(graphs.sizes))
        means = [part.mean(dim=0) if len(part) else part.new_zeros(_WIDTH) for part in parts]
        return torch.stack(means)

    def forward(self, graphs: PointGraphs) -> Tensor:
        """Return (N, classes) scores, or the features where there is no classifier."""
        scores: Tensor = self.classifier(self.features(graphs))
        return scores


def local_degree_profile(graphs: PointGraphs) -> Tensor:
    """Describe each point by the degrees around it.

    Returns:
        (n, 5) float32: number of neighbours; least, largest, mean and population sd of the neighbours' numbers of
        neighbours. A point without neighbours has zeros.

    Example:
        >>> import numpy as np
        >>> from harness.models.point_graphs import PointGraph, join
        >>> path = np.array([[0, 1], [1, 0], [1, 2], [2, 1]])
        >>> local_degree_profile(join([PointGraph(np.zeros((3, 2)), path)]))[:2].tolist()
        [[1.0, 2.0, 2.0, 2.0, 0.0], [2.0, 1.0, 1.0, 1.0, 0.0]]
    """
    degree = graphs.degree.to(torch.float32)
    near, zeros = degree[graphs.sender], torch.zeros_like(degree)
    count = degree.clamp(min=1)
    least = zeros.scatter_reduce(0, graphs.receiver, near, "amin", include_self=False)
    most = zeros.scatter_reduce(0, graphs.receiver, near, "amax", include_self=False)
    mean = zeros.scatter_add(0, graphs.receiver, near) / count
    variance = zeros.scatter_add(0, graphs.receiver, (near - mean[graphs.receiver]).square()) / count
    return torch.stack([degree, least, most, mean, variance.sqrt()], dim=1)
