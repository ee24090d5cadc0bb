"""Neighbourhoods of HEST-1k-1NN: each spot of a section with those around it, and means over them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .binning import Members, points_in_boxes, to_matrix

Shape = Literal["square", "hex"]


@dataclass(frozen=True)
class Lattice:
    """What a first ring of neighbours is on a grid of spots.

    Attributes:
        reach: radius in pitches, between the first ring and the second.
        most: spots in a full neighbourhood, its own included.
    """

    reach: float
    most: int


LATTICES = MappingProxyType[Shape, Lattice]({"square": Lattice(1.5, 9), "hex": Lattice(1.3, 7)})
"""Square: the second ring begins at 2 pitches, the diagonals lie at 1.41; hex: at 1.73, the first ring at 1."""


def measure_pitch(centres: NDArray[np.float64]) -> float | None:
    """Return the median distance of a spot to its nearest other one.

    Where spots jitter, this is less than the pitch they were printed at.

    Args:
        centres: (n_spots, 2) float64, finite; columns x, y in pixels.

    Returns:
        Pixels; None for fewer than two spots. Spots that coincide are at distance 0.

    Example:
        >>> measure_pitch(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]))
        3.0
    """
    if len(centres) < 2:
        return None
    return float(np.median(_find_nearest(centres, 2)[0][:, 1]))


def find_neighbours(centres: NDArray[np.float64], pitch: float, shape: Shape) -> Members:
    """Find the spots within 1.5 pitches on a square grid, 1.3 on a hexagonal one; each spot is its own neighbour.

    Neighbourhoods at the border of a section are smaller and stay.

    Args:
        centres: (n_spots, 2) float64, finite; columns x, y in pixels; may be empty.
        pitch: distance of adjacent spots in pixels, positive.
        shape: grid of the spots.

    Returns:
        Rows of ``centres``, a neighbourhood for each spot.

    Raises:
        ValueError: the pitch is not a positive number, or a centre is not finite.
        DamagedFileError: a neighbourhood has more spots than its grid allows; names no file, which is the caller's.

    Source: "Deep Learning for BioImaging: What Are We Learning?" (arXiv 2603.13377), C.3, gives the neighbourhood in
        words; the radii are ours.

    Example:
        >>> find_neighbours(np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0]]), 100.0, "square").of(0).tolist()
        [0, 1]
    """
    if not 0 < pitch < np.inf:
        raise ValueError(f"expected a positive pitch in pixels, got {pitch}")
    if not np.isfinite(centres).all():
        raise ValueError("expected finite centres")
    lattice = LATTICES[shape]
    distance, near = _find_nearest(centres, lattice.most + 1)  # one more than allowed tells of too many
    inside = distance <= lattice.reach * pitch
    if inside[:, -1].any():
        raise DamagedFileError(
            f"spot {np.argmax(inside[:, -1])} has more than {lattice.most} spots within {lattice.reach} x {pitch:.6g}"
            f" px on a {shape} grid; pitch wrong? The median nearest-spot distance is {measure_pitch(centres):.6g} px"
        )
    order = np.sort(np.where(inside, near, len(centres)), axis=1)  # absent ones go last
    return Members(np.concatenate([[0], np.cumsum(inside.sum(axis=1))]), order[order < len(centres)].astype(np.int64))


def find_grid_neighbours(positions: NDArray[np.int64]) -> Members:
    """Find the spots at most one row and one column of a square array away; exact where printed spots jitter.

    Args:
        positions: (n_spots, 2) int64, ``array_row`` and ``array_col``; may be empty.

    Returns:
        Rows of ``positions``, a neighbourhood for each spot, its own included.

    Raises:
        DamagedFileError: two spots share a position; names no file, which is the caller's.

    Example:
        >>> find_grid_neighbours(np.array([[1, 1], [2, 2], [3, 2]])).of(0).tolist()
        [0, 1]
    """
    _, first, number = np.unique(positions, axis=0, return_index=True, return_counts=True)
    if (number > 1).any():
        row, column = positions[first[np.argmax(number)]].tolist()
        raise DamagedFileError(f"{number.max()} spots share array_row {row}, array_col {column}; expected one")
    at = positions.astype(np.float64)
    return points_in_boxes(at, np.hstack([at - 1, at + 1]))


def average_over(members: Members, values: NDArray[np.number]) -> NDArray[np.float64]:
    """Average rows over the members of each neighbourhood.

    Given raw counts, this is the mean before the logarithm.

    Args:
        members: m neighbourhoods, none empty.
        values: (n_spots, n_genes), raw counts or another scale.

    Returns:
        (m, n_genes) float64, in the unit of ``values``.

    Raises:
        ValueError: a neighbourhood is empty.

    Example:
        >>> average_over(Members(np.array([0, 2]), np.array([0, 2])), np.array([[1], [5], [4]])).tolist()
        [[2.5]]
    """
    if not members.counts.all():
        raise ValueError(f"expected neighbourhoods with members, {np.argmin(members.counts)} has none")
    return np.asarray(to_matrix(members, len(values)) @ values.astype(np.float64)) / members.counts[:, None]


def _find_nearest(centres: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return distances and rows of the k nearest spots, itself included; infinity and n where there are fewer."""
    from scipy.spatial import cKDTree

    distance, near = cKDTree(centres).query(centres, k=k)
    return np.asarray(distance), np.asarray(near)
