"""Parameters of the reader ``hest1nn``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.specs import Strict

from ..metrics.boxes import Area, Centre
from ..metrics.neighbourhoods import Shape
from .graph_picture import GraphOptions
from .hest_counts import Normalize
from .hest_patients import SharedPatients


class NeighbourOptions(Strict):
    """How neighbourhoods are made; where the paper is silent the defaults are our choice."""

    shape: Shape
    """Grid of the spots: ``square`` (Xenium, ST v1; up to 9 spots) or ``hex`` (Visium; up to 7)."""
    source: Literal["patches", "adata"] = "patches"
    """Neighbours are spots with a patch, or all spots of the h5ad file; samples are spots with a patch in both."""
    neighbours: Literal["radius", "grid"] = "radius"
    """Spots within 1.5 pitches (1.3 on hex), or at most one array row and column away (square; for printed spots)."""
    pitch: Literal["metadata", "nominal", "measured"] = "metadata"
    """Distance of adjacent spots: ``inter_spot_dist`` of the metadata, 100 um, or the median nearest distance."""
    average: Literal["counts", "log"] = "counts"
    """Average over the neighbourhood before or after the logarithm."""
    cells: Area = "bbox"
    """Cells inside the box around the members, or inside the patch of a member."""
    image_source: Literal["wsi", "patches"] = "wsi"
    """Crop the slide, or lay out the patches of the members at 0.5 um/px, the centre on top, gaps white."""
    resize: Literal["stretch", "pad"] = "stretch"
    """How a crop that is not square becomes 224 x 224."""
    filter: Literal["area", "linear"] = "area"
    """``area`` averages where the crop shrinks and is linear where it grows; ``linear`` interpolates in both."""
    level: Literal["coarsest-within"] = "coarsest-within"
    """Level of the slide that is read: the coarsest that still has 224 pixels along the shorter side of the box."""

    @model_validator(mode="after")
    def _check_grid(self) -> NeighbourOptions:
        if self.neighbours == "grid" and self.shape != "square":
            raise ValueError("neighbours: grid needs shape: square; on a hexagonal grid take radius")
        return self


class PointOptions(Strict):
    """How the view ``points`` is made."""

    centre: Centre = "bbox"
    """What becomes the origin: the centre of the box, or the mean of the cells."""


class Params(Strict):
    """How neighbourhoods, targets and pictures are made."""

    nn: NeighbourOptions
    points: PointOptions = Field(default_factory=PointOptions)
    graph: GraphOptions = Field(default_factory=GraphOptions)
    """How ``graph_image`` draws the cells; the canvas has the size of the box."""
    normalize: Normalize = "log1p"
    """``log1p`` of mean raw counts, ``cp10k_log1p`` (each spot scaled to 10,000 counts first) or ``none``."""
    gene_list: str = "var_50genes"
    """``var_50genes`` (shipped with the task), ``train_hvg`` (selected anew in each training fold) or a JSON file."""
    shared_patients: SharedPatients = "refuse"
    """A patient in train and test of a fold, as the metadata name them: ``refuse`` the splits, or only ``note`` it."""

    @model_validator(mode="after")
    def _check_average(self) -> Params:
        if self.nn.average == "log" and self.normalize == "none":
            raise ValueError("nn.average: log needs a normalize with a logarithm, log1p or cp10k_log1p")
        return self
