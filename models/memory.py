"""Is there memory for a network? Asked before it is built, because the operating system kills instead of asking."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from harness.cards import ModelCard, load_card
from harness.errors import UsageError

_LARGE = 1 << 30
"""Networks below this many bytes are built without asking."""
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_BYTES = 4
"""Of a parameter: networks are built in float32."""


def free_memory(device: str = "cpu") -> int | None:
    """Return the bytes a network may take on a device now, or None where this system does not tell.

    On the CPU that is what the kernel calls available, or less inside a container with a limit.
    """
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    found = [value for value in (_available(), _left_in_container()) if value is not None]
    return min(found, default=None)


def require_memory(network: nn.Module, card: ModelCard, name: str, device: str) -> None:
    """Refuse to build a large network where its parameters do not fit into free memory.

    Args:
        network: the network, hollow.
        card: its card.
        name: what the user typed for it, for the message.
        device: where it will run; it is built on the CPU all the same.

    Raises:
        UsageError: naming what is needed, what is free, and the largest sibling that fits.
    """
    needed = _BYTES * sum(parameter.numel() for parameter in network.parameters())
    if needed < _LARGE:
        return
    for place in dict.fromkeys(("cpu", device)):
        free = free_memory(place)
        if free is not None and free < needed:
            raise UsageError(
                f"{name}: its {needed // _BYTES / 1e6:,.0f} M parameters need {needed / 1e9:.1f} GB of memory, "
                f"{free / 1e9:.1f} GB are free ({place}); {_advise(card, free)}"
            )


def _advise(card: ModelCard, free: int) -> str:
    """Name the largest built-in model of the same kind that would fit."""
    fitting = [
        (other.expect.params, other.name)
        for other in _siblings(card)
        if other.expect.params is not None and _BYTES * other.expect.params < min(free, _BYTES * _params(card))
    ]
    advice = "end other programs or use a larger machine"
    return f"use its smaller sibling {max(fitting)[1]}, or {advice}" if fitting else f"use a smaller model, or {advice}"


def _siblings(card: ModelCard) -> Iterator[ModelCard]:
    stem = _stem(card.name)
    for path in (Path(__file__).parent / "cards").glob(f"{stem}*.yaml"):
        if _stem(path.stem) == stem and path.stem != card.name:
            yield load_card(path)


def _stem(name: str) -> str:
    """Return what siblings share: ``dinov3`` of dinov3-vit7b16, ``resnet`` of resnet152."""
    return re.sub(r"\d{2,}$", "", name.partition("-")[0])


def _params(card: ModelCard) -> float:
    return card.expect.params if card.expect.params is not None else float("inf")


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * int(words[1]) for words in found), None)


def _left_in_container() -> int | None:
    """Return what a control group (version 2) leaves; its cache of files can be given back and counts as free."""
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - int(used) + int(stat.get("inactive_file", 0))
