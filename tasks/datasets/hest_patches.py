"""The patch files of HEST tasks: barcodes, positions and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .h5ad import open_h5, read_dataset, read_text, refuse_twins
from .hest_metadata import SectionFacts

if TYPE_CHECKING:
    import h5py

SIDE = 224
"""Side of a patch in pixels."""
SIDE_UM = 112.0
"""Side of a patch in micrometres: 224 px at 0.5 um/px."""
_SIZES_AGREE = 0.05  # share by which two statements of a pixel size may differ
_STRAY = 0.1  # share of the spots whose patch may lie elsewhere


@dataclass(frozen=True)
class PatchFile:
    """What a patch file says beside its pixels.

    Attributes:
        path: the file.
        barcodes: one a patch, unique, in file order.
        corners: (n, 2) float64 x, y of the top-left corners in full-resolution slide pixels.
        um_per_px: pixel size of the slide as the file states it, or None.
        has_images: whether the file holds pixels.
    """

    path: Path
    barcodes: tuple[str, ...]
    corners: NDArray[np.float64]
    um_per_px: float | None
    has_images: bool


def read_patch_file(path: Path) -> PatchFile:
    """Read barcodes and positions, and check the shape of the images without reading them.

    Raises:
        DamagedFileError: unreadable, a dataset is missing or of another length, shape or type, or a barcode twice.
    """
    with open_h5(path) as file:
        barcodes = read_text(read_dataset(file, "barcode"))
        corners = np.asarray(read_dataset(file, "coords"), dtype=np.float64)
        images = read_dataset(file, "img") if "img" in file else None
        um_per_px = None if images is None else _pixel_size(path, images)
        if images is not None:
            _check_shape(path, "img", images.shape, (len(barcodes), SIDE, SIDE, 3))
            if images.dtype != np.uint8:
                raise DamagedFileError(f"{path}: img: expected uint8, found {images.dtype}")
    _check_shape(path, "coords", corners.shape, (len(barcodes), 2))
    refuse_twins(path, "barcode", barcodes)
    if not barcodes:
        raise DamagedFileError(f"{path}: no patches")
    return PatchFile(path, barcodes, corners, um_per_px, images is not None)


def check_positions(name: str, patches: PatchFile, centres: NDArray[np.float64]) -> str | None:
    """Compare the corners of patches with the centres of their spots.

    A corner must lie half a patch (56 um) left of and above the centre. Nothing is checked where the pixel size is
    unknown.

    Args:
        name: the section.
        patches: its patch file.
        centres: (n, 2) float64 x, y of the spot of each patch, full-resolution pixels.

    Returns:
        A warning with the measured offset, or with the number of spots without a position (NaN), or None.

    Raises:
        DamagedFileError: x and y are exchanged.
    """
    placed = np.isfinite(centres).all(axis=1)
    if not placed.all():
        first = patches.barcodes[int(np.argmin(placed))]
        number = int((~placed).sum())
        return f"{name}: {number} {'spot' if number == 1 else 'spots'} without a position, first {first}"
    if patches.um_per_px is None:
        return None
    half = SIDE_UM / patches.um_per_px / 2
    offset = centres - patches.corners
    if _agree(offset, half):
        return None
    if _agree(centres - patches.corners[:, ::-1], half):
        raise DamagedFileError(f"{patches.path}: coords: x and y are exchanged; expected columns x, y")
    x, y = offset.mean(axis=0)
    return (
        f"{name}: coords lie ({x:.1f}, {y:.1f}) px before the spot centres on average, expected {half:.1f} px "
        "(half a patch) in both; are they centres instead of top-left corners?"
    )


def check_offsets(name: str, patches: PatchFile, centres: NDArray[np.float64], spots: Path) -> None:
    """Refuse corners and centres that contradict each other from spot to spot; a constant offset passes.

    Args:
        name: the section.
        patches: its patch file, with a pixel size.
        centres: (n, 2) float64 x, y of the spot of each patch, finite, full-resolution pixels.
        spots: the h5ad file with the centres, for the message.

    Raises:
        DamagedFileError: more than a tenth of the offsets are farther than a quarter of a patch from the median one.
    """
    if patches.um_per_px is None:
        return
    allowed = SIDE_UM / patches.um_per_px / 4
    offset = centres - patches.corners
    away = np.abs(offset - np.median(offset, axis=0)).max(axis=1)
    if np.quantile(away, 1 - _STRAY) > allowed:
        number, worst = int((away > allowed).sum()), patches.barcodes[int(np.argmax(away))]
        raise DamagedFileError(
            f"section {name}: {patches.path} and {spots} contradict each other: from coords to obsm/spatial "
            f"{number} of {len(away)} spots lie more than {allowed:.0f} px (a quarter of a patch) off their median, "
            f"{worst} {away.max():.0f} px, expected at most {_STRAY:.0%}; are both files of the same section?"
        )


def compare_pixel_sizes(facts: SectionFacts, patches: PatchFile) -> None:
    """Compare the pixel size of the metadata with that of the patch file, where both state one.

    Raises:
        DamagedFileError: they differ by more than 5 %.
    """
    told, found = facts.um_per_px, patches.um_per_px
    if told is not None and found is not None and abs(told - found) > _SIZES_AGREE * found:
        raise DamagedFileError(
            f"{facts.source}: {told:.6g} um, but {patches.path}: img states {found:.6g} um, expected the same within "
            f"{_SIZES_AGREE:.0%}; correct the wrong one or download both files again"
        )


class PatchImages:
    """Pixels of patch files, read range by range; files stay open. Safe to use from threads and to pickle."""

    def __init__(self) -> None:
        """Start with no file open."""
        self._lock = Lock()
        self._open: dict[Path, h5py.File] = {}

    def __reduce__(self) -> tuple[type[PatchImages], tuple[()]]:
        """Pickle without open files."""
        return PatchImages, ()

    def read(self, path: Path, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Fill ``out`` (n, 3, 224, 224) with the patches at ``rows`` (ascending) of one file.

        Raises:
            DamagedFileError: no pixels, or unreadable ones.
        """
        import h5py

        with self._lock:
            try:
                if path not in self._open:
                    self._open[path] = h5py.File(path, "r")
                _read_rows(read_dataset(self._open[path], "img"), rows, out)
            except OSError as error:
                raise DamagedFileError(f"{path}: img: cannot be read ({error}); download the file again") from error


def _read_rows(images: h5py.Dataset, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    whole = len(rows) == rows[-1] - rows[0] + 1
    chosen = slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows
    if images.chunks is not None and images.chunks[3] == 1:  # planar chunks: half the time of interleaving in HDF5
        for channel in range(3):
            out[:, channel] = images[chosen, :, :, channel]
    else:
        out[:] = images[chosen].transpose(0, 3, 1, 2)


def _pixel_size(path: Path, images: h5py.Dataset) -> float | None:
    name = next((name for name in ("pixel_size", "factor") if name in images.attrs), None)
    if name is None:
        return None
    value = float(images.attrs[name])
    if not 0 < value < np.inf:
        raise DamagedFileError(f"{path}: img: attribute {name}: expected a positive number, found {value}")
    return value if name == "pixel_size" else 0.5 / value  # older files: 0.5 um/px over the pixel size


def _check_shape(path: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise DamagedFileError(f"{path}: {name}: expected shape {expected} for {expected[0]} barcodes, found {found}")


def _agree(offset: NDArray[np.float64], half: float) -> bool:
    return bool((np.abs(offset - half) <= half / 2).all())
