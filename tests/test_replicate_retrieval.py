"""The protocol of replicate retrieval: the stored oracle, a real plate, tiny screens by hand, and bad input."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness.tasks.protocols.replicate_retrieval import PROTOCOL
from harness.tasks.protocols.replicate_retrieval_params import Params
from harness.tasks.wells import WellFold, Wells
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import SHARED, needs_shared
from pydantic import ValidationError

from harness.binding import bind
from harness.errors import DamagedFileError, SpecError, UsageError
from harness.plugins import load_registry
from harness.results import UnitBlock
from harness.summary import summarise
from harness.types import Embeddings, Evaluation

FOLD = SHARED / "oracles" / "jump" / "one_fold"
PLATE = SHARED / "data" / "bbbc013"
STEPS: Mapping[str, list[str]] = {
    "raw": [],
    "standardize": ["standardize"],
    "mad_robustize": ["mad_robustize"],
    "zca": ["zca"],
    "zca_cor": ["zca_cor"],
    "zca_int": ["zca", "int"],
    "mad_int": ["mad_robustize", "int"],
}
ALL = ["cross_plate", "cross_lab", "plate", "lab", "activity"]


@dataclass
class Screen:
    """Wells in memory, with one sample each unless told otherwise."""

    wells: Wells
    folds: tuple[WellFold, ...]
    well_of: np.ndarray = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()
    data_hash: str = ""

    def __post_init__(self) -> None:
        if not len(self.well_of):
            self.well_of = np.arange(len(self.wells.ids))

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"sample-{number}" for number in range(len(self.well_of)))

    def fingerprint(self, view: str) -> str:
        return view

    def read(self, view: str, start: int, stop: int) -> Any:
        raise NotImplementedError


def one_fold(wells: Wells) -> tuple[WellFold, ...]:
    """Score all wells but the negative controls, which normalise."""
    return (WellFold(0, np.flatnonzero(~wells.control), np.flatnonzero(wells.control)),)


def score(screen: Screen, features: np.ndarray, **params: Any) -> Evaluation:
    """Evaluate embeddings of a screen."""
    embeddings = Embeddings(screen.ids, features, "last", 0, "")
    return PROTOCOL.evaluate(embeddings, screen, Params.model_validate(params), 0)


def by_unit(evaluation: Evaluation, metric: str) -> dict[str, float]:
    """Return the scores of a metric of a single fold by unit."""
    units = evaluation.units[metric]
    return dict(zip(units.unit, units.value.tolist(), strict=True))


def headline(evaluation: Evaluation, metric: str = "mAP") -> float | None:
    """Summarise a metric as a result does."""
    units = evaluation.units[metric]
    value = [None if np.isnan(one) else one for one in units.value.tolist()]
    block = UnitBlock(
        kind=units.kind,
        undefined=units.undefined,
        unit=list(units.unit),
        fold=units.fold.tolist(),
        seed=[0] * len(value),
        value=value,
    )
    return summarise(block).value


def make_screen(
    seed: int = 0,
    plates: int = 3,
    labels: Sequence[str] = ("a", "b", "c"),
    per_plate: int = 2,
    controls: int = 6,
    width: int = 5,
    effect: float = 1.5,
) -> tuple[Screen, np.ndarray]:
    """Return plates of two laboratories with replicates of each label and controls, and their embeddings."""
    rng = np.random.default_rng(seed)
    layout = [(plate, name) for plate in range(plates) for name in [*labels] * per_plate + ["DMSO"] * controls]
    names = tuple(name for _, name in layout)
    at = np.array([plate for plate, _ in layout])
    directions = {name: effect * rng.standard_normal(width) for name in labels} | {"DMSO": np.zeros(width)}
    features = rng.standard_normal((len(layout), width)) + np.array([directions[name] for name in names])
    wells = Wells(
        ids=tuple(f"w{number}" for number in range(len(layout))),
        perturbation=names,
        control=np.array([name == "DMSO" for name in names]),
        plate=tuple(f"p{plate}" for plate in at),
        laboratory=tuple(f"lab{plate % 2}" for plate in at),
    )
    return Screen(wells, one_fold(wells)), features


def load_fold() -> tuple[Screen, np.ndarray, dict[str, Any]]:
    """Read the stored fold of the JUMP task."""
    table = pd.read_parquet(FOLD / "profiles.parquet")
    wells = Wells(
        ids=tuple(table["Metadata_Plate"] + "/" + table["Metadata_Well"]),
        perturbation=tuple(table["Metadata_JCP2022"]),
        control=(table["Metadata_pert_type"] == "negcon").to_numpy(),
        plate=tuple(table["Metadata_Plate"]),
        laboratory=tuple(table["Metadata_Source"]),
    )
    features = table[[name for name in table if str(name).startswith("feature_")]].to_numpy()
    return Screen(wells, one_fold(wells)), features, json.loads((FOLD / "expected.json").read_text())


@needs_shared
@pytest.mark.parametrize("pipeline", STEPS)
def test_oracle_scores(pipeline: str) -> None:
    """All pipelines agree with the independent float64 figures to 1e-9 a compound, for every tie rule."""
    screen, features, expected = load_fold()
    stored = expected["normalize"][pipeline]["0"]
    evaluation = score(screen, features, normalize=STEPS[pipeline], companions=[])
    compounds = by_unit(evaluation, "mAP")
    assert set(compounds) == set(stored["compounds"])
    for name, value in compounds.items():
        assert value == pytest.approx(stored["compounds"][name]["mAP_float64_grouped"], abs=1e-9)
        assert value == pytest.approx(stored["compounds"][name]["mAP_copairs"], abs=2e-5)
    assert headline(evaluation) == pytest.approx(expected["summary"][pipeline]["grouped"]["mAP"], abs=1e-9)
    facts = evaluation.diagnostics
    assert set(facts["queries.n"]) == {112}
    assert set(facts["queries.relevant"]) == {111}
    assert set(facts["queries.gallery"]) == {895}
    assert facts["chance.mAP"] == pytest.approx(stored["compounds"]["JCP2022_037716"]["chance"], abs=1e-12)
    assert facts["features_dropped"] == 0
    lacking = "32 controls for 64 features; the 33 directions that they do not span get the gain of the last axis"
    whitened = [step for step in STEPS[pipeline] if step.startswith("zca")]
    assert evaluation.notes == tuple(f"{step}: {lacking} (fold 0)" for step in whitened)


@needs_shared
@pytest.mark.parametrize("ties", ["pos_first", "neg_first"])
def test_oracle_tie_rules(ties: str) -> None:
    """The stored fold has no ties, so that the other rules give the same."""
    screen, features, expected = load_fold()
    evaluation = score(screen, features, normalize="none", companions=[], ties=ties)
    assert headline(evaluation) == pytest.approx(expected["summary"]["raw"][ties]["mAP"], abs=1e-9)


@needs_shared
@pytest.mark.parametrize("pipeline", ["raw", "zca_int"])
def test_oracle_companions(pipeline: str) -> None:
    """Companions agree with copairs a unit to 2e-5, and their chance with the closed form."""
    screen, features, expected = load_fold()
    evaluation = score(screen, features, normalize=STEPS[pipeline], companions=ALL)
    stored = expected["normalize"][pipeline]["0"]
    for name, metric in {
        "cross_plate": "mAP_cross_plate",
        "cross_lab": "mAP_cross_lab",
        "plate_effect": "plate_mAP",
        "negcon": "activity_mAP",
    }.items():
        units = by_unit(evaluation, metric)
        assert set(units) == set(stored[name]["units"])
        for unit, value in units.items():
            assert value == pytest.approx(stored[name]["units"][unit]["mAP_copairs"], abs=2e-5)
        chance = next(iter(stored[name]["units"].values()))["chance"]
        assert evaluation.diagnostics[f"chance.{metric}"] == pytest.approx(chance, abs=1e-12)
        assert headline(evaluation, metric) == pytest.approx(stored[name]["mean"], abs=2e-5)
    assert evaluation.diagnostics["chance.lab_mAP"] == pytest.approx(0.145765, abs=1e-6)
    assert evaluation.units["plate_mAP"].kind == "plate"
    assert evaluation.units["lab_mAP"].kind == "laboratory"


def take_moments(image: np.ndarray) -> tuple[float, float, float]:
    """Return mean, deviation and skewness of an 8-bit image in 0 .. 1, from its histogram."""
    share, level = np.bincount(image.ravel(), minlength=256) / image.size, np.arange(256) / 255
    mean = share @ level
    deviation = np.sqrt(share @ (level - mean) ** 2)
    return mean, deviation, share @ (level - mean) ** 3 / deviation**3


def read_plate() -> tuple[Screen, np.ndarray]:
    """Read the real plate: mean, deviation and skewness of both channels of its 96 wells."""
    with (PLATE / "1049_Metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    features = []
    for row in rows:
        name = f"{int(row['ImageNumber']):02d}-{row['Row']}-{row['Column']}.png"
        images = [np.asarray(Image.open(PLATE / "images" / f"Channel{channel}-{name}")) for channel in (1, 2)]
        features.append([moment for image in images for moment in take_moments(image)])
    wells = Wells(
        ids=tuple(row["Row"] + row["Column"] for row in rows),
        perturbation=tuple(row["SBS_Doses"] for row in rows),
        control=np.array([row["SBS_Controls"] == "-1" for row in rows]),
        plate=("BBBC013",) * len(rows),
        kind=tuple({"-1": "negative", "1": "positive", "0": "treated"}[row["SBS_Controls"]] for row in rows),
        dose=np.array([float(row["SBS_Doses"]) for row in rows]),
    )
    return Screen(wells, one_fold(wells)), np.array(features)


@needs_shared
def test_real_plate() -> None:
    """One real plate of images gives the published figures of both its questions to 1e-6, from float32 features."""
    screen, features = read_plate()
    expected = json.loads((PLATE / "expected.json").read_text())
    np.testing.assert_allclose(features[0], expected["features_first_image"], atol=1e-6)
    steps: dict[str, Any] = {"normalize": [{"standardize": {"fit": "negcon", "by": "plate"}}], "companions": []}
    for model, columns in {"pixel_mean": [0, 3], "pixel_stats": list(range(6))}.items():
        chosen, stored = features[:, columns].astype(np.float32), expected[model]
        controls = score(screen, chosen, label="control", **steps)
        for name in ("positive", "negative"):
            assert headline(controls, f"mAP.{name}") == pytest.approx(stored[f"mAP_{name}"], abs=1e-6)
        chances = dict(zip(controls.diagnostics["queries.unit"], controls.diagnostics["queries.chance"], strict=True))
        assert chances["positive"] == pytest.approx(stored["chance_positive"], abs=1e-9)
        assert chances["negative"] == pytest.approx(stored["chance_negative"], abs=1e-9)
        doses = score(screen, chosen, label="dose", keep_controls=True, **steps)
        assert len(doses.units["mAP"].unit) == 11
        assert headline(doses) == pytest.approx(stored["dose_mAP"], abs=1e-6)
        assert doses.diagnostics["chance.mAP"] == pytest.approx(stored["dose_chance"], abs=1e-9)


def test_by_hand() -> None:
    """Two labels at right angles: one pair is found at rank 1, the other well of a loose pair at rank 3."""
    wells = Wells(("1", "2", "3", "4"), ("a", "a", "b", "b"), np.zeros(4, dtype=bool))
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 0.2]])
    screen = Screen(wells, one_fold(wells))
    evaluation = score(screen, features, normalize="none", drop_std=None, companions=[])
    # w1 finds w2 first; w2 finds w4 (0.995 against 0.994) before w1; w3 finds w4 first; w4 finds w2, w1, w3
    assert by_unit(evaluation, "mAP") == pytest.approx({"a": (1 + 1 / 2) / 2, "b": (1 + 1 / 3) / 2})
    chance = (1 + 1 / 2 + 1 / 3) / 3
    assert evaluation.diagnostics["chance.mAP"] == pytest.approx(chance)
    assert by_unit(evaluation, "mAP_normalized")["a"] == pytest.approx((0.75 - chance) / (1 - chance))
    assert list(evaluation.units) == ["mAP", "mAP_normalized", "mAP.a", "mAP.b"]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1_000))
def test_order_of_wells_does_not_matter(seed: int) -> None:
    """Shuffled wells have the scores they had, companions and p-values included."""
    screen, features = make_screen(seed)
    order = np.random.default_rng(seed).permutation(len(features))
    old = screen.wells
    take = lambda column: tuple(column[row] for row in order)  # noqa: E731
    wells = Wells(
        take(old.ids), take(old.perturbation), old.control[order], None, take(old.plate), take(old.laboratory)
    )
    ask: dict[str, Any] = {"companions": ALL, "p_values": {"null_size": 50}}
    one, other = score(screen, features, **ask), score(Screen(wells, one_fold(wells)), features[order], **ask)
    for metric in one.units:
        assert by_unit(other, metric) == pytest.approx(by_unit(one, metric), abs=1e-9)
    assert other.diagnostics["p.mAP.seed0.p"] == one.diagnostics["p.mAP.seed0.p"]


@pytest.mark.parametrize("steps", [[], ["standardize"], ["mad_robustize", "int"]])
def test_one_global_factor_does_not_matter(steps: list[str]) -> None:
    """All features times one number score the same where no eps is added (zca has one)."""
    screen, features = make_screen(1)
    once, again = (score(screen, features * factor, normalize=steps, drop_std=None) for factor in (1.0, 1e-3))
    for metric in once.units:
        assert by_unit(again, metric) == pytest.approx(by_unit(once, metric), abs=1e-9)


def test_row_normalisation_after_whitening_changes_nothing() -> None:
    """Cosine does not see the length of whitened profiles."""
    screen, features = make_screen(2, width=12)
    whitened = score(screen, features, normalize=["zca"], companions=[])
    longer = features.copy()
    plate = np.array(screen.wells.plate)
    for name in np.unique(plate):
        centre = features[(plate == name) & screen.wells.control].mean(axis=0)
        treated = (plate == name) & ~screen.wells.control
        longer[treated] = centre + 3 * (features[treated] - centre)
    assert by_unit(score(screen, longer, normalize=["zca"], companions=[]), "mAP") == pytest.approx(
        by_unit(whitened, "mAP"), abs=1e-9
    )


def test_shuffled_labels_score_chance() -> None:
    """Labels permuted inside plates bring the score to chance, real ones lie far above."""
    screen, features = make_screen(3, plates=6, per_plate=6, effect=3.0)
    real = score(screen, features, companions=[])
    rng, names = np.random.default_rng(0), np.array(screen.wells.perturbation)
    plate = np.array(screen.wells.plate)
    for name in np.unique(plate):
        here = np.flatnonzero((plate == name) & ~screen.wells.control)
        names[here] = names[rng.permutation(here)]
    old = screen.wells
    wells = Wells(old.ids, tuple(names.tolist()), old.control, None, old.plate, old.laboratory)
    shuffled = score(Screen(wells, screen.folds), features, companions=[])
    chance = shuffled.diagnostics["chance.mAP"]
    assert headline(real) > chance + 0.2
    assert abs(headline(shuffled) - chance) < 0.05


def test_samples_of_a_well_are_aggregated() -> None:
    """Mean and median over the samples of a well equal embeddings that were averaged before."""
    screen, features = make_screen(4)
    rng = np.random.default_rng(0)
    well_of = rng.permutation(np.repeat(np.arange(len(features)), 3))
    samples = features[well_of] + rng.standard_normal((len(well_of), features.shape[1]))
    several = Screen(screen.wells, screen.folds, well_of)
    for how, reduce in (("mean", np.mean), ("median", np.median)):
        before = np.array([reduce(samples[well_of == well], axis=0) for well in range(len(features))])
        assert by_unit(score(several, samples, aggregate=how), "mAP") == pytest.approx(
            by_unit(score(screen, before), "mAP"), abs=1e-9
        )


def test_folds_are_apart() -> None:
    """Each fold is scored alone, and the labels of all stand in one block of units."""
    screen, features = make_screen(5, plates=4)
    plate = np.array(screen.wells.plate)
    folds = []
    for number, pair in enumerate((("p0", "p1"), ("p2", "p3"))):
        inside = np.isin(plate, pair)
        scored, held = inside & ~screen.wells.control, inside & screen.wells.control
        folds.append(WellFold(number, np.flatnonzero(scored), np.flatnonzero(held)))
    both = score(Screen(screen.wells, tuple(folds)), features)
    assert both.units["mAP"].fold.tolist() == [0, 0, 0, 1, 1, 1]
    alone = score(Screen(screen.wells, (folds[1],)), features)
    assert both.units["mAP"].value[3:] == pytest.approx(alone.units["mAP"].value, abs=1e-12)
    assert both.units["mAP.b"].value == pytest.approx(both.units["mAP"].value[[1, 4]])


def test_controls_can_take_part() -> None:
    """``keep_controls`` gives negative controls a label of their own; otherwise they are not in the gallery."""
    screen, features = make_screen(6)
    without, kept = score(screen, features), score(screen, features, keep_controls=True)
    assert without.units["mAP"].unit == ("a", "b", "c")
    assert set(without.diagnostics["queries.gallery"]) == {17}
    assert kept.units["mAP"].unit == ("DMSO", "a", "b", "c")
    assert set(kept.diagnostics["queries.gallery"]) == {35}
    everything = Screen(screen.wells, (WellFold(0, np.arange(len(features)), screen.folds[0].controls),))
    assert by_unit(score(everything, features), "mAP") == by_unit(without, "mAP")


def test_activity_ranks_controls_of_the_own_plate() -> None:
    """The gallery of activity is the replicates and the controls of the query's plate."""
    screen, features = make_screen(7)
    evaluation = score(screen, features, companions=["activity"], keep_controls=True)
    assert set(by_unit(evaluation, "activity_mAP")) == {"a", "b", "c"}
    assert evaluation.diagnostics["chance.activity_mAP"] == pytest.approx(
        score(screen, features, companions=["activity"]).diagnostics["chance.activity_mAP"]
    )


