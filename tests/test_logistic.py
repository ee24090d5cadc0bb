"""Logistic regression and classification kernels: worked cases, naive twins, scikit-learn, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from harness.tasks.metrics.classification import confusion_matrix, f1_by_class, recall_by_class
from harness.tasks.metrics.logistic import LogisticFit, Scaling, column_scaling, fit_logistic, predict
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix as scikit_confusion
from sklearn.metrics import f1_score, recall_score

PENALTIES = (10.0, 1.0, 1e-2, 1e-4)
SHAPES = {
    "tall": (200, 10, 1.0),
    "tall, ill-conditioned": (300, 60, 1e4),
    "wide": (40, 90, 1.0),
    "square": (30, 30, 1e3),
}
LABELS = st.integers(1, 5).flatmap(
    lambda k: st.tuples(
        st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=30)
    )
)


def make(seed: int, n: int, width: int, condition: float, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised features of a given condition, and labels that depend on them with much noise."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(2)]
    x = rng.standard_normal((n, width)) @ (turns[0] * np.geomspace(1, 1 / condition, width)) @ turns[1]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    scores = x @ rng.standard_normal((width, classes)) / np.sqrt(width) + rng.gumbel(size=(n, classes))
    labels = scores.argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return x, labels.astype(np.int64)


def objective(both: np.ndarray, x: np.ndarray, labels: np.ndarray, penalty: float) -> float:
    """Mean cross-entropy + penalty / 2 * (sum of squared weights), sample by sample; last column = intercepts."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        scores = both[:, :-1] @ row + both[:, -1]
        top = scores.max()
        total += top + math.log(sum(math.exp(score - top) for score in scores)) - scores[label]
    return total / len(x) + penalty / 2 * float((both[:, :-1] ** 2).sum())


