"""Decoding on all cores: codecs let go of the interpreter's lock, so threads are enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def on_all_cores(make: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """Call ``make`` for every item, several at a time, and return the answers in the order of the items.

    The first failure in that order is raised.
    """
    return list(_workers().map(make, items))


@cache
def _workers() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(cores, thread_name_prefix="decode")
