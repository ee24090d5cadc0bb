"""Bounding boxes of HEST-1k-1NN, the cells inside them and the points made of these cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .binning import Members, points_in_boxes, to_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Area = Literal["bbox", "union"]
Centre = Literal["bbox", "centroid"]


@dataclass(frozen=True)
class Neighbourhoods:
    """The neighbourhoods of a section that hold a cell: one kept set for every view.

    Attributes:
        spots: (k,) int64 row of the spot in the middle, ascending.
        members: rows of the spots of each neighbourhood.
        boxes: (k, 4) float64 x0, y0, x1, y1 in pixels.
        cells: rows of the cells of each neighbourhood; at least one each.
    """

    spots: NDArray[np.int64]
    members: Members
    boxes: NDArray[np.float64]
    cells: Members


def place_patches(corners: NDArray[np.number], side: float) -> NDArray[np.float64]:
    """Return the squares of patches.

    Args:
        corners: (n, 2) x, y of the upper left corners in pixels.
        side: of a patch in pixels, 112 um; not rounded.

    Returns:
        (n, 4) float64 x0, y0, x1, y1 in pixels.

    Example:
        >>> place_patches(np.array([[10, 20]]), 2.5).tolist()
        [[10.0, 20.0, 12.5, 22.5]]
    """
    low = np.asarray(corners, dtype=np.float64)
    return np.hstack([low, low + side])


def unite_boxes(boxes: NDArray[np.float64], members: Members) -> NDArray[np.float64]:
    """Return the smallest box around the members of each neighbourhood.

    Args:
        boxes: (n, 4) float64 x0, y0, x1, y1.
        members: m neighbourhoods, rows of ``boxes``, none empty.

    Returns:
        (m, 4) float64 in the unit of ``boxes``.

    Raises:
        ValueError: a neighbourhood is empty.

    Example:
        >>> unite_boxes(np.array([[0.0, 0, 2, 2], [1, 1, 3, 3]]), Members(np.array([0, 2]), np.array([0, 1]))).tolist()
        [[0.0, 0.0, 3.0, 3.0]]
    """
    if not members.counts.all():
        raise ValueError(f"expected neighbourhoods with members, {np.argmin(members.counts)} has none")
    if not len(members.counts):
        return np.empty((0, 4))
    own, first = boxes[members.index], members.start[:-1]
    return np.hstack([np.minimum.reduceat(own[:, :2], first), np.maximum.reduceat(own[:, 2:], first)])


def bin_cells(
    patches: NDArray[np.float64], members: Members, cells: NDArray[np.float64], area: Area = "bbox"
) -> Neighbourhoods:
    """Bin cells by neighbourhood and drop the neighbourhoods without any.

    A cell on an edge is inside, and a cell may belong to several neighbourhoods.

    Args:
        patches: (n, 4) float64 squares of the patches in pixels.
        members: n neighbourhoods, that of each patch, rows of ``patches``.
        cells: (n_cells, 2) float64 x, y of the nuclei in pixels; may be empty.
        area: ``bbox`` takes cells inside the box around the members, ``union`` those inside a member's patch.

    Returns:
        The neighbourhoods that are kept.

    Raises:
        ValueError: a neighbourhood is empty, or a coordinate is not finite.

    Source: "Deep Learning for BioImaging: What Are We Learning?" (arXiv 2603.13377), C.3: bounding boxes bin the
        cells, and empty patches are dropped. Closed edges are ours.

    Example:
        >>> patches = place_patches(np.array([[0, 0], [5, 0], [90, 0]]), 2.0)
        >>> members = Members(np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 2]))
        >>> found = bin_cells(patches, members, np.array([[4.0, 1.0]]))
        >>> found.spots.tolist(), found.boxes[0].tolist(), found.cells.of(0).tolist()
        ([0, 1], [0.0, 0.0, 7.0, 2.0], [0])
    """
    boxes = unite_boxes(patches, members)
    if area == "bbox":
        inside = to_matrix(points_in_boxes(cells, boxes), len(cells))
    else:
        inside = to_matrix(members, len(patches)) @ to_matrix(points_in_boxes(cells, patches), len(cells))
    kept = np.flatnonzero(np.diff(inside.indptr))
    spots = to_matrix(members, len(patches))[kept]
    return Neighbourhoods(kept, _to_members(spots), boxes[kept], _to_members(inside[kept]))


def scale_points(cells: NDArray[np.float64], box: NDArray[np.float64], centre: Centre = "bbox") -> NDArray[np.float32]:
    """Move cells to the origin and scale them by half the longer side of their box.

    Args:
        cells: (n, 2) float64 x, y in pixels, n >= 1.
        box: (4,) float64 x0, y0, x1, y1 in pixels.
        centre: what becomes the origin: the centre of the box, or the mean of the cells.

    Returns:
        (n, 2) float32 without unit, within -1 .. 1 for cells inside the box when the box is centred.

    Raises:
        ValueError: there is no cell, or the box is a point.

    Example:
        >>> scale_points(np.array([[0.0, 0.0], [4.0, 1.0]]), np.array([0.0, 0.0, 4.0, 2.0])).tolist()
        [[-1.0, -0.5], [1.0, 0.0]]
    """
    longer = float((box[2:] - box[:2]).max())
    if not len(cells) or not longer > 0:
        raise ValueError(f"expected cells in a box with a side, got {len(cells)} cells in {box.tolist()}")
    origin = (box[:2] + box[2:]) / 2 if centre == "bbox" else cells.mean(axis=0)
    return (2 * (cells - origin) / longer).astype(np.float32)


def _to_members(matrix: csr_array[np.float64]) -> Members:
    matrix = matrix.sorted_indices()  # a product leaves them in any order
    return Members(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64))
