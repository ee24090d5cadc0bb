"""A leaderboard as tables of text: one over all columns, and one a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.board import Cell, Column, Delta, Leaderboard, Row
from harness.modelstring import short_names

from .footnotes import Footnotes
from .opponents import BEST_SHORTCUT, UNTRAINED
from .overview import make_overview
from .text_table import TextTable, format_score, stands_for_row

LEGEND = (
    "Δ: model minus baseline, turned so that higher is better. gain: Δ over what the untrained twin leaves to the "
    "ceiling. share: how much of the score above chance the best shortcut reaches. No intervals yet: a small Δ may "
    "be noise."
)


def make_tables(board: Leaderboard) -> list[TextTable]:
    """Return the table over all columns (where there are several), then one a column."""
    several = [make_overview(board)] if len(board.tasks) > 1 else []
    return [*several, *(_column_table(board, column) for column in board.tasks)]


@dataclass(frozen=True)
class _Line:
    """One row of a column's table."""

    model: str
    row: Row
    cell: Cell


def _column_table(board: Leaderboard, column: Column) -> TextTable:
    rows = [row for row in board.rows if any(cell.task == column.name for cell in row.cells)]
    models = short_names(row.model for row in rows)
    lines = [_Line(models[row.model], row, cell) for row in rows for cell in row.cells if cell.task == column.name]
    lines.sort(key=lambda line: _order(line, column))
    views = sorted({line.cell.view for line in lines})
    names = list(dict.fromkeys(delta.vs for line in lines for delta in line.cell.deltas))
    shown = [pair for pair in _numbers(names) if column.kind == "task" or pair[1] in ("abs", "gain")]
    head = ["#", "model", "score", *(["view"] if len(views) > 1 else [])]
    header = (*head, *(f"Δ {vs}" if field == "abs" else field for vs, field in shown))
    notes = Footnotes()
    table = tuple(_cells(line, column, shown, notes, with_view=len(views) > 1) for line in lines)
    notes.close(column, [line.cell for line in lines], header)
    return TextTable(
        _title(column, views), header, table, notes.notes, frozenset({1, 2, 3} & {*range(len(head))}), len(head)
    )


def _numbers(names: Sequence[str]) -> list[tuple[str, str]]:
    """Order the (baseline, field) columns: what matters most stands where even a short line shows it."""
    first = [(UNTRAINED, "abs"), (BEST_SHORTCUT, "abs"), (UNTRAINED, "gain"), (BEST_SHORTCUT, "share")]
    others = [(name, "abs") for name in names if name not in (UNTRAINED, BEST_SHORTCUT)]
    return [*(pair for pair in first if pair[0] in names), *others]


def _cells(
    line: _Line, column: Column, shown: Sequence[tuple[str, str]], notes: Footnotes, *, with_view: bool
) -> tuple[str, ...]:
    row, cell = line.row, line.cell
    notes.column = 0
    name = line.model if stands_for_row(cell, row) else f"{line.model}@{cell.stage}"
    name += " " + notes.exposure(cell) + notes.source(cell)
    head = [
        "" if cell.rank is None else str(cell.rank),
        name.strip(),
        format_score(cell, column),
        *([cell.view] if with_view else []),
    ]
    deltas = {delta.vs: delta for delta in cell.deltas}
    numbers = []
    for index, (vs, field) in enumerate(shown):
        notes.column = len(head) + index
        numbers.append(_number(deltas.get(vs), field, notes))
    return (*head, *numbers)


def _number(delta: Delta | None, field: str, notes: Footnotes) -> str:
    if delta is None:
        return ""
    value = getattr(delta, field)
    if value is not None:
        return f"{value:.2f}" if field == "share" else f"{value:+.3f}"
    if field != "abs" and delta.abs is None:
        return ""  # the reason stands beside it already
    return notes.reason(delta, field)


def _title(column: Column, views: Sequence[str]) -> str:
    facts = [f"{column.primary}, {'higher' if column.higher_is_better else 'lower'} is better"]
    if column.chance is not None:
        facts.append(f"chance {column.chance if isinstance(column.chance, str) else f'{column.chance:.3g}'}")
    if column.ceiling is not None:
        facts.append(f"ceiling {column.ceiling:g}")
    if column.kind == "group":
        facts.append(f"mean over {len(column.members)} tasks")
    elif len(views) == 1:
        facts.append(f"view {views[0]}")
    return f"{column.name}: {', '.join(facts)}"


def _order(line: _Line, column: Column) -> tuple[bool, bool, float, str, str]:
    cell = line.cell
    worth = 0.0 if cell.score is None else -cell.score if column.higher_is_better else cell.score
    return line.row.status == "reported", cell.score is None, worth, line.row.model, cell.view
