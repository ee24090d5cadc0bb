"""What a training takes and gives: samples in splits, a network, a recipe; a checkpoint with its curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from harness.labelled import LabelledSplits
from harness.recipes import Recipe
from harness.types import (
    Batch,
    BuildContext,
    Dataset,
    Embeddings,
    Evaluation,
    EvaluationProtocol,
    Model,
    Progress,
    Scalar,
)

if TYPE_CHECKING:
    from pydantic import BaseModel


@runtime_checkable
class TrainingProtocol(EvaluationProtocol, Protocol):
    """An evaluation procedure that trains networks itself; models it cannot train are evaluated frozen."""

    def recipe(self, params: BaseModel) -> Recipe:
        """Return how networks are trained."""

    def judge(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:
        """Score the class scores of a trained network, (n, classes), given for the samples of the split ``test``."""


@runtime_checkable
class TrainingSamples(Dataset, LabelledSplits, Protocol):
    """A dataset on which a classifier can be trained."""

    def read_rows(self, view: str, rows: Sequence[int]) -> Batch:
        """Read samples in any order; safe to call from several threads."""

    def at_epoch(self, epoch: int) -> TrainingSamples:
        """Return the same samples with the augmentation of another training epoch; only training samples change."""

    def only(self, split: str) -> TrainingSamples:
        """Return the samples of one split, with the same ids and the same ``data_hash``."""


@dataclass(frozen=True)
class TrainJob:
    """One network to be trained from its random initialisation.

    Attributes:
        title: for progress bars and messages.
        model: the freshly drawn network, wrapped.
        context: how it was built.
        dataset: the samples.
        recipe: optimiser, schedule, length.
        file: where the checkpoint goes; curves and the state to resume from lie beside it.
        identity: what the training depends on; a checkpoint or state of another one is refused.
        provenance: who made it, where, when and with what.
        progress: where progress is told.
    """

    title: str
    model: Model
    context: BuildContext
    dataset: TrainingSamples
    recipe: Recipe
    file: Path
    identity: Mapping[str, Scalar]
    provenance: Mapping[str, Scalar]
    progress: Progress


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        checkpoint: safetensors file with the weights of the kept epoch.
        digest: sha256 of that file.
        curves: files with the training curves.
        history: one mapping an epoch: losses, validation scores, learning rate, seconds.
        best: number of the kept epoch, counted from 1.
        load: returns the trained network as a model whose vectors are class scores.
    """

    checkpoint: Path
    digest: str
    curves: tuple[Path, ...]
    history: tuple[Mapping[str, float], ...]
    best: int
    load: Callable[[], Model]
