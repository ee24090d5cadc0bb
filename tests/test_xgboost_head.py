"""The optional head: boosted trees on the components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness.tasks.expression import ExpressionFold
from harness.tasks.protocols import expression_heads
from harness.tasks.protocols.expression_params import Params
from harness.tasks.protocols.expression_regression import PROTOCOL
from scipy.stats import pearsonr
from small_task import enter

import harness
from harness.errors import MismatchError, UsageError
from harness.plugins import load_registry
from harness.types import Embeddings

CARDS = load_registry().cards


class Table:
    """Two sections whose first gene follows the first feature."""

    def __init__(self) -> None:
        """Draw 80 samples, 6 features, 2 genes."""
        rng = np.random.default_rng(0)
        self.features = rng.normal(size=(80, 6)).astype(np.float32)
        noise = rng.normal(size=(80, 2))
        self.targets = np.log1p(np.exp(np.column_stack([self.features[:, 0] + 0.1 * noise[:, 0], noise[:, 1]])))
        self.ids = tuple(f"s/{row}" for row in range(80))
        self.section = ("a",) * 40 + ("b",) * 40
        self.genes = ("g0", "g1")
        self.clusters = ("m00", "m01")
        self.notes = ()
        self.data_hash = ""
        columns = np.arange(2)
        halves = np.arange(40), np.arange(40, 80)
        self.folds = (
            ExpressionFold(0, halves[0], halves[1], columns),
            ExpressionFold(1, halves[1], halves[0], columns),
        )

    def fingerprint(self, view: str) -> str:
        """Return nothing of use."""
        return view

    def read(self, view: str, start: int, stop: int):
        """Hold no pixels."""
        raise NotImplementedError


def evaluate(table: Table, head: str = "xgboost", **params: object):
    """Run the protocol with boosted trees."""
    embeddings = Embeddings(table.ids, table.features, "last", 0, "")
    return PROTOCOL.evaluate(embeddings, table, Params.model_validate({"head": head, **params}), 0)


def test_boosted_trees_find_the_gene_that_depends_on_a_feature() -> None:
    """PCCs equal those of a plain XGBRegressor on the components, and repeat bit by bit."""
    xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    table = Table()
    units = evaluate(table).units["pcc"]
    assert np.array_equal(units.value, evaluate(table).units["pcc"].value)
    assert units.value[0] > 0.7
    fold = table.folds[0]
    scale = StandardScaler().fit(table.features[fold.train].astype(np.float64))
    pca = PCA(6, svd_solver="full").fit(scale.transform(table.features[fold.train]))
    train, test = (pca.transform(scale.transform(table.features[rows])) for rows in (fold.train, fold.test))
    for gene in range(2):
        trees = xgboost.XGBRegressor(
            n_estimators=100, learning_rate=0.1, max_depth=3, subsample=0.8, colsample_bytree=0.8, random_state=0
        )
        predicted = trees.fit(train, table.targets[fold.train, gene]).predict(test)
        want = pearsonr(predicted, table.targets[fold.test, gene]).statistic
        assert units.value[gene] == pytest.approx(want, abs=0.1)  # signs of components are free, and trees see them


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"preset": "hest"},
        {"pca": {"small_dims": "pad"}},
        {"pca": {"small_dims": "error"}, "alpha": "cv", "intercept": True},
        {"pca": {"components": 2}},
    ],
)
def test_raw_trees_see_the_features_as_they_are(params: dict[str, object]) -> None:
    """Whatever is said of components, scores are those of a plain XGBRegressor on the features."""
    xgboost = pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    table = Table()
    found = evaluate(table, "xgboost_raw", **params)
    want = []
    for fold in table.folds:
        for gene in range(2):
            trees = xgboost.XGBRegressor(
                n_estimators=100, learning_rate=0.1, max_depth=3, subsample=0.8, colsample_bytree=0.8, random_state=0
            )
            trees.fit(table.features[fold.train], table.targets[fold.train, gene])
            predicted = trees.predict(table.features[fold.test]).astype(np.float64)
            want.append(pearsonr(predicted, table.targets[fold.test, gene]).statistic)
    np.testing.assert_allclose(found.units["pcc"].value, want, atol=1e-6)
    assert found.diagnostics["components"] == [None, None]
    assert "scikit_learn" not in found.diagnostics


def test_raw_trees_are_trees_without_components() -> None:
    """A task that sets no components and the head xgboost asks for the same."""
    pytest.importorskip("xgboost", reason="the extra xgboost is not installed")
    task = evaluate(Table(), pca={"components": None}).units["pcc"].value
    assert np.array_equal(evaluate(Table(), "xgboost_raw").units["pcc"].value, task)


@pytest.mark.parametrize("head", ["xgboost", "xgboost_raw"])
def test_the_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    """Without the library the error says what to install, before anything is fitted."""
    monkeypatch.setattr(expression_heads, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r'pip install "bioimage-harness\[xgboost\]"'):
        evaluate(Table(), head)


@pytest.mark.parametrize("name", ["cell-count", "cell-count-std"])
def test_the_cards_with_trees_ask_for_a_head_that_the_protocol_has(name: str) -> None:
    """Their card differs from the plain one by the head, which is one of the protocol's, and by the missing tiles."""
    plain, card = CARDS[name], CARDS[f"{name}-xgboost"]
    assert Params.model_validate({"head": card.head}).head == "xgboost_raw"
    changed = {"name", "label", "kwargs", "output", "options", "head", "notes"}
    assert card.model_dump(exclude=changed) == plain.model_dump(exclude=changed)


@pytest.mark.parametrize("model", ["cell-count-xgboost", "cell-count-std-xgboost"])
def test_a_head_that_a_protocol_lacks_is_a_mismatch(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that asks for trees is not scored with the linear head of another task, neither asked for nor beside."""
    enter(tmp_path, monkeypatch)
    with pytest.raises(MismatchError, match="offers no head 'xgboost_raw'"):
        harness.evaluate(model, "tiny.yaml")
    results = harness.evaluate("pixel-mean", "tiny.yaml", baselines=f"{model},count-only", seeds=(0,))
    assert [result.model.name for result in results] == ["pixel-mean", "count-only"]
