"""Negative controls that the protocol of a task needs: missed before anything is embedded, not after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.specs import TaskSpec

from ...metrics.alignment import GLOBAL
from ...protocols import gene_recall_params, replicate_retrieval_params
from ...wells import WellFold, Wells


@dataclass(frozen=True)
class Need:
    """A step that is fitted on negative controls.

    Attributes:
        key: where the spec asks for it.
        by: ``plate`` or ``batch`` if it is fitted in each, ``all`` if once a fold.
        least: controls that it needs there.
    """

    key: str
    by: str
    least: int


def check_controls(spec: TaskSpec, wells: Wells, folds: Sequence[WellFold]) -> None:
    """Check that every plate or batch of every fold has the controls that its protocol needs.

    Other protocols than ``replicate-retrieval`` and ``gene-recall`` are left to speak for themselves.

    Raises:
        UsageError: controls are missing: for which step, where, and what to do.
    """
    for need in _list_needs(spec, wells):
        names = ("all wells",) * len(wells.ids) if need.by == "all" else getattr(wells, need.by)
        if names is None:
            raise UsageError(
                f"{spec.name}: {need.key} is fitted by {need.by}; name its column, source.columns.{need.by}"
            )
        for fold in folds:
            found = dict.fromkeys(sorted({names[row] for row in np.union1d(fold.rows, fold.controls).tolist()}), 0)
            for row in fold.controls.tolist():
                found[names[row]] += 1
            bare = [name for name, count in found.items() if count < need.least]
            if bare:
                raise UsageError(
                    f"{spec.name}: {need.key} needs at least {need.least} negative controls (source.control) in "
                    f"{'a fold' if need.by == 'all' else f'each {need.by}'}; fold {fold.number}: {len(bare)} of "
                    f"{len(found)} have fewer, first: {', '.join(bare[:3])}. Leave those wells out (source.only), or "
                    "choose a step that needs none"
                )


def _list_needs(spec: TaskSpec, wells: Wells) -> Iterator[Need]:
    given = spec.protocol.params
    if spec.protocol.name == "replicate-retrieval":
        fields = replicate_retrieval_params.Params.model_fields
        params = replicate_retrieval_params.Params.model_validate({key: given[key] for key in given if key in fields})
        if params.drop_std is not None:
            yield Need("protocol.params.drop_std", "all" if wells.plate is None else "plate", 2)
        for step in params.normalize:
            if getattr(step, "fit", None) == "negcon":
                yield Need(f"protocol.params.normalize: {step.name}", step.by, 2)
    if spec.protocol.name == "gene-recall":
        fields = gene_recall_params.Params.model_fields
        recall = gene_recall_params.Params.model_validate({key: given[key] for key in given if key in fields})
        for method in recall.align.methods:
            if method != "none":
                yield Need(f"protocol.params.align: {method}", "all" if method in GLOBAL else "batch", 1)
