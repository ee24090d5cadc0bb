"""The protocol ``gene-recall``: the oracles of the original code, units that give the headline, and bad input."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from harness.tasks.metrics.alignment import Method, align
from harness.tasks.metrics.cosine_map import map_cosines, pool_rows
from harness.tasks.protocols.gene_recall import PROTOCOL
from harness.tasks.protocols.gene_recall_params import Params
from harness.tasks.protocols.gene_recall_units import METRICS
from harness.tasks.protocols.well_groups import group_wells
from harness.tasks.wells import WellFold
from hypothesis import given, settings
from hypothesis import strategies as st
from places import needs_shared
from pydantic import ValidationError
from recall_factory import ORACLES, SOURCES, WellsInMemory, draw_screen, embed, read_case, read_expected, relate

from harness.errors import DamagedFileError, UnknownNameError, UsageError
from harness.hashing import canonical_json
from harness.scoring import stack
from harness.summary import summarise
from harness.types import Dataset, Evaluation

METHODS: tuple[Method, ...] = get_args(Method)
TAILS = ("top5", "bottom5", "both5", "both10", "top5_per_query")
PAPER = {"companions": [], "method": "pca_centerscale"}


def run(dataset: WellsInMemory, features: np.ndarray, **params: Any) -> Evaluation:
    """Evaluate with parameters as a spec gives them."""
    return PROTOCOL.evaluate(embed(dataset, features), dataset, Params.model_validate(params), 0)


def headline(evaluation: Evaluation, metric: str) -> float | None:
    """Return the value that a result would carry."""
    return summarise(stack([evaluation.units[metric]], [0])).value


def draw_features(dataset: WellsInMemory, seed: int, width: int = 6) -> np.ndarray:
    """Return noise, one row a sample."""
    return np.random.default_rng(seed).standard_normal((len(dataset.ids), width))


def compare(evaluation: Evaluation, expected: dict[str, Any], suffix: str = "") -> None:
    """Compare all recalls with the stored ones, and the numbers of pairs and cosines."""
    for source in (*SOURCES, "mean"):
        for tail in TAILS:
            if f"recall_{tail}" in expected[source]:
                value = headline(evaluation, f"recall_{tail}.{source}{suffix}")
                assert value == pytest.approx(expected[source][f"recall_{tail}"], rel=0, abs=1e-12), (source, tail)
    for source in SOURCES:
        assert evaluation.diagnostics[f"n_pairs.{source}"] == [expected[source]["n_pairs"]]
    assert evaluation.diagnostics["n_null"] == [expected["CORUM"]["n_null"]]


@needs_shared
@pytest.mark.parametrize("how", ["mean", "median"])
def test_alignments_of_the_oracle(how: str) -> None:
    """Six alignments of 5,280 wells give every recall of the original code to 1e-12, all in one evaluation."""
    case, expected = read_case("gene_gene"), read_expected("gene_gene")["alignments"]
    evaluation = run(case.dataset, case.features, align={"method": "none", "companions": list(METHODS)}, aggregate=how)
    for method in METHODS:
        compare(evaluation, expected[method][how], f"@{method}")
    assert all(any(fnmatchcase(name, pattern) for pattern in METRICS) for name in evaluation.units)


@needs_shared
def test_a_kept_control_of_the_oracle() -> None:
    """A control that was centred on itself is a zero vector, and that is said; whitened by batch it is none."""
    case, expected = read_case("gene_gene"), read_expected("gene_gene")["alignments"]
    evaluation = run(
        case.dataset, case.features, align={"method": "none", "companions": list(METHODS)}, keep_control=True
    )
    for method in METHODS:
        compare(evaluation, expected[method]["mean_keep_control"], f"@{method}")
    assert evaluation.diagnostics["n_genes"] == [241]
    assert sum("zero vectors up to rounding" in note for note in evaluation.notes) == 4


@needs_shared
def test_folds_of_the_oracle() -> None:
    """Three folds, each aligned by its own controls: recalls of each, their mean and their sd (ddof 0)."""
    case, stored = read_case("gene_gene"), read_expected("gene_gene")["folds_from_file"]
    table = pd.read_csv(ORACLES / "gene_gene/folds.csv").set_index("well_id").fold
    number, control = table.reindex(case.dataset.wells.ids).to_numpy(), case.dataset.wells.control
    folds = tuple(
        WellFold(fold, np.flatnonzero((number == fold) & ~control), np.flatnonzero((number == fold) & control))
        for fold in range(3)
    )
    compare_folds(replace(case.dataset, folds=folds), case.features, stored)


@needs_shared
@pytest.mark.parametrize("name", ["gene_gene", "compound_gene"])
def test_drawn_folds_of_the_oracle(name: str) -> None:
    """Folds of the builder, whose controls are shared: 16 of each experiment, the first by a hash."""
    case, stored = read_case(name, "CRISPR"), read_expected(name)["fold_builder"]
    wells = case.dataset.wells
    row = {well: index for index, well in enumerate(wells.ids)}
    digest = {well: hashlib.sha256(f"rxrx3|0|{well}".encode()).hexdigest() for well in wells.ids}
    table = pd.read_csv(ORACLES / name / "fold_builder.csv")
    chosen: list[int] = []
    for batch in sorted(set(wells.batch or ())):
        inside = [index for index in np.flatnonzero(wells.control) if (wells.batch or ())[index] == batch]
        chosen += sorted(inside, key=lambda index: (digest[wells.ids[index]], wells.ids[index]))[:16]
    assert len(chosen) == stored["n_controls"]
    folds = tuple(
        WellFold(fold, np.sort([row[well] for well in table.well_id[table.fold == fold]]), np.sort(chosen))
        for fold in range(3)
    )
    compare_folds(replace(case.dataset, folds=folds), case.features, stored["recall"])


def compare_folds(dataset: WellsInMemory, features: np.ndarray, stored: dict[str, Any]) -> None:
    """Compare the recalls of each fold, their mean and sd, under all alignments that are stored."""
    evaluation = run(dataset, features, align={"method": "none", "companions": list(stored)})
    for method, by_fold in stored.items():
        for fold in range(3):
            for source, facts in by_fold[str(fold)].items():
                for tail in TAILS:
                    if f"recall_{tail}" in facts:
                        value = weigh(evaluation, f"recall_{tail}.{source}@{method}", fold)
                        assert value == pytest.approx(facts[f"recall_{tail}"], rel=0, abs=1e-12), (fold, source, tail)
        for source, facts in by_fold["mean_over_folds"].items():
            metric = summarise(stack([evaluation.units[f"recall_top5.{source}@{method}"]], [0]))
            assert metric.value == pytest.approx(facts["recall_top5"], rel=0, abs=1e-12)
            assert metric.fold_sd == pytest.approx(facts["sd_ddof0"], rel=0, abs=1e-12)


def weigh(evaluation: Evaluation, metric: str, fold: int) -> float:
    """Return the weighted mean of the units of one fold."""
    units = evaluation.units[metric]
    inside = units.fold == fold
    return float(np.average(units.value[inside], weights=units.weight[inside]))  # type: ignore[index]


@needs_shared
@pytest.mark.parametrize("rows", ["crispr", "all"])
def test_compounds_of_the_oracle(rows: str) -> None:
    """Aligned together with compounds; with them in the null, recall is inflated as in the first public version."""
    case, expected = read_case("compound_gene"), read_expected("compound_gene")["full_protocol_with_compounds"]
    evaluation = run(case.dataset, case.features, align=PAPER, keep_control=True, null_rows=rows)
    compare(evaluation, expected["gene_null" if rows == "crispr" else "all_perturbations_null_WRONG"])
    assert any("inflates recall" in note for note in evaluation.notes) == (rows == "all")


@needs_shared
def test_cosines_of_the_oracle() -> None:
    """Every cosine of the map agrees to 1e-12 under each alignment that is stored."""
    case, stored = read_case("gene_gene"), np.load(ORACLES / "gene_gene/cosines.npz")
    wells = case.dataset.wells
    groups = group_wells(wells, np.arange(len(wells.ids)))
    groups = groups.choose(np.flatnonzero(groups.gene & ~groups.control))
    assert list(groups.perturbation) == stored["genes"].tolist()
    for method in set(METHODS) & set(stored.files):
        aligned = align(case.features, wells.control, wells.batch, method)
        profiles = pool_rows(aligned.features, groups.codes, len(groups), "mean")
        np.testing.assert_allclose(map_cosines(profiles).triangle, stored[method], rtol=0, atol=1e-12)


@needs_shared
def test_rows_and_wells_in_any_order() -> None:
    """Shuffled wells, a rotation and a factor of 3.7 change no recall."""
    case = read_case("gene_gene")
    order = np.random.default_rng(0).permutation(len(case.features))
    wells = case.dataset.wells
    shuffled = replace(
        wells,
        ids=tuple(wells.ids[row] for row in order),
        perturbation=tuple(wells.perturbation[row] for row in order),
        control=wells.control[order],
        batch=tuple(wells.batch[row] for row in order),  # type: ignore[index]
        kind=None,
        dose=None,
    )
    fold = WellFold(0, np.flatnonzero(~shuffled.control), np.flatnonzero(shuffled.control))
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((64, 64)))[0]
    features = case.features[order].astype(np.float64) @ rotation * 3.7
    evaluation = run(WellsInMemory(shuffled, (fold,), case.dataset.relations), features, align=PAPER)
    for tail in ("top5", "both5"):
        expected = read_expected("gene_gene")["alignments"]["pca_centerscale"]["mean"]["mean"][f"recall_{tail}"]
        assert headline(evaluation, f"recall_{tail}.mean") == pytest.approx(expected, abs=1e-3)


def score_plainly(dataset: WellsInMemory, features: np.ndarray) -> dict[str, float]:
    """Score the one fold without alignment by loops over genes and pairs."""
    wells, x = dataset.wells, np.asarray(features, dtype=np.float32).astype(np.float64)
    genes = sorted({name for name, control in zip(wells.perturbation, wells.control, strict=True) if not control})
    profile = {gene: np.mean([x[i] for i, name in enumerate(wells.perturbation) if name == gene], 0) for gene in genes}

    def cosine(a: str, b: str) -> float:
        return float(profile[a] @ profile[b] / np.linalg.norm(profile[a]) / np.linalg.norm(profile[b]))

    null = sorted(cosine(a, b) for i, a in enumerate(genes) for b in genes[i + 1 :])
    scores = {}
    for source, relations in dataset.relations.items():
        ranks = [sum(value < cosine(a, b) - 1e-12 for value in null) / len(null) for a, b in relations.pairs]
        scores[f"recall_top5.{source}"] = float(np.mean([rank >= 0.95 for rank in ranks]))
        scores[f"recall_both10.{source}"] = float(
            np.mean([rank >= 0.9 or rank + 1 / len(null) <= 0.1 for rank in ranks])
        )
    for tail in ("top5", "both10"):
        scores[f"recall_{tail}.mean"] = float(np.mean([scores[f"recall_{tail}.{one}"] for one in dataset.relations]))
    return scores


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10_000))
def test_scores_equal_loops(seed: int) -> None:
    """Without alignment the recalls are those of loops over genes and pairs."""
    dataset = draw_screen(seed, wells=2, controls=3)
    features = draw_features(dataset, seed)
    evaluation = run(dataset, features, align={"method": "none"}, tails=["top5", "both10"])
    for metric, expected in score_plainly(dataset, features).items():
        assert headline(evaluation, metric) == pytest.approx(expected, abs=1e-12), metric
        assert headline(evaluation, f"{metric}@none") == pytest.approx(expected, abs=1e-12), metric


def test_units_carry_pairs_and_genes() -> None:
    """Pairs weigh 1 in their source and 1/n in the mean; genes weigh their known pairs; names hold both genes."""
    dataset = draw_screen(0)
    evaluation = run(dataset, draw_features(dataset, 0))
    pairs = evaluation.units["recall_top5.HuMAP"]
    assert (pairs.kind, pairs.unit[:2], pairs.cluster) == ("pair", ("G000|G001", "G003|G004"), None)
    assert set(pairs.value.tolist()) <= {0.0, 1.0}
    mean = evaluation.units["recall_top5.mean"]
    assert mean.unit[:1] + mean.unit[-1:] == ("CORUM:G000|G001", "HuMAP:G021|G022")
    assert mean.weight is not None
    assert mean.weight.sum() == pytest.approx(2)
    genes = evaluation.units["recall_top5_per_query.CORUM"]
    assert genes.kind == "gene"
    assert dict(zip(genes.unit, genes.weight, strict=True))["G000"] == 1  # type: ignore[arg-type]
    assert dict(zip(genes.unit, genes.weight, strict=True))["G001"] == 2  # type: ignore[arg-type]
    both = [headline(evaluation, f"recall_top5_per_query.{source}") for source in ("CORUM", "HuMAP")]
    assert headline(evaluation, "recall_top5_per_query.mean") == pytest.approx(np.mean(both))  # type: ignore[arg-type]


def test_the_per_query_threshold() -> None:
    """``threshold: per_query`` makes ``recall_top5`` the per-query recall; other tails stay."""
    dataset = draw_screen(1)
    features = draw_features(dataset, 1)
    plain, changed = run(dataset, features), run(dataset, features, threshold="per_query", tails=["top5", "both5"])
    assert headline(changed, "recall_top5.mean") == headline(plain, "recall_top5_per_query.mean")
    assert headline(changed, "recall_both5.mean") == headline(plain, "recall_both5.mean")
    assert changed.units["recall_top5.mean"].kind == "gene"
    assert changed.chance["recall_top5.mean"] == 2 / 23
    assert "recall_top5_per_query.mean" not in changed.units


def test_noise_scores_chance() -> None:
    """Random profiles of 200 genes stay within 4 sd of 5 % for 10,000 random pairs."""
    dataset, rng = draw_screen(2, genes=200, wells=2, controls=40), np.random.default_rng(0)
    names = sorted({f"G{index:03d}" for index in range(200)})
    pairs = [tuple(rng.choice(names, 2, replace=False)) for _ in range(10_000)]
    dataset = replace(dataset, relations=relate({"CORUM": pairs}))  # type: ignore[dict-item]
    features = draw_features(dataset, 5, width=40)
    evaluation = run(dataset, features, align=PAPER)
    n = len(dataset.relations["CORUM"].pairs)
    assert headline(evaluation, "recall_top5.CORUM") == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))


def test_constant_embeddings_score_nothing() -> None:
    """Centred constants are zero vectors: exactly 0 in every tail of the map, with a note; raw ones at most chance."""
    dataset = draw_screen(3)
    evaluation = run(dataset, np.full((len(dataset.ids), 5), 0.1))
    for tail in ("top5", "bottom5", "both5", "both10"):
        assert headline(evaluation, f"recall_{tail}.mean") == 0
    assert evaluation.diagnostics["n_zero"] == 24
    assert evaluation.diagnostics["components"] == [0]
    assert any("24 of 24 rows of the map are zero vectors" in note for note in evaluation.notes)
    raw = headline(evaluation, "recall_top5.CORUM@none")
    assert raw is not None
    assert raw <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 23)


def test_samples_of_a_well_are_averaged() -> None:
    """Two samples a well score as their mean does."""
    dataset = draw_screen(4)
    single, spread = draw_features(dataset, 4), draw_features(dataset, 5)
    double = np.repeat(single, 2, axis=0)
    double[::2] += spread
    double[1::2] -= spread
    pictured = run(replace(dataset, samples_a_well=2), double)
    for tail in TAILS:
        expected = headline(run(dataset, single), f"recall_{tail}.mean")
        assert headline(pictured, f"recall_{tail}.mean") == pytest.approx(expected, abs=1e-12)


def test_a_source_without_pairs_is_undefined() -> None:
    """Its value and the mean are null, with a note; the other sources keep theirs."""
    dataset = draw_screen(5)
    relations = {**dataset.relations, **relate({"SIGNOR": [("X", "Y")]})}
    evaluation = run(replace(dataset, relations=relations), draw_features(dataset, 5))
    for tail in TAILS:
        assert headline(evaluation, f"recall_{tail}.SIGNOR") is None
        assert headline(evaluation, f"recall_{tail}.mean") is None
        assert headline(evaluation, f"recall_{tail}.CORUM") is not None
    note = next(one for one in evaluation.notes if "no known pair of SIGNOR has both genes in the map" in one)
    assert "protocol.params.sources of rxrx3, source.relations of a screen" in note


def test_notes_and_diagnostics() -> None:
    """Unexpected numbers of pairs and few controls are noted; numbers are told by fold and source."""
    dataset = draw_screen(6, controls=3)
    evaluation = run(dataset, draw_features(dataset, 6), expected_pairs={"CORUM": 23, "HuMAP": 9})
    assert any(note.endswith("8 known pairs of HuMAP, expected 9") for note in evaluation.notes)
    assert not any("of CORUM" in note for note in evaluation.notes)
    assert any("6 control wells for 6 features" in note for note in evaluation.notes)
    facts = evaluation.diagnostics
    assert (facts["n_pairs.CORUM"], facts["n_genes"], facts["n_null"]) == ([23], [24], [276])
    assert evaluation.chance["recall_top5_per_query.mean@none"] == 2 / 23
    assert "recall_top5.mean" not in evaluation.chance
    hits = evaluation.units["recall_top5.CORUM"].value.sum()
    assert facts["n_hits.top5.CORUM"] == hits
    canonical_json(dict(facts))
    with pytest.raises(UnknownNameError, match="Did you mean CORUM"):
        run(dataset, draw_features(dataset, 6), expected_pairs={"CORUN": 1})


def test_bad_data_is_refused() -> None:
    """No relations, other samples, wells without samples, NaN, few genes, batches without controls."""
    dataset = draw_screen(7)
    features = draw_features(dataset, 7)
    with pytest.raises(UsageError, match="wells with known relations"):
        PROTOCOL.evaluate(embed(dataset, features), ToyDataset(), Params(), 0)
    with pytest.raises(DamagedFileError, match="not those of this dataset"):
        PROTOCOL.evaluate(replace(embed(dataset, features), ids=("x",) * len(features)), dataset, Params(), 0)
    features[3, 2] = np.nan
    with pytest.raises(DamagedFileError, match="1 features are not finite, the first in well w0003"):
        run(dataset, features)
    small = draw_screen(7, genes=19)
    with pytest.raises(UsageError, match="the map holds 19 perturbations; recall needs 20"):
        run(small, draw_features(small, 7))
    wells = dataset.wells
    lone = replace(wells, batch=("b9", *wells.batch[1:]))  # type: ignore[index]
    with pytest.raises(UsageError, match="the first: b9"):
        run(replace(dataset, wells=replace(lone, control=wells.control)), draw_features(dataset, 7))


def test_wells_without_samples_are_refused() -> None:
    """Every well of a fold needs an embedding."""
    dataset = draw_screen(8)
    lacking = Lacking(dataset.wells, dataset.folds, dataset.relations)
    with pytest.raises(DamagedFileError, match="1 of 204 wells of the task have no embedding, the first: w0203"):
        run(lacking, draw_features(lacking, 8))


class Lacking(WellsInMemory):
    """The last well has no sample."""

    @property
    def well_of(self) -> np.ndarray:
        return np.arange(len(self.wells.ids) - 1)


class ToyDataset(Dataset):
    """No wells at all."""

    ids = ("a",)
    data_hash = ""


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"align": {"method": "pca"}}, "centerscale_global"),
        ({"align": {"companions": ["none", "none"]}}, "a method stands twice"),
        ({"tails": ["top1"]}, "per_query"),
        ({"tails": ["top5", "top5"]}, "a tail stands twice"),
        ({"tails": []}, "at least 1 item"),
        ({"aggregate": "max"}, "median"),
        ({"sources": ["CORUM"]}, "Extra inputs"),
    ],
)
def test_bad_parameters_name_what_is_allowed(params: dict[str, Any], message: str) -> None:
    """Unknown methods, tails and poolings list the known ones."""
    with pytest.raises(ValidationError, match=message):
        Params.model_validate(params)


def test_a_task_without_lists_is_refused() -> None:
    """No source at all is an error of the task, said in its words."""
    dataset = replace(draw_screen(7), relations={})
    with pytest.raises(UsageError, match=r"at least one list of known pairs.*source\.relations"):
        run(dataset, draw_features(dataset, 7))
