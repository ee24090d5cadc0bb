"""Landscapes of the synthetic-24 generator: how high they are at a point, at most, and on average."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .synthetic_params import Density, Landscapes


@dataclass(frozen=True)
class Landscape:
    """A non-negative function over the unit square.

    Attributes:
        kind: its shape.
        heights: numbers of all shapes.
        centres: (n, 2) float64, centres of the discs; (0, 2) for shapes without.
        radius: radius of the discs.
    """

    kind: Density
    heights: Landscapes
    centres: NDArray[np.float64]
    radius: float = 0.0

    @property
    def inside(self) -> float:
        """Height inside the discs."""
        return self.heights.dense if self.kind == "dense" else self.heights.void


def height(landscape: Landscape, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate a landscape.

    Args:
        landscape: the landscape.
        points: (n, 2) float64, columns x, y.

    Returns:
        (n,) float64 >= 0.

    Example:
        >>> step = Landscape("step", Landscapes(), np.empty((0, 2)))
        >>> height(step, np.array([[0.49, 0.0], [0.5, 0.0]])).tolist()
        [0.5, 1.5]
    """
    x, numbers = points[:, 0], landscape.heights
    if landscape.kind == "const":
        return np.ones(len(points))
    if landscape.kind == "slope":
        return numbers.slope_low + numbers.slope_rise * x
    if landscape.kind == "step":
        return np.where(x < numbers.step_at, numbers.step_left, numbers.step_right)
    within = np.zeros(len(points), dtype=bool)
    for centre in landscape.centres:
        offset = points - centre
        within |= np.einsum("ij,ij->i", offset, offset) <= landscape.radius**2
    return np.where(within, landscape.inside, 1.0)


def highest(landscape: Landscape) -> float:
    """Return the maximum of a landscape over the square (of a disc landscape: of inside and outside)."""
    numbers = landscape.heights
    if landscape.kind == "const":
        return 1.0
    if landscape.kind == "slope":
        return numbers.slope_low + numbers.slope_rise
    if landscape.kind == "step":
        return max(numbers.step_left, numbers.step_right)
    return max(landscape.inside, 1.0)


def analytic_mean(landscape: Landscape) -> float:
    """Return the mean over the square; discs must lie inside it and apart from each other.

    Example:
        >>> analytic_mean(Landscape("slope", Landscapes(), np.empty((0, 2))))
        1.0
    """
    numbers = landscape.heights
    if landscape.kind == "const":
        return 1.0
    if landscape.kind == "slope":
        return numbers.slope_low + numbers.slope_rise / 2
    if landscape.kind == "step":
        return numbers.step_left * numbers.step_at + numbers.step_right * (1 - numbers.step_at)
    return 1.0 + (landscape.inside - 1.0) * len(landscape.centres) * math.pi * landscape.radius**2


def numeric_mean(landscape: Landscape, side: int) -> float:
    """Return the mean over the centres of ``side`` x ``side`` equal squares; any discs are allowed."""
    axis = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return float(height(landscape, np.column_stack([x.ravel(), y.ravel()])).mean())
