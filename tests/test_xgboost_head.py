"""The optional head: boosted trees on the components."""

from __future__ import annotations

import numpy as np
import pytest
from harness.tasks.expression import ExpressionFold
from harness.tasks.protocols import expression_heads
from harness.tasks.protocols.expression_params import Params
from harness.tasks.protocols.expression_regression import PROTOCOL
from scipy.stats import pearsonr

from harness.errors import UsageError
from harness.types import Embeddings


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


def evaluate(table: Table):
    """Run the protocol with boosted trees."""
    embeddings = Embeddings(table.ids, table.features, "last", 0, "")
    return PROTOCOL.evaluate(embeddings, table, Params.model_validate({"head": "xgboost"}), 0)


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


def test_the_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the error says what to install, before anything is fitted."""
    monkeypatch.setattr(expression_heads, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r'pip install "bioimage-harness\[xgboost\]"'):
        evaluate(Table())
