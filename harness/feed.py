"""Between dataset, model and store: batches read ahead, answers checked before anything is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, HarnessError, ModelOutputError, PluginError
from harness.types import Batch, Dataset, Model

_AHEAD = 2
"""Batches read while the model works; more would only hold memory."""
Span = tuple[int, int]


def read_ahead(
    dataset: Dataset,
    view: str,
    spans: Sequence[Span],
    title: str,
    *,
    needs_pixels: bool,
    send: Callable[[Batch], None] | None = None,
) -> Iterator[tuple[Span, Batch]]:
    """Read and check the next batches in a thread while the model works on this one.

    Args:
        dataset: where samples come from.
        view: which view of them.
        spans: (start, stop) of each batch, in order.
        title: for messages.
        needs_pixels: False for models that need the ids only (precomputed vectors).
        send: is handed each batch in that thread as soon as it is read, to begin its way to a device.
    """

    def read(span: Span) -> Batch:
        batch = _read(dataset, view, span, title, needs_pixels)
        if send is not None:
            send(batch)
        return batch

    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        waiting: deque[tuple[Span, Future[Batch]]] = deque()
        try:
            for span in spans:
                waiting.append((span, reader.submit(read, span)))
                if len(waiting) > _AHEAD:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def run_model(model: Model, batch: Batch, stages: Sequence[str], title: str) -> dict[str, NDArray[np.float32]]:
    """Embed one batch and check the answer.

    Raises:
        PluginError: the model raised.
        ModelOutputError: a stage is missing, misshapen, not float32, or holds NaN or infinity (naming samples).
    """
    try:
        output = model.embed(batch, stages)
    except HarnessError:
        raise
    except Exception as error:
        span = f"{batch.ids[0]} to {batch.ids[-1]}"
        raise PluginError(f"{title}: failed on samples {span}: {type(error).__name__}: {error}") from error
    return {stage: _check_output(output, stage, batch, title) for stage in stages}


def check_batch(batch: Batch, source: str) -> None:
    """Check that a batch is what :class:`Batch` promises.

    Raises:
        ModelOutputError: wrong shape or dtype, or values outside [0, 1] by more than 1e-3, naming the samples.
    """
    if batch.images is None:
        if batch.points is None or len(batch.points) != len(batch.ids):
            raise ModelOutputError(f"{source}: expected {len(batch.ids)} point sets")
        for name, points in zip(batch.ids, batch.points, strict=True):
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ModelOutputError(f"{source}: sample {name}: expected finite points (n, 2), got {points.shape}")
        return
    images = batch.images
    if images.ndim != 4 or len(images) != len(batch.ids):
        raise ModelOutputError(f"{source}: expected images (N, C, H, W) for {len(batch.ids)} ids, got {images.shape}")
    if images.dtype == np.uint8:
        return
    if images.dtype != np.float32:
        raise ModelOutputError(
            f"{source}: samples {_few(batch.ids)}: images are {images.dtype}; expected uint8, or float32 in [0, 1]"
        )
    flat = images.reshape(len(images), -1)
    bad = ~((flat >= -1e-3) & (flat <= 1 + 1e-3)).all(axis=1)
    if bad.any():
        names = tuple(np.asarray(batch.ids, dtype=object)[bad])
        raise ModelOutputError(f"{source}: samples {_few(names)}: expected float in [0, 1], finite")


def _read(dataset: Dataset, view: str, span: Span, title: str, needs_pixels: bool) -> Batch:
    ids = tuple(dataset.ids[slice(*span)])
    if not needs_pixels:
        return Batch(ids, view)
    batch = dataset.read(view, *span)
    if tuple(batch.ids) != ids:
        raise DamagedFileError(f"{title}: samples {span[0]} to {span[1]} came back under other ids")
    check_batch(batch, title)
    return batch


def _check_output(
    output: Mapping[str, NDArray[np.float32]], stage: str, batch: Batch, title: str
) -> NDArray[np.float32]:
    where = f"{title}: stage {stage}"
    if stage not in output:
        raise ModelOutputError(f"{where}: missing from the model's answer, which has {', '.join(output) or 'nothing'}")
    features = np.asarray(output[stage])
    if features.ndim != 2 or len(features) != len(batch) or features.shape[1] == 0:
        raise ModelOutputError(f"{where}: expected ({len(batch)}, D) features, got shape {features.shape}")
    if features.dtype != np.float32:
        raise ModelOutputError(f"{where}: expected float32 features, got {features.dtype}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        names = ", ".join(batch.ids[row] for row in bad[:3])
        raise ModelOutputError(f"{where}: NaN or infinity for {len(bad)} of {len(batch)} samples: {names}")
    return features


def _few(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
