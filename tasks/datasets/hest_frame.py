"""Whether the nuclei of a file are those of a section, in the frame of its patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..metrics.binning import points_in_boxes

_FEWEST = 0.01  # share of the nuclei that must lie in patches
_CLEARLY = 2  # times as many nuclei in patches, or as few empty patches, that exchanged axes must give to be the truth
_OUTSIDE = 0.01  # share of the nuclei that may lie outside the slide
_FAR = 2  # times the extent of the patches around them, where the size of the slide is unknown
_MANY_EMPTY = 0.05  # share of patches without a nucleus that makes a frame suspicious


def check_frame(section: str, squares: NDArray[np.float64], path: Path, nuclei: NDArray[np.float64]) -> None:
    """Refuse nuclei of another section or coordinate frame, and those whose x and y are exchanged.

    A round section in the middle of a square slide keeps most of its nuclei when axes are exchanged; but patches were
    cut from tissue, and in the wrong frame many of them come to lie beside it.

    Args:
        section: its name, for the message.
        squares: (n_patches, 4) float64 x0, y0, x1, y1 of its patches in slide pixels.
        path: its segmentation, for the message.
        nuclei: (n, 2) float64 x, y in slide pixels as read from it.

    Raises:
        DamagedFileError: saying how many lie in patches.
    """
    found, turned = (_measure_overlap(squares, points) for points in (nuclei, nuclei[:, ::-1]))
    told = f"{path}: {found.inside:.2%} of {len(nuclei)} nuclei lie in a patch of section {section}"
    fuller = turned.inside > found.inside and found.empty > _MANY_EMPTY and turned.empty < found.empty / _CLEARLY
    if turned.inside >= _FEWEST and (turned.inside > _CLEARLY * found.inside or fuller):
        raise DamagedFileError(
            f"{told}, and {found.empty:.0%} of the patches are empty; with x and y exchanged it would be "
            f"{turned.inside:.2%} and {turned.empty:.0%}: correct the file"
        )
    if found.inside < _FEWEST:
        raise DamagedFileError(
            f"{told}, expected at least {_FEWEST:.0%}; the file of another section, or another coordinate frame?"
        )


def check_inside(
    section: str, squares: NDArray[np.float64], path: Path, nuclei: NDArray[np.float64], size: tuple[int, int] | None
) -> str | None:
    """Count nuclei outside the slide; where its size is unknown, those far from all patches.

    Args:
        section: its name, for the message.
        squares: (n_patches, 4) float64 x0, y0, x1, y1 of its patches in slide pixels.
        path: its segmentation, for the message.
        nuclei: (n, 2) float64 x, y in slide pixels as read from it.
        size: width and height of the slide, or None.

    Returns:
        A note where there are any.

    Raises:
        DamagedFileError: more than 1 % lie outside the slide.
    """
    low, high = squares[:, :2].min(axis=0), squares[:, 2:].max(axis=0)
    margin = _FAR * (high - low).max()
    if size is not None:
        low, high, margin = np.zeros(2), np.array(size, dtype=np.float64), 0.0
    outside = ((nuclei < low - margin) | (nuclei > high + margin)).any(axis=1)
    number = int(outside.sum())
    if not number:
        return None
    where = (
        f"farther from the patches than {_FAR} times their extent"
        if size is None
        else (f"outside the slide of {size[0]} x {size[1]} px")
    )
    told = f"section {section}: {number} of {len(nuclei)} nuclei ({number / len(nuclei):.2%}) lie {where}"
    if size is not None and number > _OUTSIDE * len(nuclei):
        x, y = nuclei[int(np.argmax(outside))]
        raise DamagedFileError(
            f"{path}: {told}, expected at most {_OUTSIDE:.0%}, the first at ({x:.0f}, {y:.0f}) px; "
            "the file of another section, or a wrong size in the metadata? Correct it or download it again"
        )
    return told


@dataclass(frozen=True)
class _Overlap:
    """How nuclei lie to patches: share of the nuclei inside one, share of the patches without any."""

    inside: float
    empty: float


def _measure_overlap(squares: NDArray[np.float64], nuclei: NDArray[np.float64]) -> _Overlap:
    members = points_in_boxes(nuclei, squares)
    return _Overlap(len(np.unique(members.index)) / len(nuclei), float((members.counts == 0).mean()))
