"""Every number of the synthetic-24 generator, as the fields of its task spec."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from harness.specs import Number, Strict

Density = Literal["const", "slope", "step", "dense", "void"]
Noise = Literal["const", "slope", "step"]

SMALL = math.sqrt(0.04 / math.pi)
"""Radius of a disc that covers 4 % of the square."""
REFERENCE = math.sqrt(0.08 / math.pi)
"""Radius of a disc that covers 8 % of the square."""


class Discs(Strict):
    """Discs of one radius: one placed at random, or several evenly on a circle about the centre."""

    n: int = Field(1, ge=1)
    radius: Number = Field(gt=0, le=0.5)
    distance: Number = Field(0.0, ge=0)
    """From the centre of the square to the centres of the discs; unused for one disc."""
    phase: Number = 0.0
    """Angle of the first disc in degrees; unused for one disc."""


class SampleClass(Strict):
    """One class: how points are sampled, with which density and, on a grid, which noise."""

    id: int = Field(ge=0, le=23)
    sampling: Literal["grid", "poisson"]
    density: Density = "const"
    noise: Noise = "const"
    """Landscape of the variance of a grid's noise."""
    voxels: int = Field(10, ge=1)
    """Voxels along a side of a grid."""
    discs: Discs | None = None

    @model_validator(mode="after")
    def _check_discs(self) -> SampleClass:
        if (self.density in ("dense", "void")) != (self.discs is not None):
            raise ValueError(f"class {self.id}: densities dense and void need discs, the others take none")
        return self


def _default_classes() -> list[SampleClass]:
    def grid(label: int, density: Density, noise: Noise, discs: Discs | None = None, voxels: int = 10) -> SampleClass:
        return SampleClass(id=label, sampling="grid", density=density, noise=noise, discs=discs, voxels=voxels)

    def poisson(label: int, density: Density, discs: Discs | None = None) -> SampleClass:
        return SampleClass(id=label, sampling="poisson", density=density, discs=discs)

    pairs = [
        Discs(n=1, radius=REFERENCE),
        Discs(n=2, radius=REFERENCE, distance=0.25),
        Discs(n=2, radius=REFERENCE / math.sqrt(2), distance=0.25),
        Discs(n=4, radius=REFERENCE, distance=0.3),
        Discs(n=4, radius=REFERENCE / math.sqrt(4), distance=0.3),
    ]
    return [
        grid(0, "const", "const"),
        grid(1, "const", "slope"),
        grid(2, "slope", "const"),
        grid(3, "step", "const", voxels=4),
        grid(4, "dense", "const", Discs(n=1, radius=SMALL)),
        grid(5, "dense", "const", Discs(n=2, radius=SMALL, distance=0.2)),
        grid(6, "void", "const", Discs(n=1, radius=SMALL)),
        grid(7, "void", "const", Discs(n=3, radius=0.1, distance=0.25, phase=45.0)),
        poisson(8, "const"),
        poisson(9, "slope"),
        poisson(10, "dense", Discs(n=1, radius=SMALL)),
        poisson(11, "void", Discs(n=1, radius=SMALL)),
        poisson(12, "step"),
        grid(13, "const", "step"),
        *(poisson(14 + 2 * i + j, kind, d) for i, d in enumerate(pairs) for j, kind in enumerate(_CONTRASTS)),
    ]


_CONTRASTS: tuple[Density, ...] = ("dense", "void")


class PerClass(Strict):
    """Samples a class of each split."""

    train: int = Field(1000, ge=2)
    val: int = Field(100, ge=1)
    test: int = Field(1000, ge=1)


class SplitKeys(Strict):
    """What stands for a split in the keys of the random streams; two splits with one key would share samples."""

    train: int = Field(0, ge=0)
    val: int = Field(1, ge=0)
    test: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _check_apart(self) -> SplitKeys:
        if len({self.train, self.val, self.test}) != 3:
            raise ValueError(f"two splits share a key ({self.train}, {self.val}, {self.test}) and so their samples")
        return self


class Landscapes(Strict):
    """Heights of the landscapes over the unit square."""

    slope_low: Number = Field(1 / 3, ge=0)
    """Slope at x = 0."""
    slope_rise: Number = Field(4 / 3, ge=0)
    """What the slope gains from x = 0 to x = 1."""
    step_left: Number = Field(0.5, ge=0)
    step_right: Number = Field(1.5, ge=0)
    step_at: Number = Field(0.5, gt=0, lt=1)
    """x of the step; the step itself belongs to the right side."""
    dense: Number = Field(3.0, ge=0)
    """Inside discs, where 1 is outside."""
    void: Number = Field(0.0, ge=0)
    """Inside discs, where 1 is outside."""


class Params(Strict):
    """The synthetic-24 generator. Source: a reconstruction; its numbers are choices of this harness."""

    data_seed: int = Field(0, ge=0)
    """First element of every random key."""
    per_class: PerClass = PerClass()
    split_keys: SplitKeys = SplitKeys()
    points: int = Field(900, ge=1)
    """Points a sample aims at."""
    match_count: bool = False
    """Thin every sample to ``match_points`` points, so that the count tells nothing."""
    match_points: int = Field(800, ge=1)
    noise: Number = Field(0.25 / 30, ge=0)
    """Standard deviation of a grid's noise where its landscape is 1, in sides of the square."""
    landscapes: Landscapes = Landscapes()
    mean: Literal["analytic", "numeric"] = "analytic"
    """How the mean of a landscape is found, by which Poisson intensities are divided."""
    mean_grid: int = Field(400, ge=1)
    """Points along a side over which a numeric mean is taken."""
    augmentation: bool = True
    """Rotate and mirror samples, at training and at evaluation."""
    augmented_copies: int = Field(1, ge=1)
    """Copies of each training sample, each augmented in its own way."""
    neighbours: int = Field(5, ge=1)
    """k of the nearest-neighbour graph."""
    image_size: int = Field(224, ge=8)
    """Side of the graph's picture in pixels."""
    classes: list[SampleClass] = Field(default_factory=_default_classes, min_length=2)

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: list[SampleClass], info: ValidationInfo) -> list[SampleClass]:
        ids = [kind.id for kind in classes]
        if ids != sorted(set(ids)):
            raise ValueError(f"ids must rise without repeats, got {ids}")
        if info.data.get("mean") == "analytic":
            for kind in classes:
                _check_analytic(kind)
        return classes


def _check_analytic(kind: SampleClass) -> None:
    """Refuse discs whose share of the square is not simply the sum of their areas."""
    discs = kind.discs
    if discs is None or discs.n == 1:
        return
    if 2 * discs.distance * math.sin(math.pi / discs.n) < 2 * discs.radius:
        raise ValueError(f"discs of class {kind.id} overlap; give mean: numeric")
    centres = disc_circle(discs)
    if any(not discs.radius <= value <= 1 - discs.radius for centre in centres for value in centre):
        raise ValueError(f"discs of class {kind.id} leave the square; give mean: numeric")


def disc_circle(discs: Discs) -> list[tuple[float, float]]:
    """Return the centres of two or more discs, spaced evenly on their circle.

    Example:
        >>> [(round(x, 3), round(y, 3)) for x, y in disc_circle(Discs(n=2, radius=0.1, distance=0.25))]
        [(0.75, 0.5), (0.25, 0.5)]
    """
    angles = [math.radians(discs.phase) + 2 * math.pi * i / discs.n for i in range(discs.n)]
    return [(0.5 + discs.distance * math.cos(angle), 0.5 + discs.distance * math.sin(angle)) for angle in angles]