def test_p_values_tell_effects_from_noise() -> None:
    """A planted effect has a small q-value and a screen without any has none; activity comes with the flag."""
    screen, features = make_screen(8, labels=("strong", "none", "neither"), effect=0.0, per_plate=4)
    noise = score(screen, features, companions=[], normalize="none", p_values=True).diagnostics
    features[np.array(screen.wells.perturbation) == "strong"] += 6
    evaluation = score(screen, features, companions=[], normalize="none", p_values=True)
    facts = evaluation.diagnostics
    assert any("as independent" in note for note in evaluation.notes)
    for metric in ("mAP", "activity_mAP"):
        p, q = (np.array(facts[f"p.{metric}.seed0.{column}"]) for column in "pq")
        assert (q >= p).all()
        assert q[facts[f"p.{metric}.unit"].index("strong")] < 0.001
        assert min(noise[f"p.{metric}.seed0.q"]) > 0.001
    assert "p.mAP_cross_plate.seed0.p" not in facts


def test_equal_embeddings_give_equal_scores() -> None:
    """Two evaluations agree to the last bit, for any size of block to 1e-12."""
    screen, features = make_screen(9)
    once, again = score(screen, features, companions=ALL), score(screen, features, companions=ALL)
    for metric in once.units:
        assert np.array_equal(once.units[metric].value, again.units[metric].value)
    small = score(screen, features, companions=ALL, block=3)
    assert by_unit(small, "mAP") == pytest.approx(by_unit(once, "mAP"), abs=1e-12)


