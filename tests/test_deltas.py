"""Deltas: the protocol's worked examples, null rules, properties."""

from __future__ import annotations

import json
import math

import pytest
from harness.leaderboard.deltas import Scale, form_deltas
from hypothesis import assume, given
from hypothesis import strategies as st
from places import SHARED, needs_shared

UNIT = Scale(chance=0.0, ceiling=1.0)
scores = st.floats(0, 1)
ORACLE = SHARED / "oracles/statistics/worked_examples.json"


@needs_shared
def test_worked_example_of_the_protocol() -> None:
    """Two folds of eight genes: abs, rel, gain and share to 1e-9."""
    expected = json.loads(ORACLE.read_text())["expected"]
    values = form_deltas(expected["model"], expected["baseline"], UNIT)
    for name in ("abs", "rel", "gain", "share"):
        assert getattr(values, name) == pytest.approx(expected[name], abs=1e-9)


@needs_shared
@pytest.mark.parametrize("task", ["CCRCC", "PRAD", "SKCM", "COAD"])
def test_rows_of_the_paper(task: str) -> None:
    """H-optimus-1 on HEST-1k-1NN against the better of cell count and the best untrained image model."""
    row = json.loads(ORACLE.read_text())["paper_hest1nn_h_optimus_1"][task]
    assert row["baseline"] == max(row["cell_count"], row["best_untrained_image"])
    values = form_deltas(row["model"], row["baseline"], UNIT)
    for name in ("abs", "rel", "gain", "share"):
        assert getattr(values, name) == pytest.approx(row[name], abs=1e-9)


@pytest.mark.parametrize(
    ("model", "baseline", "scale", "expected"),
    [
        (0.5, 0.3, Scale(None, 1.0), {"rel": "chance_unknown", "share": "chance_unknown"}),
        (0.5, 0.3, Scale(0.0, None), {"gain": "no_ceiling"}),
        (0.5, 0.02, UNIT, {"rel": "baseline_at_chance"}),
        (0.02, 0.5, UNIT, {"share": "model_at_chance"}),
        (0.99, 0.96, UNIT, {"gain": "near_ceiling"}),
        (0.01, 0.0, Scale(-0.5, 1.0), {"rel": "baseline_at_chance"}),
        (0.5, 0.3, UNIT, {}),
    ],
)
def test_what_cannot_be_formed_is_null_with_its_reason(model, baseline, scale, expected) -> None:
    """Each null rule of the protocol has a reason; the other fields are there."""
    values = form_deltas(model, baseline, scale)
    assert values.reasons == expected
    for name in ("rel", "gain", "share"):
        assert (getattr(values, name) is None) == (name in expected)


def test_share_is_clipped_and_kept_raw() -> None:
    """A baseline far above the model explains at most 1.5 of it; one below chance explains nothing."""
    high, low = form_deltas(0.1, 0.5, UNIT), form_deltas(0.5, -0.1, UNIT)
    assert (high.share, high.share_raw) == (1.5, 5.0)
    assert (low.share, low.share_raw) == (0.0, -0.2)


def test_lower_is_better_turns_the_signs() -> None:
    """An error of .2 against .5 with chance 1 and best value 0 reads as .8 against .5 of a score."""
    error = form_deltas(0.2, 0.5, Scale(chance=1.0, ceiling=0.0, higher_is_better=False))
    score = form_deltas(0.8, 0.5, UNIT)
    assert (error.abs, error.gain, error.share) == pytest.approx((score.abs, score.gain, score.share))
    assert error.rel == pytest.approx(0.3 / 0.5)


@given(scores, scores, scores, st.floats(-10, 10))
def test_a_constant_added_to_both_leaves_abs(model: float, baseline: float, chance: float, shift: float) -> None:
    """abs, gain and share know differences only, so a shift of the whole scale changes none of them."""
    before = form_deltas(model, baseline, Scale(chance, 1.0))
    after = form_deltas(model + shift, baseline + shift, Scale(chance + shift, 1.0 + shift))
    assert after.abs == pytest.approx(before.abs, abs=1e-12)
    edges = (model - chance - 0.02, baseline - chance - 0.02, 1 - baseline - 0.05)
    assume(min(map(abs, edges)) > 1e-9)
    for name in ("gain", "share"):
        mine, theirs = getattr(before, name), getattr(after, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or theirs == pytest.approx(mine, rel=1e-9, abs=1e-9)


@given(st.floats(0.03, 0.9), st.floats(0, 0.009))
def test_an_identical_baseline_explains_everything(score: float, chance: float) -> None:
    """M = B gives abs 0, gain 0, rel 0, share 1."""
    values = form_deltas(score, score, Scale(chance, 1.0))
    assert (values.abs, values.gain, values.rel, values.share) == (0.0, 0.0, 0.0, 1.0)


@given(scores, scores, st.one_of(st.none(), scores), st.one_of(st.none(), scores), st.booleans())
def test_every_number_is_finite_and_bounded(model, baseline, chance, ceiling, higher) -> None:
    """No division by nothing: numbers are finite, share stays in [0, 1.5], every null has a reason."""
    values = form_deltas(model, baseline, Scale(chance, ceiling, higher))
    for name in ("rel", "gain", "share"):
        value = getattr(values, name)
        assert (value is None) == (name in values.reasons)
        assert value is None or math.isfinite(value)
    assert values.share is None or 0 <= values.share <= 1.5
