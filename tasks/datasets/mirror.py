"""Files of public repositories: first in the mirrors of ``--data-dir``, then in the cache, then from Hugging Face."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from harness.errors import MissingDataError, SpecError
from harness.hub import is_gated, why_not
from harness.types import DataContext

RepositoryName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
"""``OWNER/REPO`` in a spec."""


@dataclass(frozen=True)
class Repository:
    """A public data repository and its place under a data folder, ``DIR/<owner>/<repo>``.

    Attributes:
        name: ``OWNER/REPO``.
        revision: commit, tag or branch that is downloaded; None for the default branch. Mirrors are taken as they are.
    """

    name: str
    revision: str | None = None


def find_file(repository: Repository, path: str, context: DataContext) -> Path:
    """Return the local path of one file, downloading it where that is allowed.

    Raises:
        MissingDataError: it is nowhere; the message lists every place searched and what to do.
    """
    local = _in_mirrors(repository, path, context)
    return local or _download(repository, path, context, folder=False)


def list_files(repository: Repository, path: str, context: DataContext) -> tuple[str, ...]:
    """Return the sorted names of the files directly in a folder; the first mirror that holds the folder counts alone.

    Raises:
        MissingDataError: no mirror holds the folder and it cannot be downloaded.
    """
    local = _in_mirrors(repository, path, context)
    folder = local or _download(repository, path, context, folder=True)
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_file()))


def resolve(repository: Repository, path: str, where: str) -> tuple[Repository, str]:
    """Resolve ``..`` in a path that data files name, which may lead to another repository of the same data folder.

    Args:
        repository: where the path starts.
        path: POSIX path below the repository, for example ``HER2ST_XP/../HER2ST/patches/SPA141.h5``.
        where: file and line that name the path, for the message.

    Returns:
        The repository that holds the file, and the path in it.

    Raises:
        SpecError: the path is absolute or leaves the data folder.

    Example:
        >>> resolve(Repository("owner/repo"), "b/../a/x.h5", "train_0.csv:2")
        (Repository(name='owner/repo', revision=None), 'a/x.h5')
    """
    parts = posixpath.normpath(posixpath.join(repository.name, path)).split("/")
    if parts[0] in ("", "..") or len(parts) < 3:
        raise SpecError(f"{where}: the path {path!r} leaves the data folder; paths must stay inside it")
    name = "/".join(parts[:2])
    return (repository if name == repository.name else Repository(name)), "/".join(parts[2:])


def _in_mirrors(repository: Repository, path: str, context: DataContext) -> Path | None:
    places = (place / repository.name / path for place in context.data_dirs)
    return next((place for place in places if place.exists()), None)


def _download(repository: Repository, path: str, context: DataContext, *, folder: bool) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    huggingface_hub.logging.set_verbosity_error()  # what went wrong is said once, by us
    cache = context.cache / "huggingface"
    try:
        if folder:
            snapshot = huggingface_hub.snapshot_download(
                repository.name,
                repo_type="dataset",
                revision=repository.revision,
                cache_dir=cache,
                local_files_only=context.offline,
                allow_patterns=[f"{path}/*"],
            )
            found = Path(snapshot) / path
            if not found.is_dir():
                raise EntryNotFoundError(f"no folder {path}")
            return found
        return Path(
            huggingface_hub.hf_hub_download(
                repository.name,
                path,
                repo_type="dataset",
                revision=repository.revision,
                cache_dir=cache,
                local_files_only=context.offline,
            )
        )
    except (HfHubHTTPError, EntryNotFoundError, HFValidationError, OSError) as error:
        reason = "not asked (--offline)" if context.offline else why_not(error)
        gated = not context.offline and is_gated(error)
        raise MissingDataError(_explain(repository, path, context, cache, reason, gated=gated)) from None


def _explain(repository: Repository, path: str, context: DataContext, cache: Path, reason: str, *, gated: bool) -> str:
    searched = [*(place / repository.name / path for place in context.data_dirs), cache]
    page = f"https://huggingface.co/datasets/{repository.name}"
    conditions = f"see {page} (accept the conditions there if it is gated, then run `hf auth login`)"
    if gated:
        conditions = (
            f"it is gated. Open {page}, accept the conditions, log in with `hf auth login`, and run the same command "
            "again. What runs without: tasks that need no files, such as synthetic-mini, any task on a mirror"
        )
    lines = [
        f"{repository.name}: {path} not found. Searched:",
        *(f"  {place}" for place in searched),
        f"  Hugging Face: {reason}",
        f"Either pass --data-dir DIR with the file at DIR/{repository.name}/{path}, or let it be downloaded: "
        + conditions,
    ]
    return "\n".join(lines)
