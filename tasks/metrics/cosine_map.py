"""A map of perturbations: wells pooled to one profile each, and the cosines of all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pooling = Literal["mean", "median"]
_ZERO = 1e-9  # of the median norm
_BLOCK = 2048  # rows of cosines at a time


@dataclass(frozen=True)
class CosineMap:
    """Cosines of all pairs of n profiles, each pair once.

    Attributes:
        triangle: (n (n - 1) / 2,) float64, cosines of the pairs i < j, rows of the upper triangle in turn.
        zero: (n,) bool, profiles that count as zero vectors.
    """

    triangle: Array
    zero: NDArray[np.bool_]

    def read(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
        """Return the cosines of pairs, each with i < j, to the last bit as they stand in the triangle."""
        n = len(self.zero)
        return np.asarray(self.triangle[i * (2 * n - i - 1) // 2 + j - i - 1])

    def square(self, n: int | None = None) -> Array:
        """Return the symmetric (n, n) matrix of the first n profiles (default: all), with a diagonal of 0."""
        size, total = len(self.zero) if n is None else n, len(self.zero)
        full = np.zeros((size, size))
        start = 0
        for row in range(size):
            full[row, row + 1 :] = self.triangle[start : start + size - row - 1]
            start += total - row - 1
        full += full.T
        return full


def pool_rows(features: NDArray[np.floating], codes: NDArray[np.int64], count: int, how: Pooling) -> Array:
    """Pool rows to one profile a group.

    Args:
        features: (n, k) float.
        codes: (n,) int64 group of each row, -1 for rows of no group.
        count: number of groups; each must have a row.
        how: mean or median of each feature.

    Returns:
        (count, k) float64.

    Raises:
        ValueError: a group has no row.

    Example:
        >>> pool_rows(np.array([[1.0], [5.0], [3.0]]), np.array([0, 1, 0]), 2, "mean").tolist()
        [[2.0], [5.0]]
    """
    sizes = np.bincount(codes[codes >= 0], minlength=count)
    if len(sizes) != count or not sizes.all():
        raise ValueError("pool_rows: a group without rows, or a code beyond the groups")
    order = np.argsort(codes, kind="stable")[int((codes < 0).sum()) :]
    pool = np.mean if how == "mean" else np.median
    pooled = np.empty((count, features.shape[1]))
    for group, rows in enumerate(np.split(order, np.cumsum(sizes)[:-1]) if count else []):
        pooled[group] = pool(features[rows], axis=0)
    return pooled


def scale_to_unit(profiles: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Divide rows by their norm; rows of norm <= 1e-9 of the median norm become 0.

    Such rows are controls that were centred on themselves: their direction is rounding noise.

    Args:
        profiles: (n, k) float64; k may be 0.

    Returns:
        (n, k) float64 rows of norm 1 or 0, and (n,) bool, which ones are 0.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", profiles, profiles))
    zero = norms <= _ZERO * (np.median(norms) if len(norms) else 0.0)
    unit = profiles / np.where(zero, 1.0, norms)[:, None]
    unit[zero] = 0.0
    return unit, zero


def map_cosines(profiles: Array) -> CosineMap:
    """Take the cosine of every pair of profiles, 0 with a zero vector.

    Args:
        profiles: (n, k) float64, finite.

    Example:
        >>> map_cosines(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]])).triangle.tolist()
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    unit, zero = scale_to_unit(profiles)
    n = len(unit)
    triangle = np.empty(n * (n - 1) // 2)
    filled = 0
    for start in range(0, n, _BLOCK):
        block, further = unit[start : start + _BLOCK], unit[start + _BLOCK :]
        own = _products(block)
        rows = [own[row, row + 1 :] for row in range(len(block))]
        if len(further):
            rows = [part for pair in zip(rows, block @ further.T, strict=True) for part in pair]
        size = sum(map(len, rows))
        np.concatenate(rows, out=triangle[filled : filled + size])
        filled += size
    return CosineMap(triangle, zero)


def _products(rows: Array) -> Array:
    """Return (n, n) products of all pairs of n rows; below the diagonal stands nothing of use."""
    from scipy.linalg.blas import dsyrk

    if not rows.size:
        return np.zeros((len(rows), len(rows)))
    return np.asarray(dsyrk(1.0, rows.T, trans=1, lower=1)).T
