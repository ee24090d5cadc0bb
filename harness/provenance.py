"""How, where and when a result was made."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from harness.identity import installed

_ALWAYS = ("bioimage-harness", "numpy", "scipy", "scikit-learn")


def now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """Return the command as typed, without the path of the program."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions(requires: Iterable[str]) -> dict[str, str]:
    """Return installed versions of the libraries that shape numbers, Python's among them."""
    found = {name: installed(name) for name in sorted({*_ALWAYS, *requires})}
    return {"python": platform.python_version(), **found}


def machine() -> str:
    """Return system, processor and the kernels that BLAS libraries chose for it, which shape last digits."""
    from threadpoolctl import threadpool_info

    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    kernels = sorted({f"{one['internal_api']} {one.get('architecture') or ''}".strip() for one in libraries})
    return ", ".join([f"{platform.system()} {platform.machine()}", *kernels])


@cache
def git_revision() -> str | None:
    """Return the commit of the working directory (``+changes`` if it is not clean), or None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes"],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout: nothing to tell
        return None
    return described.stdout.strip() or None
