"""``harness tasks plan TASK``: bytes and hours, before anything is read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import Change, data_dir_option

if TYPE_CHECKING:
    from harness.planning import Pace, TaskPlan
    from harness.plans import PlanRow


@click.command("plan", epilog="Example:  harness tasks plan jump --mbit 500 --images-per-second 60")
@click.argument("task")
@data_dir_option(" that are at hand already")
@click.option("--mbit", type=click.FloatRange(min=0, min_open=True), default=100.0, show_default=True,
              help="Bandwidth in megabits a second.")  # fmt: skip
@click.option("--images-per-second", type=click.FloatRange(min=0, min_open=True),
              help="Speed of the model; without it hours are those of the download.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="About so many samples only.")
@click.option("--set", "changes", multiple=True, type=Change(), help="protocol.params.KEY=VALUE.")
@click.option("--offline", is_flag=True, help="No network: sizes are assumed where files are not at hand.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a task.")
def plan_command(
    task: str,
    data_dirs: tuple[Path, ...],
    *,
    mbit: float,
    images_per_second: float | None,
    limit: int | None,
    changes: tuple[tuple[str, str], ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Tell what a task needs before anything is read: samples, files, bytes and hours, fold by fold."""
    from dataclasses import replace

    from harness.cli.display import Bars
    from harness.options import RunOptions
    from harness.planning import Pace, plan_task
    from harness.plugins import load_registry
    from harness.selection import select_tasks

    options = RunOptions(data_dirs=tuple(data_dirs), offline=offline, limit=limit)
    context, pace = replace(options.data_context, progress=Bars()), Pace(mbit, images_per_second)
    for bound in select_tasks(load_registry(), task, dict(changes)):
        found = plan_task(bound, context)
        if as_json:
            _print_json(found, pace)
        else:
            _print(found, pace)


def _print(found: TaskPlan, pace: Pace) -> None:
    from harness.cli.display import plain_table, show

    plan = found.plan
    if plan is None:
        click.echo(
            f"{found.task}: {found.n_samples:,} samples; its reader does not tell bytes, files are read as they are"
        )
        return
    table = plain_table(
        "part", "samples", "files", "size", "to fetch", "hours", title=found.task, right=(1, 2, 3, 4, 5)
    )
    for row in (*plan.rows, *([plan.total] if len(plan.rows) > 1 else [])):
        table.add_row(
            row.title, f"{row.samples:,}", f"{row.files:,}", _size(row.size), _size(row.to_fetch),
            _hours(pace.hours(row)),
        )  # fmt: skip
    show(table)
    speed = f"a model of {pace.samples_per_second:g} images a second" if pace.samples_per_second else "no model"
    for sentence in (*plan.basis, f"hours: {pace.mbit:g} Mbit/s and {speed}, whichever is slower"):
        click.echo(f"- {sentence}")


def _print_json(found: TaskPlan, pace: Pace) -> None:
    from harness.hashing import canonical_json

    def tell(row: PlanRow) -> dict[str, object]:
        return {**asdict(row), "hours": pace.hours(row)}

    plan = found.plan
    parts = None if plan is None else {
        "parts": [tell(row) for row in plan.rows], "all": tell(plan.total), "basis": list(plan.basis),
    }  # fmt: skip
    click.echo(canonical_json({"task": found.task, "n_samples": found.n_samples, "plan": parts}))


def _size(size: int) -> str:
    for unit, each in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= each:
            return f"{size / each:.3g} {unit}" if size < 999.5 * each else f"{size / each:.0f} {unit}"
    return f"{size} B"


def _hours(hours: float) -> str:
    return "0" if hours == 0 else "< 0.1" if hours < 0.1 else f"{hours:,.1f}"
