"""The public tables of plates, wells and controls, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DamagedFileError
from harness.hashing import hash_file
from harness.types import DataContext

from ..github import find_github_file
from ..mirror import Repository
from .controls import Controls, read_controls
from .params import Source
from .plates import ControlWells, Plate, read_control_wells, read_plates

_FOLDER = "metadata"


@dataclass(frozen=True)
class Tables:
    """All that is known of plates without their images.

    Attributes:
        controls: ids of the controls.
        plates: every plate, sorted.
        wells: the control wells of each.
    """

    controls: Controls
    plates: Sequence[Plate]
    wells: ControlWells


def read_tables(source: Source, context: DataContext) -> Tables:
    """Find and read the three tables.

    Raises:
        MissingDataError: one is nowhere.
        DamagedFileError: one is unreadable, contradicts itself, or was downloaded with another content.
    """
    plates, wells, controls = (
        _find(name, source, context) for name in ("plate.csv.gz", "well.csv.gz", "perturbation_control.csv")
    )
    known = read_controls(controls)
    return Tables(known, read_plates(plates), read_control_wells(wells, known))


def _find(name: str, source: Source, context: DataContext) -> Path:
    path = find_github_file(Repository(source.tables, source.revision), f"{_FOLDER}/{name}", context)
    expected = source.sha256.get(name)
    if expected is not None and path.is_relative_to(context.cache) and hash_file(path) != expected:
        raise DamagedFileError(
            f"{path}: expected the sha256 {expected}, found {hash_file(path)}; delete it to download it again, or "
            f"name the commit you want as source.revision and its sums as source.sha256"
        )
    return path
