"""Normalisation of profiles, feature by feature: to controls, or by rank. Whitening is a module of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .correlation import is_constant

Array = NDArray[np.float64]

_MAD_TO_SD = 1.4826
"""Of a normal distribution."""


def standardize(profiles: Array, controls: Array) -> Array:
    """Subtract the mean of the controls and divide by their standard deviation (ddof 0; 1 where it is 0).

    Args:
        profiles: (n, D) float64.
        controls: (m, D) float64, m >= 1.

    Returns:
        (n, D) float64, a new array.

    Example:
        >>> standardize(np.array([[5.0, 1.0]]), np.array([[1.0, 7.0], [3.0, 7.0]]))
        array([[ 3., -6.]])
    """
    deviation = np.where(is_constant(controls), 1.0, controls.std(axis=0))
    return np.asarray((profiles - controls.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0))


def mad_robustize(profiles: Array, controls: Array, eps: float = 1e-18) -> Array:
    """Subtract the median of the controls and divide by 1.4826 times their median absolute deviation, plus ``eps``.

    Args:
        profiles: (n, D) float64.
        controls: (m, D) float64, m >= 1.
        eps: what keeps a deviation of 0 from dividing; values far beyond all others come of it.

    Source: cytomining/pycytominer 1.7.1 ``RobustMAD``.

    Example:
        >>> mad_robustize(np.array([[4.0]]), np.array([[1.0], [2.0], [4.0]])).round(4)
        array([[1.349]])
    """
    centre = np.median(controls, axis=0)
    spread = np.median(np.abs(controls - centre), axis=0)
    return np.asarray((profiles - centre) / (_MAD_TO_SD * spread + eps))


def inverse_normal(profiles: Array, c: float = 0.5) -> Array:
    """Replace values by the normal quantiles of their ranks: Phi^-1((rank - c) / (n - 2 c + 1)), a feature at a time.

    Args:
        profiles: (n, D) float64 without NaN; equal values share their average rank.
        c: offset in 0 .. 1; 3/8 is Blom's, 1/2 the usual one of profiling.

    Example:
        >>> inverse_normal(np.array([[1.0], [5.0], [5.0], [9.0]])).round(4).T
        array([[-1.1503,  0.    ,  0.    ,  1.1503]])
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(profiles, axis=0)
    return np.asarray(ndtri((ranks - c) / (len(profiles) - 2 * c + 1)), dtype=np.float64)


def varies(controls: Array, least: float) -> NDArray[np.bool_]:
    """Tell which features have a standard deviation (ddof 0) above ``least``: (m, D) to (D,) bool."""
    return np.asarray((controls.std(axis=0) > least) & ~is_constant(controls))
