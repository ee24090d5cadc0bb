"""Whitening (ZCA) by the covariance of controls, without a (D, D) matrix when controls are few.

Source: cytomining/pycytominer 1.7.1 ``Spherize`` (centred). A deliberate departure: collinear controls are filled in
like missing directions, where the original refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .correlation import is_constant

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Whitening:
    """A fitted transform z = (x - centre) / scale W, with W = sqrt(m - 1) V diag(1 / sigma) V'.

    Attributes:
        centre: (D,) mean of the controls.
        scale: (D,) standard deviation (ddof 0) of the controls for ``zca_cor``, else 1.
        directions: (r, D) V', the right singular vectors of the centred controls.
        gain: (r,) sqrt(m - 1) (1 / sigma - 1 / sigma_r).
        rest: sqrt(m - 1) / sigma_r, the gain of all other directions.
        expected_rank: min(D, m - 1); a lower rank r means that controls are duplicates or features collinear.
        eps_share: eps over the median sigma; above 0.01 the features are so small that eps shapes the result.
    """

    centre: Array
    scale: Array
    directions: Array
    gain: Array
    rest: float
    expected_rank: int
    eps_share: float

    @property
    def filled(self) -> bool:
        """Whether directions beyond those that few controls always lack were filled in."""
        return len(self.directions) < self.expected_rank

    def apply(self, profiles: Array) -> Array:
        """Whiten (n, D) float64 profiles; a new array."""
        shifted = (profiles - self.centre) / self.scale
        return np.asarray(self.rest * shifted + ((shifted @ self.directions.T) * self.gain) @ self.directions)


def fit_whitening(controls: Array, eps: float, *, correlation: bool = False) -> Whitening:
    """Fit a ZCA to controls.

    Directions without variance among the controls get the smallest sigma that is not zero.

    Args:
        controls: (m, D) float64, m >= 2.
        eps: is added to the singular values, not to the eigenvalues.
        correlation: divide features by their standard deviations first (``zca_cor``).

    Raises:
        ValueError: fewer than 2 controls, all controls equal, or (``correlation``) a feature constant on them.

    Example:
        Whitened controls have unit covariance when there are more of them than features.

        >>> controls = np.array([[0.0, 0.0], [2.0, 1.0], [0.0, 2.0], [4.0, 1.0]])
        >>> np.abs(np.cov(fit_whitening(controls, eps=0.0).apply(controls).T).round(6))
        array([[1., 0.],
               [0., 1.]])
    """
    count, width = controls.shape
    if count < 2:
        raise ValueError(f"whitening needs at least 2 controls, got {count}")
    constant = is_constant(controls)
    if correlation and constant.any():
        raise ValueError(f"{int(constant.sum())} of {width} features are constant on the controls")
    centre = controls.mean(axis=0)
    scale = controls.std(axis=0) if correlation else np.ones(width)
    _, sigma, directions = np.linalg.svd((controls - centre) / scale, full_matrices=False)
    noise = max(count, width) * np.finfo(np.float64).eps * (sigma[0] if len(sigma) else 0.0)
    rank = min(int((sigma > noise).sum()), width, count - 1)
    if rank == 0 or constant.all():
        raise ValueError("all controls are equal")
    kept = sigma[:rank] + eps
    root = np.sqrt(count - 1)
    return Whitening(
        centre,
        scale,
        directions[:rank],
        gain=root * (1 / kept - 1 / kept[-1]),
        rest=float(root / kept[-1]),
        expected_rank=min(width, count - 1),
        eps_share=float(eps / np.median(sigma[:rank])),
    )
