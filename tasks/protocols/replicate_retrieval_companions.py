"""The questions that are asked of the profiles of a fold: the headline and its companions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..metrics.retrieval import Gallery
from .replicate_retrieval_labels import FoldLabels, Grouping

HEADLINE = "mAP"
COMPANIONS: Mapping[str, str] = {
    "cross_plate": "mAP_cross_plate",
    "cross_lab": "mAP_cross_lab",
    "plate": "plate_mAP",
    "lab": "lab_mAP",
    "activity": "activity_mAP",
}
"""Name in a spec and name of the metric."""


@dataclass(frozen=True)
class Question:
    """Who asks, who is ranked, and who is relevant.

    Attributes:
        metric: name of the metric that answers it.
        group: items with the code of the query are relevant; every query counts in the unit of its code.
        items: (k,) int64 positions of the wells that take part; the codes of ``group`` are theirs.
        queries: (q,) int64 positions in ``items``.
        gallery: which items a query ranks, None for all.
        undefined: why there can be no answer, or None.
        tested: whether a high score is a finding, so that a p-value makes sense.
    """

    metric: str
    group: Grouping
    items: NDArray[np.int64]
    queries: NDArray[np.int64]
    gallery: Gallery | None = None
    undefined: str | None = None
    tested: bool = True


def ask_headline(labels: FoldLabels) -> Question:
    """Ask for replicates among all wells that have a label."""
    items = np.flatnonzero(labels.label.code >= 0)
    group = Grouping(labels.label.kind, labels.label.names, labels.label.code[items])
    return Question(HEADLINE, group, items, np.arange(len(items)))


def ask_companion(name: str, labels: FoldLabels) -> Question:
    """Ask one of the ``COMPANIONS``."""
    return _ASK[name](labels)


def _ask_cross_plate(labels: FoldLabels) -> Question:
    """Ask for replicates on other plates."""
    return _ask_elsewhere("cross_plate", labels, labels.plate, "plate")


def _ask_cross_lab(labels: FoldLabels) -> Question:
    """Ask for replicates in other laboratories."""
    return _ask_elsewhere("cross_lab", labels, labels.laboratory, "laboratory")


def _ask_plate(labels: FoldLabels) -> Question:
    """Ask for wells of the same plate, controls included: what should not be found."""
    return _ask_place("plate", labels, labels.plate, "plate")


def _ask_lab(labels: FoldLabels) -> Question:
    """Ask for wells of the same laboratory."""
    return _ask_place("lab", labels, labels.laboratory, "laboratory")


def _ask_activity(labels: FoldLabels) -> Question:
    """Ask for replicates among themselves and the negative controls of the query's plate."""
    code = np.where(labels.control, -1, labels.label.code)
    plate = np.zeros_like(code) if labels.plate is None else labels.plate.code
    answerable = np.isin(plate, plate[labels.control]) & (code >= 0)

    def show(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        beside = labels.control & (plate[rows][:, None] == plate)
        return np.asarray(((code[rows][:, None] == code) | beside) & answerable[rows][:, None])

    names = [name for position, name in enumerate(labels.label.names) if (code == position).any()]
    kept = np.array([names.index(labels.label.names[one]) if one >= 0 else -1 for one in code], dtype=np.int64)
    return Question(
        COMPANIONS["activity"],
        Grouping(labels.label.kind, tuple(names), kept),
        np.arange(len(code)),
        np.flatnonzero(code >= 0),
        show,
        None if answerable.any() else "no plate holds both negative controls and other wells",
    )


def _ask_elsewhere(name: str, labels: FoldLabels, place: Grouping | None, kind: str) -> Question:
    base = ask_headline(labels)
    code = np.zeros_like(labels.label.code) if place is None else place.code
    here = code[base.items]

    def show(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(here[rows][:, None] != here)

    return replace(base, metric=COMPANIONS[name], gallery=show, undefined=_explain(kind, place is not None, here))


def _ask_place(name: str, labels: FoldLabels, place: Grouping | None, kind: str) -> Question:
    everyone = np.arange(len(labels.control))
    group = place or Grouping(kind, ("unknown",), np.zeros_like(everyone))
    undefined = _explain(kind, place is not None, group.code)
    return Question(COMPANIONS[name], group, everyone, everyone, undefined=undefined, tested=False)


def _explain(kind: str, known: bool, code: NDArray[np.int64]) -> str | None:
    """Say why places cannot be told apart, or None."""
    if not known:
        return f"the data know no {kind}"
    return f"all wells lie in one {kind}" if len(np.unique(code)) < 2 else None


_ASK: Mapping[str, Callable[[FoldLabels], Question]] = {
    "cross_plate": _ask_cross_plate,
    "cross_lab": _ask_cross_lab,
    "plate": _ask_plate,
    "lab": _ask_lab,
    "activity": _ask_activity,
}
