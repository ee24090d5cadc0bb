"""One result a cell: equal copies are dropped, contradicting ones refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import DamagedFileError
from harness.hashing import canonical_json

from .keys import CellKey, cell_key
from .read import LoadedResult


@dataclass(frozen=True)
class LeftOut:
    """A result that the leaderboard does not show, and why."""

    key: CellKey
    reason: str


@dataclass(frozen=True)
class Distinct:
    """The results that stand, sorted, and those that were left out."""

    kept: list[LoadedResult]
    left_out: list[LeftOut]


def keep_distinct(loaded: Iterable[LoadedResult], *, prefer_newest: bool = False) -> Distinct:
    """Keep one whole result a cell.

    Partial results are left out. Results that differ in their provenance only are equal.

    Args:
        loaded: results with their files.
        prefer_newest: of contradicting results keep the one created last.

    Raises:
        DamagedFileError: two results of one cell differ (and neither is newer, where that decides).
    """
    by_cell: defaultdict[CellKey, list[LoadedResult]] = defaultdict(list)
    left_out: set[tuple[CellKey, str]] = set()
    for item in loaded:
        if item.result.status == "partial":
            left_out.add((cell_key(item.result), "partial"))
        else:
            by_cell[cell_key(item.result)].append(item)
    kept: list[LoadedResult] = []
    for key, items in sorted(by_cell.items()):
        chosen = sorted(items, key=_age)
        if len({_content(item) for item in items}) > 1:
            _refuse_contradiction(chosen, prefer_newest=prefer_newest)
            left_out.add((key, "older"))
        kept.append(chosen[-1])
    return Distinct(kept, [LeftOut(*pair) for pair in sorted(left_out)])


def _age(item: LoadedResult) -> tuple[str, str]:
    return _created(item), canonical_json(item.result.model_dump(mode="json"))


def _created(item: LoadedResult) -> str:
    return item.result.provenance.created if item.result.provenance else ""


def _content(item: LoadedResult) -> str:
    return canonical_json(_comparable(item))


def _comparable(item: LoadedResult) -> dict[str, Any]:
    content = item.result.model_dump(mode="json", exclude={"provenance"})
    if content["units_file"]:  # its name follows the name of the result
        content["units_file"] = content["units_file"]["sha256"]
    return content


def _refuse_contradiction(items: Sequence[LoadedResult], *, prefer_newest: bool) -> None:
    newest = items[-1]
    other = next(item for item in reversed(items) if _content(item) != _content(newest))
    if prefer_newest and _created(other) != _created(newest):
        return
    mine, theirs = _comparable(newest), _comparable(other)
    differs = ", ".join(sorted(name for name in mine if mine[name] != theirs[name]))
    values = f"{newest.result.task.primary} {newest.result.headline.value} and {other.result.headline.value}"
    advice = (
        "both were created at the same time: remove one" if prefer_newest else "remove one, or merge --prefer newest"
    )
    raise DamagedFileError(
        f"{newest.where} and {other.where}: two results of one model, task, view and stage that differ "
        f"in {differs} ({values}); {advice}"
    )
