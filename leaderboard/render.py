"""Lay tables out: for a terminal, as Markdown, as LaTeX; and every delta of a leaderboard as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Literal

from harness.board import Cell, Delta, Leaderboard, Row

from .tables import LEGEND, make_tables
from .text_table import TextTable

_GAP = 2
_HEAD = 10
"""Headers are broken into lines of about this length."""
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$", "±": r"$\pm$", "†": r"\dag{}",
    "‡": r"\ddag{}", "…": r"\dots{}",
}  # fmt: skip
CSV_COLUMNS = (
    "model", "label", "family", "status", "task", "view", "stage", "spec_hash", "metric", "score", "fold_sd", "seed_sd",
    "n_undefined", "rank", "exposure", "paper", "table", "vs", "baseline", "baseline_view", "baseline_score", "abs",
    "rel", "gain", "share", "p", "p_holm", "verdict", "reason",
)  # fmt: skip


def render_text(board: Leaderboard, width: int) -> str:
    """Return the tables for a terminal of ``width`` columns; deltas that do not fit are named under each table."""
    parts = [_text(table, width) for table in make_tables(board)]
    return "\n\n".join([*parts, _fill(LEGEND, width)]) + "\n"


def render_markdown(board: Leaderboard) -> str:
    """Return the tables as Markdown."""
    return "\n\n".join([*map(_markdown, make_tables(board)), LEGEND]) + "\n"


def render_latex(board: Leaderboard) -> str:
    """Return the tables as LaTeX ``tabular`` environments with booktabs rules."""
    return "\n\n".join([*map(_latex, make_tables(board)), _escape(LEGEND)]) + "\n"


def render_csv(board: Leaderboard) -> str:
    """Return one line a delta (or a cell, where it has none), with all digits of the file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in board.rows:
        for cell in row.cells:
            writer.writerows(_csv_line(row, cell, delta) for delta in cell.deltas)
            if not cell.deltas:
                writer.writerow(_csv_line(row, cell, None))
    return out.getvalue()


FORMATS: dict[str, Callable[[Leaderboard], str]] = {
    "csv": render_csv,
    "md": render_markdown,
    "latex": render_latex,
}
"""Formats that know no width."""


def _text(table: TextTable, width: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = _fitting(table, width)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(table.header[:shown]):
        head = Text("\n".join(_head(name)))
        drawn.add_column(head, justify=_justify(table, index), vertical="bottom", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row[:shown]))
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False).print(drawn)
    body = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    notes = [note.text for note in table.notes if note.column < shown]
    if shown < len(table.header):
        notes.append(f"too wide for this terminal: {', '.join(table.header[shown:])} (see --format csv or md)")
    indented = (_fill(note, width, "  ") for note in notes)
    return "\n".join([_fill(table.title, width), body, *indented])


def _fill(text: str, width: int, indent: str = "") -> str:
    further = f"{indent}  " if indent else ""
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False, break_long_words=False
    )


def _justify(table: TextTable, index: int) -> Literal["left", "right"]:
    return "left" if index in table.left else "right"


def _head(name: str) -> list[str]:
    return textwrap.wrap(name, _HEAD, break_long_words=False)


def _fitting(table: TextTable, width: int) -> int:
    """Count the leading columns that fit side by side; the fixed ones always count."""
    used, count = 0, 0
    for index, name in enumerate(table.header):
        widest = max(map(len, [*_head(name), *(row[index] for row in table.rows)]), default=0)
        used += widest + (_GAP if index else 0)
        if used > width and index >= table.fixed:
            break
        count += 1
    return count


def _markdown(table: TextTable) -> str:
    rules = ["---" if index in table.left else "---:" for index in range(len(table.header))]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in (table.header, *table.rows)]
    lines.insert(1, "|" + "|".join(rules) + "|")
    notes = ["", *(f"- {note.text}" for note in table.notes)] if table.notes else []
    return "\n".join([f"**{table.title}**", "", *lines, *notes])


def _latex(table: TextTable) -> str:
    align = "".join("l" if index in table.left else "r" for index in range(len(table.header)))
    lines = [" & ".join(map(_escape, row)) + r" \\" for row in table.rows]
    head = " & ".join(map(_escape, table.header)) + r" \\"
    notes = [f"% {note.text}" for note in table.notes]
    body = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([f"% {table.title}", *body, *notes])


def _escape(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _csv_line(row: Row, cell: Cell, delta: Delta | None) -> Sequence[object]:
    source = (cell.source.paper, cell.source.table) if cell.source else (None, None)
    answer: list[object] = [
        row.model, row.label, row.family, row.status, cell.task, cell.view, cell.stage, cell.spec_hash, cell.metric,
        cell.score, cell.fold_sd, cell.seed_sd, cell.n_undefined, cell.rank, cell.exposure, *source,
    ]  # fmt: skip
    if delta is None:
        return [*answer, *([None] * (len(CSV_COLUMNS) - len(answer)))]
    reason = "; ".join(f"{field}: {why}" for field, why in delta.reasons.items())
    numbers = (delta.abs, delta.rel, delta.gain, delta.share, delta.p, delta.p_holm, delta.verdict)
    return [*answer, delta.vs, delta.model, delta.view, delta.value, *numbers, reason]
