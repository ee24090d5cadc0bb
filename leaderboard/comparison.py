"""One result against one baseline: are they comparable, and by how much do they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.board import Delta
from harness.results import Result

from .deltas import Scale, form_deltas
from .keys import model_string
from .opponents import Absent, find_opponent

_LISTED = 3


@dataclass(frozen=True)
class Comparison:
    """A delta, and the ``share`` it had before clipping."""

    delta: Delta
    share_raw: float | None = None


def compare(vs: str, result: Result, peers: Sequence[Result]) -> Comparison:
    """Form the delta of a result against one baseline.

    Args:
        vs: name of the baseline.
        result: the result.
        peers: all own results of the same task, version and spec_hash.
    """
    opponent = find_opponent(vs, result, peers)
    if isinstance(opponent, Absent):
        return Comparison(Delta(vs=vs, reasons={"abs": opponent.reason}))
    known = Delta(vs=vs, model=model_string(opponent), view=opponent.view, value=opponent.headline.value)
    score, value = result.headline.value, opponent.headline.value
    obstacle = find_obstacle(result, opponent)
    if obstacle or score is None or value is None:
        return Comparison(known.model_copy(update={"reasons": {"abs": obstacle or "undefined"}}))
    formed = form_deltas(score, value, scale_of(result))
    update = {"abs": formed.abs, "rel": formed.rel, "gain": formed.gain, "share": formed.share}
    return Comparison(known.model_copy(update={**update, "reasons": formed.reasons}), formed.share_raw)


def find_obstacle(result: Result, baseline: Result) -> str:
    """Say why two results of one task must not be subtracted; empty when they may."""
    if result.task.data_hash != baseline.task.data_hash:
        return "data_differ: the two were scored on different data; run one of them again"
    mine, theirs = _units(result), _units(baseline)
    if mine == theirs:
        return ""
    lacking = [
        f"{len(lost)} not in {name} ({_list(lost)})"
        for name, lost in ((model_string(result), theirs - mine), (model_string(baseline), mine - theirs))
        if lost
    ]
    return f"units_differ: of {len(mine | theirs)} (unit, fold) pairs {' and '.join(lacking)}"


def scale_of(result: Result) -> Scale:
    """Return the scale of the headline; a chance found by permutation is not known here."""
    task = result.task
    chance = None if isinstance(task.chance, str) else task.chance
    return Scale(chance, task.ceiling, task.higher_is_better)


def _units(result: Result) -> set[tuple[str, int]]:
    block = result.units[result.task.primary]
    return set(zip(block.unit, block.fold, strict=True))


def _list(pairs: set[tuple[str, int]]) -> str:
    shown = [f"{unit} fold {fold}" for unit, fold in sorted(pairs)[:_LISTED]]
    return ", ".join([*shown, *(["…"] if len(pairs) > _LISTED else [])])
