"""One epoch of training: batches read ahead, gradients of parts added in a fixed order, then the validation split."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.errors import ModelOutputError
from harness.trainjob import TrainJob

from .classifier import Classifier, Part
from .optimisers import make_optimiser
from .spreading import spread_thresholds
from .training_reading import Read, Reader
from .whitening import fold_whitening, pool

_ORDER_STREAM, _WHITEN_STREAM, _SPREAD_STREAM = 2, 3, 4
_SAMPLES_A_DIRECTION = 20
_SAMPLES_TO_SPREAD = 64


class Rows(NamedTuple):
    """Rows of the splits in the dataset."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


class Step(NamedTuple):
    """What one part of a batch says: its summed loss, and the gradients of the mean loss of the whole batch."""

    loss: float
    gradients: tuple[Tensor | None, ...]


class Epochs:
    """Trains a classifier, one epoch a call."""

    def __init__(self, job: TrainJob, network: Classifier, rows: Rows, reader: Reader, workers: int) -> None:
        """Make the optimiser.

        Args:
            job: the training.
            network: what is trained.
            rows: training and validation samples.
            reader: reads them.
            workers: parts of a batch that run side by side; how many shapes no number.
        """
        self._job, self._network, self._rows, self._reader = job, network, rows, reader
        above, below = network.groups()
        self._parameters = above + below
        self._workers = workers
        self.optimiser = make_optimiser(job.recipe, above, below)

    def train_one(self, epoch: int) -> dict[str, float]:
        """Train one epoch and look at the validation split.

        Args:
            epoch: number, counted from 0; draws the order and the augmentation, whatever came before.

        Returns:
            epoch (counted from 1), learning_rate (of the last step), train_loss (mean over the epoch while it is
            trained), val_loss, val_f1_macro, seconds.

        Raises:
            ModelOutputError: the loss is no number any more.
        """
        started, recipe = time.perf_counter(), self._job.recipe
        order = np.random.default_rng([self._job.context.seed, _ORDER_STREAM, epoch]).permutation(self._rows.train)
        batches = _cut(order, recipe.batch)
        loss, rate = 0.0, 0.0
        self._network.train()
        with ThreadPoolExecutor(self._workers) as pool:
            for number, parts in enumerate(self._read_ahead(batches, epoch)):
                rate = recipe.rate(epoch * len(batches) + number, len(batches))
                loss += self._step(parts, rate, pool)
                if not np.isfinite(loss):
                    raise ModelOutputError(
                        f"{self._job.title}: the loss is {loss} in step {number + 1} of epoch {epoch + 1}; try a lower "
                        "recipe.learning_rate or a longer recipe.warmup_epochs"
                    )
            seen = self._validate(pool)
        seconds = time.perf_counter() - started
        facts = {"epoch": epoch + 1, "learning_rate": rate, "train_loss": loss / len(order)}
        return {**facts, **seen, "seconds": round(seconds, 1)}

    def prepare(self) -> None:
        """Change the drawn weights as the recipe asks, before the first epoch.

        Raises:
            UsageError: the network has no such layers.
        """
        if self._job.recipe.spread:
            rng = np.random.default_rng([self._job.context.seed, _SPREAD_STREAM])
            rows = rng.permutation(self._rows.train)[:_SAMPLES_TO_SPREAD]
            (parts,) = self._read_ahead([rows])
            spread_thresholds(self._network, parts, rng)
        self._whiten()

    def _whiten(self) -> None:
        """Bring the values that enter the MLP to unit variance."""
        directions = self._job.recipe.whiten
        if not directions:
            return
        order = np.random.default_rng([self._job.context.seed, _WHITEN_STREAM]).permutation(self._rows.train)
        batches = _cut(order[: _SAMPLES_A_DIRECTION * directions], self._job.recipe.batch)

        def run(part: Part) -> Tensor:
            with torch.inference_mode():
                return pool(self._network, part).cpu()

        with ThreadPoolExecutor(self._workers) as workers:
            parts = self._read_ahead(batches)
            pooled = torch.cat([one for batch in parts for one in workers.map(run, batch)])
        fold_whitening(self._network, pooled.double(), directions)

    def _step(self, parts: Sequence[Part], rate: float, pool: ThreadPoolExecutor) -> float:
        """Take one optimiser step and return the loss summed over the batch."""
        size = sum(len(part.labels) for part in parts)

        def run(part: Part) -> Step:
            loss = functional.cross_entropy(self._network(part.inputs), part.labels, reduction="sum")
            return Step(float(loss.detach()), torch.autograd.grad(loss / size, self._parameters, allow_unused=True))

        steps = list(pool.map(run, parts))
        for parameter, *gradients in zip(self._parameters, *(step.gradients for step in steps), strict=True):
            known = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = _add(known) if known else None
        for group, share in zip(self.optimiser.param_groups, (1.0, self._job.recipe.trunk_rate), strict=True):
            group["lr"] = rate * share
        self.optimiser.step()
        return sum(step.loss for step in steps)

    def _validate(self, pool: ThreadPoolExecutor) -> dict[str, float]:
        from sklearn.metrics import f1_score

        def run(part: Part) -> tuple[float, NDArray[np.int64]]:
            with torch.inference_mode():
                scores = self._network(part.inputs)
                loss = functional.cross_entropy(scores, part.labels, reduction="sum")
                return float(loss), scores.argmax(dim=1).cpu().numpy()

        self._network.eval()
        batches = _cut(self._rows.val, self._job.recipe.batch)
        answers = [answer for parts in self._read_ahead(batches) for answer in list(pool.map(run, parts))]
        truth = self._job.dataset.labels[self._rows.val]
        predicted = np.concatenate([labels for _, labels in answers])
        loss = sum(loss for loss, _ in answers) / len(truth)
        return {"val_loss": loss, "val_f1_macro": float(f1_score(truth, predicted, average="macro", zero_division=0))}

    def _read_ahead(self, batches: Sequence[NDArray[np.int64]], epoch: int | None = None) -> Iterator[list[Part]]:
        """Make the next batch ready while the present one is worked on."""
        labels, fixed = self._job.dataset.labels, self._job.recipe.fixed_graphs

        def prepare(rows: NDArray[np.int64], read: Read) -> list[Part]:
            if fixed and epoch is not None:
                self._look_for_neighbours(rows)
            return self._network.split(read(), labels[rows], fixed_graphs=fixed)

        reads = self._reader.reads(batches, epoch)
        with ThreadPoolExecutor(1) as preparing:
            coming: Future[list[Part]] | None = None
            for rows, read in zip(batches, reads, strict=True):
                present, coming = coming, preparing.submit(prepare, rows, read)
                if present is not None:
                    yield present.result()
            if coming is not None:
                yield coming.result()

    def _look_for_neighbours(self, rows: NDArray[np.int64]) -> None:
        """Fix graphs as they are before any epoch moves the points: a training taken up late must find the same."""
        dataset = self._job.dataset
        unknown = [row for row in rows.tolist() if not self._network.remembers(dataset.ids[row])]
        if unknown:
            self._network.remember(dataset.read_rows(self._job.context.view, unknown))


def _cut(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _add(tensors: Sequence[Tensor]) -> Tensor:
    """Add in the given order, in place: the sum is the same however many workers made the terms."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total += tensor
    return total
