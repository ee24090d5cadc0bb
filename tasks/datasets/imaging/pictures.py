"""Any picture of a microscope that a user may have: TIFF, OME-TIFF or PNG, of 8 or 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError, UsageError

from .png import decode_png
from .stacks import decode_stack
from .tiff import decode_tiff

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
KINDS = (".tif", ".tiff", ".png")


def open_image(path: Path, *, stack: bool = False) -> Pixels:
    """Decode a file by the ending of its name.

    Args:
        path: the file.
        stack: the file holds several channels: planes of an OME-TIFF, pages, or colours.

    Returns:
        (channels, H, W), C order, uint8 or uint16, as stored; one channel unless ``stack``.

    Raises:
        UsageError: another kind of file.
        MissingDataError: no such file.
        DamagedFileError: unreadable, truncated, another bit depth, or several channels where one is expected.
    """
    ending = path.suffix.lower()
    if ending not in KINDS:
        raise UsageError(f"{path}: expected a picture that ends in {', '.join(KINDS)}")
    if ending == ".png":
        image = decode_png(_read(path), str(path))
    else:
        image = decode_stack(path) if stack else decode_tiff(path, str(path))
    planes = image[None] if image.ndim == 2 else image
    if len(planes) != 1 and not stack:
        raise DamagedFileError(f"{path}: expected one channel, found {len(planes)}")
    if planes.dtype == np.uint8:
        return planes.astype(np.uint8, copy=False)
    if planes.dtype == np.uint16:
        return planes.astype(np.uint16, copy=False)
    raise DamagedFileError(f"{path}: expected 8 or 16 bits a pixel without sign, found {planes.dtype}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such file") from None
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror})") from None
