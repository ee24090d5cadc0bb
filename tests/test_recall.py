"""Cosine maps, recall in tails, and ranked lists against plain loops, by hand and on real profiles."""

from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from harness.tasks.metrics import cosine_map, recall
from harness.tasks.metrics.chance import expected_average_precision
from harness.tasks.metrics.cosine_map import map_cosines, pool_rows
from harness.tasks.metrics.known_pairs import Pairs, code_pairs
from harness.tasks.metrics.ranked_lists import score_lists
from harness.tasks.metrics.recall import TAILS, Tail, find_hits, find_query_hits
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared
from recall_factory import SOURCES, read_expected, read_relations
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

PERISCOPE = SHARED / "data/profiles/periscope_hela_hplm"


def find_plainly(null: np.ndarray, query: np.ndarray, tail: Tail) -> list[bool]:
    """Count for every query, and compare float64 shares."""
    below = [sum(value < one for value in null) / len(null) for one in query]
    at_most = [sum(value <= one for value in null) / len(null) for one in query]
    return [
        (tail.low is not None and upto <= tail.low) or (tail.high is not None and under >= tail.high)
        for under, upto in zip(below, at_most, strict=True)
    ]


shares = st.one_of(st.none(), st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 0.95, 1.0]), st.floats(0, 1))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.lists(st.integers(-1, 7), max_size=10),
    st.builds(Tail, shares, shares),
)
def test_hits_equal_counting(null: list[int], query: list[int], tail: Tail) -> None:
    """Order statistics give the hits of counting, ties, empty sides and queries outside the null included."""
    values, asked = np.array(null, dtype=np.float64), np.array(query, dtype=np.float64)
    ((hits,),) = find_hits(values, [asked], [tail])
    assert hits.tolist() == find_plainly(values, asked, tail)
    assert values.tolist() == null


@pytest.mark.parametrize("total", [20, 40, 100, 101, 7, 28680, 269745, 270480])
def test_shares_that_are_whole_counts(total: int) -> None:
    """Where 0.95 N may be an integer, the float64 share decides, as it does after a sort and a search."""
    null, tails = np.arange(total, dtype=np.float64), list(TAILS.values())
    query = np.unique(np.concatenate([np.floor(total * share) + np.arange(-3, 4) for share in (0.05, 0.1, 0.9, 0.95)]))
    left, right = (np.searchsorted(null, query, side=side) / total for side in ("left", "right"))
    for (hits,), tail in zip(find_hits(null, [query], tails), tails, strict=True):
        low, high = (-1.0 if tail.low is None else tail.low), (2.0 if tail.high is None else tail.high)
        assert hits.tolist() == ((right <= low) | (left >= high)).tolist()


def test_a_map_of_equal_values_scores_nothing() -> None:
    """Ties with the threshold are misses."""
    for (hits,) in find_hits(np.zeros(100), [np.zeros(10)], list(TAILS.values())):
        assert not hits.any()
    with pytest.raises(ValueError, match="the null is empty"):
        find_hits(np.zeros(0), [np.zeros(1)], [TAILS["top5"]])


@needs_shared
def test_direct_cases_of_the_original() -> None:
    """Small nulls with ties give the recalls of the original code."""
    for case in read_expected("gene_gene")["ties"]:
        null, query = (np.array(case[key], dtype=np.float64) for key in ("null", "query"))
        for low, high in case["pairs"]:
            ((hits,),) = find_hits(null, [query], [Tail(low, high)])
            assert hits.mean() == pytest.approx(case["out"][f"recall_{low}_{high}"], abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 45), st.booleans())
def test_query_hits_equal_counting(seed: int, n: int, ties: bool) -> None:
    """The nearest ceil(5 %) of the others, a tie with the last of them being a hit."""
    rng = np.random.default_rng(seed)
    profiles = rng.integers(-1, 2, size=(n, 3)) + 0.0 if ties else rng.standard_normal((n, 5))
    square = map_cosines(profiles).square()
    first, second = np.triu_indices(n, 1)
    near = find_query_hits(square, Pairs(first, second))
    most = math.ceil((n - 1) / 20)
    for query, other, hits in ((first, second, near[0]), (second, first, near[1])):
        expected = [
            sum(square[a, c] > square[a, b] for c in range(n) if c != a) < most
            for a, b in zip(query, other, strict=True)
        ]
        assert hits.tolist() == expected