def add_single(screen: Screen) -> Screen:
    """Give one well a label of its own."""
    names = list(screen.wells.perturbation)
    names[0] = "single"
    old = screen.wells
    return Screen(Wells(old.ids, tuple(names), old.control, None, old.plate, old.laboratory), screen.folds)


def test_label_without_replicate() -> None:
    """A label of a single well is undefined, and with it the fold; ``omit`` leaves it out; a note says so."""
    screen, features = make_screen(10)
    screen = add_single(screen)
    evaluation = score(screen, features, companions=[])
    assert np.isnan(by_unit(evaluation, "mAP")["single"])
    assert headline(evaluation) is None
    assert evaluation.diagnostics["left_out.mAP"] == 1
    note = next(note for note in evaluation.notes if "single (fold 0)" in note)
    assert note.endswith("set protocol.params.undefined=omit to average the others")
    kept = score(screen, features, companions=[], undefined="omit")
    assert headline(kept) == pytest.approx(np.nanmean(kept.units["mAP"].value))


def test_places_that_are_not_known() -> None:
    """Without plates or with one laboratory the companions are undefined and a note says why."""
    screen, features = make_screen(11)
    old = screen.wells
    bare = Screen(Wells(old.ids, old.perturbation, old.control, laboratory=("x",) * len(old.ids)), screen.folds)
    evaluation = score(bare, features, normalize=[{"standardize": {"by": "all"}}], companions=ALL)
    assert headline(evaluation) is not None
    assert headline(evaluation, "activity_mAP") is not None
    for metric in ("mAP_cross_plate", "mAP_cross_lab", "plate_mAP", "lab_mAP"):
        assert headline(evaluation, metric) is None
        assert evaluation.diagnostics[f"chance.{metric}"] is None
    text = " ".join(evaluation.notes)
    assert "the data know no plate" in text
    assert "all wells lie in one laboratory" in text


