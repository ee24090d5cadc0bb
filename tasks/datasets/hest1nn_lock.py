"""One process at a time makes a file; the system frees the lock of a process that is killed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.types import Progress


@contextmanager
def locked(path: Path, title: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of a file that is to be made; wait while another process or thread holds it.

    Where the file system has no locks a warning says so. The lock is a file beside ``path``, which is removed after
    success: whoever waited for it finds ``path`` made.

    Args:
        path: the file.
        title: of the work, for messages.
        progress: where a warning goes.

    Raises:
        OSError: the lock file cannot be written.
    """
    beside = path.with_name(f"{path.name}.lock")
    with beside.open("w") as lock:
        _wait(lock.fileno(), title, progress)
        yield
        with contextlib.suppress(OSError):
            beside.unlink()


def _wait(lock: int, title: str, progress: Progress) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.warn(f"{title}: another process is at it; waiting")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        progress.warn(f"{title}: the cache has no file locks ({error.strerror}); do not prepare it twice at once")
