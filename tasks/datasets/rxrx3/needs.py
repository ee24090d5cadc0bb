"""Untreated wells that the alignment of a task needs: missed before anything is embedded, not after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UsageError
from harness.specs import TaskSpec

from ...wells import WellFold, Wells
from ..screens.needs import count_controls, list_needs
from .metadata import CONTROL, Metadata


def check_controls(spec: TaskSpec, wells: Wells, folds: Sequence[WellFold], table: Metadata) -> None:
    """Check that every experiment of every fold has the untreated wells that the alignment needs.

    Args:
        spec: the task.
        wells: the wells that its folds use.
        folds: rows of them.
        table: all wells that the task allows.

    Raises:
        UsageError: an experiment has too few: for which alignment, where, and what to do.
    """
    for need in list_needs(spec, wells):
        names = ("all wells",) * len(wells.ids) if need.by == "all" else getattr(wells, need.by)
        for fold in folds:
            found = count_controls(names, fold)
            bare = [name for name, count in found.items() if count < need.least]
            if bare:
                where = "a fold" if need.by == "all" else "each experiment"
                raise UsageError(
                    f"{spec.name}: {need.key} needs at least {need.least} {CONTROL} wells in {where}; fold "
                    f"{fold.number}: {len(bare)} of {len(found)} have fewer, first: {', '.join(bare[:3])}. "
                    + _advise(need.by, bare, table)
                )


def _advise(by: str, bare: Sequence[str], table: Metadata) -> str:
    """Say what to do; more controls can be asked for only where the table has some."""
    here = table.control if by == "all" else table.control & np.isin(table.experiment.astype(str), bare)
    advice = "set protocol.params.align.method and align.companions to what needs none there, such as none"
    if here.any():
        return (
            f"The table has {int(here.sum())} there: raise protocol.params.controls_per_batch (or list them in "
            f"folds.file), or {advice}"
        )
    return f"The table has none there: leave those wells out with protocol.params.folds.file, or {advice}"
