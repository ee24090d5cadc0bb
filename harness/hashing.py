"""Content hashes: of values, of files, and of the code that made a number."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from harness.errors import DamagedFileError, MissingDataError

_CACHE_FORMAT = 1


def canonical_json(value: Any) -> str:
    """Serialise a JSON value so that equal values give equal text; NaN is refused.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_value(value: Any) -> str:
    """Return the sha256 (64 hex digits) of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path, *, fresh: bool = False) -> str:
    """Return the sha256 of a file's content, remembered by (path, size, modification time in ns).

    Args:
        path: the file.
        fresh: read the content again even if the file looks unchanged.

    Raises:
        MissingDataError: the file does not exist.
        DamagedFileError: the file cannot be read.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such file") from None
    memory = (
        _cache_folder()
        / hashlib.sha256(f"{_CACHE_FORMAT}|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()
    )
    if not fresh and memory.is_file():
        known = memory.read_text()
        if len(known) == 64:
            return known
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error})") from error
    _remember(memory, digest)
    return digest


@functools.cache
def hash_code(module: str) -> str:
    """Return the sha256 of the Python sources of the package folder that holds ``module``.

    The whole folder counts, because a helper beside the module shapes its numbers too. A module without a
    folder of its own counts alone. Nothing but the parents of the module is imported.

    Raises:
        MissingDataError: the module cannot be found.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingDataError(f"module {module} cannot be found")
    origin = Path(spec.origin)
    alone = "." not in module and not spec.submodule_search_locations
    files = [origin] if alone else sorted(origin.parent.rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(origin.parent).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def cache_root() -> Path:
    """Return the user's cache folder of the harness (``BIOIMAGE_HARNESS_CACHE`` moves it)."""
    moved = os.environ.get("BIOIMAGE_HARNESS_CACHE")
    if moved:
        return Path(moved).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("bioimage-harness"))


def _cache_folder() -> Path:
    return cache_root() / "hashes"


def _remember(memory: Path, digest: str) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        draft = memory.with_name(f"{memory.name}.{os.getpid()}")
        draft.write_text(digest)
        draft.replace(memory)
    except OSError:  # a read-only cache costs time, never correctness
        return
