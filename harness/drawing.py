"""The look of all pictures, and how they get to disk; matplotlib is imported when something is drawn."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import CannotWriteError, UsageError
from harness.results import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
FORMATS = {".png": "png", ".pdf": "pdf", ".svg": "svg"}
"""Suffix -> format of a picture."""
INK, GREY, PALE = "#1a1a1a", "#5f6368", "#c4c7cc"
BLUE, ORANGE, LIGHT_BLUE = "#0072b2", "#d55e00", "#9dcdea"
"""Told apart by colour-blind readers (Okabe and Ito), and in grey."""
_STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": PALE,
    "axes.linewidth": 0.8,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.hashsalt": "bioimage-harness",
}
_UNDATED: dict[str, dict[str, None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def check_target(path: Path) -> None:
    """Check before any work that a picture can be written; folders on the way are made.

    Raises:
        UsageError: the suffix names no format that is known.
        CannotWriteError: the folder refuses, or the path is a folder.
    """
    _format(path)
    if path.is_dir():
        raise CannotWriteError(f"{path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise CannotWriteError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save in the look of the harness, whatever the user's own settings of matplotlib are."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix; the same figure gives the same bytes.

    Raises:
        UsageError: the suffix names no format that is known.
        CannotWriteError: the folder or disk refuses.
    """
    kind, buffer = _format(path), io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=_UNDATED[kind])
    write_atomically(path, buffer.getvalue())


def strip_axes(axes: Axes, *, frame: bool) -> None:
    """Take ticks off, and the frame unless it is wanted."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame)


def _format(path: Path) -> str:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: unknown kind of picture {path.suffix!r}; known: {', '.join(FORMATS)}")
    return kind
