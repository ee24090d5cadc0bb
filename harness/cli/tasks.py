"""``harness tasks``: list, show, plan, validate and start tasks."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import data_dir_option
from harness.cli.plan import plan_command

_STARTER = """\
# A task of your own. `harness tasks validate {name}.yaml` checks it; `harness eval --tasks {name}.yaml …` runs it.
include: {base}
name: {name}
title: {name}
version: 1
description: >
  What is asked, on which data, and what a score does not show.
# Below, write only what differs from {base}. `harness tasks show {base}` prints all keys in force.
"""


@click.group()
def tasks() -> None:
    """List, show, plan, validate and start tasks."""


tasks.add_command(plan_command)


@tasks.command("ls", epilog="Example:  harness tasks ls --tag cell-culture")
@click.option("--tag", help="Only tasks with this tag or group.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_tasks(tag: str | None, *, as_json: bool) -> None:
    """List the tasks that are installed."""
    from harness.cli.display import plain_table, show
    from harness.hashing import canonical_json
    from harness.plugins import load_registry
    from harness.specs import load_spec

    registry = load_registry()
    table = plain_table("task", "group", "views", "headline", "baselines", "from")
    for name in sorted(registry.specs):
        spec = load_spec(registry.specs[name], registry.spec_path)
        if tag and tag not in (*spec.tags, spec.group):
            continue
        origin = registry.origin("task", name)
        if as_json:
            click.echo(canonical_json(spec.model_dump(mode="json")))
            continue
        views, baselines = " ".join(spec.input.views), " ".join(spec.baselines)
        table.add_row(name, spec.group or "", views, spec.primary.name, baselines, str(origin))
    if not as_json:
        show(table)


@tasks.command(
    "show",
    epilog="Examples:  harness tasks show synthetic-mini"
    "   |   harness tasks show synthetic-mini --preview sample.png --sample test/07/0003",
)
@click.argument("task")
@click.option("--json", "as_json", is_flag=True, help="The spec with all parameters, as JSON.")
@click.option(
    "--preview",
    type=click.Path(path_type=Path),
    help="Draw one sample in all views instead; .png, .pdf or .svg.",
)
@click.option("--sample", help="Id of the sample to draw  [default: the middle one].")
@data_dir_option(" for --preview")
@click.option("--offline", is_flag=True, help="No network.")
def show_task(
    task: str, preview: Path | None, sample: str | None, data_dirs: tuple[Path, ...], *, as_json: bool, offline: bool
) -> None:
    """Show a task: what it asks, all parameters in force, its warnings and licence; or one sample of it."""
    from harness.cli.preview import write_preview
    from harness.errors import UsageError
    from harness.options import RunOptions

    if preview is None:
        if sample is not None:
            raise UsageError("--sample chooses what --preview PATH draws; give both")
        _print_specs(task, as_json=as_json)
    elif as_json:
        raise UsageError("--preview draws a picture and --json prints the spec; give one of them")
    else:
        write_preview(task, preview, sample, RunOptions(data_dirs=tuple(data_dirs), offline=offline).data_context)


def _print_specs(task: str, *, as_json: bool) -> None:
    import yaml

    from harness.plugins import load_registry
    from harness.results import to_json
    from harness.selection import select_tasks

    registry = load_registry()
    for bound in select_tasks(registry, task):
        value = bound.spec.model_dump(mode="json", exclude_none=True)
        value["protocol"]["params"] = {
            **bound.reader_params.model_dump(mode="json"),
            **bound.protocol_params.model_dump(mode="json"),
        }
        value["spec_hash"] = bound.spec_hash
        click.echo(to_json(value) if as_json else yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))


@tasks.command("validate", epilog="Example:  harness tasks validate mytask.yaml")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate(files: tuple[Path, ...]) -> None:
    """Check task files: keys, values, parameters of reader and protocol; every error names file and line."""
    from harness.errors import HarnessError
    from harness.plugins import load_registry
    from harness.selection import select_tasks

    registry = load_registry()
    failed: HarnessError | None = None
    for file in files:
        try:
            (bound,) = select_tasks(registry, str(file))
            click.echo(f"{file}: valid: {bound.spec.name}, spec_hash {bound.spec_hash[:8]}")
        except HarnessError as error:
            click.echo(f"error: {error}", err=True)
            failed = failed or error
    if failed is not None:
        raise click.exceptions.Exit(failed.exit_code)


@tasks.command("new", epilog="Example:  harness tasks new my-screen --like synthetic-mini")
@click.argument("name")
@click.option("--like", "base", default="synthetic-mini", show_default=True, help="The shipped task to start from.")
def new_task(name: str, base: str) -> None:
    """Write NAME.yaml, a task that starts from a shipped one."""
    from harness.cli.files import write_new
    from harness.plugins import load_registry

    load_registry().spec_path(base)
    path = write_new(Path(f"{name}.yaml"), _STARTER.format(name=name, base=base))
    click.echo(f"wrote {path}; edit it, then: harness tasks validate {path}")
