"""A lint for models: does one keep the contract, on generated samples or on those of a task?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.build_trials import Builds, formats, seeds
from harness.card_trials import card_facts, card_weights
from harness.errors import PluginError
from harness.halving import cut
from harness.identity import identify
from harness.modelstring import ModelRequest
from harness.options import RunOptions
from harness.pixel_trials import pixels
from harness.plugins import Registry
from harness.probes import generated, real
from harness.selection import select_model
from harness.trials import Line, Subject, batches, contents, judge, modes, repeats, stages, untouched

_FEW, _MANY = 4, 64
"""Samples of most checks, and of the one that compares number formats."""
_PATIENCE = 60.0
"""Seconds above which number formats are compared only when asked for."""


@dataclass(frozen=True)
class CheckOptions:
    """What is tried beside the usual.

    Attributes:
        task: name of a task whose samples are taken instead of generated ones; empty for none.
        thorough: compare number formats however long it takes.
    """

    task: str = ""
    thorough: bool = False


def check(
    registry: Registry, request: ModelRequest, options: RunOptions, chosen: CheckOptions | None = None
) -> Iterator[Line]:
    """Build a model and try it, one line a check.

    Raises:
        HarnessError: it cannot be found or built, or its weights or the task's data cannot be found.
    """
    chosen, model = chosen or CheckOptions(), select_model(registry, request, options.data_context)
    probe = real(registry, model, chosen.task, options, _MANY) if chosen.task else generated(model, _MANY)
    builds = Builds(registry, model, options, probe)
    weights = "" if model.random else identify(model, builds.place()).weights  # another file ends it here
    built, dtype = builds.build()
    few = cut(probe.batch, np.linspace(0, len(probe.ids) - 1, min(_FEW, len(probe.ids))).astype(int).tolist())
    subject = Subject(built, few, tuple(model.card.stages), dtype, str(request))
    before = contents(few)
    try:
        answer = subject.every
    except PluginError as error:
        yield Line("answers", "failed", str(error), "embed(batch, stages) returns {stage: (N, D) float32}, finite")
        return
    yield Line("answers", "ok", ", ".join(f"{stage} {answer[stage].shape}" for stage in subject.stages))
    dim, found = model.card.output.dim, answer[subject.stages[-1]].shape[1]
    yield judge("length as on the card", dim in (None, found), f"card {dim}, answer {found}", "mend output.dim")
    yield from card_facts(model.card)
    yield from card_weights(model, weights)
    yield untouched(before, few)
    seconds = _time(subject)
    for trials in (modes, repeats, batches, stages, pixels):
        yield from trials(subject)
    yield from formats(builds, seconds, float("inf") if chosen.thorough else _PATIENCE)
    yield from seeds(builds, len(few))


def _time(subject: Subject) -> float:
    """Return the seconds a sample, of the second call; the first one warms up."""
    started, samples = time.perf_counter(), len(subject.last)
    return (time.perf_counter() - started) / samples
