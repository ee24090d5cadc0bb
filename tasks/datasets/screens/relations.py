"""Known pairs of perturbations, from files of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.types import DataContext

from ...wells import Relations
from ..pair_lists import read_pairs
from .columns import KnownPairs
from .table import find_path


def find_lists(wanted: Sequence[KnownPairs], context: DataContext) -> dict[str, Path]:
    """Find the file of each source.

    Raises:
        MissingDataError: a file is nowhere.
    """
    return {item.source: find_path(item.file, context, f"relations: {item.source}") for item in wanted}


def read_lists(wanted: Sequence[KnownPairs], files: Mapping[str, Path]) -> dict[str, Relations]:
    """Read each list; pairs count once and in no direction.

    Raises:
        DamagedFileError: unreadable, other columns, or an empty name.
    """
    return {item.source: read_pairs(files[item.source], item.source, item.licence) for item in wanted}


def tell_known(relations: Mapping[str, Relations], perturbations: Sequence[str]) -> tuple[str, ...]:
    """Say how much of the lists concerns the perturbations of a task.

    Example:
        >>> one = Relations("CORUM", (("A", "B"), ("A", "C")), "CC0", n_rows=3, n_self=1)
        >>> for note in tell_known({"CORUM": one}, ("A", "B", "D")):
        ...     print(note)
        CORUM: 1 of 2 known pairs lie among the 3 perturbations; 1 rows relate something to itself and are left out
        1 of 3 perturbations have no known pair in any source
    """
    if not relations:
        return ()
    known, paired, notes = set(perturbations), set[str](), []
    for name, one in relations.items():
        inside = [pair for pair in one.pairs if pair[0] in known and pair[1] in known]
        paired.update(end for pair in inside for end in pair)
        selves = f"; {one.n_self} rows relate something to itself and are left out" if one.n_self else ""
        notes.append(
            f"{name}: {len(inside)} of {len(one.pairs)} known pairs lie among the {len(known)} perturbations{selves}"
        )
    return (*notes, f"{len(known - paired)} of {len(known)} perturbations have no known pair in any source")
