"""From the columns of a table to what was done to each well, and where it lay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError

from ...wells import Wells
from .columns import Pick, ScreenSource
from .rows import Rows, find_rows, take_wells
from .table import Table

POSITIVE = "positive"
"""Kind of the positive controls, by which protocols know them."""
Names = tuple[str, ...]


def make_wells(table: Table, rows: Rows, source: ScreenSource) -> Wells:
    """Read what was done to each well.

    Plates and batches are named with their laboratory (plates with their batch too) where a name repeats.

    Raises:
        DamagedFileError: an empty cell where a value is needed, a dose that is no number, or rows of one well that
            contradict each other.
        UsageError: a value of ``control`` that no row has.
    """
    columns = source.columns
    taken = {
        key: take_wells(table, rows, name, f"columns.{key}")
        for key, name in columns.model_dump(exclude_none=True).items()
    }  # fold included: rows of one well may not be in two
    for key in ("perturbation", "kind", "plate", "batch", "laboratory"):
        _refuse_empty(table, rows, taken.get(key), f"{getattr(columns, key)} (source.columns.{key})")
    control, positive = (_pick_wells(table, rows, source, key) for key in ("control", "positive"))
    both = np.flatnonzero(control & positive)
    if len(both):
        raise UsageError(
            f"{table.path}: {len(both)} wells are negative and positive controls, first: {rows.wells[both[0]]}"
        )
    kind = taken.get("kind")
    if source.positive is not None:
        others = kind or tuple("negative" if one else "treated" for one in control.tolist())
        kind = tuple(POSITIVE if one else other for one, other in zip(positive.tolist(), others, strict=True))
    batch = _tell_apart(taken.get("batch"), [taken.get("laboratory")])
    return Wells(
        ids=rows.wells,
        perturbation=taken["perturbation"],
        control=control,
        batch=batch,
        plate=_tell_apart(taken.get("plate"), [taken.get("laboratory"), taken.get("batch")]),
        laboratory=taken.get("laboratory"),
        kind=kind,
        dose=None if columns.dose is None else _read_doses(table, rows, taken["dose"], control, kind),
    )


def tell_bare(wells: Wells) -> Names:
    """Tell which plates and batches have no negative control."""
    notes = []
    for what, names in (("plates", wells.plate), ("batches", wells.batch)):
        if names is None or not wells.control.any():
            continue
        covered = {name for name, control in zip(names, wells.control, strict=True) if control}
        bare = sorted(set(names) - covered)
        if bare:
            notes.append(
                f"{len(bare)} of {len(set(names))} {what} have no negative control, first: {', '.join(bare[:3])}"
            )
    return tuple(notes)


def _pick_wells(table: Table, rows: Rows, source: ScreenSource, key: str) -> NDArray[np.bool_]:
    pick: Pick | None = getattr(source, key)
    if pick is None:
        return np.zeros(len(rows.wells), dtype=np.bool_)
    take_wells(table, rows, pick.column, f"{key}.column")
    return find_rows(table, pick, key)[rows.first]


def _refuse_empty(table: Table, rows: Rows, values: Names | None, column: str) -> None:
    empty = [well for well, value in enumerate(values or ()) if not value]
    if empty:
        raise DamagedFileError(
            f"{table.path}:{rows.first[empty[0]] + 2}: {len(empty)} wells have no value in column {column}, first: "
            f"{rows.wells[empty[0]]}"
        )


def _tell_apart(names: Names | None, above: Sequence[Names | None]) -> Names | None:
    """Prefix names with those above them, if a name occurs under two of them."""
    known = [level for level in above if level is not None]
    if names is None or not known:
        return names
    places = list(zip(*known, strict=True))
    under: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for name, place in zip(names, places, strict=True):
        under[name].add(place)
    if all(len(found) == 1 for found in under.values()):
        return names
    return tuple("/".join((*place, name)) for name, place in zip(names, places, strict=True))


def _read_doses(
    table: Table, rows: Rows, texts: Names, control: NDArray[np.bool_], kind: Names | None
) -> NDArray[np.float64]:
    """Read doses: NaN in controls, and in kinds of perturbations that have none at all."""
    doses = np.full(len(texts), np.nan)
    for well, text in enumerate(texts):
        try:
            doses[well] = float(text) if text else np.nan
        except ValueError:
            doses[well] = np.inf
    of = np.array(kind if kind is not None else ("",) * len(texts), dtype=object)
    dosed = np.isin(of, sorted({name for name, text in zip(of, texts, strict=True) if text}))
    absent = np.isnan(doses) & ~control & dosed
    bad = np.flatnonzero(np.isinf(doses) | absent | np.array([text.strip().lower() == "nan" for text in texts]))
    if len(bad):
        well = int(bad[0])
        raise DamagedFileError(
            f"{table.path}:{rows.first[well] + 2}: dose: {len(bad)} wells have no valid number, first: "
            f"{rows.wells[well]} with {texts[well]!r}; only controls, and kinds without any dose, may leave it empty"
        )
    return doses
