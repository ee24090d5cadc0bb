"""A model that runs out of memory gets smaller batches, and the run goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import PluginError, UsageError
from harness.feed import run_model
from harness.types import Batch, Model, Progress

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "failed to allocate",
    "std::bad_alloc",
    "alloc_failed",
)
"""How libraries say it whose exception has no type of its own, in lower case."""


class PatientModel:
    """Runs a model on batches, cut into smaller ones as soon as one did not fit into memory.

    What was found to fit is kept for the batches that follow. Vectors of samples do not depend on their neighbours in
    a batch beyond the rounding of sums, and shards keep their bounds.
    """

    def __init__(self, model: Model, title: str, progress: Progress) -> None:
        """Begin with batches as they come."""
        self._model = model
        self._title = title
        self._progress = progress
        self.most: int | None = None
        """Samples a call that fit, once a larger batch did not."""

    def run(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Embed a batch in as many calls as it takes.

        Raises:
            UsageError: one sample alone does not fit.
            PluginError, ModelOutputError: as :func:`harness.feed.run_model`.
        """
        start, parts = 0, []
        while start < len(batch):
            stop = min(len(batch), start + (self.most or len(batch)))
            done = self._try(cut(batch, range(start, stop)) if stop - start < len(batch) else batch, stages)
            if done is None:
                self._halve(stop - start)
            else:
                parts.append(done)
                start = stop
        return {name: np.concatenate([part[name] for part in parts]) for name in stages} if parts[1:] else parts[0]

    def _try(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]] | None:
        """Run one batch; None if it did not fit. On return nothing holds the failed call's memory any more."""
        try:
            return run_model(self._model, batch, stages, self._title)
        except PluginError as error:
            if not is_out_of_memory(error.__cause__):
                raise
        return None

    def _halve(self, size: int) -> None:
        if size == 1:
            raise UsageError(
                f"{self._title}: out of memory with one sample a call; try --dtype bfloat16, --device cpu, smaller "
                "images or a smaller model"
            )
        if self.most is None:
            self._progress.warn(
                f"{self._title}: out of memory with {size} samples a call; goes on with fewer. "
                f"--batch-size {size // 2} starts with what may fit"
            )
        self.most = size // 2


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an exception of any library means that memory, of the machine or of a device, is exhausted.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("MPS backend out of memory"))
        (True, True)
        >>> is_out_of_memory(ValueError("out of range"))
        False
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def cut(batch: Batch, rows: Sequence[int]) -> Batch:
    """Return some samples of a batch; consecutive ones are not copied."""
    ids = tuple(batch.ids[row] for row in rows)
    chosen = slice(rows.start, rows.stop) if isinstance(rows, range) and rows.step == 1 else list(rows)
    images = None if batch.images is None else batch.images[chosen]
    points = None if batch.points is None else tuple(batch.points[row] for row in rows)
    return Batch(ids, batch.view, images, points)
