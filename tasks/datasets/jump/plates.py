"""Plates and the control wells on them: ``plate.csv.gz`` joined with ``well.csv.gz``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DamagedFileError

from .columns import pad_well, read_columns, rows_of
from .controls import LABEL, Controls, check_label

Key = tuple[str, str]
"""Source and plate."""


@dataclass(frozen=True, order=True)
class Plate:
    """One plate; sorts by source, batch and name."""

    source: str
    batch: str
    name: str
    kind: str

    @property
    def key(self) -> Key:
        """Source and plate: names alone are not promised to be unique over laboratories."""
        return self.source, self.name


@dataclass(frozen=True)
class ControlWells:
    """Control wells by plate.

    Attributes:
        of: plate -> ((well, JCP2022 id), …), sorted by well.
    """

    of: Mapping[Key, tuple[tuple[str, str], ...]]

    def count(self, plate: Key) -> Counter[str]:
        """Count the wells of each control on a plate."""
        return Counter(name for _, name in self.of.get(plate, ()))


def read_plates(path: Path) -> tuple[Plate, ...]:
    """Read all plates, sorted.

    Raises:
        DamagedFileError: unreadable, or a plate stands twice.
    """
    columns = ("Metadata_Source", "Metadata_Batch", "Metadata_Plate", "Metadata_PlateType")
    plates = sorted(Plate(*row) for row in rows_of(read_columns(path, columns).select(columns)))
    twice = [key for key, number in Counter(plate.key for plate in plates).items() if number > 1]
    if twice:
        raise DamagedFileError(f"{path}: {len(twice)} plates stand more than once, the first: {'/'.join(twice[0])}")
    return tuple(plates)


def read_control_wells(path: Path, controls: Controls) -> ControlWells:
    """Read the wells that hold a control; all labels of the table are checked.

    Raises:
        DamagedFileError: unreadable, a label that is no id, a well that is none, or a well that stands twice.
    """
    columns = ("Metadata_Source", "Metadata_Plate", "Metadata_Well", "Metadata_JCP2022")
    table = read_columns(path, columns).select(columns)
    wells: defaultdict[Key, dict[str, str]] = defaultdict(dict)
    for source, plate, well, label in rows_of(_keep_controls(table, controls, path)):
        try:
            name = pad_well(well)
        except ValueError as error:
            raise DamagedFileError(f"{path}: plate {source}/{plate}: {error}") from None
        if name in wells[source, plate]:
            raise DamagedFileError(f"{path}: well {source}/{plate}/{name} stands twice")
        wells[source, plate][name] = label
    return ControlWells({key: tuple(sorted(of.items())) for key, of in wells.items()})


def _keep_controls(table: Any, controls: Controls, path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    labels = table["Metadata_JCP2022"]
    wrong = labels.filter(pc.invert(pc.match_substring_regex(labels, LABEL)))
    if len(wrong):
        check_label(wrong[0].as_py(), path)
    return table.filter(pc.is_in(labels, pa.array([*controls.positive, *controls.negative])))
