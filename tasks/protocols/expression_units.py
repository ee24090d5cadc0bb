"""From predictions to per-gene scores: the atoms of every metric of the expression protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.types import Units

from ..expression import ExpressionFold, ExpressionTargets
from ..metrics.correlation import (
    Undefined,
    explained_variance,
    is_constant,
    mean_squared_error,
    pearson,
    pearson_by_section,
)

Array = NDArray[np.float64]
METRICS = ("pcc", "pcc_per_sample", "mse", "r2")


@dataclass(frozen=True)
class FoldScores:
    """Scores of the genes of one fold.

    Attributes:
        values: metric -> (n_genes of the fold,) float64, NaN = undefined.
        constant_target: (n_genes,) bool, the target does not vary over the test samples.
        constant_prediction: (n_genes,) bool, the prediction does not.
    """

    values: dict[str, Array]
    constant_target: NDArray[np.bool_]
    constant_prediction: NDArray[np.bool_]

    @property
    def undefined(self) -> NDArray[np.bool_]:
        """(n_genes,) bool, genes without a pooled correlation."""
        return self.constant_target | self.constant_prediction


def score_fold(target: Array, prediction: Array, section: Sequence[str], nan: Undefined) -> FoldScores:
    """Score the test samples of a fold.

    Args:
        target: (n_test, n_genes) float64.
        prediction: (n_test, n_genes) float64.
        section: section of each row.
        nan: rule for constant columns; ``zero`` turns undefined correlations into 0, never errors or R2.
    """
    pooled = pearson(target, prediction)
    values = {
        "pcc": np.nan_to_num(pooled) if nan == "zero" else pooled,
        "pcc_per_sample": pearson_by_section(target, prediction, section, nan),
        "mse": mean_squared_error(target, prediction),
        "r2": explained_variance(target, prediction),
    }
    return FoldScores(values, is_constant(target), is_constant(prediction))


def collect_units(
    scores: Sequence[FoldScores], folds: Sequence[ExpressionFold], dataset: ExpressionTargets, nan: Undefined
) -> dict[str, Units]:
    """Lay the scores of all folds out as units, one a gene and fold, clustered by co-expression module."""
    columns = np.concatenate([fold.columns for fold in folds])
    number = np.concatenate([np.full(len(fold.columns), fold.number, dtype=np.int64) for fold in folds])
    return {
        metric: Units(
            kind="gene",
            unit=tuple(dataset.genes[column] for column in columns),
            fold=number,
            value=np.concatenate([score.values[metric] for score in scores]),
            cluster=tuple(dataset.clusters[column] for column in columns),
            undefined="propagate" if nan == "propagate" else "omit",
        )
        for metric in METRICS
    }


def explain_undefined(scores: Sequence[FoldScores], nan: Undefined) -> str | None:
    """Say how many correlations are undefined and why, or None when all are defined."""
    undefined = sum(int(score.undefined.sum()) for score in scores)
    if not undefined:
        return None
    cells = sum(len(score.undefined) for score in scores)
    target = sum(int(score.constant_target.sum()) for score in scores)
    prediction = sum(int(score.constant_prediction.sum()) for score in scores)
    fate = {"omit": "left out of the mean", "propagate": "the mean is undefined", "zero": "counted as 0"}[nan]
    return (
        f"pcc is undefined in {undefined} of {cells} gene-fold cells ({fate}): the target is constant in {target}, "
        f"the prediction in {prediction}"
    )
