"""The samples of the JUMP task: images of sites, or wells without images for vectors that exist already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.errors import MissingDataError, UsageError
from harness.hashing import hash_code, hash_value
from harness.plans import Plan
from harness.types import Batch

from ...wells import WellFold, Wells
from ..imaging import tiff
from .images import SiteImages
from .params import Params
from .plan import plan_sites, plan_wells
from .question import Question
from .sites import Site

VIEW = "image"
_METADATA = tuple(
    f"Metadata_{name}" for name in ("Source", "Batch", "Plate", "PlateType", "Well", "Site", "JCP2022", "pert_type")
)


@dataclass(frozen=True)
class JumpDataset:
    """Sites of control wells in the order of the wells; or the wells themselves where no image is at hand.

    Attributes:
        question: wells, labels and folds.
        sites: the samples; None where the tables of images are nowhere.
        absence: why there are none, in words.
        params: how images are made.
        per_well: at most so many images of a well, under ``--limit``.
        images: reads the pixels.
    """

    question: Question
    sites: tuple[Site, ...] | None
    absence: str
    params: Params
    per_well: int | None
    images: SiteImages = field(repr=False)
    _flat: set[tuple[int, int]] = field(default_factory=set, repr=False, compare=False)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """``SOURCE/PLATE/WELL/SITE``, or ``SOURCE/PLATE/WELL`` without images."""
        wells = self.wells.ids
        return wells if self.sites is None else tuple(f"{wells[one.well]}/{one.files.site}" for one in self.sites)

    @property
    def wells(self) -> Wells:
        """The control wells of all folds."""
        return self.question.wells

    @cached_property
    def well_of(self) -> NDArray[np.int64]:
        """(n_samples,) int64, the row of the well of each sample."""
        if self.sites is None:
            return np.arange(len(self.wells.ids), dtype=np.int64)
        return np.array([one.well for one in self.sites], dtype=np.int64)

    @property
    def folds(self) -> tuple[WellFold, ...]:
        """Positive controls that are scored, and DMSO wells of the same plates."""
        return self.question.folds

    @cached_property
    def keys(self) -> Mapping[str, Sequence[str]]:
        """Columns that name a sample in a table of vectors; ``Metadata_Site`` only where samples are sites."""
        question, rows = self.question, self.well_of.tolist()
        plates = [question.plates[question.plate_of[row]] for row in rows]
        keys = {
            "Metadata_Source": [plate.source for plate in plates],
            "Metadata_Plate": [plate.name for plate in plates],
            "Metadata_Well": [question.names[row] for row in rows],
        }
        return keys if self.sites is None else {**keys, "Metadata_Site": [one.files.site for one in self.sites]}

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """Columns of the public tables of plates, wells and images: none is a feature."""
        return _METADATA

    @property
    def well_names(self) -> Sequence[tuple[str, ...]]:
        """Laboratory, plate and well together: names of plates are not promised to be unique over laboratories."""
        return [("Metadata_Source", "Metadata_Plate", "Metadata_Well")]

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether images are absent, and how many channels were flat among those read so far."""
        said = []
        if self.sites is None:
            said.append(
                "No image is at hand, so a sample is a well: vectors that exist already are scored, pixels cannot be "
                "read."
            )
        if self._flat:
            said.append(
                f"{len(self._flat)} channel images have one intensity from the lower to the upper percentile and "
                "became zero."
            )
        return tuple(said)

    @property
    def data_hash(self) -> str:
        """sha256 over folds, wells and labels: the question, the same with and without images."""
        return self.question.digest

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of what shapes the samples: ids, addresses, local files, options and code.

        An image in a mirror counts with its size and time of change, one in the public bucket with its address alone:
        the bucket does not change its files, and to ask for the state of each would take hours.
        """
        _check_view(view)
        shape: object = None
        if self.sites is not None:
            params = self.params.model_dump(mode="json", include={"crop", "clip", "scale", "bits", "illum"})
            shape = {"files": self._files, "params": params, "code": [hash_code(__name__), hash_code(tiff.__name__)]}
        ids = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()
        return hash_value({"view": view, "ids": ids, "shape": shape})

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read a range of sites.

        Returns:
            (N, 5, crop, crop) uint8 (float32 in [0, 1] with ``bits: 16``), channels AGP, DNA, ER, Mito, RNA.

        Raises:
            UsageError: another view.
            MissingDataError: no image is at hand, or one is nowhere.
            DamagedFileError: an image is not what it must be; the message names it.
        """
        _check_view(view)
        if self.sites is None:
            raise MissingDataError(
                f"the images of this task are nowhere, only vectors can be scored (embeddings:PATH)\n{self.absence}"
            )
        pixels = self.images.read([one.files for one in self.sites[start:stop]])
        self._flat.update((start + row, channel) for row, channel in np.argwhere(pixels.flat).tolist())
        return Batch(self.ids[start:stop], view, images=pixels.images)

    def plan(self) -> Plan:
        """Tell how many files and bytes each fold needs."""
        if self.sites is None:
            return plan_wells(self.question, self.params, self.per_well)
        return plan_sites(self.question, self.sites, self.images.objects)

    @cached_property
    def _files(self) -> str:
        """sha256 over the addresses of all files, with the state of those in a mirror."""
        digest = hashlib.sha256()
        for one in self.sites or ():
            for address in (*one.files.images, *one.files.illumination):
                digest.update(f"{address}|{self.images.objects.stamp(address)}\n".encode())
        return digest.hexdigest()


def _check_view(view: str) -> None:
    if view != VIEW:
        raise UsageError(f"view {view!r}: the jump reader offers {VIEW}")
