"""``harness leaderboard``: merge, show and check results; print the schemas of the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
from pydantic import BaseModel

from harness.board import Leaderboard
from harness.errors import UsageError
from harness.results import Result

from .board_file import load_board, write_board
from .check import check_board, check_results
from .merge import merge
from .read import is_leaderboard, read_results
from .render import FORMATS, render_text

_BOARD = Path("leaderboard.json")
_RESULTS = Path("results")
_SCHEMAS: dict[str, type[BaseModel]] = {"result": Result, "leaderboard": Leaderboard}
_paths = click.argument("results", nargs=-1, type=click.Path(path_type=Path))


@click.group()
def leaderboard() -> None:
    """Merge results into a leaderboard, show and check it."""


@leaderboard.command(
    "merge", epilog="Example:  harness leaderboard merge results other/results --output leaderboard.json"
)
@_paths
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_BOARD,
    show_default=True,
    help="File to write.",
)
@click.option("--prefer", type=click.Choice(["newest"]), help="Of contradicting results keep the newest.")
def merge_command(results: tuple[Path, ...], output: Path, prefer: str | None) -> None:
    """Merge results, write the leaderboard and show it.

    RESULTS are result files and folders of them, by default the folder results.
    """
    board = merge(read_results(results or (_RESULTS,)), prefer_newest=prefer == "newest")
    write_board(board, output)
    click.echo(render_text(board, _width()), nl=False)
    left_out = len(board.inference["left_out"])
    aside = f"; {_count(left_out, 'result')} left out (inference.left_out in the file says why)" if left_out else ""
    click.echo(f"\n{output}: {_count(len(board.rows), 'row')}, {_count(len(board.tasks), 'column')}{aside}")


@leaderboard.command("show", epilog="Example:  harness leaderboard show leaderboard.json --format md")
@click.argument("file", type=click.Path(path_type=Path), default=_BOARD)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *FORMATS]),
    default="table",
    show_default=True,
    help="csv holds every delta with all digits; the others are for reading.",
)
def show_command(file: Path, form: str) -> None:
    """Show a leaderboard as a table, csv, Markdown or LaTeX."""
    board = load_board(file)
    click.echo(render_text(board, _width()) if form == "table" else FORMATS[form](board), nl=False)


@leaderboard.command("check", epilog="Example:  harness leaderboard check results leaderboard.json")
@_paths
def check_command(results: tuple[Path, ...]) -> None:
    """Recompute every score from its units.

    RESULTS are result files and folders of them, by default the folder results. A leaderboard named beside them is
    merged again and compared.
    """
    boards = [path for path in results if path.is_file() and is_leaderboard(path)]
    others = [path for path in results if path not in boards]
    if boards and not others:
        raise UsageError(
            f"{boards[0]}: name the results it was merged from too, for example: check results {boards[0]}"
        )
    loaded = read_results(others or (_RESULTS,))
    checked = check_results(loaded)
    for board in boards:
        check_board(board, loaded)
    click.echo(
        f"{_count(checked.metrics, 'metric')} of {_count(checked.results, 'result')} recomputed from units: all agree"
        + "".join(f"; {board} is what they say" for board in boards)
    )


@leaderboard.command("schema", epilog="Example:  harness leaderboard schema result > result.schema.json")
@click.argument("kind", type=click.Choice(list(_SCHEMAS)))
def schema_command(kind: str) -> None:
    """Print the JSON Schema of a result or of a leaderboard."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_SCHEMAS[kind].model_json_schema()}
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))


def _width() -> int:
    return shutil.get_terminal_size(fallback=(120, 24)).columns


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
