"""Alignment of wells against plain loops, scikit-learn and SciPy, and its rules for poor controls."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from harness.tasks.metrics.alignment import Method, align
from harness.tasks.metrics.alignment_fits import fit_axes, fit_scaling
from harness.tasks.metrics.alignment_whitening import whiten
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from harness.errors import UsageError

METHODS: tuple[Method, ...] = get_args(Method)


def draw(seed: int, n: int = 300, width: int = 8, batches: int = 3) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return correlated features with a shift a batch, half of them controls, and batches in mixed order."""
    rng = np.random.default_rng(seed)
    code = rng.integers(batches, size=n)
    features = (
        rng.standard_normal((n, width)) @ rng.standard_normal((width, width))
        + rng.standard_normal((batches, width))[code]
    )
    return features.astype(np.float32), rng.random(n) < 0.5, [f"b{one}" for one in code]


def align_plainly(features: np.ndarray, controls: np.ndarray, batches: list[str], method: str) -> np.ndarray:
    """Align by masks, scikit-learn and SciPy, step by step as the methods are described."""
    x, names = features.astype(np.float64), np.array(batches)

    def scale(x: np.ndarray, within: bool) -> np.ndarray:
        x = x.copy()
        for mask in [names == name for name in sorted(set(batches))] if within else [np.ones(len(x), dtype=bool)]:
            x[mask] = StandardScaler().fit(x[mask & controls]).transform(x[mask])
        return x

    if method == "none":
        return x
    if method.startswith("centerscale"):
        return scale(x, method == "centerscale")
    if method == "pca_centerscale":
        return scale(PCA(svd_solver="full").fit(x[controls]).transform(x), True)
    x = scale(x, False)
    x = scale(PCA(svd_solver="full").fit(x[controls]).transform(x), False)
    if method == "tvn":
        for name in sorted(set(batches)):
            mask = names == name
            covariance = np.cov(x[mask & controls], rowvar=False, ddof=1) + 0.5 * np.eye(x.shape[1])
            x[mask] = x[mask] @ np.real(fractional_matrix_power(covariance, -0.5))
    return x


