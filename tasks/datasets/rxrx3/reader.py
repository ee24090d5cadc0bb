"""RxRx3-core: wells of gene knockouts and compounds, with known relations of genes and targets of compounds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from harness.errors import DamagedFileError
from harness.specs import Strict, TaskSpec
from harness.types import DataContext

from ...wells import WellFold, Wells
from ..mirror import Repository, RepositoryName, find_file
from .dataset import RxrxDataset
from .fold_file import read_folds
from .folds import Folds, Split, build_folds, whole_map
from .interactions import describe_interactions, find_interactions, read_interactions
from .limits import order_by_interactions, order_by_relations, thin_out
from .metadata import Metadata, read_metadata
from .needs import check_controls
from .relations import LICENCES, check_sources, describe, find_lists, read_relations
from .shards import Shards

METADATA = "metadata_rxrx3_core.csv"


class Source(Strict):
    """Where wells, images and lists of relations are published."""

    core: RepositoryName = "recursionpharma/rxrx3-core"
    """Repository on Hugging Face with the table of wells and the images, OWNER/REPO."""
    revision: str | None = None
    """Commit of it that is downloaded where no mirror has a file."""
    shards: int = Field(35, ge=1)
    """Number of image files."""
    annotations: RepositoryName = "recursionpharma/EFAAR_benchmarking"
    """Repository on GitHub with the lists of relations, OWNER/REPO."""
    annotations_revision: str = "830569dc0adae5e8580efde167fb378a88f815ef"
    """Commit of it that is downloaded where no mirror has a file."""


class Params(Strict):
    """Which wells and relations a task takes."""

    folds: Folds | None = Field(default_factory=Folds)
    """Draws of a few images a gene; null puts all wells into one map."""
    rows: Literal["crispr", "all"] = "crispr"
    """Wells of gene knockouts alone, or those of compounds too."""
    controls_per_batch: int | None = Field(32, ge=0)
    """``EMPTY_control`` wells of each experiment that normalise the others; null for all of them."""
    sources: list[str] = Field(default_factory=lambda: list(LICENCES))
    """Lists of known pairs of genes, in the order of the scores."""
    interactions: bool | str = False
    """Known targets of compounds: those of the repository (true), a CSV file, or none (false)."""

    @field_validator("rows")
    @classmethod
    def _check_rows(cls, rows: str, info: ValidationInfo) -> str:
        if rows == "all" and info.data.get("folds") is not None:
            raise ValueError("all needs folds: null; folds are drawn from wells of genes alone")
        return rows


class RxrxReader:
    """Opens RxRx3-core, or a data set in the same layout."""

    name: ClassVar[str] = "rxrx3"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = Source

    def open(
        self,
        spec: TaskSpec,
        source: BaseModel,
        params: BaseModel,
        context: DataContext,
    ) -> RxrxDataset:
        """Find and check the tables and draw the folds; no image file is opened, and none needs to be here.

        Raises:
            MissingDataError: a table is nowhere.
            UnknownNameError: a source that is not known.
            SpecError: a file of folds contradicts itself or the table of wells.
            DamagedFileError: a table is unreadable or incomplete.
            UsageError: an experiment lacks the untreated wells that the alignment needs.
        """
        if not isinstance(source, Source) or not isinstance(params, Params):
            raise TypeError("the rxrx3 reader takes its own Source and Params")
        check_sources(params.sources)
        core, annotations = (
            Repository(source.core, source.revision),
            Repository(source.annotations, source.annotations_revision),
        )
        wells = _read_wells(find_file(core, METADATA, context), params.rows)
        lists = find_lists(annotations, params.sources, context)
        relations = read_relations(lists)
        table = find_interactions(annotations, params.interactions, context)
        interactions = () if table is None else read_interactions(table)
        order = order_by_interactions(interactions, wells) if table else order_by_relations(relations, wells)
        split = thin_out(_split(wells, params), wells, context.limit, order)
        kept, folds = _keep_used(wells, split)
        placed = _as_wells(kept)
        check_controls(spec, placed, folds, wells)
        genes, compounds = set(kept.perturbation[kept.gene]), set(kept.perturbation[~kept.crispr])
        told = (describe_interactions(interactions, compounds, genes),) if table else ()
        return RxrxDataset(
            wells=placed,
            folds=folds,
            relations=relations,
            interactions=interactions,
            notes=(*split.notes, *describe(relations, genes), *told),
            files=(*lists.items(), *([("interactions", table)] if table else [])),
            shards=Shards(core, source.shards, context),
        )


READER = RxrxReader()


def _read_wells(path: Path, rows: str) -> Metadata:
    wells = read_metadata(path)
    if not wells.gene.any():
        raise DamagedFileError(f"{path}: no wells of genes (perturbation_type CRISPR); download it again")
    return wells if rows == "all" else wells.take(np.flatnonzero(wells.crispr).astype(np.int64))


def _split(wells: Metadata, params: Params) -> Split:
    if params.folds is None:
        return whole_map(wells, params.controls_per_batch)
    if params.folds.file is not None:
        return read_folds(Path(params.folds.file).expanduser(), wells)
    return build_folds(wells, params.folds, params.controls_per_batch)


def _keep_used(wells: Metadata, split: Split) -> tuple[Metadata, tuple[WellFold, ...]]:
    """Leave out the wells that no fold uses, and let the folds point to what is left."""
    used = np.unique(np.concatenate([rows for fold in split.folds for rows in (fold.rows, fold.controls)]))
    folds = tuple(
        WellFold(fold.number, np.searchsorted(used, fold.rows), np.searchsorted(used, fold.controls))
        for fold in split.folds
    )
    return wells.take(used), folds


def _as_wells(kept: Metadata) -> Wells:
    return Wells(
        ids=tuple(kept.ids),
        perturbation=tuple(kept.perturbation),
        control=kept.control,
        batch=tuple(kept.experiment),
        plate=tuple(kept.plate),
        kind=tuple(kept.kind),
        dose=kept.dose,
    )
