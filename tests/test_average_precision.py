"""Average precision and blocked retrieval against loops, scikit-learn, copairs and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from harness.tasks.metrics.average_precision import TIES, Ties, average_precision
from harness.tasks.metrics.chance import expected_average_precision
from harness.tasks.metrics.multiple_testing import benjamini_hochberg
from harness.tasks.metrics.retrieval import retrieve, unit_rows
from harness.tasks.metrics.retrieval_p_values import (
    null_of_mean,
    p_values_by_unit,
    permutation_p_value,
    random_average_precision,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from sklearn.metrics import average_precision_score


def score_naively(similarity: np.ndarray, relevant: np.ndarray, gallery: np.ndarray, ties: Ties) -> float:
    """Score one query by counting for every relevant item."""
    shown = [(s, r) for s, r, g in zip(similarity, relevant, gallery, strict=True) if g]
    found = sorted((s for s, r in shown if r), reverse=True)
    precisions = []
    for rank, own in enumerate(found, start=1):
        before = sum(s > own for s, r in shown if not r)
        equal = sum(s == own for s, r in shown if not r)
        if ties == "grouped":
            hits = sum(s >= own for s in found)
            precisions.append(hits / (hits + before + equal))
        else:
            precisions.append(rank / (rank + before + (equal if ties == "neg_first" else 0)))
    return float(np.mean(precisions)) if precisions else float("nan")


def draw_coarse(seed: int, queries: int, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw similarities with many ties, relevance and galleries."""
    rng = np.random.default_rng(seed)
    similarity = rng.integers(-4, 5, (queries, items)) / 4
    return similarity, rng.random((queries, items)) < 0.3, rng.random((queries, items)) < 0.8


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 25), st.sampled_from(TIES), st.booleans())
def test_agrees_with_counting(seed: int, queries: int, items: int, ties: Ties, single: bool) -> None:
    """All tie rules agree with a loop over relevant items, in float64 and float32, hidden items left out."""
    similarity, relevant, gallery = draw_coarse(seed, queries, items)
    kind = np.float32 if single else np.float64
    ranked = average_precision(similarity.astype(kind), relevant, gallery, ties)
    expected = [score_naively(*row, ties) for row in zip(similarity, relevant, gallery, strict=True)]
    np.testing.assert_allclose(ranked.score, expected, rtol=1e-12)
    np.testing.assert_array_equal(ranked.relevant, (relevant & gallery).sum(axis=1))
    np.testing.assert_array_equal(ranked.gallery, gallery.sum(axis=1))


