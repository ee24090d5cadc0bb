"""Find result files and read them all, or say of each broken one what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DamagedFileError, MissingDataError
from harness.results import Result, load_result


@dataclass(frozen=True)
class LoadedResult:
    """A result and the file it came from (None for one in memory)."""

    result: Result
    path: Path | None = None

    @property
    def where(self) -> str:
        """Name the result in a message."""
        if self.path is not None:
            return str(self.path)
        return f"{self.result.model_string} on {self.result.task.name}@{self.result.view}, stage {self.result.stage}"


def read_results(places: Sequence[Path]) -> list[LoadedResult]:
    """Read every result under files and folders; leaderboards, drafts and parquet files are passed over.

    Raises:
        MissingDataError: a place does not exist, or holds no result.
        DamagedFileError: naming every file that is broken.
    """
    found: list[LoadedResult] = []
    broken: list[str] = []
    for path in result_files(places):
        try:
            found.append(LoadedResult(load_result(path), path))
        except DamagedFileError as error:
            if not is_leaderboard(path):
                broken.append(str(error))
    if broken:
        raise DamagedFileError("\n".join(broken))
    if not found:
        listed = ", ".join(str(place) for place in places)
        raise MissingDataError(f"{listed}: no result files there; make some with harness eval --model M --tasks T")
    return found


def result_files(places: Iterable[Path]) -> list[Path]:
    """List the JSON files of folders (at any depth, hidden ones left out) and the files named, each once, sorted."""
    files: set[Path] = set()
    for place in places:
        if place.is_dir():
            files |= {path for path in place.rglob("*.json") if not path.name.startswith(".")}
        elif place.is_file():
            files.add(place)
        else:
            raise MissingDataError(f"{place}: no such file or folder; name result files or the folder of harness eval")
    return sorted(files)


def is_leaderboard(path: Path) -> bool:
    """Whether a file is a leaderboard, of any version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"schema_version", "tasks", "rows"} <= set(document)
