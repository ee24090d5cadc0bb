"""What counts as the same among the wells of a fold, and where they lay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from ..wells import Wells
from .replicate_retrieval_params import Params

_GENETIC = {"CRISPR", "ORF", "GENE"}


@dataclass(frozen=True)
class Grouping:
    """Wells sorted into named groups.

    Attributes:
        kind: what a group is, for example ``compound`` or ``plate``.
        names: names of the groups, sorted.
        code: (n,) int64, position of each well's group in the names; -1 for wells in none.
    """

    kind: str
    names: tuple[str, ...]
    code: NDArray[np.int64]


@dataclass(frozen=True)
class FoldLabels:
    """Groups of the wells of a fold.

    Attributes:
        label: what counts as the same; wells in no group take no part in the headline.
        control: (n,) bool, negative controls.
        plate: plates, or None when the data know none.
        laboratory: laboratories, or None.
    """

    label: Grouping
    control: NDArray[np.bool_]
    plate: Grouping | None
    laboratory: Grouping | None


def label_fold(wells: Wells, taken: NDArray[np.int64], params: Params, title: str) -> FoldLabels:
    """Sort the wells of a fold into groups.

    Args:
        wells: the table.
        taken: (n,) int64 rows of the wells of the fold.
        params: ``label`` and ``keep_controls``.
        title: how messages name the fold.

    Raises:
        UsageError: the labels that the spec asks for are not known, nothing has a replicate, or all is one label.
    """
    control = wells.control[taken]
    names: list[str | None] = [_name(wells, row, params) for row in taken.tolist()]
    if not params.takes_controls:
        names = [None if held else name for name, held in zip(names, control, strict=True)]
    label = _group(_kind(wells, taken, params), names)
    sizes = np.bincount(label.code[label.code >= 0], minlength=len(label.names))
    if len(sizes) < 2:
        raise UsageError(
            f"{title}: {', '.join(label.names) or 'nothing'} is the only label (protocol.params.label: "
            f"{params.label}), so that there is nothing to tell apart; label: control needs positive controls, "
            "label: dose several levels"
        )
    if sizes.max() < 2:
        raise UsageError(
            f"{title}: none of {len(sizes)} labels has a second well (protocol.params.label: {params.label}); "
            "replicate retrieval needs replicates"
        )
    return FoldLabels(
        label, control, _column("plate", wells.plate, taken), _column("laboratory", wells.laboratory, taken)
    )


def _name(wells: Wells, row: int, params: Params) -> str | None:
    if params.label == "perturbation":
        return wells.perturbation[row]
    if params.label == "dose":
        if wells.dose is None:
            raise UsageError("protocol.params.label: dose, but the data know no doses; label: perturbation needs none")
        bare = wells.perturbation[row] if wells.control[row] else None
        return bare if np.isnan(wells.dose[row]) else f"{wells.dose[row]:g}"
    if wells.control[row]:
        return "negative"
    return "positive" if wells.kind is None or wells.kind[row] == "positive" else None


def _kind(wells: Wells, taken: NDArray[np.int64], params: Params) -> str:
    if params.label != "perturbation":
        return params.label
    kinds = {wells.kind[row].upper() for row in taken.tolist() if not wells.control[row]} if wells.kind else set()
    return "gene" if kinds and kinds <= _GENETIC else "compound"


def _column(kind: str, column: Sequence[str] | None, taken: NDArray[np.int64]) -> Grouping | None:
    return None if column is None else _group(kind, [column[row] for row in taken.tolist()])


def _group(kind: str, values: Sequence[str | None]) -> Grouping:
    names = tuple(sorted({value for value in values if value is not None}))
    at = {name: position for position, name in enumerate(names)}
    return Grouping(kind, names, np.array([-1 if one is None else at[one] for one in values], dtype=np.int64))