def gradient(fit: LogisticFit, x: np.ndarray, labels: np.ndarray, penalty: float) -> np.ndarray:
    """Return the gradient (K, D + 1) of the objective by its formula."""
    scores = x @ fit.weights.T + fit.intercept
    chance = np.exp(scores - scores.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    chance[np.arange(len(x)), labels] -= 1
    return np.column_stack([chance.T @ x / len(x) + penalty * fit.weights, chance.mean(axis=0)])


def farthest(tolerance: float, penalty: float, unknowns: int) -> float:
    """Return how far weights may lie from the minimum: the objective is curved by at least the penalty."""
    return tolerance * math.sqrt(unknowns) / penalty


def test_two_samples_by_hand() -> None:
    """X = 1, -1 of classes 1, 0 gives weights -w, w with penalty = 1 / (w (1 + e^2w)); w = 1/2 at 2 / (1 + e)."""
    penalty = 2 / (1 + math.e)
    fit = fit_logistic(np.array([[1.0], [-1.0]]), np.array([1, 0]), 2, [penalty], tolerance=1e-9)[penalty]
    np.testing.assert_allclose(fit.weights, [[-0.5], [0.5]], atol=1e-8)
    np.testing.assert_allclose(fit.intercept, [0.0, 0.0], atol=1e-8)
    assert fit.converged


def test_features_that_say_nothing() -> None:
    """Features of 0 get weights of 0, and intercepts whose softmax is the share of each class."""
    fit = fit_logistic(np.zeros((4, 3)), np.array([0, 1, 1, 1]), 2, [1.0], tolerance=1e-9)[1.0]
    assert (fit.weights == 0).all()
    assert fit.intercept[1] - fit.intercept[0] == pytest.approx(math.log(3), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [3, 6])
def test_agrees_with_scikit_learn(shape: str, classes: int) -> None:
    """Weights equal those of scikit-learn's Newton solver as closely as the gradient allows; intercepts may shift."""
    n, width, condition = SHAPES[shape]
    x, labels = make(0, n, width, condition, classes)
    fits = fit_logistic(x, labels, classes, PENALTIES, tolerance=1e-8)
    for penalty, fit in fits.items():
        theirs = LogisticRegression(C=1 / (n * penalty), tol=1e-10, max_iter=10_000, solver="newton-cholesky")
        theirs.fit(x, labels)
        near = farthest(1e-8, penalty, classes * (width + 1)) + 1e-7
        assert fit.converged
        np.testing.assert_allclose(fit.weights, theirs.coef_, atol=near)
        shift = theirs.intercept_.mean() - fit.intercept.mean()
        np.testing.assert_allclose(fit.intercept + shift, theirs.intercept_, atol=10 * near)


@pytest.mark.parametrize("shape", SHAPES)
def test_predicts_as_scikit_learn_does(shape: str) -> None:
    """New samples get scikit-learn's classes; at the protocol's tolerance and weakest penalty 1 in 20 may differ."""
    n, width, condition = SHAPES[shape]
    x, labels = make(1, n + 500, width, condition, 4)
    scaling = Scaling(np.zeros(width), np.ones(width))
    penalties = [10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4]
    exact, usual = (fit_logistic(x[:n], labels[:n], 4, penalties, tolerance=limit) for limit in (1e-8, 1e-5))
    for penalty in penalties:
        theirs = LogisticRegression(C=1 / (n * penalty), tol=1e-10, max_iter=10_000).fit(x[:n], labels[:n])
        scores = np.sort(theirs.decision_function(x[n:]), axis=1)
        clear = scores[:, -1] - scores[:, -2] > 1e-4 * np.ptp(scores)
        expected = theirs.predict(x[n:])
        assert clear.mean() > 0.95
        assert np.array_equal(predict(exact[penalty], x[n:], scaling)[clear], expected[clear])
        assert (predict(usual[penalty], x[n:], scaling) == expected).mean() >= 0.95


def test_two_classes_take_twice_the_c() -> None:
    """Of two classes, scikit-learn fits the difference of our weights, under twice the C."""
    x, labels = make(2, 150, 8, 10.0, 2)
    for penalty, fit in fit_logistic(x, labels, 2, [1.0, 1e-2], tolerance=1e-9).items():
        theirs = LogisticRegression(C=2 / (150 * penalty), tol=1e-10, max_iter=10_000, solver="newton-cholesky")
        theirs.fit(x, labels)
        np.testing.assert_allclose(fit.weights, np.vstack([-theirs.coef_, theirs.coef_]) / 2, atol=1e-6)
        assert fit.intercept[1] - fit.intercept[0] == pytest.approx(theirs.intercept_[0], abs=1e-6)


@pytest.mark.parametrize("shape", [(25, 4), (6, 9)])
def test_the_objective_is_flat_at_the_minimum(shape: tuple[int, int]) -> None:
    """Central differences of the stated objective vanish there, and a step away raises it."""
    n, width = shape
    x, labels = make(3, n, width, 10.0, 3)
    for penalty, fit in fit_logistic(x, labels, 3, [1.0, 1e-2], tolerance=1e-8).items():
        both = np.column_stack([fit.weights, fit.intercept])
        lowest = objective(both, x, labels, penalty)
        for place in np.ndindex(both.shape):
            step = np.zeros_like(both)
            step[place] = 1e-4
            up, down = (objective(both + sign * step, x, labels, penalty) for sign in (1, -1))
            assert abs(up - down) / 2e-4 < 2e-7
            assert min(up, down) > lowest


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(8, 40), st.integers(1, 20), st.sampled_from([10.0, 1e-1, 1e-3]))
def test_rotated_features_rotate_the_weights(seed: int, n: int, width: int, penalty: float) -> None:
    """An orthogonal map of the features maps the weights alike and keeps every score."""
    x, labels = make(seed, n, width, 10.0, 3)
    turn = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((width, width)))[0]
    one = fit_logistic(x, labels, 3, [penalty], tolerance=1e-7)[penalty]
    other = fit_logistic(x @ turn, labels, 3, [penalty], tolerance=1e-7)[penalty]
    near = 2 * farthest(1e-7, penalty, 3 * (width + 1)) + 1e-8
    np.testing.assert_allclose(other.weights, one.weights @ turn, atol=near)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(1, 20), st.sampled_from([1.0, 1e-2, 1e-4]))
