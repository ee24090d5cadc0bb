"""What a task needs in bytes and hours: ``harness tasks plan``."""

from __future__ import annotations

from dataclasses import dataclass

from harness.binding import BoundTask
from harness.errors import HarnessError, PluginError
from harness.evaluation import open_dataset
from harness.plans import Plan, Planned, PlanRow
from harness.types import DataContext


@dataclass(frozen=True)
class Pace:
    """How fast things go.

    Attributes:
        mbit: bandwidth, in megabits a second.
        samples_per_second: speed of the model; None where it is not known.
    """

    mbit: float = 100
    samples_per_second: float | None = None

    def hours(self, row: PlanRow) -> float:
        """Return the hours a part takes: its download or the model, whichever is slower, because both go together."""
        fetching = row.to_fetch * 8 / (self.mbit * 1e6)
        embedding = row.samples / self.samples_per_second if self.samples_per_second else 0.0
        return max(fetching, embedding) / 3600


@dataclass(frozen=True)
class TaskPlan:
    """What a task needs.

    Attributes:
        task: name of the task.
        n_samples: samples of the opened data.
        plan: parts with their bytes; None where the reader does not tell.
    """

    task: str
    n_samples: int
    plan: Plan | None


def plan_task(task: BoundTask, context: DataContext) -> TaskPlan:
    """Open the data of a task and ask what it will read; no sample is read.

    Raises:
        MissingDataError, DamagedFileError: as the reader finds.
        PluginError: the reader fails otherwise, or its plan is none.
    """
    dataset = open_dataset(task, context)
    if not isinstance(dataset, Planned):
        return TaskPlan(task.spec.name, len(dataset.ids), None)
    where = f"{task.spec.name}: reader {task.reader.name}: plan"
    try:
        plan = dataset.plan()
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{where} failed: {type(error).__name__}: {error}") from error
    if not isinstance(plan, Plan):
        raise PluginError(f"{where}: expected harness.plans.Plan, got {type(plan).__name__}")
    return TaskPlan(task.spec.name, len(dataset.ids), plan)
