"""Whether the spots of a section lie on a grid at all, and on which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..metrics.neighbourhoods import Shape

_NEAR = 0.15  # how far a distance may be from that of the grid, in pitches
_REGULAR = 0.6  # share of the spots whose nearest one must be about a pitch away; anywhere at random it is 0.2
_CLEAR = 0.6  # share of the second ring that must lie where the shape has it; anywhere at random it is about half
_FEWEST_SPOTS, _FEWEST_PAIRS = 8, 6  # below, nothing is concluded
_SECOND: dict[Shape, float] = {"square": 2**0.5, "hex": 3**0.5}  # distance of the second ring in pitches
_OTHER: dict[Shape, Shape] = {"square": "hex", "hex": "square"}


@dataclass(frozen=True)
class Regularity:
    """How regularly spots lie.

    Attributes:
        nearest: share of the spots whose nearest other one is within 15 % of the pitch.
        second: share of the pairs about a second ring apart that are so on a square grid, the others on a hexagonal
            one; None for too few pairs.
    """

    nearest: float
    second: float | None


def check_grid(section: str, centres: NDArray[np.float64], pitch: float, shape: Shape) -> None:
    """Refuse spots on no grid, or on one of the other shape. Nothing is concluded from fewer than 8 spots.

    Args:
        section: its name, for the message.
        centres: (n, 2) float64, finite; x, y of the spots in slide pixels.
        pitch: median distance of a spot to its nearest other one, positive, in the same pixels.
        shape: of the grid as the task states it.

    Raises:
        DamagedFileError: with what was measured, and the other shape where that one fits.
    """
    if len(centres) < _FEWEST_SPOTS:
        return
    found = measure_regularity(centres, pitch)
    if found.nearest < _REGULAR:
        raise DamagedFileError(
            f"section {section}: the spots lie on no grid: {found.nearest:.0%} of {len(centres)} have their nearest "
            f"other spot within {_NEAR:.0%} of the median distance, {pitch:.6g} px, expected at least {_REGULAR:.0%}; "
            "correct obsm/spatial"
        )
    if found.second is None:
        return
    share = {"square": found.second, "hex": 1 - found.second}
    other = _OTHER[shape]
    if share[shape] < _CLEAR:
        advice = f"set nn.shape: {other}" if share[other] >= _CLEAR else "they are on no grid; correct obsm/spatial"
        raise DamagedFileError(
            f"section {section}: the spots lie on no {shape} grid: of the pairs a second ring apart {share[shape]:.0%} "
            f"are at {_SECOND[shape]:.3g} pitches ({shape}) and {share[other]:.0%} at {_SECOND[other]:.3g} ({other}), "
            f"expected at least {_CLEAR:.0%} at the first (pitch {pitch:.6g} px, measured): {advice}"
        )


def measure_regularity(centres: NDArray[np.float64], pitch: float) -> Regularity:
    """Measure how regularly spots lie.

    Args:
        centres: (n, 2) float64, finite; n at least 2.
        pitch: median distance of a spot to its nearest other one, positive. Where spots jitter it is less than the
            pitch they were printed at, so the second ring is looked for at multiples of the mean of the first.

    Example:
        >>> grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
        >>> measure_regularity(grid, 1.0)
        Regularity(nearest=1.0, second=1.0)
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(centres)
    nearest = np.asarray(tree.query(centres, k=2)[0])[:, 1]
    pairs = tree.query_pairs(2.3 * pitch, output_type="ndarray")
    apart = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
    step = apart[np.abs(apart - pitch) <= 0.2 * pitch].mean()
    square, hexagonal = (int((np.abs(apart / step - _SECOND[shape]) <= _NEAR).sum()) for shape in ("square", "hex"))
    total = square + hexagonal
    return Regularity(
        float((np.abs(nearest - pitch) <= _NEAR * pitch).mean()), square / total if total >= _FEWEST_PAIRS else None
    )
