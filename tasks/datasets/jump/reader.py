"""JUMP-CP: images of the control wells of compound plates, seven laboratories to a fold."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from harness.specs import TaskSpec
from harness.types import DataContext

from ..objects import Objects
from .dataset import JumpDataset
from .fold_file import find_folds, read_folds
from .folds import FoldPlates, draw_folds
from .images import SiteImages
from .limiting import limit_wells
from .params import Params, Source
from .question import pose
from .sites import find_sites
from .tables import Tables, read_tables


class JumpReader:
    """Opens the public tables of JUMP-CP and, where they can be had, the tables of its images."""

    name: ClassVar[str] = "jump"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = Source

    def open(
        self,
        spec: TaskSpec,  # noqa: ARG002 - the contract's signature
        source: BaseModel,
        params: BaseModel,
        context: DataContext,
    ) -> JumpDataset:
        """Read the tables, choose plates, wells and sites; no pixel is read.

        Raises:
            MissingDataError: a table is nowhere, or tables of images are there for some plates only.
            DamagedFileError: a table is unreadable or contradicts itself or another.
            UsageError: too few plates qualify.
            SpecError: the file of folds contradicts itself or the tables.
        """
        if not isinstance(source, Source) or not isinstance(params, Params):
            raise TypeError("the jump reader takes its own Source and Params")
        tables = read_tables(source, context)
        limited = limit_wells(_choose(tables, params, context), tables.wells, tables.controls, context.limit)
        question = pose(limited.folds, tables.controls)
        found = find_sites(question, source, params, context, limited.per_well)
        return JumpDataset(
            question=question,
            sites=None if isinstance(found, str) else found,
            absence=found if isinstance(found, str) else "",
            params=params,
            per_well=limited.per_well,
            images=SiteImages(Objects(context), params),
        )


READER = JumpReader()


def _choose(tables: Tables, params: Params, context: DataContext) -> FoldPlates:
    if params.folds.file is None:
        return draw_folds(tables.plates, tables.wells, tables.controls, params)
    return read_folds(find_folds(params.folds.file, context), tables.plates, tables.wells, tables.controls)
