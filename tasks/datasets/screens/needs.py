"""Controls and known pairs that the protocol of a task needs: missed before anything is embedded, not after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import UsageError
from harness.specs import TaskSpec

from ...metrics.alignment import GLOBAL
from ...protocols import compound_gene_params, gene_recall_params, replicate_retrieval_params
from ...wells import WellFold, Wells
from .columns import ScreenSource

_Aligned = gene_recall_params.Params | compound_gene_params.Params


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


def check_relations(spec: TaskSpec, source: ScreenSource) -> None:
    """Check that a task of known pairs names a list of them.

    Raises:
        UsageError: it names none.
    """
    if spec.protocol.name == "gene-recall" and not source.relations:
        raise UsageError(
            f"{spec.name}: gene-recall compares with known pairs, and the spec names none: source.relations needs at "
            "least one {source, file, licence}, a CSV file with the columns entity1 and entity2"
        )


def check_controls(spec: TaskSpec, wells: Wells, folds: Sequence[WellFold]) -> None:
    """Check that every plate or batch of every fold has the controls that its protocol needs.

    Other protocols than ``replicate-retrieval``, ``gene-recall`` and ``compound-gene`` speak for themselves.

    Raises:
        UsageError: controls are missing: for which step, where, and what to do.
    """
    for need in list_needs(spec, wells):
        names = ("all wells",) * len(wells.ids) if need.by == "all" else getattr(wells, need.by)
        if names is None:
            raise UsageError(
                f"{spec.name}: {need.key} is fitted by {need.by}; name its column, source.columns.{need.by}"
            )
        for fold in folds:
            found = count_controls(names, fold)
            bare = [name for name, count in found.items() if count < need.least]
            if bare:
                raise UsageError(
                    f"{spec.name}: {need.key} needs at least {need.least} negative controls (source.control) in "
                    f"{'a fold' if need.by == 'all' else f'each {need.by}'}; fold {fold.number}: {len(bare)} of "
                    f"{len(found)} have fewer, first: {', '.join(bare[:3])}. Leave those wells out (source.only), or "
                    "choose a step that needs none"
                )


def count_controls(names: Sequence[str], fold: WellFold) -> dict[str, int]:
    """Count the negative controls of a fold in each plate or batch that it has wells of, by sorted name."""
    found = dict.fromkeys(sorted({names[row] for row in np.union1d(fold.rows, fold.controls).tolist()}), 0)
    for row in fold.controls.tolist():
        found[names[row]] += 1
    return found


def list_needs(spec: TaskSpec, wells: Wells) -> Iterator[Need]:
    """List the steps of a protocol that are fitted on negative controls."""
    given = spec.protocol.params
    if spec.protocol.name == "replicate-retrieval":
        fields = replicate_retrieval_params.Params.model_fields
        params = replicate_retrieval_params.Params.model_validate({key: given[key] for key in given if key in fields})
        if params.drop_std is not None:
            yield Need("protocol.params.drop_std", "all" if wells.plate is None else "plate", 2)
        for step in params.normalize:
            if getattr(step, "fit", None) == "negcon":
                yield Need(f"protocol.params.normalize: {step.name}", step.by, 2)
    aligned: dict[str, type[_Aligned]] = {
        "gene-recall": gene_recall_params.Params,
        "compound-gene": compound_gene_params.Params,
    }
    model = aligned.get(spec.protocol.name)
    if model is not None:
        align = model.model_validate({key: given[key] for key in given if key in model.model_fields}).align
        for method in align.methods:
            if method != "none":
                yield Need(f"protocol.params.align: {method}", "all" if method in GLOBAL else "batch", 1)
