"""The single checks of the lint: each tries a model in one way and says what it saw and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.feed import run_model
from harness.halving import cut
from harness.types import Batch, Model

State = Literal["ok", "warning", "failed", "skipped"]
Features = NDArray[np.float32]
CLOSE = {"float32": 1e-3, "float16": 5e-3, "bfloat16": 3e-2}
"""Largest difference, as a share of the largest feature, that counts as the same answer."""


@dataclass(frozen=True)
class Line:
    """One check.

    Attributes:
        name: what was checked.
        state: ``failed`` breaks the contract, ``warning`` may be meant so.
        seen: what was seen.
        advice: what to do, where something is to be done.
    """

    name: str
    state: State
    seen: str
    advice: str = ""

    @property
    def passed(self) -> bool:
        """Whether the model keeps the contract here."""
        return self.state != "failed"


@dataclass(frozen=True)
class Subject:
    """A model under trial with a few samples.

    Attributes:
        model: the model.
        batch: a few samples.
        stages: the stages of its card.
        dtype: what it runs in.
        title: for messages.
    """

    model: Model
    batch: Batch
    stages: tuple[str, ...]
    dtype: str
    title: str

    def embed(self, batch: Batch, stage: str | None = None) -> Features:
        """Embed samples at one stage, by default the last."""
        wanted = stage or self.stages[-1]
        return run_model(self.model, batch, (wanted,), self.title)[wanted]

    @cached_property
    def every(self) -> Mapping[str, Features]:
        """All stages of all samples, from the first call."""
        return run_model(self.model, self.batch, self.stages, self.title)

    @cached_property
    def last(self) -> Features:
        """The last stage of all samples, asked for alone."""
        return self.embed(self.batch)


def judge(name: str, good: bool, seen: str, advice: str, bad: State = "failed") -> Line:
    """Make the line of a check that passes or does not."""
    return Line(name, "ok" if good else bad, seen, "" if good else advice)


def compare(subject: Subject, name: str, wanted: Features, found: Features, advice: str) -> Line:
    """Make the line of a check that two answers are the same, up to the rounding of the number format."""
    if wanted.shape != found.shape:
        return Line(name, "failed", f"shapes {wanted.shape} and {found.shape}", advice)
    worst = float(np.abs(wanted - found).max()) / (float(np.abs(wanted).max()) or 1.0)
    seen = "bit-equal" if worst == 0 else f"largest difference {worst:.1e} of the largest feature"
    return judge(name, worst <= CLOSE[subject.dtype], f"{seen}, {subject.dtype}", advice)


def modes(subject: Subject) -> Iterator[Line]:
    """Check that a network is in inference mode and frozen, where the model shows one as ``module``."""
    module = getattr(subject.model, "module", None)
    parts: Callable[[], Sequence[object]] | None = getattr(module, "modules", None)
    if module is None or parts is None:
        return
    training = [type(part).__name__ for part in parts() if getattr(part, "training", False)]
    seen = f"training: {len(training)} parts" + (f" (first: {training[0]})" if training else "")
    yield judge("in inference mode", not training, seen, "call network.eval(): dropout and batch norms are at work")
    free = sum(bool(parameter.requires_grad) for parameter in module.parameters())
    yield judge("frozen", not free, f"parameters that gather gradients: {free}", "network.requires_grad_(False)")


def repeats(subject: Subject) -> Iterator[Line]:
    """Check that the same samples give the same vectors again, after others."""
    first = subject.last
    subject.embed(cut(subject.batch, [len(subject.batch) - 1, 0]))
    advice = "something is random or changes while it runs: dropout, batch norms, an unseeded layer, a cache"
    yield compare(subject, "repeats itself", first, subject.embed(subject.batch), advice)


def batches(subject: Subject) -> Iterator[Line]:
    """Check that a vector depends on its sample alone."""
    last, rows = subject.last, range(len(subject.batch))
    single = np.concatenate([subject.embed(cut(subject.batch, [row])) for row in rows])
    advice = "samples of a batch influence one another: batch norms in training mode, padding, normalising by batch"
    yield compare(subject, "same answer alone as in a batch", last, single, advice)
    order = [*rows][::-1]
    yield compare(
        subject, "order of samples does not matter", last[order], subject.embed(cut(subject.batch, order)), advice
    )
    spread = float(np.ptp(last, axis=0).max())
    advice = "every sample gets one vector: are the images used, is a LayerScale near zero (init=active)?"
    yield judge("tells samples apart", spread > 0, f"spread {spread:.3g}", advice)


def stages(subject: Subject) -> Iterator[Line]:
    """Check that each stage alone is what it is among all."""
    name = "each stage alone equals it among all"
    advice = "stages must not depend on which are asked for: is a hook or a list of depths kept between calls?"
    lines = []
    for stage in subject.stages if len(subject.stages) > 1 else ():
        alone = subject.last if stage == subject.stages[-1] else subject.embed(subject.batch, stage)
        line = compare(subject, name, subject.every[stage], alone, advice)
        lines.append(replace(line, seen=f"{stage}: {line.seen}"))
    if lines:
        yield next((line for line in lines if not line.passed), lines[-1])


def contents(batch: Batch) -> list[NDArray[np.generic]]:
    """Copy what a batch holds, to be compared later by :func:`untouched`."""
    return [batch.images.copy()] if batch.images is not None else [points.copy() for points in batch.points or ()]


def untouched(before: Sequence[NDArray[np.generic]], batch: Batch) -> Line:
    """Check that a batch holds what it held."""
    same = all(np.array_equal(old, new) for old, new in zip(before, contents(batch), strict=True))
    return judge("leaves its input alone", same, "unchanged" if same else "changed", "copy before working in place")
