"""One tissue section of a HEST task: its patches joined with its spots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError
from harness.types import DataContext

from .h5ad import Spots, read_spots
from .hest_counts import join_barcodes
from .hest_patches import PatchFile, check_positions, read_patch_file
from .hest_splits import SectionPlace
from .mirror import Repository, find_file

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
        files: (public name, local path) of the patch and the h5ad file.
    """

    name: str
    patches: PatchFile
    spots: Spots
    patch_rows: NDArray[np.int64]
    spot_rows: NDArray[np.int64]
    warning: str | None
    files: tuple[tuple[str, Path], ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, ``SECTION/BARCODE``."""
        return tuple(f"{self.name}/{self.patches.barcodes[row]}" for row in self.patch_rows)


def read_section(place: SectionPlace, context: DataContext, slides: Repository | None = None) -> Section:
    """Find the two files of a section and join them by barcode.

    Args:
        place: where the files lie.
        context: where files are found.
        slides: a repository with ``st/``, whose h5ad file of all genes is taken where that of the task is nowhere.

    Raises:
        MissingDataError: a file is nowhere.
        DamagedFileError: a file is unreadable or the two do not join.
    """
    path = find_file(*place.patches, context)
    patches = read_patch_file(path)
    counts = [place.expression, *([(slides, f"st/{place.name}.h5ad")] if slides else [])]
    (repository, public), local = find_first(counts, context, f"section {place.name}: its counts are missing:")
    spots = read_spots(local)
    rows = join_barcodes(spots, patches.barcodes, f"{place.name}: {patches.path}")
    warning = None if spots.centres is None else check_positions(place.name, patches, spots.centres[rows])
    files = ((_name(*place.patches), path), (_name(repository, public), local))
    return Section(place.name, patches, spots, np.arange(len(rows), dtype=np.int64), rows, warning, files)


def find_first(
    files: Sequence[tuple[Repository, str]], context: DataContext, title: str
) -> tuple[tuple[Repository, str], Path]:
    """Find the first of several files of which one suffices; what lies on disk comes before any download.

    Returns:
        The file and its local path.

    Raises:
        MissingDataError: none is anywhere; the message begins with ``title``, or is that of the only file.
    """
    tried: list[str] = []
    for where in (replace(context, offline=True), context):
        tried = []
        for file in files:
            try:
                return file, find_file(*file, where)
            except MissingDataError as error:
                tried.append(str(error))
    raise MissingDataError("\n".join([title, *tried] if len(tried) > 1 else tried))


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
    kept = spread([len(section.patch_rows) for section in sections], limit)
    return tuple(
        replace(section, patch_rows=section.patch_rows[rows], spot_rows=section.spot_rows[rows])
        for section, rows in zip(sections, kept, strict=True)
    )


def spread(sizes: Sequence[int], limit: int | None) -> list[NDArray[np.int64]]:
    """Choose about ``limit`` samples of several sections.

    Args:
        sizes: samples of each section.
        limit: how many of all; None for all.

    Returns:
        Rows of each section, ascending and evenly spaced: its share, at least 3 where there are as many.

    Example:
        >>> [rows.tolist() for rows in spread([5, 1], 3)]
        [[0, 2, 4], [0]]
    """
    total = sum(sizes)
    if limit is None or limit >= total:
        return [np.arange(size, dtype=np.int64) for size in sizes]
    kept = [min(size, max(_FEWEST, round(limit * size / total))) for size in sizes]
    return [np.linspace(0, size - 1, keep).round().astype(np.int64) for size, keep in zip(sizes, kept, strict=True)]


def _name(repository: Repository, path: str) -> str:
    return f"{repository.name}/{path}"
