"""Facts about a HEST section that stand in its metadata: the size of a slide pixel."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from harness.errors import DamagedFileError, MissingDataError
from harness.types import DataContext

from .mirror import Repository, find_file

FIELD = "pixel_size_um_estimated"
"""The measured pixel size; HEST's other field, the one embedded in the slide, is missing or wrong for some sections."""
TABLE = "HEST_v1_1_0.csv"
"""One row a section, the same fields as the JSON files."""
_SMALLEST, _LARGEST = 0.1, 1.2  # um a pixel: beyond any slide scanner


def read_pixel_size(slides: Repository, name: str, context: DataContext) -> float:
    """Return the micrometres a slide pixel of a section, from its JSON file or else from its row of the table.

    Args:
        slides: the repository with ``metadata/`` and the table.
        name: HEST's ``sample_id``.
        context: where files are found.

    Returns:
        A number from 0.1 to 1.2.

    Raises:
        MissingDataError: neither file states the pixel size of this section.
        DamagedFileError: a file cannot be read, or the number is none or absurd.
    """
    tried = []
    for path, read in ((f"metadata/{name}.json", _read_json), (TABLE, _read_row)):
        try:
            file = find_file(slides, path, context)
        except MissingDataError as error:
            tried.append(str(error))
            continue
        stated = read(file, name)
        if stated is not None and str(stated).strip():
            return _check(stated, f"{file}: section {name}: {FIELD}")
        tried.append(f"{file}: section {name}: no {FIELD}")
    raise MissingDataError(
        f"section {name}: the size of a pixel is unknown, and it is never guessed:\n" + "\n".join(tried)
    )


def _read_json(path: Path, name: str) -> object:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a readable JSON file ({error}); download it again") from None
    if not isinstance(document, dict):
        raise DamagedFileError(f"{path}: expected the fields of section {name}, found a {type(document).__name__}")
    return document.get(FIELD)


def _read_row(path: Path, name: str) -> object:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("id") == name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError(f"{path}: not a readable CSV file ({error}); download it again") from None
    if len(rows) > 1:
        raise DamagedFileError(f"{path}: id: section {name} has {len(rows)} rows, expected one")
    return rows[0].get(FIELD) if rows else None


def _check(stated: object, where: str) -> float:
    try:
        value = float(str(stated))
    except ValueError:
        value = float("nan")
    if not _SMALLEST <= value <= _LARGEST:
        raise DamagedFileError(
            f"{where}: expected micrometres a pixel from {_SMALLEST} to {_LARGEST}, found {stated!r}; "
            "correct it or download the file again"
        )
    return value
