"""Grey TIFF images of microscopes: one page, any compression that imagecodecs knows."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what is wrong with a file is said once, by us

_UNREADABLE = (
    OSError, ValueError, RuntimeError, LookupError, TypeError, ArithmeticError, MemoryError, EOFError, struct.error,
)  # fmt: skip
"""What tifffile and imagecodecs raise on damaged bytes."""


def decode_tiff(content: bytes | Path, key: str) -> NDArray[np.generic]:
    """Decode an image of one channel; no value is changed.

    Args:
        content: the file's bytes, or where it lies.
        key: name of the file for messages.

    Returns:
        (H, W), contiguous, the dtype of the file in the byte order of this machine.

    Raises:
        MissingDataError: no such path.
        DamagedFileError: not a TIFF, truncated, several pages, or not one channel; the message starts with ``key``.
    """
    import tifffile

    try:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size < 8:
            raise ValueError(f"it holds {size} bytes")
        with tifffile.TiffFile(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
            pages = [_check_page(page, size) for page in file.pages]
            image = pages[0].asarray(maxworkers=1) if len(pages) == 1 else None
    except FileNotFoundError:
        raise MissingDataError(f"{key}: no such file") from None
    except _UNREADABLE as error:
        raise DamagedFileError(_tell(key, str(error).splitlines()[0] if str(error) else type(error).__name__)) from None
    if image is None:
        if pages:
            raise DamagedFileError(f"{key}: expected one image, found {len(pages)} pages")
        raise DamagedFileError(_tell(key, "it lists no image"))
    if image.ndim != 2:
        raise DamagedFileError(f"{key}: expected one channel (height, width), found shape {image.shape}")
    native: NDArray[np.generic] = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    return native


def _check_page(page: Any, size: int) -> Any:
    """Refuse a page whose strips or tiles lie beyond the end: some codecs would fill the rest with zeros."""
    offsets, counts = getattr(page, "dataoffsets", ()), getattr(page, "databytecounts", ())
    if not offsets or len(offsets) != len(counts):
        raise ValueError("its list of strips is damaged")
    end = max(offset + count for offset, count in zip(offsets, counts, strict=True))
    if end > size:
        raise ValueError(f"pixels end at byte {end}, the file at {size}")
    return page


def _tell(key: str, reason: str) -> str:
    return f"{key}: not a readable TIFF, or truncated ({reason}); download it again"
