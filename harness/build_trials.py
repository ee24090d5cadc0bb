"""Checks that need a model built more than once: number formats against one another, seeds against one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.feed import run_model
from harness.halving import cut
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import Registry
from harness.probes import Probe
from harness.selection import RequestedModel
from harness.trials import Line, judge
from harness.types import BuildContext, Model

_AT_ONCE = 16
"""Samples of a call."""
_AGREEMENT = 0.999
"""Least mean cosine between the vectors of two number formats, the mean over samples taken away."""


@dataclass(frozen=True)
class Builds:
    """Builds one model in several ways for the same samples."""

    registry: Registry
    model: RequestedModel
    options: RunOptions
    probe: Probe

    def place(self, seed: int = 0, dtype: str = "") -> BuildContext:
        """Say how the model is built for the samples."""
        options = replace(self.options, dtype=dtype or self.options.dtype)
        context = place_model(self.registry, self.model, self.probe.batch.view, self.probe.given, options)
        return replace(context, seed=seed)

    def build(self, seed: int = 0, dtype: str = "") -> tuple[Model, str]:
        """Build the model and show it the samples; return it with the number format it runs in."""
        context = self.place(seed, dtype)
        built = build_model(self.model, context)
        if not getattr(built, "needs_pixels", True):
            raise UsageError(
                f"{self.model.request}: precomputed vectors are checked when a task joins them to its samples"
            )
        prepare = getattr(built, "prepare", None)
        if prepare is not None:
            prepare(self.probe, self.probe.batch.view)
        return built, context.dtype

    def embed(self, built: Model, n: int | None = None) -> NDArray[np.float64]:
        """Embed the first samples, or all, at the last stage."""
        stage, title, n = self.model.card.stages[-1], str(self.model.request), n or len(self.probe.ids)
        spans = [range(start, min(start + _AT_ONCE, n)) for start in range(0, n, _AT_ONCE)]
        parts = [cut(self.probe.batch, span) for span in spans]
        return np.concatenate([run_model(built, part, (stage,), title)[stage] for part in parts]).astype(np.float64)


def formats(builds: Builds, seconds: float, patience: float) -> Iterator[Line]:
    """Compare the vectors of every other number format that the card allows with those of float32.

    Args:
        builds: the model and its samples.
        seconds: what a sample takes.
        patience: seconds above which nothing is compared.
    """
    others = [dtype for dtype in builds.model.card.dtypes if dtype != "float32"]
    if not others or "float32" not in builds.model.card.dtypes:
        return
    expected = seconds * len(builds.probe.ids) * (1 + len(others))
    if expected > patience:
        seen = f"would take about {expected:,.0f} s"
        yield Line(f"{', '.join(others)} against float32", "skipped", seen, "--thorough compares them all the same")
        return
    exact = builds.embed(builds.build(dtype="float32")[0])
    for dtype in others:
        found = builds.embed(builds.build(dtype=dtype)[0])
        agreement = centred_cosine(exact, found)
        name, of = f"{dtype} against float32", f"{len(exact)} {builds.probe.kind} samples"
        if agreement is None:
            yield Line(name, "skipped", f"all {of} have one vector")
            continue
        kept = ", ".join(one for one in builds.model.card.dtypes if one != dtype)
        advice = f"run it with --dtype float32; if real samples (--task) differ as well, its card: dtypes: [{kept}]"
        seen = f"mean cosine {agreement:.5f} over {of}, their mean taken away"
        yield judge(name, agreement >= _AGREEMENT, seen, advice)


def seeds(builds: Builds, n: int) -> Iterator[Line]:
    """Check that a seed is a network, for models drawn at random."""
    if not builds.model.random:
        return
    zero, again, one = (builds.embed(builds.build(seed)[0], n) for seed in (0, 0, 1))
    advice = "draw from context.seed alone, and give the generator back as it was"
    yield judge("same seed, same network", bool((zero == again).all()), "seed 0 twice", advice)
    yield judge("other seed, other network", bool((zero != one).any()), "seeds 0 and 1", "draw from context.seed")


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
