"""The linear probe on small datasets in memory: choice of the penalty, units, notes, refusals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from harness.tasks.metrics.logistic import column_scaling, fit_logistic, predict
from harness.tasks.protocols.linear_probe import PROTOCOL, Params
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.tree import DecisionTreeClassifier

from harness.errors import DamagedFileError, UsageError
from harness.hashing import canonical_json
from harness.scoring import stack
from harness.summary import summarise
from harness.types import Embeddings, Evaluation

METRICS = ("f1_macro", "f1_worst", "f1_best", "accuracy")


@dataclass(frozen=True)
class Labelled:
    """Labels and splits in memory, with the features they belong to."""

    features: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    data_hash: str = ""

    @property
    def ids(self) -> list[str]:
        return [f"s/{row}" for row in range(len(self.features))]

    def fingerprint(self, view: str) -> str:
        return view

    def read(self, view: str, start: int, stop: int) -> Any:
        raise NotImplementedError

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return features and labels of a split."""
        return self.features[self.split == name], self.labels[self.split == name]


def make(seed: int = 0, sizes: tuple[int, int, int] = (60, 30, 40), classes: int = 3, noise: float = 1.0) -> Labelled:
    """Draw points about one centre a class; each split takes the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(size) % classes for size in sizes])
    centres = rng.standard_normal((classes, 4))
    features = centres[labels] + noise * rng.standard_normal((len(labels), 4))
    split = np.repeat(["train", "val", "test"], sizes)
    return Labelled(features.astype(np.float32), labels, split, tuple(f"c{name}" for name in range(classes)))


def evaluate(data: Any, seed: int = 0, **params: Any) -> Evaluation:
    """Run the protocol."""
    embeddings = Embeddings(tuple(data.ids), data.features, "last", seed, "")
    return PROTOCOL.evaluate(embeddings, data, Params.model_validate(params), seed)


def headlines(evaluation: Evaluation) -> dict[str, float | None]:
    """Recompute every metric from its units, as a result does."""
    return {name: summarise(stack([units], [0])).value for name, units in evaluation.units.items()}


def test_ties_take_the_larger_penalty() -> None:
    """Where all penalties classify the validation split perfectly, the largest is chosen, in whatever order."""
    data = make(noise=0.05)
    for lambdas in ([1e-3, 1e-2, 1e-1], [1e-1, 1e-3, 1e-2]):
        facts = evaluate(data, lambdas=lambdas).diagnostics
        assert facts["path.lambda"] == [1e-1, 1e-2, 1e-3]
        assert facts["path.val_f1_macro"] == [1.0, 1.0, 1.0]
        assert facts["lambda"] == 1e-1


def test_the_penalty_is_chosen_on_the_validation_split() -> None:
    """The first penalty of highest validation F1 is taken, and that F1 is scikit-learn's; too strong a one loses."""
    data = make(1)
    kept = (data.split != "train") | (data.labels != 2) | (np.arange(len(data.labels)) % 9 == 2)
    data = replace(data, features=data.features[kept], labels=data.labels[kept], split=data.split[kept])
    lambdas = [1000.0, 1.0, 0.1, 1e-3]
    facts = evaluate(data, lambdas=lambdas).diagnostics
    (x, y), (x_val, y_val) = data.part("train"), data.part("val")
    mean, scale = x.astype(np.float64).mean(axis=0), x.astype(np.float64).std(axis=0)
    expected = []
    for penalty in lambdas:
        model = LogisticRegression(C=1 / (len(y) * penalty), tol=1e-10, max_iter=10_000).fit((x - mean) / scale, y)
        expected.append(f1_score(y_val, model.predict((x_val - mean) / scale), average="macro"))
    assert expected[0] < max(expected)
    np.testing.assert_allclose(facts["path.val_f1_macro"], expected)
    assert facts["lambda"] == lambdas[int(np.argmax(expected))]
    assert facts["converged"] is True


def test_nothing_is_fitted_on_validation_or_test() -> None:
    """The scored predictions are those of the chosen fit on the training split alone, scaled by it alone."""
    data = make(2, sizes=(60, 60, 80))
    evaluation = evaluate(data)
    (x, y), (x_test, y_test) = data.part("train"), data.part("test")
    scaling, chosen = column_scaling(x), evaluation.diagnostics["lambda"]
    fit = fit_logistic((x - scaling.mean) / scaling.scale, y, 3, [chosen])[chosen]
    predicted = predict(fit, x_test, scaling)
    expected = f1_score(y_test, predicted, average=None)
    np.testing.assert_allclose(evaluation.units["f1_macro"].value, expected)
    moved = data.features.copy()
    moved[data.split == "val"] *= -50
    one = evaluate(data, lambdas=[chosen])
    other = evaluate(replace(data, features=moved), lambdas=[chosen])
    for name in METRICS:
        assert np.array_equal(one.units[name].value, other.units[name].value)


