"""One sample of a task in all its views, read as a model would get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.binding import BoundTask
from harness.errors import DamagedFileError, HarnessError, MissingDataError, PluginError, UnknownNameError
from harness.evaluation import open_dataset
from harness.feed import check_batch
from harness.labelled import HasClasses
from harness.pictures import HasSurroundings, Surroundings
from harness.types import Batch, DataContext, Dataset


@dataclass(frozen=True)
class Missing:
    """A view, or the neighbourhood, whose data are nowhere.

    Attributes:
        name: the view, or ``neighbourhood``.
        reason: what is missing, where it was searched, and what to do.
    """

    name: str
    reason: str


T = TypeVar("T")
Part = Surroundings | Batch | Missing
"""Where the sample lies, one view of it (a batch of one), or what could not be read."""


@dataclass(frozen=True)
class Preview:
    """One sample of a task.

    Attributes:
        task: name of the task.
        sample: id of the sample.
        facts: what is known of it, in a few words each, such as its class.
        um_per_px: micrometres a pixel of the images, or None where the task does not say.
        parts: the surroundings first where the dataset knows them, then the views in the order of the task.
    """

    task: str
    sample: str
    facts: tuple[str, ...]
    um_per_px: float | None
    parts: tuple[Part, ...]

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What could not be read."""
        return tuple(part for part in self.parts if isinstance(part, Missing))


def read_preview(task: BoundTask, context: DataContext, sample: str | None = None) -> Preview:
    """Open the data of a task and read one sample in each view, or in the one view asked for.

    Args:
        task: the task.
        context: where files are found.
        sample: id of the sample; by default the one in the middle of the ids.

    Raises:
        UnknownNameError: no sample of that id; the nearest are named.
        MissingDataError: the task cannot be opened, or no view can be read.
        DamagedFileError: a file is damaged, or the data hold no sample.
        PluginError: the reader fails otherwise, or delivers what it must not.
    """
    where = f"{task.spec.name}: reader {task.reader.name}"
    dataset = open_dataset(task, context)
    row = _find_row(task.spec.name, dataset.ids, sample)
    views: Sequence[str] = [task.view] if task.view else task.spec.input.views
    parts = [_read_view(where, dataset, view, row) for view in views]
    reasons = [part.reason for part in parts if isinstance(part, Missing)]
    if len(reasons) == len(parts):
        raise MissingDataError("\n".join(dict.fromkeys(reasons)))
    return Preview(
        task=task.spec.name,
        sample=dataset.ids[row],
        facts=_tell_class(dataset, row),
        um_per_px=task.spec.input.um_per_px,
        parts=(*_read_surroundings(where, dataset, row), *parts),
    )


def _guard(where: str, work: Callable[[], T]) -> T:
    """Run what a plugin does; what it does not explain itself is its failure."""
    try:
        return work()
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{where} failed: {type(error).__name__}: {error}") from error


def _find_row(task: str, ids: Sequence[str], sample: str | None) -> int:
    if not len(ids):
        raise DamagedFileError(f"{task}: the data hold no sample; download them again")
    if sample is None:
        return len(ids) // 2
    try:
        return list(ids).index(sample)
    except ValueError:
        raise UnknownNameError(
            "sample", sample, ids, f"{task} has {len(ids)} samples, from {ids[0]} to {ids[-1]}."
        ) from None


def _read_view(where: str, dataset: Dataset, view: str, row: int) -> Part:
    try:
        batch = _guard(where, lambda: dataset.read(view, row, row + 1))
    except MissingDataError as error:
        return Missing(view, str(error))
    check_batch(batch, where)
    return batch


def _read_surroundings(where: str, dataset: Dataset, row: int) -> list[Part]:
    if not isinstance(dataset, HasSurroundings):
        return []
    try:
        place = _guard(where, lambda: dataset.surroundings(row))
    except MissingDataError as error:
        return [Missing("neighbourhood", str(error))]
    if place is None:
        return []
    if not isinstance(place, Surroundings):
        raise PluginError(f"{where}: surroundings: expected harness.pictures.Surroundings, got {type(place).__name__}")
    return [place]


def _tell_class(dataset: Dataset, row: int) -> tuple[str, ...]:
    return (f"class {dataset.class_names[dataset.labels[row]]}",) if isinstance(dataset, HasClasses) else ()
