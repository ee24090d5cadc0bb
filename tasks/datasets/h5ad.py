"""AnnData files (``.h5ad``) read with h5py alone: names, positions and counts, dense or sparse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

if TYPE_CHECKING:
    import h5py

_BLOCK = 512  # rows held densely at a time: 512 spots x 36,000 genes are 150 MB in float64


@dataclass(frozen=True)
class Spots:
    """What an h5ad file says about its spots, counts left out.

    Attributes:
        path: the file.
        names: ``obs_names``, the barcodes, in file order.
        genes: ``var_names``, in file order.
        centres: (n_spots, 2) float64 x, y in full-resolution pixels (``obsm['spatial']``), or None.
    """

    path: Path
    names: tuple[str, ...]
    genes: tuple[str, ...]
    centres: NDArray[np.float64] | None


@contextmanager
def open_h5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; whatever h5py cannot read inside the block is a damaged file.

    Raises:
        DamagedFileError: not HDF5, truncated, or a dataset is missing or not of the kind that is read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # the last two: text, number formats
        raise DamagedFileError(f"{path}: not a readable HDF5 file ({error}); copy or download it again") from error


def read_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset of an open file.

    Raises:
        DamagedFileError: the file has no dataset of that name.
    """
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        have = ", ".join(file) or "nothing"
        raise DamagedFileError(
            f"{file.filename}: dataset {name!r} is missing (the file holds {have}); half-written? download it again"
        )
    return found


def read_text(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Read a dataset of byte or UTF-8 strings of any shape as a flat tuple."""
    return tuple(value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(dataset[()]))


def refuse_twins(path: Path, field: str, names: Sequence[str]) -> None:
    """Check that barcodes are unique.

    Raises:
        DamagedFileError: saying how many stand more than once, and the first three.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DamagedFileError(
            f"{path}: {field}: {len(repeated)} barcodes stand more than once, the first: {', '.join(repeated[:3])}"
        )


def read_spots(path: Path) -> Spots:
    """Read names and positions.

    Raises:
        DamagedFileError: unreadable, a part is missing or of another shape, or a barcode stands twice.
    """
    with open_h5(path) as file:
        names, genes = _read_index(file, "obs"), _read_index(file, "var")
        centres = np.asarray(file["obsm/spatial"], dtype=np.float64) if "obsm/spatial" in file else None
    refuse_twins(path, "obs_names", names)
    if centres is not None:
        if centres.ndim != 2 or len(centres) != len(names) or centres.shape[1] < 2:
            raise DamagedFileError(
                f"{path}: obsm/spatial: expected x and y of {len(names)} spots, found the shape {centres.shape}"
            )
        centres = centres[:, :2]
    return Spots(path, names, genes, centres)


def iterate_counts(spots: Spots) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """Yield ``X`` in dense blocks of rows: (rows, (n_rows, n_genes) in the stored number type).

    Reads dense arrays, CSR and CSC.

    Raises:
        DamagedFileError: ``X`` is missing, not numbers, of another encoding, or of another shape than the names.
    """
    import h5py

    shape = (len(spots.names), len(spots.genes))
    with open_h5(spots.path) as file:
        stored = file.get("X")
        if stored is None:
            raise DamagedFileError(f"{spots.path}: dataset 'X' is missing; half-written? download it again")
        rows = stored if isinstance(stored, h5py.Dataset) else _read_sparse(stored, spots.path)
        if tuple(rows.shape) != shape:
            raise DamagedFileError(f"{spots.path}: X: expected {shape} (obs x var), found {tuple(rows.shape)}")
        if rows.dtype.kind not in "biuf":
            raise DamagedFileError(f"{spots.path}: X: expected numbers, found {rows.dtype}")
        for start in range(0, shape[0], _BLOCK):
            part = slice(start, min(start + _BLOCK, shape[0]))
            block = rows[part]
            yield part, block if isinstance(block, np.ndarray) else block.toarray()


def _read_sparse(group: h5py.Group, path: Path):  # type: ignore[no-untyped-def]  # a scipy CSR matrix
    from scipy.sparse import csc_matrix, csr_matrix

    encoding = group.attrs.get("encoding-type", "?")
    kind = {"csr_matrix": csr_matrix, "csc_matrix": csc_matrix}.get(str(encoding))
    if kind is None:
        raise DamagedFileError(f"{path}: X: expected a dense array, csr_matrix or csc_matrix, found {encoding!r}")
    try:
        parts = tuple(np.asarray(group[name]) for name in ("data", "indices", "indptr"))
        matrix = kind(parts, shape=tuple(int(size) for size in group.attrs["shape"]))
        matrix.check_format(full_check=True)  # an index out of range would write beyond the dense block
        return matrix.tocsr()
    except ValueError as error:
        raise DamagedFileError(f"{path}: X: not a valid {encoding} ({error})") from error


def _read_index(file: h5py.File, axis: str) -> tuple[str, ...]:
    frame = file.get(axis)
    if frame is None or not hasattr(frame, "attrs") or "_index" not in frame.attrs:
        raise DamagedFileError(f"{file.filename}: {axis}: expected an AnnData data frame (0.7 or newer)")
    column = f"{axis}/{frame.attrs['_index']}"
    nullable = f"{column}/values"  # string arrays with a mask, as written by newer AnnData
    return read_text(read_dataset(file, nullable if nullable in file else column))
