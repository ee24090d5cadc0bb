"""What a person sees: progress bars on stderr, tables on stdout."""

from __future__ import annotations

import os
import sys
from threading import get_ident

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


class Bars:
    """Draws progress bars on stderr, one under another; quiet when stderr is no terminal. Warnings always show."""

    def __init__(self) -> None:
        """Find out whether anyone is looking."""
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._open: list[tuple[int, TaskID]] = []  # thread and bar, innermost last

    def start(self, title: str, total: int) -> None:
        """Open a bar, which belongs to the thread that opened it."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
        self._open.append((get_ident(), self._bar.add_task(title, total=total)))

    def advance(self, steps: int) -> None:
        """Move on the innermost bar of this thread, or the innermost of all."""
        if self._bar is not None:
            self._bar.advance(self._open[self._find()][1], steps)

    def finish(self) -> None:
        """Close the innermost bar of this thread, or the innermost of all."""
        if self._bar is None:
            return
        self._bar.remove_task(self._open.pop(self._find())[1])
        if not self._open:
            self._bar.stop()
            self._bar = None

    def _find(self) -> int:
        own = [place for place, (thread, _) in enumerate(self._open) if thread == get_ident()]
        return own[-1] if own else -1

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
