"""Predictions for one fold by the head that the parameters name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from ..expression import ExpressionFold
from .expression_alpha import InnerSplit, choose_multiple, effective_components, hest_alpha
from .expression_params import Params
from .expression_solvers import Solver

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What a head predicts for the test samples of a fold.

    Attributes:
        values: (n_test, n_genes of the fold) float64.
        components: number of principal components; None for the features as they are, or for no features at all.
        alpha: penalty; None where there is none.
        solver: what found the components.
    """

    values: Array
    components: int | None
    alpha: float | None
    solver: str


def predict_fold(
    fold: ExpressionFold,
    features: NDArray[np.floating],
    targets: Array,
    *,
    solver: Solver,
    inner: tuple[InnerSplit, ...],
    params: Params,
    seed: int,
) -> Prediction:
    """Fit on the training samples of a fold and predict its test samples.

    Args:
        fold: rows and columns.
        features: (n, D).
        targets: (n, G) float64.
        solver: reduces and regresses.
        inner: splits of the training samples for the choice of the penalty, where it is chosen.
        params: the protocol's parameters.
        seed: seed of the trees.
    """
    measured = targets[np.ix_(fold.train, fold.columns)]
    if params.head == "mean":
        return Prediction(np.tile(measured.mean(axis=0), (len(fold.test), 1)), None, None, "none")
    if params.head == "xgboost_raw":
        return Prediction(_grow_trees(features[fold.train], features[fold.test], measured, seed), None, None, "none")
    width = features.shape[1]
    components = effective_components(params.pca, width, len(fold.train), fold.number)
    fit = solver.fit(fold.train, fold.columns, components)
    if params.head == "xgboost":
        trees = _grow_trees(fit.project(fold.train), fit.project(fold.test), measured, seed)
        return Prediction(trees, components, None, fit.solver)
    alpha = hest_alpha(components or width, len(fold.columns))
    if params.alpha == "cv":
        alpha *= choose_multiple(solver, inner, targets, fold, pca=params.pca, width=width)
    values = fit.predict(fold.test, alpha)
    test = features[fold.test]
    if (test == test[:1]).all():  # BLAS may round equal rows differently; equal samples get equal predictions
        values = np.tile(values[:1], (len(values), 1))
    return Prediction(values, components, alpha, fit.solver)


def check_xgboost() -> None:
    """Check that the optional library is there.

    Raises:
        UsageError: naming the extra to install.
    """
    if find_spec("xgboost") is None:
        raise UsageError(
            "protocol.params.head: xgboost is not installed; it is the extra `xgboost`: "
            'pip install "bioimage-harness[xgboost]", or ask for the head ridge (cell-count, not cell-count-xgboost)'
        )


def _grow_trees(train: NDArray[np.floating], test: NDArray[np.floating], measured: Array, seed: int) -> Array:
    """Fit one booster a gene.

    Source: arXiv 2603.13377 E.1 (100 trees, learning rate .1, depth 3; the other values are the library's defaults
    or our choice).
    """
    xgboost = import_module("xgboost")
    predictions = np.empty((len(test), measured.shape[1]))
    for gene in range(measured.shape[1]):
        trees = xgboost.XGBRegressor(
            n_estimators=100,
            learning_rate=0.1,
            max_depth=3,
            min_child_weight=1,
            subsample=0.8,
            colsample_bytree=0.8,
            reg_lambda=1,
            random_state=seed,
            n_jobs=1,
        )
        predictions[:, gene] = trees.fit(train, measured[:, gene]).predict(test)
    return predictions
