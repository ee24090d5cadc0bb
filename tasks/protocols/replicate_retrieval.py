"""Replicate retrieval: does a well find the other wells of its compound by cosine, among all wells of all plates?

Source: the pipeline of Sanchez et al. 2026 (doi 10.1038/s42003-025-09500-y), whitening and inverse normal transform a
plate; average precision with ties in groups, where copairs lets relevant items win.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel
from threadpoolctl import threadpool_limits

from harness.errors import UsageError
from harness.types import Dataset, Embeddings, Evaluation, Units

from ..metrics.retrieval import unit_rows
from ..metrics.retrieval_p_values import Nulls
from ..wells import WellFold, Wells, WellSamples
from .replicate_retrieval_companions import COMPANIONS, HEADLINE, ask_companion, ask_headline
from .replicate_retrieval_labels import label_fold
from .replicate_retrieval_params import Params
from .replicate_retrieval_profiles import normalise_fold
from .replicate_retrieval_report import FoldOutcome, expect_by_chance, tabulate, warn
from .replicate_retrieval_units import answer, lay_out, normalise, split_by_name
from .well_features import WellFeatures, join_wells

_BLAS_THREADS = 1
"""So that equal inputs give equal bytes."""


class ReplicateRetrieval:
    """Mean average precision of wells of one label among all wells of a fold.

    Metrics: ``mAP`` (unit: compound), ``mAP.LABEL`` (one of them), ``mAP_normalized`` (0 at chance), and the
    companions that the spec lists: ``mAP_cross_plate`` and ``mAP_cross_lab`` (only wells of other plates or
    laboratories), ``plate_mAP`` and ``lab_mAP`` (how well a well finds its own plate or laboratory; lower is better),
    ``activity_mAP`` (replicates among the negative controls of the plate).
    """

    name: ClassVar[str] = "replicate-retrieval"
    Params: ClassVar[type[BaseModel]] = Params
    metrics: ClassVar[tuple[str, ...]] = (HEADLINE, f"{HEADLINE}.*", "mAP_normalized", *COMPANIONS.values())

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:
        """Score one set of embeddings.

        Raises:
            UsageError: the dataset has no wells, or a parameter does not fit it.
            DamagedFileError: embeddings and dataset have other samples, or a well of a fold has none.
        """
        if not isinstance(params, Params):
            raise TypeError("replicate-retrieval takes its own Params")
        if not isinstance(dataset, WellSamples):
            raise UsageError(
                f"protocol.name: replicate-retrieval needs a dataset with wells and folds, got {type(dataset).__name__}"
            )
        features = join_wells(embeddings, dataset)
        with threadpool_limits(_BLAS_THREADS, user_api="blas"):
            nulls: Nulls = {}
            outcomes = [_run_fold(features, dataset.wells, fold, params, nulls) for fold in dataset.folds]
        return Evaluation(
            units=_collect(outcomes, params),
            diagnostics=tabulate(outcomes, seed),
            notes=(*dataset.notes, *warn(outcomes, params)),
            chance=expect_by_chance(outcomes),
        )


PROTOCOL = ReplicateRetrieval()


def _run_fold(features: WellFeatures, wells: Wells, fold: WellFold, params: Params, nulls: Nulls) -> FoldOutcome:
    ready = normalise_fold(features, wells, fold, params)
    labels = label_fold(wells, ready.wells, params, f"fold {fold.number}")
    units = unit_rows(ready.values)
    questions = [ask_headline(labels), *(ask_companion(name, labels) for name in params.asked)]
    return FoldOutcome(
        {one.metric: answer(one, units, params, fold.number, nulls) for one in questions},
        ready.dropped,
        ready.remarks,
        units.dtype.name,
        int((~units.any(axis=1)).sum()),
    )


def _collect(outcomes: list[FoldOutcome], params: Params) -> dict[str, Units]:
    """Lay the scores of all folds out as units of every metric."""
    units: dict[str, Units] = {}
    for metric in outcomes[0].answers:
        folds = [one.answers[metric] for one in outcomes]
        units[metric] = lay_out(folds, [one.value for one in folds], params)
        if metric == HEADLINE:
            units["mAP_normalized"] = lay_out(folds, [normalise(one) for one in folds], params)
    return units | {f"mAP.{name}": one for name, one in split_by_name(units[HEADLINE]).items()}
