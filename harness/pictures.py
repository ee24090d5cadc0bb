"""What a dataset may tell of a sample beyond its views, for pictures of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Surroundings:
    """Where a sample lies in its tissue section; pixels are those of the full-resolution slide, x right, y down.

    Attributes:
        boxes: (n, 4) float64 x0, y0, x1, y1 in px of all patches of the section.
        own: row of the sample's own patch in ``boxes``.
        members: (k,) int64 rows of the patches of its neighbourhood, its own included.
        box: (4,) float64 x0, y0, x1, y1 in px around the neighbourhood.
        cells: (m, 2) float64 x, y in px of the cells that count as the sample's; m may be 0.
        um_per_px: micrometres a slide pixel.

    Raises:
        ValueError: an array has another shape, a row is none of ``boxes``, or the pixel size is not positive.
    """

    boxes: NDArray[np.float64]
    own: int
    members: NDArray[np.int64]
    box: NDArray[np.float64]
    cells: NDArray[np.float64]
    um_per_px: float

    def __post_init__(self) -> None:
        """Check shapes and rows."""
        n = len(self.boxes)
        if self.boxes.shape != (n, 4) or self.box.shape != (4,) or self.cells.shape != (len(self.cells), 2):
            raise ValueError(
                f"expected boxes (n, 4), box (4,) and cells (m, 2), "
                f"got {self.boxes.shape}, {self.box.shape} and {self.cells.shape}"
            )
        rows = np.append(self.members, self.own)
        if ((rows < 0) | (rows >= n)).any():
            raise ValueError(f"expected rows of the {n} boxes, got {rows.min()} to {rows.max()}")
        if not 0 < self.um_per_px < np.inf:
            raise ValueError(f"expected a positive pixel size in um, got {self.um_per_px}")


@runtime_checkable
class HasSurroundings(Protocol):
    """A dataset that knows where in a section its samples lie."""

    def surroundings(self, row: int) -> Surroundings | None:
        """Return where the sample at a row of the ids lies; None where this task cannot tell.

        Raises:
            MissingDataError: a file that tells it is nowhere.
        """
