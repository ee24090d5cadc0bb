"""Known relations of genes: which lists there are, and what they say of the genes of a task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from harness.errors import UnknownNameError, UsageError
from harness.types import DataContext

from ...wells import Relations
from ..github import find_github_file
from ..mirror import Repository
from ..pair_lists import read_pairs

FOLDER = "efaar_benchmarking/benchmark_annotations"
LICENCES = {
    "CORUM": "CC-BY-NC-4.0",  # its licence file names this and links CC BY 4.0: the stricter one counts
    "HuMAP": "CC-BY-4.0",
    "Reactome": "CC0-1.0",
    "SIGNOR": "CC-BY-NC-4.0",
    "StringDB": "CC-BY-4.0",
}
"""The sources and the licences of their lists, in the order in which scores list them."""


def check_sources(sources: Sequence[str]) -> None:
    """Check the names of sources.

    Raises:
        UnknownNameError: no such source.
        UsageError: a source twice.
    """
    for name in sources:
        if name not in LICENCES:
            raise UnknownNameError("source", name, LICENCES, f"Known: {', '.join(LICENCES)}.")
    if len(set(sources)) != len(sources):
        raise UsageError(f"protocol.params.sources: a source stands twice ({', '.join(sources)})")


def find_lists(repository: Repository, sources: Sequence[str], context: DataContext) -> dict[str, Path]:
    """Find the file of each source.

    Raises:
        MissingDataError: a list is nowhere.
    """
    return {name: find_github_file(repository, f"{FOLDER}/{name}.txt", context) for name in sources}


def read_relations(lists: Mapping[str, Path]) -> dict[str, Relations]:
    """Read the list of each source.

    Raises:
        DamagedFileError: unreadable, other columns, or an empty name.
    """
    return {name: read_pairs(path, name, LICENCES[name]) for name, path in lists.items()}


def describe(relations: Mapping[str, Relations], genes: Collection[str]) -> tuple[str, ...]:
    """Say how much of each list concerns the genes of a task.

    Example:
        >>> one = Relations("CORUM", (("A", "B"), ("A", "C")), "CC0", n_rows=3, n_self=1)
        >>> describe({"CORUM": one}, {"A", "B"})[0]
        'known pairs among the 2 genes of this task: CORUM 1 of 2 (the other pairs have genes that it lacks)'
    """
    if not relations:
        return ()
    known = set(genes)
    shares = [
        f"{name} {sum(a in known and b in known for a, b in one.pairs)} of {len(one.pairs)}"
        for name, one in relations.items()
    ]
    told = [
        f"known pairs among the {len(known)} genes of this task: {', '.join(shares)} "
        "(the other pairs have genes that it lacks)"
    ]
    selves = [f"{name} {one.n_self}" for name, one in relations.items() if one.n_self]
    if selves:
        told.append(f"rows that relate a gene to itself are left out: {', '.join(selves)}")
    return tuple(told)
