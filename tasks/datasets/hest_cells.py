"""Nuclei inside the patches of HEST sections, and what is made of them: sets of points and pictures of graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from harness.errors import MissingDataError, SpecError
from harness.hashing import hash_code, hash_file
from harness.types import DataContext

from ..metrics.binning import Members, points_in_boxes
from ..metrics.boxes import place_patches
from .graph_picture import GraphOptions, draw_graph
from .hest_copies import refuse_copies
from .hest_frame import check_frame, check_inside
from .hest_metadata import explain_unknown_size, read_facts
from .hest_nuclei import read_centroids
from .hest_patches import SIDE, SIDE_UM, compare_pixel_sizes
from .hest_sections import Section, find_first
from .mirror import Repository

_BINNING = "harness.tasks.metrics.binning"


@dataclass(frozen=True)
class SectionCells:
    """The nuclei of a section and the patches they lie in.

    Attributes:
        path: the segmentation.
        um_per_px: micrometres a slide pixel.
        nuclei: (n, 2) float64 centroids, full-resolution slide pixels.
        corners: (m, 2) float64 upper left corners of the patches in the same pixels.
        members: nuclei of each patch; both ends of its sides are closed, and a nucleus may lie in several patches.
        note: what is odd about the nuclei, or None.
    """

    path: Path
    um_per_px: float
    nuclei: NDArray[np.float64]
    corners: NDArray[np.float64]
    members: Members
    note: str | None = None

    def micrometres(self, patch: int) -> NDArray[np.float64]:
        """Return (k, 2) float64 x, y of the nuclei of a patch in um from its upper left corner, 0 to 112."""
        inside: NDArray[np.float64] = self.nuclei[self.members.of(patch)] - self.corners[patch]
        return inside * self.um_per_px

    def points(self, patch: int) -> NDArray[np.float32]:
        """Return (k, 2) float32, twice (x, y) - centre over the side of the patch: -1 to 1, y as in the image."""
        return (2 * self.micrometres(patch) / SIDE_UM - 1).astype(np.float32)

    def picture(self, patch: int, options: GraphOptions) -> NDArray[np.uint8]:
        """Return (224, 224) uint8: the graph of the nuclei of a patch."""
        return draw_graph(self.micrometres(patch), (SIDE_UM, SIDE_UM), options, SIDE)


def read_cells(section: Section, slides: Repository, context: DataContext) -> SectionCells:
    """Read the nuclei of a section and find those of each patch of its patch file.

    Raises:
        MissingDataError: no segmentation, or no pixel size.
        DamagedFileError: a file cannot be read, its nuclei are not in the frame of the patches or outside the slide, or
            metadata and patch file contradict each other about the pixel size.
    """
    facts = read_facts(slides, section.name, context)
    if facts.um_per_px is None:
        raise MissingDataError(explain_unknown_size(section.name, facts.unknown))
    compare_pixel_sizes(facts, section.patches)
    path = find_nuclei(section.name, slides, context)
    nuclei = read_centroids(path)
    squares = place_patches(section.patches.corners, SIDE_UM / facts.um_per_px)
    check_frame(section.name, squares, path, nuclei)
    note = check_inside(section.name, squares, path, nuclei, facts.size)
    members = points_in_boxes(nuclei, squares)
    return SectionCells(path, facts.um_per_px, nuclei, section.patches.corners, members, note)


def find_nuclei(name: str, slides: Repository, context: DataContext, need: str = "graph_image and points need") -> Path:
    """Find the segmentation of a section; what lies on disk comes before any download, parquet before GeoJSON.

    Raises:
        MissingDataError: neither file is anywhere; the message says who ``need`` it.
    """
    files = [(slides, f"cellvit_seg/{name}_cellvit_seg.{ending}") for ending in ("parquet", "geojson.zip")]
    return find_first(files, context, f"section {name}: {need} its nuclei:")[1]


class StructureViews:
    """Cells of all sections of a task, read when a structure view is first asked for.

    Safe to use from threads; a pickled copy reads them anew.
    """

    def __init__(
        self, sections: Sequence[Section], slides: Repository | None, context: DataContext, options: GraphOptions
    ) -> None:
        """Keep where the files are; nothing is opened."""
        self._sections, self._slides, self._context, self.options = tuple(sections), slides, context, options
        self._lock = Lock()
        self._cells: tuple[SectionCells, ...] | None = None

    def __reduce__(self) -> tuple[type[StructureViews], tuple[object, ...]]:
        """Pickle without what was read."""
        return StructureViews, (self._sections, self._slides, self._context, self.options)

    @property
    def cells(self) -> tuple[SectionCells, ...]:
        """Cells section by section.

        Raises:
            SpecError: the task names no repository of slides.
            MissingDataError, DamagedFileError: as :func:`read_cells`.
        """
        with self._lock:
            if self._cells is None:
                if self._slides is None:
                    raise SpecError(
                        "source.slides: missing; graph_image and points need the repository with the nuclei, OWNER/REPO"
                    )
                cells = tuple(read_cells(section, self._slides, self._context) for section in self._sections)
                refuse_copies(
                    "segmentations",
                    [(section.name, one.path) for section, one in zip(self._sections, cells, strict=True)],
                )
                self._cells = cells
            return self._cells

    @property
    def offered(self) -> bool:
        """Whether the task names a repository of slides."""
        return self._slides is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """How many patches hold no nucleus and where nuclei lie outside, once a structure view has been asked for."""
        with self._lock:
            cells = self._cells
        if cells is None:
            return ()
        counts = np.concatenate(
            [one.members.counts[section.patch_rows] for one, section in zip(cells, self._sections, strict=True)]
        )
        empty = int((counts == 0).sum())
        told = f"graph_image and points: {empty} of {len(counts)} patches hold no nucleus" if empty else None
        return tuple(filter(None, [told, *(one.note for one in cells)]))

    def facts(self, view: str) -> dict[str, object]:
        """Return what shapes a structure view, as a JSON value."""
        options = self.options.model_dump(mode="json") if view == "graph_image" else None
        return {"sections": self._file_facts, "graph": options, "binning": hash_code(_BINNING)}

    @cached_property
    def _file_facts(self) -> list[list[object]]:
        return [
            [hash_file(one.path), one.um_per_px, hashlib.sha256(one.corners[section.patch_rows].tobytes()).hexdigest()]
            for one, section in zip(self.cells, self._sections, strict=True)
        ]
