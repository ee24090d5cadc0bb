"""Samples to try a model on: generated pictures and points, or real ones of a task."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import MismatchError, UsageError
from harness.evaluation import open_dataset
from harness.halving import cut
from harness.hashing import hash_value
from harness.match import Pairing, match
from harness.options import RunOptions
from harness.plugins import Registry
from harness.selection import RequestedModel, select_tasks
from harness.specs import TaskInput
from harness.types import Batch

_BLOCK = 8
"""Consecutive real samples read at a time."""


@dataclass(frozen=True)
class Probe:
    """Samples without labels, as :class:`harness.types.Samples`.

    Attributes:
        batch: all samples.
        given: what a task's input block says of them.
        kind: ``generated`` or ``real``, for messages.
    """

    batch: Batch
    given: TaskInput
    kind: str = "generated"

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids."""
        return self.batch.ids

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read consecutive samples."""
        if view != self.batch.view:
            raise UsageError(f"the samples have the view {self.batch.view}, not {view}")
        return cut(self.batch, range(start, stop))

    def fingerprint(self, view: str) -> str:
        """Return a hash of the ids."""
        return hash_value([view, *self.ids])


def generated(model: RequestedModel, n: int) -> Probe:
    """Draw samples of the first view a model takes: pictures of patches and grain, or scattered points."""
    view, takes = model.card.views[0], model.card.input.channels
    channels = 3 if takes == "any" else takes
    given = TaskInput(views=[view], channels=channels)
    ids, rng = tuple(f"generated/{row}" for row in range(n)), np.random.default_rng(0)
    if view == "points":
        points = tuple(rng.uniform(-1, 1, (40 + 10 * (row % 16), 2)) for row in range(n))
        return Probe(Batch(ids, view, points=points), given)
    size = model.card.input.size or 64
    pictures = np.stack([_picture(rng, size, channels, row) for row in range(n)])
    return Probe(Batch(ids, view, images=pictures.transpose(0, 3, 1, 2)), given)


def real(registry: Registry, model: RequestedModel, task: str, options: RunOptions, n: int) -> Probe:
    """Read samples of a task, spread over all of them.

    Raises:
        MismatchError: the model cannot run the task.
        MissingDataError: its data are nowhere.
    """
    bound = select_tasks(registry, task)[0]
    pairing = next((one for one in match(bound, model, "last") if isinstance(one, Pairing)), None)
    if pairing is None:
        raise MismatchError("\n".join(map(str, match(bound, model, "last"))))
    dataset = open_dataset(bound, replace(options, limit=4 * n).data_context)
    total = len(dataset.ids)
    blocks = np.linspace(0, max(0, total - _BLOCK), max(1, -(-n // _BLOCK))).astype(int)
    starts = sorted({int(start) for start in blocks}) if total > n else range(0, total, _BLOCK)
    parts = [dataset.read(pairing.view, start, min(total, start + _BLOCK)) for start in starts]
    return Probe(_join(parts, pairing.view), bound.spec.input, "real")


def _join(parts: list[Batch], view: str) -> Batch:
    ids = tuple(name for part in parts for name in part.ids)
    first = parts[0]
    images = None if first.images is None else np.concatenate([p.images for p in parts if p.images is not None])
    points = None if first.points is None else tuple(one for part in parts for one in part.points or ())
    rows = sorted({name: row for row, name in enumerate(ids)}.values())  # blocks may overlap in a small data set
    return cut(Batch(ids, view, images, points), rows)


def _picture(rng: np.random.Generator, size: int, channels: int, row: int) -> NDArray[np.uint8]:
    """Draw patches of colour, coarser or finer from picture to picture, with grain: (size, size, channels)."""
    cells = 2 + row % 14
    steps = np.arange(size) * cells // size
    base, contrast = rng.uniform(40, 215, channels), rng.uniform(10, 120)
    patches = base + contrast * rng.standard_normal((cells, cells, channels))
    picture = patches[steps][:, steps] + rng.uniform(0, 25) * rng.standard_normal((size, size, channels))
    drawn: NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return drawn
