"""One channel of a site: decode, check, divide, crop, contrast."""

from __future__ import annotations

import io
import zipfile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..imaging.contrast import Grey, Raw, crop_centre, find_percentiles, scale_grey
from ..imaging.tiff import decode_tiff
from .params import Params


class Channel(NamedTuple):
    """One channel of a site.

    Attributes:
        image: (crop, crop), or the whole frame where ``crop`` is null; uint8, or float32 with ``bits: 16``.
        flat: black and white were the same, so all of it is zero.
        frame: (H, W) of the file.
    """

    image: Grey
    flat: bool
    frame: tuple[int, ...]


def make_channel(content: bytes, key: str, params: Params, illumination: NDArray[np.float64] | None = None) -> Channel:
    """Make the grey levels of one channel from the bytes of its file.

    Raises:
        DamagedFileError: unreadable, not one channel of 16 bits, smaller than the crop, or another shape than its
            illumination function; the message starts with ``key``.
    """
    decoded = decode_tiff(content, key)
    if decoded.dtype != np.uint16:
        raise DamagedFileError(f"{key}: expected 16 bits a pixel (uint16), found {decoded.dtype}")
    raw: Raw = decoded.astype(np.uint16, copy=False)
    if illumination is not None:
        if illumination.shape != raw.shape:
            raise DamagedFileError(f"{key}: shape {raw.shape}, but its illumination function {illumination.shape}")
        raw = raw / illumination
    if params.crop is not None:
        if min(raw.shape) < params.crop:
            raise DamagedFileError(
                f"{key}: shape {raw.shape} is smaller than the crop of {params.crop}; set protocol.params.crop to a "
                "smaller side, or to null where all frames have one shape"
            )
        raw = crop_centre(raw, params.crop)
    black, white = (0.0, params.scale) if params.clip is None else find_percentiles(raw, params.clip)
    return Channel(scale_grey(raw, black, white, params.bits), black == white, decoded.shape)


def read_illumination(content: bytes, key: str) -> NDArray[np.float64]:
    """Read an illumination function, ``Illum*.npy``.

    Returns:
        (H, W) float64, positive.

    Raises:
        DamagedFileError: unreadable, not two-dimensional, or with values that cannot divide.
    """
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        values = np.asarray(loaded, dtype=np.float64)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{key}: not a readable npy file ({error}); download it again") from None
    if values.ndim != 2:
        raise DamagedFileError(f"{key}: expected (height, width), found shape {values.shape}")
    if not (np.isfinite(values) & (values > 0)).all():
        raise DamagedFileError(f"{key}: holds values that are not positive; an image cannot be divided by them")
    return values
