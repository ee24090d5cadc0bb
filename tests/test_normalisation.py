"""Normalisation and whitening of profiles against the stored oracle, pycytominer and textbook forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from harness.tasks.metrics.normalisation import inverse_normal, mad_robustize, standardize, varies
from harness.tasks.metrics.whitening import fit_whitening
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared
from scipy.stats import norm

FOLD = SHARED / "oracles" / "jump" / "one_fold"


def draw(seed: int, controls: int, width: int, others: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated profiles, controls first, and the controls."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, width)) / np.sqrt(np.arange(1, width + 1))[:, None]
    profiles = rng.standard_normal((controls + others, width)) @ mix + rng.standard_normal(width)
    return profiles, profiles[:controls]


def whiten(profiles: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Apply the whitening of the JUMP task."""
    return fit_whitening(controls, 1e-4).apply(profiles)


@needs_shared
@pytest.mark.parametrize("name", ["zca", "zca_int"])
def test_oracle_tables(name: str) -> None:
    """Whole tables agree with the stored ones, relative to their largest value: zca to 1e-8, then ranks to 1e-9.

    The ranks are taken of the stored whitened table, so that each step is judged alone.
    """
    profiles = pd.read_parquet(FOLD / "profiles.parquet")
    before = profiles if name == "zca" else pd.read_parquet(FOLD / "normalized_zca.parquet")
    expected = pd.read_parquet(FOLD / f"normalized_{name}.parquet")
    columns = [column for column in before if str(column).startswith("feature_")]
    for rows in profiles.groupby("Metadata_Plate").indices.values():
        values = before.iloc[rows][columns].to_numpy()
        control = (profiles.iloc[rows]["Metadata_pert_type"] == "negcon").to_numpy()
        found = whiten(values, values[control]) if name == "zca" else inverse_normal(values)
        wanted = expected.iloc[rows][columns].to_numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=(1e-8 if name == "zca" else 1e-9) * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("method", "ours"),
    [
        ("standardize", standardize),
        ("mad_robustize", mad_robustize),
        ("ZCA", lambda x, c: fit_whitening(c, 1e-4).apply(x)),
        ("ZCA-cor", lambda x, c: fit_whitening(c, 1e-4, correlation=True).apply(x)),
    ],
)
@pytest.mark.parametrize(("controls", "width"), [(12, 30), (40, 8)])
def test_agrees_with_pycytominer(
    method: str, ours: Callable[[np.ndarray, np.ndarray], np.ndarray], controls: int, width: int
) -> None:
    """Fresh tables, wide and tall, agree with pycytominer's ``normalize`` to 1e-9 of the largest value."""
    from pycytominer import normalize

    profiles, held = draw(3, controls, width)
    names = [f"Cells_{number}" for number in range(width)]
    table = pd.DataFrame(profiles, columns=names)
    table.insert(0, "Metadata_role", ["control"] * controls + ["treated"] * (len(profiles) - controls))
    sphere = {"method": "spherize", "spherize_method": method, "spherize_epsilon": 1e-4}
    theirs = normalize(
        table,
        features=names,
        meta_features=["Metadata_role"],
        samples="Metadata_role == 'control'",
        **(sphere if method.startswith("ZCA") else {"method": method}),
    )[names].to_numpy()
    np.testing.assert_allclose(ours(profiles, held), theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 15), st.integers(1, 20), st.booleans())
def test_whitening_agrees_with_the_full_matrix(seed: int, controls: int, width: int, correlation: bool) -> None:
    """The economic form equals z = xc W with the (D, D) matrix W written out."""
    profiles, held = draw(seed, controls, width)
    scale = held.std(axis=0) if correlation else np.ones(width)
    _, sigma, basis = np.linalg.svd((held - held.mean(axis=0)) / scale, full_matrices=True)
    rank = min(width, controls - 1)
    sigma = np.concatenate([sigma[:rank], np.full(width - rank, sigma[rank - 1])]) + 1e-4
    matrix = np.sqrt(controls - 1) * basis.T @ np.diag(1 / sigma) @ basis
    expected = ((profiles - held.mean(axis=0)) / scale) @ matrix
    found = fit_whitening(held, 1e-4, correlation=correlation).apply(profiles)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


