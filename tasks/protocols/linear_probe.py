"""Linear probe: logistic regression on frozen embeddings, its penalty chosen on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator
from threadpoolctl import threadpool_limits

from harness.errors import UsageError
from harness.specs import Number, Strict
from harness.types import Dataset, Embeddings, Evaluation, Units
from harness.types import Field as Fact

from ..labels import Remarks, SplitLabels, split_labels
from ..metrics.classification import confusion_matrix, f1_by_class, recall_by_class
from ..metrics.logistic import LogisticFit, Scaling, column_scaling, fit_logistic, predict

_BLAS_THREADS = 1
"""More only wait for one another: the products of a probe are small."""


class Params(Strict):
    """Parameters of the probe."""

    lambdas: list[Number] = Field([1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0], min_length=1)
    """Penalties to choose from, on the scale of the mean cross-entropy."""
    tolerance: Number = Field(1e-5, gt=0)
    """Largest gradient component at which a fit counts as converged."""
    max_iterations: int = Field(1000, ge=1)
    standardise: bool = True
    """Subtract the mean and divide by the standard deviation of the training split."""
    head: Literal["linear", "tree"] = "linear"
    """``tree``: a decision tree on the features as they are, for baselines defined with one."""
    tree_min_leaf: int = Field(20, ge=1)
    """Training samples a leaf of the tree must hold."""

    @field_validator("lambdas")
    @classmethod
    def _check_lambdas(cls, lambdas: list[float]) -> list[float]:
        if min(lambdas) <= 0 or len(set(lambdas)) != len(lambdas):
            raise ValueError(f"expected different numbers above 0, got {lambdas}")
        return lambdas


@dataclass(frozen=True)
class Answer:
    """What a head predicts for the test split, and how it came to that.

    Attributes:
        predicted: (n_test,) int64.
        diagnostics: facts about the fit.
        notes: warnings.
    """

    predicted: NDArray[np.int64]
    diagnostics: Mapping[str, Fact]
    notes: tuple[str, ...] = ()


class LinearProbe:
    """Classification by a linear (or tree) head on frozen embeddings; the score is the macro-F1 of the test split."""

    name: ClassVar[str] = "linear-probe"
    Params: ClassVar[type[BaseModel]] = Params
    metrics: ClassVar[tuple[str, ...]] = ("f1_macro", "f1_worst", "f1_best", "accuracy")

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:
        """Fit on train, choose on val, score on test; nothing is fitted again after the choice.

        Raises:
            UsageError: the dataset has no labels, or no validation samples to choose between penalties.
            DamagedFileError: its labels contradict its samples.
        """
        checked = Params.model_validate(params)
        data = split_labels(dataset, self.name)
        head = _tree if checked.head == "tree" else _linear
        answer = head(embeddings.features, data, checked, seed)
        remarks = dataset.remarks if isinstance(dataset, Remarks) else ()
        return Evaluation(score_classes(data, answer.predicted), answer.diagnostics, (*remarks, *answer.notes))


def _linear(features: NDArray[np.float32], data: SplitLabels, params: Params, seed: int) -> Answer:  # noqa: ARG001
    if not data.val.any() and len(params.lambdas) > 1:
        raise UsageError(
            "the validation split is empty, so no penalty can be chosen; give protocol.params.lambdas one value"
        )
    scaling = column_scaling(features[data.train])
    if not params.standardise:
        scaling = Scaling(np.zeros_like(scaling.mean), np.ones_like(scaling.scale))
    path = _fit_path(features, data, params, scaling)
    scores = [_macro_f1(data, data.val, predict(fit, features[data.val], scaling)) for fit in path.values()]
    penalties = list(path)  # falling, so that the first of several best is the largest
    best = penalties[int(np.argmax(scores))] if data.val.any() else penalties[0]
    diagnostics: dict[str, Fact] = {
        "head": "linear",
        "lambda": best,
        "converged": path[best].converged,
        "iterations": path[best].iterations,
        "path.lambda": penalties,
        "path.val_f1_macro": [None if np.isnan(score) else float(score) for score in scores],
        "path.converged": [fit.converged for fit in path.values()],
        "path.iterations": [fit.iterations for fit in path.values()],
    }
    return Answer(predict(path[best], features[data.test], scaling), diagnostics, _complaints(path, params))


def _fit_path(
    features: NDArray[np.float32], data: SplitLabels, params: Params, scaling: Scaling
) -> dict[float, LogisticFit]:
    """Fit every penalty, largest first; one BLAS thread, so that equal inputs give equal bytes."""
    train = (features[data.train] - scaling.mean) / scaling.scale
    with threadpool_limits(_BLAS_THREADS, user_api="blas"):
        return fit_logistic(
            train,
            data.labels[data.train],
            len(data.class_names),
            params.lambdas,
            tolerance=params.tolerance,
            max_iterations=params.max_iterations,
        )


def _complaints(path: Mapping[float, LogisticFit], params: Params) -> tuple[str, ...]:
    return tuple(
        f"logistic regression with lambda {penalty:g} did not converge in {fit.iterations} iterations: largest "
        f"gradient {fit.largest_gradient:.1e}, tolerance {params.tolerance:.1e}"
        for penalty, fit in path.items()
        if not fit.converged
    )


def _tree(features: NDArray[np.float32], data: SplitLabels, params: Params, seed: int) -> Answer:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(min_samples_leaf=params.tree_min_leaf, random_state=seed)
    tree.fit(features[data.train], data.labels[data.train])
    predicted = np.asarray(tree.predict(features[data.test]), dtype=np.int64)
    return Answer(predicted, {"head": "tree", "leaves": int(tree.get_n_leaves()), "depth": int(tree.get_depth())})


def _macro_f1(data: SplitLabels, part: NDArray[np.bool_], predicted: NDArray[np.int64]) -> float:
    if not part.any():
        return float("nan")
    return float(np.nanmean(f1_by_class(confusion_matrix(data.labels[part], predicted, len(data.class_names)))))


def score_classes(data: SplitLabels, predicted: NDArray[np.int64]) -> dict[str, Units]:
    """Return one unit a class for each metric; the weighted mean of the recalls is the accuracy."""
    confusion = confusion_matrix(data.labels[data.test], predicted, len(data.class_names))
    fold = np.zeros(len(data.class_names), dtype=np.int64)
    f1 = f1_by_class(confusion)
    samples = confusion.sum(axis=1).astype(np.float64)
    return {
        "f1_macro": Units("class", data.class_names, fold, f1),
        "f1_worst": Units("class", data.class_names, fold, f1, reduce="min"),
        "f1_best": Units("class", data.class_names, fold, f1, reduce="max"),
        "accuracy": Units("class", data.class_names, fold, recall_by_class(confusion), weight=samples),
    }


PROTOCOL = LinearProbe()