def test_kind_of_unit() -> None:
    """Units are compounds, or genes where all kinds are genetic."""
    screen, features = make_screen(12)
    assert score(screen, features).units["mAP"].kind == "compound"
    old = screen.wells
    wells = Wells(
        old.ids, old.perturbation, old.control, None, old.plate, old.laboratory, kind=("CRISPR",) * len(old.ids)
    )
    assert score(Screen(wells, screen.folds), features).units["mAP"].kind == "gene"


def test_dead_features_are_dropped_and_told() -> None:
    """Features without variance on the controls of one plate go; more than half of them is a warning."""
    screen, features = make_screen(13)
    dead = screen.wells.control & (np.array(screen.wells.plate) == "p1")
    features[np.ix_(dead, [0, 1, 2])] = 0.25
    evaluation = score(screen, features)
    assert evaluation.diagnostics["features_dropped"] == 3
    assert any("more than half of the features" in note for note in evaluation.notes)
    assert by_unit(evaluation, "mAP") == pytest.approx(by_unit(score(screen, features[:, 3:]), "mAP"), abs=1e-9)


def test_oddities_of_whitening_are_told_once() -> None:
    """Tiny features and duplicated controls give one sentence each, with the number of plates."""
    screen, features = make_screen(14, width=12)
    assert "p0 and 2 more" in next(
        note for note in score(screen, features * 1e-5, drop_std=None).notes if "so tiny that eps" in note
    )
    held = np.flatnonzero(screen.wells.control)
    features[held[0]] = features[held[1]]
    assert any("duplicated controls" in note for note in score(screen, features).notes)


