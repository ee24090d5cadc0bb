"""Recompute what was written: headlines from their atoms, a leaderboard from its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DamagedFileError
from harness.results import Metric, Result, UnitBlock
from harness.summary import summarise

from .board_file import load_board, round_floats
from .merge import merge
from .read import LoadedResult
from .units_file import read_units

TOLERANCE = 1e-6
_SHOWN = 5


@dataclass(frozen=True)
class Checked:
    """How much was recomputed and agreed."""

    results: int
    metrics: int


def check_results(loaded: Iterable[LoadedResult]) -> Checked:
    """Recompute every metric of every result from its atoms.

    Reported numbers have no atoms and are passed over.

    Raises:
        DamagedFileError: naming file, metric, stored and recomputed number of everything that disagrees by more
            than 1e-6, and what is wrong with the atoms themselves.
    """
    problems: list[str] = []
    results = metrics = 0
    for item in loaded:
        if item.result.status == "reported":
            continue
        results, metrics = results + 1, metrics + len(item.result.metrics)
        try:
            problems += [f"{item.where}: {problem}" for problem in _check(item)]
        except DamagedFileError as error:
            problems.append(f"{item.where}: {error}")
    if problems:
        raise DamagedFileError("\n".join(problems))
    return Checked(results, metrics)


def check_board(path: Path, loaded: Sequence[LoadedResult]) -> None:
    """Merge the results again and compare with a leaderboard file.

    Raises:
        DamagedFileError: the file says something else, with the places.
    """
    board = load_board(path)
    fresh = merge(loaded, prefer_newest=board.inference.get("prefer") == "newest")
    stored, made = board.model_dump(mode="json"), round_floats(fresh.model_dump(mode="json"))
    differences = list(_differences("", stored, made))
    if differences:
        more = f"\n… and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise DamagedFileError(
            f"{path}: not what its results say; merge them again:\n" + "\n".join(differences[:_SHOWN]) + more
        )


def block_problems(block: UnitBlock) -> list[str]:
    """Say what is wrong with atoms beyond the shape of their columns."""
    problems: list[str] = []
    if not block.unit:
        problems.append("no units")
    if block.weight is not None and block.unit and not any(block.weight):
        problems.append("all weights are zero")
    if block.weight is not None and _varies(zip(block.fold, block.unit, strict=True), block.weight):
        problems.append("the weight of a unit differs between seeds")
    if block.cluster is not None and _varies(block.unit, block.cluster):
        problems.append("a unit stands in two clusters")
    if block.cluster is not None and not all(block.cluster):
        problems.append("some units have no cluster")
    by_seed: dict[int, set[tuple[int, str]]] = {}
    for seed, fold, unit in zip(block.seed, block.fold, block.unit, strict=True):
        by_seed.setdefault(seed, set()).add((fold, unit))
    if len(set(map(frozenset, by_seed.values()))) > 1:
        problems.append("the seeds hold different units")
    return problems


def _check(item: LoadedResult) -> Iterator[str]:
    blocks = dict(item.result.units) | _companions(item)
    yield from _spec(item.result)
    for name, stored in item.result.metrics.items():
        if name not in blocks:
            yield f"{name}: there are no units to recompute it from"
            continue
        wrong = block_problems(blocks[name])
        yield from (f"{name}: {problem}" for problem in wrong)
        if not wrong:
            yield from (f"{name}.{problem}" for problem in _metric_problems(stored, summarise(blocks[name])))


def _spec(result: Result) -> Iterator[str]:
    if result.task.spec_hash is None:
        yield "task.spec_hash: null, only reported numbers may lack it"


def _companions(item: LoadedResult) -> dict[str, UnitBlock]:
    if item.result.units_file is None or item.path is None:
        return {}
    return read_units(item.result.units_file, item.path.parent)


def _metric_problems(stored: Metric, computed: Metric) -> Iterator[str]:
    for field in ("value", "fold_sd", "seed_sd", "n_folds", "n_seeds", "n_units", "n_undefined"):
        mine, theirs = getattr(stored, field), getattr(computed, field)
        if not _agree(mine, theirs):
            yield f"{field}: stored {mine}, recomputed {theirs}"


def _agree(stored: object, computed: object) -> bool:
    if isinstance(stored, (int, float)) and isinstance(computed, (int, float)):
        return abs(stored - computed) <= TOLERANCE
    return stored == computed


def _varies(keys: Iterable[object], values: Sequence[object]) -> bool:
    seen: dict[object, object] = {}
    return any(seen.setdefault(key, value) != value for key, value in zip(keys, values, strict=True))


def _differences(where: str, stored: Any, made: Any) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(made, dict):
        for key in sorted({*stored, *made}):
            yield from _differences(f"{where}.{key}" if where else key, stored.get(key), made.get(key))
    elif isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made):
        for index, pair in enumerate(zip(stored, made, strict=True)):
            yield from _differences(f"{where}[{index}]", *pair)
    elif not _agree(stored, made):
        yield f"  {where}: stored {_short(stored)}, recomputed {_short(made)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    return repr(value)
