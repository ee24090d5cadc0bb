"""What is asked of every TIFF: that its pixels lie in the file, and that what is wrong is said once, by us."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import DamagedFileError, MissingDataError

logging.getLogger("tifffile").addHandler(logging.NullHandler())

_UNREADABLE = (
    OSError, ValueError, RuntimeError, LookupError, TypeError, ArithmeticError, MemoryError, EOFError, struct.error,
)  # fmt: skip
"""What tifffile and imagecodecs raise on damaged bytes."""


@contextmanager
def name_file(key: str) -> Iterator[None]:
    """Turn whatever decoders raise into an error that starts with the name of the file.

    Raises:
        MissingDataError: no such file.
        DamagedFileError: anything else; one that is raised inside passes unchanged.
    """
    try:
        yield
    except FileNotFoundError:
        raise MissingDataError(f"{key}: no such file") from None
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(
            f"{key}: not a readable TIFF, or truncated ({reason}); copy or download it again"
        ) from None


def check_page(page: Any, size: int) -> Any:
    """Refuse a page whose strips or tiles lie beyond the end: some codecs would fill the rest with zeros.

    Args:
        page: of tifffile.
        size: bytes of the file.

    Returns:
        The page.

    Raises:
        ValueError: pixels are missing.
    """
    offsets, counts = getattr(page, "dataoffsets", ()), getattr(page, "databytecounts", ())
    if not offsets or len(offsets) != len(counts):
        raise ValueError("its list of strips is damaged")
    end = max(offset + count for offset, count in zip(offsets, counts, strict=True))
    if end > size:
        raise ValueError(f"pixels end at byte {end}, the file at {size}")
    return page
