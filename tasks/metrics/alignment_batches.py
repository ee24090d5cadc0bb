"""Rows of a table batch by batch, found by one sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

_BLOCK = 4096  # rows
_HINT = "raise protocol.params.controls_per_batch where the data hold more, or set protocol.params.align.method=none"


@dataclass(frozen=True)
class Batch:
    """Rows that are aligned together.

    Attributes:
        name: name of the batch.
        rows: (m,) int64 rows of the table, ascending.
        controls: (m,) bool, which of them are negative controls.
    """

    name: str
    rows: NDArray[np.int64]
    controls: NDArray[np.bool_]


def split_evenly(controls: NDArray[np.bool_], method: str) -> tuple[Batch, ...]:
    """Return rows in blocks without a name, for methods that know no batches.

    Raises:
        UsageError: there are no controls.
    """
    if not controls.any():
        raise UsageError(f"alignment {method}: no control wells; {_HINT}")
    starts = range(0, len(controls), _BLOCK)
    return tuple(
        Batch("", np.arange(start, min(start + _BLOCK, len(controls))), controls[start : start + _BLOCK])
        for start in starts
    )


def split_batches(names: Sequence[str] | None, controls: NDArray[np.bool_], method: str) -> tuple[Batch, ...]:
    """Return the rows of each batch, in the order in which batches appear.

    Args:
        names: batch of each row.
        controls: (n,) bool.
        method: for messages.

    Raises:
        UsageError: names are absent, or a batch has no controls.

    Example:
        >>> [batch.rows.tolist() for batch in split_batches(["b", "a", "b"], np.ones(3, bool), "tvn")]
        [[0, 2], [1]]
    """
    if names is None:
        raise UsageError(
            f"alignment {method}: this data set does not know in which batch a well was made; "
            "choose protocol.params.align.method none, centerscale_global or tvn_global"
        )
    code: dict[str, int] = {}
    codes = np.fromiter((code.setdefault(name, len(code)) for name in names), dtype=np.int64, count=len(names))
    order = np.argsort(codes, kind="stable")
    bounds = np.cumsum(np.bincount(codes, minlength=len(code)))[:-1]
    parts = tuple(Batch(name, rows, controls[rows]) for name, rows in zip(code, np.split(order, bounds), strict=True))
    bare = [part.name for part in parts if not part.controls.any()]
    if bare:
        raise UsageError(
            f"alignment {method}: {len(bare)} of {len(parts)} batches have no control wells, "
            f"the first: {', '.join(bare[:3])}; {_HINT}"
        )
    return parts
