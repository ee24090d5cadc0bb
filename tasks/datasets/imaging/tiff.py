"""Grey TIFF images of microscopes: one page, any compression that imagecodecs knows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .tiff_pages import check_page, name_file


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

    with name_file(key):
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size < 8:
            raise ValueError(f"it holds {size} bytes")
        with tifffile.TiffFile(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
            pages = [check_page(page, size) for page in file.pages]
            if len(pages) > 1:
                raise DamagedFileError(f"{key}: expected one image, found {len(pages)} pages")
            if not pages:
                raise ValueError("it lists no image")
            image: NDArray[np.generic] = pages[0].asarray(maxworkers=1)
    if image.ndim != 2:
        raise DamagedFileError(f"{key}: expected one channel (height, width), found shape {image.shape}")
    native: NDArray[np.generic] = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    return native
