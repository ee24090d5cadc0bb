"""The table over all columns of a leaderboard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from harness.board import Cell, Column, Leaderboard, Row
from harness.modelstring import short_names

from .footnotes import Footnotes
from .text_table import TextTable, say_lacking, stands_for_row


def make_overview(board: Leaderboard) -> TextTable:
    """Models against columns: last-stage scores, ordered by the mean gain over the untrained twin."""
    notes = Footnotes()
    several = len({cell.view for row in board.rows for cell in row.cells}) > 1
    models = short_names(row.model for row in board.rows)
    rows = [
        line
        for row in sorted(board.rows, key=_standing)
        for line in _overview_lines(row, models[row.model], board, notes, several)
    ]
    header = (
        "model",
        *(["view"] if several else []),
        "mean gain",
        "of tasks",
        *(column.name for column in board.tasks),
    )
    notes.add("mean gain: over the untrained twin, averaged over the share of tasks beside it (views first)", 0)
    title = "All tasks: scores at the last stage, models ordered by mean gain"
    return TextTable(title, header, tuple(rows), notes.notes, frozenset({0, 1} if several else {0}), 3 + several)


def _overview_lines(
    row: Row, model: str, board: Leaderboard, notes: Footnotes, several: bool
) -> Iterator[tuple[str, ...]]:
    lines: defaultdict[tuple[str, ...], dict[str, Cell]] = defaultdict(dict)
    for cell in row.cells:
        if stands_for_row(cell, row):
            source = (cell.source.paper, cell.source.table) if cell.source else ()
            lines[cell.view, *source][cell.task] = cell
    for index, ((view, *_), cells) in enumerate(sorted(lines.items(), key=lambda item: item[0])):
        gain = "" if row.mean_gain is None or index else f"{row.mean_gain:+.3f}"
        head = [model, *([view] if several else []), gain, f"{row.coverage:.0%}" if gain else ""]
        scores = []
        for at, column in enumerate(board.tasks):
            notes.column = len(head) + at
            scores.append(_overview_score(cells.get(column.name), column, notes))
        yield (*head, *scores)


def _overview_score(cell: Cell | None, column: Column, notes: Footnotes) -> str:
    if cell is None:
        return ""
    if cell.score is None:
        return say_lacking(column)
    return f"{notes.source(cell)}{notes.exposure(cell)} {cell.score:.3f}".strip()


def _standing(row: Row) -> tuple[bool, bool, float, float, str]:
    ranks = [cell.rank for cell in row.cells if cell.rank is not None]
    mean_rank = sum(ranks) / len(ranks) if ranks else float("inf")
    return row.status == "reported", row.mean_gain is None, -(row.mean_gain or 0.0), mean_rank, row.model
