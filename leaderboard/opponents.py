"""Which result stands for a baseline, or why none does."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.results import Result

from .keys import is_learned, model_string, sees_structure_only, sort_options, twin_string

UNTRAINED = "untrained"
BEST_SHORTCUT = "best-shortcut"
STRUCTURE_BEST = "structure-best"


@dataclass(frozen=True)
class Absent:
    """No result can stand for the baseline."""

    reason: str


def names_of_baselines(named: Sequence[str], peers: Sequence[Result]) -> list[str]:
    """Return the baselines of a column: those the task names, and the derived ones.

    ``structure-best`` is there where any peer sees positions or counts only.
    """
    derived = [BEST_SHORTCUT, *([STRUCTURE_BEST] if any(map(sees_structure_only, peers)) else [])]
    return [*named, *(name for name in derived if name not in named)]


def find_opponent(vs: str, result: Result, peers: Sequence[Result]) -> Result | Absent:
    """Find the result that stands for a baseline.

    Args:
        vs: ``untrained``, ``best-shortcut``, ``structure-best``, or a model string.
        result: the result to be compared.
        peers: all own results of the same task, version and spec_hash.
    """
    if vs == UNTRAINED:
        return _twin(result, peers)
    if vs == BEST_SHORTCUT:
        return _best(result, peers, lambda peer: not is_learned(peer))
    if vs == STRUCTURE_BEST:
        return _best(result, peers, sees_structure_only)
    return _named(vs, result, peers)


def _twin(result: Result, peers: Sequence[Result]) -> Result | Absent:
    card = result.model.card.get("untrained", {})
    if not is_learned(result) or card.get("twin") == "none":
        return Absent("not_applicable")
    wanted = twin_string(result)
    for peer in peers:
        if (model_string(peer), peer.view, peer.stage) == (wanted, result.view, result.stage):
            return peer
    stages = [] if result.is_last_stage else ["--stages", result.stage]
    return Absent(_not_run(wanted, f"{result.task.name}@{result.view}", result, *stages))


def _named(vs: str, result: Result, peers: Sequence[Result]) -> Result | Absent:
    wanted = sort_options(vs)
    if model_string(result) == wanted:
        return Absent("is_baseline")
    found = [peer for peer in peers if model_string(peer) == wanted and peer.is_last_stage]
    same = [peer for peer in found if peer.view == result.view]
    for peer in [*same, *sorted(found, key=lambda peer: peer.view)]:
        return peer
    return Absent(_not_run(vs, result.task.name, result))


def _best(result: Result, peers: Sequence[Result], belongs: Callable[[Result], bool]) -> Result | Absent:
    """Pick the highest of a pool at its last stages, the model itself left out; ties go to the first name."""
    pool = [peer for peer in peers if peer.is_last_stage and belongs(peer)]
    others = [peer for peer in pool if model_string(peer) != model_string(result)]
    if not others:
        return Absent("is_baseline" if pool else _not_run(model_string(result), result.task.name, result))
    scored = [(peer.headline.value, peer) for peer in others if peer.headline.value is not None]
    if not scored:
        return Absent("undefined")
    sign = 1.0 if result.task.higher_is_better else -1.0
    return min(scored, key=lambda pair: (-sign * pair[0], model_string(pair[1]), pair[1].view))[1]


def _not_run(model: str, task: str, result: Result, *more: str) -> str:
    changes = result.provenance.selected if result.provenance else {}
    sets = [word for key, value in sorted(changes.items()) for word in ("--set", f"{key}={value}")]
    return f"not_run: {shlex.join(['harness', 'eval', '--model', model, '--tasks', task, *more, *sets])}"
