"""What is wrong with a file that ought to be a slide, told from its bytes alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_CLASSIC, _BIG = ("H", "HHII", "I"), ("Q", "HHQQ", "Q")
"""Number of fields of a directory, one field (tag, kind of number, how many, value or place), offset."""
_DIALECTS = {b"II*\0": ("<", _CLASSIC), b"MM\0*": (">", _CLASSIC), b"II+\0": ("<", _BIG), b"MM\0+": (">", _BIG)}
"""Byte order and structure of a TIFF by its first four bytes."""
_NUMBERS = {3: "u2", 4: "u4", 16: "u8"}
"""Kinds of number that lists of tiles are made of."""
_MOST_BYTES = 2**30
"""Longer directories and lists are not believed."""
_TILES = (324, 325)
"""The fields with the offsets and the lengths of tiles."""


@dataclass(frozen=True)
class _Field:
    """A field of a directory: where its value or the place of its value stands, the kind and number of its numbers."""

    place: int
    kind: int
    many: int


def find_fault(path: Path) -> str | None:
    """Say what makes a file unreadable for sure, before any library is asked.

    Libraries read a truncated TIFF as one with fewer levels, or fail late; therefore the chain of its directories and
    their lists of tiles are followed.

    Returns:
        What was found and what to do, or None where nothing is known to be wrong.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        if not size:
            return "the file is empty; download it again"
        if head.startswith(b"version https://git-lfs"):
            return "a Git LFS pointer instead of the slide; fetch the file itself with `git lfs pull`"
        if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            return "a web page instead of a slide; log in, accept the terms of the data, and download it again"
        beyond = _find_end(file, head, size)
    if beyond is None:
        return None
    return f"a truncated TIFF: it ends at byte {size}, and something is missing at byte {beyond}; download it again"


def describe_head(path: Path) -> str:
    """Say what kind of file the first bytes make it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(8)
    return "a TIFF" if head[:4] in _DIALECTS else f"no TIFF (it begins with {head!r})"


def _find_end(file: BinaryIO, head: bytes, size: int) -> int | None:
    """Return the first place a TIFF refers to, for a directory or the end of a tile, that lies beyond the file."""
    if head[:4] not in _DIALECTS:
        return None
    order, kinds = _DIALECTS[head[:4]]
    if kinds is _CLASSIC and size >= 2**32:  # Hamamatsu's classic TIFFs cut offsets beyond 4 GiB short
        return None
    count, entry, link = (order + kind for kind in kinds)
    place, seen = (8 if kinds is _BIG else 4), set[int]()
    while place not in seen:
        seen.add(place)
        at = _read_number(file, place, link)
        if not at:
            return place if at is None else None
        fields = _read_fields(file, at, count, entry)
        end = None if fields is None else _find_last_byte(file, fields, link)
        if fields is None or end is None or end > size:
            return end or at
        place = at + struct.calcsize(count) + len(fields) * struct.calcsize(entry)
    return None


def _read_fields(file: BinaryIO, at: int, count: str, entry: str) -> list[tuple[int, _Field]] | None:
    """Return tag and field of the entries of a directory, or None where it is cut."""
    entries = _read_number(file, at, count)
    length = (entries or 0) * struct.calcsize(entry)
    content = file.read(length) if length < _MOST_BYTES else b""
    if entries is None or len(content) != length:
        return None
    start, value = at + struct.calcsize(count), struct.calcsize(entry[:-1])  # the last number of an entry is its value
    return [
        (tag, _Field(start + number * struct.calcsize(entry) + value, kind, many))
        for number, (tag, kind, many, _) in enumerate(struct.iter_unpack(entry, content))
    ]


def _find_last_byte(file: BinaryIO, fields: list[tuple[int, _Field]], link: str) -> int | None:
    """Return where the last tile of a directory ends, 0 without tiles; None where the lists of tiles are cut."""
    lists = [_read_list(file, field, link) for tag, field in fields if tag in _TILES]
    if len(lists) != 2:
        return 0
    starts, lengths = lists
    if starts is None or lengths is None or len(starts) != len(lengths):
        return None
    return int((starts + lengths).max(initial=0))


def _read_list(file: BinaryIO, field: _Field, link: str) -> NDArray[np.uint64] | None:
    """Read the numbers of a field, which stand in its place when they fit and else where it points."""
    number = np.dtype(link[0] + _NUMBERS.get(field.kind, "u4"))
    length = field.many * number.itemsize
    at = field.place if length <= struct.calcsize(link) else _read_number(file, field.place, link)
    if at is None or length >= _MOST_BYTES:
        return None
    file.seek(at)
    found = file.read(length)
    return np.frombuffer(found, number).astype(np.uint64) if len(found) == length else None


def _read_number(file: BinaryIO, place: int, kind: str) -> int | None:
    """Read an unsigned number, or None where the file ends before."""
    file.seek(place)
    found = file.read(struct.calcsize(kind))
    return int(struct.unpack(kind, found)[0]) if len(found) == struct.calcsize(kind) else None
