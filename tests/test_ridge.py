"""Exact PCA and ridge against scikit-learn, a naive computation and its own two routes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from harness.tasks.metrics.ridge import RidgePath, fit_from_moments, fit_from_rows
from harness.tasks.metrics.ridge_moments import Moments, add_moments, second_moments
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler


def sum_moments(x: np.ndarray, y: np.ndarray, about_mean: bool = True) -> Moments:
    """Return the moments of all rows."""
    shift = x.mean(axis=0) if about_mean else np.zeros(x.shape[1])
    target_shift = y.mean(axis=0) if about_mean else np.zeros(y.shape[1])
    return second_moments(x, y, np.arange(len(x)), shift.astype(np.float64), target_shift)


def scikit_predict(x: np.ndarray, y: np.ndarray, new: np.ndarray, components: int, alpha: float) -> np.ndarray:
    """Predict by scikit-learn's full SVD and its direct ridge solver, in float64."""
    scaler = StandardScaler().fit(x.astype(np.float64))
    pca = PCA(components, svd_solver="full").fit(scaler.transform(x.astype(np.float64)))
    project = lambda rows: pca.transform(scaler.transform(rows.astype(np.float64)))  # noqa: E731
    ridge = Ridge(alpha=alpha, solver="cholesky", fit_intercept=False).fit(project(x), y)
    return ridge.predict(project(new))


def make(seed: int, n: int, width: int, genes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return correlated training features, targets that depend on them, and new features."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, width)) / np.sqrt(np.arange(1, width + 1))[:, None]
    x, new = rng.standard_normal((n, width)) @ mix + 5, rng.standard_normal((7, width)) @ mix + 5
    y = x @ rng.standard_normal((width, genes)) / width + rng.standard_normal((n, genes)) + 2
    return x.astype(np.float32), y, new.astype(np.float32)


def test_one_feature_by_hand() -> None:
    """X = 1, 2, 3 has sd sqrt(2/3), so w = 3, and y = (0, 1, 5) gives the coefficient 5 / sqrt(2/3) / (3 + 1)."""
    x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[0.0], [1.0], [5.0]])
    path = fit_from_moments(sum_moments(x, y), 1)
    assert path.strength[0] == pytest.approx(3)
    expected = (5 / np.sqrt(2 / 3)) / (3 + 1) * (np.array([4.0]) - 2) / np.sqrt(2 / 3)
    assert path.predict(np.array([[4.0]]), 1.0)[0] == pytest.approx(expected)
    assert path.target_mean[0] == pytest.approx(2)