def test_the_reported_gradient_is_the_gradient(seed: int, n: int, width: int, penalty: float) -> None:
    """The largest gradient component of a fit follows from its weights, and decides whether it converged."""
    x, labels = make(seed, n, width, 100.0, 3)
    for iterations in (2, 1000):
        fit = fit_logistic(x, labels, 3, [penalty], max_iterations=iterations)[penalty]
        assert fit.largest_gradient == pytest.approx(np.abs(gradient(fit, x, labels, penalty)).max(), abs=1e-9)
        assert fit.converged == (fit.largest_gradient <= 1e-5)
    assert fit.converged


@pytest.mark.parametrize(("n", "width"), [(3000, 6), (60, 100)])
def test_a_weak_feature_beside_a_strong_one_counts(n: int, width: int) -> None:
    """Features of sd .1 that tell the classes apart are used, though another, unscaled, has an sd of a million.

    Rounding may keep the gradient along such a feature above the tolerance, but the fit does not hide it.
    """
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, n)
    x = 0.1 * rng.standard_normal((n, width))
    x[:, 1:4] += 0.5 * np.eye(3)[labels]
    x[:, 0] *= 1e7
    fit = fit_logistic(x, labels, 3, [1e-4])[1e-4]
    steepest = np.abs(gradient(fit, x, labels, 1e-4)).max()
    assert steepest < 1e-3
    assert fit.largest_gradient == pytest.approx(steepest, rel=1e-2)
    assert (predict(fit, x, Scaling(np.zeros(width), np.ones(width))) == labels).mean() > 0.95


def test_a_constant_column_counts_for_nothing() -> None:
    """A column without variance in training gets weight 0, whatever it is later."""
    for n, width in ((60, 6), (20, 40)):
        x, labels = make(5, n, width, 10.0, 3)
        wide = np.insert(x + 3, 2, 0.1, axis=1)
        scaling = column_scaling(wide)
        assert (scaling.mean[2], scaling.scale[2]) == (0.1, 1.0)
        fit = fit_logistic((wide - scaling.mean) / scaling.scale, labels, 3, [1e-2])[1e-2]
        assert np.abs(fit.weights[:, 2]).max() < 1e-14
        later = wide.copy()
        later[:, 2] = 1e6
        assert np.array_equal(predict(fit, later, scaling), predict(fit, wide, scaling))


def test_a_class_without_training_samples_is_never_predicted() -> None:
    """The intercept of an absent class falls until it counts for nothing; the others agree with a fit without it."""
    x, labels = make(6, 120, 5, 1.0, 3)
    spread = np.array([0, 1, 3])[labels]
    scaling = Scaling(np.zeros(5), np.ones(5))
    fit = fit_logistic(x, spread, 4, [1e-2], tolerance=1e-7)[1e-2]
    without = fit_logistic(x, labels, 3, [1e-2], tolerance=1e-7)[1e-2]
    assert fit.converged
    assert np.array_equal(predict(fit, x, scaling), np.array([0, 1, 3])[predict(without, x, scaling)])
    np.testing.assert_allclose(fit.weights[[0, 1, 3]], without.weights, atol=1e-3)
    np.testing.assert_allclose(fit.weights[2], 0, atol=1e-3)


def test_a_search_that_was_cut_short_says_so() -> None:
    """One iteration is not enough here: the fit reports it, with the gradient that is left."""
    x, labels = make(7, 100, 10, 10.0, 3)
    fit = fit_logistic(x, labels, 3, [1e-3], max_iterations=1)[1e-3]
    assert (fit.converged, fit.iterations) == (False, 1)
    assert fit.largest_gradient > 1e-5


def test_penalties_do_not_disturb_one_another() -> None:
    """Penalties come back from the largest to the smallest, each with the minimum it has alone."""
    x, labels = make(8, 80, 12, 10.0, 4)
    path = fit_logistic(x, labels, 4, [1e-2, 10.0, 1.0], tolerance=1e-8)
    assert list(path) == [10.0, 1.0, 1e-2]
    for penalty, fit in path.items():
        alone = fit_logistic(x, labels, 4, [penalty], tolerance=1e-8)[penalty]
        np.testing.assert_allclose(fit.weights, alone.weights, atol=2 * farthest(1e-8, penalty, 4 * 13))


