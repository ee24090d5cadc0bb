"""From the entries of an image table to addresses ``BUCKET/KEY``."""

from __future__ import annotations

import re

_BUCKET_HOST = re.compile(r"^https?://([a-z0-9][a-z0-9.-]+)\.s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com/(.+)$")


def join_address(folder: str, name: str) -> str:
    """Return the address of a file from ``PathName`` and ``FileName``.

    Raises:
        ValueError: not a place in a bucket.

    Example:
        >>> join_address("s3://bucket/a/Images/", "x.tiff"), join_address("s3://bucket/a", "x.tiff")
        ('bucket/a/Images/x.tiff', 'bucket/a/x.tiff')
    """
    return read_url(folder + ("" if folder.endswith("/") else "/") + name)


def read_url(url: str) -> str:
    """Return the address of a whole URL.

    Raises:
        ValueError: not a place in a bucket.

    Example:
        >>> read_url("s3://bucket/a/x.tiff"), read_url("https://bucket.s3.amazonaws.com/a/x.tiff")
        ('bucket/a/x.tiff', 'bucket/a/x.tiff')
    """
    host = _BUCKET_HOST.match(url) if url.startswith("http") else None
    address = f"{host[1]}/{host[2]}" if host else url.removeprefix("s3://")
    parts = address.split("/")
    if address == url or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{url!r} is not an address such as s3://BUCKET/KEY")
    return address