def test_grouped_ties_are_those_of_scikit_learn() -> None:
    """``grouped`` equals scikit-learn's average precision with ties to 1e-12."""
    similarity, relevant, _ = draw_coarse(1, 40, 60)
    ranked = average_precision(similarity, relevant, np.ones_like(relevant))
    expected = [average_precision_score(r, s) for r, s in zip(relevant, similarity, strict=True)]
    np.testing.assert_allclose(ranked.score, expected, rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_tie_rules_are_ordered(seed: int) -> None:
    """The pessimistic rule gives no more than the others; inputs stay as they were.

    ``grouped`` may exceed ``pos_first``: relevant items that tie among themselves all get the precision of the last.
    """
    inputs = draw_coarse(seed, 5, 20)
    before = [one.copy() for one in inputs]
    scores = {ties: average_precision(*inputs, ties).score for ties in TIES}
    defined = ~np.isnan(scores["grouped"])
    assert (scores["neg_first"][defined] <= scores["grouped"][defined] + 1e-12).all()
    assert (scores["neg_first"][defined] <= scores["pos_first"][defined] + 1e-12).all()
    assert all(np.array_equal(was, now) for was, now in zip(before, inputs, strict=True))


def make(seed: int, n: int = 90, width: int = 7, labels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return profiles that depend on their labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, labels, n)
    return rng.standard_normal((n, width)) + rng.standard_normal((labels, width))[label], label


@pytest.mark.parametrize("block", [1, 7, 90, 512])
def test_blocks_agree_with_all_pairs(block: int) -> None:
    """Any size of block gives what the whole matrix gives, for some queries and galleries too."""
    profiles, label = make(2)
    plate = np.random.default_rng(3).integers(0, 3, len(label))
    units, queries = unit_rows(profiles), np.array([5, 3, 80, 41])
    whole = (units @ units.T)[queries]
    others = np.ones(whole.shape, dtype=bool)
    others[np.arange(4), queries] = False
    same, elsewhere = label[queries][:, None] == label, plate[queries][:, None] != plate
    plain = retrieve(units, label, queries=queries, block=block)
    np.testing.assert_allclose(plain.score, average_precision(whole, same, others).score, rtol=1e-12)
    cross = retrieve(units, label, queries=queries, gallery=lambda rows: plate[rows][:, None] != plate, block=block)
    np.testing.assert_allclose(cross.score, average_precision(whole, same, elsewhere).score, rtol=1e-12)
    np.testing.assert_array_equal(cross.gallery, elsewhere.sum(axis=1))


def test_agrees_with_copairs() -> None:
    """Scores per query agree with copairs (float32 similarities there) to 2e-5, across plates too."""
    from copairs.map import average_precision as score_by_copairs

    profiles, label = make(4, n=120, width=40)
    plate = np.random.default_rng(5).integers(0, 4, len(label))
    table = pd.DataFrame({"label": label.astype(str), "plate": plate.astype(str)})
    features, units = profiles.astype(np.float32), unit_rows(profiles)
    plain = score_by_copairs(table, features, ["label"], [], [], ["label"], progress_bar=False)
    ranked = retrieve(units, label, ties="pos_first")
    np.testing.assert_allclose(ranked.score, plain["average_precision"], atol=2e-5)
    np.testing.assert_array_equal(ranked.relevant, plain["n_pos_pairs"])
    np.testing.assert_array_equal(ranked.gallery, plain["n_total_pairs"])
    cross = score_by_copairs(table, features, ["label"], ["plate"], [], ["label", "plate"], progress_bar=False)
    away = retrieve(units, label, gallery=lambda rows: plate[rows][:, None] != plate, ties="pos_first")
    np.testing.assert_allclose(away.score, cross["average_precision"], atol=2e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_order_and_scale_do_not_matter(seed: int, factor: float) -> None:
    """Shuffled rows, and rows times one factor, have the scores they had."""
    profiles, label = make(seed, n=40)
    order = np.random.default_rng(seed).permutation(40)
    once = retrieve(unit_rows(profiles), label).score
    np.testing.assert_allclose(retrieve(unit_rows(profiles[order] * factor), label[order]).score, once[order])


@pytest.mark.parametrize(("n", "width"), [(67, 384), (513, 33), (300, 1_536)])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_constant_embedding_scores_the_prevalence(n: int, width: int, kind: type[np.floating]) -> None:
    """Equal vectors tie whatever the matrix product makes of its edges: the score is M / L, never 1."""
    rng = np.random.default_rng(n)
    label = np.arange(n) % 8
    units = unit_rows(np.tile(rng.standard_normal(width), (n, 1))).astype(kind)
    ranked = retrieve(units, label, block=100)
    np.testing.assert_allclose(ranked.score, ranked.relevant / ranked.gallery, rtol=1e-12)
    assert retrieve(units, label, ties="pos_first").score.min() == 1


def test_random_embeddings_score_chance() -> None:
    """Without any effect the mean lies within 4 standard errors of the expectation."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(8), 50)
    ranked = retrieve(unit_rows(rng.standard_normal((400, 64))), label)
    chance = expected_average_precision(ranked.relevant, ranked.gallery)
    assert abs((ranked.score - chance).mean()) < 4 * (ranked.score - chance).std() / np.sqrt(400)


def test_single_precision_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of rows similarities are float32, which moves the mean by less than 1e-5."""
    profiles, label = make(6, n=600, width=50)
    exact = retrieve(unit_rows(profiles), label).score.mean()
    monkeypatch.setattr("harness.tasks.metrics.retrieval.LARGEST_EXACT", 599)
    units = unit_rows(profiles)
    assert units.dtype == np.float32
    assert abs(retrieve(units, label).score.mean() - exact) < 1e-5


def test_zero_profile_is_like_nothing() -> None:
    """A zero row has similarity 0 to all, so it scores the prevalence."""
    profiles, label = make(7, n=30)
    profiles[4] = 0
    ranked = retrieve(unit_rows(profiles), label)
    assert ranked.score[4] == pytest.approx(ranked.relevant[4] / 29)


def test_extreme_values_keep_their_direction() -> None:
    """Rows whose squares over- or underflow still get length 1."""
    units = unit_rows(np.array([[3e200, 4e200], [3e-200, 4e-200]]))
    np.testing.assert_allclose(units, [[0.6, 0.8], [0.6, 0.8]])


def test_query_without_relevant_item_is_undefined() -> None:
    """A label of one row has nothing to find: NaN, M = 0."""
    ranked = retrieve(unit_rows(np.eye(4)), np.array([0, 0, 1, 2]))
    assert np.isnan(ranked.score).tolist() == [False, False, True, True]
    assert ranked.relevant.tolist() == [1, 1, 0, 0]


def test_no_queries_give_no_scores() -> None:
    """An empty list of queries is no error."""
    assert retrieve(np.eye(3), np.zeros(3, dtype=np.int64), queries=np.zeros(0, dtype=np.int64)).score.shape == (0,)


def test_nan_is_refused() -> None:
    """A profile with NaN has no direction."""
    with pytest.raises(ValueError, match="NaN or infinite"):
        unit_rows(np.array([[1.0, np.nan]]))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_values_agree_with_scipy(p_values: list[float]) -> None:
    """Benjamini-Hochberg equals scipy's, keeps the order of p-values and passes NaN through."""
    p = np.array(p_values)
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), atol=1e-12)
    with_gap = benjamini_hochberg(np.append(p, np.nan))
    np.testing.assert_allclose(with_gap[:-1], benjamini_hochberg(p))
    assert np.isnan(with_gap[-1])


