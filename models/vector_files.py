"""Vectors in files: parquet, csv, npz, h5, or a folder with one h5 a section."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError

from .vector_tables import IDS, VectorTable, read_table

KINDS = (".parquet", ".csv", ".csv.gz", ".npz", ".h5")
_TABLES = (".parquet", ".csv", ".csv.gz")
_VECTORS = ("features", "embeddings")
_LAST = "last"


def list_stages(path: Path) -> list[str]:
    """Name the stages of a file: the arrays of an npz beside ``ids``, else one called ``last``.

    Raises:
        DamagedFileError: an npz that cannot be read, or holds no vectors.
    """
    if path.is_dir() or path.suffix.lower() != ".npz":
        return [_LAST]
    with _open_npz(path) as arrays:
        names = [name for name in arrays.files if name != "ids"]
        if not names or len(names) == len(arrays.files):
            found = ", ".join(arrays.files) or "none"
            raise DamagedFileError(f"{path}: expected the arrays ids and features, found {found}")
    return [_LAST] if len(names) == 1 else names


def read_vectors(
    path: Path,
    id_column: str | None,
    columns: str | None,
    keys: Sequence[str] = (),
    metadata: Collection[str] = (),
) -> dict[str, VectorTable]:
    """Read a file or folder of vectors.

    Args:
        path: parquet, csv, csv.gz: an id column and numeric columns. npz: ``ids`` and ``features``, or one array a
            stage. h5: ``ids`` or ``barcodes``, ``features`` or ``embeddings``. A folder: h5 files named by section,
            whose sample ids are SECTION/BARCODE.
        id_column: column of the ids, for tables.
        columns: pattern of the feature columns, for tables.
        keys: columns by which the samples can be named instead of by one id, for tables.
        metadata: columns that are no features unless ``columns`` asks for them, for tables.

    Returns:
        Stage -> table.

    Raises:
        DamagedFileError: unreadable, contradictory, or an id twice.
        UsageError: a column that is not there, or an option this kind of file does not have.
    """
    kind = path.name.lower()
    if (path.is_dir() or not kind.endswith(_TABLES)) and (id_column or columns):
        raise UsageError(f"embeddings:{path}: the options id and columns are for parquet and csv files")
    if path.is_dir():
        tables = {_LAST: _read_folder(path)}
    elif kind.endswith(".npz"):
        tables = _read_npz(path)
    elif kind.endswith(".h5"):
        tables = {_LAST: _read_h5(path, "")}
    else:
        tables = {_LAST: read_table(path, id_column, columns, keys, metadata)}
    for table in tables.values():
        _check(path, table)
    return tables


def _read_folder(path: Path) -> VectorTable:
    parts = [_read_h5(file, f"{file.stem}/") for file in sorted(path.glob("*.h5"))]
    lengths = {table.features.shape[1] for table in parts}
    if len(lengths) > 1:
        raise DamagedFileError(f"{path}: the files hold vectors of different lengths: {sorted(lengths)}")
    ids = tuple(sample for table in parts for sample in table.ids)
    return VectorTable(ids, np.concatenate([table.features for table in parts]))


@contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    """Open an npz without unpickling anything; what numpy raises while it is read becomes one error."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        # TypeError: a single array under the name of an npz
        raise DamagedFileError(f"{path}: cannot be read ({error}); write the file again, without objects") from error


def _read_npz(path: Path) -> dict[str, VectorTable]:
    stages = list_stages(path)
    with _open_npz(path) as arrays:
        ids = tuple(map(_text, arrays["ids"].ravel()))
        names = [name for name in arrays.files if name != "ids"]
        return {
            stage: VectorTable(ids, _floats(path, name, arrays[name]))
            for stage, name in zip(stages, names, strict=True)
        }


def _read_h5(path: Path, prefix: str) -> VectorTable:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            held = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            ids = next((name for name in IDS if name in held), None)
            vectors = next((name for name in _VECTORS if name in held), None)
            if ids is None or vectors is None:
                found = ", ".join(held) or "nothing"
                raise DamagedFileError(f"{path}: expected ids or barcodes, features or embeddings; found {found}")
            names = tuple(prefix + _text(name) for name in np.asarray(held[ids][()]).ravel())
            return VectorTable(names, _floats(path, vectors, np.asarray(held[vectors][()])))
    except (OSError, TypeError, ValueError, KeyError, RuntimeError) as error:  # what h5py raises for damaged parts
        # TypeError: a number format that numpy does not have
        raise DamagedFileError(f"{path}: cannot be read ({error}); write the file again as float32") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _floats(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DamagedFileError(
            f"{path}: {name}: expected real numbers (n, D), found {array.dtype} of shape {array.shape}; "
            "write the file again as float32"
        )
    return array.astype(np.float32)


def _check(path: Path, table: VectorTable) -> None:
    if len(table.ids) != len(table.features):
        raise DamagedFileError(f"{path}: {len(table.ids)} ids, but {len(table.features)} vectors")
    if not table.ids or not table.features.shape[1]:
        raise DamagedFileError(f"{path}: holds no vectors (shape {table.features.shape})")
    if table.keys:  # rows of one well are averaged
        return
    twins = [name for name, count in Counter(table.ids).items() if count > 1]
    if twins:
        raise DamagedFileError(f"{path}: {len(twins)} ids stand more than once: {', '.join(twins[:3])}")