@pytest.mark.parametrize(("n", "width", "components"), [(60, 12, 5), (60, 12, 12), (12, 40, 6), (30, 30, 11)])
def test_agrees_with_scikit_learn(n: int, width: int, components: int) -> None:
    """Tall, square and wide training sets agree with the full SVD and a direct solver to 1e-8."""
    x, y, new = make(0, n, width)
    fit = partial(fit_from_rows, x, y) if n < width else partial(fit_from_moments, sum_moments(x, y))
    for alpha in (1e-3, 1.0, 100.0):
        np.testing.assert_allclose(
            fit(components).predict(new, alpha), scikit_predict(x, y, new, components, alpha), rtol=1e-8, atol=1e-8
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(6, 30), st.integers(2, 20), st.integers(1, 5))
def test_both_routes_agree(seed: int, n: int, width: int, components: int) -> None:
    """Second moments and the Gram matrix of the rows give one prediction, for any shape."""
    x, y, new = make(seed, n, width)
    most = min(components, width, n - 1)
    one, other = fit_from_moments(sum_moments(x, y), most), fit_from_rows(x, y, most)
    np.testing.assert_allclose(one.predict(new, 0.5), other.predict(new, 0.5), atol=1e-7)
    np.testing.assert_allclose(one.strength, other.strength, rtol=1e-7)
    np.testing.assert_allclose(np.abs(one.project(new)), np.abs(other.project(new)), atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_parts_add_up_in_any_order(seed: int, cuts: int) -> None:
    """Moments of shuffled parts, added, equal the moments of all rows."""
    x, y, _ = make(seed, 40, 6)
    rows = np.random.default_rng(seed).permutation(40)
    shift, target_shift = x[0].astype(np.float64), y[0]
    parts = [second_moments(x, y, part, shift, target_shift) for part in np.array_split(rows, cuts + 1)]
    whole, total = second_moments(x, y, np.arange(40), shift, target_shift), add_moments(parts)
    for name in ("gram", "cross", "total", "target_total", "limits", "target_limits"):
        np.testing.assert_allclose(getattr(total, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    assert total.n == whole.n


def test_moments_agree_with_naive_sums() -> None:
    """The upper triangle holds the sums of products about the shift, over blocks of rows too."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2_100, 4)), rng.standard_normal((2_100, 2))
    moments = second_moments(x, y, np.arange(0, 2_100, 2), np.ones(4), np.zeros(2))
    chosen, targets = x[::2] - 1, y[::2]
    for a in range(4):
        for b in range(a, 4):
            assert moments.gram[a, b] == pytest.approx(
                sum(p * q for p, q in zip(chosen[:, a], chosen[:, b], strict=True))
            )
        assert moments.cross[a, 1] == pytest.approx(sum(chosen[:, a] * targets[:, 1]))


def _routes(x: np.ndarray, y: np.ndarray, components: int | None) -> list[RidgePath]:
    return [fit_from_moments(sum_moments(x, y), components), fit_from_rows(x, y, components)]


def test_constant_feature_counts_for_nothing() -> None:
    """A constant feature has no scale to divide by; predictions are those without it, whatever it is later."""
    x, y, new = make(1, 40, 6)
    wide, later = np.insert(x, 2, 0.1, axis=1), np.insert(new, 2, 7.0, axis=1)
    for path in _routes(wide, y, 4):
        np.testing.assert_allclose(path.predict(later, 1.0), scikit_predict(x, y, new, 4, 1.0), atol=1e-8)


def test_constant_target_is_predicted_by_exactly_zero() -> None:
    """A target that never varies in training gets coefficients of 0, not of rounding errors."""
    x, y, new = make(2, 40, 6)
    y[:, 1] = 0.1
    moments = second_moments(x, y, np.arange(40), np.full(6, 4.9), np.full(3, 0.37))
    for path in (fit_from_moments(moments, 4), fit_from_rows(x, y, 4)):
        assert (path.predict(new, 1.0)[:, 1] == 0).all()


def test_constant_features_predict_exactly_zero() -> None:
    """Embeddings without any variance give one prediction for all."""
    y, new = np.arange(10.0)[:, None], np.arange(15.0).reshape(5, 3)
    for path in _routes(np.full((10, 3), 0.1), y, 2):
        assert (path.predict(new, 1.0) == 0).all()


def test_features_as_they_are() -> None:
    """Without components, centre or scale the path is plain ridge; with a centre, ridge with an intercept."""
    x, y, new = make(4, 30, 5)
    plain = Ridge(alpha=2.0, solver="cholesky", fit_intercept=False).fit(x.astype(np.float64), y).predict(new)
    for path in (
        fit_from_moments(sum_moments(x, y, about_mean=False), None, centre=False, scale=False),
        fit_from_rows(x, y, None, centre=False, scale=False),
    ):
        np.testing.assert_allclose(path.predict(new, 2.0), plain, atol=1e-8)
    centred = Ridge(alpha=2.0, solver="cholesky").fit(x.astype(np.float64), y).predict(new)
    for path in (
        fit_from_moments(sum_moments(x, y), None, scale=False),
        fit_from_rows(x, y, None, scale=False),
    ):
        np.testing.assert_allclose(path.predict(new, 2.0) + path.target_mean, centred, atol=1e-8)


def test_large_offsets_do_not_cancel() -> None:
    """Features of sd 1 around 1,000 agree with the full SVD to 1e-7, because sums are taken about their mean."""
    x, y, new = make(5, 60, 8)
    x, new = x.astype(np.float64) + 1_000, new.astype(np.float64) + 1_000
    found = fit_from_moments(sum_moments(x, y), 5).predict(new, 1.0)
    np.testing.assert_allclose(found, scikit_predict(x, y, new, 5, 1.0), atol=1e-7)


def test_inputs_are_left_alone() -> None:
    """Neither route changes its arrays, so that folds can share them."""
    x, y, _ = make(6, 20, 6)
    moments = sum_moments(x, y)
    before = moments.gram.copy(), x.copy(), y.copy()
    fit_from_moments(moments, 3)
    fit_from_rows(x, y, 3)
    for was, now in zip(before, (moments.gram, x, y), strict=True):
        assert np.array_equal(was, now)
