"""The samples of one section: which of its neighbourhoods are used, in which order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hest1nn_cells import SectionCells
from .hest1nn_geometry import Plan


@dataclass(frozen=True)
class SectionSamples:
    """The samples of a section.

    Attributes:
        plan: spots, patches and their squares.
        cells: all neighbourhoods that hold a cell.
        rows: (n,) int64 those of ``cells`` that are samples, ascending.
    """

    plan: Plan
    cells: SectionCells
    rows: NDArray[np.int64]

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, ``SECTION/BARCODE`` of the spot in the middle."""
        barcodes = self.plan.section.patches.barcodes
        return tuple(f"{self.plan.name}/{barcodes[patch]}" for patch in self.cells.spots[self.rows])

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(n, 4) float64 x0, y0, x1, y1 of the neighbourhoods, slide pixels."""
        boxes: NDArray[np.float64] = self.cells.boxes[self.rows]
        return boxes

    def micrometres(self, sample: int) -> NDArray[np.float64]:
        """Return (m, 2) float64 x, y of the cells of a sample in um from the upper left corner of its box."""
        row = self.rows[sample]
        inside: NDArray[np.float64] = self.cells.inside(row) - self.cells.boxes[row, :2]
        return inside * self.plan.um_per_px

    def extent(self, sample: int) -> tuple[float, float]:
        """Return width and height of the box of a sample in um."""
        box = self.cells.boxes[self.rows[sample]]
        width, height = ((box[2:] - box[:2]) * self.plan.um_per_px).tolist()
        return width, height

    def digest(self) -> str:
        """Return the sha256 of the boxes, of their members and of the squares of these, sample by sample."""
        digest = hashlib.sha256(self.boxes.tobytes() + self.plan.squares.tobytes())
        for row in self.rows:
            digest.update(self.cells.members.of(row).tobytes())
        return digest.hexdigest()
