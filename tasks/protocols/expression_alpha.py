"""How many components and how much penalty: HEST's rules, and a choice by cross-validation inside a training fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from ..expression import ExpressionFold
from ..metrics.correlation import pearson
from .expression_params import PcaParams
from .expression_solvers import Solver

MULTIPLES = tuple(10.0**power for power in range(-4, 7))
"""Grid of the cross-validation, times HEST's penalty."""
_INNER_FOLDS = 5  # consecutive blocks of samples, where only one section is left to train on


@dataclass(frozen=True)
class InnerSplit:
    """Rows of a training fold, split once more."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def effective_components(pca: PcaParams, width: int, n_train: int, fold: int) -> int | None:
    """Return the number of components that a training set allows; None means the features as they are.

    Args:
        pca: the parameters.
        width: number of features.
        n_train: number of training samples.
        fold: number of the fold, for the message.

    Raises:
        UsageError: fewer features or samples than components, under ``small_dims: error``.
    """
    if pca.components is None:
        return None
    if pca.small_dims == "error":
        if pca.components > min(width, n_train):
            raise UsageError(
                f"protocol.params.pca: fold {fold}: {pca.components} components need as many features and training "
                f"samples, found {width} and {n_train}; set pca.components lower, or pca.small_dims to min or pad"
            )
        return pca.components
    return max(1, min(pca.components, width, n_train - 1))


def hest_alpha(n_inputs: int, n_genes: int) -> float:
    """Return HEST's penalty, 100 / (inputs of the regression x genes).

    Source: mahmoodlab/HEST@afd42c3 ``trainer.py``.

    Example:
        >>> hest_alpha(256, 50)
        0.0078125
    """
    return 100.0 / (n_inputs * n_genes)


def split_inside(fold: ExpressionFold, section: Sequence[str]) -> tuple[InnerSplit, ...]:
    """Leave out one training section at a time; with one section only, one of 5 blocks of consecutive samples."""
    labels = np.array([section[row] for row in fold.train], dtype=object)
    names = list(dict.fromkeys(labels))
    if len(names) > 1:
        return tuple(InnerSplit(fold.train[labels != name], fold.train[labels == name]) for name in names)
    blocks = np.array_split(fold.train, min(_INNER_FOLDS, len(fold.train)))
    return tuple(InnerSplit(fold.train[~np.isin(fold.train, block)], block) for block in blocks)


def choose_multiple(
    solver: Solver,
    splits: Sequence[InnerSplit],
    targets: NDArray[np.float64],
    fold: ExpressionFold,
    *,
    pca: PcaParams,
    width: int,
) -> float:
    """Return the multiple of HEST's penalty with the highest mean correlation over genes and inner splits.

    Undefined correlations are left out; of equal multiples the smallest wins.
    """
    score = np.full((len(splits), len(MULTIPLES)), np.nan)
    for row, split in enumerate(splits):
        components = effective_components(pca, width, len(split.train), fold.number)
        fit = solver.fit(split.train, fold.columns, components)
        base = hest_alpha(components or width, len(fold.columns))
        measured = targets[np.ix_(split.test, fold.columns)]
        for column, multiple in enumerate(MULTIPLES):
            correlation = pearson(measured, fit.predict(split.test, base * multiple))
            if not np.isnan(correlation).all():
                score[row, column] = np.nanmean(correlation)
    defined = ~np.isnan(score)
    mean = np.where(defined, score, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    return MULTIPLES[int(np.argmax(mean))]