def test_whitening_by_few_controls_is_told() -> None:
    """One sentence a step and fold, with the range over plates; none where controls span everything."""
    screen, features = make_screen(14, width=12)
    first = next(row for row in np.flatnonzero(screen.wells.control).tolist() if screen.wells.plate[row] == "p1")
    fold = screen.folds[0]
    uneven = Screen(screen.wells, (WellFold(0, fold.rows, fold.controls[fold.controls != first]),))
    counts = Counter(screen.wells.plate[row] for row in uneven.folds[0].controls.tolist())
    low, high = min(counts.values()), max(counts.values())
    notes = [note for note in score(uneven, features).notes if "do not span" in note]
    assert notes == [
        f"zca: {low} to {high} controls for 12 features; the {13 - high} to {13 - low} directions that they do not "
        "span get the gain of the last axis (fold 0)"
    ]
    assert not any("do not span" in note for note in score(screen, features[:, :2]).notes)


def test_zero_profiles_are_told() -> None:
    """A profile that is zero after normalisation has similarity 0 to all; a note counts them."""
    screen, features = make_screen(15)
    features[0] = 0
    evaluation = score(screen, features, normalize="none")
    assert evaluation.diagnostics["zero_profiles"] == 1
    assert any("1 wells have a profile of zeros" in note for note in evaluation.notes)


