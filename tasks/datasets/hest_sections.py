"""One tissue section of a HEST task: its patches joined with its spots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError
from harness.types import DataContext

from .h5ad import Spots, read_spots
from .hest_counts import join_barcodes
from .hest_patches import PatchFile, check_positions, read_patch_file
from .hest_splits import SectionPlace
from .mirror import find_file

_FEWEST = 3  # samples a section keeps under a limit, so that a correlation inside it stays defined


@dataclass(frozen=True)
class Section:
    """A section with the samples that are used.

    Attributes:
        name: HEST's ``sample_id``.
        patches: its patch file.
        spots: its h5ad file.
        patch_rows: (n,) int64 rows of the samples in the patch file, ascending.
        spot_rows: (n,) int64 rows of the same samples in the h5ad file.
        warning: what is odd about the positions, or None.
    """

    name: str
    patches: PatchFile
    spots: Spots
    patch_rows: NDArray[np.int64]
    spot_rows: NDArray[np.int64]
    warning: str | None

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, ``SECTION/BARCODE``."""
        return tuple(f"{self.name}/{self.patches.barcodes[row]}" for row in self.patch_rows)


def read_section(place: SectionPlace, context: DataContext) -> Section:
    """Find the two files of a section and join them by barcode.

    Raises:
        MissingDataError: a file is nowhere.
        DamagedFileError: a file is unreadable or the two do not join.
    """
    repository, path = place.patches
    patches = read_patch_file(find_file(repository, path, context))
    repository, path = place.expression
    spots = read_spots(find_file(repository, path, context))
    rows = join_barcodes(spots, patches.barcodes, f"{place.name}: {patches.path}")
    warning = None if spots.centres is None else check_positions(place.name, patches, spots.centres[rows])
    return Section(place.name, patches, spots, np.arange(len(rows), dtype=np.int64), rows, warning)


def check_images(sections: Sequence[Section]) -> str | None:
    """Check that all sections have images, or none: a mirror without images serves precomputed embeddings only.

    Returns:
        A note when no section has images.

    Raises:
        DamagedFileError: some sections have none.
    """
    without = [section for section in sections if not section.patches.has_images]
    if not without:
        return None
    if len(without) < len(sections):
        raise DamagedFileError(
            f"{without[0].patches.path}: dataset 'img' is missing while other sections have it; "
            "half-written? download it again"
        )
    return "the patch files hold no images: only precomputed embeddings can be evaluated"


def thin_out(sections: Sequence[Section], limit: int | None) -> tuple[Section, ...]:
    """Keep about ``limit`` samples: from each section its share, at least 3, evenly spaced in file order."""
    total = sum(len(section.patch_rows) for section in sections)
    if limit is None or limit >= total:
        return tuple(sections)
    thinned = []
    for section in sections:
        have = len(section.patch_rows)
        keep = min(have, max(_FEWEST, round(limit * have / total)))
        chosen = np.linspace(0, have - 1, keep).round().astype(np.int64)
        thinned.append(replace(section, patch_rows=section.patch_rows[chosen], spot_rows=section.spot_rows[chosen]))
    return tuple(thinned)
