"""Classification by networks that the task trains from random weights; what cannot be trained is probed as it is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from harness.recipes import Recipe
from harness.types import Dataset, Embeddings, Evaluation

from ..labels import Remarks, split_labels
from .linear_probe import PROTOCOL as PROBE
from .linear_probe import Params as ProbeParams
from .linear_probe import score_classes


class Params(ProbeParams):
    """Parameters of the training, and of the probe for baselines that are not trained."""

    recipe: Recipe = Field(default_factory=Recipe)
    """Optimiser, schedule and length of the training."""


class TrainedClassifier:
    """A network with a linear head, trained on train, its best epoch on val kept, scored on test.

    Hand-crafted baselines have no weights to train: they get the linear probe, or the head of their card.
    """

    name: ClassVar[str] = "trained-classifier"
    Params: ClassVar[type[BaseModel]] = Params
    metrics: ClassVar[tuple[str, ...]] = PROBE.metrics

    def recipe(self, params: BaseModel) -> Recipe:
        """Return how networks are trained."""
        return Params.model_validate(params).recipe

    def judge(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:  # noqa: ARG002
        """Take the class with the highest score of each test sample.

        Args:
            embeddings: (n_test, classes) scores of a trained network, for the test samples alone.
            dataset: all samples.
            params: not used: everything was chosen in training.
            seed: not used.

        Raises:
            UsageError: the dataset has no labels.
            DamagedFileError: its labels contradict its samples.
            ValueError: scores of other samples than those of the test split.
        """
        data = split_labels(dataset, self.name)
        asked = tuple(name for name, tested in zip(dataset.ids, data.test, strict=True) if tested)
        if embeddings.ids != asked:
            raise ValueError(f"expected scores of the {len(asked)} test samples in order, got {len(embeddings.ids)}")
        predicted = np.argmax(embeddings.features, axis=1).astype(np.int64)
        remarks = dataset.remarks if isinstance(dataset, Remarks) else ()
        return Evaluation(score_classes(data, predicted), {"head": "trained"}, remarks)

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:
        """Probe frozen vectors as the linear probe does."""
        values = Params.model_validate(params).model_dump(exclude={"recipe"})
        return PROBE.evaluate(embeddings, dataset, ProbeParams.model_validate(values), seed)


PROTOCOL = TrainedClassifier()
