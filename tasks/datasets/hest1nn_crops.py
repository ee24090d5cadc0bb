"""Pictures of neighbourhoods: crops of the slide, or the patches of the members laid out where there is no slide."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .h5ad import read_dataset
from .hest1nn_draft import Draw
from .hest1nn_geometry import Plan
from .hest1nn_params import NeighbourOptions
from .hest1nn_samples import SectionSamples
from .hest_patches import SIDE, SIDE_UM
from .slide import Slide, open_slide
from .slide_resample import resample

if TYPE_CHECKING:
    import h5py

_PATCH_UM = SIDE_UM / SIDE  # um a pixel of a patch
_CLOSE = 0.01  # share by which the size of a slide may differ from what the metadata state
_CACHE = 128 * 2**20  # decoded chunks of the patch file: neighbouring samples share most of their members


def check_slide(path: Path, plan: Plan) -> None:
    """Check that a slide is that of its section; reads no pixels.

    Raises:
        DamagedFileError: it cannot be opened, has another size than the metadata state, or patches lie outside it.
    """
    with open_slide(path) as slide:
        size = np.array(slide.size)
    told = f"{path}: the slide of section {plan.name} has {size[0]} x {size[1]} px"
    if plan.size is not None and (np.abs(size - plan.size) > _CLOSE * np.array(plan.size)).any():
        raise DamagedFileError(
            f"{told}, its metadata state {plan.size[0]} x {plan.size[1]}; another section or another resolution? "
            "Download slide and metadata again"
        )
    squares = plan.squares[: len(plan.section.patch_rows)]
    centres = (squares[:, :2] + squares[:, 2:]) / 2
    outside = np.flatnonzero(((centres < 0) | (centres > size)).any(axis=1))
    if len(outside):
        first = plan.section.patches.barcodes[outside[0]]
        raise DamagedFileError(
            f"{told}, and {len(outside)} of {len(centres)} patches lie outside it, the first: {first}; "
            "are slide and patch file of one section and resolution?"
        )


@contextmanager
def open_crops(path: Path, boxes: NDArray[np.float64], options: NeighbourOptions) -> Iterator[Draw]:
    """Open a slide for threads, a handle each; give the function that crops the box of a row.

    The function returns (224, 224, 3) uint8 RGB and raises DamagedFileError where the slide cannot be decoded.
    """
    own = threading.local()
    opened: list[Slide] = []

    def crop(row: int) -> NDArray[np.uint8]:
        if not hasattr(own, "slide"):
            own.slide = open_slide(path)
            opened.append(own.slide)
        slide: Slide = own.slide
        return slide.crop(boxes[row], SIDE, fit=options.resize, filter=options.filter)

    try:
        yield crop
    finally:
        for slide in opened:
            slide.close()


@contextmanager
def open_mosaics(samples: SectionSamples, options: NeighbourOptions) -> Iterator[Draw]:
    """Open a patch file; give the function that lays out the patches of a sample's members at 0.5 um a pixel.

    A patch covers what came before, that of the spot in the middle comes last; members without a patch and gaps are
    white. The function returns (224, 224, 3) uint8 RGB and raises DamagedFileError where a patch cannot be read.
    """
    plan, lock = samples.plan, threading.Lock()
    scale = plan.um_per_px / _PATCH_UM
    with _open_patches(plan.section.patches.path) as file:

        def draw(row: int) -> NDArray[np.uint8]:
            neighbourhood = samples.rows[row]
            centre, box = samples.cells.spots[neighbourhood], samples.cells.boxes[neighbourhood]
            members = samples.cells.members.of(neighbourhood)
            others = members[(members < len(plan.section.patch_rows)) & (members != centre)]
            order = [*others.tolist(), int(centre)]
            with lock:
                patches = [_read_patch(file, patch) for patch in order]
            corners = (plan.squares[order, :2] - box[:2]) * scale
            return _shrink(_paste(patches, corners, (box[2:] - box[:2]) * scale), options)

        yield draw


def _open_patches(path: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(path, "r", rdcc_nbytes=_CACHE)
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error}); download it again") from error


def _read_patch(file: h5py.File, row: int) -> NDArray[np.uint8]:
    images = read_dataset(file, "img")
    try:
        patch: NDArray[np.uint8] = images[row]
    except (OSError, RuntimeError) as error:
        raise DamagedFileError(
            f"{file.filename}: img: row {row} cannot be read ({error}); download it again"
        ) from error
    return patch


def _paste(
    patches: list[NDArray[np.uint8]], corners: NDArray[np.float64], extent: NDArray[np.float64]
) -> NDArray[np.uint8]:
    columns, rows = np.rint(extent).astype(int)
    canvas = np.full((rows, columns, 3), 255, dtype=np.uint8)
    for patch, (x, y) in zip(patches, np.rint(corners).astype(int), strict=True):
        part = canvas[y : y + SIDE, x : x + SIDE]
        part[:] = patch[: part.shape[0], : part.shape[1]]
    return canvas


def _shrink(canvas: NDArray[np.uint8], options: NeighbourOptions) -> NDArray[np.uint8]:
    size = np.array(canvas.shape[1::-1], dtype=np.float64)
    columns, rows = (SIDE, SIDE) if options.resize == "stretch" else np.rint(size * SIDE / size.max()).astype(int)
    picture = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    top, left = (SIDE - rows) // 2, (SIDE - columns) // 2
    picture[top : top + rows, left : left + columns] = resample(
        canvas, np.zeros(2), size, (int(rows), int(columns)), options.filter
    )
    return picture
