"""Care of the store: verify checksums, delete leftovers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from harness.errors import DamagedFileError
from harness.hashing import cache_root
from harness.store import Entry, Store

_YOUNG = 24 * 3600
"""Seconds for which a draft may still belong to a running process."""


def verify_store(store: Store) -> tuple[int, list[str]]:
    """Read every shard; return how many, and a sentence for each that is damaged or missing."""
    checked, damaged = 0, []
    for entry in store.entries():
        names = entry.shards()
        for name in names.values():
            checked += 1
            try:
                entry.read(name)
            except DamagedFileError as error:
                damaged.append(str(error))
        manifest = entry.manifest()
        lost = set(manifest["shards"]) - set(names.values()) if manifest else set()
        damaged += [f"{entry.path}/{name}: missing" for name in sorted(lost)]
    return checked, damaged


def collect_garbage(store: Store, unused_days: int | None, *, dry_run: bool) -> Iterator[tuple[str, int]]:
    """Delete drafts of killed runs and entries not written for ``unused_days``; tell what and how many bytes."""
    for entry in store.entries():
        for name, size, age in _files(entry):
            if name.endswith(".draft") and age > _YOUNG:
                if not dry_run:
                    entry.drop(name)
                yield f"{entry.path}/{name}", size
        youngest = min((age for _, _, age in _files(entry)), default=0.0)
        if unused_days is not None and youngest >= unused_days * 24 * 3600:
            size = entry.size()
            if not dry_run:
                entry.delete()
            yield entry.path, size


def forget_file_hashes() -> None:
    """Forget remembered file hashes, so that every file is read again."""
    shutil.rmtree(cache_root() / "hashes", ignore_errors=True)


def _files(entry: Entry) -> list[tuple[str, int, float]]:
    now = time.time()
    found = []
    for info in entry.fs.ls(entry.path, detail=True):
        written = info.get("mtime") or info.get("LastModified")
        stamp = written if isinstance(written, (int, float)) else written.timestamp() if written else now
        found.append((str(info["name"]).rsplit("/", 1)[1], int(info["size"]), now - stamp))
    return found
