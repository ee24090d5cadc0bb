"""Whether two sections of a task are one under two names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import DamagedFileError
from harness.hashing import hash_file


def refuse_copies(kind: str, files: Sequence[tuple[str, Path]]) -> None:
    """Refuse files of the same content under the names of two sections; only files of the same size are read.

    Args:
        kind: what the files are, for the message.
        files: (section, path), a section once.

    Raises:
        DamagedFileError: naming both sections and both files.
    """
    sizes: dict[int, list[tuple[str, Path]]] = {}
    for name, path in files:
        sizes.setdefault(path.stat().st_size, []).append((name, path))
    for alike in sizes.values():
        known: dict[str, tuple[str, Path]] = {}
        for name, path in alike if len(alike) > 1 else ():
            first, other = known.setdefault(hash_file(path), (name, path))
            if first != name:
                raise DamagedFileError(
                    f"sections {first} and {name}: expected two {kind}, found the same content in {other} and {path}; "
                    "one section under two names? Correct the split files or download the wrong file again"
                )
