"""Grey images in JPEG 2000, as one channel of a field of view is stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError


def decode_grey(data: bytes, name: str, side: int) -> NDArray[np.uint8]:
    """Decode one square grey image of 8 bits; a JP2 file or a bare codestream.

    Args:
        data: the encoded image.
        name: what the image is called, for messages.
        side: height and width in pixels.

    Returns:
        (side, side) uint8, C order.

    Raises:
        DamagedFileError: no JPEG 2000, truncated, another size or bit depth, or more than one channel.
    """
    import imagecodecs

    try:
        image: NDArray[np.generic] = imagecodecs.jpeg2k_decode(data)
    except (ValueError, RuntimeError, OSError) as error:
        raise DamagedFileError(
            f"{name}: {len(data)} bytes are not a whole JPEG 2000 image ({error}); download the file again"
        ) from None
    if image.dtype != np.uint8:
        raise DamagedFileError(f"{name}: expected 8 bits a pixel (uint8), found {image.dtype}")
    if image.shape != (side, side):
        raise DamagedFileError(f"{name}: expected one channel of {side} x {side} pixels, found {image.shape}")
    return np.ascontiguousarray(image, dtype=np.uint8)
