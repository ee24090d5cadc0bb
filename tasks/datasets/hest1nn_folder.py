"""Where prepared files lie: in a folder named by the hash of all that shapes them, code included."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.hashing import hash_value


def name_folder(cache: Path, facts: object) -> Path:
    """Return the folder of prepared files for what shapes them, a JSON value."""
    return cache / "prepared" / "hest1nn" / hash_value(facts)


def hash_sources(*names: str) -> str:
    """Return the sha256 of some source files, ``*`` allowed, relative to the package ``tasks``.

    Only what shapes prepared files is named: other changes of the code leave hours of work alone.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted({file for name in names for file in root.glob(name)}):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
