"""New files that never replace one that is there."""

from __future__ import annotations

from pathlib import Path

from harness.errors import CannotWriteError
from harness.results import write_atomically


def write_new(path: Path, text: str) -> Path:
    """Write a text file that must not exist yet.

    Raises:
        CannotWriteError: it exists, or the folder refuses.
    """
    if path.exists():
        raise CannotWriteError(f"{path}: exists already; choose another name or move it away")
    write_atomically(path, text.encode())
    return path