def test_units_are_the_classes() -> None:
    """Every metric has one unit a class, in the order of the names, in fold 0."""
    evaluation = evaluate(make(3))
    assert set(evaluation.units) == set(METRICS) == set(PROTOCOL.metrics)
    for units in evaluation.units.values():
        assert (units.kind, units.unit, units.fold.tolist()) == ("class", ("c0", "c1", "c2"), [0, 0, 0])
    assert [evaluation.units[name].reduce for name in METRICS] == ["mean", "min", "max", "mean"]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.1, 5))
def test_headlines_follow_from_the_units(seed: int, classes: int, noise: float) -> None:
    """Worst <= macro <= best, and the weighted units give scikit-learn's accuracy and macro-F1 of the predictions."""
    data = make(seed, (8 * classes, 3 * classes, 7 * classes - 2), classes, noise)
    evaluation = evaluate(data, lambdas=[0.1])
    found = headlines(evaluation)
    assert found["f1_worst"] <= found["f1_macro"] <= found["f1_best"]
    (x, y), (x_test, y_test) = data.part("train"), data.part("test")
    scaling = column_scaling(x)
    predicted = predict(fit_logistic((x - scaling.mean) / scaling.scale, y, classes, [0.1])[0.1], x_test, scaling)
    assert found["accuracy"] == pytest.approx(accuracy_score(y_test, predicted))
    assert found["f1_macro"] == pytest.approx(f1_score(y_test, predicted, average="macro", labels=range(classes)))
    assert not any(np.isnan(units.value).any() for units in evaluation.units.values())


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1_000), st.sampled_from([0.01, 1.0, 1000.0]), st.floats(-10, 10))
def test_scale_and_offset_of_the_features_do_not_matter(seed: int, scale: float, offset: float) -> None:
    """Standardised features forget their unit and their origin, but for one sample on the border at most."""
    data = make(seed, noise=0.7)
    moved = replace(data, features=(data.features.astype(np.float64) * scale + offset * scale))
    one, other = evaluate(data, lambdas=[0.1]), evaluate(moved, lambdas=[0.1])
    for name in METRICS:
        np.testing.assert_allclose(one.units[name].value, other.units[name].value, atol=0.1)
    assert headlines(one)["accuracy"] == pytest.approx(headlines(other)["accuracy"], abs=1 / 40 + 1e-9)


def test_features_can_be_taken_as_they_are() -> None:
    """Without standardisation the probe equals scikit-learn's on the plain features."""
    data = make(5)
    x, y = data.part("train")
    x_test, y_test = data.part("test")
    model = LogisticRegression(C=1 / (len(y) * 0.1), tol=1e-10, max_iter=10_000).fit(x * [1, 1, 1, 30], y)
    scaled = replace(data, features=(data.features * [1, 1, 1, 30]).astype(np.float32))
    expected = f1_score(y_test, model.predict(x_test * [1, 1, 1, 30]), average=None)
    found = evaluate(scaled, lambdas=[0.1], standardise=False).units["f1_macro"].value
    np.testing.assert_allclose(found, expected)


def test_a_search_cut_short_becomes_a_note() -> None:
    """Each penalty whose search did not converge is named, with its gradient and the tolerance."""
    evaluation = evaluate(make(6), lambdas=[1.0, 1e-4], max_iterations=1)
    assert evaluation.diagnostics["path.converged"] == [False, False]
    assert len(evaluation.notes) == 2
    assert "lambda 1 did not converge in 1 iterations" in evaluation.notes[0]
    assert "lambda 0.0001 did not converge" in evaluation.notes[1]
    assert "tolerance 1.0e-05" in evaluation.notes[1]
    assert evaluate(make(6), lambdas=[1.0, 1e-4]).notes == ()


def test_remarks_of_the_dataset_become_notes() -> None:
    """What a dataset has to say comes first, whichever head is used."""
    data = replace(make(7), remarks=("3 samples are odd",))
    assert evaluate(data, lambdas=[1e-4], max_iterations=1).notes[0] == "3 samples are odd"
    assert evaluate(data, head="tree").notes == ("3 samples are odd",)


@pytest.mark.parametrize("leaf", [1, 5, 20])
def test_the_tree_is_scikit_learns(leaf: int) -> None:
    """The tree head gives the scores of scikit-learn's tree on the features as they are, without validation."""
    data = make(8, sizes=(90, 0, 60), noise=2.0)
    counts = replace(data, features=(100 + 10 * data.features[:, :1]).round())
    (x, y), (x_test, y_test) = counts.part("train"), counts.part("test")
    tree = DecisionTreeClassifier(min_samples_leaf=leaf, random_state=3).fit(x, y)
    evaluation = evaluate(counts, seed=3, head="tree", tree_min_leaf=leaf)
    expected = f1_score(y_test, tree.predict(x_test), average=None)
    np.testing.assert_allclose(evaluation.units["f1_macro"].value, expected)
    assert headlines(evaluation)["accuracy"] == pytest.approx(tree.score(x_test, y_test))
    facts = evaluation.diagnostics
    assert facts == {"head": "tree", "leaves": tree.get_n_leaves(), "depth": tree.get_depth()}