def similarities(x: np.ndarray) -> np.ndarray:
    """Return the cosines of all rows, in which signs of axes cancel."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("width", [8, 90])
@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_a_plain_computation(method: Method, width: int) -> None:
    """Each method agrees with masks, scikit-learn and SciPy to 1e-9; batches hold more or fewer controls than axes."""
    features, controls, batches = draw(0, n=400, width=width)
    found = align(features, controls, batches, method)
    assert found.features.dtype == np.float64
    expected = align_plainly(features, controls, batches, method)
    np.testing.assert_allclose(similarities(found.features), similarities(expected), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-8)
    assert found.components == (width if method in ("pca_centerscale", "tvn_global", "tvn") else None)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(METHODS))
def test_order_and_scale_of_wells_do_not_matter(seed: int, method: Method) -> None:
    """Shuffled wells give shuffled results, and features times 3.7 the same cosines."""
    features, controls, batches = draw(seed, n=60, width=4, batches=2)
    rows = np.random.default_rng(seed).permutation(60)
    whole = similarities(align(features, controls, batches, method).features)
    mixed = align(features[rows], controls[rows], [batches[row] for row in rows], method).features
    np.testing.assert_allclose(similarities(mixed), whole[np.ix_(rows, rows)], atol=1e-7)
    larger = align(features.astype(np.float64) * 3.7, controls, batches, method).features
    np.testing.assert_allclose(similarities(larger), whole, atol=1e-7)


@pytest.mark.parametrize("method", ["none", "pca_centerscale"])
def test_rotations_do_not_matter(method: Method) -> None:
    """Rotated features give the same cosines where no axis of the features is scaled by itself."""
    features, controls, batches = draw(2)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    one = align(features, controls, batches, method).features
    other = align(features.astype(np.float64) @ rotation, controls, batches, method).features
    np.testing.assert_allclose(similarities(other), similarities(one), atol=1e-7)


def test_only_controls_enter_a_fit() -> None:
    """Other wells move nothing but themselves."""
    features, controls, batches = draw(3)
    changed = features.copy()
    changed[np.flatnonzero(~controls)[0]] += 1000
    for method in METHODS:
        one, other = (align(x, controls, batches, method).features for x in (features, changed))
        assert (np.abs(one - other).max(axis=1) > 0).sum() == 1, method


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_whitening_agrees_with_a_matrix_power(count: int) -> None:
    """Fewer or more controls than axes: the same matrix to 1e-12; one control has no covariance."""
    rng = np.random.default_rng(count)
    block, controls = rng.standard_normal((50, 12)) * 3, np.arange(50) < count
    covariance = np.cov(block[:count], rowvar=False, ddof=1) if count > 1 else np.zeros((12, 12))
    expected = block @ fractional_matrix_power(covariance + 0.5 * np.eye(12), -0.5)
    np.testing.assert_allclose(whiten(block, controls), expected, atol=1e-12)


def test_constant_features_become_exactly_zero() -> None:
    """A constant keeps the scale 1 and leaves nothing, not even a rounding error."""
    features = np.full((40, 5), 0.1, dtype=np.float32)
    controls, batches = np.arange(40) < 20, ["a", "b"] * 20
    for method in METHODS[1:]:
        aligned = align(features, controls, batches, method)
        assert not aligned.features.any(), method
    assert align(features, controls, batches, "tvn").components == 0


def test_a_constant_feature_counts_for_nothing() -> None:
    """One constant column changes no cosine; the axis it would have is dropped, and that is said."""
    features, controls, batches = draw(4)
    wide = np.insert(features, 3, 0.1, axis=1)
    for method in METHODS[1:]:
        one, other = align(features, controls, batches, method), align(wide, controls, batches, method)
        np.testing.assert_allclose(similarities(other.features), similarities(one.features), atol=1e-9)
        assert any("1 of 9 principal axes" in note for note in other.notes) == (other.components is not None)


def test_fewer_controls_than_features() -> None:
    """The axis without variance is dropped, so that nothing blows up, and the shortage is noted."""
    rng = np.random.default_rng(0)
    features, controls = rng.standard_normal((30, 20)), np.arange(30) < 12
    for method in ("pca_centerscale", "tvn_global", "tvn"):
        aligned = align(features, controls, ["a"] * 30, method)
        assert aligned.components == 11
        assert np.abs(aligned.features).max() < 1e3
        assert "12 control wells for 20 features" in aligned.notes[0]
        assert "1 of 12 principal axes" in aligned.notes[1]


def test_a_batch_without_controls_is_named() -> None:
    """Methods within batches refuse it and say what to do; global ones do not care."""
    features, controls, batches = draw(5)
    controls &= np.array(batches) != "b1"
    for method in ("centerscale", "pca_centerscale", "tvn"):
        with pytest.raises(UsageError, match=r"1 of 3 batches have no control wells, the first: b1; .*controls_per"):
            align(features, controls, batches, method)
    assert align(features, controls, batches, "tvn_global").notes == ()


def test_no_controls_or_no_batches() -> None:
    """Without controls only ``none`` works, without batches only what is global."""
    features, controls, batches = draw(6)
    with pytest.raises(UsageError, match="no control wells"):
        align(features, np.zeros_like(controls), batches, "centerscale_global")
    with pytest.raises(UsageError, match="in which batch a well was made; choose"):
        align(features, controls, None, "tvn")
    assert align(features, np.zeros_like(controls), None, "none").features.shape == features.shape


def test_a_single_control_is_noted() -> None:
    """One control centres its batch, but tells no scale."""
    features = np.array([[1.0], [3.0], [5.0], [9.0], [8.0]])
    aligned = align(features, np.array([True, True, False, True, False]), ["a", "a", "a", "b", "b"], "centerscale")
    assert aligned.features.ravel().tolist() == [-1, 1, 3, 0, -1]
    assert aligned.notes == ("1 of 2 batches have one control well only, the first: b",)


def test_fits_by_hand() -> None:
    """Mean 2 and sd 1 of (1, 3); axes of (3, 4), (-3, -4) lie along (.6, .8) with sd 5."""
    scaling = fit_scaling(np.array([[1.0, 7.0], [3.0, 7.0]]))
    assert scaling.mean.tolist() == [2, 7]
    assert scaling.scale.tolist() == [1, 1]
    axes = fit_axes(np.array([[3.0, 4.0], [-3.0, -4.0]]))
    np.testing.assert_allclose(np.abs(axes.basis.ravel()), [0.6, 0.8])
    np.testing.assert_allclose(axes.deviation, [5])


def test_inputs_are_left_alone() -> None:
    """No method changes the features it is given."""
    features, controls, batches = draw(7)
    for dtype in (np.float32, np.float64):
        given = features.astype(dtype)
        for method in METHODS:
            align(given, controls, batches, method)
        assert np.array_equal(given, features)
