"""The samples of a HEST task in one order, with their targets, folds and pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.hashing import hash_code, hash_file, hash_value
from harness.types import Batch

from ..expression import ExpressionFold
from .hest_patches import SIDE, PatchImages
from .hest_sections import Section

VIEWS = ("image",)


@dataclass(frozen=True)
class HestDataset:
    """Samples of all sections, section after section, in the order of their patch files.

    Sections stand in the order of their first appearance in train_0, test_0, train_1, test_1, and so on. Attributes
    not listed are those of :class:`harness.tasks.expression.ExpressionTargets`.

    Attributes:
        ids: ``SECTION/BARCODE``.
        sections: the sections.
        files: (public name, local path) of every file used.
    """

    ids: tuple[str, ...]
    section: tuple[str, ...]
    genes: tuple[str, ...]
    targets: NDArray[np.float64]
    folds: tuple[ExpressionFold, ...]
    clusters: tuple[str, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    files: tuple[tuple[str, Path], ...]
    _images: PatchImages = field(default_factory=PatchImages, repr=False, compare=False)

    @cached_property
    def data_hash(self) -> str:
        """sha256 over the names and contents of every file used."""
        return hash_value(sorted([name, hash_file(path)] for name, path in self.files))

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of patch files, sample order and reader's code."""
        _check_view(view)
        return hash_value(
            {
                "view": view,
                "patches": [hash_file(section.patches.path) for section in self.sections],
                "ids": hashlib.sha256("\n".join(self.ids).encode()).hexdigest(),
                "code": hash_code(__name__),
            }
        )

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read a range of patches, which may cross sections, as (N, 3, 224, 224) uint8 RGB.

        Raises:
            UsageError: another view than ``image``.
            DamagedFileError: a patch file without pixels, or unreadable ones.
        """
        _check_view(view)
        ids = self.ids[start:stop]
        images = np.empty((len(ids), 3, SIDE, SIDE), dtype=np.uint8)
        first = 0
        for section in self.sections:
            rows = section.patch_rows[max(start - first, 0) : max(stop - first, 0)]
            if len(rows):
                at = max(first - start, 0)
                self._images.read(section.patches.path, rows, images[at : at + len(rows)])
            first += len(section.patch_rows)
        return Batch(ids, view, images=images)


def _check_view(view: str) -> None:
    if view not in VIEWS:
        raise UsageError(f"view {view!r}: the hest reader offers {', '.join(VIEWS)}")