def test_standardisation_and_prediction_belong_together() -> None:
    """Features as they are, with the scaling, get the classes of standardised ones; inputs stay as they were."""
    x, labels = make(9, 70, 6, 1.0, 3)
    raw = (x * np.arange(1, 7) + 100).astype(np.float32)
    before = raw.copy()
    scaling = column_scaling(raw)
    np.testing.assert_allclose(scaling.mean, raw.astype(np.float64).mean(axis=0))
    np.testing.assert_allclose(scaling.scale, raw.astype(np.float64).std(axis=0))
    scaled = (raw - scaling.mean) / scaling.scale
    kept = scaled.copy()
    fit = fit_logistic(scaled, labels, 3, [1e-2])[1e-2]
    expected = (scaled @ fit.weights.T + fit.intercept).argmax(axis=1)
    assert np.array_equal(predict(fit, raw, scaling), expected)
    assert np.array_equal(raw, before)
    assert np.array_equal(scaled, kept)


def test_ties_go_to_the_lower_class() -> None:
    """A sample that two classes claim alike gets the first of them."""
    fit = LogisticFit(np.array([[0.0], [1.0], [1.0]]), np.zeros(3), 1, 0.0, True)
    assert predict(fit, np.array([[2.0], [-2.0]]), Scaling(np.zeros(1), np.ones(1))).tolist() == [1, 0]


def test_class_scores_by_hand() -> None:
    """Truth 0 0 0 1 1 2, predicted 0 0 1 1 2 2: F1 = 4/5, 2/4, 2/3; recall = 2/3, 1/2, 1."""
    confusion = confusion_matrix(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2]), 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    np.testing.assert_allclose(f1_by_class(confusion), [4 / 5, 2 / 4, 2 / 3])
    np.testing.assert_allclose(recall_by_class(confusion), [2 / 3, 1 / 2, 1])


@settings(deadline=None)
@given(LABELS)
def test_class_scores_agree_with_naive_loops_and_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    """Counts, F1 and recall equal loops over samples, scikit-learn where defined, and add up to the accuracy."""
    classes, pairs = case
    truth, predicted = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    confusion = confusion_matrix(truth, predicted, classes)
    names = range(classes)
    assert confusion.tolist() == [[pairs.count((a, b)) for b in names] for a in names]
    if classes > 1:  # scikit-learn warns of a single class
        assert np.array_equal(confusion, scikit_confusion(truth, predicted, labels=[*names]))
    f1, recall = f1_by_class(confusion), recall_by_class(confusion)
    undefined = {"labels": [*names], "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(f1, f1_score(truth, predicted, **undefined), atol=1e-15)
    np.testing.assert_allclose(recall, recall_score(truth, predicted, **undefined), atol=1e-15)
    for name in names:
        hits, claimed, there = pairs.count((name, name)), sum(predicted == name), sum(truth == name)
        assert f1[name] == pytest.approx(2 * hits / (claimed + there) if claimed + there else np.nan, nan_ok=True)
    accuracy = np.nansum(recall * confusion.sum(axis=1)) / len(pairs)
    assert accuracy == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_classes_without_samples_or_predictions() -> None:
    """F1 is undefined for a class nobody has or names, 0 for one only named or only there; recall needs samples."""
    confusion = confusion_matrix(np.array([0, 1]), np.array([0, 2]), 4)
    np.testing.assert_array_equal(f1_by_class(confusion), [1, 0, 0, np.nan])
    np.testing.assert_array_equal(recall_by_class(confusion), [1, 0, np.nan, np.nan])


def test_confusion_refuses_what_it_cannot_count() -> None:
    """Vectors of two lengths and classes out of range are refused."""
    with pytest.raises(ValueError, match="one length"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)
    for strange in (-1, 2):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            confusion_matrix(np.array([0, strange]), np.array([0, 1]), 2)
