"""The samples of HEST-1k-1NN in one order: spots with their first ring of neighbours, targets, folds and views."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.hashing import hash_code, hash_file, hash_value
from harness.pictures import Surroundings
from harness.types import Batch

from ..expression import ExpressionFold
from ..metrics.boxes import Centre, scale_points
from .hest1nn_pictures import Pictures
from .hest1nn_samples import SectionSamples
from .hest_patches import SIDE

VIEWS = ("image", "graph_image", "points")
_GEOMETRY = "harness.tasks.metrics.neighbourhoods"


@dataclass(frozen=True)
class Hest1nnDataset:
    """Samples of all sections, section after section, in the order of their patch files; the same for every view.

    Sections stand in the order of their first appearance in train_0, test_0, train_1, test_1, and so on. Attributes
    not listed are those of :class:`harness.tasks.expression.ExpressionTargets`; targets are means over neighbourhoods.

    Attributes:
        ids: ``SECTION/BARCODE`` of the spot in the middle.
        notes: what a reader of the score should know.
        sections: the samples of each section.
        files: (public name, local path) of every file that shapes samples and targets; slides do not.
        cells: sha256 over all that shapes cells and boxes.
        centre: origin of ``points``.
        images: crops.
        graphs: pictures of graphs.
    """

    ids: tuple[str, ...]
    section: tuple[str, ...]
    genes: tuple[str, ...]
    targets: NDArray[np.float64]
    folds: tuple[ExpressionFold, ...]
    clusters: tuple[str, ...]
    notes: tuple[str, ...]
    sections: tuple[SectionSamples, ...]
    files: tuple[tuple[str, Path], ...]
    cells: str
    centre: Centre
    images: Pictures
    graphs: Pictures

    @cached_property
    def data_hash(self) -> str:
        """sha256 over names and contents of the files with splits, genes, counts, patches and nuclei, and lengths.

        The same for every view. Nuclei belong to it because they decide which neighbourhoods are samples.
        """
        files = sorted([name, hash_file(path)] for name, path in self.files)
        lengths = sorted([one.plan.name, one.plan.um_per_px, one.plan.pitch] for one in self.sections)
        return hash_value({"files": files, "lengths": lengths})

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of files, sample order, options and code that shape a view; nothing is prepared for it.

        For ``image`` the files are the slides; a missing one counts as such, and reading will tell.
        """
        _check_view(view)
        if view == "points":
            shape: object = [self.cells, self.centre]
        else:
            shape = (self.images if view == "image" else self.graphs).maker.facts()
        code = [hash_code(__name__), hash_code(_GEOMETRY)]
        return hash_value({"view": view, "shape": shape, "ids": hash_value(self.ids), "code": code})

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read a range of samples, which may cross sections; sections are prepared when they are first read.

        Returns:
            ``image``: (N, 3, 224, 224) uint8 RGB. ``graph_image``: the same shape, three views of one channel,
            read-only. ``points``: N arrays (n_i, 2) float32, n_i >= 1, within -1 .. 1 unless centred otherwise.

        Raises:
            UsageError: another view.
            MissingDataError: ``image``, and a slide is nowhere.
            DamagedFileError: a slide, patch file or prepared file is damaged or of another section.
            CannotWriteError: prepared files cannot be written.
        """
        _check_view(view)
        ids = self.ids[start:stop]
        spans = self._spans(start, stop)
        if view == "points":
            rows = [(number, row) for number, first, last in spans for row in range(first, last)]
            return Batch(ids, view, points=tuple(self._points(number, row) for number, row in rows))
        pictures = self.images if view == "image" else self.graphs
        shape = (0, SIDE, SIDE, 3) if view == "image" else (0, SIDE, SIDE)
        parts = [np.empty(shape, dtype=np.uint8), *(pictures.read(*span) for span in spans)]
        read = np.concatenate(parts)
        if view == "image":
            return Batch(ids, view, images=read.transpose(0, 3, 1, 2))
        return Batch(ids, view, images=np.broadcast_to(read[:, None], (len(ids), 3, SIDE, SIDE)))

    def surroundings(self, row: int) -> Surroundings:
        """Return where a sample lies in its section; no slide is read."""
        ((number, sample, _),) = self._spans(row, row + 1)
        section = self.sections[number]
        place = section.rows[sample]
        return Surroundings(
            boxes=section.plan.squares,
            own=int(section.cells.spots[place]),
            members=section.cells.members.of(place),
            box=section.cells.boxes[place],
            cells=section.cells.inside(place),
            um_per_px=section.plan.um_per_px,
        )

    def _points(self, number: int, sample: int) -> NDArray[np.float32]:
        section = self.sections[number]
        row = section.rows[sample]
        return scale_points(section.cells.inside(row), section.cells.boxes[row], self.centre)

    def _spans(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return (number of a section, first, last + 1 of its samples) for the sections that a range meets."""
        spans, first = [], 0
        for number, section in enumerate(self.sections):
            low, high = max(start - first, 0), min(stop - first, len(section.rows))
            if low < high:
                spans.append((number, low, high))
            first += len(section.rows)
        return spans


def _check_view(view: str) -> None:
    if view not in VIEWS:
        raise UsageError(f"view {view!r}: the hest1nn reader offers {', '.join(VIEWS)}")
