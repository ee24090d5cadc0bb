"""What ``harness eval`` says at its end: scores with their spread, deltas, and where the files lie."""

from __future__ import annotations

from collections.abc import Sequence

import click

from harness.board import Cell, Delta, Leaderboard
from harness.cli.display import plain_table, show, table_width
from harness.errors import DamagedFileError
from harness.modelstring import short_names
from harness.plugins import Registry
from harness.results import Result, load_result
from harness.runner import RunReport

_SHORT = {"is_baseline": "itself", "not_applicable": "n/a", "not_run": "not run", "undefined": "undefined"}
_DELTA_WIDTH = 9
"""Letters of the longest entry among them."""
_GAP = 2


def print_report(registry: Registry, report: RunReport, *, tables: bool) -> None:
    """Print tables on stdout; skips, shares and failures on stderr."""
    if tables and report.results:
        written = {str(path) for path in report.paths if path is not None}
        results = [*report.results, *_earlier(report, written)]
        for task in dict.fromkeys(result.task.name for result in report.results):
            _print_task(registry, [result for result in results if result.task.name == task], report)
    for share in report.shares:
        click.echo(f"embedded a share of {share}: no result; run without --shard when all shares are done", err=True)
    for mismatch in report.mismatches:
        click.echo(f"skipped: {mismatch}", err=True)
    for error, titles in _by_message(report):
        also = f"\n  the same for {', '.join(titles[1:])}" if len(titles) > 1 else ""
        click.echo(f"error: {titles[0]}: {error}{also}", err=True)


def _by_message(report: RunReport) -> list[tuple[str, list[str]]]:
    """Group failures that say the same, such as data that no model of a task could read."""
    groups: dict[str, list[str]] = {}
    for title, error in report.failures:
        groups.setdefault(str(error), []).append(title)
    return list(groups.items())


def spread(cell: Cell) -> str:
    """Return the standard deviation of a cell: over folds, else over seeds and said so, else nothing.

    Example:
        >>> spread(Cell(task="t", view="image", stage="s", metric="m", score=0.5, seed_sd=0.012, exposure="clean"))
        '± 0.012 (seeds)'
    """
    if cell.fold_sd is not None:
        return f"± {cell.fold_sd:.3f}"
    return "" if cell.seed_sd is None else f"± {cell.seed_sd:.3f} (seeds)"


def _earlier(report: RunReport, written: set[str]) -> list[Result]:
    """Read the results of earlier runs beside those just written: they may be the baselines."""
    found: list[Result] = []
    for folder in dict.fromkeys(path.parent for path in report.paths if path is not None):
        for path in sorted(folder.glob("*.json")):
            if str(path) in written:
                continue
            try:
                found.append(load_result(path))
            except DamagedFileError as error:
                click.echo(f"warning: {error}", err=True)
    return found


def _print_task(registry: Registry, results: Sequence[Result], report: RunReport) -> None:
    fresh = [result for result in report.results if result.task.name == results[0].task.name]
    board = _merge(registry, results)
    first = fresh[0].task
    baselines = list(dict.fromkeys(name for result in fresh for name in result.task.baselines))
    title = f"{first.name}: {first.primary}" + ("" if first.higher_is_better else " (lower is better)")
    names = short_names(result.model_string for result in fresh)
    rows = [_row(board, result, names[result.model_string], baselines) for result in fresh]
    shown = ("model", "view", "score")
    known = [[header, *(row[index] for row in rows)] for index, header in enumerate(shown)]
    for columns in _columns_that_fit(known, baselines):
        headers = (*shown, *(f"Δ\n{name}" for name in columns))
        table = plain_table(*headers, title=title, right=tuple(range(3, len(headers))))
        for row in rows:
            table.add_row(*row[:3], *(row[3 + baselines.index(name)] for name in columns))
        show(table)
        title = "continued"
    _print_notes(fresh, report)


def _row(board: Leaderboard | None, result: Result, model: str, baselines: Sequence[str]) -> list[str]:
    """Return model, view, score with its spread, and one delta a baseline."""
    name = model + ("" if result.is_last_stage else f"@{result.stage}")
    cell = _cell(board, result)
    if cell is None:  # a partial result: never merged, so no deltas
        value = result.headline.value
        return [name, result.view, "undefined" if value is None else f"{value:.4f}", *["partial"] * len(baselines)]
    deltas = {delta.vs: delta for delta in cell.deltas}
    score = "undefined" if cell.score is None else f"{cell.score:.4f} {spread(cell)}".rstrip()
    return [name, result.view, score, *(_delta(deltas.get(vs)) for vs in baselines)]


def _columns_that_fit(known: Sequence[Sequence[str]], baselines: Sequence[str]) -> list[list[str]]:
    """Spread the baselines over as many tables as it takes for none to be wider than the terminal."""
    room = table_width() - sum(max(map(len, column)) + _GAP for column in known)
    chunks: list[list[str]] = [[]]
    left = room
    for name in baselines:
        need = max(len(name), _DELTA_WIDTH) + _GAP
        if need > left and chunks[-1]:
            chunks.append([])
            left = room
        chunks[-1].append(name)
        left -= need
    return chunks


def _print_notes(fresh: Sequence[Result], report: RunReport) -> None:
    task = fresh[0].task
    chance = f"chance {task.chance:.3g}; " if isinstance(task.chance, float) else ""
    click.echo(f"{chance}sd over folds (ddof 0) unless marked; no interval yet: small differences may be noise.")
    if any(result.status == "partial" for result in fresh):
        click.echo("partial: --limit took a part of the samples; such results are trials and are never merged.")
    _print_undefined(fresh)
    for result in fresh:
        if result.diagnostics.get("collapsed") and result.model.family != "hand-crafted":  # a count has no direction
            click.echo(f"note: {result.model_string}: its embeddings are nearly constant (collapsed).")
    for note in dict.fromkeys(note for result in fresh for note in result.notes):
        click.echo(f"note: {note}")
    pairs = zip(report.results, report.paths, strict=True)
    mine = {id(result) for result in fresh}
    for path in dict.fromkeys(path for result, path in pairs if id(result) in mine and path is not None):
        click.echo(f"  {path}")


def _print_undefined(fresh: Sequence[Result]) -> None:
    """Say how many units have no score, apart for results whose score they take away."""
    lacking = [result for result in fresh if result.headline.n_undefined]
    left_out, decisive = (
        sum(result.headline.n_undefined for result in lacking if (result.headline.value is None) == undefined)
        for undefined in (False, True)
    )
    if left_out:
        click.echo(f"{left_out} undefined units were left out of the means; the files say which.")
    if decisive:
        click.echo(f"{decisive} undefined units make a score undefined; the files say which.")


def _merge(registry: Registry, results: Sequence[Result]) -> Leaderboard | None:
    board: Leaderboard | None = registry.manager.hook.harness_merge(results=list(results))
    return board


def _cell(board: Leaderboard | None, result: Result) -> Cell | None:
    if board is None:
        return None
    for row in board.rows:
        if row.model != result.model_string:
            continue
        for cell in row.cells:
            if (cell.spec_hash, cell.view, cell.stage) == (result.task.spec_hash, result.view, result.stage):
                return cell
    return None


def _delta(delta: Delta | None) -> str:
    if delta is None:
        return ""
    if delta.abs is None:
        reason = delta.reasons.get("abs", "undefined").split(":")[0]
        return _SHORT.get(reason, reason)
    return f"{delta.abs:+.3f}"
