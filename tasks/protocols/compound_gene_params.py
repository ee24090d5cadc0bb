"""Parameters of the protocol ``compound-gene``."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from harness.specs import Number, Strict

from ..metrics.alignment import Method
from ..metrics.cosine_map import Pooling
from .alignment_params import AlignParams


class LoneAlignParams(AlignParams):
    """Alignment without companions, unless asked for."""

    companions: list[Method] = Field(default_factory=list)


class Params(Strict):
    """Alignment, map, and which genes each compound is asked about."""

    align: LoneAlignParams = LoneAlignParams()
    aggregate: Pooling = "mean"
    """How the wells of a gene, or of a compound at one dose, become a profile."""
    active_nM: Number = Field(1000.0, gt=0)  # noqa: N815 - the unit's own capital
    """Largest affinity at which a gene counts as a target, nM."""
    exclude_nM: Number = Field(10_000.0, gt=0)  # noqa: N815
    """Genes above ``active_nM`` up to this one are neither targets nor negatives, nM."""
    min_negatives: int = Field(20, ge=1)
    """Least number of negatives of a compound; otherwise twice its targets."""
    negative_seeds: list[int] = Field(default_factory=lambda: list(range(100)), min_length=1)
    """Seeds of the draws of negatives; scores are averaged over them."""

    @field_validator("negative_seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if min(seeds) < 0 or len(set(seeds)) != len(seeds):
            raise ValueError("expected different numbers, none below 0")
        return seeds

    @model_validator(mode="after")
    def _check_limits(self) -> Params:
        if self.exclude_nM < self.active_nM:
            raise ValueError(f"exclude_nM ({self.exclude_nM:g}) lies below active_nM ({self.active_nM:g})")
        return self
