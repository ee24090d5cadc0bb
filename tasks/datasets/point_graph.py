"""Nearest-neighbour graphs of points in the plane, and their pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nearest_neighbour_edges(points: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Connect every point with its k nearest others; undirected, each edge once.

    A point is never its own neighbour, also not where points coincide. With n <= k points, k is n - 1.

    Args:
        points: (n, 2) float, finite; columns x, y in any unit.
        k: neighbours of a point, at least 1.

    Returns:
        (m, 2) int64, indices i < j, sorted by i, then j; (0, 2) for fewer than two points.

    Raises:
        ValueError: a point is not finite, or k < 1.

    Example:
        >>> nearest_neighbour_edges(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1).tolist()
        [[0, 1], [1, 2]]
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
    _, near = cKDTree(points).query(points, k=k + 1)
    own = np.arange(n)[:, None]
    other = near != own
    other[other.all(axis=1), -1] = False  # among many coinciding points, a point may miss itself
    codes = np.sort((np.minimum(near, own) * n + np.maximum(near, own))[other])
    first = np.concatenate([[True], codes[1:] != codes[:-1]])
    return np.column_stack(np.divmod(codes[first], n)).astype(np.int64)


def draw_edges(pixels: NDArray[np.floating], edges: NDArray[np.int64], height: int, width: int) -> NDArray[np.uint8]:
    """Draw each edge as a line one pixel wide, white on black, without anti-aliasing.

    Digital differential analyser: ceil(max(abs(dx), abs(dy))) + 1 equidistant samples from end to end; a sample
    sets the pixel it lies in, samples outside the canvas the nearest one.

    Args:
        pixels: (n, 2) float, columns x, y in pixels from the upper left corner of the canvas.
        edges: (m, 2) int64, indices into ``pixels``.
        height: rows of the canvas.
        width: columns of the canvas.

    Returns:
        (height, width) uint8, 0 or 255; row = y, column = x.

    Example:
        >>> draw_edges(np.array([[0.5, 0.5], [2.5, 1.5]]), np.array([[0, 1]]), 2, 3).tolist()
        [[255, 0, 0], [0, 255, 255]]
    """
    canvas = np.zeros(height * width, dtype=np.uint8)
    x, y = pixels[edges[:, 0], 0], pixels[edges[:, 0], 1]
    dx, dy = pixels[edges[:, 1], 0] - x, pixels[edges[:, 1], 1] - y
    steps = np.ceil(np.maximum(np.abs(dx), np.abs(dy))).astype(np.int64)
    edge = np.repeat(np.arange(len(edges)), steps + 1)
    first = np.cumsum(steps + 1) - (steps + 1)
    share = (np.arange(len(edge)) - first[edge]) / np.maximum(steps, 1)[edge]
    column = np.clip(np.floor(x[edge] + share * dx[edge]), 0, width - 1)
    row = np.clip(np.floor(y[edge] + share * dy[edge]), 0, height - 1)
    canvas[(row * width + column).astype(np.int64)] = 255
    return canvas.reshape(height, width)