def break_controls(screen: Screen, left: int) -> Screen:
    """Leave plate p1 only some of its controls."""
    held = np.flatnonzero(screen.wells.control & (np.array(screen.wells.plate) == "p1"))
    keep = np.setdiff1d(np.arange(len(screen.wells.ids)), held[left:])
    fold = WellFold(0, screen.folds[0].rows, np.intersect1d(screen.folds[0].controls, keep))
    return Screen(screen.wells, (fold,))


@pytest.mark.parametrize("left", [0, 1])
def test_plate_without_controls(left: int) -> None:
    """A plate with fewer than 2 controls is an error that names it; nothing falls back to another scope."""
    screen, features = make_screen(16)
    with pytest.raises(UsageError, match=rf"fold 0, plate p1: drop_std needs at least 2 negative controls, got {left}"):
        score(break_controls(screen, left), features)
    with pytest.raises(UsageError, match="plate p1: zca needs at least 2 negative controls"):
        score(break_controls(screen, left), features, drop_std=None)
    score(break_controls(screen, left), features, drop_std=None, normalize=[{"zca": {"by": "all"}}], companions=[])


def test_collapsed_encoder() -> None:
    """An embedding that is constant on the controls of a plate is an error that names it."""
    screen, features = make_screen(17)
    with pytest.raises(UsageError, match="plate p0: the embedding is constant on the negative controls"):
        score(screen, np.full_like(features, 0.1))


