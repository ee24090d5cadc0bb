"""From ranked genes to units: compounds for the means, draws of negatives for the quantiles over compounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.types import Units

from ..metrics.ranked_lists import ListScores
from .well_groups import DOSES

Array = NDArray[np.float64]
QUANTILES = {"ap_median.max": 0.5, "ap_q75.max": 0.75, "ap_q95.max": 0.95}
_NAMES = (*(f"ap.{dose}" for dose in DOSES), "ap.max", "auc.max", *QUANTILES)
METRICS = (*_NAMES, *(f"{name}@*" for name in _NAMES))
"""The names, and patterns for the alignments that stand beside."""
NOBODY = "-"
"""Name of the one undefined unit of a metric without compounds."""


@dataclass(frozen=True)
class CompoundScores:
    """Scores of one compound.

    Attributes:
        doses: names of its doses in the map.
        lists: scores (n_doses + 1, n_seeds), the last row at the best dose.
    """

    doses: tuple[str, ...]
    lists: ListScores


def collect_compounds(
    folds: Sequence[tuple[int, Mapping[str, CompoundScores]]], seeds: Sequence[int], suffix: str
) -> dict[str, Units]:
    """Lay out the units of one alignment.

    The value of a compound is its mean over the draws of negatives. A quantile is taken over compounds within each
    draw, so that its units are draws.
    """
    units: dict[str, Units] = {}
    for dose in DOSES:
        at_dose = [
            (number, {name: _at(one, dose) for name, one in scores.items() if dose in one.doses})
            for number, scores in folds
        ]
        units[f"ap.{dose}{suffix}"] = _lay("compound", at_dose)
    best = [(number, take_best(scores)) for number, scores in folds]
    units[f"ap.max{suffix}"] = _lay(
        "compound", [(number, {name: float(row.mean()) for name, row in rows.items()}) for number, rows in best]
    )
    areas = [
        (number, {name: float(one.lists.auc[-1].mean()) for name, one in scores.items()}) for number, scores in folds
    ]
    units[f"auc.max{suffix}"] = _lay("compound", areas)
    for metric, share in QUANTILES.items():
        draws = [
            (
                number,
                dict(zip((f"seed {seed}" for seed in seeds), _quantiles(rows, share), strict=True)) if rows else {},
            )
            for number, rows in best
        ]
        units[f"{metric}{suffix}"] = _lay("draw", draws)
    return units


def take_best(scores: Mapping[str, CompoundScores]) -> dict[str, Array]:
    """Return the average precision of each compound at its best dose, (n_seeds,) each."""
    return {name: one.lists.average_precision[-1] for name, one in scores.items()}


def _at(one: CompoundScores, dose: str) -> float:
    return float(one.lists.average_precision[one.doses.index(dose)].mean())


def _quantiles(rows: Mapping[str, Array], share: float) -> list[float]:
    return [float(value) for value in np.quantile(np.array(list(rows.values())), share, axis=0)]


def _lay(kind: str, folds: Sequence[tuple[int, Mapping[str, float]]]) -> Units:
    cells = [(name, number, value) for number, values in folds for name, value in (values or {NOBODY: np.nan}).items()]
    return Units(
        kind=kind,
        unit=tuple(name for name, _, _ in cells),
        fold=np.array([number for _, number, _ in cells], dtype=np.int64),
        value=np.array([value for *_, value in cells], dtype=np.float64),
    )
