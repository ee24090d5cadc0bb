"""From atoms to a headline: the one place where a metric's value is computed from its units."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.results import Metric, UnitBlock


@dataclass(frozen=True)
class Cells:
    """Units as a dense array.

    Attributes:
        score: (seeds, folds, units) float64, NaN where undefined or absent.
        weight: (folds, units) float64, 0 where absent.
        units: unit names, sorted.
        folds: fold numbers, sorted.
        seeds: seeds, sorted.
        clusters: cluster of each unit, or None.
    """

    score: NDArray[np.float64]
    weight: NDArray[np.float64]
    units: list[str]
    folds: list[int]
    seeds: list[int]
    clusters: list[str] | None


def cells(block: UnitBlock) -> Cells:
    """Lay the columns of a unit block out as an array (seeds, folds, units)."""
    units, folds, seeds = sorted(set(block.unit)), sorted(set(block.fold)), sorted(set(block.seed))
    at_unit = {name: index for index, name in enumerate(units)}
    at_fold = {fold: index for index, fold in enumerate(folds)}
    at_seed = {seed: index for index, seed in enumerate(seeds)}
    score = np.full((len(seeds), len(folds), len(units)), np.nan)
    weight = np.zeros((len(folds), len(units)))
    clusters: dict[str, str] = {}
    for row, name in enumerate(block.unit):
        fold, unit = at_fold[block.fold[row]], at_unit[name]
        value = block.value[row]
        score[at_seed[block.seed[row]], fold, unit] = np.nan if value is None else value
        weight[fold, unit] = 1.0 if block.weight is None else block.weight[row]
        if block.cluster is not None:
            clusters[name] = block.cluster[row]
    return Cells(score, weight, units, folds, seeds, [clusters[name] for name in units] if clusters else None)


def fold_scores(score: NDArray[np.float64], weight: NDArray[np.float64], block: UnitBlock) -> NDArray[np.float64]:
    """Reduce units to one score a fold.

    Args:
        score: (folds, units) float64, NaN = undefined.
        weight: (folds, units) float64, 0 = the unit has no cell in the fold.
        block: tells how units are reduced and what an undefined one does.

    Returns:
        (folds,) float64, NaN where a fold has no defined unit (or, under ``propagate``, any undefined one).
    """
    present = weight > 0
    defined = present & ~np.isnan(score)
    if block.reduce == "mean":
        total = np.where(defined, weight, 0.0).sum(axis=1)
        summed = np.where(defined, score * weight, 0.0).sum(axis=1)
        folds = np.divide(summed, total, out=np.full(len(score), np.nan), where=total > 0)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a fold without any defined unit is NaN on purpose
            pick = np.nanmin if block.reduce == "min" else np.nanmax
            folds = pick(np.where(defined, score, np.nan), axis=1)
    if block.undefined == "propagate":
        folds = np.where((present & np.isnan(score)).any(axis=1), np.nan, folds)
    return np.asarray(folds, dtype=np.float64)


def summarise(block: UnitBlock) -> Metric:
    """Compute a metric from its units: seeds averaged first, then units within folds, then folds.

    A unit that is undefined in some seeds counts by its defined seeds; a fold without a defined unit makes the
    value undefined (null), never 0.

    Source: protocols for HEST (fold sd with ddof 0) and common practice for seeds (ddof 1).

    Example:
        >>> block = UnitBlock(kind="gene", unit=["a", "b", "a", "b"], fold=[0, 0, 1, 1], seed=[0] * 4,
        ...                   value=[0.5, 0.7, 0.4, None])
        >>> metric = summarise(block)
        >>> round(metric.value, 6), round(metric.fold_sd, 6), metric.n_undefined
        (0.5, 0.1, 1)
    """
    table = cells(block)
    by_seed = np.array([fold_scores(score, table.weight, block) for score in table.score])
    if block.undefined == "propagate":
        mean_seed = table.score.mean(axis=0)
    else:
        counts = (~np.isnan(table.score)).sum(axis=0)
        sums = np.nansum(table.score, axis=0)
        mean_seed = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    folds = fold_scores(mean_seed, table.weight, block)
    seeds = by_seed.mean(axis=1)
    absent = np.broadcast_to(table.weight <= 0, table.score.shape)
    return Metric(
        value=_defined(folds.mean()),
        fold_sd=_defined(folds.std(ddof=0)) if len(folds) > 1 else None,
        seed_sd=_defined(seeds.std(ddof=1)) if len(seeds) > 1 else None,
        n_folds=len(table.folds),
        n_seeds=len(table.seeds),
        n_units=len(table.units),
        n_undefined=int((np.isnan(table.score) & ~absent).sum()),
    )


def _defined(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
