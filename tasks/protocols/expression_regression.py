"""Expression regression: principal components and ridge from embeddings to genes, scored by correlation.

Source: mahmoodlab/HEST@afd42c3 ``src/hest/bench``; the default solver is exact where the original iterates.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from harness.errors import DamagedFileError, UsageError
from harness.types import Dataset, Embeddings, Evaluation, Field

from ..expression import ExpressionFold, ExpressionTargets
from .expression_alpha import InnerSplit, split_inside
from .expression_exact import ExactSolver
from .expression_heads import Prediction, check_xgboost, predict_fold
from .expression_params import Params
from .expression_scikit import ScikitSolver
from .expression_solvers import Solver, pad_features
from .expression_units import METRICS, FoldScores, collect_units, explain_undefined, score_fold

_EXACT = (2, 1)  # folds at a time and BLAS threads: more of either fights over memory
_WITHOUT_COMPONENTS = ("xgboost_raw", "mean")  # heads that nothing is reduced for
_ORIGINAL = (1, 2)  # the original's last digits depend on the number of BLAS threads; its published oracles used 2


@dataclass(frozen=True)
class _Outcome:
    prediction: Prediction
    scores: FoldScores


class ExpressionRegression:
    """PCA and ridge (or another head) per fold, one score a gene.

    Metrics: ``pcc`` (Pearson r over all test samples of a fold), ``pcc_per_sample`` (r inside each test section, mean
    over sections), ``mse`` and ``r2``. Equal inputs give equal bytes: one BLAS thread a fold, fixed order of sums.
    """

    name: ClassVar[str] = "expression-regression"
    Params: ClassVar[type[BaseModel]] = Params
    metrics: ClassVar[tuple[str, ...]] = METRICS

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:
        """Score one set of embeddings.

        Raises:
            UsageError: the dataset has no expression targets, a parameter does not fit the data, or a head needs a
                library that is not installed.
            DamagedFileError: embeddings and dataset have other samples.
        """
        if not isinstance(params, Params):
            raise TypeError("expression-regression takes its own Params")
        if not isinstance(dataset, ExpressionTargets):
            raise UsageError(
                "protocol.name: expression-regression needs a dataset with genes and folds, "
                f"got {type(dataset).__name__}; use the reader hest or hest1nn"
            )
        _check_join(embeddings, dataset)
        if params.head in ("xgboost", "xgboost_raw"):
            check_xgboost()
        pads = params.pca.small_dims == "pad" and params.head not in _WITHOUT_COMPONENTS
        features = pad_features(embeddings.features, params.pca) if pads else embeddings.features
        outcomes = _run_folds(features, dataset, params, seed)
        scores = [outcome.scores for outcome in outcomes]
        reason = explain_undefined(scores, params.nan)
        return Evaluation(
            units=collect_units(scores, dataset.folds, dataset, params.nan),
            diagnostics=_diagnose(outcomes, dataset, params),
            notes=(*dataset.notes, *([reason] if reason else [])),
        )


PROTOCOL = ExpressionRegression()


def _run_folds(features: NDArray[np.floating], dataset: ExpressionTargets, params: Params, seed: int) -> list[_Outcome]:
    import scipy.linalg  # noqa: F401 - its BLAS must be loaded before its threads are limited
    from threadpoolctl import threadpool_limits

    folds, targets = dataset.folds, dataset.targets
    chosen = params.alpha == "cv" and params.head == "ridge"
    inner = [split_inside(fold, dataset.section) if chosen else () for fold in folds]

    workers, threads = _ORIGINAL if params.pca.solver == "randomized" else _EXACT
    with threadpool_limits(limits=threads), ThreadPoolExecutor(workers) as executor:
        solver = _make_solver(features, dataset, inner, params, executor)

        def run(fold: ExpressionFold, splits: tuple[InnerSplit, ...]) -> _Outcome:
            prediction = predict_fold(fold, features, targets, solver=solver, inner=splits, params=params, seed=seed)
            section = [dataset.section[row] for row in fold.test]
            measured = targets[np.ix_(fold.test, fold.columns)]
            return _Outcome(prediction, score_fold(measured, prediction.values, section, params.nan))

        return list(executor.map(run, folds, inner))


def _make_solver(
    features: NDArray[np.floating],
    dataset: ExpressionTargets,
    inner: list[tuple[InnerSplit, ...]],
    params: Params,
    executor: ThreadPoolExecutor,
) -> Solver:
    if params.pca.solver == "randomized":
        return ScikitSolver(features, dataset.targets, seed=params.pca.seed, intercept=params.intercept)
    train_sets = [] if params.head in _WITHOUT_COMPONENTS else [fold.train for fold in dataset.folds]
    return ExactSolver(
        features,
        dataset.targets,
        [*train_sets, *(split.train for splits in inner for split in splits)],
        raw=params.pca.components is None,
        intercept=params.intercept,
        executor=executor,
    )


def _check_join(embeddings: Embeddings, dataset: Dataset) -> None:
    if tuple(embeddings.ids) == tuple(dataset.ids):
        return
    have = set(embeddings.ids)
    absent = [name for name in dataset.ids if name not in have]
    raise DamagedFileError(
        f"embeddings of stage {embeddings.stage!r} are not those of this dataset: {len(absent)} of {len(dataset.ids)} "
        f"samples are missing{', the first: ' + ', '.join(absent[:3]) if absent else '; order or extra samples differ'}"
    )


def _diagnose(outcomes: list[_Outcome], dataset: ExpressionTargets, params: Params) -> dict[str, Field]:
    """Tell per fold what was computed."""
    predictions, scores = [item.prediction for item in outcomes], [item.scores for item in outcomes]
    facts: dict[str, Field] = {
        "folds": [fold.number for fold in dataset.folds],
        "n_train": [len(fold.train) for fold in dataset.folds],
        "n_test": [len(fold.test) for fold in dataset.folds],
        "solver": [item.solver for item in predictions],
        "components": [item.components for item in predictions],
        "alpha": [item.alpha for item in predictions],
        "n_constant_target": sum(int(score.constant_target.sum()) for score in scores),
        "n_constant_prediction": sum(int(score.constant_prediction.sum()) for score in scores),
    }
    if params.nan == "zero":
        facts["n_zeroed"] = sum(int(score.undefined.sum()) for score in scores)
    if params.pca.solver == "randomized" and params.head not in _WITHOUT_COMPONENTS:
        import sklearn

        facts["scikit_learn"] = sklearn.__version__
    return facts
