"""Nearest-neighbour graphs of points, many joined to one graph without edges between them.

The module stands alone: tasks draw the same graphs as pictures, and the two folders do not import one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .sparse import SparseMatrix

NEIGHBOURS = 5
"""Source: arXiv 2603.13377, appendix D.3, for pictures of graphs; for graph networks it is our choice."""


def directed_edges(points: NDArray[np.floating], k: int = NEIGHBOURS) -> NDArray[np.int64]:
    """Connect every point with its k nearest others, in both directions.

    A point is never its own neighbour, also not where points coincide. With n <= k points, k is n - 1. Where points
    are equally far, the choice depends on the coordinates and not on the order of the points.

    Args:
        points: (n, 2) float, finite; columns x, y in any unit.
        k: neighbours of a point, at least 1.

    Returns:
        (m, 2) int64, columns receiver, sender, sorted by both, no row twice; (0, 2) for fewer than two points.

    Raises:
        ValueError: a point is not finite, or k < 1.

    Example:
        >>> directed_edges(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1).tolist()
        [[0, 1], [1, 0], [1, 2], [2, 1]]
    """
    from scipy.spatial import cKDTree

    if k < 1:
        raise ValueError(f"expected at least one neighbour, got k = {k}")
    if not np.isfinite(points).all():
        raise ValueError("expected finite points")
    n = len(points)
    k = min(k, n - 1)
    if k < 1:
        return np.empty((0, 2), dtype=np.int64)
    order = np.lexsort(points.T)
    _, near = cKDTree(points[order]).query(points[order], k=k + 1)
    own = np.arange(n)[:, None]
    other = near != own
    other[other.all(axis=1), -1] = False  # among many coinciding points, a point may miss itself
    receiver, sender = np.broadcast_to(order[own], near.shape)[other], order[near][other]
    codes = np.sort(np.concatenate([receiver * n + sender, sender * n + receiver]))
    first = np.concatenate([[True], codes[1:] != codes[:-1]])
    return np.column_stack(np.divmod(codes[first], n)).astype(np.int64)


@dataclass(frozen=True)
class PointGraph:
    """One set of points and its edges.

    Attributes:
        points: (n, 2) float, columns x, y.
        edges: (m, 2) integers of any width, as :func:`directed_edges` gives them.
    """

    points: NDArray[np.floating]
    edges: NDArray[np.integer]


def connect(points: NDArray[np.floating], k: int = NEIGHBOURS) -> PointGraph:
    """Make the graph of a set of points."""
    return PointGraph(points, directed_edges(points, k))


@dataclass(frozen=True)
class PointGraphs:
    """Several graphs as one, on a device.

    Attributes:
        points: (n, 2) float32, the points of the first graph, then of the second, and so on.
        sizes: points of each graph; 0 is allowed.
        receiver: (e,) int64, ascending; the point an edge leads to.
        sender: (e,) int64, the point it comes from; ascending for each receiver.
    """

    points: Tensor
    sizes: tuple[int, ...]
    receiver: Tensor
    sender: Tensor

    @cached_property
    def degree(self) -> Tensor:
        """(n,) int64, neighbours of each point."""
        return torch.bincount(self.receiver, minlength=len(self.points))

    @cached_property
    def normalised(self) -> SparseMatrix:
        """(n, n): adjacency A with self-loops, divided by the roots of its row sums d: A_ij / sqrt(d_i d_j)."""
        n, e = len(self.points), len(self.receiver)
        own = torch.arange(n, device=self.points.device)
        edge = torch.arange(e, device=self.points.device)
        place = edge + self.receiver + (self.sender > self.receiver)  # a loop stands before every larger neighbour
        columns = torch.full((n + e,), -1, device=self.points.device)
        columns[place] = self.sender
        columns[columns < 0] = own
        rows = torch.repeat_interleave(own, self.degree + 1)
        root = (self.degree + 1).to(torch.float32).rsqrt()
        matrix = SparseMatrix(rows, columns, root[rows] * root[columns], n, n)
        matrix.__dict__["transpose"] = matrix  # it is symmetric
        return matrix

    @cached_property
    def mixed(self) -> Tensor:
        """(n, 3): the normalised matrix times the columns 1, x, y, of which any linear map of the points is made."""
        return self.normalised.product(torch.cat([torch.ones_like(self.points[:, :1]), self.points], dim=1))

    @cached_property
    def at_receiver(self) -> SparseMatrix:
        """(e, n): gives each edge the row of its receiver; the transpose adds up what a point receives."""
        return self._incidence(self.receiver)

    @cached_property
    def at_sender(self) -> SparseMatrix:
        """(e, n): gives each edge the row of its sender."""
        return self._incidence(self.sender)

    def _incidence(self, end: Tensor) -> SparseMatrix:
        rows = torch.arange(len(end), device=end.device)
        return SparseMatrix(rows, end, torch.ones(len(end), device=end.device), len(end), len(self.points))


def join(graphs: Sequence[PointGraph], device: str = "cpu") -> PointGraphs:
    """Join graphs to one, without edges between them.

    Args:
        graphs: at least one graph.
        device: where the networks lie that are to take them.
    """
    sizes = tuple(len(graph.points) for graph in graphs)
    starts = np.cumsum([0, *sizes])
    points = np.concatenate([graph.points.astype(np.float32).reshape(-1, 2) for graph in graphs])
    edges = np.concatenate(
        [graph.edges.astype(np.int64) + start for graph, start in zip(graphs, starts[:-1], strict=True)]
    )
    receiver, sender = torch.from_numpy(np.ascontiguousarray(edges.T)).to(device)
    return PointGraphs(torch.from_numpy(points).to(device), sizes, receiver, sender)


def merge(parts: Sequence[PointGraphs]) -> PointGraphs:
    """Join what lies on one device already."""
    starts = np.cumsum([0, *(len(part.points) for part in parts)]).tolist()
    return PointGraphs(
        torch.cat([part.points for part in parts]),
        tuple(size for part in parts for size in part.sizes),
        torch.cat([part.receiver + start for part, start in zip(parts, starts[:-1], strict=True)]),
        torch.cat([part.sender + start for part, start in zip(parts, starts[:-1], strict=True)]),
    )
