"""Alignment of wells: what plates and experiments do to features is taken out by their negative controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .alignment_batches import Batch, split_batches, split_evenly
from .alignment_fits import TOLERANCE, Axes, Scaling, centre_only, fit_axes, fit_scaling
from .alignment_whitening import whiten

Array = NDArray[np.float64]
Step = Callable[[Array, NDArray[np.bool_]], Array]
Method = Literal["none", "centerscale_global", "centerscale", "pca_centerscale", "tvn_global", "tvn"]
GLOBAL: tuple[Method, ...] = ("none", "centerscale_global", "tvn_global")
"""Methods that need no batches."""


@dataclass(frozen=True)
class Aligned:
    """Aligned wells.

    Attributes:
        features: (n, k) float64; k < D where components were dropped.
        components: k where principal axes were taken, else None.
        notes: warnings for the reader of a score.
    """

    features: Array
    components: int | None = None
    notes: tuple[str, ...] = ()


def align(
    features: NDArray[np.floating], controls: NDArray[np.bool_], batches: Sequence[str] | None, method: Method
) -> Aligned:
    """Align wells by their negative controls; nothing but controls enters a fit.

    With mean and sd (ddof 0) of the controls, a constant feature keeping the scale 1:

    - ``none``: features as they are.
    - ``centerscale_global``: (x - mean) / sd over all controls; ``centerscale``: inside each batch.
    - ``pca_centerscale``: principal axes of all controls, then ``centerscale`` along them.
    - ``tvn_global``: ``centerscale_global``, principal axes of the controls, each divided by its sd.
    - ``tvn``: that, and in each batch times (C + I/2)^(-1/2), C the covariance (ddof 1) of its controls.

    Axes with a singular value of at most 1e-7 of the largest are dropped: they are rounding noise that a division by
    their sd would blow up. Memory: the result and one batch at a time.

    Args:
        features: (n, D) float32 or float64, finite, n >= 1.
        controls: (n,) bool, negative controls.
        batches: name of the batch of each well, or None where there are none.
        method: one of the six.

    Raises:
        UsageError: there are no controls, a batch has none, or the method needs batches and there are none.

    Source: recursionpharma/EFAAR_benchmarking@2248f40 ``efaar.py`` for all but ``pca_centerscale`` (that one after
    its description) and the guard on small axes.

    Example:
        Two controls 1 and 3 have mean 2 and sd 1.

        >>> well = np.array([[1.0], [3.0], [5.0]])
        >>> align(well, np.array([True, True, False]), None, "centerscale_global").features.ravel().tolist()
        [-1.0, 1.0, 3.0]
    """
    if method == "none":
        return Aligned(features.astype(np.float64))
    per_batch = method not in GLOBAL
    parts = split_batches(batches, controls, method) if per_batch else split_evenly(controls, method)
    notes = _warn_single(parts) if per_batch else ()
    if method == "centerscale":
        return Aligned(_apply(features, parts, features.shape[1], _centre_and_scale), notes=notes)
    known = features[controls].astype(np.float64)
    if method == "centerscale_global":
        scaling = fit_scaling(known)
        return Aligned(_apply(features, parts, features.shape[1], lambda block, _: scaling.apply(block)))
    scaling = fit_scaling(known) if method.startswith("tvn") else centre_only(known)
    axes = fit_axes(scaling.apply(known))
    project = _projection(scaling, axes.basis if method == "pca_centerscale" else axes.basis / axes.deviation)
    finish = {"pca_centerscale": _centre_and_scale, "tvn_global": _leave, "tvn": whiten}[method]
    width = axes.basis.shape[1]
    aligned = _apply(features, parts, width, lambda block, rows: finish(project(block), rows))
    return Aligned(aligned, width, (*_warn_axes(method, axes, known.shape), *notes))


def _apply(features: NDArray[np.floating], parts: Sequence[Batch], width: int, step: Step) -> Array:
    """Work on the rows of one batch after the other; a step may change the block it is given."""
    aligned = np.empty((len(features), width))
    for part in parts:
        aligned[part.rows] = step(features[part.rows].astype(np.float64), part.controls)
    return aligned


def _centre_and_scale(block: Array, controls: NDArray[np.bool_]) -> Array:
    return fit_scaling(block[controls]).apply(block)


def _leave(block: Array, controls: NDArray[np.bool_]) -> Array:  # noqa: ARG001 - has the form of the other steps
    return block


def _projection(scaling: Scaling, basis: Array) -> Callable[[Array], Array]:
    """Fold the division by the scale into the basis; controls have mean 0 then, and need no further centring."""
    matrix = basis / scaling.scale[:, None]

    def project(block: Array) -> Array:
        block -= scaling.mean
        return np.asarray(block @ matrix)

    return project


def _warn_axes(method: Method, axes: Axes, shape: tuple[int, ...]) -> tuple[str, ...]:
    n_controls, width = shape
    notes = []
    if n_controls < 2 * width:
        notes.append(
            f"alignment {method}: {n_controls} control wells for {width} features; "
            "with fewer than two a feature the axes of the controls are mostly noise"
        )
    if axes.dropped:
        notes.append(
            f"alignment {method}: {axes.dropped} of {min(shape)} principal axes of the controls dropped, "
            f"their singular value is at most {TOLERANCE:g} of the largest"
        )
    return tuple(notes)


def _warn_single(parts: Sequence[Batch]) -> tuple[str, ...]:
    single = [part.name for part in parts if part.controls.sum() == 1]
    if not single:
        return ()
    return (f"{len(single)} of {len(parts)} batches have one control well only, the first: {single[0]}",)
