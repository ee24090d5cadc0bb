"""Normalised profiles of the wells of one fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from ..metrics.normalisation import inverse_normal, mad_robustize, standardize, varies
from ..metrics.whitening import fit_whitening
from ..wells import WellFold, Wells
from .replicate_retrieval_params import Params
from .replicate_retrieval_scopes import FoldScopes
from .replicate_retrieval_steps import InverseNormal, MadRobustize, Standardize, Step, Zca, ZcaCor
from .well_features import WellFeatures

Array = NDArray[np.float64]

_TINY = 0.01
"""Share of the median singular value above which eps shapes the result."""


@dataclass(frozen=True)
class Remark:
    """Something odd about one plate: the step that met it, what it is, and where."""

    step: str
    what: str
    where: str


@dataclass(frozen=True)
class FoldProfiles:
    """Normalised profiles of the wells of a fold.

    Attributes:
        wells: (n,) int64 rows of the table of wells, ascending: those scored, and their negative controls.
        values: (n, D') float64, finite.
        dropped: features that ``drop_std`` left out.
        remarks: what a reader of the score should see.
    """

    wells: NDArray[np.int64]
    values: Array
    dropped: int
    remarks: tuple[Remark, ...]


def normalise_fold(features: WellFeatures, wells: Wells, fold: WellFold, params: Params) -> FoldProfiles:
    """Drop features and apply the steps of the spec to the wells of a fold.

    Args:
        features: embeddings of the samples of all wells.
        wells: the table.
        fold: wells that are scored and that normalise.
        params: ``drop_std`` and ``normalize``.

    Raises:
        DamagedFileError: a well of the fold has no sample.
        UsageError: a plate with fewer than 2 negative controls, no feature left, or NaN after a step.
    """
    taken = np.union1d(fold.rows, fold.controls)
    values = _profile(features, taken, params.aggregate)
    scopes = FoldScopes(wells, fold, taken)
    remarks: list[Remark] = []
    width = values.shape[1]
    if params.drop_std is not None:
        values = values[:, _surviving(values, scopes, params.drop_std)]
    if values.shape[1] < width / 2:
        remarks.append(Remark("drop_std", "leaves out more than half of the features: they are tiny", scopes.title))
    for step in params.normalize:
        values = values.copy()
        few: list[tuple[int, int]] = []
        for where, rows in scopes.split(step.by):
            fit = "all" if isinstance(step, InverseNormal) else step.fit
            fitted = scopes.fitted(step.name, fit, where, rows)
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told below
                values[rows] = _apply(step, values[rows], fitted, where, remarks, few=few)
            broken = int((~np.isfinite(values[rows]).all(axis=0)).sum())
            if broken:
                raise UsageError(
                    f"{where}: {broken} of {values.shape[1]} features are NaN or infinite after {step.name}"
                )
        if few:
            remarks.append(Remark(f"{step.name}:", _tell_few(step, few, values.shape[1]), scopes.title))
    return FoldProfiles(taken, values, width - values.shape[1], tuple(remarks))


def _profile(features: WellFeatures, wells: NDArray[np.int64], how: Literal["mean", "median"]) -> Array:
    """Return one profile a well: mean or median over its samples."""
    profiles = features.take(wells).astype(np.float64)
    if how == "mean":
        return profiles
    for position in np.flatnonzero(features.count[wells] > 2):  # of two, the mean is the median
        start = features.start[wells[position]]
        samples = features.order[start : start + features.count[wells[position]]]
        profiles[position] = np.median(features.samples[samples].astype(np.float64), axis=0)
    return profiles


def _surviving(values: Array, scopes: FoldScopes, least: float) -> NDArray[np.bool_]:
    keep = np.ones(values.shape[1], dtype=bool)
    for where, rows in scopes.split("all" if scopes.wells.plate is None else "plate"):
        here = varies(values[rows[scopes.fitted("drop_std", "negcon", where, rows)]], least)
        if not here.any():
            raise UsageError(
                f"{where}: the embedding is constant on the negative controls (no feature has a standard deviation "
                f"above {least:g}); the encoder has collapsed, or its features are tiny (protocol.params.drop_std)"
            )
        keep &= here
    if not keep.any():
        raise UsageError(f"{scopes.title}: every feature is constant on the negative controls of some plate (drop_std)")
    return keep


def _tell_few(step: Step, few: Sequence[tuple[int, int]], width: int) -> str:
    """Say that a whitening was fitted on fewer wells than there are features, from (wells, rank) of each scope."""
    what = "controls" if getattr(step, "fit", None) == "negcon" else "wells"
    counts, lacking = sorted({count for count, _ in few}), sorted({width - rank for _, rank in few})
    spans = [f"{one[0]} to {one[-1]}" if len(one) > 1 else f"{one[0]}" for one in (counts, lacking)]
    return (
        f"{spans[0]} {what} for {width} features; the {spans[1]} directions that they do not span get the gain of "
        "the last axis"
    )


def _apply(
    step: Step,
    values: Array,
    fitted: NDArray[np.bool_],
    where: str,
    remarks: list[Remark],
    *,
    few: list[tuple[int, int]],
) -> Array:
    """Apply one step to the wells of one scope; ``few`` gets (wells, rank) of a whitening that they do not span."""
    if isinstance(step, Standardize):
        return standardize(values, values[fitted])
    if isinstance(step, MadRobustize):
        return mad_robustize(values, values[fitted])
    if isinstance(step, (Zca, ZcaCor)):
        try:
            whitening = fit_whitening(values[fitted], step.eps, correlation=isinstance(step, ZcaCor))
        except ValueError as error:
            raise UsageError(f"{where}: {step.name}: {error}") from error
        if fitted.sum() <= values.shape[1]:
            few.append((int(fitted.sum()), len(whitening.directions)))
        if whitening.filled:
            remarks.append(Remark(step.name, "met duplicated controls or collinear features, and filled in", where))
        if whitening.eps_share > _TINY:
            remarks.append(Remark(step.name, "met features so tiny that eps shapes them; it hardly whitens", where))
        return whitening.apply(values)
    return inverse_normal(values, step.c)
