"""What a spec says of the JUMP data: where they lie, which plates are taken, how pictures are made."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from harness.specs import Number, Strict

from ..mirror import RepositoryName

LABORATORIES = ("source_2", "source_3", "source_5", "source_6", "source_8", "source_10", "source_11")
"""Laboratories with 384-well plates and the common dose."""
RED_LIST = (
    "CP_32_all_Phenix1", "CP_33_all_Phenix1", "CP_34_mix_Phenix1", "CP_35_all_Phenix1", "CP_36_all_Phenix1",
    "CP59", "CP60",
)  # fmt: skip
"""Batches of source_3 that broadinstitute/jump-profiling-recipe leaves out as without DMSO."""


class Source(Strict):
    """Where the data lie."""

    tables: RepositoryName = "jump-cellpainting/datasets"
    """GitHub repository with plate.csv.gz, well.csv.gz and perturbation_control.csv, OWNER/REPO."""
    revision: str = "main"
    """Commit of it that is downloaded where no mirror has a file."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """File name -> sha256 of what is downloaded; mirrors are taken as they are."""
    bucket: str = "cellpainting-gallery"
    """Bucket with the tables of images."""
    prefix: str = "cpg0016-jump"
    """Data set in the bucket."""


class Folds(Strict):
    """Which plates are evaluated together."""

    n: int = Field(5, ge=1)
    """Number of folds; no plate is in two."""
    plates_per_lab: int = Field(4, ge=1)
    seed: int = 0
    """Seed of the order in which plates are drawn."""
    file: str | None = None
    """CSV with fold, Metadata_Source, Metadata_Batch and Metadata_Plate in place of the drawing."""


class SitesPerWell(Strict):
    """At most so many images of a well."""

    poscon: int = Field(ge=1)
    negcon: int = Field(ge=1)


class Params(Strict):
    """The reader's share of ``protocol.params``."""

    labs: list[str] = Field(list(LABORATORIES), min_length=1)
    """Laboratories, as Metadata_Source names them."""
    folds: Folds = Folds()
    min_dmso: int = Field(8, ge=0)
    """Plates with fewer DMSO wells are left out."""
    max_dmso: int = Field(64, ge=0)
    """Plates with more DMSO wells are left out: they hold nothing else."""
    min_poscon_wells: int = Field(2, ge=0)
    """Plates with fewer wells of any positive control are left out."""
    exclude_batches: list[str] = Field(list(RED_LIST))
    exclude_plates: list[str] = Field(default_factory=list)
    crop: int | None = Field(768, ge=1)
    """Side of the square cut from the centre, in pixels; null takes frames whole."""
    clip: tuple[Number, Number] | None = (1, 99)
    """Percentiles of the crop that become black and white; null divides by ``scale`` and keeps intensities."""
    scale: Number = Field(65535, gt=0)
    """What becomes white where ``clip`` is null."""
    bits: Literal[8, 16] = 8
    """Grey levels: 256, or 65536 as float32."""
    illum: Literal["none", "divide"] = "none"
    """``divide``: by the illumination function of plate and channel, before anything else."""
    sites: Literal["all"] | SitesPerWell = "all"
    """Images of a well: all, or a sample drawn by hash."""

    @field_validator("clip")
    @classmethod
    def _check_clip(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] <= 100:
            raise ValueError("two percentiles, the lower first, from 0 to 100")
        return value

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        for name in ("labs", "exclude_batches", "exclude_plates"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: a name stands twice")
        if self.min_dmso > self.max_dmso:
            raise ValueError(f"min_dmso {self.min_dmso} is above max_dmso {self.max_dmso}")
        return self
