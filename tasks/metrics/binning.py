"""Which points lie in which boxes, exactly, for boxes of any size and overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK = 256  # boxes searched at once: bounds the memory beside the result


@dataclass(frozen=True)
class Members:
    """Points of each box in compressed rows.

    Attributes:
        start: (m + 1,) int64; the points of box b are ``index[start[b]:start[b + 1]]``.
        index: (start[-1],) int64, rows of the points, ascending within a box.
    """

    start: NDArray[np.int64]
    index: NDArray[np.int64]

    def of(self, box: int) -> NDArray[np.int64]:
        """Return the points of one box: (k,) int64, ascending; ``box`` counts from 0, below m."""
        return self.index[self.start[box] : self.start[box + 1]]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Points in each box: (m,) int64."""
        return np.diff(self.start)


def points_in_boxes(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> Members:
    """Find the points of every box; both ends of a box are closed, and a point may lie in several.

    Compares ranks of coordinates, never sums of them: exact however far the origin is.

    Args:
        points: (n, 2) float64, finite; columns x, y in any unit; may be empty.
        boxes: (m, 4) float64, finite; columns x0, y0, x1, y1 in the unit of the points, x0 <= x1, y0 <= y1; may be
            empty.

    Returns:
        The rows of ``points`` in each box.

    Raises:
        ValueError: a shape is another, a coordinate is not finite, or a box ends before it begins.

    Example:
        >>> found = points_in_boxes(np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 1.0]]), np.array([[1.0, 0.0, 3.0, 1.0]]))
        >>> found.of(0).tolist(), found.counts.tolist()
        ([1, 2], [2])
    """
    _check(points, boxes)
    order_x, order_y = np.argsort(points[:, 0]), np.argsort(points[:, 1])
    low = np.column_stack([np.searchsorted(points[o, k], boxes[:, k]) for k, o in enumerate((order_x, order_y))])
    high = np.column_stack(
        [np.searchsorted(points[o, k], boxes[:, k + 2], side="right") for k, o in enumerate((order_x, order_y))]
    )
    strips = _cut(order_x, order_y)
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(boxes), _BLOCK)]
    found = [_search(strips, low[block], high[block]) for block in blocks]
    none = np.zeros(0, dtype=np.int64)
    counts = np.concatenate([none, *(one for one, _ in found)])
    return Members(np.concatenate([[0], np.cumsum(counts)]), np.concatenate([none, *(one for _, one in found)]))


def to_matrix(members: Members, width: int) -> csr_array[np.float64]:
    """Return (m, width) float64 in compressed rows, 1 where a point is a member."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(members.index)), members.index, members.start), shape=(len(members.counts), width))


def _check(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> None:
    for name, array, width in (("points", points, 2), ("boxes", boxes, 4)):
        if array.ndim != 2 or array.shape[1] != width:
            raise ValueError(f"expected {name} of shape (n, {width}), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"expected finite {name}; row {np.argmin(np.isfinite(array).all(axis=1))} is not")
    turned = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if turned.any():
        raise ValueError(f"expected x0 <= x1 and y0 <= y1; box {np.argmax(turned)} is {boxes[turned][0].tolist()}")


@dataclass(frozen=True)
class _Strips:
    """Points in strips of equally many consecutive ranks of y, within a strip by rank of x.

    About sqrt(n) strips of sqrt(n) points: a box meets at most two strips in part, so that the candidates exceed its
    own points by at most 2 sqrt(n), wherever the points crowd.
    """

    height: int
    key: NDArray[np.int64]  # strip * n + rank of x, ascending
    rank_y: NDArray[np.int64]
    index: NDArray[np.int64]


def _cut(order_x: NDArray[np.int64], order_y: NDArray[np.int64]) -> _Strips:
    n = len(order_x)
    height = max(1, int(n**0.5))
    rank_y = np.empty(n, dtype=np.int64)
    rank_y[order_y] = np.arange(n)
    rank_y = rank_y[order_x]
    key = rank_y // height * n + np.arange(n)
    order = np.argsort(key)
    return _Strips(height, key[order], rank_y[order], order_x[order])


def _search(
    strips: _Strips, low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of points of each box, and their rows box after box."""
    n = len(strips.index)
    first = low[:, 1] // strips.height
    met = np.where((low < high).all(axis=1), (high[:, 1] - 1) // strips.height + 1 - first, 0)
    box, strip = np.repeat(np.arange(len(low)), met), _ranges(first, met)
    start = np.searchsorted(strips.key, strip * n + low[box, 0])
    number = np.searchsorted(strips.key, strip * n + high[box, 0]) - start
    box, place = np.repeat(box, number), _ranges(start, number)
    rank = strips.rank_y[place]
    inside = (low[box, 1] <= rank) & (rank < high[box, 1])
    box, place = box[inside], place[inside]
    counts = np.bincount(box, minlength=len(low))
    return counts, np.sort(box * n + strips.index[place]) - box * n


def _ranges(first: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the ranges first, first + 1, ... of given lengths, one after the other."""
    ends = np.cumsum(number)
    return np.repeat(first - (ends - number), number) + np.arange(number.sum())
