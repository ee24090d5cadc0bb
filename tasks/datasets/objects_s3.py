"""Public files of S3, read without an account through s3fs (extra ``s3``)."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name another server of the protocol, the more special first, as botocore reads them."""


class UnavailableError(Exception):
    """A file cannot be read; the message says why in a few words."""


def read(address: str) -> bytes:
    """Return the content of ``BUCKET/KEY``.

    Raises:
        UnavailableError: no such file, refused, no connection, or s3fs is not installed.
    """
    system = _system()
    try:
        content: bytes = system.cat_file(address)
    except _failures() as error:
        raise UnavailableError(_why(error)) from None
    return content


def size(address: str) -> int | None:
    """Return the size of ``BUCKET/KEY`` in bytes, or None where it cannot be had."""
    try:
        found = _system().info(address)
    except UnavailableError:
        return None
    except _failures():
        return None
    return int(found["size"])


def _system() -> Any:
    return _connect(next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None))


@cache
def _connect(endpoint: str | None) -> Any:
    try:
        import s3fs
    except ImportError:
        raise UnavailableError("needs s3fs: pip install 'bioimage-harness[s3]'") from None
    return s3fs.S3FileSystem(
        anon=True,
        endpoint_url=endpoint,
        use_listings_cache=False,
        config_kwargs={"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}},
    )


def _failures() -> tuple[type[Exception], ...]:
    try:
        from aiohttp import ClientError as BrokenStream
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    except ImportError:
        return (OSError,)
    return (OSError, BotoCoreError, ClientError, BrokenStream)


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the bucket has no such file"
    if isinstance(error, PermissionError):
        return "refused: the file is not public"
    if "Connect" in type(error).__name__ or "EndpointConnection" in type(error).__name__:
        return "no connection"
    return (str(error).splitlines() or [""])[0] or type(error).__name__
