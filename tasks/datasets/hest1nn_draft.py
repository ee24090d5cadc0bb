"""A file of pictures while it grows: rows, checksums and a counter, readable up to the counter at any moment.

Its arrays are laid out in full before the first row is written, so that nothing but rows, checksums and the counter
changes afterwards: whenever a process is killed, what it leaves is a valid file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.types import Progress

if TYPE_CHECKING:
    import h5py

_BLOCK = 64  # rows compared with their checksums at a time
Draw = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True)
class PictureJob:
    """One file of pictures.

    Attributes:
        path: the file; its folder is named by the hash of all that shapes it.
        title: for progress bars and messages.
        name: of the array.
        ids: of the rows.
        shape: of one picture.
        source: opens what the pictures are made from and gives the function that makes one, which threads share.
    """

    path: Path
    title: str
    name: str
    ids: tuple[str, ...]
    shape: tuple[int, ...]
    source: Callable[[], AbstractContextManager[Draw]]

    @property
    def draft(self) -> Path:
        """Where the file grows."""
        return self.path.with_name(f"{self.path.name}.part")


@contextmanager
def open_draft(job: PictureJob, progress: Progress) -> Iterator[h5py.File]:
    """Open the draft of a file, counter ``done`` included; one that cannot be trusted is begun anew, with a warning.

    Raises:
        OSError: it cannot be written.
    """
    import h5py

    if job.draft.exists():
        reason = _find_fault(job)
        if reason is None:
            with h5py.File(job.draft, "r+") as file:
                yield file
            return
        progress.warn(f"{job.draft}: {reason}; it is begun anew")
        job.draft.unlink()
    with h5py.File(job.draft, "w") as file:
        _lay_out(job, file)
        yield file


def append_rows(job: PictureJob, file: h5py.File, start: int, rows: NDArray[np.uint8]) -> None:
    """Write rows and their checksums, then count them.

    Raises:
        OSError: they cannot be written; rows counted before stay.
    """
    stop = start + len(rows)
    try:
        file[job.name][start:stop] = rows
        file["checksum"][start:stop] = [zlib.crc32(row) for row in rows]
        file.flush()
        file["done"][()] = stop  # only now the rows count
        file.flush()
    except RuntimeError as error:  # what h5py makes of some failures to write
        raise OSError(str(error)) from error


def fits(job: PictureJob, file: h5py.File) -> bool:
    """Tell whether a file holds pictures of these samples; raises what h5py does where it is no such file."""
    pictures = file[job.name]
    names = tuple(name.decode() for name in file["id"][()].tolist())
    return pictures.shape == (len(job.ids), *job.shape) and pictures.dtype == np.uint8 and names == job.ids


def _lay_out(job: PictureJob, file: h5py.File) -> None:
    import h5py

    whole = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    whole.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # its place is fixed from the start
    whole.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((len(job.ids), *job.shape))
    h5py.h5d.create(file.id, job.name.encode(), h5py.h5t.STD_U8LE, space, dcpl=whole)
    file["id"] = np.array([name.encode() for name in job.ids])
    file["checksum"] = np.zeros(len(job.ids), dtype=np.uint32)
    file["done"] = np.int64(0)
    file.flush()


def _find_fault(job: PictureJob) -> str | None:
    """Say why a draft cannot be gone on with, or None."""
    import h5py

    try:
        with h5py.File(job.draft, "r") as file:
            done = int(file["done"][()])
            if not fits(job, file) or not 0 <= done <= len(job.ids):
                return "the draft of other pictures"
            for start in range(0, done, _BLOCK):
                stop = min(start + _BLOCK, done)
                sums = [zlib.crc32(row) for row in file[job.name][start:stop]]
                if sums != file["checksum"][start:stop].tolist():
                    return "pictures in it have changed since they were written"
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        return f"half-written or damaged ({error})"
    return None
