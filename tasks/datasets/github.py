"""Files of public GitHub repositories: first in the mirrors of ``--data-dir``, then in the cache, then from GitHub."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from harness.errors import CannotWriteError, MissingDataError
from harness.types import DataContext

from .mirror import Repository

_RAW = "https://raw.githubusercontent.com"
_PATIENCE = 60
"""Seconds without an answer after which a download is given up."""


def find_github_file(repository: Repository, path: str, context: DataContext) -> Path:
    """Return the local path of one file, downloading it where that is allowed.

    Args:
        repository: OWNER/REPO on GitHub with the commit that is downloaded; mirrors are taken as they are.
        path: path in the repository.
        context: where files are found.

    Raises:
        MissingDataError: it is nowhere; the message lists every place searched and the command that fetches it.
        CannotWriteError: the cache cannot be written.
    """
    kept = context.cache / "github" / repository.name / _commit(repository) / path
    places = [*(place / repository.name / path for place in context.data_dirs), kept]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return found
    address = f"{_RAW}/{repository.name}/{_commit(repository)}/{path}"
    if context.offline:
        raise MissingDataError(_explain(repository, path, places, address, "not asked (--offline)"))
    try:
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:  # noqa: S310 - the scheme is ours
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        reason = "the repository has no such file" if error.code == 404 else f"refused with status {error.code}"
        raise MissingDataError(_explain(repository, path, places, address, reason)) from None
    except OSError:
        raise MissingDataError(_explain(repository, path, places, address, "no connection")) from None
    _keep(kept, content)
    return kept


def _commit(repository: Repository) -> str:
    return repository.revision or "HEAD"


def _keep(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise CannotWriteError(
            f"{path}: cannot be written ({error.strerror}); free the disk or move the cache"
        ) from None


def _explain(repository: Repository, path: str, places: Sequence[Path], address: str, reason: str) -> str:
    wanted = f"DIR/{repository.name}/{path}"
    lines = [
        f"{repository.name}: {path} not found. Searched:",
        *(f"  {place}" for place in places),
        f"  GitHub: {reason}",
        f"Either let it be downloaded, or run `curl --create-dirs -o {wanted} {address}` and pass --data-dir DIR",
    ]
    return "\n".join(lines)
