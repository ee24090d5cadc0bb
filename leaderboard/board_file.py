"""The leaderboard file: canonical JSON, floats rounded to 6 significant digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.board import Leaderboard
from harness.errors import CannotWriteError, DamagedFileError, MissingDataError
from harness.results import to_json, write_atomically

from .read import is_leaderboard

DIGITS = 6
_VERSION = 1


def dump_board(board: Leaderboard) -> str:
    """Return the text of a leaderboard file; equal boards give equal text."""
    return to_json(round_floats(board.model_dump(mode="json")))


def write_board(board: Leaderboard, path: Path) -> None:
    """Write a leaderboard; an older leaderboard is replaced, any other file is not.

    Raises:
        CannotWriteError: the folder refuses, or another kind of file is there.
    """
    if path.exists() and not is_leaderboard(path):
        raise CannotWriteError(f"{path}: exists and is no leaderboard; name another file with --output")
    write_atomically(path, dump_board(board).encode())


def load_board(path: Path) -> Leaderboard:
    """Read a leaderboard file.

    Raises:
        MissingDataError: no such file.
        DamagedFileError: not JSON, not a leaderboard, or of a schema version that cannot be read.
    """
    again = "make it again with harness leaderboard merge"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such file; {again}") from None
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a readable leaderboard ({error}); {again}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != _VERSION:
        raise DamagedFileError(f"{path}: schema_version is {version!r}, this harness reads {_VERSION}; {again}")
    try:
        return Leaderboard.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedFileError(f"{path}: {where}: {first['msg']}; {again}") from None


def round_floats(value: Any) -> Any:
    """Round every float of a JSON value to 6 significant digits; a rounded minus zero becomes zero.

    Example:
        >>> round_floats({"score": [0.12345678, -0.0, 3, None]})
        {'score': [0.123457, 0.0, 3, None]}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") + 0.0
    if isinstance(value, dict):
        return {key: round_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round_floats(item) for item in value]
    return value
