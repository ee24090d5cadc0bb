"""What stands under a table: why a delta is missing, who saw the data, which baseline was the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.board import Cell, Column, Delta

from .opponents import BEST_SHORTCUT, STRUCTURE_BEST

EXPOSURE_MARKS = {"exposed": "†", "related": "‡", "undisclosed": "?"}
_EXPOSURE = {
    "exposed": "trained on data of this task",
    "related": "trained on related data",
    "undisclosed": "training data undisclosed",
}
_REASONS = {
    "is_baseline": ("itself", "the model is this baseline"),
    "not_applicable": ("n/a", "there is no untrained twin of a model without training"),
    "not_run": ("not run", ""),
    "undefined": ("undef.", "a score is undefined"),
    "units_differ": ("units", "scored on different units; the file lists them"),
    "data_differ": ("data", "scored on different data"),
    "near_ceiling": ("ceiling", "the baseline is within 0.05 of the ceiling"),
    "no_ceiling": ("no ceiling", "the metric has no ceiling"),
    "chance_unknown": ("chance?", "the score at chance is not known"),
    "model_at_chance": ("chance", "the model is within 0.02 of chance"),
}
_COMMANDS = 3


@dataclass(frozen=True)
class Note:
    """One line under a table.

    Attributes:
        text: the line.
        column: first column it explains; where that column is not shown, the note is not needed.
    """

    text: str
    column: int = 0


class Footnotes:
    """Collects notes while a table is written; each is told once, in order of appearance.

    Attributes:
        column: the column that is being written.
    """

    def __init__(self) -> None:
        """Start without notes."""
        self.column = 0
        self._notes: dict[str, int] = {}
        self._commands: dict[str, int] = {}
        self._sources: list[str] = []

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes."""
        return tuple(Note(text, column) for text, column in self._notes.items())

    def add(self, text: str, column: int | None = None) -> None:
        """Add a note that explains the column being written, or another one."""
        here = self.column if column is None else column
        self._notes[text] = min(here, self._notes.get(text, here))

    def exposure(self, cell: Cell) -> str:
        """Return the mark of a model that may have seen the data of the task."""
        mark = EXPOSURE_MARKS.get(cell.exposure, "")
        if mark:
            self.add(f"{mark} {_EXPOSURE[cell.exposure]}")
        return mark

    def source(self, cell: Cell) -> str:
        """Return the mark of a number that was read in a paper."""
        if cell.source is None:
            return ""
        text = f"reported, not run here: {cell.source.paper}, {cell.source.table}"
        if text not in self._sources:
            self._sources.append(text)
        mark = f"[{self._sources.index(text) + 1}]"
        self.add(f"{mark} {text}")
        return mark

    def reason(self, delta: Delta, field: str) -> str:
        """Return a short word for a delta that could not be formed."""
        code, _, detail = delta.reasons.get(field, "undefined").partition(": ")
        word, meaning = _REASONS.get(code, (code, detail))
        if code == "not_run":
            self._commands[detail] = min(self.column, self._commands.get(detail, self.column))
        elif meaning:
            self.add(f"{word}: {meaning}")
        return word

    def close(self, column: Column, cells: Sequence[Cell], header: Sequence[str]) -> None:
        """Add the notes about the whole table."""
        if any(cell.fold_sd is not None for cell in cells):
            self.add("±: sd over folds (ddof 0)", 0)
        if any(cell.fold_sd is None and cell.seed_sd is not None for cell in cells):
            self.add("± … s: sd over seeds (ddof 1)", 0)
        undefined = sum(cell.n_undefined for cell in cells)
        if undefined:
            self.add(f"{undefined} undefined units were left out of these scores", 0)
        for name in (BEST_SHORTCUT, STRUCTURE_BEST):
            self._name_best(name, cells, header)
        if column.spec_hash and not column.data_hash:
            self.add("scored on different data: no ranks", 0)
        if column.kind == "group":
            self.add(f"tasks: {', '.join(column.members)}; incomplete where one is missing", 0)
            self._commands = {"see the tables of its tasks": min(self._commands.values())} if self._commands else {}
        for command, first in list(self._commands.items())[:_COMMANDS]:
            self.add(f"not run: {command}", first)
        if len(self._commands) > _COMMANDS:
            self.add(f"not run: {len(self._commands) - _COMMANDS} more commands stand in the file", 0)

    def _name_best(self, name: str, cells: Sequence[Cell], header: Sequence[str]) -> None:
        stood = [delta.model for cell in cells for delta in cell.deltas if delta.vs == name and delta.model]
        if stood:
            ordered = [model for model, _ in Counter(sorted(stood)).most_common()]
            against = f" ({', '.join(ordered[1:])} for the best one itself)" if len(ordered) > 1 else ""
            self.add(f"{name}: {ordered[0]}{against}", header.index(f"Δ {name}"))
