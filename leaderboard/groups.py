"""Columns of groups: the plain mean of the task means, null where a task is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.board import Cell, Column, Delta

from .keys import model_string
from .panels import Entry, Panel, rank_cells

LAST = "last"
"""Stage of a group's cell: every task at the last stage of the model's card."""
_SEVERITY = ("clean", "undisclosed", "related", "exposed")


@dataclass(frozen=True)
class GroupCell:
    """The cell of one model and view in a group's column, and the tasks it lacks."""

    model: str
    cell: Cell
    missing: tuple[str, ...]


@dataclass(frozen=True)
class GroupPanel:
    """The column of a group, or why it has none."""

    column: Column | None
    cells: tuple[GroupCell, ...] = ()
    reason: str = ""


def make_groups(panels: Sequence[Panel]) -> dict[str, GroupPanel]:
    """Form the column of every group of tasks on the board, from the tasks that count in its mean.

    Coverage counts against the tasks that the results name as members of the group, and those on the board. A group
    has no column when one of its tasks is there with several specs, when headlines differ, or when only one task is
    there.
    """
    members: defaultdict[str, list[Panel]] = defaultdict(list)
    for panel in panels:
        tasks = [entry.result.task for entry in panel.own]
        if tasks and tasks[0].group is not None and tasks[0].in_group_mean:
            members[tasks[0].group].append(panel)
    return {name: _group(name, members[name]) for name in sorted(members)}


def _group(name: str, panels: Sequence[Panel]) -> GroupPanel:
    columns = [panel.column for panel in panels]
    tasks = [panel.own[0].result.task.name for panel in panels]
    several = sorted({task for task in tasks if tasks.count(task) > 1})
    if several:
        return GroupPanel(None, reason=f"several specs of {', '.join(several)}")
    if len({(column.primary, column.higher_is_better) for column in columns}) > 1:
        return GroupPanel(None, reason="the headlines of its tasks differ")
    if len(columns) == 1:
        return GroupPanel(None, reason=f"only {tasks[0]} is there")
    declared = {member for panel in panels for entry in panel.own for member in entry.result.task.group_members}
    column = Column(
        name=name,
        kind="group",
        primary=columns[0].primary,
        higher_is_better=columns[0].higher_is_better,
        chance=_mean([one.chance if isinstance(one.chance, float) else None for one in columns]),
        ceiling=_mean([one.ceiling for one in columns]),
        baselines=[one for one in columns[0].baselines if all(one in column.baselines for column in columns)],
        members=[*(one.name for one in columns), *sorted(declared - set(tasks))],
    )
    cells = _cells(column, panels)
    ranked = rank_cells([(True, one.cell) for one in cells], higher_is_better=column.higher_is_better)
    pairs = zip(cells, ranked, strict=True)
    return GroupPanel(column, tuple(GroupCell(one.model, cell, one.missing) for one, cell in pairs))


def _cells(column: Column, panels: Sequence[Panel]) -> list[GroupCell]:
    entries: defaultdict[tuple[str, str], dict[str, Entry]] = defaultdict(dict)
    for panel in panels:
        for entry in panel.own:
            if entry.result.is_last_stage:
                entries[model_string(entry.result), entry.cell.view][panel.column.name] = entry
    return [_cell(column, model, view, found) for (model, view), found in sorted(entries.items())]


def _cell(column: Column, model: str, view: str, found: dict[str, Entry]) -> GroupCell:
    present = [found[name].cell for name in column.members if name in found]
    scores = [cell.score for cell in present]
    missing = [name for name in column.members if name not in found or found[name].cell.score is None]
    complete = len(present) == len(column.members)
    cell = Cell(
        task=column.name,
        view=view,
        stage=LAST,
        metric=column.primary,
        score=_mean(scores) if complete else None,
        n_undefined=sum(one.n_undefined for one in present),
        deltas=_deltas(present) if complete else [],
        exposure=max((one.exposure for one in present), key=_severity),
    )
    return GroupCell(model, cell, tuple(missing))


def _deltas(cells: Sequence[Cell]) -> list[Delta]:
    """Average the deltas of the tasks, baseline by baseline, where every task has one."""
    by_name = [{delta.vs: delta for delta in cell.deltas} for cell in cells]
    shared = [vs for vs in by_name[0] if all(vs in deltas for deltas in by_name)]
    return [_delta(vs, [deltas[vs] for deltas in by_name]) for vs in shared]


def _delta(vs: str, deltas: Sequence[Delta]) -> Delta:
    reasons = {"rel": "per_task", "share": "per_task"}
    for name in ("abs", "gain"):
        lacking = [delta for delta in deltas if getattr(delta, name) is None]
        if lacking:
            reasons[name] = lacking[0].reasons.get(name, lacking[0].reasons.get("abs", "undefined"))
    models, views = {delta.model for delta in deltas}, {delta.view for delta in deltas}
    return Delta(
        vs=vs,
        model=deltas[0].model if len(models) == 1 else None,
        view=deltas[0].view if len(views) == 1 else None,
        value=_mean([delta.value for delta in deltas]),
        abs=_mean([delta.abs for delta in deltas]),
        gain=_mean([delta.gain for delta in deltas]),
        reasons=reasons,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _severity(exposure: str) -> int:
    return _SEVERITY.index(exposure) if exposure in _SEVERITY else len(_SEVERITY)
