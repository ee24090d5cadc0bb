"""A start from which a graph network learns: pooled values centred and decorrelated, without another weight.

Pooled coordinates of a random graph network hardly differ between kinds of points, and differ much between rotations of
one set. With weights as they are drawn, training stays for many epochs where it began. The remedy is ours.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from harness.errors import UsageError

from .classifier import Classifier, Part
from .egnn import Egnn
from .gcn import Gcn
from .point_graphs import PointGraphs

_SMALLEST = 1e-6
"""Directions with less of the standard deviation of the first one are left out: rounding, not signal."""


def pool(network: Classifier, part: Part) -> Tensor:
    """Return (n, D), what enters the MLP of a graph network.

    Raises:
        UsageError: the network is none for graphs.
    """
    trunk = network.trunk
    if not isinstance(trunk, (Gcn, Egnn)) or not isinstance(part.inputs, PointGraphs):
        raise UsageError("recipe.whiten: only graph networks have pooled values to whiten; set it to 0")
    return trunk.pool(part.inputs)


def fold_whitening(network: Classifier, pooled: Tensor, directions: int) -> None:
    """Change the first layer of the MLP so that it sees whitened values through the weights it was drawn with.

    Args:
        network: a classifier on a graph network, changed in place.
        pooled: (n, D) float64 values of training samples, n >= 2.
        directions: principal directions to keep; others are ignored at the start, and learned like any weight.
    """
    hidden = cast(nn.Linear, network.trunk.hidden)
    mean = pooled.mean(dim=0)
    _, singular, axes = torch.linalg.svd(pooled - mean, full_matrices=False)
    spread = singular / math.sqrt(len(pooled))
    kept = min(directions, int((spread > _SMALLEST * spread[0]).sum()))
    if not kept:
        return
    axes, spread = axes[:kept], spread[:kept]
    with torch.no_grad():
        drawn = hidden.weight.detach().cpu().double() @ axes.T * math.sqrt(pooled.shape[1] / kept)
        weight = drawn / spread @ axes
        hidden.bias.sub_((weight @ mean).to(hidden.bias))
        hidden.weight.copy_(weight.to(hidden.weight))
