"""Clocks and figures shared by the benchmarks."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: of all threads of the process, and on the wall."""

    cpu: float
    wall: float


def clock(work: Callable[[], object]) -> Timing:
    """Time one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Timing(time.process_time() - cpu, time.perf_counter() - wall)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest."""
    return {"median": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def machine(*distributions: str) -> dict[str, object]:
    """Say on what was measured."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": names[0] if names else platform.processor(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in distributions}},
    }
