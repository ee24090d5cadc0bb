"""A table of text, ready to be laid out, and how one score is written."""

from __future__ import annotations

from dataclasses import dataclass

from harness.board import Cell, Column, Row

from .footnotes import Note


@dataclass(frozen=True)
class TextTable:
    """A table ready to be laid out.

    Attributes:
        title: one line above it.
        header: one word or two a column.
        rows: cells as text; each row as long as the header.
        notes: lines below it.
        left: columns aligned left; the others are numbers.
        fixed: so many leading columns are always shown; later ones are left out where a line is too short.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[Note, ...] = ()
    left: frozenset[int] = frozenset()
    fixed: int = 1


def format_score(cell: Cell, column: Column) -> str:
    """Return score ± standard deviation: over folds, else over seeds and marked ``s``, else none."""
    if cell.score is None:
        return say_lacking(column)
    if cell.fold_sd is not None:
        return f"{cell.score:.3f} ± {cell.fold_sd:.3f}"
    return f"{cell.score:.3f}" + ("" if cell.seed_sd is None else f" ± {cell.seed_sd:.3f} s")


def say_lacking(column: Column) -> str:
    """Say why a cell has no score."""
    return "incomplete" if column.kind == "group" else "undefined"


def stands_for_row(cell: Cell, row: Row) -> bool:
    """Whether a cell stands for its row: every cell but those of stages that are not the model's last."""
    if cell.rank is not None or row.status == "reported":
        return True
    rivals = [one for one in row.cells if (one.task, one.view) == (cell.task, cell.view)]
    return cell.score is None and len(rivals) == 1
