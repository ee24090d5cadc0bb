"""The spots of a section with their neighbours and the squares around them, before any cell is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..metrics.binning import Members
from ..metrics.boxes import place_patches
from ..metrics.neighbourhoods import find_grid_neighbours, find_neighbours, measure_pitch
from .h5ad import open_h5, read_dataset
from .hest1nn_params import NeighbourOptions
from .hest1nn_pitch import choose_scale
from .hest1nn_regularity import check_grid
from .hest_metadata import SectionFacts
from .hest_patches import SIDE_UM, check_offsets, check_positions
from .hest_sections import Section


@dataclass(frozen=True)
class Plan:
    """A section laid out: one neighbourhood for each patch, in the order of the patch file.

    Attributes:
        section: patches and spots.
        um_per_px: micrometres a slide pixel.
        pitch: distance of adjacent spots in slide pixels.
        squares: (n, 4) float64 x0, y0, x1, y1 of 112 um about each spot, slide pixels; the patches come first.
        spot_rows: (n,) int64 rows of these spots in the h5ad file.
        members: rows of ``squares``; a neighbourhood for each patch, itself included.
        size: width and height of the slide as the metadata state them, or None.
        notes: what a reader of the score should know.
    """

    section: Section
    um_per_px: float
    pitch: float
    squares: NDArray[np.float64]
    spot_rows: NDArray[np.int64]
    members: Members
    size: tuple[int, int] | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """HEST's ``sample_id``."""
        return self.section.name


def lay_out(section: Section, facts: SectionFacts, options: NeighbourOptions) -> Plan:
    """Find the neighbours of each spot that has a patch.

    Args:
        section: all patches and spots of a section.
        facts: what its metadata say.
        options: how.

    Raises:
        MissingDataError: pixel size or pitch are unknown.
        DamagedFileError: the h5ad file has no positions, they are on no such grid, or contradict the patches.
    """
    everywhere = _centres(section)
    rows = _choose_spots(section, options)
    centres = everywhere[rows]
    if options.neighbours == "radius" and (pitch := measure_pitch(centres)):  # else the array tells, not distances
        check_grid(section.name, centres, pitch, options.shape)
    scale = choose_scale(section, facts, centres, options.pitch, options.shape)
    side = SIDE_UM / scale.um_per_px
    patches = replace(section.patches, um_per_px=scale.um_per_px)
    warning = check_positions(section.name, patches, everywhere[section.spot_rows])
    check_offsets(section.name, patches, everywhere[section.spot_rows], section.spots.path)
    corners = np.trunc(centres - side // 2)  # HEST's rule; where there is a patch, its own corner counts
    corners[: len(patches.corners)] = patches.corners
    try:
        members = (
            find_neighbours(centres, scale.pitch, options.shape)
            if options.neighbours == "radius"
            else find_grid_neighbours(read_array_positions(section.spots.path, len(everywhere))[rows])
        )
    except (ValueError, DamagedFileError) as error:
        raise DamagedFileError(f"{section.spots.path}: section {section.name}: {error}") from error
    end = int(members.start[len(section.patch_rows)])
    return Plan(
        section=section,
        um_per_px=scale.um_per_px,
        pitch=scale.pitch,
        squares=place_patches(corners, side),
        spot_rows=rows,
        members=Members(members.start[: len(section.patch_rows) + 1], members.index[:end]),
        size=facts.size,
        notes=(*filter(None, [warning]), *scale.notes),
    )


def read_array_positions(path: Path, n_spots: int) -> NDArray[np.int64]:
    """Read ``array_row`` and ``array_col`` of the spots of an h5ad file.

    Returns:
        (n_spots, 2) int64.

    Raises:
        DamagedFileError: a column is missing, of another length, or not whole numbers.
    """
    with open_h5(path) as file:
        columns = []
        for column in ("array_row", "array_col"):
            nullable = f"obs/{column}/values"  # integers with a mask, as written by newer AnnData
            found = read_dataset(file, nullable if nullable in file else f"obs/{column}")[()]
            values = np.asarray(found, dtype=np.float64)
            if values.shape != (n_spots,) or not (values == np.rint(values)).all():
                raise DamagedFileError(
                    f"{path}: obs/{column}: expected {n_spots} whole numbers; nn.neighbours: radius needs none"
                )
            columns.append(values.astype(np.int64))
    return np.column_stack(columns)


def _centres(section: Section) -> NDArray[np.float64]:
    if section.spots.centres is None:
        raise DamagedFileError(
            f"{section.spots.path}: obsm/spatial is missing; neighbourhoods need the centres of the spots"
        )
    if not np.isfinite(section.spots.centres).all():
        row = int(np.argmin(np.isfinite(section.spots.centres).all(axis=1)))
        raise DamagedFileError(f"{section.spots.path}: obsm/spatial: spot {section.spots.names[row]} has no position")
    return section.spots.centres


def _choose_spots(section: Section, options: NeighbourOptions) -> NDArray[np.int64]:
    """Return rows of the h5ad file: the spots with a patch first, in the order of the patches."""
    if options.source == "patches":
        return section.spot_rows
    others = np.setdiff1d(np.arange(len(section.spots.names)), section.spot_rows)
    return np.concatenate([section.spot_rows, others])
