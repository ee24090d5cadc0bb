"""Known targets of compounds: how much of a compound binds or inhibits a gene's product."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.errors import DamagedFileError, MissingDataError
from harness.types import DataContext

from ..github import find_github_file
from ..mirror import Repository
from ..text_tables import read_text_table
from .relations import FOLDER

_COLUMNS = ("treatment", "gene_symbol", "nM_value")


class Interaction(NamedTuple):
    """One row of the table."""

    compound: str
    gene: str
    nanomolar: float


def find_interactions(repository: Repository, wanted: bool | str, context: DataContext) -> Path | None:
    """Find the table: None, the one of the repository, or a file of one's own.

    Raises:
        MissingDataError: it is nowhere.
    """
    if isinstance(wanted, bool):
        return find_github_file(repository, f"{FOLDER}/compound_gene_interactions.csv", context) if wanted else None
    path = Path(wanted).expanduser()
    if not path.is_file():
        raise MissingDataError(f"interactions: {path}: no such file; name a CSV with the columns {', '.join(_COLUMNS)}")
    return path


def read_interactions(path: Path) -> tuple[Interaction, ...]:
    """Read the table, sorted by compound, gene and value; rows that repeat another are dropped.

    Raises:
        DamagedFileError: unreadable, a column is missing, an empty name, or a value that is no positive number.
    """
    import pandas as pd

    table = read_text_table(path, _COLUMNS).to_pandas()
    amounts = pd.to_numeric(table["nM_value"], errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero((table == "").any(axis=1).to_numpy() | ~(np.isfinite(amounts) & (amounts > 0)))
    if len(bad):
        cells = ", ".join(repr(cell) for cell in table.iloc[bad[0]])
        raise DamagedFileError(
            f"{path}:{bad[0] + 2}: {len(bad)} rows are no interaction, first: {cells}; expected a compound, a gene and "
            "a positive number (nM)"
        )
    return tuple(sorted(set(map(Interaction, table["treatment"], table["gene_symbol"], amounts.tolist()))))


def describe_interactions(interactions: tuple[Interaction, ...], compounds: set[str], genes: set[str]) -> str:
    """Say how much of the table concerns the wells of a task."""
    named = {item.compound for item in interactions}
    targets = {item.gene for item in interactions}
    both = sum(item.compound in compounds and item.gene in genes for item in interactions)
    twice = len(interactions) - len({item[:2] for item in interactions})
    told = (
        f"known interactions: {both} of {len(interactions)} concern this task ({len(named & compounds)} of "
        f"{len(named)} compounds, {len(targets & genes)} of {len(targets)} genes)"
    )
    return told + (f"; {twice} stand with more than one value" if twice else "")
