"""The protocol ``compound-gene``: the oracle of the original, draws of negatives, and bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness.tasks.metrics.compound_gene import draw_negatives, pose_queries, score_query
from harness.tasks.protocols.compound_gene import PROTOCOL
from harness.tasks.protocols.compound_gene_params import Params
from harness.tasks.protocols.compound_gene_units import METRICS
from harness.tasks.protocols.well_groups import DOSES
from harness.tasks.wells import WellFold, Wells
from hypothesis import given, settings
from hypothesis import strategies as st
from places import needs_shared
from pydantic import ValidationError
from recall_factory import WellsInMemory, embed, read_case, read_expected
from sklearn.metrics import average_precision_score, roc_auc_score

from harness.errors import UsageError
from harness.hashing import canonical_json
from harness.scoring import stack
from harness.summary import summarise
from harness.types import Evaluation

QUANTILES = {"ap_median.max": "ap_quantile_0.5", "ap_q75.max": "ap_quantile_0.75", "ap_q95.max": "ap_quantile_0.95"}

SUFFIXES = ("", "@centerscale_global")


def run(dataset: WellsInMemory, features: np.ndarray, **params: Any) -> Evaluation:
    """Evaluate with parameters as a spec gives them."""
    return PROTOCOL.evaluate(embed(dataset, features), dataset, Params.model_validate(params), 0)


def headline(evaluation: Evaluation, metric: str) -> float | None:
    """Return the value that a result would carry."""
    return summarise(stack([evaluation.units[metric]], [0])).value


@needs_shared
@pytest.mark.parametrize(("name", "seeds"), [("seed0", [0]), ("mean_over_seeds_0_to_9", list(range(10)))])
def test_the_oracle(name: str, seeds: list[int]) -> None:
    """Average precision at every dose and the best, area and quantiles agree to 1e-9."""
    case, expected = read_case("compound_gene"), read_expected("compound_gene")["compound_gene"]
    evaluation = run(case.dataset, case.features, negative_seeds=seeds)
    assert set(evaluation.units) == set(METRICS[: len(DOSES) + 5])
    stored = {f"{float(dose):g}" if dose != "max" else dose: facts for dose, facts in expected[name].items()}
    for dose in (*DOSES, "max"):
        found = headline(evaluation, f"ap.{dose}")
        assert found == pytest.approx(stored[dose]["average_precision"], abs=1e-9), dose
    assert headline(evaluation, "auc.max") == pytest.approx(stored["max"]["auc_roc"], abs=1e-9)
    for metric, key in QUANTILES.items():
        assert headline(evaluation, metric) == pytest.approx(stored["max"][key], abs=1e-9), metric
    assert evaluation.diagnostics["n_compounds"] == [expected["n_compounds"]["max"]]
    assert evaluation.units["ap.max"].kind == "compound"
    assert (evaluation.diagnostics["negative_sd"] is None) == (len(seeds) == 1)
    canonical_json(dict(evaluation.diagnostics))


def draw_targets(
    seed: int, *, genes: int = 40, compounds: int = 5, doses: tuple[float, ...] = (0.1, 10.0)
) -> tuple[WellsInMemory, np.ndarray]:
    """Return wells of genes and dosed compounds, one active gene each, and features in which they agree."""
    rng = np.random.default_rng(seed)
    symbols, drugs = [f"G{index:02d}" for index in range(genes)], [f"drug_{index}" for index in range(compounds)]
    direction = rng.standard_normal((genes, 8))
    rows: list[tuple[str, str, float, np.ndarray]] = [
        (name, "CRISPR", np.nan, direction[index]) for index, name in enumerate(symbols) for _ in range(2)
    ]
    rows += [(name, "COMPOUND", dose, -direction[index]) for index, name in enumerate(drugs) for dose in doses]
    rows += [(drugs[0], "COMPOUND", 2.6, rng.standard_normal(8) * 50)]
    rows += [("EMPTY_control", kind, np.nan, np.zeros(8)) for kind in ("CRISPR", "COMPOUND") for _ in range(30)]
    rows += [("CRISPR_control", "COMPOUND", np.nan, np.zeros(8)) for _ in range(4)]
    features = np.array([centre for *_, centre in rows]) + rng.standard_normal((len(rows), 8)) * 0.05
    control = np.array([name == "EMPTY_control" for name, *_ in rows])
    wells = Wells(
        tuple(f"w{index}" for index in range(len(rows))),
        tuple(name for name, *_ in rows),
        control,
        batch=tuple(kind for _, kind, *_ in rows),
        kind=tuple(kind for _, kind, *_ in rows),
        dose=np.array([dose for _, _, dose, _ in rows]),
    )
    truth = tuple((drug, symbols[index], 5.0) for index, drug in enumerate(drugs))
    others = tuple(("nobody", symbol, 3.0) for symbol in symbols)
    fold = WellFold(0, np.flatnonzero(~control), np.flatnonzero(control))
    return WellsInMemory(wells, (fold,), {}, (*truth, *others)), features


def test_compounds_next_to_their_targets_score_one() -> None:
    """Opposite profiles are as near as equal ones; the off-grid dose and controls of compounds play no part."""
    dataset, features = draw_targets(0)
    evaluation = run(dataset, features, align={"method": "none", "companions": ["centerscale_global"]})
    for metric in ("ap.0.1", "ap.10", "ap.max", "auc.max", "ap_median.max", "ap.max@centerscale_global"):
        assert headline(evaluation, metric) == pytest.approx(1), metric
    assert headline(evaluation, "ap.2.5") is None
    assert evaluation.units["ap.max"].unit == tuple(f"drug_{index}" for index in range(5))
    facts = evaluation.diagnostics
    assert evaluation.chance["ap.max@centerscale_global"] == facts["chance"]
    assert facts["chance"] == pytest.approx(0.17358850975, abs=1e-9)
    assert set(evaluation.chance) == {f"ap.{at}{end}" for at in ("0.1", "10", "max") for end in SUFFIXES}
    assert (facts["negative_sd"], facts["n_compounds"], facts["n_without_target"]) == (0.0, [5], [0])


def test_noise_scores_chance() -> None:
    """Random features give the expected average precision of random rankings."""
    dataset, features = draw_targets(1, compounds=30, doses=(0.1,))
    noise = np.random.default_rng(0).standard_normal((len(features), 8))
    evaluation = run(dataset, noise, align={"method": "none"})
    value, chance = headline(evaluation, "ap.max"), evaluation.diagnostics["chance"]
    assert value == pytest.approx(chance, abs=4 * 0.2 / np.sqrt(30))  # .2 is the sd of one random ranking


def test_ties_score_by_groups() -> None:
    """Constant embeddings tie everything: precision 1/21, area one half."""
    dataset, features = draw_targets(2)
    evaluation = run(dataset, np.ones_like(features), align={"method": "centerscale_global"})
    assert headline(evaluation, "ap.max") == pytest.approx(1 / 21)
    assert headline(evaluation, "auc.max") == pytest.approx(0.5)


def test_queries_by_hand() -> None:
    """Limits are inclusive, the lowest affinity of a pair counts, absent genes go first, pools are sorted."""
    truth = [
        *[("c", "A", 1000.0), ("c", "B", 1000.1), ("c", "D", 10_000.0), ("c", "E", 10_000.1), ("c", "B", 900.0)],
        *[("c", "Z", 1.0), ("d", "F", 5000.0), ("e", "F", 1.0), ("e", "A", 1.0), ("e", "E", 1.0), ("x", "A", 1.0)],
    ]
    posed = pose_queries(truth, {"e", "d", "c"}, set("ABDEF"), min_negatives=2)
    assert [(query.compound, query.actives, query.pool) for query in posed.queries] == []
    assert (posed.without_active, posed.small_pool, posed.absent_genes) == (("d",), ("c", "e"), ("Z",))
    wide = [*truth, *[("y", gene, 1.0) for gene in "GHIJKL"]]
    (first, second) = pose_queries(wide, {"e", "c"}, set("ABDEFGHIJKL"), min_negatives=2).queries
    assert (first.actives, first.n_negatives, first.pool) == (("A", "B"), 4, tuple("EFGHIJKL"))
    assert (second.actives, second.n_negatives, second.pool) == (("A", "E", "F"), 6, tuple("BDGHIJKL"))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_scores_equal_loops(seed: int) -> None:
    """A loop over draws and doses with scikit-learn gives the same, drawing from the sorted names."""
    rng = np.random.default_rng(seed)
    genes = [f"G{index:02d}" for index in range(40)]
    truth = [("c", genes[0], 1.0), ("c", genes[1], 2.0), *[("d", gene, 1.0) for gene in genes]]
    (query,) = pose_queries(truth, {"c"}, set(genes)).queries
    similarity, row = rng.random((3, 40)), {gene: index for index, gene in enumerate(genes)}
    found = score_query(query, similarity, row, [4, 9])
    for column, draw in enumerate([4, 9]):
        drawn = np.random.default_rng(draw).choice(sorted(query.pool), query.n_negatives, replace=False)
        columns = [row[gene] for gene in (*query.actives, *drawn)]
        relevant = np.arange(len(columns)) < 2
        for dose, scores in enumerate([*similarity, similarity.max(axis=0)]):
            expected = average_precision_score(relevant, scores[columns])
            assert found.average_precision[dose, column] == pytest.approx(expected, abs=1e-12)
            assert found.auc[dose, column] == pytest.approx(roc_auc_score(relevant, scores[columns]), abs=1e-12)


def test_draws_are_without_replacement() -> None:
    """Every row holds different genes, and a seed gives the same row in any company."""
    rows = draw_negatives(30, 20, [0, 1])
    assert rows.shape == (2, 20)
    assert all(len(set(row)) == 20 for row in rows.tolist())
    assert rows[1].tolist() == draw_negatives(30, 20, [1])[0].tolist()


def test_nothing_to_ask_is_undefined() -> None:
    """Without targets every metric is null, with a note and counts."""
    dataset, features = draw_targets(3)
    evaluation = run(replace(dataset, interactions=(("drug_0", "Z", 1.0),)), features, align={"method": "none"})
    for metric in METRICS[: len(DOSES) + 5]:
        assert headline(evaluation, metric) is None, metric
    assert any("no compound has a known target" in note for note in evaluation.notes)
    assert any("1 genes of the targets are not in the map: Z" in note for note in evaluation.notes)
    assert (evaluation.diagnostics["chance"], evaluation.diagnostics["n_without_target"]) == (None, [5])
    assert not evaluation.chance


def test_bad_input_is_refused() -> None:
    """Datasets without targets, batches without controls, limits in the wrong order, repeated seeds."""
    dataset, features = draw_targets(4)
    with pytest.raises(UsageError, match="known targets of compounds"):
        PROTOCOL.evaluate(embed(dataset, features), object(), Params(), 0)  # type: ignore[arg-type]
    lone = replace(dataset, wells=replace(dataset.wells, batch=("b9", *dataset.wells.batch[1:])))  # type: ignore[index]
    with pytest.raises(UsageError, match="the first: b9"):
        run(lone, features)
    for params, message in (
        ({"exclude_nM": 10}, r"exclude_nM \(10\) lies below active_nM \(1000\)"),
        ({"negative_seeds": [1, 1]}, "expected different numbers"),
        ({"negative_seeds": []}, "at least 1 item"),
        ({"active_nM": "1e3"}, "expected a number"),
    ):
        with pytest.raises(ValidationError, match=message):
            Params.model_validate(params)
