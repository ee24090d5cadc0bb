"""The embedding store: content-addressed entries of checksummed shards, on any fsspec file system.

An entry is one (model, seed, view, data, dtype, stage). Its folder holds ``entry.json`` (what it is), one file a
shard and, last of all, ``manifest.json``. A shard's name carries its own checksum, so that a damaged file is known
without trusting anything else, and files appear by renaming, so that a killed run leaves only whole shards.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from harness.errors import CannotWriteError, DamagedFileError
from harness.results import to_json

SHARD = 256
"""Samples a shard; a constant of the format, so that shards line up whoever wrote them."""
_SHARD_NAME = re.compile(r"^shard-(\d{6})-([0-9a-f]{16})\.npz$")


@dataclass(frozen=True)
class Shard:
    """Embeddings of consecutive samples: ids and (n, D) float32 features."""

    ids: tuple[str, ...]
    features: NDArray[np.float32]


class Store:
    """A folder (or bucket) of entries."""

    def __init__(self, root: str) -> None:
        """Open a store; nothing is created until something is written."""
        self.fs, self.root = fsspec.core.url_to_fs(str(Path(root).expanduser()) if root.startswith("~") else root)

    def entry(self, key: str) -> Entry:
        """Return the entry of a key, existing or not."""
        return Entry(self.fs, f"{self.root}/{key[:2]}/{key}", key)

    def entries(self) -> Iterator[Entry]:
        """List the entries there are."""
        for path in sorted(self.fs.glob(f"{self.root}/??/*/entry.json")):
            folder = path.rsplit("/", 1)[0]
            yield Entry(self.fs, folder, folder.rsplit("/", 1)[1])


class Entry:
    """One set of embeddings in a store."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str, key: str) -> None:
        """Remember where the entry lies."""
        self.fs, self.path, self.key = fs, path, key

    def describe(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Write what the entry is, unless a run before did, and return what stands there."""
        known = self.facts()
        if known is None:
            self._put("entry.json", to_json(facts).encode())
            known = facts
        return known

    def facts(self) -> dict[str, Any] | None:
        """Return what the entry is, or None if it was never begun."""
        return self._read_json("entry.json")

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest of a complete entry, or None."""
        return self._read_json("manifest.json")

    def shards(self) -> dict[int, str]:
        """Map shard numbers to file names; of two files for one shard the first by name counts."""
        found: dict[int, str] = {}
        for name in sorted(self._names(), reverse=True):
            parts = _SHARD_NAME.match(name)
            if parts:
                found[int(parts[1])] = name
        return found

    def read(self, name: str) -> Shard:
        """Read one shard and check it against the checksum in its name.

        Raises:
            DamagedFileError: the content is not what was written.
        """
        path = f"{self.path}/{name}"
        try:
            content: bytes = self.fs.cat_file(path)
            if hashlib.sha256(content).hexdigest()[:16] != name[-20:-4]:
                raise DamagedFileError(f"{path}: checksum differs from its name")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return Shard(tuple(arrays["ids"].tolist()), arrays["features"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DamagedFileError(f"{path}: cannot be read ({error})") from error

    def write(self, number: int, ids: Sequence[str], features: NDArray[np.float32]) -> None:
        """Write one shard.

        Raises:
            CannotWriteError: the store refuses; shards written before stay.
        """
        buffer = io.BytesIO()
        np.savez(buffer, ids=np.asarray(ids, dtype=np.str_), features=np.ascontiguousarray(features, dtype=np.float32))
        content = buffer.getvalue()
        self._put(f"shard-{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.npz", content)

    def finish(self, n_samples: int, dim: int) -> None:
        """Write the manifest of a complete entry, unless it stands there already."""
        manifest = {"n_samples": n_samples, "dim": dim, "shards": list(dict(sorted(self.shards().items())).values())}
        if self.manifest() != manifest:
            self._put("manifest.json", to_json(manifest).encode())

    def drop(self, name: str) -> None:
        """Delete one file of the entry."""
        try:
            self.fs.rm_file(f"{self.path}/{name}")
        except FileNotFoundError:  # another run was faster
            return
        except OSError as error:
            raise CannotWriteError(f"{self.path}/{name}: cannot be deleted ({error.strerror})") from error

    def delete(self) -> None:
        """Delete the whole entry."""
        self.fs.rm(self.path, recursive=True)

    def drafts(self) -> list[str]:
        """List files that a killed run left half-written."""
        return [name for name in self._names() if name.endswith(".draft")]

    def size(self) -> int:
        """Return the bytes the entry takes."""
        return sum(int(info["size"]) for info in self.fs.ls(self.path, detail=True))

    def _names(self) -> list[str]:
        try:
            self.fs.invalidate_cache(self.path)
            return [str(path).rsplit("/", 1)[1] for path in self.fs.ls(self.path, detail=False)]
        except FileNotFoundError:
            return []

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            value = json.loads(self.fs.cat_file(f"{self.path}/{name}"))
        except (FileNotFoundError, ValueError):  # absent or damaged: both are written anew
            return None
        return value if isinstance(value, dict) else None

    def _put(self, name: str, content: bytes) -> None:
        draft = f"{self.path}/{name}.{secrets.token_hex(6)}.draft"
        try:
            self.fs.makedirs(self.path, exist_ok=True)
            self.fs.pipe_file(draft, content)
            self.fs.mv(draft, f"{self.path}/{name}")
        except OSError as error:
            with contextlib.suppress(OSError):  # half a file would only fill a full disk
                self.fs.rm_file(draft)
            raise CannotWriteError(
                f"{self.path}/{name}: cannot be written ({error.strerror or error}); finished shards are kept: "
                "free some space or choose another folder with --store, then run the same command again"
            ) from error
