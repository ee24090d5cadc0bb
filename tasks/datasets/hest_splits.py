"""The split files of a HEST task: which sections train and which test, fold by fold."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DamagedFileError, MissingDataError, SpecError
from harness.types import DataContext

from .mirror import Repository, find_file, list_files, resolve

_SPLIT = re.compile(r"^(train|test)_(\d+)\.csv$")
_COLUMNS = ("sample_id", "patches_path", "expr_path")


@dataclass(frozen=True)
class SectionPlace:
    """Where the files of one tissue section lie.

    Attributes:
        name: HEST's ``sample_id``.
        patches: repository and path of the patch file.
        expression: repository and path of the h5ad file.
    """

    name: str
    patches: tuple[Repository, str]
    expression: tuple[Repository, str]


@dataclass(frozen=True)
class SplitFold:
    """One fold: names of its sections in the order of the split files."""

    number: int
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """All folds of a task.

    Attributes:
        folds: in the order of their numbers.
        sections: in order of first appearance in train_0, test_0, train_1, test_1, …
        files: (name, local path) of every split file.
    """

    folds: tuple[SplitFold, ...]
    sections: tuple[SectionPlace, ...]
    files: tuple[tuple[str, Path], ...]


def read_splits(repository: Repository, folder: str, context: DataContext) -> Splits:
    """Read ``FOLDER/splits/train_i.csv`` and ``test_i.csv``; files of other names are left alone.

    Raises:
        MissingDataError: no split files.
        SpecError: a file without its partner, a section in train and test of one fold, or a path out of the data.
        DamagedFileError: a file that is not a complete split table.
    """
    names = list_files(repository, f"{folder}/splits", context)
    numbers = _pair(names, f"{repository.name}/{folder}/splits")
    sections: dict[str, SectionPlace] = {}
    folds, files = [], []
    for number in numbers:
        sides = []
        for side in ("train", "test"):
            path = f"{folder}/splits/{side}_{number}.csv"
            local = find_file(repository, path, context)
            files.append((f"{repository.name}/{path}", local))
            places = _read_table(local, repository, folder)
            _add(sections, places, local)
            sides.append(tuple(place.name for place in places))
        folds.append(SplitFold(int(number), *sides))
        _check_apart(folds[-1])
    return Splits(tuple(folds), tuple(sections.values()), tuple(files))


def _pair(names: Iterable[str], where: str) -> list[str]:
    found: dict[str, set[str]] = {"train": set(), "test": set()}
    for match in filter(None, map(_SPLIT.match, names)):
        found[match[1]].add(match[2])
    if not found["train"] | found["test"]:
        raise MissingDataError(f"{where}: no train_i.csv and test_i.csv; copy or download the split files again")
    for side, partner in (("train", "test"), ("test", "train")):
        alone = sorted(found[side] - found[partner], key=int)
        if alone:
            raise SpecError(
                f"{where}: {side}_{alone[0]}.csv has no partner {partner}_{alone[0]}.csv; add it or remove the other"
            )
    return sorted(found["train"], key=int)


def _read_table(path: Path, repository: Repository, folder: str) -> list[SectionPlace]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError(f"{path}: not a readable CSV file ({error}); download it again") from None
    if not rows:
        raise DamagedFileError(f"{path}: no rows; expected the columns {', '.join(_COLUMNS)} and a row a section")
    places = []
    for line, row in enumerate(rows, start=2):
        absent = [column for column in _COLUMNS if not (row.get(column) or "").strip()]
        if absent:
            raise DamagedFileError(f"{path}:{line}: {', '.join(absent)}: missing; truncated? download it again")
        name, patches, expression = (row[column].strip() for column in _COLUMNS)
        where = f"{path}:{line}"
        places.append(
            SectionPlace(
                name,
                resolve(repository, posixpath.join(folder, patches), where),
                resolve(repository, posixpath.join(folder, expression), where),
            )
        )
    return places


def _add(known: dict[str, SectionPlace], places: Sequence[SectionPlace], path: Path) -> None:
    names = [place.name for place in places]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SpecError(f"{path}:1: {twice} stands twice")
    for place in places:
        if known.setdefault(place.name, place) != place:
            raise SpecError(f"{path}:1: {place.name} has other paths here than in an earlier split file")
    files = {place.patches: name for name, place in known.items()}
    for name, place in known.items():
        if files[place.patches] != name:
            raise SpecError(f"{path}:1: {name} and {files[place.patches]} share the patch file {place.patches[1]}")


def _check_apart(fold: SplitFold) -> None:
    both = [name for name in fold.train if name in fold.test]
    if both:
        verb = "is" if len(both) == 1 else "are"
        raise SpecError(f"fold {fold.number}: {', '.join(both)} {verb} in train and test; a section may be in one only")