def test_cosines_agree_with_scikit_learn() -> None:
    """Every pair stands once, in the order of the upper triangle, over several blocks of rows too."""
    profiles = np.random.default_rng(0).standard_normal((2100, 6))
    cosines = map_cosines(profiles)
    expected = cosine_similarity(profiles)
    i, j = np.triu_indices(2100, 1)
    np.testing.assert_allclose(cosines.triangle, expected[i, j], atol=1e-14)
    assert np.array_equal(cosines.read(i, j), cosines.triangle)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(cosines.square(), expected, atol=1e-14)
    np.testing.assert_allclose(cosines.square(40), expected[:40, :40], atol=1e-14)


def test_rows_that_are_rounding_noise_are_zero() -> None:
    """A norm of at most 1e-9 of the median counts as 0: cosine 0 with everything."""
    profiles = np.eye(4) + 1.0
    profiles[2] *= 1e-12
    cosines = map_cosines(profiles)
    assert cosines.zero.tolist() == [False, False, True, False]
    assert not cosines.square()[2].any()
    assert not map_cosines(np.zeros((3, 2))).triangle.any()
    assert map_cosines(np.zeros((3, 0))).zero.all()


@pytest.mark.parametrize("how", ["mean", "median"])
def test_pooling_agrees_with_pandas(how: str) -> None:
    """Groups in any order of rows, rows of no group left out."""
    rng = np.random.default_rng(1)
    features, codes = rng.standard_normal((200, 3)), rng.integers(-1, 7, size=200)
    expected = pd.DataFrame(features).groupby(codes).agg(how).loc[0:].to_numpy()
    np.testing.assert_allclose(pool_rows(features, codes, 7, how), expected, atol=1e-14)
    with pytest.raises(ValueError, match="without rows"):
        pool_rows(features, codes, 8, how)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_pairs_found_equal_a_search(seed: int) -> None:
    """Pairs with both ends in the map, as rows in ascending order, whatever the order of the map."""
    rng = np.random.default_rng(seed)
    listed = sorted({tuple(sorted(rng.choice(list("ABCDEFGH"), 2, replace=False))) for _ in range(12)})
    names = [str(name) for name in rng.permutation(list("ABCDEXY"))]
    pairs = code_pairs({"one": listed, "none": []}).locate(names)
    expected = [sorted((names.index(a), names.index(b))) for a, b in listed if a in names and b in names]
    assert np.column_stack([pairs["one"].first, pairs["one"].second]).tolist() == expected
    assert len(pairs["none"]) == 0


@needs_shared
@pytest.mark.parametrize("variant", ["as_given", "zscore_per_pc", "plus_constant_100"])
def test_real_profiles(variant: str) -> None:
    """Profiles of 3,454 knockouts give the stored recalls to 1e-6 or one pair."""
    table = pd.read_csv(PERISCOPE / "HeLa_HPLM_hit_list_PCA.csv.gz", index_col=0, keep_default_na=False)
    profiles = table.to_numpy(dtype=np.float64)
    if variant == "zscore_per_pc":
        profiles = profiles / profiles.std(axis=0)
    if variant == "plus_constant_100":
        profiles = profiles + 100
    expected = json.loads((PERISCOPE / "expected.json").read_text())[variant]
    cosines = map_cosines(profiles)
    located = code_pairs({source: read_relations()[source].pairs for source in SOURCES}).locate(list(table.index))
    queries = [cosines.read(pairs.first, pairs.second) for pairs in located.values()]
    square = cosines.square()
    found = dict(zip(TAILS, find_hits(cosines.triangle, queries, list(TAILS.values())), strict=True))
    for index, (source, pairs) in enumerate(located.items()):
        facts = expected[source]
        assert (len(pairs), len(cosines.triangle)) == (facts["n_pairs"], facts["n_null"])
        for tail, hits in found.items():
            assert hits[index].mean() == pytest.approx(facts[f"recall_{tail}"], abs=1e-6), (source, tail)
        near = np.concatenate(find_query_hits(square, pairs)).mean()
        assert near == pytest.approx(facts["recall_top5_per_query"], abs=1e-6), source


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 12), st.booleans())
def test_ranked_lists_agree_with_scikit_learn(seed: int, positives: int, others: int, ties: bool) -> None:
    """Average precision and area of each of several lists, ties grouped, to 1e-12."""
    rng = np.random.default_rng(seed)
    shape = (2, 3, positives + others)
    scores = rng.integers(0, 4, size=shape) / 4 if ties else rng.random(shape)
    found = score_lists(scores, positives)
    relevant = np.arange(shape[-1]) < positives
    for at in np.ndindex(2, 3):
        assert found.average_precision[at] == pytest.approx(average_precision_score(relevant, scores[at]), abs=1e-12)
        assert found.auc[at] == pytest.approx(roc_auc_score(relevant, scores[at]), abs=1e-12)


