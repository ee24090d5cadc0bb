"""Compound-gene retrieval: does a compound lie near the knockouts of the genes that it acts on?

Source: compound-gene benchmark of RxRx3-core, recursionpharma/EFAAR_benchmarking. Deliberate departures: negatives are
drawn from a sorted pool (there from a set, so that a score depends on the hash seed), and genes outside the map are
left out (there an error).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import BaseModel

from harness.errors import UsageError
from harness.types import Dataset, Embeddings, Evaluation, Units

from ..compound_targets import CompoundTargets
from ..metrics.alignment import Aligned, Method, align
from ..metrics.compound_gene import Queries, pose_queries, score_query
from ..metrics.cosine_map import pool_rows, scale_to_unit
from ..wells import WellFold
from .compound_gene_notes import FoldAnswers, diagnose, expect_chance, explain
from .compound_gene_params import Params
from .compound_gene_units import METRICS, CompoundScores, collect_compounds
from .well_features import WellFeatures, join_wells
from .well_groups import DOSES, Groups, group_wells

_BLAS_THREADS = 1


class CompoundGene:
    """Average precision of the targets of each compound among negatives, by the absolute cosine to their knockouts.

    Metrics: ``ap.DOSE`` (uM), ``ap.max`` and ``auc.max`` (each gene by its largest similarity over the doses), units:
    compounds; ``ap_median.max``, ``ap_q75.max``, ``ap_q95.max``, quantiles over compounds, units: draws of negatives.
    The suffix ``@METHOD`` names an alignment beside the one of the score. Chance of ``ap.*`` follows from the numbers
    of targets and negatives; the diagnostic ``negative_sd`` is the sd (ddof 1) of ``ap.max`` over the draws.
    """

    name: ClassVar[str] = "compound-gene"
    Params: ClassVar[type[BaseModel]] = Params
    metrics: ClassVar[tuple[str, ...]] = METRICS

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:  # noqa: ARG002
        """Score one set of embeddings; the draws of negatives have seeds of their own.

        Raises:
            UsageError: the dataset has no compounds with known targets, or a batch has no controls.
            DamagedFileError: embeddings and dataset have other samples, a well has none, or a feature is not finite.
        """
        from threadpoolctl import threadpool_limits

        checked = Params.model_validate(params)
        if not isinstance(dataset, CompoundTargets):
            raise UsageError(
                "protocol.name: compound-gene needs a dataset of wells with the known targets of compounds, "
                f"got {type(dataset).__name__}; use the reader rxrx3"
            )
        with threadpool_limits(_BLAS_THREADS, user_api="blas"):
            features = join_wells(embeddings, dataset)
            folds = [_ask_fold(features, dataset, fold, checked) for fold in dataset.folds]
        units: dict[str, Units] = {}
        for suffix, method in checked.align.suffixes.items():
            scores = [(fold.number, fold.scores[method]) for fold in folds]
            units |= collect_compounds(scores, checked.negative_seeds, suffix)
        notes = dict.fromkeys(note for fold in folds for note in fold.notes)
        return Evaluation(
            units, diagnose(folds, checked), (*dataset.notes, *notes), chance=expect_chance(folds, checked)
        )


PROTOCOL = CompoundGene()


def _ask_fold(features: WellFeatures, dataset: CompoundTargets, fold: WellFold, params: Params) -> FoldAnswers:
    """Align, pool and ask about the compounds of one fold under each alignment."""
    wells = dataset.wells
    rows = np.union1d(fold.rows, fold.controls)
    groups = group_wells(wells, rows)
    genes = np.flatnonzero(groups.gene & ~groups.control)
    doses = np.flatnonzero(groups.treatment & groups.on_grid & ~np.isnan(groups.dose))
    groups = groups.choose(genes, doses)
    queries = pose_queries(
        dataset.interactions,
        {groups.perturbation[row] for row in range(len(genes), len(groups))},
        set(groups.perturbation[: len(genes)]),
        active_nm=params.active_nM,
        exclude_nm=params.exclude_nM,
        min_negatives=params.min_negatives,
    )
    taken, controls = features.take(rows), np.isin(rows, fold.controls)
    batches = None if wells.batch is None else [wells.batch[row] for row in rows.tolist()]
    scores: dict[Method, Mapping[str, CompoundScores]] = {}
    notes: list[str] = []
    for method in params.align.methods:
        aligned = align(taken, controls, batches, method)
        notes += aligned.notes
        scores[method] = _answer(aligned, groups, queries, params)
    return FoldAnswers(fold.number, queries, scores, (*notes, *explain(fold.number, queries)))


def _answer(aligned: Aligned, groups: Groups, queries: Queries, params: Params) -> dict[str, CompoundScores]:
    unit, _ = scale_to_unit(pool_rows(aligned.features, groups.codes, len(groups), params.aggregate))
    genes = unit[groups.gene]
    row = {name: place for place, name in enumerate(groups.perturbation[: len(genes)])}
    doses: dict[str, list[int]] = {}
    for place in np.flatnonzero(groups.compound).tolist():
        doses.setdefault(groups.perturbation[place], []).append(place)
    answers = {}
    for query in queries.queries:
        at = doses[query.compound]
        names = tuple(_name_dose(float(groups.dose[place])) for place in at)
        similarity = np.abs(unit[at] @ genes.T)
        answers[query.compound] = CompoundScores(names, score_query(query, similarity, row, params.negative_seeds))
    return answers


def _name_dose(dose: float) -> str:
    return min(DOSES, key=lambda name: abs(DOSES[name] - dose))
