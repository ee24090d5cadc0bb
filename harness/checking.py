"""A lint for models: does one keep the contract on generated samples?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import PluginError, UsageError
from harness.feed import run_model
from harness.hashing import hash_value
from harness.modelstring import ModelRequest
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import Registry
from harness.selection import RequestedModel, select_model
from harness.specs import TaskInput
from harness.types import Batch, BuildContext, Model

_SAMPLES = 4
_CLOSE = {"float32": 1e-3, "float16": 5e-3, "bfloat16": 3e-2}
"""Largest difference, as a share of the largest feature, that counts as the same answer."""


@dataclass(frozen=True)
class Line:
    """One check: its name, whether it passed, and what was seen."""

    name: str
    passed: bool
    seen: str


@dataclass(frozen=True)
class _Probe:
    """Generated samples without labels."""

    batch: Batch
    view: str

    @property
    def ids(self) -> tuple[str, ...]:
        return self.batch.ids

    @property
    def data_hash(self) -> str:
        return hash_value(list(self.ids))

    def fingerprint(self, view: str) -> str:
        return hash_value([view, *self.ids])

    def read(self, view: str, start: int, stop: int) -> Batch:
        if view != self.view:
            raise UsageError(f"generated samples have the view {self.view}, not {view}")
        return _slice(self.batch, list(range(start, stop)))


def check(registry: Registry, request: ModelRequest, options: RunOptions) -> Iterator[Line]:
    """Build a model and try it: shapes, repeatability, batch size, order, sensitivity, channels.

    Raises:
        HarnessError: it cannot be found, or its weights cannot.
    """
    model = select_model(registry, request, options.data_context)
    view = model.card.views[0]
    context = replace(place_model(registry, model, view, TaskInput(views=[model.card.views[0]]), options), seed=0)
    probe = _Probe(_samples(view, context), view)
    built = build_model(model, context)
    if not getattr(built, "needs_pixels", True):
        raise UsageError(f"{request}: precomputed vectors are checked when a task joins them to its samples")
    prepare = getattr(built, "prepare", None)
    if prepare is not None:
        prepare(probe, view)
    stages, dtype = tuple(model.card.stages), context.dtype
    try:
        answer = run_model(built, probe.batch, stages, str(request))
    except PluginError as error:
        yield Line("answers", False, str(error))
        return
    yield Line("answers", True, ", ".join(f"{stage} {answer[stage].shape}" for stage in stages))
    last = answer[stages[-1]]
    dim = model.card.output.dim
    yield Line("length as on the card", dim in (None, last.shape[1]), f"card {dim}, answer {last.shape[1]}")
    yield _same(dtype, "repeats itself", last, run_model(built, probe.batch, stages, str(request))[stages[-1]])
    single = [run_model(built, _slice(probe.batch, [row]), stages, str(request))[stages[-1]] for row in range(_SAMPLES)]
    yield _same(dtype, "same answer alone as in a batch", last, np.concatenate(single))
    order = [2, 0, 3, 1]
    shuffled = _embed(built, probe.batch, order, stages, request)
    yield _same(dtype, "order of samples does not matter", last[order], shuffled)
    yield Line("tells samples apart", bool(np.ptp(last, axis=0).max() > 0), f"spread {np.ptp(last, axis=0).max():.3g}")
    alone = _embed(built, probe.batch, list(range(_SAMPLES)), stages[-1:], request)
    yield _same(dtype, "last stage alone equals last of all", last, alone)
    yield from _twin(registry, model, options)


def _embed(
    built: Model, batch: Batch, rows: list[int], stages: tuple[str, ...], request: ModelRequest
) -> NDArray[np.float32]:
    return run_model(built, _slice(batch, rows), stages, str(request))[stages[-1]]


def _twin(registry: Registry, model: RequestedModel, options: RunOptions) -> Iterator[Line]:
    if not model.random:
        return
    view = model.card.views[0]
    answers = []
    for seed in (0, 0, 1):
        context = replace(
            place_model(registry, model, view, TaskInput(views=[model.card.views[0]]), options), seed=seed
        )
        built, batch = build_model(model, context), _samples(view, context)
        answers.append(run_model(built, batch, model.card.stages[-1:], str(model.request))[model.card.stages[-1]])
    yield Line("same seed, same network", bool((answers[0] == answers[1]).all()), "seed 0 twice")
    yield Line("other seed, other network", bool((answers[0] != answers[2]).any()), "seeds 0 and 1")


def _samples(view: str, context: BuildContext) -> Batch:
    rng = np.random.default_rng(0)
    ids = tuple(f"generated/{row}" for row in range(_SAMPLES))
    if view == "points":
        return Batch(ids, view, points=tuple(rng.uniform(-1, 1, (40 + 10 * row, 2)) for row in range(_SAMPLES)))
    size = (context.transform.size if context.transform else None) or 64
    images = rng.integers(0, 256, (_SAMPLES, size, size, context.channels), dtype=np.uint8)
    return Batch(ids, view, images=images.transpose(0, 3, 1, 2))


def _slice(batch: Batch, rows: list[int]) -> Batch:
    ids = tuple(batch.ids[row] for row in rows)
    images = None if batch.images is None else batch.images[rows]
    points = None if batch.points is None else tuple(batch.points[row] for row in rows)
    return Batch(ids, batch.view, images, points)


def _same(dtype: str, name: str, expected: NDArray[np.float32], actual: NDArray[np.float32]) -> Line:
    if expected.shape != actual.shape:
        return Line(name, False, f"shapes {expected.shape} and {actual.shape}")
    scale = float(np.abs(expected).max()) or 1.0
    worst = float(np.abs(expected - actual).max()) / scale
    return Line(name, worst <= _CLOSE[dtype], f"largest difference {worst:.1e} of the largest feature, {dtype}")
