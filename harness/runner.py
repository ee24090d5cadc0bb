"""The one place where all parts meet: models and tasks in, results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.baselines import with_baselines
from harness.costs import costly_twins
from harness.errors import HarnessError, MismatchError, UsageError
from harness.evaluation import evaluate_pairing, open_dataset
from harness.execution import execute
from harness.match import Mismatch, Pairing, match
from harness.modelstring import ModelRequest, parse_models
from harness.options import RunOptions
from harness.placing import place_model
from harness.plugins import Registry, load_registry
from harness.progress import Silent
from harness.results import Result
from harness.selection import select_model, select_tasks
from harness.training import train_pairing
from harness.trainjob import Trained
from harness.types import Dataset, Progress
from harness.writing import write_outcome


@dataclass
class RunReport:
    """What became of everything that was asked for.

    Attributes:
        results: results in the order they were made.
        paths: where each lies; None if files were not wanted.
        mismatches: what did not fit, and why.
        failures: what failed, and how.
        shares: what was embedded in part, under ``share``.
    """

    results: list[Result] = field(default_factory=list)
    paths: list[Path | None] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    failures: list[tuple[str, HarnessError]] = field(default_factory=list)
    shares: list[str] = field(default_factory=list)


def evaluate(
    model: str,
    task: str | Path,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
    **options: object,
) -> list[Result]:
    """Evaluate models on tasks; the same path as ``harness eval``.

    Args:
        model: one model string, or several separated by commas.
        task: a task name, glob, group, tag, or the path of a YAML file; several separated by commas.
        registry: plugins; by default all that are installed.
        progress: where progress is told; by default nowhere.
        **options: fields of :class:`harness.options.RunOptions`, such as ``data_dirs`` or ``output=None``.

    Returns:
        One result a task, view, model and stage, baselines included.

    Raises:
        HarnessError: the first failure, after everything else has run.
    """
    known = RunOptions.__dataclass_fields__
    for name in options:
        if name not in known:
            raise UsageError(f"evaluate: unknown option {name!r}; known: {', '.join(known)}")
    chosen = RunOptions(**options)  # type: ignore[arg-type]  # names checked above
    report = run(parse_models(model), str(task), chosen, registry=registry, progress=progress)
    if report.failures:
        raise report.failures[0][1]
    return report.results


def run(
    models: Sequence[ModelRequest],
    tasks: str,
    options: RunOptions,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
    done: Callable[[Result], None] | None = None,
) -> RunReport:
    """Run every model on every task it fits, baselines beside them; a failure of one does not stop the rest.

    Args:
        models: models asked for.
        tasks: tasks asked for, separated by commas.
        options: everything else.
        registry: plugins; by default all that are installed.
        progress: where progress is told.
        done: called with every result as soon as it is known and written.

    Raises:
        UnknownNameError, UsageError: before anything runs.
        MismatchError: no model fits any task, with all reasons.
    """
    registry, progress = registry or load_registry(), progress or Silent()
    report, context = RunReport(), replace(options.data_context, progress=progress)
    pairings = with_baselines(registry, _pair(registry, models, tasks, options, report), options)
    for costly in costly_twins([pairing.model for pairing in pairings], tuple(options.seeds)):
        progress.warn(costly)
    opened: dict[tuple[str, str], Dataset] = {}

    def work(pairing: Pairing) -> None:
        title = f"{pairing.model.request} on {pairing.task.spec.name}@{pairing.view}"
        try:
            key = (pairing.task.spec_hash, pairing.view)  # a view of its own: what one finds odd is not another's
            if key not in opened:
                for old in [known for known in opened if known[0] != key[0]]:
                    del opened[old]  # tasks come one after another: those of one are enough
                opened[key] = open_dataset(pairing.task, context)
            dataset = opened[key]
            for outcome in evaluate_pairing(registry, pairing, dataset, options, progress):
                path = write_outcome(outcome, options.output, pairing) if options.output is not None else None
                report.results.append(outcome.result)
                report.paths.append(path)
                if done is not None:
                    done(outcome.result)
        except HarnessError as error:
            report.failures.append((title, error))
            return
        if options.share is not None:
            report.shares.append(title)

    execute(work, pairings, options.executor)
    return report


def train(
    models: Sequence[ModelRequest],
    task: str,
    options: RunOptions,
    *,
    file: Path | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train one model on one task that trains, from the initialisation of one seed.

    Args:
        models: the model, alone.
        task: the task, or NAME@VIEW.
        options: device, dtype, data; the first of ``seeds`` is used.
        file: the checkpoint; by default in the cache, where an evaluation finds it.
        registry: plugins; by default all that are installed.
        progress: where progress is told.

    Raises:
        UsageError: more than one model, task or view is meant, or the task trains nothing.
        MismatchError: the model does not fit the task.
    """
    registry, progress = registry or load_registry(), progress or Silent()
    pairings = _pair(registry, models, task, options, RunReport())
    if len(pairings) > 1:
        meant = ", ".join(f"{one.model.request} on {one.task.spec.name}@{one.view}" for one in pairings)
        raise UsageError(f"one training at a time; meant are {meant}. Name one model, and one view as TASK@VIEW")
    (pairing,) = pairings
    if not pairing.trains:
        raise UsageError(
            f"{pairing.model.request} on {pairing.task.spec.name}: nothing is trained here (protocol "
            f"{pairing.task.protocol.name}, model of the family {pairing.model.card.family}); tasks that train are "
            "synthetic-gnn and synthetic-scratch"
        )
    context = place_model(registry, pairing.model, pairing.view, pairing.task.spec.input, options)
    context = replace(context, seed=options.seeds[0])
    dataset = open_dataset(pairing.task, replace(options.data_context, progress=progress))
    return train_pairing(registry, pairing, dataset, context, options=options, progress=progress, file=file)


def _pair(
    registry: Registry, models: Sequence[ModelRequest], tasks: str, options: RunOptions, report: RunReport
) -> list[Pairing]:
    bound = select_tasks(registry, tasks, options.changes)
    asked = [select_model(registry, request, options.data_context) for request in models]
    pairings: list[Pairing] = []
    for task in bound:
        for model in asked:
            for outcome in match(task, model, options.stages):
                if isinstance(outcome, Pairing):
                    pairings.append(outcome)
                else:
                    report.mismatches.append(outcome)
    if not pairings:
        reasons = "\n".join(f"  {mismatch}" for mismatch in report.mismatches)
        raise MismatchError(f"no model fits any task:\n{reasons}")
    return pairings
