"""CSV files whose cells are read letter by letter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DamagedFileError

if TYPE_CHECKING:
    import pandas as pd


def read_text_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a CSV file as text; an absent cell is an empty text, and nothing else is.

    A gene may be called NA: no name is ever taken for a missing value.

    Raises:
        DamagedFileError: unreadable, a column is missing, or no rows.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DamagedFileError(f"{path}: not a readable CSV file ({error}); download it again") from None
    absent = [name for name in columns if name not in table.columns]
    if absent:
        found = ", ".join(map(str, table.columns[:12]))
        raise DamagedFileError(f"{path}: missing columns: {', '.join(absent)}; found {found}")
    if table.empty:
        raise DamagedFileError(f"{path}: no rows; download it again")
    return table[list(columns)].fillna("")  # a line that breaks off leaves its last cells missing
