"""Known pairs of names, coded once, so that finding those of a map is a look-up in arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Known pairs by rows of a map, (m,) int64 each, first < second, in the order of the list they come from."""

    first: Rows
    second: Rows

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first)


@dataclass(frozen=True)
class Neighbours:
    """Pairs of one source, sorted, by the number of their first name.

    Attributes:
        start: (n_names + 1,) int64; the partners of name c stand at ``start[c]:start[c + 1]``.
        partner: (m,) int64, number of the second name of each pair.
    """

    start: Rows
    partner: Rows


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of several sources over one vocabulary.

    Attributes:
        code: name -> its number in the order of the alphabet.
        sources: source -> its pairs.
    """

    code: Mapping[str, int]
    sources: Mapping[str, Neighbours]

    def locate(self, names: Sequence[str]) -> dict[str, Pairs]:
        """Find the pairs of each source of which both ends are in a map; only partners of its names are looked at.

        Args:
            names: name of each row of the map, unique.

        Example:
            >>> known = code_pairs({"CORUM": [("A", "B"), ("A", "C")]})
            >>> found = known.locate(["C", "X", "A"])["CORUM"]
            >>> found.first.tolist(), found.second.tolist()
            ([0], [2])
        """
        row = np.full(len(self.code), -1, dtype=np.int64)
        for index, name in enumerate(names):
            if (code := self.code.get(name)) is not None:
                row[code] = index
        inside = np.flatnonzero(row >= 0)
        return {source: _find(pairs, row, inside) for source, pairs in self.sources.items()}


def code_pairs(sources: Mapping[str, Iterable[tuple[str, str]]]) -> KnownPairs:
    """Number the names of all sources and sort their pairs.

    Args:
        sources: source -> pairs, each once, none with itself, in no direction.
    """
    listed = {source: sorted(pairs) for source, pairs in sources.items()}
    names = sorted({name for pairs in listed.values() for pair in pairs for name in pair})
    code = {name: number for number, name in enumerate(names)}
    coded = {}
    for source, pairs in listed.items():
        first = np.fromiter((code[a] for a, _ in pairs), dtype=np.int64, count=len(pairs))
        second = np.fromiter((code[b] for _, b in pairs), dtype=np.int64, count=len(pairs))
        coded[source] = Neighbours(np.concatenate([[0], np.cumsum(np.bincount(first, minlength=len(code)))]), second)
    return KnownPairs(code, coded)


def _find(pairs: Neighbours, row: Rows, inside: Rows) -> Pairs:
    begin = pairs.start[inside]
    count = pairs.start[inside + 1] - begin
    before = np.cumsum(count) - count
    other = row[pairs.partner[np.arange(count.sum()) + np.repeat(begin - before, count)]]
    both = np.flatnonzero(other >= 0)
    one, other = np.repeat(row[inside], count)[both], other[both]
    return Pairs(np.minimum(one, other), np.maximum(one, other))
