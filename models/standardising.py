"""A start for ``egnn`` from which distances count: values of unit variance in every layer, on training samples.

As drawn, a squared distance between neighbours (mean .005 on synthetic-24) stands beside features a hundred times as
large, so what the network says is almost a function of degrees; and the values of a layer lie on few directions. Here
the degree profile, the squared distances and what each linear map of a layer gives are brought to mean 0 and variance
1, folded into the drawn weights and biases: no weight is added and every invariance stays. The remedy is ours; scaling
layer by layer is the idea of arXiv 1511.06422.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .egnn import Egnn, EgnnLayer, local_degree_profile
from .point_graphs import PointGraphs

_SMALLEST = 1e-9
"""A value that varies less is constant, and keeps its scale."""


def standardise(trunk: Egnn, graphs: PointGraphs) -> None:
    """Change the projection and the layers of a network in place, the first layer first.

    Args:
        trunk: the network; its MLP stays as it is.
        graphs: training samples, joined.
    """
    with torch.no_grad():
        profile = local_degree_profile(graphs)
        _scale_inputs(trunk.projection, slice(None), profile)
        state, places = trunk.projection(profile), graphs.points
        layers = [layer for layer in trunk.layers if isinstance(layer, EgnnLayer)]
        for number, layer in enumerate(layers):
            _standardise_layer(layer, state, graphs.at_receiver @ places - graphs.at_sender @ places, graphs)
            state, places = layer(state, places, graphs, moves=number < len(layers) - 1)


def _standardise_layer(layer: EgnnLayer, state: Tensor, away: Tensor, graphs: PointGraphs) -> None:
    distance = away.square().sum(dim=1, keepdim=True)
    _scale_inputs(layer.pair, slice(-1, None), distance)
    ends = torch.cat([state[graphs.receiver], state[graphs.sender], distance], dim=1)
    met = functional.silu(_scale_outputs(layer.pair, ends))
    messages = functional.silu(_scale_outputs(layer.message, met))
    received = graphs.at_receiver.transpose @ messages
    first, last = (part for part in layer.change if isinstance(part, nn.Linear))
    changed = functional.silu(_scale_outputs(first, torch.cat([state, received], dim=1)))
    _scale_outputs(last, changed)


def _scale_inputs(linear: nn.Linear, columns: slice, values: Tensor) -> None:
    """Let a linear map take some of its inputs as if they had mean 0 and variance 1.

    Args:
        linear: the map.
        columns: which of its inputs.
        values: (n, k) these inputs on training samples.
    """
    mean, scale = _moments(values)
    weight = linear.weight[:, columns] / scale
    linear.weight[:, columns].copy_(weight)
    linear.bias.sub_(weight @ mean)


def _scale_outputs(linear: nn.Linear, given: Tensor) -> Tensor:
    """Let a linear map give values of mean 0 and variance 1, and return them: (n, outputs)."""
    values: Tensor = linear(given)
    mean, scale = _moments(values)
    linear.weight.div_(scale[:, None])
    linear.bias.copy_((linear.bias - mean) / scale)
    return (values - mean).div_(scale)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column, 1 where it is constant."""
    wide = values.double()
    spread = wide.std(dim=0, correction=0)
    scale = torch.where(spread > _SMALLEST, spread, torch.ones_like(spread))
    return wide.mean(dim=0).to(values.dtype), scale.to(values.dtype)
