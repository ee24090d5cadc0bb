"""What a person sees: progress bars on stderr, tables on stdout."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


class Bars:
    """Draws progress bars on stderr; quiet when stderr is no terminal. Warnings always show."""

    def __init__(self) -> None:
        """Find out whether anyone is looking."""
        self.console = Console(stderr=True)
        self._bar: Progress | None = None

    def start(self, title: str, total: int) -> None:
        """Open a bar."""
        if not sys.stderr.isatty():
            return
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._bar.start()
        self._bar.add_task(title, total=total)

    def advance(self, steps: int) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], steps)

    def finish(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def warn(self, message: str) -> None:
        """Print one warning on stderr."""
        if self._bar is not None:
            self.console.print(f"warning: {message}", markup=False, highlight=False)
        else:
            click.echo(f"warning: {message}", err=True)


def plain_table(*headers: str, title: str | None = None, right: tuple[int, ...] = ()) -> Table:
    """Return a table without vertical lines; columns in ``right`` are aligned right."""
    table = Table(title=title, box=None, header_style="bold", title_justify="left", title_style="bold", pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index in right else "left", overflow="fold")
    return table


def table_width() -> int:
    """Return the columns of the terminal; where there is none, those of the variable COLUMNS, or 120."""
    if sys.stdout.isatty():
        return Console().width
    wanted = os.environ.get("COLUMNS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else 120


def show(table: Table) -> None:
    """Print a table on stdout no wider than the terminal."""
    Console(file=sys.stdout, width=table_width(), highlight=False).print(table, markup=False)
