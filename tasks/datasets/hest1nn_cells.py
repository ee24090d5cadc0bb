"""The cells of each neighbourhood: nuclei are read and binned once, and what was found is kept in a file."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import CannotWriteError, DamagedFileError
from harness.hashing import hash_file
from harness.types import DataContext

from ..metrics.binning import Members
from ..metrics.boxes import Area, bin_cells
from .hest1nn_folder import hash_sources, name_folder
from .hest1nn_geometry import Plan
from .hest_cells import find_nuclei
from .hest_copies import refuse_copies
from .hest_frame import check_frame, check_inside
from .hest_nuclei import read_centroids
from .mirror import Repository

_CODE = (
    "datasets/hest_nuclei.py", "datasets/*_rings.py", "metrics/binning.py", "metrics/boxes.py",
    "datasets/hest1nn_cells.py",
)  # fmt: skip


@dataclass(frozen=True)
class SectionCells:
    """The neighbourhoods of a section that hold a cell, the same for every view.

    Attributes:
        nuclei: (n_nuclei, 2) float64 centroids of all nuclei of the section, slide pixels.
        spots: (k,) int64 row of the patch in the middle, ascending.
        members: rows of the section's squares in each neighbourhood.
        boxes: (k, 4) float64 x0, y0, x1, y1 in slide pixels.
        start: (k + 1,) int64; the cells of neighbourhood r are ``index[start[r]:start[r + 1]]``, at least one.
        index: (start[-1],) int32 rows of ``nuclei``.
    """

    nuclei: NDArray[np.float64]
    spots: NDArray[np.int64]
    members: Members
    boxes: NDArray[np.float64]
    start: NDArray[np.int64]
    index: NDArray[np.int32]

    def inside(self, row: int) -> NDArray[np.float64]:
        """Return (m, 2) float64 x, y of the cells of a neighbourhood, slide pixels, in the order of the file."""
        cells: NDArray[np.float64] = self.nuclei[self.index[self.start[row] : self.start[row + 1]]]
        return cells


@dataclass(frozen=True)
class TaskCells:
    """The cells of all sections of a task.

    Attributes:
        sections: in the order of the plans.
        files: (public name, local path) of the segmentations.
        digest: sha256 over all that shapes them: nuclei, squares, neighbourhoods, how they are binned, code.
        notes: what is odd about the nuclei.
    """

    sections: tuple[SectionCells, ...]
    files: tuple[tuple[str, Path], ...]
    digest: str
    notes: tuple[str, ...]


def prepare_cells(plans: Sequence[Plan], slides: Repository, context: DataContext, area: Area) -> TaskCells:
    """Bin the nuclei of all sections, or read what an earlier run found.

    Raises:
        MissingDataError: a section has no segmentation.
        DamagedFileError: a segmentation cannot be read, is that of another section or lies outside the slide, or no
            neighbourhood of a section holds a cell.
        CannotWriteError: the folder of prepared files cannot be written.
    """
    paths = [find_nuclei(plan.name, slides, context, "every view of hest1nn needs") for plan in plans]
    refuse_copies("segmentations", [(plan.name, path) for plan, path in zip(plans, paths, strict=True)])
    facts = {
        "sections": [[plan.name, hash_file(path), _hash_plan(plan)] for plan, path in zip(plans, paths, strict=True)],
        "area": area,
        "code": hash_sources(*_CODE),
    }
    folder = name_folder(context.cache, {"kind": "cells", **facts})
    sections = []
    context.progress.start(f"Nuclei of {len(plans)} sections", len(plans))
    try:
        for plan, path in zip(plans, paths, strict=True):
            sections.append(_prepare(folder / f"{plan.name}.h5", plan, path, area, context))
            context.progress.advance(1)
    finally:
        context.progress.finish()
    files = tuple((f"{slides.name}/cellvit_seg/{path.name}", path) for path in paths)
    notes = [
        check_inside(plan.name, _patches(plan), path, one.nuclei, plan.size)
        for plan, path, one in zip(plans, paths, sections, strict=True)
    ]
    return TaskCells(tuple(sections), files, folder.name, tuple(filter(None, notes)))


def _prepare(file: Path, plan: Plan, nuclei: Path, area: Area, context: DataContext) -> SectionCells:
    if file.exists():
        try:
            return _load(file)
        except DamagedFileError as error:
            context.progress.warn(f"{error}; it is made again")
    found = _bin(plan, nuclei, area)
    _save(file, found)
    return found


def _bin(plan: Plan, path: Path, area: Area) -> SectionCells:
    nuclei = read_centroids(path)
    check_frame(plan.name, _patches(plan), path, nuclei)
    found = bin_cells(plan.squares, plan.members, nuclei, area)
    if not len(found.spots):
        raise DamagedFileError(f"{path}: no neighbourhood of section {plan.name} holds a nucleus")
    return SectionCells(
        nuclei, found.spots, found.members, found.boxes, found.cells.start, found.cells.index.astype(np.int32)
    )


def _patches(plan: Plan) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = plan.squares[: len(plan.section.patch_rows)]
    return squares


def _hash_plan(plan: Plan) -> str:
    digest = hashlib.sha256(plan.squares.tobytes())
    for part in (plan.members.start, plan.members.index):
        digest.update(part.tobytes())
    return digest.hexdigest()


def _save(path: Path, cells: SectionCells) -> None:
    import h5py

    arrays = {
        "nuclei": cells.nuclei, "spot": cells.spots, "box": cells.boxes, "cell_start": cells.start,
        "cell_index": cells.index, "member_start": cells.members.start, "member_index": cells.members.index,
    }  # fmt: skip
    draft = path.with_name(f"{path.name}.{secrets.token_hex(6)}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(draft, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, chunks=True, fletcher32=True)
        draft.replace(path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):  # half a file would only fill a full disk
            draft.unlink(missing_ok=True)
        raise CannotWriteError(f"{path}: cannot be written ({error}); free some space or move the cache") from error


def _load(path: Path) -> SectionCells:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            arrays = {name: file[name][()] for name in file}
        members = Members(arrays["member_start"], arrays["member_index"])
        return SectionCells(
            arrays["nuclei"], arrays["spot"], members, arrays["box"], arrays["cell_start"], arrays["cell_index"]
        )
    except (OSError, KeyError, RuntimeError) as error:
        raise DamagedFileError(f"{path}: cannot be read ({error})") from error
