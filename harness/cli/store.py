"""``harness store``: list, verify and clean the embedding store."""

from __future__ import annotations

from pathlib import Path

import click

_STORE = click.option("--store", "root", default="", help="Folder or URL  [default: the user's cache].")


@click.group()
def store() -> None:
    """List, verify and clean the embedding store."""


@store.command("ls", epilog="Example:  harness store ls")
@_STORE
def list_entries(root: str) -> None:
    """List what is stored."""
    from harness.cli.display import plain_table, show
    from harness.options import RunOptions
    from harness.store import Store

    table = plain_table("entry", "what", "stage", "samples", "dim", "dtype", "MB", right=(3, 4, 6))
    total = 0
    for entry in Store(RunOptions(store=root).store_root).entries():
        facts, manifest, size = entry.facts() or {}, entry.manifest(), entry.size()
        total += size
        done = str(manifest["n_samples"]) if manifest else f"{len(entry.shards())} shards of {facts.get('n_samples')}"
        dim = str(manifest["dim"]) if manifest else ""
        row = (entry.key[:12], str(facts.get("title", "?")), str(facts.get("stage", "?")), done, dim)
        table.add_row(*row, str(facts.get("dtype", "?")), f"{size / 1e6:.1f}")
    show(table)
    click.echo(f"{total / 1e6:.1f} MB in {RunOptions(store=root).store_root}")


@store.command("verify", epilog="Example:  harness store verify --data --data-dir mirror --tasks hest")
@_STORE
@click.option("--data", "with_data", is_flag=True, help="Hash the data files of --tasks again too.")
@click.option("--tasks", help="With --data: the tasks whose files are hashed.")
@click.option("--data-dir", "data_dirs", multiple=True, type=click.Path(path_type=Path, file_okay=False))
def verify(root: str, tasks: str | None, data_dirs: tuple[Path, ...], *, with_data: bool) -> None:
    """Check every shard against its checksum; damaged ones are named (exit 7)."""
    from harness.errors import UsageError
    from harness.maintenance import forget_file_hashes, verify_store
    from harness.options import RunOptions
    from harness.plugins import load_registry
    from harness.selection import select_tasks
    from harness.store import Store

    if with_data:
        if not tasks:
            raise UsageError("--data needs --tasks: the tasks whose files are to be hashed again")
        options = RunOptions(data_dirs=tuple(data_dirs), offline=True)
        forget_file_hashes()
        for task in select_tasks(load_registry(), tasks):
            dataset = task.reader.open(task.spec, task.source, task.reader_params, options.data_context)
            click.echo(f"{task.spec.name}: data_hash {dataset.data_hash}")
    checked, damaged = verify_store(Store(RunOptions(store=root).store_root))
    for problem in damaged:
        click.echo(f"damaged: {problem}", err=True)
    click.echo(f"{checked} shards checked, {len(damaged)} damaged")
    if damaged:
        click.echo("`harness eval` computes damaged shards again when it next needs them", err=True)
        raise click.exceptions.Exit(7)


@store.command("gc", epilog="Example:  harness store gc --unused-days 90 --dry-run")
@_STORE
@click.option("--unused-days", type=click.IntRange(min=0), help="Also delete entries not written for so many days.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def collect(root: str, unused_days: int | None, *, dry_run: bool) -> None:
    """Delete what killed runs left half-written and, if asked, old entries."""
    from harness.maintenance import collect_garbage
    from harness.options import RunOptions
    from harness.store import Store

    verb = "would delete" if dry_run else "deleted"
    freed = 0
    for what, size in collect_garbage(Store(RunOptions(store=root).store_root), unused_days, dry_run=dry_run):
        freed += size
        click.echo(f"{verb} {what}")
    click.echo(f"{verb} {freed / 1e6:.1f} MB")