def test_ranked_lists_without_either_sort() -> None:
    """No relevant item: undefined; nothing but relevant ones: precision 1, area undefined."""
    assert np.isnan(score_lists(np.ones((2, 3)), 0).average_precision).all()
    full = score_lists(np.ones((2, 3)), 3)
    assert full.average_precision.tolist() == [1, 1]
    assert np.isnan(full.auc).all()
    with pytest.raises(ValueError, match="4 relevant of 3"):
        score_lists(np.ones(3), 4)


@pytest.mark.parametrize(("positives", "items"), [(1, 1), (1, 4), (2, 5), (3, 6), (6, 6)])
def test_chance_is_the_mean_over_all_orders(positives: int, items: int) -> None:
    """The closed form equals the mean average precision over every permutation."""
    orders = np.array(list(permutations(range(items))), dtype=np.float64)
    expected = score_lists(orders, positives).average_precision.mean()
    assert expected_average_precision(positives, items).item() == pytest.approx(expected, abs=1e-12)


def test_chance_of_long_lists_and_bad_counts() -> None:
    """Beyond the table of harmonic numbers the series goes on smoothly; impossible counts are refused."""
    items = np.array([4095, 4096, 4097, 4098, 20_000])
    harmonic = np.array([math.fsum(1 / np.arange(1, n + 1)) for n in items])
    np.testing.assert_allclose(expected_average_precision(1, items), harmonic / items, rtol=1e-14)
    for positives, count in ((2, 1), (-1, 3), (1.5, 3)):
        with pytest.raises(ValueError, match="whole numbers"):
            expected_average_precision(positives, count)


@pytest.mark.parametrize("block", [1, 7, 30, 99])
def test_blocks_of_a_map_do_not_change_it(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The triangle holds the upper half of all cosines row by row, whatever the block; a zero vector has cosine 0."""
    rng = np.random.default_rng(3)
    profiles = rng.standard_normal((30, 5))
    profiles[4] = 0.0
    monkeypatch.setattr(cosine_map, "_BLOCK", block)
    found = cosine_map.map_cosines(profiles)
    unit = profiles / np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(found.triangle, (unit @ unit.T)[np.triu_indices(30, 1)], rtol=0, atol=1e-15)
    assert np.flatnonzero(found.zero).tolist() == [4]
    assert cosine_map.map_cosines(np.zeros((3, 0))).triangle.tolist() == [0.0, 0.0, 0.0]


def test_every_rank_that_is_asked_for_is_found() -> None:
    """As a sort gives them, with many equal values, whichever ranks are asked for together."""
    rng = np.random.default_rng(4)
    values = rng.integers(0, 40, 300).astype(float)
    ordered = np.sort(values)
    for ranks in ({0}, {299}, {0, 299}, {14, 29, 269, 284}, set(range(300)), set(rng.integers(0, 300, 25).tolist())):
        assert recall._select(values, ranks) == {rank: ordered[rank] for rank in ranks}
