"""A lint for models: does one keep the contract, on generated samples or on those of a task?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.card_trials import card_facts
from harness.errors import PluginError, UsageError
from harness.feed import run_model
from harness.halving import cut
from harness.modelstring import ModelRequest
from harness.options import RunOptions
from harness.pixel_trials import pixels
from harness.placing import build_model, place_model
from harness.plugins import Registry
from harness.probes import Probe, generated, real
from harness.selection import RequestedModel, select_model
from harness.trials import Line, Subject, batches, contents, judge, modes, repeats, stages, untouched
from harness.types import Model

_FEW, _MANY, _AT_ONCE = 4, 64, 16
"""Samples of most checks, of the one that compares number formats, and of a call there."""
_AGREEMENT = 0.999
"""Least mean cosine between the vectors of two number formats, the mean over samples taken away."""
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
    trial = _Trial(registry, model, options, probe)
    built, dtype = trial.build()
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
    yield untouched(before, few)
    seconds = _time(subject)
    for trials in (modes, repeats, batches, stages, pixels):
        yield from trials(subject)
    yield from _formats(trial, seconds, chosen)
    yield from _twin(trial, few.ids)


@dataclass(frozen=True)
class _Trial:
    """Builds one model in several ways for the same samples."""

    registry: Registry
    model: RequestedModel
    options: RunOptions
    probe: Probe

    def build(self, seed: int = 0, dtype: str = "") -> tuple[Model, str]:
        """Build the model and show it the samples; return it with the number format it runs in."""
        options, view = replace(self.options, dtype=dtype or self.options.dtype), self.probe.batch.view
        context = replace(place_model(self.registry, self.model, view, self.probe.given, options), seed=seed)
        built = build_model(self.model, context)
        if not getattr(built, "needs_pixels", True):
            raise UsageError(
                f"{self.model.request}: precomputed vectors are checked when a task joins them to its samples"
            )
        prepare = getattr(built, "prepare", None)
        if prepare is not None:
            prepare(self.probe, view)
        return built, context.dtype

    def embed(self, built: Model, n: int) -> NDArray[np.float64]:
        """Embed the first samples at the last stage."""
        stage, title = self.model.card.stages[-1], str(self.model.request)
        starts = range(0, min(n, len(self.probe.ids)), _AT_ONCE)
        parts = [cut(self.probe.batch, range(start, min(start + _AT_ONCE, n, len(self.probe.ids)))) for start in starts]
        return np.concatenate([run_model(built, part, (stage,), title)[stage] for part in parts]).astype(np.float64)


def _time(subject: Subject) -> float:
    """Return the seconds a sample, of the second call; the first one warms up."""
    started, samples = time.perf_counter(), len(subject.last)
    return (time.perf_counter() - started) / samples


def _formats(trial: _Trial, seconds: float, chosen: CheckOptions) -> Iterator[Line]:
    """Compare the vectors of every other number format that the card allows with those of float32."""
    others = [dtype for dtype in trial.model.card.dtypes if dtype != "float32"]
    if not others or "float32" not in trial.model.card.dtypes:
        return
    expected = seconds * len(trial.probe.ids) * (1 + len(others))
    if expected > _PATIENCE and not chosen.thorough:
        seen = f"would take about {expected:,.0f} s"
        yield Line(f"{', '.join(others)} against float32", "skipped", seen, "--thorough compares them all the same")
        return
    exact = trial.embed(trial.build(dtype="float32")[0], _MANY)
    for dtype in others:
        found = trial.embed(trial.build(dtype=dtype)[0], _MANY)
        agreement = centred_cosine(exact, found)
        name, of = f"{dtype} against float32", f"{len(exact)} {'real' if chosen.task else 'generated'} samples"
        if agreement is None:
            yield Line(name, "skipped", f"all {of} have one vector")
            continue
        kept = ", ".join(one for one in trial.model.card.dtypes if one != dtype)
        advice = f"run it with --dtype float32; if real samples (--task) differ as well, its card: dtypes: [{kept}]"
        yield judge(
            name, agreement >= _AGREEMENT, f"mean cosine {agreement:.5f} over {of}, their mean taken away", advice
        )


def centred_cosine(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Return the mean cosine between rows after the mean row of each array is taken away.

    Without that, a part common to all samples hides what the number format does to what tells them apart. Rows of the
    first array that equal its mean are left out (None if all do); rows of the second that do count as 0.

    Args:
        first: (n, D) float64.
        second: (n, D) float64.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[101.0, 0.0], [99.0, 0.0]])
        >>> centred_cosine(rows, rows[::-1])
        -1.0
    """
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    long, other = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    products = (one * two).sum(axis=1) / np.where(long * other > 0, long * other, 1.0)
    return float(products[long > 0].mean()) if (long > 0).any() else None


def _twin(trial: _Trial, ids: tuple[str, ...]) -> Iterator[Line]:
    """Check that a seed is a network, for models drawn at random."""
    if not trial.model.random:
        return
    zero, again, one = (trial.embed(trial.build(seed)[0], len(ids)) for seed in (0, 0, 1))
    advice = "draw from context.seed alone, and give the generator back as it was"
    yield judge("same seed, same network", bool((zero == again).all()), "seed 0 twice", advice)
    yield judge("other seed, other network", bool((zero != one).any()), "seeds 0 and 1", "draw from context.seed")