def test_an_empty_validation_split_leaves_no_choice() -> None:
    """Several penalties without validation samples are refused with the key to set; one is taken as it is."""
    data = make(9, sizes=(60, 0, 40))
    with pytest.raises(UsageError, match=r"validation split is empty.*protocol\.params\.lambdas"):
        evaluate(data)
    facts = evaluate(data, lambdas=[0.1]).diagnostics
    assert (facts["lambda"], facts["path.val_f1_macro"]) == (0.1, [None])


def test_nan_never_reaches_a_result() -> None:
    """Without validation, or with a class the test split lacks, facts and units hold null, and headlines a number."""
    data = make(10, sizes=(60, 0, 40), noise=0.05)
    data = replace(data, split=np.where((data.split == "test") & (data.labels == 2), "val", data.split))
    cases = (evaluate(data), evaluate(data, head="tree"), evaluate(make(11, sizes=(60, 0, 40)), lambdas=[1.0]))
    for evaluation in cases:
        canonical_json(dict(evaluation.diagnostics))
        for units in evaluation.units.values():
            block = stack([units], [0])
            canonical_json(block.model_dump())
            assert summarise(block).value is not None
    units = cases[0].units
    assert stack([units["f1_macro"]], [0]).value == [1.0, 1.0, None]
    assert stack([units["accuracy"]], [0]).weight == [14.0, 13.0, 0.0]
    assert headlines(cases[0]) == dict.fromkeys(METRICS, 1.0)


def test_equal_inputs_give_equal_bytes() -> None:
    """Two evaluations agree in every bit of units and facts, and leave the features alone."""
    data = make(12)
    before = data.features.copy()
    one, other = evaluate(data), evaluate(data)
    assert one.diagnostics == other.diagnostics
    for name in METRICS:
        assert one.units[name].value.tobytes() == other.units[name].value.tobytes()
    assert np.array_equal(data.features, before)


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"lambdas": []}, "lambdas"),
        ({"lambdas": [0.0, 1.0]}, "lambdas"),
        ({"lambdas": [1.0, 1.0]}, "lambdas"),
        ({"lambdas": ["1e-4"]}, "lambdas"),
        ({"lambdas": [float("nan")]}, "lambdas"),
        ({"tolerance": 0}, "tolerance"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"tree_min_leaf": 0}, "tree_min_leaf"),
        ({"head": "forest"}, "head"),
        ({"lambda": 1.0}, "lambda"),
    ],
)
def test_bad_parameters_name_their_key(params: dict[str, Any], key: str) -> None:
    """Each value out of range is refused at its key."""
    with pytest.raises(ValidationError) as failure:
        Params.model_validate(params)
    assert {str(error["loc"][0]) for error in failure.value.errors()} == {key}


def test_a_dataset_without_labels_is_refused() -> None:
    """The message names what is missing and whose it is."""

    class Bare:
        ids = ("a",)
        features = np.zeros((1, 1), dtype=np.float32)

    with pytest.raises(UsageError, match=r"linear-probe needs labels, class_names and split, which Bare"):
        evaluate(Bare())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.zeros(5, dtype=np.int64)}, "6 samples, 5 labels, 6 split entries"),
        ({"split": np.array(["train"] * 3 + ["dev"] * 3)}, "unknown split 'dev'"),
        ({"labels": np.array([0, 1, 2, 0, 1, 0])}, r"whole numbers in 0\.\.1"),
        ({"labels": np.array([0, 1, -1, 0, 1, 0])}, r"whole numbers in 0\.\.1"),
        ({"labels": np.array([0, 1, 0.5, 0, 1, 0])}, r"whole numbers in 0\.\.1"),
        ({"labels": np.array([0, 0, 0, 0, 1, 1])}, r"no training sample for 1 of 2 classes \(b\)"),
        ({"split": np.array(["train"] * 4 + ["val"] * 2)}, "the test split is empty"),
    ],
)
def test_contradicting_labels_are_damage(changes: dict[str, Any], words: str) -> None:
    """Columns that do not fit one another are refused with what is wrong."""
    labels, split = np.array([0, 1, 0, 1, 0, 1]), np.array(["train", "train", "train", "val", "test", "test"])
    data = Labelled(np.zeros((6, 2), dtype=np.float32), labels, split, ("a", "b"))
    with pytest.raises(DamagedFileError, match=words):
        evaluate(replace(data, **changes))
