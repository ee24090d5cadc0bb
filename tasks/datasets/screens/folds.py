"""Folds of a screen: a column that numbers them, or all wells at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import DamagedFileError

from ...wells import WellFold, Wells
from .rows import Rows
from .table import Table


def make_folds(table: Table, rows: Rows, wells: Wells, numbers: Sequence[str] | None) -> tuple[WellFold, ...]:
    """Make one fold a number, in ascending order; without numbers one fold of all wells.

    All wells of a fold are scored, controls too: it is the protocol that knows whether a control is a question.
    A control without a number normalises every fold.

    Args:
        table: for messages.
        rows: for messages.
        wells: the wells.
        numbers: (n,) the fold of each well as text, or None.

    Raises:
        DamagedFileError: no whole number, or a well without one that is no control.
    """
    if numbers is None:
        return (WellFold(0, np.arange(len(wells.ids)), np.flatnonzero(wells.control)),)
    bad = [
        well
        for well, text in enumerate(numbers)
        if not (text.isdecimal() and text.isascii()) and not (text == "" and wells.control[well])
    ]
    if bad:
        raise DamagedFileError(
            f"{table.path}:{rows.first[bad[0]] + 2}: fold: {len(bad)} wells have no whole number, first: "
            f"{wells.ids[bad[0]]} with {numbers[bad[0]]!r}; only negative controls may leave it empty"
        )
    fold = np.array([int(text) if text else -1 for text in numbers], dtype=np.int64)
    found = sorted({*fold.tolist()} - {-1})
    if not found:
        raise DamagedFileError(f"{table.path}: fold: no well has a number")
    return tuple(
        WellFold(number, np.flatnonzero(fold == number), np.flatnonzero(wells.control & np.isin(fold, (number, -1))))
        for number in found
    )
