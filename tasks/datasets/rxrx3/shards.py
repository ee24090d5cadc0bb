"""The parquet files with the images of RxRx3-core: where they lie, and what identifies their content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import MissingDataError
from harness.hashing import hash_file
from harness.types import DataContext

from ..mirror import Repository, find_file

FOLDER = "data"


@dataclass(frozen=True)
class Shards:
    """The shards of one repository; nothing is opened or downloaded before it is asked for.

    Attributes:
        repository: where they are published.
        count: how many there are; a mirror whose files name another number is taken by its word.
        context: where files are found.
    """

    repository: Repository
    count: int
    context: DataContext

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of all shards in the repository, whether or not they are here."""
        folders = [place / self.repository.name / FOLDER for place in self.context.data_dirs]
        here = (file.name for folder in folders for file in sorted(folder.glob("train-*-of-*.parquet")))
        said = next(here, "").rpartition("-of-")[2].removesuffix(".parquet")
        count = int(said) if said.isdigit() else self.count
        return tuple(f"{FOLDER}/train-{number:05d}-of-{count:05d}.parquet" for number in range(count))

    def find_local(self) -> dict[str, Path]:
        """Return name -> path of the shards that lie in a mirror or in the cache."""
        offline, found = replace(self.context, offline=True), dict[str, Path]()
        for name in self.names:
            try:
                found[name] = find_file(self.repository, name, offline)
            except MissingDataError:
                continue
        return found

    def fetch(self) -> dict[str, Path]:
        """Return name -> path of all shards, downloading those that are missing.

        Raises:
            MissingDataError: one is nowhere.
        """
        return {name: find_file(self.repository, name, self.context) for name in self.names}

    def hash_contents(self) -> dict[str, str | None]:
        """Return the sha256 of every shard; nothing is downloaded for it.

        Where a mirror holds shards, those in it count. Elsewhere all count: what is not in the cache yet has the hash
        that Hugging Face tells, the same that the file will have, so that a download changes nothing; None where
        nobody tells.
        """
        local = self.find_local()
        self.context.progress.start("checking image files", len(local))
        known: dict[str, str | None] = {}
        for name, path in local.items():
            known[name] = hash_file(path)
            self.context.progress.advance(1)
        self.context.progress.finish()
        if any(place in path.parents for place in self.context.data_dirs for path in local.values()):
            return known
        absent = [name for name in self.names if name not in local]
        return dict.fromkeys(absent) | self._published(absent) | known

    def _published(self, names: list[str]) -> dict[str, str | None]:
        if self.context.offline or not names:
            return {}
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            told = huggingface_hub.HfApi().get_paths_info(
                self.repository.name, names, repo_type="dataset", revision=self.repository.revision
            )
        except (HfHubHTTPError, HFValidationError, OSError):
            return {}
        return {item.path: item.lfs.sha256 for item in told if getattr(item, "lfs", None)}
