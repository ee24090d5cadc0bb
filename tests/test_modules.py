"""Co-expression modules: a worked case, a naive clustering, properties."""

from __future__ import annotations

import numpy as np
from harness.tasks.metrics.modules import coexpression_modules
from hypothesis import given, settings
from hypothesis import strategies as st


def naive_modules(targets: np.ndarray, cut: float = 0.7) -> list[str]:
    """Merge the two nearest clusters until the nearest are further than the cut."""
    genes = range(targets.shape[1])
    distance = {(a, b): 1 - np.corrcoef(targets[:, a], targets[:, b])[0, 1] for a in genes for b in genes}
    clusters = [[gene] for gene in genes]
    while len(clusters) > 1:
        pairs = [(a, b) for b in range(len(clusters)) for a in range(b)]
        height = {
            pair: np.mean([distance[x, y] for x in clusters[pair[0]] for y in clusters[pair[1]]]) for pair in pairs
        }
        first, second = min(pairs, key=height.__getitem__)
        if height[first, second] > cut:
            break
        clusters[first] += clusters.pop(second)
    ordered = sorted(clusters, key=min)
    return [next(f"m{index:02d}" for index, cluster in enumerate(ordered) if gene in cluster) for gene in genes]


def test_two_programmes_and_a_loner() -> None:
    """Genes 0 and 2 rise together, 1 and 4 fall together, 3 is alone; numbers follow the first gene."""
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 200))
    noise = 0.1 * rng.standard_normal((5, 200))
    targets = np.array([one, two, one, rng.standard_normal(200), two]) + noise
    assert coexpression_modules(targets.T) == ("m00", "m01", "m00", "m02", "m01")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_agrees_with_naive_average_linkage(seed: int) -> None:
    """Correlated random genes fall into the clusters of the textbook algorithm."""
    rng = np.random.default_rng(seed)
    targets = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 9)) + rng.standard_normal((30, 9))
    assert [*coexpression_modules(targets)] == naive_modules(targets)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_samples_and_scale_do_not_matter(seed: int) -> None:
    """Permuting samples or scaling a gene upwards keeps the modules."""
    rng = np.random.default_rng(seed)
    targets = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 6)) + rng.standard_normal((20, 6))
    changed = targets[rng.permutation(20)] * rng.uniform(0.5, 2, 6)
    assert coexpression_modules(changed) == coexpression_modules(targets)


def test_constant_genes_are_modules_of_their_own() -> None:
    """Two constant genes correlate with nothing, one another included."""
    targets = np.column_stack([np.ones(5), np.arange(5.0), np.full(5, 0.1), np.arange(5.0)])
    assert coexpression_modules(targets) == ("m00", "m01", "m02", "m01")
    assert coexpression_modules(targets[:, :2]) == ("m00", "m01")
