"""A start for graph convolutions whose channels switch on in different places.

As drawn, biases are zero and the values of a layer vary little around its own constant, so that most channels are on
everywhere or nowhere. Here every channel is scaled to unit variance and switches on at its own share of the points, on
training samples. No weight is added. The remedy is ours; scaling layer by layer is the idea of arXiv 1511.06422.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .classifier import Classifier, Part
from .egnn import Egnn
from .gcn import Gcn
from .point_graphs import PointGraphs, merge
from .standardising import standardise

_SHARES = (0.05, 0.95)
_SMALLEST = 1e-12
"""A channel that varies less, relative to its own size, is constant: only its threshold is drawn."""


def spread_thresholds(network: Classifier, parts: Sequence[Part], rng: np.random.Generator) -> None:
    """Change the layers of a graph network in place, the first layer first.

    Args:
        network: a classifier; ``egnn`` is only brought to unit variance, a network of another kind stays as it is.
        parts: training samples.
        rng: draws the share of points below the threshold of each channel, uniform in .05 to .95.
    """
    trunk = network.trunk
    graphs = [part.inputs for part in parts if isinstance(part.inputs, PointGraphs)]
    if isinstance(trunk, Egnn):
        standardise(trunk, merge(graphs))
    if not isinstance(trunk, Gcn):
        return
    with torch.no_grad():
        states = [trunk.projection(graph.points) for graph in graphs]
        for layer in trunk.convolutions:
            values = torch.cat([layer(state, graph) for state, graph in zip(states, graphs, strict=True)]).double()
            spread, size = values.std(dim=0), values.abs().amax(dim=0)
            scale = torch.where(spread > _SMALLEST * size, spread, torch.ones_like(spread))
            cuts = _quantiles(values.cpu().numpy(), rng.uniform(*_SHARES, values.shape[1]))
            weight, bias = layer.linear.weight, layer.linear.bias
            weight.copy_(weight / scale[:, None])
            bias.copy_((bias - torch.from_numpy(cuts).to(bias.device)) / scale)
            states = [torch.relu(layer(state, graph)) for state, graph in zip(states, graphs, strict=True)]


def _quantiles(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return of each column the value below which its share of the rows lies."""
    return np.array([np.quantile(column, share) for column, share in zip(values.T, shares, strict=True)])
