"""Files of public buckets: first in the mirrors of ``--data-dir``, then in the cache, then streamed from S3.

An address is ``BUCKET/KEY``; a mirror holds it at ``DIR/BUCKET/KEY``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import CannotWriteError, DamagedFileError, MissingDataError
from harness.types import DataContext

from . import objects_s3

_AT_ONCE = 32
"""Files asked for at the same time: a bucket answers slowly and to many."""


@dataclass(frozen=True)
class Objects:
    """Reads files of buckets from the nearest place that has them.

    Attributes:
        context: mirrors, cache, and whether the network and keeping are allowed.
    """

    context: DataContext

    @property
    def _cache(self) -> Path:
        return self.context.cache / "buckets"

    def locate(self, address: str) -> Path | None:
        """Return where a file lies on this machine, or None."""
        return next((path for path in self._places(address) if path.is_file()), None)

    def stamp(self, address: str) -> tuple[int, int] | None:
        """Return size and modification time (ns) of a file in a mirror; None where it would be streamed.

        The cache does not count: what a run keeps there is what it streamed before.
        """
        for folder in self.context.data_dirs:
            try:
                found = (folder / address).stat()
            except OSError:
                continue
            return found.st_size, found.st_mtime_ns
        return None

    def read(self, address: str) -> bytes:
        """Return the content of a file; it is kept in the cache with ``keep_data``.

        Raises:
            MissingDataError: it is nowhere, or cannot be had; the message lists the places searched.
            DamagedFileError: a local file cannot be read.
            CannotWriteError: it was to be kept, and cannot be.
        """
        local = self.locate(address)
        if local is not None:
            try:
                return local.read_bytes()
            except OSError as error:
                raise DamagedFileError(f"{local}: cannot be read ({error.strerror})") from error
        content = self._stream(address)
        if self.context.keep_data:
            _write(self._cache / address, content)
        return content

    def read_all(self, addresses: Sequence[str]) -> list[bytes]:
        """Read several files at once, answers in their order; the first failure in that order is raised."""
        return list(_fetchers().map(self.read, addresses))

    def fetch(self, address: str) -> Path:
        """Return the local path of a small file, such as a table; from S3 it goes to the cache first.

        Raises:
            MissingDataError, CannotWriteError: as :meth:`read`.
        """
        local = self.locate(address)
        if local is None:
            local = self._cache / address
            _write(local, self._stream(address))
        return local

    def local_size(self, address: str) -> int | None:
        """Return the size in bytes of a file on this machine, or None."""
        local = self.locate(address)
        return None if local is None else local.stat().st_size

    def remote_sizes(self, addresses: Sequence[str]) -> list[int | None]:
        """Return the size in bytes of each file in its bucket; None where nobody can tell."""
        if self.context.offline:
            return [None] * len(addresses)
        return list(_fetchers().map(objects_s3.size, addresses))

    def _places(self, address: str) -> list[Path]:
        return [*(folder / address for folder in self.context.data_dirs), self._cache / address]

    def _stream(self, address: str) -> bytes:
        if self.context.offline:
            raise MissingDataError(self._explain(address, "not asked (--offline)"))
        try:
            return objects_s3.read(address)
        except objects_s3.UnavailableError as error:
            raise MissingDataError(self._explain(address, str(error))) from None

    def _explain(self, address: str, reason: str) -> str:
        lines = [
            f"{address} not found. Searched:",
            *(f"  {place}" for place in self._places(address)),
            f"  s3://{address}: {reason}",
            f"Either pass --data-dir DIR with the file at DIR/{address}, or let it be read from the public bucket"
            " (no account is needed).",
        ]
        return "\n".join(lines)


@cache
def _fetchers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")


def _write(path: Path, content: bytes) -> None:
    """Write a file of the cache whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise CannotWriteError(
            f"{path}: cannot be written ({error.strerror}); free space or drop --keep-data"
        ) from None
