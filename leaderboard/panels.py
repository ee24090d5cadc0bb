"""The results of one column with their cells: scores, deltas, ranks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.board import Cell, Column
from harness.results import Result

from .comparison import Comparison, compare
from .keys import ColumnKey, cell_key, column_key, depth
from .opponents import names_of_baselines


@dataclass(frozen=True)
class Entry:
    """A result and the cell it fills."""

    result: Result
    cell: Cell
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One task column with its entries; reported numbers stand beside own ones."""

    column: Column
    own: tuple[Entry, ...]
    reported: tuple[Entry, ...] = ()


def make_panels(results: Iterable[Result]) -> list[Panel]:
    """Lay results out in columns, one a (task, version, spec_hash), sorted by name.

    A column is named by its task; where several specs or versions of a task are present, by
    ``task+<8 hex of spec_hash>`` (and ``.v<version>`` if that is not enough). Reported numbers have no spec: they
    stand in the column that has the plain name of the task.
    """
    own: defaultdict[ColumnKey, list[Result]] = defaultdict(list)
    reported: defaultdict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda one: (cell_key(one)[:3], depth(one), cell_key(one))):
        if result.status == "reported":
            reported[result.task.name].append(result)
        else:
            own[column_key(result)].append(result)
    names = column_names(own)
    panels = [_own_panel(names[key], own[key]) for key in own]
    taken = {panel.column.name for panel in panels}
    panels += [Panel(_column(name, reported[name]), ()) for name in reported if name not in taken]
    return sorted(
        (replace(panel, reported=_reported(panel.column.name, reported)) for panel in panels),
        key=lambda panel: panel.column.name,
    )


def column_names(keys: Iterable[ColumnKey]) -> dict[ColumnKey, str]:
    """Name columns as shortly as keeps them apart.

    Example:
        >>> old, new = ColumnKey("jump", 1, "ab" * 32), ColumnKey("jump", 1, "cd" * 32)
        >>> list(column_names([old]).values()), list(column_names([old, new]).values())
        (['jump'], ['jump+abababab', 'jump+cdcdcdcd'])
    """
    listed = sorted(keys)
    variants = Counter(key.task for key in listed)
    short = {key: key.task if variants[key.task] == 1 else f"{key.task}+{key.spec_hash[:8]}" for key in listed}
    clashes = Counter(short.values())
    return {key: name if clashes[name] == 1 else f"{name}.v{key.version}" for key, name in short.items()}


def rank_cells(entries: Sequence[tuple[bool, Cell]], *, higher_is_better: bool) -> list[Cell]:
    """Give each cell its rank, 1 for the best; equal scores share the lower number.

    Args:
        entries: (takes part, cell); those that do not take part, or have no score, keep a null rank.
        higher_is_better: direction of the metric.
    """
    sign = 1.0 if higher_is_better else -1.0
    scores = [sign * cell.score for takes_part, cell in entries if takes_part and cell.score is not None]
    ranked: list[Cell] = []
    for takes_part, cell in entries:
        rank = None
        if takes_part and cell.score is not None:
            rank = 1 + sum(other > sign * cell.score for other in scores)
        ranked.append(cell.model_copy(update={"rank": rank}))
    return ranked


def _own_panel(name: str, results: Sequence[Result]) -> Panel:
    column = _column(name, results)
    vs = names_of_baselines(column.baselines, results)
    entries = []
    for result in results:
        comparisons = tuple(compare(baseline, result, results) for baseline in vs)
        entries.append(Entry(result, _cell(name, result, comparisons), comparisons))
    comparable = len({result.task.data_hash for result in results}) == 1
    ranked = rank_cells(
        [(comparable and entry.result.is_last_stage, entry.cell) for entry in entries],
        higher_is_better=column.higher_is_better,
    )
    return Panel(column, tuple(replace(entry, cell=cell) for entry, cell in zip(entries, ranked, strict=True)))


def _reported(name: str, reported: dict[str, list[Result]]) -> tuple[Entry, ...]:
    return tuple(Entry(result, _cell(name, result, ())) for result in reported.get(name, []))


def _column(name: str, results: Sequence[Result]) -> Column:
    task = results[0].task
    data = {result.task.data_hash for result in results}
    return Column(
        name=name,
        version=task.version,
        spec_hash=task.spec_hash,
        data_hash=task.data_hash if len(data) == 1 else None,
        primary=task.primary,
        higher_is_better=task.higher_is_better,
        chance=task.chance,
        ceiling=task.ceiling,
        baselines=list(dict.fromkeys(baseline for result in results for baseline in result.task.baselines)),
    )


def _cell(name: str, result: Result, comparisons: Sequence[Comparison]) -> Cell:
    headline = result.headline
    return Cell(
        task=name,
        view=result.view,
        stage=result.stage,
        metric=result.task.primary,
        score=headline.value,
        ci95=headline.ci95,
        fold_sd=headline.fold_sd,
        seed_sd=headline.seed_sd,
        n_undefined=headline.n_undefined,
        deltas=[comparison.delta for comparison in comparisons],
        exposure=result.model.exposure,
        source=result.source,
        spec_hash=result.task.spec_hash,
    )
