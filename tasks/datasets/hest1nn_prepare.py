"""Pictures that are made once: row by row, resumed where a run stopped, under the hash of all that shapes them."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import CannotWriteError, DamagedFileError
from harness.types import Progress

from .hest1nn_draft import PictureJob, append_rows, fits, open_draft
from .hest1nn_lock import locked

BATCH = 64
"""Rows written at a time; at most so many are lost with a process."""
_WORKERS = max(2, min(8, os.cpu_count() or 1))


def prepare_pictures(job: PictureJob, progress: Progress) -> None:
    """Make a file of pictures unless it is there; go on where an earlier process stopped, wait for one that runs.

    Raises:
        CannotWriteError: the folder cannot be written; rows written before are kept.
        HarnessError: as what makes the pictures raises; rows written before are kept.
    """
    if _is_whole(job, progress):
        return
    try:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(job.path, job.title, progress):
            if _is_whole(job, progress):
                return
            _fill(job, progress)
            _sync(job.draft)
            job.draft.replace(job.path)
    except OSError as error:
        raise CannotWriteError(
            f"{job.draft}: cannot be written ({_explain(error)}); pictures made so far are kept: "
            "free some space or move the cache, then run the same command again"
        ) from error


def read_pictures(job: PictureJob, start: int, stop: int) -> NDArray[np.uint8]:
    """Read consecutive rows of a prepared file and compare them with their checksums.

    Returns:
        (stop - start, *shape) uint8.

    Raises:
        DamagedFileError: the file cannot be read, or a row is not what was written.
    """
    import h5py

    try:
        with h5py.File(job.path, "r") as file:
            rows: NDArray[np.uint8] = file[job.name][start:stop]
            sums = file["checksum"][start:stop]
    except (OSError, KeyError, RuntimeError) as error:
        raise DamagedFileError(f"{job.path}: cannot be read ({error})") from error
    for row, (picture, known) in enumerate(zip(rows, sums.tolist(), strict=True), start):
        if zlib.crc32(picture) != known:
            raise DamagedFileError(
                f"{job.path}: {job.name}: the picture of {job.ids[row]} has changed since it was written"
            )
    return rows


def remake_pictures(job: PictureJob, reason: DamagedFileError, progress: Progress) -> None:
    """Delete a prepared file that turned out to be damaged, with a warning, and make it again.

    Raises:
        CannotWriteError, HarnessError: as :func:`prepare_pictures`.
    """
    progress.warn(f"{reason}; deleted and made again")
    try:
        job.path.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWriteError(
            f"{job.path}: cannot be deleted ({_explain(error)}); delete it, it is made again"
        ) from error
    prepare_pictures(job, progress)


def _fill(job: PictureJob, progress: Progress) -> None:
    with open_draft(job, progress) as file:
        done, total = int(file["done"][()]), len(job.ids)
        progress.start(job.title, total)
        try:
            progress.advance(done)
            with job.source() as draw, ThreadPoolExecutor(_WORKERS, thread_name_prefix="prepare") as pool:
                for start in range(done, total, BATCH):
                    stop = min(start + BATCH, total)
                    append_rows(job, file, start, np.stack(list(pool.map(draw, range(start, stop)))))
                    progress.advance(stop - start)
        finally:
            progress.finish()


def _is_whole(job: PictureJob, progress: Progress) -> bool:
    import h5py

    if not job.path.exists():
        return False
    try:
        with h5py.File(job.path, "r") as file:
            if fits(job, file) and int(file["done"][()]) == len(job.ids):
                return True
            reason = "incomplete"
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = f"damaged ({error})"
    progress.warn(f"{job.path}: {reason}; it is made again")
    job.path.unlink(missing_ok=True)
    return False


def _explain(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
