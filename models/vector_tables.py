"""Vectors in parquet and csv files: which column holds the ids, which columns are features."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError

if TYPE_CHECKING:
    import pandas as pd

IDS = ("sample_id", "id", "ids", "well_id", "barcode", "barcodes")
"""Columns or arrays that are taken for the sample ids, best first."""
_FEATURES = "feature_*"
_NO_NUMBER = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None")
"""What stands for a missing number in a csv; an id may be spelt like this."""
_DESCRIBE = frozenset(
    ("plate", "well", "row", "col", "column", "site", "field", "batch", "fold", "timepoint", "dose", "concentration")
)
"""Columns that are no features, whatever the data set says; without ``Metadata_``, in small letters."""
_SHOWN = 8


@dataclass(frozen=True)
class VectorTable:
    """Vectors by sample id, or by keys.

    Attributes:
        ids: (n,) names of the rows; unique if there are no keys.
        features: (n, D) float32, perhaps not finite.
        remark: which columns were taken and left out, or empty.
        keys: column -> (n,) values, where several columns name what a row belongs to.
        columns: (D,) names of the features, or none where they have no names.
    """

    ids: tuple[str, ...]
    features: NDArray[np.float32]
    remark: str = ""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


def read_table(
    path: Path,
    id_column: str | None,
    pattern: str | None,
    keys: Sequence[str] = (),
    metadata: Collection[str] = (),
) -> VectorTable:
    """Read a parquet or csv file; a named index of a parquet file counts as a column.

    Args:
        path: the file.
        id_column: column of the ids; by default ``keys``, else one of :data:`IDS`, else the only text column. Ids of a
            csv are taken letter by letter: ``001`` stays ``001``.
        pattern: pattern of the feature columns.
        keys: columns by which the samples of the task can be named; those that the file has are its keys.
        metadata: columns that are no features unless ``pattern`` asks for them.

    Raises:
        DamagedFileError: unreadable, rows without an id or key, a key of fractions, or text in a feature column.
        UsageError: a column that is not there.
    """
    asked = [id_column] if id_column is not None else [*keys]
    try:
        frame = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, asked)
    except (OSError, ValueError, EOFError, NotImplementedError, zlib.error) as error:  # what pandas and pyarrow raise
        raise DamagedFileError(f"{path}: cannot be read ({error}); write the file again") from error
    found = [key for key in keys if key in frame.columns] if id_column is None else []
    names = found or [_id_column(path, frame, id_column, keys)]
    columns = {name: _text_column(path, frame[name], key=bool(found)) for name in names}
    others = [name for name in frame.columns if name not in columns]
    numeric = [name for name in frame.select_dtypes("number").columns if name not in columns]
    chosen = choose_columns(numeric, pattern, metadata)
    wanted = pattern or (_FEATURES if any(fnmatchcase(name, _FEATURES) for name in others) else None)
    text = [name for name in others if wanted and fnmatchcase(name, wanted) and name not in numeric]
    if text:
        raise DamagedFileError(
            f"{path}: {len(text)} columns match {wanted} but hold no numbers, first: {text[0]} ({frame[text[0]].dtype})"
        )
    if not chosen:
        raise UsageError(
            f"embeddings:{path}: no feature columns" + (f" match columns={pattern}" if pattern else "")
            + f"; numeric columns: {', '.join(numeric[:_SHOWN]) or 'none'}"
            + ("" if pattern or not numeric else ", which describe rows; columns=PATTERN takes them nevertheless")
        )  # fmt: skip
    features = frame[chosen].to_numpy(dtype=np.float32, na_value=np.nan)
    ids = tuple(map("/".join, zip(*columns.values(), strict=True)))
    return VectorTable(
        ids, features, _remark(numeric, chosen, guessed=wanted is None), columns if found else {}, tuple(chosen)
    )


def choose_columns(names: Sequence[str], pattern: str | None, metadata: Collection[str] = ()) -> list[str]:
    """Choose the feature columns among numeric ones, ordered by the number at their end.

    Columns that match the pattern, else all ``feature_*``, else all but counts of objects; without a pattern never
    ``metadata``, which is compared without ``Metadata_`` and letter case.

    Example:
        >>> choose_columns(["a_1", "Metadata_Row", "Dose"], None, ["Metadata_dose"])
        ['a_1']
        >>> choose_columns(["feature_10", "feature_2", "Metadata_Row"], None)
        ['feature_2', 'feature_10']
    """
    if pattern is not None:
        return sorted((name for name in names if fnmatchcase(name, pattern)), key=_by_number)
    described = {_bare(name) for name in metadata}
    chosen = [name for name in names if _bare(name) not in described]
    if any(fnmatchcase(name, _FEATURES) for name in names):
        chosen = [name for name in chosen if fnmatchcase(name, _FEATURES)]
    else:
        chosen = [name for name in chosen if not name.startswith(("Metadata_", "Image_")) and "_Count" not in name]
        chosen = [name for name in chosen if _bare(name) not in _DESCRIBE]
    return sorted(chosen, key=_by_number)


def _bare(name: str) -> str:
    return name.lower().removeprefix("metadata_")


def _by_number(name: str) -> tuple[str, int]:
    parts = re.match(r"^(.*?)(\d+)$", name)
    return (parts[1], int(parts[2])) if parts else (name, -1)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_parquet(path)
    if frame.index.name is not None:
        frame = frame.reset_index()
    return frame.rename(columns=str)


def _read_csv(path: Path, asked: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    names = list(pd.read_csv(path, nrows=0).columns)
    text = [name for name in asked if name in names] or [name for name in IDS if name in names][:1]
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values={name: _NO_NUMBER for name in names if name not in text},
    )


def _text_column(path: Path, column: pd.Series[Any], *, key: bool) -> tuple[str, ...]:
    nameless = int((column.isna() | (column == "")).sum())
    if nameless:
        raise DamagedFileError(f"{path}: {nameless} of {len(column)} rows have no id in column {column.name}")
    if key and column.dtype.kind == "f":
        raise DamagedFileError(
            f"{path}: column {column.name} holds numbers such as {column.iloc[0]}, which name nothing exactly; write "
            "it as text"
        )
    return tuple(column.astype(str))


def _id_column(path: Path, frame: pd.DataFrame, wanted: str | None, keys: Sequence[str]) -> str:
    if wanted is not None:
        if wanted not in frame.columns:
            raise UsageError(f"embeddings:{path}: id={wanted}: no such column; columns: {', '.join(frame.columns[:8])}")
        return wanted
    found = next((name for name in IDS if name in frame.columns), None)
    texts = [str(name) for name in frame.select_dtypes(exclude="number").columns]
    if found is None and len(texts) == 1:
        found = texts[0]
    if found is None:
        raise UsageError(
            f"embeddings:{path}: which column holds the sample ids? Say id=COLUMN; none is called "
            f"{', '.join(dict.fromkeys((*keys, *IDS[:4])))}; text columns: {', '.join(texts[:8]) or 'none'}"
        )
    return found


def _remark(numeric: Sequence[str], chosen: Sequence[str], *, guessed: bool) -> str:
    """Say which numeric columns are features; ``guessed``: neither their names nor an option said so."""
    dropped = [name for name in numeric if name not in set(chosen)]
    if not dropped and not guessed:
        return ""
    left = f"numeric columns left out: {_list(dropped)}"
    if guessed:
        return (
            f"no column is called {_FEATURES}, so all numeric columns that describe no row are features: "
            f"{_list(chosen)} ({len(chosen)} columns); {left}; columns=PATTERN chooses others"
        )
    return f"features are {chosen[0]} to {chosen[-1]} ({len(chosen)} columns); {left}"


def _list(names: Sequence[str]) -> str:
    return (", ".join(names[:_SHOWN]) or "none") + (" …" if len(names) > _SHOWN else "")
