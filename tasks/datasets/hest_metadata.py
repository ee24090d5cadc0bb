"""Facts about a HEST section that stand in its metadata: pixel size, grid of spots, patient, size of the slide."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import DamagedFileError, MissingDataError
from harness.types import DataContext

from .mirror import Repository, find_file

FIELD = "pixel_size_um_estimated"
"""The measured pixel size; HEST's other field, the one embedded in the slide, is missing or wrong for some sections."""
TABLE = "HEST_v1_1_0.csv"
"""One row a section, the same fields as the JSON files."""
_WANTED = {FIELD, "inter_spot_dist", "patient", "fullres_px_width"}
_SIDES = ("width", "height")
_SMALLEST, _LARGEST = 0.1, 1.2  # um a pixel: beyond any slide scanner
_NONE = ("", "none", "null", "nan")


@dataclass(frozen=True)
class SectionFacts:
    """What the metadata of a section say, as far as they do.

    Attributes:
        um_per_px: micrometres a slide pixel, 0.1 to 1.2.
        spot_pitch_um: distance of adjacent spots in um; absent for sections without printed spots.
        patient: study and patient, because patients of two studies share names.
        size: width and height of the slide in pixels.
        source: file, section and field that state the pixel size, or None.
        unknown: why the pixel size is not known, a line for each place that was looked at.
    """

    um_per_px: float | None
    spot_pitch_um: float | None
    patient: tuple[str, str] | None
    size: tuple[int, int] | None
    source: str | None
    unknown: tuple[str, ...]


def read_facts(slides: Repository, name: str, context: DataContext) -> SectionFacts:
    """Read what the metadata of a section say; what its JSON file leaves out comes from its row of the table.

    Raises:
        DamagedFileError: a file cannot be read, or a number is none or absurd.
    """
    tried: list[str] = []
    known: dict[str, tuple[object, str]] = {}
    for file, fields in _read_documents(slides, name, context, tried):
        tried += [] if _stated(fields, FIELD) else [f"{file}: section {name}: no {FIELD}"]
        for key, value in fields.items():
            if _stated(fields, key):
                known.setdefault(key, (value, f"{file}: section {name}: {key}"))
        if set(known) >= _WANTED:
            break
    width, height = (_number(known, f"fullres_px_{side}") or _number(known, f"fullres_{side}") for side in _SIDES)
    return SectionFacts(
        um_per_px=check_pixel_size(*known[FIELD]) if FIELD in known else None,
        spot_pitch_um=_number(known, "inter_spot_dist"),
        patient=_patient(known),
        size=(round(width), round(height)) if width and height else None,
        source=known[FIELD][1] if FIELD in known else None,
        unknown=tuple(tried),
    )


def read_patient(slides: Repository, name: str, context: DataContext) -> tuple[str, str] | None:
    """Read study and patient of a section from what lies on disk; nothing is downloaded for it.

    Returns:
        As :attr:`SectionFacts.patient`; None too where no readable metadata are at hand.
    """
    known: dict[str, tuple[object, str]] = {}
    with suppress(DamagedFileError):  # who needs the pixel size in it will tell
        for file, fields in _read_documents(slides, name, replace(context, offline=True), []):
            for key in ("dataset_title", "patient"):
                if _stated(fields, key):
                    known.setdefault(key, (fields[key], str(file)))
            if "patient" in known:
                break
    return _patient(known)


def check_pixel_size(stated: object, where: str) -> float:
    """Return a stated pixel size as a number.

    Raises:
        DamagedFileError: it is no number from 0.1 to 1.2; ``where`` begins the message.
    """
    value = _to_float(stated)
    if not _SMALLEST <= value <= _LARGEST:
        raise DamagedFileError(
            f"{where}: expected micrometres a pixel from {_SMALLEST} to {_LARGEST}, found {stated!r}; "
            "correct it or download the file again"
        )
    return value


def explain_unknown_size(name: str, tried: list[str] | tuple[str, ...]) -> str:
    """Say that no file states the pixel size of a section, and which were looked at."""
    return f"section {name}: the size of a pixel is unknown, and it is never guessed:\n" + "\n".join(tried)


def _read_documents(
    slides: Repository, name: str, context: DataContext, tried: list[str]
) -> Iterator[tuple[Path, Mapping[str, object]]]:
    """Yield the fields of the JSON file, then those of the row of the table; note what is nowhere."""
    for path, read in ((f"metadata/{name}.json", _read_json), (TABLE, _read_row)):
        try:
            file = find_file(slides, path, context)
        except MissingDataError as error:
            tried.append(str(error))
            continue
        yield file, read(file, name)


def _read_json(path: Path, name: str) -> Mapping[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a readable JSON file ({error}); download it again") from None
    if not isinstance(document, dict):
        raise DamagedFileError(f"{path}: expected the fields of section {name}, found a {type(document).__name__}")
    return document


def _read_row(path: Path, name: str) -> Mapping[str, object]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("id") == name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError(f"{path}: not a readable CSV file ({error}); download it again") from None
    if len(rows) > 1:
        raise DamagedFileError(f"{path}: id: section {name} has {len(rows)} rows, expected one")
    return rows[0] if rows else {}


def _stated(fields: Mapping[str, object], key: str) -> bool:
    value = fields.get(key)
    return value is not None and bool(str(value).strip())


def _number(known: Mapping[str, tuple[object, str]], key: str) -> float | None:
    value, where = known.get(key, ("", ""))
    if str(value).strip().lower() in _NONE:
        return None
    number = _to_float(value)
    if not 0 < number < math.inf:
        raise DamagedFileError(f"{where}: expected a positive number, found {value!r}; download the file again")
    return number


def _patient(known: Mapping[str, tuple[object, str]]) -> tuple[str, str] | None:
    study, patient = (str(known.get(key, ("", ""))[0]).strip() for key in ("dataset_title", "patient"))
    return None if patient.lower() in _NONE else (study, patient)


def _to_float(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan
