"""Lengths of a section in slide pixels: the size of a pixel and the distance of adjacent spots, from what is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError

from ..metrics.neighbourhoods import LATTICES, Shape, measure_pitch
from .hest_metadata import SectionFacts, check_pixel_size, explain_unknown_size
from .hest_patches import compare_pixel_sizes
from .hest_sections import Section

Choice = Literal["metadata", "nominal", "measured"]
NOMINAL_UM = 100.0
"""Distance of adjacent spots of Visium, and of the pseudo-spots that HEST makes of Xenium."""
_CHOICES: tuple[Choice, ...] = ("metadata", "nominal", "measured")
_AGREE = 0.05  # share by which a stated and a measured pitch may differ without a word


@dataclass(frozen=True)
class Scale:
    """Lengths of a section.

    Attributes:
        um_per_px: micrometres a slide pixel.
        pitch: distance of adjacent spots in slide pixels.
        notes: how they were chosen, where a reader of the score should know.
    """

    um_per_px: float
    pitch: float
    notes: tuple[str, ...]


def choose_scale(
    section: Section, facts: SectionFacts, centres: NDArray[np.float64], choice: Choice, shape: Shape
) -> Scale:
    """Choose pixel size and pitch of a section.

    Args:
        section: the section; its patch file may state the pixel size too, and is asked where ``choice`` is
            ``measured``.
        facts: what its metadata say.
        centres: (n, 2) float64 x, y of the spots in slide pixels.
        choice: where the pitch comes from. ``metadata`` takes the nominal pitch where the metadata state none, if the
            measured one agrees with it within 5 %.
        shape: grid of the spots.

    Raises:
        MissingDataError: the pixel size is unknown, or ``metadata`` state no pitch and the nominal one is not measured.
        DamagedFileError: metadata and patch file contradict each other about the pixel
            size, or the radius around a spot would not reach the nearest other one, or reach too many.
    """
    name = section.name
    um_per_px, notes = _choose_pixel_size(section, facts, choice)
    measured = measure_pitch(centres)
    source, pitch_um = _choose_pitch(name, facts, choice, None if measured is None else measured * um_per_px)
    if measured is None:
        return Scale(um_per_px, pitch_um / um_per_px, notes)
    found = measured * um_per_px
    told = f"section {name}: {source} gives a pitch of {pitch_um:.4g} um, measured are {found:.4g} um"
    if found > LATTICES[shape].reach * pitch_um or found < pitch_um / 2:
        raise DamagedFileError(
            f"{told} (median distance of nearest spots): pitch wrong, or the pixel size, {um_per_px:.6g} um? "
            f"Correct the metadata, or set nn.pitch to {' or '.join(one for one in _CHOICES if one != choice)}"
        )
    if abs(found - pitch_um) > _AGREE * pitch_um:
        notes = (*notes, f"{told} (median distance of nearest spots); the first is used")
    return Scale(um_per_px, pitch_um / um_per_px, notes)


def _choose_pixel_size(section: Section, facts: SectionFacts, choice: Choice) -> tuple[float, tuple[str, ...]]:
    name, patches = section.name, section.patches
    if facts.um_per_px is not None:
        compare_pixel_sizes(facts, patches)
        return facts.um_per_px, ()
    unknown = explain_unknown_size(name, facts.unknown)
    if choice != "measured":
        raise MissingDataError(f"{unknown}\nAdd it there, or set nn.pitch: measured if the patch file states it")
    if patches.um_per_px is None:
        raise MissingDataError(
            f"{unknown}\nnn.pitch: measured needs it too, for the side of a patch (112 um), and {patches.path} states "
            "none"
        )
    value = check_pixel_size(patches.um_per_px, f"{patches.path}: section {name}: pixel size")
    return value, (f"section {name}: the pixel size, {value:.6g} um, is that of the patch file; metadata state none",)


def _choose_pitch(name: str, facts: SectionFacts, choice: Choice, measured: float | None) -> tuple[str, float]:
    """Return where the pitch comes from, and the pitch in um."""
    if choice == "measured":
        if measured is None:
            raise MissingDataError(f"section {name}: nn.pitch: measured needs two spots, found one; set nn.pitch")
        return "nn.pitch: measured", measured
    if choice == "nominal":
        return "nn.pitch: nominal", NOMINAL_UM
    if facts.spot_pitch_um is not None:
        return "inter_spot_dist", facts.spot_pitch_um
    if measured is None or abs(measured - NOMINAL_UM) > _AGREE * NOMINAL_UM:
        found = "cannot be measured" if measured is None else f"measures {measured:.4g} um"
        raise MissingDataError(
            f"section {name}: the metadata state no inter_spot_dist, and the grid {found}, not {NOMINAL_UM:g} um: "
            "set nn.pitch to nominal (100 um) or measured"
        )
    return "the nominal grid", NOMINAL_UM
