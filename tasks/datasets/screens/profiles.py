"""A table of wells or genes without pictures: vectors of ``embeddings:PATH`` answer, and nothing else can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel

from harness.errors import MismatchError
from harness.hashing import hash_code, hash_value
from harness.specs import Strict, TaskSpec
from harness.types import Batch, DataContext

from .columns import ScreenSource
from .needs import check_controls, check_relations
from .samples import ScreenSamples
from .screen import check_views, open_screen

VIEW = "profiles"


class Params(Strict):
    """Nothing can be chosen."""


@dataclass(frozen=True)
class ProfileDataset(ScreenSamples):
    """Rows of a table, to which vectors are joined."""

    @property
    def data_hash(self) -> str:
        """sha256 over the rows of the columns in use, and the files of known pairs."""
        return self.screen.data_hash

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of what vectors are joined by: names and keys of the rows, and what is no feature."""
        return hash_value({"view": view, **self.joined, "code": hash_code(__name__)})

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Refuse: there are no pixels.

        Raises:
            MismatchError: always.
        """
        raise MismatchError(
            f"{self.screen.table.path}: the view {view} has no pictures (rows {start} to {stop}); only vectors that "
            "were computed already can answer: --model embeddings:PATH. For pictures use the reader image-table"
        )


class ProfilesReader:
    """Opens a table of wells or genes."""

    name: ClassVar[str] = "profiles"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = ScreenSource

    def open(
        self,
        spec: TaskSpec,
        source: BaseModel,
        params: BaseModel,  # noqa: ARG002 - the contract's signature
        context: DataContext,
    ) -> ProfileDataset:
        """Read and check the tables.

        Raises:
            MissingDataError: a file is nowhere.
            DamagedFileError: a file is unreadable or contradicts itself.
            UsageError: a column, value or view that is not there, or controls or known pairs missing that the
                protocol needs.
        """
        if not isinstance(source, ScreenSource):
            raise TypeError("the profiles reader takes its own Source")
        check_views(spec, self.name, VIEW)
        check_relations(spec, source)
        screen = open_screen(source, context)
        check_controls(spec, screen.wells, screen.folds)
        return ProfileDataset(screen)


READER = ProfilesReader()
