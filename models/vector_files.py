"""Tables of vectors in files: parquet, csv, npz, h5, or a folder with one h5 a section."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError

if TYPE_CHECKING:
    import pandas as pd

KINDS = (".parquet", ".csv", ".csv.gz", ".npz", ".h5")
_IDS = ("sample_id", "id", "ids", "well_id", "barcode", "barcodes")
_VECTORS = ("features", "embeddings")
_LAST = "last"


@dataclass(frozen=True)
class VectorTable:
    """Vectors by sample id.

    Attributes:
        ids: (n,) unique.
        features: (n, D) float32, perhaps not finite.
        remark: which columns were left out, or empty.
    """

    ids: tuple[str, ...]
    features: NDArray[np.float32]
    remark: str = ""


def list_stages(path: Path) -> list[str]:
    """Name the stages of a file: the arrays of an npz beside ``ids``, else one called ``last``.

    Raises:
        DamagedFileError: an npz that cannot be read.
    """
    if path.suffix.lower() != ".npz":
        return [_LAST]
    names = [name for name in _npz(path) if name != "ids"]
    return [_LAST] if len(names) == 1 else names


def read_vectors(path: Path, id_column: str | None, columns: str | None) -> dict[str, VectorTable]:
    """Read a file or folder of vectors.

    Args:
        path: parquet, csv, csv.gz: an id column and numeric columns. npz: ``ids`` and ``features``, or one array a
            stage. h5: ``ids`` or ``barcodes``, ``features`` or ``embeddings``. A folder: h5 files named by section,
            whose sample ids are SECTION/BARCODE.
        id_column: column of the ids, for tables.
        columns: pattern of the feature columns, for tables.

    Returns:
        Stage -> table.

    Raises:
        DamagedFileError: unreadable, contradictory, or an id twice.
        UsageError: a column that is not there, or an option this kind of file does not have.
    """
    kind = path.name.lower()
    if not kind.endswith((".parquet", ".csv", ".csv.gz")) and (id_column or columns):
        raise UsageError(f"embeddings:{path}: the options id and columns are for parquet and csv files")
    if path.is_dir():
        parts = [_read_h5(file, f"{file.stem}/") for file in sorted(path.glob("*.h5"))]
        lengths = {table.features.shape[1] for table in parts}
        if len(lengths) > 1:
            raise DamagedFileError(f"{path}: the files hold vectors of different lengths: {sorted(lengths)}")
        ids = tuple(sample for table in parts for sample in table.ids)
        tables = {_LAST: VectorTable(ids, np.concatenate([table.features for table in parts]))}
    elif kind.endswith(".npz"):
        tables = _read_npz(path)
    elif kind.endswith(".h5"):
        tables = {_LAST: _read_h5(path, "")}
    else:
        tables = {_LAST: _read_table(path, id_column, columns)}
    for table in tables.values():
        _check(path, table)
    return tables


def choose_columns(names: Sequence[str], pattern: str | None) -> list[str]:
    """Choose the feature columns among numeric ones, ordered by the number at their end.

    Columns that match the pattern, else all ``feature_*``, else all but metadata and counts of objects.

    Example:
        >>> choose_columns(["feature_10", "feature_2", "Metadata_Row"], None)
        ['feature_2', 'feature_10']
    """
    if pattern is None and any(fnmatchcase(name, "feature_*") for name in names):
        pattern = "feature_*"
    if pattern is not None:
        chosen = [name for name in names if fnmatchcase(name, pattern)]
    else:
        chosen = [name for name in names if not name.startswith(("Metadata_", "Image_")) and "_Count" not in name]
    return sorted(chosen, key=_by_number)


def _by_number(name: str) -> tuple[str, int]:
    parts = re.match(r"^(.*?)(\d+)$", name)
    return (parts[1], int(parts[2])) if parts else (name, -1)


def _read_table(path: Path, id_column: str | None, pattern: str | None) -> VectorTable:
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, EOFError) as error:  # pandas and pyarrow errors are ValueErrors or OSErrors
        raise DamagedFileError(f"{path}: cannot be read ({error}); write the file again") from error
    frame = frame.rename(columns=str)
    column = _id_column(path, frame, id_column)
    numeric = [str(name) for name in frame.select_dtypes("number").columns if name != column]
    chosen = choose_columns(numeric, pattern)
    if not chosen:
        raise UsageError(
            f"embeddings:{path}: no feature columns" + (f" match columns={pattern}" if pattern else "")
            + f"; numeric columns: {', '.join(numeric[:8]) or 'none'}"
        )  # fmt: skip
    dropped = [name for name in numeric if name not in set(chosen)]
    remark = f"features are {chosen[0]} to {chosen[-1]} ({len(chosen)} columns)"
    remark += f"; numeric columns left out: {', '.join(dropped[:8])}" + (" …" if len(dropped) > 8 else "")
    ids = tuple(frame[column].astype(str))
    return VectorTable(ids, frame[chosen].to_numpy(dtype=np.float32), remark if dropped else "")


def _id_column(path: Path, frame: pd.DataFrame, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in frame.columns:
            raise UsageError(f"embeddings:{path}: id={wanted}: no such column; columns: {', '.join(frame.columns[:8])}")
        return wanted
    found = next((name for name in _IDS if name in frame.columns), None)
    texts = [str(name) for name in frame.select_dtypes(exclude="number").columns]
    if found is None and len(texts) == 1:
        found = texts[0]
    if found is None:
        raise UsageError(
            f"embeddings:{path}: which column holds the sample ids? Say id=COLUMN; none is called "
            f"{', '.join(_IDS[:4])}; text columns: {', '.join(texts[:8]) or 'none'}"
        )
    return found


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{path}: cannot be read ({error}); write the file again, without objects") from error


def _read_npz(path: Path) -> dict[str, VectorTable]:
    arrays = _npz(path)
    if "ids" not in arrays or len(arrays) < 2:
        raise DamagedFileError(f"{path}: expected the arrays ids and features, found {', '.join(arrays) or 'none'}")
    ids = tuple(map(_text, arrays.pop("ids").ravel()))
    stages = [_LAST] if len(arrays) == 1 else list(arrays)
    return {stage: VectorTable(ids, _floats(path, array)) for stage, array in zip(stages, arrays.values(), strict=True)}


def _read_h5(path: Path, prefix: str) -> VectorTable:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            ids = next((file[name] for name in _IDS if name in file), None)
            vectors = next((file[name] for name in _VECTORS if name in file), None)
            if ids is None or vectors is None:
                found = ", ".join(file) or "nothing"
                raise DamagedFileError(f"{path}: expected ids or barcodes, features or embeddings; found {found}")
            names = tuple(prefix + _text(name) for name in np.asarray(ids[()]).ravel())
            return VectorTable(names, _floats(path, np.asarray(vectors[()])))
    except (OSError, TypeError) as error:  # TypeError: a number format numpy does not have, such as bfloat16
        raise DamagedFileError(f"{path}: cannot be read ({error}); write the file again as float32") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _floats(path: Path, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number):
        raise DamagedFileError(f"{path}: expected (n, D) numbers, found {array.dtype} of shape {array.shape}")
    return array.astype(np.float32)


def _check(path: Path, table: VectorTable) -> None:
    if len(table.ids) != len(table.features):
        raise DamagedFileError(f"{path}: {len(table.ids)} ids, but {len(table.features)} vectors")
    if not table.ids or not table.features.shape[1]:
        raise DamagedFileError(f"{path}: holds no vectors (shape {table.features.shape})")
    twins = [name for name, count in Counter(table.ids).items() if count > 1]
    if twins:
        raise DamagedFileError(f"{path}: {len(twins)} ids stand more than once: {', '.join(twins[:3])}")
