"""What an expression task offers beside its samples: genes, targets, sections and folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ExpressionFold:
    """One train/test split of the samples.

    Attributes:
        number: number of the fold as the data name it.
        train: (n_train,) int64 rows of the training samples, section after section.
        test: (n_test,) int64 rows of the test samples, section after section.
        columns: (n_genes_of_the_fold,) int64 columns of the targets that this fold predicts.
    """

    number: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    columns: NDArray[np.int64]


@runtime_checkable
class ExpressionTargets(Protocol):
    """A dataset whose samples have gene expression to predict; arrays are never modified."""

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the target columns."""

    @property
    def targets(self) -> NDArray[np.float64]:
        """(n_samples, n_genes) float64, finite, normalised as the task asks."""

    @property
    def section(self) -> tuple[str, ...]:
        """Name of the tissue section of each sample."""

    @property
    def folds(self) -> tuple[ExpressionFold, ...]:
        """Train/test splits; a section may take part in several of them."""

    @property
    def clusters(self) -> tuple[str, ...]:
        """Co-expression module of each gene."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the data that a reader of the score should see."""
