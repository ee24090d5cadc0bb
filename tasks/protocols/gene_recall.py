"""Gene recall: do genes that are known to work together lie together in the map of their knockouts?

Source: recursionpharma/EFAAR_benchmarking@2248f40, and the benchmark of RxRx3-core built on it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel

from harness.errors import UsageError
from harness.types import Dataset, Embeddings, Evaluation

from ..metrics.alignment import align
from ..metrics.known_pairs import KnownPairs, code_pairs
from ..wells import RelatedWells, WellFold
from .gene_recall_map import lay_out, score_map
from .gene_recall_notes import check_expected, diagnose, expect_chance, write_notes
from .gene_recall_params import Params
from .gene_recall_units import METRICS, FoldMaps, collect_units
from .well_features import WellFeatures, join_wells
from .well_groups import group_wells

_BLAS_THREADS = 1
"""So that equal inputs give equal bytes, on any number of cores."""


class GeneRecall:
    """Recall of known pairs of genes among the extreme cosines of a map, for each source of pairs and their mean.

    Per fold: average the samples of each well, align wells by the fold's negative controls, pool them to one profile a
    gene, take the cosines of all pairs of genes, count the known pairs in the tails. Metrics:
    ``recall_TAIL.SOURCE``, ``recall_TAIL.mean``, TAIL being ``top5``, ``bottom5``, ``both5``, ``both10`` (units:
    pairs) or ``top5_per_query`` (units: genes); the suffix ``@METHOD`` names an alignment that stands beside the one
    of the score. A source without pairs in the map is undefined, and so is the mean then.
    """

    name: ClassVar[str] = "gene-recall"
    Params: ClassVar[type[BaseModel]] = Params
    metrics: ClassVar[tuple[str, ...]] = METRICS

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:  # noqa: ARG002
        """Score one set of embeddings; nothing is random.

        Raises:
            UsageError: the dataset has no wells with known relations, a batch has no controls, or the map has fewer
                than 20 genes.
            DamagedFileError: embeddings and dataset have other samples, a well has none, or a feature is not finite.
            UnknownNameError: pairs of an unknown source are expected.
        """
        from threadpoolctl import threadpool_limits

        checked = Params.model_validate(params)
        if not isinstance(dataset, RelatedWells):
            raise UsageError(
                "protocol.name: gene-recall needs a dataset of wells with known relations, "
                f"got {type(dataset).__name__}; use the reader rxrx3, profiles or image-table"
            )
        if not dataset.relations:
            raise UsageError(
                "gene-recall needs at least one list of known pairs: name it in protocol.params.sources of rxrx3, or "
                "in source.relations of a screen"
            )
        check_expected(checked, tuple(dataset.relations))
        known = code_pairs({source: listed.pairs for source, listed in dataset.relations.items()})
        with threadpool_limits(_BLAS_THREADS, user_api="blas"):
            features = join_wells(embeddings, dataset)
            folds = [_map_fold(features, dataset, fold, known, checked) for fold in dataset.folds]
        n_controls = [len(fold.controls) for fold in dataset.folds]
        return Evaluation(
            units=collect_units(folds, checked),
            diagnostics=diagnose(folds, n_controls, checked),
            notes=(*dataset.notes, *write_notes(folds, checked)),
            chance=expect_chance(folds, checked),
        )


PROTOCOL = GeneRecall()


def _map_fold(
    features: WellFeatures, dataset: RelatedWells, fold: WellFold, known: KnownPairs, params: Params
) -> FoldMaps:
    """Align, pool and score the wells of one fold under each alignment."""
    wells = dataset.wells
    rows = np.union1d(fold.rows, fold.controls)
    layout = lay_out(group_wells(wells, rows), known, params)
    taken, controls = features.take(rows), np.isin(rows, fold.controls)
    batches = None if wells.batch is None else [wells.batch[row] for row in rows.tolist()]
    recalls = {
        method: score_map(align(taken, controls, batches, method), layout, params) for method in params.align.methods
    }
    return FoldMaps(fold.number, layout, recalls)
