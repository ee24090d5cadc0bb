"""Panels of one height on one sheet, side by side, each with what it is above and what it holds below."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from harness.drawing import DPI, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
_MOST = 4  # panels side by side; more go below
_NARROWEST = 640
_MARGIN, _GAP, _HEADING, _LINE = 36, 40, 44, 29
_LETTER = 12.5  # mean width of a letter of the title's second line
# all in pixels of a .png
_SMALL = 9.5  # points, of captions


@dataclass(frozen=True)
class Key:
    """One entry of a legend: its words, and the colours of its square and of the square's edge."""

    label: str
    face: str
    edge: str


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        heading: what it is.
        caption: lines below it.
        aspect: width over height.
        draw: fills the axes.
        keys: a legend, which makes one more line below the caption.
    """

    heading: str
    caption: tuple[str, ...]
    aspect: float
    draw: Callable[[Axes], None]
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a panel goes: upper left corner, from the top of the sheet, and width."""

    panel: Panel
    left: int
    top: int
    width: int


def lay_out(panels: Sequence[Panel], height: int, title: str, subtitle: str) -> Figure:
    """Put panels on a white sheet, at most four in a row.

    Args:
        panels: at least one.
        height: of each in pixels at 150 dpi.
        title: in bold.
        subtitle: the lines below it; broken where the sheet ends.
    """
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    wide = max(_NARROWEST, *(_width(row, height) for row in _rows(panels)))
    lines = textwrap.wrap(subtitle, int((wide - 2 * _MARGIN) / _LETTER))
    first = _MARGIN + 38 + _LINE * len(lines) + 4
    places = list(_place(panels, height, first))
    tall = places[-1].top + height + _below([place.panel for place in places if place.top == places[-1].top]) + 12
    figure = Figure(figsize=(wide / DPI, tall / DPI))
    pixels = Affine2D().scale(1 / DPI, -1 / DPI).translate(0, tall / DPI) + figure.dpi_scale_trans
    figure.text(_MARGIN, _MARGIN, title, fontsize=13, fontweight="bold", va="top", transform=pixels)
    figure.text(_MARGIN, _MARGIN + 38, "\n".join(lines), color=GREY, va="top", linespacing=1.35, transform=pixels)
    for place in places:
        low = place.top + height
        place.panel.draw(figure.add_axes((place.left / wide, 1 - low / tall, place.width / wide, height / tall)))
        figure.text(place.left, place.top - 10, place.panel.heading, fontweight="bold", va="bottom", transform=pixels)
        for number, line in enumerate(place.panel.caption):
            y = low + 10 + number * _LINE
            figure.text(place.left, y, line, color=GREY, va="top", fontsize=_SMALL, transform=pixels)
        if place.panel.keys:
            corner = (place.left, low + 12 + len(place.panel.caption) * _LINE)
            _add_legend(figure, place.panel.keys, corner, pixels)
    return figure


def count(number: int, one: str, many: str | None = None) -> str:
    """Say how many.

    Example:
        >>> count(1, "cell"), count(1200, "patch", "patches")
        ('1 cell', '1,200 patches')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _add_legend(figure: Figure, keys: Sequence[Key], corner: tuple[int, int], pixels: Transform) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=key.face, edgecolor=key.edge, linewidth=0.8, label=key.label) for key in keys]
    figure.legend(
        handles=handles, ncols=len(keys), loc="upper left", bbox_to_anchor=corner, bbox_transform=pixels,
        labelcolor=GREY, fontsize=_SMALL, borderpad=0, borderaxespad=0, handlelength=1, handleheight=0.9,
        handletextpad=0.5, columnspacing=1.3,
    )  # fmt: skip


def _rows(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Spread panels over rows as evenly as can be."""
    length = ceil(len(panels) / ceil(len(panels) / _MOST))
    return [panels[start : start + length] for start in range(0, len(panels), length)]


def _width(row: Sequence[Panel], height: int) -> int:
    return 2 * _MARGIN + sum(round(panel.aspect * height) for panel in row) + _GAP * (len(row) - 1)


def _below(row: Sequence[Panel]) -> int:
    """Return the height of the captions of a row."""
    return 10 + _LINE * max(len(panel.caption) + bool(panel.keys) for panel in row)


def _place(panels: Sequence[Panel], height: int, top: int) -> Iterator[_Place]:
    for row in _rows(panels):
        left, top = _MARGIN, top + _HEADING
        for panel in row:
            width = round(panel.aspect * height)
            yield _Place(panel, left, top, width)
            left += width + _GAP
        top += height + _below(row)