def test_whitened_controls_have_unit_covariance() -> None:
    """With more controls than features and no eps their covariance is the identity."""
    _, held = draw(5, 60, 7)
    np.testing.assert_allclose(np.cov(whiten_exactly(held).T), np.eye(7), atol=1e-10)


def whiten_exactly(held: np.ndarray) -> np.ndarray:
    """Whiten controls without eps."""
    return fit_whitening(held, 0.0).apply(held)


def test_duplicated_controls_are_filled_in_and_told() -> None:
    """Collinear controls count as missing directions; ordinary ones, few as they may be, do not."""
    profiles, held = draw(6, 10, 30)
    assert not fit_whitening(held, 1e-4).filled
    twice = np.concatenate([held, held[:3]])
    whitening = fit_whitening(twice, 1e-4)
    assert whitening.filled
    assert len(whitening.directions) == 9
    assert np.isfinite(whitening.apply(profiles)).all()
    tall = np.concatenate([held[:, :4], held[:, :1]], axis=1)
    assert fit_whitening(tall, 1e-4).filled


def test_tiny_features_are_told() -> None:
    """An eps above a hundredth of the median singular value is reported, for it then shapes the result."""
    _, held = draw(7, 10, 30)
    assert fit_whitening(held, 1e-4).eps_share < 0.01
    assert fit_whitening(held * 1e-4, 1e-4).eps_share > 0.01


@pytest.mark.parametrize(
    ("held", "correlation", "message"),
    [
        (np.ones((1, 3)), False, "at least 2 controls, got 1"),
        (np.full((4, 3), 0.1), False, "all controls are equal"),
        (np.array([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]]), True, "1 of 2 features are constant"),
    ],
)
def test_controls_that_cannot_whiten(held: np.ndarray, correlation: bool, message: str) -> None:
    """One control, equal controls and, for zca_cor, a constant feature are errors."""
    with pytest.raises(ValueError, match=message):
        fit_whitening(held, 1e-4, correlation=correlation)


def test_constant_feature_is_centred_only() -> None:
    """A control feature without variance is divided by 1, whatever rounding makes of its deviation."""
    held = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]])
    found = standardize(np.array([[0.3, 2.0]]), held)
    np.testing.assert_allclose(found, [[0.2, 0.0]], atol=1e-12)
    assert varies(held, 1e-6).tolist() == [False, True]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=30), st.floats(0, 1))
def test_inverse_normal_agrees_with_a_loop(values: list[int], c: float) -> None:
    """Ranks of ties are averaged; quantiles are scipy's."""
    count = len(values)
    ranks = [sum(one < own for one in values) + (sum(one == own for one in values) + 1) / 2 for own in values]
    expected = norm.ppf([(rank - c) / (count - 2 * c + 1) for rank in ranks])
    found = inverse_normal(np.array(values, dtype=np.float64)[:, None], c)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_scale_and_shift_do_not_matter(seed: int, factor: float, shift: float) -> None:
    """Standardised, robustised and ranked profiles stay when all features are scaled and shifted."""
    profiles, held = draw(seed, 10, 4)
    moved, moved_held = profiles * factor + shift, held * factor + shift
    for step in (standardize, mad_robustize):
        np.testing.assert_allclose(step(moved, moved_held), step(profiles, held), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inverse_normal(moved), inverse_normal(profiles))


def test_inputs_are_left_alone() -> None:
    """No step changes its arrays."""
    profiles, held = draw(8, 10, 6)
    before, before_held = profiles.copy(), held.copy()
    for step in (standardize, mad_robustize, whiten):
        step(profiles, held)
    inverse_normal(profiles)
    assert np.array_equal(profiles, before)
    assert np.array_equal(held, before_held)
