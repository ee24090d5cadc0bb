"""Training curves: losses and validation scores, epoch by epoch, with the kept epoch marked."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.drawing import BLUE, GREY, INK, ORANGE, PALE, house_style, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREEN = "#009e73"
_SPLITS = {"train": "training", "val": "validation"}
_COLOURS = {"train": GREY, "val": ORANGE}
_LEFT, _PANEL, _GAP, _RIGHT = 0.62, 3.3, 0.72, 0.25  # inches
_TOP, _HEIGHT, _BOTTOM = 0.7, 2.3, 0.55
_LINE, _LETTER = 0.22, 0.135  # of the title


_ON_WHITE = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 0.9}


def draw_curves(history: Sequence[Mapping[str, float]], path: Path, *, title: str, best: int) -> None:
    """Draw losses in one panel and scores in another, and save the picture.

    A panel without a curve is left out. What is neither a loss nor a score of a split (``learning_rate``,
    ``seconds``) is not drawn.

    Args:
        history: one mapping an epoch: ``epoch``, and any of ``train_loss``, ``val_loss`` and scores such as
            ``val_f1_macro`` (0 to 1). A value may be absent or NaN in some epochs: the curve has a gap there.
        path: where to; the suffix, .png, .pdf or .svg, decides on the format.
        title: in bold above the panels.
        best: the ``epoch`` of the kept weights.

    Raises:
        ValueError: no epoch at all, or ``best`` is none of them, or there is nothing to draw.
        UsageError: another suffix.
        CannotWriteError: the folder or disk refuses.
    """
    epochs = np.array([epoch["epoch"] for epoch in history])
    if best not in epochs:
        raise ValueError(f"expected best to be one of {len(epochs)} epochs, got {best}")
    names = dict.fromkeys(name for epoch in history for name in epoch if name.startswith(("train_", "val_")))
    curves = {name: np.array([epoch.get(name, np.nan) for epoch in history], dtype=np.float64) for name in names}
    loss = {name: values for name, values in curves.items() if name.endswith("_loss")}
    score = {name: values for name, values in curves.items() if name not in loss}
    panels = [(heading, drawn) for heading, drawn in (("loss", loss), ("score", score)) if drawn]
    if not panels:
        raise ValueError("expected a loss or a score in the history")
    with house_style():
        _draw(panels, epochs, path, title, best)


def _draw(
    panels: Sequence[tuple[str, Mapping[str, NDArray[np.float64]]]],
    epochs: NDArray[np.floating],
    path: Path,
    title: str,
    best: int,
) -> None:
    from matplotlib.figure import Figure

    wide = _LEFT + len(panels) * (_PANEL + _GAP) - _GAP + _RIGHT
    lines = textwrap.wrap(title, int((wide - 0.48) / _LETTER))
    tall = _TOP + _LINE * len(lines) + _HEIGHT + _BOTTOM
    figure = Figure(figsize=(wide, tall))
    figure.text(0.24 / wide, 1 - 0.24 / tall, "\n".join(lines), fontsize=13, fontweight="bold", va="top")
    for number, (heading, curves) in enumerate(panels):
        left = _LEFT + number * (_PANEL + _GAP)
        axes = figure.add_axes((left / wide, _BOTTOM / tall, _PANEL / wide, _HEIGHT / tall))
        axes.set_title(heading, loc="left", fontsize=10, fontweight="bold", pad=8)
        _fill(axes, epochs, curves, best)
    save_figure(figure, path)


def _fill(axes: Axes, epochs: NDArray[np.floating], curves: Mapping[str, NDArray[np.float64]], best: int) -> None:
    """Draw the curves of one panel; their values at the kept epoch stand in the legend."""
    from matplotlib.ticker import MaxNLocator

    others = cycle((BLUE, _GREEN, INK))
    kept = int(np.argmax(epochs == best))
    axes.axvline(best, color=PALE, linewidth=1, zorder=0)
    for name, values in curves.items():
        split, _, what = name.partition("_")
        loss = what == "loss"
        words = _SPLITS[split] if loss else f"{_SPLITS[split]} {what.replace('_', ' ')}"
        label = f"{words} {values[kept]:#.3g}" if np.isfinite(values[kept]) else words
        colour = _COLOURS[split] if loss else next(others)
        axes.plot(epochs, values, color=colour, linewidth=1.6, label=label, marker="o", markevery=[kept], markersize=5)
    most = max(float(np.nanmax(values, initial=0)) for values in curves.values())
    axes.set_ylim(0, 1 if not loss and most <= 1 else 1.05 * most or 1)
    axes.legend(loc="upper right" if loss else "lower right", borderaxespad=0.8, **_ON_WHITE)
    axes.set_xlabel(f"epoch (kept: {best})")
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3)
