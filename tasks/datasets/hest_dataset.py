"""The samples of a HEST task in one order, with their targets, folds and views."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.hashing import hash_code, hash_file, hash_value
from harness.pictures import Surroundings
from harness.types import Batch

from ..expression import ExpressionFold
from ..metrics.boxes import place_patches
from .hest_cells import StructureViews
from .hest_patches import SIDE, SIDE_UM, PatchImages
from .hest_sections import Section

VIEWS = ("image", "graph_image", "points")


@dataclass(frozen=True)
class HestDataset:
    """Samples of all sections, section after section, in the order of their patch files.

    Sections stand in the order of their first appearance in train_0, test_0, train_1, test_1, and so on. Attributes
    not listed are those of :class:`harness.tasks.expression.ExpressionTargets`.

    Attributes:
        ids: ``SECTION/BARCODE``.
        findings: what the reader found odd.
        sections: the sections.
        files: (public name, local path) of every file that holds targets or patches.
        structure: the views made of nuclei; no file of theirs is opened before one is asked for.
    """

    ids: tuple[str, ...]
    section: tuple[str, ...]
    genes: tuple[str, ...]
    targets: NDArray[np.float64]
    folds: tuple[ExpressionFold, ...]
    clusters: tuple[str, ...]
    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    files: tuple[tuple[str, Path], ...]
    structure: StructureViews
    _images: PatchImages = field(default_factory=PatchImages, repr=False, compare=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """Findings, and the number of patches without a nucleus once a structure view has been asked for."""
        return (*self.findings, *self.structure.notes)

    @cached_property
    def data_hash(self) -> str:
        """sha256 over the names and contents of the files with splits, genes, counts and patches.

        The same for every view, because scores of all views of a task are compared: nuclei make other embeddings of
        the same samples and targets, and stand in :meth:`fingerprint`.
        """
        return hash_value(sorted([name, hash_file(path)] for name, path in self.files))

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of files, sample order, options and code that shape a view.

        For ``image`` the files are those with the patches; for the structure views the segmentations, the pixel sizes
        and the positions of the patches, and for ``graph_image`` the options of drawing too. The nuclei are read.
        """
        _check_view(view)
        if view == "image":
            shape: object = [hash_file(section.patches.path) for section in self.sections]
        else:
            shape = self.structure.facts(view)
        ids = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()
        return hash_value({"view": view, "shape": shape, "ids": ids, "code": hash_code(__name__)})

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read a range of patches, which may cross sections.

        Returns:
            ``image``: (N, 3, 224, 224) uint8 RGB. ``graph_image``: the same shape, three views of one channel,
            read-only; black where a patch holds no nucleus. ``points``: N arrays (n_i, 2) float32, n_i may be 0: such
            a patch stays, because without it the image view would have other samples (our choice).

        Raises:
            UsageError: another view.
            SpecError: a structure view, and the task names no repository of slides.
            MissingDataError: a structure view, and nuclei or pixel size of a section are nowhere.
            DamagedFileError: a patch file without pixels, an unreadable file, or nuclei that do not join the patches.
        """
        _check_view(view)
        ids = self.ids[start:stop]
        if view == "points":
            sets = [self.structure.cells[number].points(row) for number, row in self._places(start, stop)]
            return Batch(ids, view, points=tuple(sets))
        if view == "graph_image":
            pictures = np.empty((len(ids), 1, SIDE, SIDE), dtype=np.uint8)
            for picture, (number, row) in zip(pictures, self._places(start, stop), strict=True):
                picture[0] = self.structure.cells[number].picture(row, self.structure.options)
            return Batch(ids, view, images=np.broadcast_to(pictures, (len(ids), 3, SIDE, SIDE)))
        images = np.empty((len(ids), 3, SIDE, SIDE), dtype=np.uint8)
        first = 0
        for section, rows in zip(self.sections, self._rows(start, stop), strict=True):
            if len(rows):
                self._images.read(section.patches.path, rows, images[first : first + len(rows)])
            first += len(rows)
        return Batch(ids, view, images=images)

    def surroundings(self, row: int) -> Surroundings | None:
        """Return where a sample lies in its section; its neighbourhood is its own patch. None without slides."""
        if not self.structure.offered:
            return None
        ((number, patch),) = self._places(row, row + 1)
        cells = self.structure.cells[number]
        boxes = place_patches(cells.corners, SIDE_UM / cells.um_per_px)
        inside = cells.nuclei[cells.members.of(patch)]
        return Surroundings(boxes, patch, np.array([patch]), boxes[patch], inside, cells.um_per_px)

    def _rows(self, start: int, stop: int) -> list[NDArray[np.int64]]:
        """Return for each section the rows of its patch file that a range of samples takes."""
        ends = np.cumsum([len(section.patch_rows) for section in self.sections])
        return [
            section.patch_rows[
                max(start - end + len(section.patch_rows), 0) : max(stop - end + len(section.patch_rows), 0)
            ]
            for section, end in zip(self.sections, ends.tolist(), strict=True)
        ]

    def _places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return for each sample of a range the number of its section and its row in that patch file."""
        return [(number, int(row)) for number, rows in enumerate(self._rows(start, stop)) for row in rows]


def _check_view(view: str) -> None:
    if view not in VIEWS:
        raise UsageError(f"view {view!r}: the hest reader offers {', '.join(VIEWS)}")
