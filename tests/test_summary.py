"""From atoms to a headline: worked examples, a naive loop, properties."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED, needs_shared
from result_factory import make_block

from harness.results import UnitBlock
from harness.summary import summarise

ORACLE = SHARED / "oracles/statistics/worked_examples.json"
tables = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.one_of(st.just(math.nan), st.floats(-1, 1)), min_size=math.prod(shape), max_size=math.prod(shape)
    ).map(lambda values: np.array(values).reshape(shape))
)


def naive_value(block: UnitBlock) -> float:
    """Average seeds, then units within folds by weight, then folds, in plain loops."""
    folds = []
    for fold in sorted(set(block.fold)):
        total = weights = 0.0
        for unit in sorted(set(block.unit)):
            rows = [i for i in range(len(block.unit)) if (block.fold[i], block.unit[i]) == (fold, unit)]
            values = [block.value[i] for i in rows if block.value[i] is not None]
            if values:
                weight = 1.0 if block.weight is None else block.weight[rows[0]]
                total += weight * sum(values) / len(values)
                weights += weight
        folds.append(total / weights if weights else math.nan)
    return sum(folds) / len(folds)


@needs_shared
def test_folds_and_units_of_the_worked_example() -> None:
    """Model .354375, baseline .298125, sd over folds .009375 with ddof 0."""
    oracle = json.loads(ORACLE.read_text())
    expected = oracle["expected"]
    model, baseline = (summarise(make_block([oracle["scores"][name]])) for name in ("model", "baseline"))
    assert model.value == pytest.approx(expected["model"], abs=1e-9)
    assert baseline.value == pytest.approx(expected["baseline"], abs=1e-9)
    assert model.fold_sd == pytest.approx(expected["fold_sd_ddof0"], abs=1e-9)
    assert (model.seed_sd, model.n_folds, model.n_units, model.n_undefined) == (None, 2, 8, 0)


@needs_shared
def test_seeds_and_folds_of_the_worked_example() -> None:
    """Three seeds by three folds: sd over seeds .002219 (ddof 1), over folds .028723 (ddof 0)."""
    oracle = json.loads(ORACLE.read_text())["variance"]
    metric = summarise(make_block(np.array(oracle["scores"])[:, :, None]))
    assert metric.value == pytest.approx(oracle["grand_mean"], abs=1e-9)
    assert metric.seed_sd == pytest.approx(oracle["seed_sd_ddof1"], abs=1e-9)
    assert metric.fold_sd == pytest.approx(oracle["fold_sd_ddof1"] * math.sqrt(2 / 3), abs=1e-9)


def test_weights_count_pairs() -> None:
    """Two genes of 3 and 1 pairs with scores .4 and .8 give .5."""
    assert summarise(make_block([0.4, 0.8], weight=[3.0, 1.0])).value == pytest.approx(0.5)


def test_undefined_units_are_left_out_and_counted() -> None:
    """A null unit lowers nothing; a fold of nulls makes the headline null, never 0."""
    one = summarise(make_block([[0.4, math.nan], [0.6, 0.8]]))
    assert (one.value, one.n_undefined) == (pytest.approx(0.55), 1)
    fold = summarise(make_block([[0.4, 0.4], [math.nan, math.nan]]))
    assert (fold.value, fold.fold_sd, fold.n_undefined) == (None, None, 2)


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_units_does_not_matter(table: np.ndarray, random) -> None:
    """Permuting the rows of a block changes nothing."""
    block = make_block(table)
    order = list(range(len(block.unit)))
    random.shuffle(order)
    columns = ("unit", "fold", "seed", "value")
    shuffled = block.model_copy(update={name: [getattr(block, name)[i] for i in order] for name in columns})
    assert summarise(shuffled) == summarise(block)


@given(tables)
def test_agrees_with_plain_loops(table: np.ndarray) -> None:
    """Value and sd agree with loops and the standard library to rounding."""
    block = make_block(table)
    metric, expected = summarise(block), naive_value(block)
    assert (metric.value is None) == math.isnan(expected)
    if metric.value is None:
        return
    assert metric.value == pytest.approx(expected, abs=1e-12)
    if not np.isnan(table).any():
        folds, seeds = table.mean(axis=(0, 2)), table.mean(axis=(1, 2))
        assert metric.fold_sd == (pytest.approx(statistics.pstdev(folds), abs=1e-12) if len(folds) > 1 else None)
        assert metric.seed_sd == (pytest.approx(statistics.stdev(seeds), abs=1e-12) if len(seeds) > 1 else None)
    assert metric.n_undefined == int(np.isnan(table).sum())
