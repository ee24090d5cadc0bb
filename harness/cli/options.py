"""Shapes of option values that click does not know by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class Seeds(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas."""

    name = "seeds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Turn ``0,1,2`` into numbers."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdigit() for part in parts) or len(set(parts)) != len(parts):
            self.fail(f"{value!r}: expected different whole numbers such as 0,1,2", param, ctx)
        return tuple(int(part) for part in parts)


class Share(click.ParamType[tuple[int, int]]):
    """One part of several, ``I/N``, counted from 1."""

    name = "I/N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Turn ``2/8`` into (1, 8)."""
        if isinstance(value, tuple):
            return value
        parts = re.fullmatch(r"(\d+)/(\d+)", str(value))
        if not parts or not 1 <= int(parts[1]) <= int(parts[2]):
            self.fail(f"{value!r}: expected I/N with 1 <= I <= N, such as 2/8", param, ctx)
        return int(parts[1]) - 1, int(parts[2])


class BatchSize(click.ParamType[int | None]):
    """``auto`` or a number."""

    name = "auto|N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Turn ``auto`` into None."""
        if value is None or value == "auto":
            return None
        if not str(value).isdigit() or int(str(value)) < 1:
            self.fail(f"{value!r}: expected auto or a number of at least 1", param, ctx)
        return int(str(value))


class Change(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``."""

    name = "KEY=VALUE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first ``=``."""
        if isinstance(value, tuple):
            return value
        key, sign, text = str(value).partition("=")
        if not sign or not key:
            self.fail(f"{value!r}: expected KEY=VALUE, such as protocol.params.alpha=cv", param, ctx)
        return key, text


def data_dir_option(purpose: str = "") -> Callable[[Any], Any]:
    """Return the option ``--data-dir``, which gives ``data_dirs``; ``purpose`` follows in its help."""
    return click.option(
        "--data-dir",
        "data_dirs",
        multiple=True,
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Mirror of the public sources{purpose}; may be given several times, first hit wins.",
    )


def placing_options(command: Any) -> Any:
    """Add ``--device`` and ``--dtype`` to a command."""
    devices, dtypes = ["auto", "cpu", "cuda", "mps"], ["auto", "float32", "bfloat16", "float16"]
    command = click.option("--dtype", type=click.Choice(dtypes), default="auto", show_default=True)(command)
    return click.option("--device", type=click.Choice(devices), default="auto", show_default=True)(command)
