"""A small part of a screen on which its protocol can still run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...wells import Relations, Wells

Item = TypeVar("Item")
_FEWEST = 24
"""Perturbations: a map of fewer than 20 is refused by the protocol of pairs."""


def thin_out(wells: Wells, limit: int, related: Mapping[str, Relations] | None = None) -> NDArray[np.int64]:
    """Choose about ``limit`` wells: some perturbations, at least two wells of each where there are, and controls.

    Perturbations and the wells of each are taken evenly from their order; controls evenly from each plate or batch. Up
    to half of the perturbations are taken for the sake of known pairs, of all sources in turn.

    Returns:
        Rows of the wells, ascending.

    Example:
        >>> names = ("a", "a", "a", "b", "b", "b")
        >>> thin_out(Wells(names, names, np.zeros(6, dtype=bool)), 4).tolist()
        [0, 2, 3, 5]
    """
    share = limit / len(wells.ids)
    plates = wells.plate or wells.batch or ("",) * len(wells.ids)
    controls: defaultdict[str, list[int]] = defaultdict(list)
    treated: defaultdict[str, list[int]] = defaultdict(list)
    for row, control in enumerate(wells.control.tolist()):
        (controls[plates[row]] if control else treated[wells.perturbation[row]]).append(row)
    each = max(1.0, sum(map(len, treated.values())) / max(len(treated), 1))
    most = max(_FEWEST, int(limit / max(min(2.0, each), share * each)))
    paired = _take_paired(related or {}, treated, most // 2)
    others = _spread([name for name in treated if name not in paired], most - len(paired))
    kept = [*controls.values(), *(treated[name] for name in (*paired, *others))]
    rows = [row for found in kept for row in _spread(found, max(2, round(share * len(found))))]
    return np.array(sorted(rows), dtype=np.int64)


def _take_paired(related: Mapping[str, Relations], known: Collection[str], most: int) -> list[str]:
    """Name up to about ``most`` perturbations in known pairs, the first pairs of every source first."""
    inside = [[pair for pair in one.pairs if pair[0] in known and pair[1] in known] for one in related.values()]
    names: dict[str, None] = {}
    for pairs in zip_longest(*inside, fillvalue=()):
        if len(names) + 2 * len(pairs) > most:
            break
        names.update(dict.fromkeys(name for pair in pairs for name in pair))
    return list(names)


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Take up to ``most`` items, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int).tolist()]