def test_p_value_beyond_one_is_refused() -> None:
    """A p-value lies in 0 .. 1."""
    with pytest.raises(ValueError, match="outside"):
        benjamini_hochberg(np.array([0.5, 1.5]))


@pytest.mark.parametrize(("relevant", "gallery"), [(1, 5), (2, 40), (6, 20), (30, 31), (3, 3)])
def test_random_rankings_have_their_expectation(relevant: int, gallery: int) -> None:
    """Few and many relevant items, drawn by either route, average to the closed form within 5 standard errors."""
    draws = random_average_precision(relevant, gallery, 4_000, np.random.default_rng(1))
    error = draws.std() / np.sqrt(len(draws))
    assert abs(draws.mean() - expected_average_precision(relevant, gallery)) <= 5 * error + 1e-12
    assert draws.min() > 0
    assert draws.max() <= 1


def test_all_rankings_of_a_small_gallery_are_equally_likely() -> None:
    """Two of four items: six equally likely sets of ranks, each within 5 standard errors."""
    draws = random_average_precision(2, 4, 60_000, np.random.default_rng(2))
    sets = [(1 / a + 2 / b) / 2 for a in range(1, 5) for b in range(a + 1, 5)]
    for value in set(sets):
        share = sets.count(value) / 6
        assert abs(np.isclose(draws, value).mean() - share) < 5 * np.sqrt(share * (1 - share) / len(draws))


def test_null_narrows_with_queries_and_has_no_memory() -> None:
    """Sixteen queries narrow the null by four; what was drawn before changes nothing."""
    many = np.full(16, 3)
    single, mean = null_of_mean(many[:1], many[:1] * 10, 4_000, 0), null_of_mean(many, many * 10, 4_000, 0)
    assert mean.std() == pytest.approx(single.std() / 4, rel=0.1)
    np.testing.assert_array_equal(null_of_mean(many[:1], many[:1] * 10, 4_000, 0), single)
    assert not np.array_equal(null_of_mean(many[:1], many[:1] * 10, 4_000, 1), single)


def test_p_values_by_unit() -> None:
    """Each unit is tested against its own queries in any order; a unit without queries has no p-value."""
    unit, relevant, gallery = np.array([2, 0, 2, 0]), np.array([2, 3, 1, 3]), np.array([9, 9, 9, 9])
    observed = np.array([0.9, np.nan, 0.1])
    nulls: dict[bytes, np.ndarray] = {}
    p = p_values_by_unit(observed, unit, relevant, gallery, nulls, size=500, seed=3)
    expected = permutation_p_value(0.1, null_of_mean(np.array([1, 2]), np.array([9, 9]), 500, 3))
    assert p[2] == expected
    assert np.isnan(p[1])
    assert p[0] < 0.05
    assert len(nulls) == 2
    order = np.array([2, 1, 0, 3])
    again = p_values_by_unit(observed, unit[order], relevant[order], gallery[order], {}, size=500, seed=3)
    np.testing.assert_array_equal(again, p)


def test_impossible_ranking_is_refused() -> None:
    """There is no ranking of more relevant items than items, or of none."""
    for relevant, gallery in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="expected 1 <= relevant"):
            random_average_precision(relevant, gallery, 1, np.random.default_rng(0))
