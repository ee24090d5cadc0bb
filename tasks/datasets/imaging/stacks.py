"""TIFF files that hold all channels of a field: OME-TIFF, ImageJ stacks, pages one after another, or colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .tiff_pages import check_page, name_file

_CHANNELS = "CSIQ"
"""Axes that count channels: named as such, samples of a pixel, or pages that say nothing of themselves."""


def decode_stack(path: Path) -> NDArray[np.generic]:
    """Decode all channels of a field; no value is changed.

    Returns:
        (channels, H, W), contiguous, in the order of the file and the byte order of this machine.

    Raises:
        MissingDataError: no such file.
        DamagedFileError: not a TIFF, truncated, a plane is missing, or several fields, depths or times.
    """
    import tifffile

    with name_file(str(path)), tifffile.TiffFile(path, _multifile=False) as file:
        if len(file.series) != 1:
            raise DamagedFileError(f"{path}: expected the channels of one field, found {len(file.series)} images")
        series, size = file.series[0], path.stat().st_size
        for number, page in enumerate(series.pages):
            if page is None:
                raise DamagedFileError(f"{path}: plane {number} is not in the file")
            check_page(page, size)
        stack: NDArray[np.generic] = series.asarray(maxworkers=1)
        axes = _name_axes(path, series.axes, stack.shape)
    flat = np.squeeze(stack, axis=tuple(place for place, axis in enumerate(axes) if axis == "1"))
    kept = axes.replace("1", "")
    planes = np.moveaxis(flat, kept.index("C"), 0) if "C" in kept else flat[None]
    return np.ascontiguousarray(planes, dtype=stack.dtype.newbyteorder("="))


def _name_axes(path: Path, axes: str, shape: tuple[int, ...]) -> str:
    """Spell axes with C for channels, Y, X, and 1 for those of length one."""
    named = "".join(
        axis if axis in "YX" else "1" if length == 1 else "C" if axis in _CHANNELS else "?"
        for axis, length in zip(axes, shape, strict=True)
    )
    if "?" in named or named.count("C") > 1 or "".join(sorted(named.replace("1", "").replace("C", ""))) != "XY":
        raise DamagedFileError(f"{path}: expected (channels, height, width), found axes {axes} of shape {shape}")
    return named
