"""Batches for training, read ahead in the order they are asked for: in a thread, or in processes beside a GPU."""

from __future__ import annotations

import logging
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.trainjob import TrainingSamples
from harness.types import Batch, BuildContext

Read = Callable[[], Batch]
_Packed = tuple[Batch, tuple[int, ...] | None]
"""A batch on its way; with the shape of its images where all channels are one, of which only that one travels."""
_log = logging.getLogger(__name__)
_MOST = 16
_LEFT = 2
"""Cores that are left to the process that trains."""
_AHEAD = 2
"""Batches of each process that wait to be used."""


class Reader:
    """Reads batches of training samples."""

    def __init__(self, dataset: TrainingSamples, view: str, pool: ProcessPoolExecutor | None, processes: int) -> None:
        """Read in the calling thread, or in the processes of a pool that hold the same dataset."""
        self._dataset, self._view = dataset, view
        self._pool, self._ahead = pool, _AHEAD * processes

    def reads(self, batches: Sequence[NDArray[np.int64]], epoch: int | None) -> Iterator[Read]:
        """Yield, for each batch in order, what returns it; processes begin with those that follow.

        Args:
            batches: rows of the dataset.
            epoch: draws the augmentation of training samples; None for that of the dataset as it is.
        """
        if self._pool is None:
            dataset = _at(self._dataset, epoch)
            yield from (partial(dataset.read_rows, self._view, rows.tolist()) for rows in batches)
            return
        waiting: deque[Future[_Packed]] = deque()
        try:
            for rows in batches:
                waiting.append(self._pool.submit(_read_held, epoch, self._view, rows.tolist()))
                if len(waiting) > self._ahead:
                    yield partial(_unpack, waiting.popleft())
            while waiting:
                yield partial(_unpack, waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def open_reader(dataset: TrainingSamples, context: BuildContext) -> Iterator[Reader]:
    """Open the reader that fits the view and the device of a network.

    A CPU that trains has no time to spare: one thread reads beside it. A GPU waits for its samples: as many processes
    read as there are cores but two, at most 16, where the dataset can be sent to them and processes can be started.
    """
    processes = count_processes(context.device)
    if processes < 2 or not _can_travel(dataset):
        yield Reader(dataset, context.view, None, 0)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _hold, (dataset,)) as pool:
        try:
            started = _starts(pool)
            yield Reader(dataset, context.view, pool if started else None, processes if started else 0)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def count_processes(device: str) -> int:
    """Return how many processes read for a device."""
    if device == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, cores - _LEFT)


_held: dict[int | None, TrainingSamples] = {}
"""In a reading process: the dataset as it came, and as it is in the present epoch."""


def _hold(dataset: TrainingSamples) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that trains ends the others
    _held[None] = dataset


def _read_held(epoch: int | None, view: str, rows: list[int]) -> _Packed:
    if epoch not in _held:
        base = _held[None]
        _held.clear()
        _held.update({None: base, epoch: _at(base, epoch)})
    batch = _held[epoch].read_rows(view, rows)
    images = batch.images
    if images is None or images.strides[1]:
        return batch, None
    return replace(batch, images=images[:, :1]), images.shape


def _at(dataset: TrainingSamples, epoch: int | None) -> TrainingSamples:
    return dataset if epoch is None else dataset.at_epoch(epoch)


def _unpack(coming: Future[_Packed]) -> Batch:
    batch, shape = coming.result()
    if shape is None or batch.images is None:
        return batch
    images: NDArray[Any] = np.broadcast_to(batch.images, shape)
    return replace(batch, images=images)


def _starts(pool: ProcessPoolExecutor) -> bool:
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        _log.warning(
            "no process that reads samples could be started, so one thread reads and training is slower; a script "
            'that calls harness must begin its work under `if __name__ == "__main__":`'
        )
        return False
    return True


def _can_travel(dataset: TrainingSamples) -> bool:
    try:
        pickle.dumps(dataset)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False
    return True
