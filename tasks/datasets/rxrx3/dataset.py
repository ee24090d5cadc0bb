"""The wells of an RxRx3-core task in one order, with folds, known relations and six-channel images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import MissingDataError, UsageError
from harness.hashing import hash_code, hash_file, hash_value
from harness.types import Batch

from ...wells import Relations, WellFold, Wells
from ..imaging import jpeg2000
from .image_index import find_images, settle
from .images import WellImages
from .interactions import Interaction
from .metadata import COLUMNS
from .shards import Shards

VIEW = "image"


@dataclass(frozen=True)
class RxrxDataset:
    """One sample a well, sorted by the name of the well, whether or not its images are here.

    Attributes not listed are those of :class:`harness.tasks.wells.RelatedWells`. In a fold that was drawn ``rows`` and
    ``controls`` have no well in common; the one fold of a whole map has its controls among its rows too.

    Attributes:
        wells: the wells; ``batch`` is the experiment, ``dose`` in micromolar.
        folds: rows to score, and ``EMPTY_control`` wells that normalise them.
        relations: known pairs of genes by source.
        interactions: known targets of compounds, sorted; empty where the task does not ask for them.
        notes: sentences about the data.
        files: (public name, local path) of the lists of relations and interactions.
        shards: the image files; none is opened before :meth:`read`.
    """

    wells: Wells
    folds: tuple[WellFold, ...]
    relations: Mapping[str, Relations]
    interactions: tuple[Interaction, ...]
    notes: tuple[str, ...]
    files: tuple[tuple[str, Path], ...]
    shards: Shards

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the wells, ``EXPERIMENT_PLATE_ADDRESS``."""
        return self.wells.ids

    @property
    def well_of(self) -> NDArray[np.int64]:
        """(n,) int64: each sample is one well."""
        return np.arange(len(self.ids), dtype=np.int64)

    @property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """Rows of a table of vectors that name one well in ``well_id`` are averaged."""
        return {"well_id": self.ids}

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """Columns of the published table of wells: none is a feature."""
        return COLUMNS

    @cached_property
    def data_hash(self) -> str:
        """sha256 over what was done to each well, the folds, and the contents of the lists."""
        dose = np.array([], dtype=np.float64) if self.wells.dose is None else self.wells.dose
        columns = (self.ids, self.wells.perturbation, self.wells.batch or (), self.wells.kind or (), dose.tolist())
        rows = "\n".join(map(repr, zip(*columns, strict=True)))
        return hash_value(
            {
                "wells": hashlib.sha256(rows.encode()).hexdigest(),
                "folds": [[fold.number, _digest(fold.rows), _digest(fold.controls)] for fold in self.folds],
                "files": sorted([name, hash_file(path)] for name, path in self.files),
            }
        )

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of the image files, the sample order and the code that decodes; no image is opened."""
        _check_view(view)
        ids = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()
        code = [hash_code(__name__), hash_code(jpeg2000.__name__)]
        return hash_value({"view": view, "shards": self.shards.hash_contents(), "ids": ids, "code": code})

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read a range of wells.

        Returns:
            Images (N, 6, 512, 512) uint8, channels 1 to 6 as published.

        Raises:
            UsageError: another view.
            MissingDataError: the images of some well of the task are nowhere.
            DamagedFileError: a channel is missing or twice, a shard is unreadable, or an image is not what it must be.
        """
        _check_view(view)
        ids = self.ids[start:stop]
        return Batch(ids, view, images=self._images.read(start, start + len(ids)))

    @cached_property
    def _images(self) -> WellImages:
        local, cache = self.shards.find_local(), self.shards.context.cache
        search = find_images(self.ids, list(local.values()), cache)
        if len(search.elsewhere) and len(local) < len(self.shards.names):
            try:
                local = self.shards.fetch()
            except MissingDataError as error:
                raise MissingDataError(self._explain(len(local), search.elsewhere, error)) from None
            search = find_images(self.ids, list(local.values()), cache)
        return WellImages(settle(search, self.ids, list(local.values())), self.ids)

    def _explain(self, n_shards: int, absent: NDArray[np.int64], error: MissingDataError) -> str:
        known = len(self.ids) - len(absent)
        first = ", ".join(self.ids[row] for row in absent[:3])
        return (
            f"images of {len(absent)} of {len(self.ids)} wells are missing, first: {first}; the mirror holds {known} "
            f"of {len(self.ids)} wells in {n_shards} of {len(self.shards.names)} files.\n{error}\n"
            "What runs without images: embeddings:PATH, with vectors by well_id"
        )


def _digest(rows: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()


def _check_view(view: str) -> None:
    if view != VIEW:
        raise UsageError(f"view {view!r}: the rxrx3 reader offers {VIEW}")
