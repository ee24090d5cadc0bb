"""PNG images of 8 or 16 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError


def decode_png(content: bytes, key: str) -> NDArray[np.generic]:
    """Decode an image; no value of an 8-bit or 16-bit image is changed.

    Args:
        content: the file's bytes.
        key: name of the file for messages.

    Returns:
        (H, W), or (channels, H, W) for colour, contiguous; uint8 or uint16 in the byte order of this machine.

    Raises:
        DamagedFileError: not a PNG, or truncated; the message starts with ``key``.
    """
    import imagecodecs

    try:
        image: NDArray[np.generic] = imagecodecs.png_decode(content)
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(f"{key}: not a readable PNG, or truncated ({reason}); copy it again") from None
    return image if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(image, -1, 0))
