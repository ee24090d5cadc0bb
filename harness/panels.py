"""The picture of a preview: where a sample lies and its views, each as a panel."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.drawing import BLUE, GREY, INK, PALE, house_style, save_figure, strip_axes
from harness.pictures import Surroundings
from harness.preview import Missing, Part, Preview
from harness.section_map import section_panel
from harness.sheet import MINUS, TIMES, Panel, count, lay_out
from harness.types import Batch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEIGHBOURS = 5
"""Nearest neighbours a cell is joined with in the panel of points."""
_MOST_CHANNELS = 6
_SIDE, _LOW, _HIGH = 448, 320, 640  # height of a panel in px, wanted and allowed


def draw_preview(preview: Preview, path: Path) -> None:
    """Draw one sample of a task in all its views and save the picture.

    Images have the values that the model gets, unstretched: three channels as RGB, other numbers as a grey panel a
    channel, at most 6. Points lie in -1 to 1, y downwards.

    Args:
        preview: what was read.
        path: where to; the suffix, .png, .pdf or .svg, decides on the format.

    Raises:
        UsageError: another suffix.
        CannotWriteError: the folder or disk refuses.
    """
    panels = [panel for part in preview.parts for panel in _make_panels(part, preview.um_per_px)]
    with house_style():
        save_figure(lay_out(panels, _panel_height(preview), preview.task, _subtitle(preview)), path)


def find_edges(points: NDArray[np.floating], k: int = NEIGHBOURS) -> NDArray[np.int64]:
    """Join every point with its k nearest others, n - 1 where there are fewer; each edge once.

    Args:
        points: (n, 2) float, finite; n may be 0.
        k: neighbours of a point.

    Returns:
        (m, 2) int64 rows of ``points``, the lower first.

    Example:
        >>> find_edges(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1).tolist()
        [[0, 1], [1, 2]]
    """
    from scipy.spatial import cKDTree

    k = min(k, len(points) - 1)
    if k < 1:
        return np.empty((0, 2), dtype=np.int64)
    near = np.asarray(cKDTree(points).query(points, k=k + 1)[1])
    other = near != np.arange(len(points))[:, None]
    taken = other & (np.cumsum(other, axis=1) <= k)  # where many coincide, a point may miss itself
    pairs = np.column_stack([np.nonzero(taken)[0], near[taken]])
    return np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int64)


def _make_panels(part: Part, um_per_px: float | None) -> list[Panel]:
    if isinstance(part, Missing):
        return [Panel(part.name, (), 1.0, partial(_draw_missing, reason=part.reason))]
    if isinstance(part, Surroundings):
        return [section_panel(part)]
    if part.images is not None:
        return _image_panels(part.view, part.images[0], um_per_px)
    return [_points_panel(part.view, points) for points in part.points or ()]


def _points_panel(view: str, points: NDArray[np.floating]) -> Panel:
    edges, reach = find_edges(points), _reach(points)
    k = min(NEIGHBOURS, len(points) - 1)
    joined = (f"{count(len(edges), 'edge')} to the {k} nearest",) if len(edges) else ()
    caption = (f"{count(len(points), 'cell')}, x and y from {MINUS}{reach:.3g} to {reach:.3g}", *joined)
    return Panel(view, caption, 1.0, partial(_draw_points, points=points, edges=edges))


def _image_panels(view: str, image: NDArray[np.uint8] | NDArray[np.float32], um_per_px: float | None) -> list[Panel]:
    channels, rows, columns = image.shape
    size = f"{columns} {TIMES} {rows} px"
    if um_per_px:
        size += f", {columns * um_per_px:.4g} {TIMES} {rows * um_per_px:.4g} µm"
    if channels == 3:
        draw = partial(_draw_image, image=image.transpose(1, 2, 0))
        return [Panel(view, (size,), columns / rows, draw)]
    return [
        Panel(
            f"{view}, channel {number} of {channels}",
            (size, f"values {channel.min():.4g} to {channel.max():.4g}"),
            columns / rows,
            partial(_draw_image, image=channel),
        )
        for number, channel in enumerate(image[:_MOST_CHANNELS], start=1)
    ]


def _draw_image(axes: Axes, image: NDArray[np.uint8] | NDArray[np.float32]) -> None:
    most = 255 if image.dtype == np.uint8 else 1
    axes.imshow(np.clip(image, 0, most), cmap="gray", vmin=0, vmax=most, interpolation="nearest", aspect="auto")
    strip_axes(axes, frame=False)


def _draw_points(axes: Axes, points: NDArray[np.floating], edges: NDArray[np.int64]) -> None:
    from matplotlib.collections import LineCollection

    reach, area = _reach(points), float(np.clip(2400 / max(len(points), 1), 3.5, 26))
    axes.add_collection(LineCollection([*points[edges]], colors=PALE, linewidths=0.9, zorder=1))
    axes.scatter(points[:, 0], points[:, 1], s=area, c=BLUE, linewidths=0, zorder=2, clip_on=False)
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach))
    strip_axes(axes, frame=True)


def _reach(points: NDArray[np.floating]) -> float:
    """Return where the panel of points ends: at 1, or at the next tenth beyond the outermost point."""
    return max(1.0, float(np.ceil(np.abs(points).max(initial=0) * 10)) / 10)


def _draw_missing(axes: Axes, reason: str) -> None:
    first = reason.splitlines()[0].rstrip(":.") if reason else "no reason given"
    lines = textwrap.wrap(first, 30, max_lines=6, placeholder=" …")
    axes.set_facecolor("#f4f5f6")
    axes.text(0.5, 0.56, "not available", ha="center", va="bottom", color=INK)
    axes.text(0.5, 0.52, "\n".join(lines), ha="center", va="top", color=GREY, fontsize=8.5, linespacing=1.4)
    strip_axes(axes, frame=True)


def _subtitle(preview: Preview) -> str:
    cells = [part.points for part in preview.parts if isinstance(part, Batch) and part.points is not None]
    facts = [*preview.facts, *(count(len(points[0]), "cell") for points in cells)]
    return ", ".join([f"sample {preview.sample}", *facts])


def _panel_height(preview: Preview) -> int:
    """Return a whole multiple of the height of the first image, so that its pixels stay square and sharp."""
    images = [part.images for part in preview.parts if isinstance(part, Batch) and part.images is not None]
    rows = images[0].shape[2] if images else _SIDE
    whole = int(rows * max(1, round(_SIDE / rows)))
    return whole if _LOW <= whole <= _HIGH else _SIDE
