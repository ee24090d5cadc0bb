"""Where pairings are run: one after another here, and the seam for other executors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from harness.errors import UnknownNameError

Job = TypeVar("Job")
Executor = Callable[[Callable[[Job], None], Sequence[Job]], None]


def run_local(work: Callable[[Job], None], jobs: Sequence[Job]) -> None:
    """Do the jobs one after another in this process."""
    for job in jobs:
        work(job)


EXECUTORS = ("local",)


def execute(work: Callable[[Job], None], jobs: Sequence[Job], executor: str) -> None:
    """Run every job with the executor of that name.

    Raises:
        UnknownNameError: no such executor.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS, f"Known: {', '.join(EXECUTORS)}.")
    run_local(work, jobs)
