"""Which compounds are controls: ``perturbation_control.csv``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DamagedFileError

from .columns import read_columns, rows_of

LABEL = r"^JCP2022_([0-9]{6}|UNKNOWN)$"


@dataclass(frozen=True)
class Controls:
    """Controls of compound plates.

    Attributes:
        positive: ids of the positive controls, sorted.
        negative: ids of the negative controls, sorted.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]


def read_controls(path: Path) -> Controls:
    """Read the controls of modality ``compound``.

    Raises:
        DamagedFileError: unreadable, an id that is none, an id twice, or no positive or no negative control.
    """
    kinds: dict[str, str] = {}
    columns = ("Metadata_JCP2022", "Metadata_pert_type", "Metadata_modality")
    for name, kind, modality in rows_of(read_columns(path, columns).select(columns)):
        check_label(name, path)
        if modality != "compound":
            continue
        if name in kinds:
            raise DamagedFileError(f"{path}: {name} stands twice")
        kinds[name] = kind
    found = Controls(
        tuple(sorted(name for name, kind in kinds.items() if kind == "poscon")),
        tuple(sorted(name for name, kind in kinds.items() if kind == "negcon")),
    )
    if not found.positive or not found.negative:
        raise DamagedFileError(
            f"{path}: expected poscon and negcon rows of modality compound, found {len(found.positive)} and "
            f"{len(found.negative)}"
        )
    return found


def check_label(name: str, path: Path) -> None:
    """Refuse a label that is not a JCP2022 id.

    Raises:
        DamagedFileError: with the id that was probably meant.
    """
    if re.match(LABEL, name):
        return
    meant = f"; JCP2022_{name[4:]} was probably meant" if re.match(r"^JCP_[0-9]{6}$", name) else ""
    raise DamagedFileError(f"{path}: Metadata_JCP2022: {name!r} is not an id such as JCP2022_033924{meant}")
