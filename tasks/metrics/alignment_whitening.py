"""Whitening of a batch by the regularised covariance of its controls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_RIDGE = 0.5


def whiten(block: Array, controls: NDArray[np.bool_]) -> Array:
    """Multiply rows by (C + I/2)^(-1/2), C the covariance (ddof 1) of the control rows; nothing is centred.

    With fewer controls c than features k, C = A'A has the eigenvalues of the small matrix AA' beside zeros, and
    (C + I/2)^(-1/2) = sqrt(2) I + A' g(AA') A with g(x) = ((x + 1/2)^(-1/2) - sqrt(2)) / x, smooth at 0: a c x c
    eigenproblem in place of a k x k one.

    Args:
        block: (n, k) float64.
        controls: (n,) bool; a single control has no covariance, then C = 0.

    Source: EFAAR_benchmarking@2248f40 ``tvn_on_controls``, which takes a Schur-based matrix power; cosines agree to
    1e-14.

    Example:
        Controls -1 and 1 have variance 2, so everything is divided by sqrt(2.5).

        >>> whiten(np.array([[-1.0], [1.0], [5.0]]), np.array([True, True, False])).ravel().round(4).tolist()
        [-0.6325, 0.6325, 3.1623]
    """
    known = block[controls]
    spread = (known - known.mean(axis=0)) / np.sqrt(max(len(known) - 1, 1))
    if len(spread) > spread.shape[1]:
        values, vectors = np.linalg.eigh(spread.T @ spread)
        root = np.sqrt(np.maximum(values, 0.0) + _RIDGE)
        return np.asarray(block @ ((vectors / root) @ vectors.T))
    values, vectors = np.linalg.eigh(spread @ spread.T)
    root, floor = np.sqrt(np.maximum(values, 0.0) + _RIDGE), np.sqrt(_RIDGE)
    change = -1.0 / ((root + floor) * root * floor)  # g without the cancellation of its definition
    inner = (vectors * change) @ vectors.T
    return np.asarray(block / floor + (block @ spread.T) @ (inner @ spread))