def test_features_dead_on_different_plates() -> None:
    """When every feature is dead on some plate, nothing is left to compare."""
    screen, features = make_screen(18, width=2)
    plate = np.array(screen.wells.plate)
    for column, name in enumerate(("p0", "p1")):
        features[screen.wells.control & (plate == name), column] = 0
    with pytest.raises(UsageError, match="every feature is constant on the negative controls of some plate"):
        score(screen, features)


def test_constant_feature_cannot_be_whitened_by_correlation() -> None:
    """zca_cor names the plate on which a feature does not vary."""
    screen, features = make_screen(19)
    features[screen.wells.control & (np.array(screen.wells.plate) == "p2"), 1] = 3
    with pytest.raises(UsageError, match="plate p2: zca_cor: 1 of 5 features are constant"):
        score(screen, features, drop_std=None, normalize=["zca_cor"])


def test_overflow_after_a_step() -> None:
    """Infinite values after a step are an error with the plate and the number of features."""
    screen, features = make_screen(20)
    features[screen.wells.control, 0] = 1
    features[0, 0] = 1e300
    with pytest.raises(UsageError, match="plate p0: 1 of 5 features are NaN or infinite after mad_robustize"):
        score(screen, features, drop_std=None, normalize=["mad_robustize"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"label": "dose"}, "the data know no doses"),
        ({"normalize": [{"standardize": {"by": "plate"}}]}, "the data know no plates"),
    ],
)
def test_columns_that_are_not_known(params: dict[str, Any], message: str) -> None:
    """Parameters that need a column the data lack are refused."""
    screen, features = make_screen(21)
    old = screen.wells
    bare = Screen(Wells(old.ids, old.perturbation, old.control), screen.folds)
    with pytest.raises(UsageError, match=message):
        score(bare, features, **{"normalize": "none", **params})


