"""Correlation kernels: worked cases, naive loops, scipy and scikit-learn, properties."""

from __future__ import annotations

import numpy as np
import pytest
from harness.tasks.metrics.correlation import (
    explained_variance,
    is_constant,
    mean_squared_error,
    pearson,
    pearson_by_section,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr
from sklearn.metrics import mean_squared_error as sklearn_mse
from sklearn.metrics import r2_score

TABLES = arrays(np.float64, (7, 3), elements=st.floats(-100, 100, width=32))


def naive_pearson(x: list[float], y: list[float]) -> float:
    """Correlate two lists by the textbook formula."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    cross = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    square_x, square_y = sum((a - mean_x) ** 2 for a in x), sum((b - mean_y) ** 2 for b in y)
    return float("nan") if square_x == 0 or square_y == 0 else cross / (square_x * square_y) ** 0.5


def test_pearson_by_hand() -> None:
    """(1, 2, 4) and (1, 3, 3) correlate by 8/3 over the root of 14/3 * 8/3, which is sqrt(4/7)."""
    assert pearson(np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [3.0], [3.0]]))[0] == pytest.approx(
        np.sqrt(4 / 7), abs=1e-15
    )


def test_pearson_agrees_with_naive_loop_and_scipy() -> None:
    """Random columns agree with the formula and with scipy to rounding."""
    rng = np.random.default_rng(0)
    target, prediction = rng.standard_normal((40, 9)), rng.standard_normal((40, 9))
    found = pearson(target, prediction)
    columns = range(9)
    np.testing.assert_allclose(
        found, [naive_pearson([*target[:, c]], [*prediction[:, c]]) for c in columns], atol=1e-12
    )
    np.testing.assert_allclose(found, [pearsonr(target[:, c], prediction[:, c])[0] for c in columns], atol=1e-12)


@settings(deadline=None)
@given(TABLES, TABLES, st.floats(0.1, 10), st.floats(-5, 5), st.permutations(range(7)))
def test_pearson_ignores_order_scale_and_offset(
    target: np.ndarray, prediction: np.ndarray, scale: float, offset: float, order: list[int]
) -> None:
    """Permuting samples or mapping the prediction by a rising line keeps r, within bounds; a falling line flips it."""
    base = pearson(target, prediction)
    assert (np.isnan(base) | (np.abs(base) <= 1)).all()
    wide = np.ptp(prediction, axis=0) > 1e-3  # a line maps narrower columns onto rounding errors
    for changed in (pearson(target[order], prediction[order]), pearson(target, prediction * scale + offset)):
        np.testing.assert_allclose(changed[wide], base[wide], atol=1e-6)
    np.testing.assert_allclose(pearson(target, -prediction), -base, atol=1e-12)


def test_constant_column_is_undefined_whatever_its_value() -> None:
    """A column of .1 has a mean that rounds, and is NaN all the same; a weak signal is not constant."""
    ramp = np.arange(7.0)[:, None]
    assert np.isnan(pearson(ramp, np.full((7, 1), 0.1)))[0]
    assert np.isnan(pearson(np.full((7, 1), 0.1), ramp))[0]
    assert pearson(ramp, 1 + ramp * 1e-12)[0] == pytest.approx(1, abs=1e-3)
    assert pearson(ramp, ramp * 1e-200)[0] == pytest.approx(1)
    assert is_constant(np.array([[1.0, 2.0], [1.0, 3.0]])).tolist() == [True, False]


def test_pearson_by_section_rules() -> None:
    """Sections count equally; an undefined one is left out, makes the mean NaN, or counts 0."""
    target = np.array([1.0, 2, 3, 1, 2, 3, 5, 5])[:, None]
    prediction = np.array([1.0, 2, 3, 3, 2, 1.5, 1, 2])[:, None]
    section = ["a"] * 3 + ["b"] * 3 + ["c"] * 2
    second = pearsonr([1, 2, 3], [3, 2, 1.5])[0]
    rules = {"omit": (1 + second) / 2, "propagate": np.nan, "zero": (1 + second) / 3}
    for rule, expected in rules.items():
        found = pearson_by_section(target, prediction, section, rule)  # type: ignore[arg-type]
        assert found[0] == pytest.approx(expected, nan_ok=True)


def test_pearson_by_section_is_undefined_where_no_section_is_defined() -> None:
    """Leaving out every section gives NaN, not 0."""
    assert np.isnan(pearson_by_section(np.ones((4, 1)), np.arange(4.0)[:, None], ["a", "a", "b", "b"]))[0]


def test_errors_agree_with_scikit_learn() -> None:
    """Squared error and R2 equal scikit-learn's, column by column."""
    rng = np.random.default_rng(1)
    target, prediction = rng.standard_normal((30, 4)), rng.standard_normal((30, 4))
    np.testing.assert_allclose(
        mean_squared_error(target, prediction), sklearn_mse(target, prediction, multioutput="raw_values")
    )
    np.testing.assert_allclose(
        explained_variance(target, prediction), r2_score(target, prediction, multioutput="raw_values")
    )


def test_r2_of_a_constant_target_is_undefined() -> None:
    """Without variance there is nothing to explain: NaN."""
    assert np.isnan(explained_variance(np.full((3, 1), 0.1), np.arange(3.0)[:, None]))[0]
