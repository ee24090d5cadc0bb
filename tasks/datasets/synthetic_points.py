"""Point sets of synthetic-24: a pure function of (parameters, class, split key, index)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from .synthetic_landscapes import Landscape, analytic_mean, height, highest, numeric_mean
from .synthetic_params import Params, SampleClass, disc_circle

Points = NDArray[np.float64]

# Last elements of a sample's random key, one for each purpose beside the points themselves.
_EVALUATION, _TRAINING, _THINNING, _REDRAW = 1, 2, 3, 4
_REDRAWS = 100
"""Attempts to draw enough points before the parameters are held to be wrong."""


@dataclass(frozen=True)
class Key:
    """What the random streams of one sample start from.

    Attributes:
        seed: seed of the data.
        split: number of the split.
        label: class id.
        index: number of the sample within split and class.
    """

    seed: int
    split: int
    label: int
    index: int

    def stream(self, *purpose: int) -> np.random.Generator:
        """Return the generator for a purpose; no purpose means the points themselves."""
        return np.random.default_rng([self.seed, self.split, self.label, self.index, *purpose])


def draw_sample(params: Params, kind: SampleClass, key: Key) -> Points:
    """Draw the points of one sample, thinned to a fixed count where the parameters ask for it.

    Returns:
        (n, 2) float64 in [0, 1], columns x, y.

    Raises:
        UsageError: the parameters give no points, too few to be thinned, or points outside the square.
    """
    points = _checked(draw_points(params, kind, key.stream()), params, key)
    if not params.match_count:
        return points
    attempt = 0
    while len(points) < params.match_points:
        attempt += 1
        if attempt > _REDRAWS:
            raise UsageError(
                f"synthetic sample {_name(params, key)}: protocol.params.match_points is {params.match_points}, but "
                f"none of {_REDRAWS} draws has that many points; lower it or raise protocol.params.points"
            )
        points = _checked(draw_points(params, kind, key.stream(_REDRAW, attempt)), params, key)
    kept = key.stream(_THINNING).choice(len(points), params.match_points, replace=False)
    return points[np.sort(kept)]


def draw_points(params: Params, kind: SampleClass, rng: np.random.Generator) -> Points:
    """Draw points of a class. Order of draws: disc centre (one disc only), then the points.

    Returns:
        (n, 2) float64, columns x, y, not yet checked.
    """
    density = Landscape(kind.density, params.landscapes, _centres(kind, rng), kind.discs.radius if kind.discs else 0.0)
    if kind.sampling == "poisson":
        return _draw_poisson(params, density, rng)
    sites = grid_sites(density, kind.voxels, params.points)
    noise = Landscape(kind.noise, params.landscapes, np.empty((0, 2)))
    spread = params.noise * np.sqrt(height(noise, sites))
    moved = sites + spread[:, None] * rng.standard_normal(sites.shape)
    return np.asarray(1 - np.abs(1 - np.abs(moved)))


def grid_sites(density: Landscape, voxels: int, points: int) -> Points:
    """Place k x k points in every voxel, k following the density at the voxel's centre, half rounded to even.

    Returns:
        (n, 2) float64, by voxel (x slowest), then by x, then by y.
    """
    axis = (np.arange(voxels) + 0.5) / voxels
    x, y = np.meshgrid(axis, axis, indexing="ij")
    centres = np.column_stack([x.ravel(), y.ravel()])
    side = np.rint(np.sqrt(points * height(density, centres) / voxels**2)).astype(np.int64)
    voxel = np.repeat(np.arange(len(centres)), side**2)
    place = np.arange(len(voxel)) - np.repeat(np.cumsum(side**2) - side**2, side**2)
    k = side[voxel]
    step = np.column_stack([place // k, place % k])
    return np.asarray(centres[voxel] + ((step + 0.5) / k[:, None] - 0.5) / voxels)


def rotate_and_mirror(points: Points, rng: np.random.Generator) -> Points:
    """Apply one of the eight symmetries of the square, each as likely.

    Returns:
        (n, 2) float64 in [0, 1].
    """
    symmetry = int(rng.integers(8))
    x, y = points[:, 0], points[:, 1]
    if symmetry >= 4:
        x = 1 - x
    turned = [(x, y), (1 - y, x), (1 - x, 1 - y), (y, 1 - x)][symmetry % 4]
    return np.column_stack(turned)


def rotate_freely(points: Points, rng: np.random.Generator) -> Points:
    """Rotate about the middle of the square by a uniform angle; points may leave the square."""
    angle = rng.uniform(0.0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray((points - 0.5) @ np.array([[cos, sin], [-sin, cos]]) + 0.5)


def augmentation_stream(key: Key, *, training: bool, epoch: int = 0) -> np.random.Generator:
    """Return the generator that augments a sample: by index at evaluation, by index and epoch at training."""
    return key.stream(_TRAINING, epoch) if training else key.stream(_EVALUATION)


def _centres(kind: SampleClass, rng: np.random.Generator) -> Points:
    discs = kind.discs
    if discs is None:
        return np.empty((0, 2))
    if discs.n == 1:
        return rng.uniform(discs.radius, 1 - discs.radius, size=(1, 2))
    return np.array(disc_circle(discs))


def _draw_poisson(params: Params, density: Landscape, rng: np.random.Generator) -> Points:
    """Thin a homogeneous Poisson process so that the expected count does not depend on the landscape."""
    mean = analytic_mean(density) if params.mean == "analytic" else numeric_mean(density, params.mean_grid)
    if mean <= 0:
        raise UsageError(
            f"protocol.params.landscapes: the density {density.kind} is 0 everywhere; give it a positive height"
        )
    top = highest(density)
    total = int(rng.poisson(params.points * top / mean))
    points = rng.random((total, 2))
    return np.asarray(points[rng.random(total) * top < height(density, points)])


def _checked(points: Points, params: Params, key: Key) -> Points:
    if len(points) == 0:
        raise UsageError(
            f"synthetic sample {_name(params, key)} has no points; expected at least one: raise protocol.params.points"
        )
    if not ((points >= 0) & (points <= 1)).all():  # also false for NaN
        raise UsageError(
            f"synthetic sample {_name(params, key)} has points outside the unit square; lower protocol.params.noise"
        )
    return points


def _name(params: Params, key: Key) -> str:
    """Return the sample's id."""
    split = {number: name for name, number in params.split_keys}[key.split]
    return f"{split}/{key.label:02d}/{key.index:04d}"
