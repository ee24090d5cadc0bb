"""``harness tasks show TASK --preview PATH``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from harness.types import DataContext


def write_preview(task: str, path: Path, sample: str | None, context: DataContext) -> None:
    """Draw one sample of a task in all its views, and print one line.

    Raises:
        UsageError: several tasks, or a kind of picture that is not known.
        CannotWriteError: before any work, the path cannot be written.
        UnknownNameError: no such task or sample.
        MissingDataError: none of the views can be read.
    """
    from harness.cli.display import Bars
    from harness.drawing import check_target
    from harness.errors import UsageError
    from harness.panels import draw_preview
    from harness.plugins import load_registry
    from harness.preview import read_preview
    from harness.selection import select_tasks

    check_target(path)
    bound = select_tasks(load_registry(), task)
    if len(bound) != 1:
        names = ", ".join(one.spec.name for one in bound)
        raise UsageError(f"--preview draws one task, {task!r} selects {len(bound)}: {names}")
    bars = Bars()
    preview = read_preview(bound[0], replace(context, progress=bars), sample)
    by_reason: dict[str, list[str]] = {}
    for missing in preview.missing:
        by_reason.setdefault(missing.reason, []).append(missing.name)
    for reason, views in by_reason.items():
        bars.warn(f"{', '.join(views)} not drawn: {reason}")
    draw_preview(preview, path)
    click.echo(f"wrote {path}: sample {preview.sample} of {preview.task}")
