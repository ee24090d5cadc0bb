"""The table of wells of RxRx3-core: what was done to each, and where it lay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..text_tables import read_text_table

if TYPE_CHECKING:
    import pandas as pd

CONTROL = "EMPTY_control"
"""Wells that nothing was done to; they normalise the others."""
KINDS = ("CRISPR", "COMPOUND")
_COLUMNS = ("well_id", "experiment_name", "plate", "address", "treatment", "concentration", "perturbation_type")
COLUMNS = (*_COLUMNS, "gene", "SMILES", "cell_type")
"""All columns of the published table; the last three are not read."""
_FILLED = ("well_id", "experiment_name", "plate", "address", "treatment")

Texts = NDArray[np.object_]
"""(n,) object, str."""


@dataclass(frozen=True)
class Metadata:
    """One row a well, sorted by the name of the well.

    Attributes:
        ids: (n,) object, ``EXPERIMENT_PLATE_ADDRESS``, unique.
        experiment: (n,) object, wells that were made together.
        plate: (n,) object, ``EXPERIMENT/PLATE``: numbers of plates repeat across experiments.
        perturbation: (n,) object, gene, compound, or name of a control.
        kind: (n,) object, ``CRISPR`` or ``COMPOUND``.
        dose: (n,) float64, micromolar; NaN for genes and controls.
    """

    ids: Texts
    experiment: Texts
    plate: Texts
    perturbation: Texts
    kind: Texts
    dose: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of wells."""
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> Metadata:
        """Return some of the wells."""
        return Metadata(*(getattr(self, field.name)[rows] for field in fields(self)))

    @cached_property
    def control(self) -> NDArray[np.bool_]:
        """(n,) bool, the wells that normalise: ``EMPTY_control`` of both kinds."""
        return np.asarray(self.perturbation == CONTROL, dtype=np.bool_)

    @cached_property
    def crispr(self) -> NDArray[np.bool_]:
        """(n,) bool, the wells of the ``CRISPR`` half."""
        return np.asarray(self.kind == "CRISPR", dtype=np.bool_)

    @cached_property
    def gene(self) -> NDArray[np.bool_]:
        """(n,) bool, the wells whose perturbation is a gene."""
        return self.crispr & ~np.array([is_control(name) for name in self.perturbation], dtype=np.bool_)


def is_control(name: str) -> bool:
    """Tell whether a perturbation is one of the controls.

    Example:
        >>> is_control("CRISPR_control"), is_control("PLK1")
        (True, False)
    """
    return "_control" in name


def name_perturbation(treatment: str, kind: str) -> str:
    """Pool the guides of a gene; controls and compounds keep their names.

    The original cuts the names of compounds at the first ``_`` too; ours stay whole.

    Example:
        >>> name_perturbation("PLK1_guide_3", "CRISPR"), name_perturbation("A_b", "COMPOUND")
        ('PLK1', 'A_b')
    """
    return treatment if kind != "CRISPR" or is_control(treatment) else treatment.partition("_")[0]


def read_metadata(path: Path) -> Metadata:
    """Read and check the table; the rows may stand in any order.

    Raises:
        DamagedFileError: unreadable, a column is missing, a well twice, an empty or foreign value.
    """
    table = read_text_table(path, _COLUMNS).to_pandas()
    ids = table["well_id"].to_numpy(dtype=object)
    _refuse_twins(path, ids)
    for name in _FILLED:
        _refuse(path, table, table[name].str.strip() == "", name, "a value")
    _refuse(path, table, ~table["perturbation_type"].isin(KINDS), "perturbation_type", " or ".join(KINDS))
    order = np.argsort(ids)
    texts = {name: table[name].to_numpy(dtype=object)[order] for name in _COLUMNS}
    kind = texts["perturbation_type"]
    return Metadata(
        ids=ids[order],
        experiment=texts["experiment_name"],
        plate=texts["experiment_name"] + "/" + texts["plate"],
        perturbation=_objects(map(name_perturbation, texts["treatment"], kind)),
        kind=kind,
        dose=np.where(kind == "COMPOUND", _read_doses(path, table)[order], np.nan),
    )


def _read_doses(path: Path, table: pd.DataFrame) -> NDArray[np.float64]:
    import pandas as pd

    doses = pd.to_numeric(table["concentration"].replace("", "nan"), errors="coerce")
    known = ~table["concentration"].str.lower().isin(["", "nan", "na", "none"])
    _refuse(path, table, known & ~(doses > 0), "concentration", "a positive number (uM) or nothing")
    return doses.to_numpy(dtype=np.float64)


def _refuse(path: Path, table: pd.DataFrame, bad: pd.Series[bool], column: str, expected: str) -> None:
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    raise DamagedFileError(
        f"{path}:{row + 2}: {column}: {int(bad.sum())} wells have no valid value, first: "
        f"{table['well_id'].iloc[row]!r} with {table[column].iloc[row]!r}; expected {expected}"
    )


def _refuse_twins(path: Path, ids: Texts) -> None:
    names, counts = np.unique(ids, return_counts=True)
    twice: Sequence[str] = names[counts > 1].tolist()
    if twice:
        raise DamagedFileError(f"{path}: well_id: {len(twice)} wells stand more than once, first: {_few(twice)}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def _objects(values: Any) -> Texts:
    found = list(values)
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array
