"""The diagnostic ``collapsed``: worked cases, a naive loop, properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from harness.leaderboard.diagnostics.collapse import diagnose, mean_cosine
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity


def features_of(seed: int, n: int = 12, width: int = 5) -> np.ndarray:
    """Draw embeddings."""
    return np.random.default_rng(seed).standard_normal((n, width))


def test_right_angle_and_same_direction() -> None:
    """Of three pairs one is parallel and two are at right angles: 1/3."""
    assert mean_cosine(np.array([[1.0, 0], [0, 3], [2, 0]])) == pytest.approx(1 / 3)


def test_reasons() -> None:
    """A constant embedding has both reasons, scaled copies one, spread ones none."""
    assert diagnose(np.ones((4, 3), np.float32))["collapsed_reasons"] == ["constant", "cosine"]
    assert diagnose(np.array([[1.0, 2.0], [3.0, 6.0]]))["collapsed_reasons"] == ["cosine"]
    assert diagnose(np.zeros((4, 3)))["collapsed_reasons"] == ["constant"]
    assert diagnose(features_of(0)) == {"collapsed": False, "collapsed_reasons": []}
    assert diagnose(np.ones((1, 3)))["collapsed"] is False


@pytest.mark.parametrize(("spread", "collapsed"), [(9e-5, True), (5e-3, False)])
def test_spread_of_an_untrained_vision_transformer(spread: float, collapsed: bool) -> None:
    """A relative spread of 9e-5 (1 - cosine 1e-8, below float32) counts as collapsed, one of 5e-3 does not."""
    rng = np.random.default_rng(0)
    centre = rng.standard_normal(384)
    features = centre + spread * np.linalg.norm(centre) / np.sqrt(384) * rng.standard_normal((32, 384))
    assert diagnose(features.astype(np.float32))["collapsed"] is collapsed


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_agrees_with_all_pairs(seed: int) -> None:
    """The sum over unit rows equals the loop over pairs and scikit-learn's matrix, to rounding."""
    features = features_of(seed)
    pairs = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(features, 2)]
    matrix = cosine_similarity(features)[np.triu_indices(len(features), 1)]
    assert mean_cosine(features) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert mean_cosine(features) == pytest.approx(matrix.mean(), abs=1e-12)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_order_scale_and_rotation_do_not_matter(seed: int, scale: float) -> None:
    """Cosines know neither the order of rows, nor their lengths, nor the axes."""
    features = features_of(seed)
    rotation = np.linalg.qr(features_of(seed + 1, 5))[0]
    changed = scale * features[::-1] @ rotation
    assert mean_cosine(changed) == pytest.approx(mean_cosine(features), abs=1e-12)


def test_many_rows_are_read_in_parts_and_left_as_they_are() -> None:
    """More rows than a part holds give the same number; huge values do not overflow; the input stays."""
    features = features_of(0, 9000).astype(np.float32)
    kept = features.copy()
    unit = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    expected = ((unit.sum(axis=0) ** 2).sum() - 9000) / (9000 * 8999)
    assert mean_cosine(features) == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(features, kept)
    assert mean_cosine(np.array([[1e300, 0.0], [0.0, 1e300]])) == 0.0


def test_one_row_has_no_pair() -> None:
    """Fewer than two rows are refused."""
    with pytest.raises(ValueError, match="at least 2 rows"):
        mean_cosine(np.ones((1, 3)))
