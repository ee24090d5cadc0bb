"""A score against a baseline: four ways to say how much better, and when each of them says nothing."""

from __future__ import annotations

from dataclasses import dataclass

CLEAR_OF_CHANCE = 0.02
"""A score this close to chance explains nothing: no ratio is formed with it."""
LEAST_BASELINE = 1e-9
"""A baseline nearer to zero is no measure of a difference: the ratio would be rounding, or infinite."""
LEAST_ROOM = 0.05
"""A baseline this close to the ceiling leaves nothing to gain."""
MOST_SHARE = 1.5
"""``share`` is reported up to here."""


@dataclass(frozen=True)
class Scale:
    """The scale of a metric.

    Attributes:
        chance: score of a model that knows nothing, None when unknown.
        ceiling: best possible score, None when there is none.
        higher_is_better: False turns all signs, so that deltas are always better when higher.
    """

    chance: float | None
    ceiling: float | None
    higher_is_better: bool = True


@dataclass(frozen=True)
class DeltaValues:
    """Model against baseline, oriented so that higher is better.

    Attributes:
        abs: model minus baseline.
        rel: ``abs`` over the magnitude of the baseline.
        gain: ``abs`` over what the baseline leaves to the ceiling; at most 1.
        share: how much of the model's score above chance the baseline reaches, clipped to [0, 1.5].
        share_raw: the same before clipping.
        reasons: field -> why it is None.
    """

    abs: float
    rel: float | None
    gain: float | None
    share: float | None
    share_raw: float | None
    reasons: dict[str, str]


def form_deltas(model: float, baseline: float, scale: Scale) -> DeltaValues:
    """Form all deltas of two defined scores.

    With M model, B baseline, R chance, C ceiling: abs = M - B; rel = (M - B)/|B| if B > R + .02;
    gain = (M - B)/(C - B) if C - B >= .05; share = (B - R)/(M - R) if M > R + .02.

    Args:
        model: finite score of the model.
        baseline: finite score of the baseline, in the same unit.
        scale: chance, ceiling and direction of the metric.

    Example:
        >>> values = form_deltas(0.436, 0.37, Scale(chance=0.0, ceiling=1.0))
        >>> [round(value, 3) for value in (values.abs, values.rel, values.gain, values.share)]
        [0.066, 0.178, 0.105, 0.849]
    """
    sign = 1.0 if scale.higher_is_better else -1.0
    m, b = sign * model, sign * baseline
    r = None if scale.chance is None else sign * scale.chance
    c = None if scale.ceiling is None else sign * scale.ceiling
    reasons: dict[str, str] = {}
    rel = gain = share = None
    if r is None:
        reasons |= {"rel": "chance_unknown", "share": "chance_unknown"}
    else:
        if b > r + CLEAR_OF_CHANCE and abs(b) > LEAST_BASELINE:
            rel = (m - b) / abs(b)
        else:
            reasons["rel"] = "baseline_at_chance"
        if m > r + CLEAR_OF_CHANCE:
            share = (b - r) / (m - r)
        else:
            reasons["share"] = "model_at_chance"
    if c is None:
        reasons["gain"] = "no_ceiling"
    elif c - b < LEAST_ROOM:
        reasons["gain"] = "near_ceiling"
    else:
        gain = (m - b) / (c - b)
    clipped = None if share is None else min(max(share, 0.0), MOST_SHARE)
    return DeltaValues(m - b, rel, gain, clipped, share, reasons)
