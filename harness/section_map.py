"""The map of a tissue section: its patches, and where one sample and its neighbourhood lie."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.drawing import INK, LIGHT_BLUE, ORANGE, strip_axes
from harness.pictures import Surroundings
from harness.sheet import TIMES, Key, Panel, count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EDGE = "#4f9cc4"
_PAD = 0.03  # of the longer side, around the patches
_STRIP = 0.11  # of the height of the map, below the patches, for the scale bar
_WIDEST, _TALLEST = 1.5, 0.75  # width over height


def section_panel(place: Surroundings) -> Panel:
    """Return the map of a section.

    All its patches are thin, those of the neighbourhood filled, the sample's own marked; with the box around the
    neighbourhood, a scale bar, and a legend of what shows.
    """
    left, top, right, bottom = _map_frame(place)
    x, y = ((place.box[2:] - place.box[:2]) * place.um_per_px).tolist()
    caption = (
        f"{len(place.members):,} of {count(len(place.boxes), 'patch', 'patches')}",
        f"box {x:.0f} {TIMES} {y:.0f} µm, {count(len(place.cells), 'cell')}",
    )
    aspect = (right - left) / (bottom - top)
    return Panel("neighbourhood", caption, aspect, partial(_draw_section, place=place), _keys(place))


def round_length(most: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, 50, ... that is at most ``most`` > 0.

    Example:
        >>> round_length(1900.0), round_length(0.6)
        (1000.0, 0.5)
    """
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (0.5, 1, 2, 5) if step * power <= most))


def _map_frame(place: Surroundings) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 in px of the part of the slide that the map shows: all patches, and room for a scale bar.

    Its width is .75 to 1.5 of its height.
    """
    low, high = place.boxes[:, :2].min(axis=0), place.boxes[:, 2:].max(axis=0)
    pad = _PAD * float((high - low).max())
    wide, tall = (high - low + 2 * pad).tolist()
    tall /= 1 - _STRIP
    wide, tall = max(wide, _TALLEST * tall), max(tall, wide / _WIDEST)
    left = float(low[0] + high[0] - wide) / 2
    slack = tall * (1 - _STRIP) - float(high[1] - low[1])
    top = float(low[1]) - slack / 2
    return left, top, left + wide, top + tall


def _draw_section(axes: Axes, place: Surroundings) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    left, top, right, bottom = _map_frame(place)
    axes.add_collection(PolyCollection(_corners(place.boxes), facecolors="none", edgecolors="#a6abb2", linewidths=0.6))
    axes.add_collection(
        PolyCollection(_corners(place.boxes[_others(place)]), facecolors=LIGHT_BLUE, edgecolors=_EDGE, linewidths=0.6)
    )
    axes.add_collection(
        PolyCollection(_corners(place.boxes[[place.own]]), facecolors=ORANGE, edgecolors=ORANGE, linewidths=0.6)
    )
    x0, y0, x1, y1 = place.box.tolist()
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=INK, linewidth=0.9))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    strip_axes(axes, frame=True)
    _draw_scale(axes, place.um_per_px)


def _keys(place: Surroundings) -> tuple[Key, ...]:
    """Return the legend of the map; what does not show has no entry."""
    own, others = Key("sample", ORANGE, ORANGE), Key("neighbours", LIGHT_BLUE, _EDGE)
    box = Key("box", "none", INK)
    return (own, others, box) if len(_others(place)) else (own,)


def _others(place: Surroundings) -> NDArray[np.int64]:
    return np.setdiff1d(place.members, [place.own])


def _draw_scale(axes: Axes, um_per_px: float) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    length = round_length((right - left) * um_per_px / 3)
    start, y = left + 0.04 * (right - left), bottom - 0.055 * (bottom - top)
    stop = start + length / um_per_px
    axes.plot([start, stop], [y, y], color=INK, linewidth=2.2, solid_capstyle="butt")
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.text(stop + 0.025 * (right - left), y, text, va="center_baseline", fontsize=9.5)


def _corners(boxes: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the (4, 2) corners of each box."""
    return [*boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)]
