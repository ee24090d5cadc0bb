"""Where the nuclei of a section are: centroids of segmented polygons, from GeoParquet or zipped GeoJSON.

Every polygon is one nucleus, also where a row or a feature holds many; holes are left out of account (both our choice).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .geojson_rings import read_geojson
from .wkb_rings import read_parquet

_FLAT = 1e-12  # area over squared extent below which a polygon has no inside


def read_centroids(path: Path) -> NDArray[np.float64]:
    """Read the centroid of every polygon of a segmentation.

    Args:
        path: GeoParquet (WKB polygons or multipolygons), or GeoJSON in a ``.zip`` archive (a list of features, or a
            FeatureCollection).

    Returns:
        (n, 2) float64 x, y in full-resolution slide pixels, in file order, finite.

    Raises:
        DamagedFileError: unreadable, another kind of geometry, or no polygons at all.
    """
    parts = read_geojson(path) if path.suffix == ".zip" else read_parquet(path)
    centroids = [ring_centroids(vertices, lengths) for vertices, lengths in parts if len(lengths)]
    if not centroids:
        raise DamagedFileError(f"{path}: no polygons; is the segmentation complete? download it again")
    return np.concatenate(centroids)


def ring_centroids(vertices: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the centre of gravity of the inside of each ring (shoelace formula).

    Args:
        vertices: (t, 2) float64 x, y, ring after ring, finite; the last of a ring may repeat its first.
        lengths: (n,) int64 vertices of each ring, at least 1; n at least 1.

    Returns:
        (n, 2) float64. The mean of the vertices where a ring has no inside: a point, a line, or parts that cancel
        (area below 1e-12 of the squared extent). The repeated vertex counts once.

    Example:
        >>> triangle_and_line = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
        >>> ring_centroids(triangle_and_line, np.array([4, 2])).tolist()
        [[1.0, 1.0], [2.0, 3.0]]
    """
    first = np.cumsum(lengths) - lengths
    last = first + lengths - 1
    origin = vertices[first]
    near = vertices - np.repeat(origin, lengths, axis=0)  # small numbers: their products lose no digits
    following = np.arange(1, len(near) + 1)
    following[last] = first
    after = near[following]
    cross = near[:, 0] * after[:, 1] - after[:, 0] * near[:, 1]
    twice_area = np.add.reduceat(cross, first)
    extent = np.maximum.reduceat(np.abs(near).max(axis=1), first)
    flat = np.abs(twice_area) <= _FLAT * extent**2
    moments = np.add.reduceat((near + after) * cross[:, None], first)
    weight = np.ones(len(near))
    weight[last[(lengths > 1) & (near[last] == 0).all(axis=1)]] = 0
    means = np.add.reduceat(near * weight[:, None], first) / np.add.reduceat(weight, first)[:, None]
    gravity = moments / np.where(flat, 1.0, 3 * twice_area)[:, None]
    centroids: NDArray[np.float64] = origin + np.where(flat[:, None], means, gravity)
    return centroids