def relabel(names: Sequence[str]) -> tuple[Screen, np.ndarray]:
    """Return wells of given labels without controls."""
    wells = Wells(tuple(f"w{n}" for n in range(len(names))), tuple(names), np.zeros(len(names), dtype=bool))
    return Screen(wells, one_fold(wells)), np.random.default_rng(0).standard_normal((len(names), 3))


@pytest.mark.parametrize(
    ("names", "message"), [(("a", "b", "c"), "none of 3 labels has a second well"), (("a", "a"), "a is the only label")]
)
def test_nothing_to_retrieve(names: tuple[str, ...], message: str) -> None:
    """Labels without replicates, and a single label, are errors."""
    screen, features = relabel(names)
    with pytest.raises(UsageError, match=message):
        score(screen, features, normalize="none", drop_std=None)


def test_wells_without_samples() -> None:
    """A well of a fold without embedding is named."""
    screen, features = make_screen(22)
    partial = Screen(screen.wells, screen.folds, np.arange(1, len(features)))
    with pytest.raises(DamagedFileError, match="w0"):
        score(partial, features[1:])


def test_other_samples_and_other_datasets() -> None:
    """Embeddings of other samples, and data without wells, are refused."""
    screen, features = make_screen(23)
    other = Embeddings(tuple(reversed(screen.ids)), features, "last", 0, "")
    with pytest.raises(DamagedFileError, match="not those of this dataset"):
        PROTOCOL.evaluate(other, screen, Params(), 0)
    with pytest.raises(UsageError, match="needs a dataset with wells"):
        PROTOCOL.evaluate(other, object(), Params(), 0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"normalize": ["zac"]}, "unknown step 'zac'. Did you mean zca"),
        ({"normalize": [{"zca": 1}]}, "zca: expected a mapping"),
        ({"normalize": [{"zca": {"esp": 1.0}}]}, "Extra inputs"),
        ({"normalize": "zca"}, "list"),
        ({"companions": ["plates"]}, "cross_plate"),
        ({"companions": ["plate", "plate"]}, "a name stands twice"),
        ({"ties": "average"}, "grouped"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    """Mistakes in a spec are told with what is known."""
    with pytest.raises(ValidationError, match=message):
        Params.model_validate(params)


def test_spellings_of_steps_mean_the_same() -> None:
    """A bare name, empty options and ``dmso`` for negcon are one spec, so that hashes agree."""
    written = [
        ["zca", "int"],
        [{"zca": {"fit": "dmso", "by": "plate", "eps": 1e-4}}, {"int": {"by": "plate", "c": 0.5}}],
    ]
    assert all(Params.model_validate({"normalize": one}) == Params() for one in written)
    assert Params.model_validate({"normalize": "none"}).normalize == []
    assert Params.model_validate({"p_values": True}).p_values.null_size == 10_000
    assert Params.model_validate({"p_values": False}).p_values is None


def test_metric_of_any_label_can_be_named(tmp_path: Path) -> None:
    """A spec may list ``mAP.LABEL`` for any label; a metric that the protocol has not is refused."""
    registry = load_registry()
    text = "include: jump\nname: mine\nmetrics:\n  - {name: mAP, primary: true}\n  - {name: METRIC}\n"
    for name in ("mAP.JCP2022_037716", "plate_mAP"):
        (tmp_path / "mine.yaml").write_text(text.replace("METRIC", name))
        task = bind(registry, tmp_path / "mine.yaml", None, {})
        assert [metric.name for metric in task.spec.metrics] == ["mAP", name]
    (tmp_path / "mine.yaml").write_text(text.replace("METRIC", "pcc"))
    with pytest.raises(SpecError, match=r"replicate-retrieval has no pcc; known: mAP, mAP\.\*"):
        bind(registry, tmp_path / "mine.yaml", None, {})
