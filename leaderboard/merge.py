"""Results to a leaderboard: columns, cells with deltas and ranks, rows; the same bytes in any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.board import Cell, Column, Leaderboard, Row
from harness.errors import DamagedFileError

from .distinct import LeftOut, keep_distinct
from .groups import GroupPanel, make_groups
from .keys import model_string
from .opponents import UNTRAINED
from .panels import Entry, Panel, make_panels
from .read import LoadedResult

_Inference = dict[str, object]


def merge(loaded: Iterable[LoadedResult], *, prefer_newest: bool = False) -> Leaderboard:
    """Merge results into a leaderboard.

    Partial results are left out and listed in ``inference["left_out"]``. Reported numbers get rows of their own and
    take part in no delta, rank or mean. Intervals, p values and verdicts stay null.

    Args:
        loaded: results with their files, in any order.
        prefer_newest: of contradicting results keep the one created last.

    Raises:
        DamagedFileError: two results of one cell contradict each other, or a result names no spec.
    """
    distinct = keep_distinct(loaded, prefer_newest=prefer_newest)
    for item in distinct.kept:
        if item.result.status != "reported" and item.result.task.spec_hash is None:
            raise DamagedFileError(f"{item.where}: task.spec_hash: null, only reported numbers may lack it")
    panels = make_panels(item.result for item in distinct.kept)
    groups = make_groups(panels)
    inference = _inference(panels, groups, distinct.left_out) | {"prefer": "newest" if prefer_newest else None}
    return Leaderboard(tasks=_columns(panels, groups), rows=_rows(panels, groups), inference=inference)


@dataclass
class _Draft:
    """A row that is being filled."""

    entries: list[Entry] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)


def _columns(panels: Sequence[Panel], groups: Mapping[str, GroupPanel]) -> list[Column]:
    """Return groups first, then tasks, each sorted by name."""
    means = [group.column for group in groups.values() if group.column is not None]
    return [*means, *(panel.column for panel in panels)]


def _rows(panels: Sequence[Panel], groups: Mapping[str, GroupPanel]) -> list[Row]:
    drafts: defaultdict[tuple[str, Literal["ok", "reported"]], _Draft] = defaultdict(_Draft)
    for group in groups.values():
        for one in group.cells:
            drafts[one.model, "ok"].cells.append(one.cell)
    for panel in panels:
        for entry in panel.own:
            drafts[model_string(entry.result), "ok"].entries.append(entry)
        for entry in panel.reported:
            drafts[model_string(entry.result), "reported"].entries.append(entry)
    counted = {panel.column.name for panel in panels if any(entry.result.task.in_group_mean for entry in panel.own)}
    return [_row(model, status, draft, counted) for (model, status), draft in sorted(drafts.items(), key=_name)]


def _name(pair: tuple[tuple[str, str], _Draft]) -> tuple[str, str]:
    return pair[0]


def _row(model: str, status: Literal["ok", "reported"], draft: _Draft, counted: set[str]) -> Row:
    first = draft.entries[0].result.model
    gains = _gains([entry for entry in draft.entries if entry.cell.task in counted])
    return Row(
        model=model,
        label=first.label,
        family=first.family,
        training={entry.cell.task: entry.result.model.training for entry in draft.entries},
        status=status,
        cells=[*draft.cells, *(entry.cell for entry in draft.entries)],
        mean_gain=sum(gains.values()) / len(gains) if gains else None,
        coverage=len(gains) / len(counted) if counted else 0.0,
    )


def _gains(entries: Sequence[Entry]) -> dict[str, float]:
    """Return task -> gain over the untrained twin at the last stage, averaged over views."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for entry in entries:
        for delta in entry.cell.deltas:
            if delta.vs == UNTRAINED and delta.gain is not None and entry.result.is_last_stage:
                found[entry.cell.task].append(delta.gain)
    return {task: sum(gains) / len(gains) for task, gains in found.items()}


def _inference(panels: Sequence[Panel], groups: Mapping[str, GroupPanel], left_out: Sequence[LeftOut]) -> _Inference:
    return {
        "not_computed": ["ci95", "abs_ci95", "gain_ci95", "p", "p_holm", "verdict", "rank_ci95"],
        "left_out": [
            {
                "model": one.key.model,
                "task": one.key.column.task,
                "view": one.key.view,
                "stage": one.key.stage,
                "spec_hash": one.key.column.spec_hash or None,
                "reason": one.reason,
            }
            for one in left_out
        ],
        "share_clipped": [clipped for panel in panels for entry in panel.own for clipped in _clipped(entry)],
        "data_differ": [
            panel.column.name for panel in panels if len({entry.result.task.data_hash for entry in panel.own}) > 1
        ],
        "groups": {name: _coverage(group) for name, group in groups.items()},
    }


def _clipped(entry: Entry) -> list[_Inference]:
    where = {"model": model_string(entry.result), "task": entry.cell.task, "view": entry.cell.view}
    return [
        {**where, "stage": entry.cell.stage, "vs": one.delta.vs, "share": one.share_raw}
        for one in entry.comparisons
        if one.share_raw is not None and one.share_raw != one.delta.share
    ]


def _coverage(group: GroupPanel) -> _Inference:
    """Tell which cells of a group are null for want of a task, or why there is no column."""
    if group.column is None:
        return {"omitted": group.reason}
    total = len(group.column.members)
    incomplete = [
        {
            "model": one.model,
            "view": one.cell.view,
            "coverage": (total - len(one.missing)) / total,
            "missing": list(one.missing),
        }
        for one in group.cells
        if one.missing
    ]
    return {"members": group.column.members, "incomplete": incomplete}
