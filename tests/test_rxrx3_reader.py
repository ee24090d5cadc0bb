"""The rxrx3 reader: wells, folds, relations and images; oracles of the reference folder, and bad input."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness.tasks.datasets.github import find_github_file
from harness.tasks.datasets.imaging.jpeg2000 import decode_grey
from harness.tasks.datasets.mirror import Repository
from harness.tasks.datasets.rxrx3.dataset import RxrxDataset
from harness.tasks.datasets.rxrx3.folds import Folds, build_folds
from harness.tasks.datasets.rxrx3.metadata import read_metadata
from harness.tasks.datasets.rxrx3.reader import READER, Params, Source
from harness.tasks.datasets.rxrx3.relations import LICENCES
from harness.tasks.protocols.gene_recall import PROTOCOL
from harness.tasks.wells import RelatedWells
from PIL import Image
from places import SHARED, needs_shared
from rxrx3_factory import (
    CORE,
    UNALIGNED,
    Tree,
    aligned_spec,
    alter_shard,
    alter_table,
    encode,
    key_of,
    write_images,
    write_shard,
    write_tree,
)

from harness import tasks as specs
from harness.errors import DamagedFileError, HarnessError, MissingDataError, SpecError, UnknownNameError, UsageError
from harness.joining import Keyed
from harness.specs import load_spec
from harness.types import DataContext, Dataset, Embeddings

ORACLES = SHARED / "oracles/rxrx3"
SMALL = {"n": 2, "n_images": 3}
"""Folds that the generated wells allow."""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write tables and lists."""
    return write_tree(tmp_path / "data")


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, dict[str, Any]]:
    """Write a data set of few wells with images; tests read it only."""
    tree = write_tree(tmp_path_factory.mktemp("rxrx3") / "data", n_genes=2, n_wells=3, n_compounds=1, n_controls=1)
    return tree, write_images(tree)


@pytest.fixture
def images(pictured: tuple[Tree, dict[str, Any]], tmp_path: Path) -> Tree:
    """Copy the data set with images, to damage it."""
    return pictured[0].copy(tmp_path / "data")


def open_oracle(case: str, tmp_path: Path, limit: int | None = None, **params: object) -> RxrxDataset:
    """Open one case of the reference folder."""
    mirrors = (ORACLES / case / "data", SHARED / "data")
    context = DataContext(data_dirs=mirrors, cache=tmp_path, offline=True, limit=limit)
    return READER.open(UNALIGNED, Source(), Params.model_validate(params), context)


def sha256(lines: list[str]) -> str:
    """Hash lines as the oracles do."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# --- oracles -----------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("case", ["gene_gene", "compound_gene"])
def test_the_fold_builder_draws_the_wells_of_the_oracle(case: str, tmp_path: Path) -> None:
    """Wells of every fold and the shared controls are those of the reference, one for one."""
    oracle = json.loads((ORACLES / case / "expected.json").read_text())["fold_builder"]
    asked = oracle["options"]
    dataset = open_oracle(
        case, tmp_path,
        folds={"n": asked["n_folds"], "n_images": asked["n_images"], "seed": asked["seed"]},
        controls_per_batch=asked["controls_per_batch"], sources=[],
    )  # fmt: skip
    lines = [f"{fold.number} {dataset.ids[row]}" for fold in dataset.folds for row in fold.rows]
    assert sha256(lines) == oracle["sha256_of_fold_lines"]
    for fold in dataset.folds:
        assert sha256([dataset.ids[row] for row in fold.controls]) == oracle["sha256_of_control_lines"]
    assert len(dataset.folds[0].controls) == oracle["n_controls"]
    assert len({dataset.wells.perturbation[row] for row in dataset.folds[0].rows}) == oracle["n_genes"]
    given = pd.read_csv(ORACLES / case / "fold_builder.csv")
    drawn = {(dataset.ids[row], fold.number) for fold in dataset.folds for row in fold.rows}
    assert drawn == set(zip(given["well_id"], given["fold"], strict=True))


@needs_shared
def test_given_folds_are_taken_with_the_controls_of_each(tmp_path: Path) -> None:
    """Genes of a fold are scored; its ``EMPTY_control`` wells, and no others, normalise them."""
    file = ORACLES / "gene_gene/folds.csv"
    dataset = open_oracle("gene_gene", tmp_path, folds={"file": str(file)}, sources=[])
    given = pd.read_csv(file).set_index("well_id")["fold"]
    for fold in dataset.folds:
        wanted = set(given[given == fold.number].index)
        assert {dataset.ids[row] for row in (*fold.rows, *fold.controls)} == wanted
        assert dataset.wells.control[fold.controls].all()
        assert not dataset.wells.control[fold.rows].any()
    assert sum(len(fold.rows) for fold in dataset.folds) == 4320


@needs_shared
def test_images_are_those_of_the_oracle_to_the_last_grey_level(tmp_path: Path) -> None:
    """Mean, sd and sha256 of every channel of the 13 wells, one of which lies in two files."""
    wanted = json.loads((ORACLES / "images/expected.json").read_text())["wells"]
    dataset = open_oracle("images", tmp_path, folds=None, rows="all", sources=[])
    assert set(dataset.ids) == set(wanted)
    batch = dataset.read("image", 0, 13)
    for well, channels in zip(batch.ids, batch.images, strict=True):
        for number, (image, oracle) in enumerate(zip(channels, wanted[well], strict=True), start=1):
            found = hashlib.sha256(image.tobytes()).hexdigest()
            assert (number, found) == (oracle["channel"], oracle["sha256"])
            assert image.mean() == pytest.approx(oracle["mean"], abs=1e-9)
            assert image.std() == pytest.approx(oracle["sd_ddof0"], abs=1e-9)


@needs_shared
def test_the_published_lists_reduce_to_the_published_numbers_of_pairs(tmp_path: Path) -> None:
    """Rows, undirected pairs and genes of the five lists."""
    dataset = open_oracle("gene_gene", tmp_path, folds=None)
    found = {
        name: (one.n_rows, len(one.pairs), len({gene for pair in one.pairs for gene in pair}), one.n_self)
        for name, one in dataset.relations.items()
    }
    assert found == {
        "CORUM": (75_298, 37_649, 3_505, 0), "HuMAP": (117_076, 58_538, 7_368, 0),
        "Reactome": (22_865, 18_565, 4_509, 0), "SIGNOR": (12_177, 11_617, 4_544, 0),
        "StringDB": (116_118, 58_059, 10_335, 0),
    }  # fmt: skip


@needs_shared
def test_interactions_of_the_oracle_are_read(tmp_path: Path) -> None:
    """30 compounds with their genes and values, as they stand in the file."""
    dataset = open_oracle("compound_gene", tmp_path, folds=None, rows="all", sources=[], interactions=True)
    assert len({item.compound for item in dataset.interactions}) == 30
    assert ("Compound 00", "TRPC4", 12.77020023575059) in dataset.interactions
    assert dataset.relations == {}


@needs_shared
@pytest.mark.parametrize("how", ["drawn", "given", "whole"])
def test_recalls_of_the_oracle_follow_from_the_wells(how: str, tmp_path: Path) -> None:
    """Reader and protocol together give the numbers of the authors' package, for all three kinds of folds."""
    oracle = json.loads((ORACLES / "gene_gene/expected.json").read_text())
    folds, controls = {
        "drawn": ({"n_images": 6}, 16),
        "given": ({"file": str(ORACLES / "gene_gene/folds.csv")}, None),
        "whole": (None, None),
    }[how]
    wanted = {
        "drawn": oracle["fold_builder"]["recall"]["pca_centerscale"],
        "given": oracle["folds_from_file"]["pca_centerscale"],
        "whole": {"0": oracle["alignments"]["pca_centerscale"]["mean"]},
    }[how]
    dataset = open_oracle(
        "gene_gene", tmp_path, folds=folds, controls_per_batch=controls, sources=["SIGNOR", "Reactome"]
    )
    table = pd.read_parquet(
        ORACLES / "gene_gene/data/recursionpharma/rxrx3-core/OpenPhenom_rxrx3_core_embeddings.parquet"
    )
    features = table.set_index("well_id").loc[list(dataset.ids)].to_numpy(np.float32)
    params = PROTOCOL.Params.model_validate({"align": {"companions": []}, "tails": ["top5"]})
    units = PROTOCOL.evaluate(Embeddings(dataset.ids, features, "last", 0, ""), dataset, params, 0).units
    for source in dataset.relations:
        found = units[f"recall_top5.{source}"]
        for fold in dataset.folds:
            expected = wanted[str(fold.number)][source]["recall_top5"]
            assert found.value[found.fold == fold.number].mean() == pytest.approx(expected, abs=1e-12)


# --- wells -------------------------------------------------------------------------------------------------------


def test_the_dataset_offers_what_protocols_ask_for(tree: Tree) -> None:
    """It is a dataset of wells with relations whose samples are found by ``well_id``."""
    dataset = tree.open(folds=SMALL)
    assert isinstance(dataset, RelatedWells)
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset, Keyed)
    assert list(dataset.keys) == ["well_id"]
    assert list(dataset.ids) == sorted(dataset.ids)
    assert np.array_equal(dataset.well_of, np.arange(len(dataset.ids)))


def test_guides_pool_into_genes_and_compounds_keep_their_names(tree: Tree) -> None:
    """A gene called NA is one; doses belong to compounds, controls are ``EMPTY_control`` of both kinds."""
    wells = tree.open_map().wells
    assert set(wells.perturbation) == {
        "NA", "G00", "G01", "G02", "G03", "G04", "Drug_0", "Drug_1", "EMPTY_control", "CRISPR_control",
    }  # fmt: skip
    of = dict(zip(wells.ids, zip(wells.perturbation, wells.kind, wells.dose, wells.control, strict=True), strict=True))
    assert of["compound-001_1_A00001"][:3] == ("Drug_0", "COMPOUND", 1.0)
    assert of["compound-001_1_A90000"][3]
    assert not of["compound-001_1_A99000"][3]
    assert np.isnan(of["gene-001_1_A00000"][2])
    assert wells.batch[0] == "compound-001"
    assert wells.plate[0] == "compound-001/1"


def test_a_whole_map_holds_all_wells_or_those_of_genes(tree: Tree) -> None:
    """``rows: crispr`` leaves the compounds and their controls out."""
    (both,), (genes,) = tree.open_map().folds, tree.open(folds=None, controls_per_batch=None).folds
    assert (len(both.rows), len(both.controls)) == (36 + 9 + 4 + 3 + 1, 12)
    assert (len(genes.rows), len(genes.controls)) == (36 + 9, 9)
    assert set(both.controls) <= set(both.rows)


# --- folds -------------------------------------------------------------------------------------------------------


def test_folds_follow_the_hash_of_the_names(tree: Tree) -> None:
    """The draw repeats a naive one: sort by the hash of seed and name, cut into pieces."""
    dataset = tree.open(folds={**SMALL, "seed": 5}, controls_per_batch=2)
    table = pd.read_csv(tree.metadata, keep_default_na=False)

    def drawn(rows: pd.DataFrame) -> list[str]:
        return sorted(rows["well_id"], key=lambda name: hashlib.sha256(f"rxrx3|5|{name}".encode()).hexdigest())

    crispr = table[table["perturbation_type"] == "CRISPR"]
    genes = [drawn(rows) for name, rows in crispr.groupby("gene") if name != "EMPTY_control"]
    empty = crispr[crispr["treatment"] == "EMPTY_control"]
    controls = [name for _, rows in empty.groupby("experiment_name") for name in drawn(rows)[:2]]
    for number, fold in enumerate(dataset.folds):
        wanted = [name for names in genes for name in names[number * 3 : number * 3 + 3]]
        assert [dataset.ids[row] for row in fold.rows] == sorted(wanted)
        assert [dataset.ids[row] for row in fold.controls] == sorted(controls)
    assert not set(dataset.folds[0].rows) & set(dataset.folds[1].rows)


def test_the_draw_of_a_gene_does_not_depend_on_others(tree: Tree) -> None:
    """Order of the table, and other genes, change nothing."""
    before = tree.open(folds=SMALL)
    alter_table(tree.metadata, lambda table: table[table["gene"] != "G02"].iloc[::-1])
    after = tree.open(folds=SMALL)
    for old, new in zip(before.folds, after.folds, strict=True):
        kept = [before.ids[row] for row in old.rows if before.wells.perturbation[row] != "G02"]
        assert [after.ids[row] for row in new.rows] == kept
        assert [after.ids[row] for row in new.controls] == [before.ids[row] for row in old.controls]


@pytest.mark.parametrize(("rule", "sizes"), [("drop", (0, 0)), ("shrink", (2, 2))])
def test_short_genes_are_dropped_or_shrink(tree: Tree, rule: str, sizes: tuple[int, int]) -> None:
    """A gene with 5 wells of 6 leaves, or gives 2 a fold; a note says so."""
    gone = pd.read_csv(tree.metadata, keep_default_na=False).query("gene == 'G01'")["well_id"].iloc[0]
    alter_table(tree.metadata, lambda table: table[table["well_id"] != gone])
    dataset = tree.open(folds={**SMALL, "short_genes": rule})
    found = tuple(sum(dataset.wells.perturbation[row] == "G01" for row in fold.rows) for fold in dataset.folds)
    assert found == sizes
    assert dataset.notes[0].startswith("1 genes have fewer than 6 wells (folds.n 2 x folds.n_images 3), the fewest G01")
    with pytest.raises(DamagedFileError, match=r"the fewest G01 with 5: an incomplete table\?.*folds\.short_genes"):
        tree.open(folds=SMALL)


def test_controls_can_be_left_out(tree: Tree) -> None:
    """``controls_per_batch: 0`` embeds none, for runs without alignment."""
    assert [len(fold.controls) for fold in tree.open(folds=SMALL, controls_per_batch=0).folds] == [0, 0]


@pytest.mark.parametrize("protocol", ["gene-recall", "compound-gene"])
def test_experiments_without_controls_are_refused_when_opened(tree: Tree, protocol: str) -> None:
    """An alignment by experiment misses its controls at once; more are advised only where the table has them."""
    spec = aligned_spec(protocol, "pca_centerscale")
    tree.open(spec=spec, folds=SMALL)
    with pytest.raises(
        UsageError, match=r"pca_centerscale needs at least 1 EMPTY_control wells in each experim"
    ) as ours:
        tree.open(spec=spec, folds=SMALL, controls_per_batch=0)
    assert "fold 0: 3 of 3 have fewer, first: gene-001, gene-002, gene-003" in str(ours.value)
    assert "The table has 9 there: raise protocol.params.controls_per_batch" in str(ours.value)
    bare = "gene-002_1_A9"
    alter_table(tree.metadata, lambda table: table[~table["well_id"].str.startswith(bare)])
    with pytest.raises(UsageError, match=r"fold 0: 1 of 3 have fewer, first: gene-002\. The table has none") as theirs:
        tree.open(spec=spec, folds=SMALL)
    assert "controls_per_batch" not in str(theirs.value)
    tree.open(spec=aligned_spec(protocol, "tvn_global"), folds=SMALL)


BAD_FOLDS: dict[str, tuple[list[str], type[HarnessError], str]] = {
    "unknown well": (
        ["gene-001_1_A00000,0", "gene-009_1_A00000,0"],
        SpecError,
        r"1 of 2 wells are not among the 45 wells",
    ),
    "a compound": (["compound-001_1_A00000,0"], SpecError, r"first: compound-001_1_A00000; protocol\.params\.rows"),
    "well twice": (
        ["gene-001_1_A00000,0", "gene-001_1_A00000,1"],
        SpecError,
        r"1 wells stand more than once, first: gene-",
    ),
    "control twice": (["gene-001_1_A90000,0", "gene-001_1_A90000,0"], SpecError, r"first: gene-001_1_A90000"),
    "fold of text": (["gene-001_1_A00000,one"], SpecError, r":2: fold: expected a whole number, found 'one'"),
    "controls only": (["gene-001_1_A00000,0", "gene-001_1_A90000,1"], SpecError, r"fold 1 holds controls only"),
    "no rows": ([], DamagedFileError, "no rows"),
}


@pytest.mark.parametrize("name", BAD_FOLDS)
def test_bad_files_of_folds_are_refused(name: str, tree: Tree) -> None:
    """Wells that the table lacks, wells in two folds, folds without genes."""
    rows, kind, words = BAD_FOLDS[name]
    path = tree.root / "folds.csv"
    path.write_text("\n".join(["well_id,fold", *rows]) + "\n")
    with pytest.raises(kind, match=words):
        tree.open(folds={"file": str(path)})


def test_a_control_may_serve_two_folds(tree: Tree) -> None:
    """Controls only normalise, so folds may share them; a missing file is said to be missing."""
    path = tree.root / "folds.csv"
    rows = ["gene-001_1_A00000,0", "gene-002_2_A00001,4", "gene-001_1_A90000,0", "gene-001_1_A90000,4"]
    path.write_text("\n".join(["well_id,fold", *rows]) + "\n")
    dataset = tree.open(folds={"file": str(path)})
    assert [(fold.number, fold.controls.tolist()) for fold in dataset.folds] == [(0, [1]), (4, [1])]
    with pytest.raises(MissingDataError, match=r"folds\.file: .*none\.csv: no such file"):
        tree.open(folds={"file": str(tree.root / "none.csv")})


# --- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 200, 500])
def test_a_limit_leaves_an_evaluation_possible(tmp_path: Path, limit: int) -> None:
    """At least 40 genes with known pairs stay in every fold, with two controls or more in each of their batches."""
    tree = write_tree(tmp_path / "data", n_genes=60, n_wells=12, n_controls=9)
    dataset = tree.open(limit=limit, folds={"n": 2, "n_images": 6})
    assert len(dataset.ids) <= max(limit, 86)
    batch = np.array(dataset.wells.batch)
    for fold in dataset.folds:
        genes = {dataset.wells.perturbation[row] for row in fold.rows}
        assert len(genes) >= 40
        assert all(any(genes.issuperset(pair) for pair in one.pairs) for one in dataset.relations.values())
        assert all((batch[fold.controls] == name).sum() >= 2 for name in set(batch[fold.rows]))
    assert any(f"(--limit {limit})" in note for note in dataset.notes)
    assert ("fewer would leave no score" in dataset.notes[0]) == (limit == 1)


def test_a_limit_keeps_compounds_with_their_targets(tmp_path: Path) -> None:
    """Of both kinds some stay, the compound with the strongest binding among them, at all doses."""
    tree = write_tree(tmp_path / "data", n_genes=60, n_compounds=9)
    dataset = tree.open_map(limit=120, interactions=True, sources=[])
    kept = set(dataset.wells.perturbation)
    assert len(dataset.ids) <= 120
    assert {item.gene for item in dataset.interactions} | {"Drug_0"} <= kept
    doses = [
        dose for name, dose in zip(dataset.wells.perturbation, dataset.wells.dose, strict=True) if name == "Drug_0"
    ]
    assert doses == [0.01, 1.0]


def test_a_limit_above_the_number_of_wells_changes_nothing(tree: Tree) -> None:
    """All wells stay and no note is made."""
    whole, part = tree.open(folds=SMALL), tree.open(folds=SMALL, limit=1000)
    assert (part.ids, part.notes, part.data_hash) == (whole.ids, whole.notes, whole.data_hash)


# --- relations and interactions ----------------------------------------------------------------------------------


def test_pairs_count_once_and_genes_never_relate_to_themselves(tree: Tree) -> None:
    """Both directions are one pair; self pairs and unknown genes are counted and said; each list has its licence."""
    dataset = tree.open(folds=SMALL)
    corum = dataset.relations["CORUM"]
    assert corum.pairs == (
        ("G00", "G01"), ("G00", "NA"), ("G01", "G02"), ("G02", "G03"), ("G03", "G04"), ("NA", "UNKNOWN"),
    )  # fmt: skip
    assert (corum.n_rows, corum.n_self, corum.licence) == (12, 1, "CC-BY-NC-4.0")
    assert [one.licence for one in dataset.relations.values()] == [
        "CC-BY-NC-4.0", "CC-BY-4.0", "CC0-1.0", "CC-BY-NC-4.0", "CC-BY-4.0",
    ]  # fmt: skip
    assert dataset.notes[0].startswith("known pairs among the 6 genes of this task: CORUM 5 of 6, HuMAP 5 of 6, ")
    assert dataset.notes[1].startswith("rows that relate a gene to itself are left out: CORUM 1, HuMAP 1")


def test_a_list_without_any_known_pair_is_said_to_have_none(tree: Tree) -> None:
    """It stays, with 0 pairs among the genes: the protocol makes its score undefined."""
    tree.pairs("SIGNOR").write_text("entity1,entity2\nX,Y\n")
    dataset = tree.open(folds=SMALL, sources=["SIGNOR", "CORUM"])
    assert list(dataset.relations) == ["SIGNOR", "CORUM"]
    assert "SIGNOR 0 of 1, CORUM 5 of 6" in dataset.notes[0]


def test_interactions_come_from_the_repository_or_a_file(tree: Tree) -> None:
    """Sorted triples of compound, gene and nM; how much of them concerns the wells is said."""
    dataset = tree.open_map(interactions=True)
    assert dataset.interactions[0] == ("Drug_0", "G00", 10.0)
    assert len(dataset.interactions) == 5
    assert dataset.notes[-1] == ("known interactions: 5 of 5 concern this task (1 of 1 compounds, 5 of 5 genes)")
    mine = tree.root / "mine.csv"
    mine.write_text("treatment,gene_symbol,nM_value\nDrug_1,NA,3\nDrug_1,NA,5\n")
    assert tree.open_map(interactions=str(mine)).interactions == (("Drug_1", "NA", 3.0), ("Drug_1", "NA", 5.0))
    assert tree.open_map(interactions=str(mine)).notes[-1].endswith("; 1 stand with more than one value")
    assert tree.open_map().interactions == ()


# --- bad tables --------------------------------------------------------------------------------------------------


def set_cell(column: str, value: str, row: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return a change of one cell."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


def first_compound(path: Path) -> int:
    """Return the row of a compound at a dose."""
    return int(pd.read_csv(path)["concentration"].first_valid_index())


BAD_TABLES: dict[str, tuple[Callable[[Tree], object], type[HarnessError], str]] = {
    "no metadata": (
        lambda t: t.metadata.unlink(),
        MissingDataError,
        r"lab/core: metadata_rxrx3_core\.csv not found\. Searched:(?s:.*)huggingface\.co/datasets/lab/core",
    ),
    "missing columns": (
        lambda t: alter_table(t.metadata, lambda table: table.drop(columns=["treatment", "plate"])),
        DamagedFileError,
        r"missing columns: plate, treatment; found well_id",
    ),
    "a well twice": (
        lambda t: alter_table(t.metadata, lambda table: pd.concat([table, table.iloc[3:5]])),
        DamagedFileError,
        r"well_id: 2 wells stand more than once, first: (compound|gene)-",
    ),
    "no treatment": (
        lambda t: alter_table(t.metadata, set_cell("treatment", "", 4)),
        DamagedFileError,
        r"csv:6: treatment: 1 wells have no valid value, first: '.*' with ''; expected a value",
    ),
    "another kind": (
        lambda t: alter_table(t.metadata, set_cell("perturbation_type", "siRNA", 1)),
        DamagedFileError,
        r"csv:3: perturbation_type: .* with 'siRNA'; expected CRISPR or COMPOUND",
    ),
    "a dose of text": (
        lambda t: alter_table(t.metadata, set_cell("concentration", "high", first_compound(t.metadata))),
        DamagedFileError,
        r"concentration: 1 wells .* with 'high'; expected a positive number \(uM\) or nothing",
    ),
    "a line that breaks off": (
        lambda t: t.metadata.write_text(t.metadata.read_text()[:-30]),
        DamagedFileError,
        r"metadata_rxrx3_core\.csv: not a readable table \(.*Expected 10 columns, got \d",
    ),
    "no table at all": (
        lambda t: t.metadata.write_bytes(b"\xff\xfe\x00\x01" * 9),
        DamagedFileError,
        r"not a readable table",
    ),
    "an empty file": (lambda t: t.metadata.write_text(""), DamagedFileError, r"not a readable table"),
    "compounds only": (
        lambda t: alter_table(t.metadata, lambda table: table[table["perturbation_type"] == "COMPOUND"]),
        DamagedFileError,
        r"no wells of genes",
    ),
    "no list": (
        lambda t: t.pairs("HuMAP").unlink(),
        MissingDataError,
        r"lab/lists: .*HuMAP\.txt not found\. Searched:(?s:.*)data/lab/lists(?s:.*)GitHub: not asked(?s:.*)`curl ",
    ),
    "other columns": (
        lambda t: t.pairs("CORUM").write_text("gene1,gene2\nA,B\n"),
        DamagedFileError,
        r"relations: CORUM: .*CORUM\.txt: missing columns: entity1, entity2; found gene1, gene2",
    ),
    "a list that breaks off": (
        lambda t: t.pairs("CORUM").write_text("entity1,entity2\nA,B\nA\n"),
        DamagedFileError,
        r"CORUM\.txt: not a readable table \(.*Expected 2 columns, got 1",
    ),
    "a list with a name left out": (
        lambda t: t.pairs("CORUM").write_text("entity1,entity2\nA,B\nA,\n"),
        DamagedFileError,
        r"CORUM\.txt:3: 1 rows lack a name; truncated\?",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_refused(name: str, tree: Tree) -> None:
    """Each is named with what is wrong, and nothing is taken silently."""
    damage, kind, words = BAD_TABLES[name]
    damage(tree)
    with pytest.raises(kind, match=words):
        tree.open(folds=SMALL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("treatment,gene_symbol\nA,B\n", "missing columns: nM_value"),
        ("treatment,gene_symbol,nM_value\nA,B,\n", r":2: 1 rows are no interaction, first: 'A', 'B', ''"),
        ("treatment,gene_symbol,nM_value\nA,B,1\nA,B,-1\n", r":3: 1 rows .*positive number"),
        ("treatment,gene_symbol,nM_value\n,B,1\n", r":2: 1 rows"),
    ],
)
def test_bad_interactions_are_refused(text: str, words: str, tree: Tree) -> None:
    """Missing columns, empty names, and values that are no amounts."""
    tree.interactions.write_text(text)
    with pytest.raises(DamagedFileError, match=words):
        tree.open_map(interactions=True)
    with pytest.raises(MissingDataError, match=r"interactions: none\.csv: no such file"):
        tree.open_map(interactions="none.csv")


def test_bad_parameters_are_refused(tree: Tree) -> None:
    """Unknown sources, sources twice, and compounds in drawn folds."""
    with pytest.raises(UnknownNameError, match=r"unknown source 'CORUN'\. Did you mean CORUM"):
        tree.open(sources=["CORUN"])
    with pytest.raises(UsageError, match="a source stands twice"):
        tree.open(sources=["CORUM", "CORUM"])
    with pytest.raises(ValueError, match="all needs folds: null"):
        Params(rows="all")


# --- images ------------------------------------------------------------------------------------------------------


def test_images_come_in_the_order_of_the_wells(pictured: tuple[Tree, dict[str, Any]]) -> None:
    """Shards hold wells in another order, and channels of one well in two files; batches of any size agree."""
    tree, wanted = pictured
    dataset = tree.open_map()
    for size in (len(dataset.ids), 4):
        for start in range(0, len(dataset.ids), size):
            batch = dataset.read("image", start, start + size)
            assert batch.ids == dataset.ids[start : start + size]
            assert batch.images.dtype == np.uint8
            assert np.array_equal(batch.images, np.stack([wanted[well] for well in batch.ids]))


def test_pixels_are_those_of_pillow() -> None:
    """Noise, a lossy image and a bare codestream decode to the same grey levels."""
    noise = np.random.default_rng(3).integers(0, 256, (512, 512), dtype=np.uint8)
    for options in ({}, {"quality_mode": "dB", "quality_layers": [40], "irreversible": True}, {"no_jp2": True}):
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "JPEG2000", **options)
        found = decode_grey(stream.getvalue(), "noise", 512)
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(stream.getvalue()))))


def test_a_mirror_without_images_serves_vectors(tree: Tree) -> None:
    """Opening, hashes and folds need no image file; reading says what is missing and what runs without."""
    dataset = tree.open(folds=SMALL)
    assert len(dataset.fingerprint("image")) == 64
    with pytest.raises(MissingDataError) as caught:
        dataset.read("image", 0, 2)
    for words in ("images of 45 of 45 wells are missing, first: gene-001_1_A0", "holds 0 of 45 wells in 0 of 3 files",
                  "train-00000-of-00003.parquet not found", "embeddings:PATH"):  # fmt: skip
        assert words in str(caught.value)


def test_ids_do_not_depend_on_the_images(images: Tree) -> None:
    """The samples and the hash of the data are the same with and without image files; the fingerprint is not."""
    before = images.open_map()
    facts = before.ids, before.data_hash, before.fingerprint("image")
    for path in images.shards:
        path.unlink()
    after = images.open_map()
    assert (after.ids, after.data_hash) == facts[:2]
    assert after.fingerprint("image") != facts[2]


def test_a_mirror_may_hold_only_the_shards_that_a_task_needs(images: Tree) -> None:
    """Wells of missing shards are counted and named, unless the task does not ask for them."""
    images.shards[2].unlink()
    keys = [key for path in images.shards for key in pd.read_parquet(path)["__key__"]]
    table = pd.read_csv(images.metadata, keep_default_na=False)["well_id"]
    whole = [well for well in table if all(key_of(well, channel) in keys for channel in range(6))]
    with pytest.raises(MissingDataError) as caught:
        images.open_map().read("image", 0, 1)
    told = f"images of {13 - len(whole)} of 13 wells are missing, first: {min(set(table) - set(whole))}"
    assert told in str(caught.value)
    assert f"the mirror holds {len(whole)} of 13 wells in 2 of 3 files" in str(caught.value)
    alter_table(images.metadata, lambda rows: rows[rows["well_id"].isin(whole)])
    assert len(images.open_map(sources=[]).read("image", 0, len(whole))) == len(whole) > 5


def test_a_channel_that_lacks_inside_a_shard_is_no_matter_of_missing_shards(images: Tree) -> None:
    """In a mirror of some shards too, the key is named."""
    images.shards[2].unlink()
    keys = list(pd.read_parquet(images.shards[0])["__key__"])
    remove_row(images, keys[8])
    whole = {key.rpartition("_")[0] for key in keys[6:12]}
    alter_table(
        images.metadata, lambda rows: rows[[key_of(well, 0).rpartition("_")[0] in whole for well in rows["well_id"]]]
    )
    alter_table(images.metadata, lambda rows: rows.assign(treatment="G00_guide_1", perturbation_type="CRISPR"))
    with pytest.raises(DamagedFileError, match=f"1 of 1 wells lack channels, first: {keys[8]} in no shard"):
        images.open_map().read("image", 0, 1)


def test_a_dataset_can_be_pickled_after_reading(pictured: tuple[Tree, dict[str, Any]]) -> None:
    """Open files and locks stay behind."""
    dataset = pictured[0].open_map()
    before = dataset.read("image", 3, 5)
    again = pickle.loads(pickle.dumps(dataset)).read("image", 3, 5)
    assert np.array_equal(again.images, before.images)


def test_keys_are_looked_up_once(images: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of a shard are kept in the cache under the hash of its content."""
    images.open_map().read("image", 0, 1)
    assert len(list((images.root / "cache/rxrx3").glob("keys-*.txt"))) == 3
    monkeypatch.setattr("harness.tasks.datasets.rxrx3.image_index._read_column", None)
    assert len(images.open_map().read("image", 0, 2)) == 2


def row_of(tree: Tree, key: str) -> Path:
    """Return the shard that holds a key."""
    from pyarrow import parquet

    return next(path for path in tree.shards if key in parquet.read_table(path)["__key__"].to_pylist())


def replace_image(tree: Tree, key: str, make: Callable[[bytes], bytes | None]) -> None:
    """Replace the encoded image of one key."""
    alter_shard(
        row_of(tree, key),
        lambda rows: rows.__setitem__(slice(None), [(k, make(data) if k == key else data) for k, data in rows]),
    )


def remove_row(tree: Tree, key: str) -> None:
    """Take one row out of its shard."""
    alter_shard(row_of(tree, key), lambda rows: rows.__setitem__(slice(None), [row for row in rows if row[0] != key]))


KEY = "gene-001/Plate1/A00000_s1_3"
GREY = np.zeros((512, 512), dtype=np.uint8)
BAD_IMAGES: dict[str, tuple[Callable[[Tree], object], str]] = {
    "channel missing": (lambda t: remove_row(t, KEY), rf"1 of 13 wells lack channels, first: {KEY} in no shard"),
    "well missing": (
        lambda t: [remove_row(t, f"{KEY[:-1]}{channel}") for channel in range(1, 7)],
        r"1 of 13 wells lack channels, first: gene-001/Plate1/A00000_s1_1, ",
    ),
    "channel twice": (
        lambda t: alter_shard(row_of(t, KEY), lambda rows: rows.append((KEY, b""))),
        rf"{KEY}: this well and channel stand in .*parquet already",
    ),
    "a seventh channel": (
        lambda t: alter_shard(t.shards[0], lambda rows: rows.append((f"{KEY[:-1]}7", b""))),
        r"A00000_s1_7: expected a channel from 1 to 6",
    ),
    "another key": (
        lambda t: alter_shard(t.shards[1], lambda rows: rows.append(("gene-001_1_A00000", b""))),
        r"__key__: 'gene-001_1_A00000' is no key; expected EXPERIMENT/PlateN/ADDRESS_s1_CHANNEL",
    ),
    "no key": (
        lambda t: alter_shard(t.shards[1], lambda rows: rows.append((None, b""))),  # type: ignore[arg-type]
        r"__key__: '' is no key",
    ),
    "truncated": (
        lambda t: replace_image(t, KEY, lambda data: data[:-40]),
        rf"parquet: {KEY}: \d+ bytes are not a whole JPEG 2000 image",
    ),
    "another format": (
        lambda t: replace_image(t, KEY, lambda data: b"\x89PNG\r\n\x1a\n" * 20),
        rf"{KEY}: 160 bytes are not a whole JPEG 2000 image",
    ),
    "no bytes": (lambda t: replace_image(t, KEY, lambda data: None), rf"{KEY}: no image; download the shard again"),
    "another size": (
        lambda t: replace_image(t, KEY, lambda data: encode(GREY[:256])),
        rf"{KEY}: expected one channel of 512 x 512 pixels, found \(256, 512\)",
    ),
    "16 bits": (
        lambda t: replace_image(t, KEY, lambda data: encode(GREY.astype(np.uint16))),
        rf"{KEY}: expected 8 bits a pixel \(uint8\), found uint16",
    ),
    "colours": (
        lambda t: replace_image(t, KEY, lambda data: encode(np.zeros((512, 512, 3), dtype=np.uint8))),
        rf"{KEY}: expected one channel of 512 x 512 pixels, found \(512, 512, 3\)",
    ),
    "no parquet": (lambda t: t.shards[1].write_text("<html>"), r"00001-of-00003\.parquet: not a readable parquet file"),
    "half a parquet": (
        lambda t: t.shards[0].write_bytes(t.shards[0].read_bytes()[:9000]),
        r"00000-of-00003\.parquet: not a readable parquet file",
    ),
    "no key column": (
        lambda t: pd.DataFrame({"key": ["a"]}).to_parquet(t.shards[2]),
        r"00002-of-00003\.parquet: column __key__ is missing; found key",
    ),
    "no image column": (
        lambda t: pd.read_parquet(row_of(t, KEY))[["__key__"]].to_parquet(row_of(t, KEY)),
        r"jp2: row group 0 cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused(name: str, images: Tree) -> None:
    """The key is named, or the file where no key is concerned."""
    damage, words = BAD_IMAGES[name]
    damage(images)
    dataset = images.open_map()
    with pytest.raises(DamagedFileError, match=words):
        dataset.read("image", 0, len(dataset.ids))


def test_another_view_is_refused(tree: Tree) -> None:
    """The reader offers images only."""
    dataset = tree.open(folds=SMALL)
    for ask in (dataset.fingerprint, lambda view: dataset.read(view, 0, 1)):
        with pytest.raises(UsageError, match="view 'points': the rxrx3 reader offers image"):
            ask("points")


# --- hashes ------------------------------------------------------------------------------------------------------


def test_hashes_do_not_depend_on_place_or_order(tree: Tree, tmp_path: Path) -> None:
    """A copy elsewhere, with its rows in another order, has the same hashes."""
    copy = tree.copy(tmp_path / "elsewhere")
    alter_table(copy.metadata, lambda table: table.sort_values("well_id"))
    before, after = tree.open(folds=SMALL), copy.open(folds=SMALL)
    assert (after.data_hash, after.fingerprint("image")) == (before.data_hash, before.fingerprint("image"))


CHANGES: dict[str, Callable[[Tree], object]] = {
    "a treatment": lambda t: alter_table(t.metadata, lambda table: table.replace("G00_guide_1", "G09_guide_1")),
    "an experiment": lambda t: alter_table(t.metadata, lambda table: table.replace("gene-001", "gene-004")),
    "a pair": lambda t: t.pairs("Reactome").write_text("entity1,entity2\nG00,G03\n"),
    "an interaction": lambda t: t.interactions.write_text("treatment,gene_symbol,nM_value\nDrug_0,G00,5\n"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_shapes_a_score_shapes_the_hash_of_the_data(name: str, tree: Tree) -> None:
    """Treatments, batches and lists are data; none of them changes the embeddings."""
    before = tree.open_map(interactions=True)
    facts = before.data_hash, before.fingerprint("image")
    CHANGES[name](tree)
    after = tree.open_map(interactions=True)
    assert after.data_hash != facts[0]
    assert after.fingerprint("image") == facts[1]


def test_another_draw_is_other_data(tree: Tree) -> None:
    """Folds are part of the hash even where the wells are the same."""
    hashes = {tree.open(folds={**SMALL, "seed": seed}, controls_per_batch=None).data_hash for seed in range(3)}
    assert len(hashes) == 3


def test_one_pixel_changes_the_fingerprint(images: Tree) -> None:
    """One other image makes other embeddings of the same data."""
    before = images.open_map()
    facts = before.data_hash, before.fingerprint("image")
    replace_image(images, KEY, lambda data: encode(GREY))
    after = images.open_map()
    assert (after.data_hash == facts[0], after.fingerprint("image") == facts[1]) == (True, False)


def test_published_hashes_stand_for_files_that_are_not_here(images: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mirror the fingerprint asks Hugging Face, so that a later download changes nothing."""
    shards = images.open_map().shards
    here = shards.hash_contents()
    away = replace(shards, context=DataContext(cache=images.root / "cache2"))
    told = [type("File", (), {"path": name, "lfs": type("Lfs", (), {"sha256": value})}) for name, value in here.items()]
    monkeypatch.setattr("huggingface_hub.HfApi.get_paths_info", lambda *_, **__: told)
    monkeypatch.setattr("harness.tasks.datasets.rxrx3.shards.Shards.find_local", lambda self: {})
    assert away.hash_contents() == here
    assert list(replace(away, context=replace(away.context, offline=True)).hash_contents().values()) == [None] * 3


# --- lists on GitHub ---------------------------------------------------------------------------------------------


def test_a_list_is_downloaded_once_at_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address names the commit; the second time the cache has it, offline too."""
    asked: list[str] = []

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(b"entity1,entity2\nA,B\n")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    lists = Repository("lab/lists", "abc123")
    first = find_github_file(lists, "a/b.txt", DataContext(cache=tmp_path))
    assert first.read_text() == "entity1,entity2\nA,B\n"
    assert find_github_file(lists, "a/b.txt", DataContext(cache=tmp_path, offline=True)) == first
    assert asked == ["https://raw.githubusercontent.com/lab/lists/abc123/a/b.txt"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b.txt"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib.error.HTTPError("", 404, "", {}, None), "the repository has no such file"),  # type: ignore[arg-type]
        (urllib.error.HTTPError("", 429, "", {}, None), "refused with status 429"),  # type: ignore[arg-type]
        (urllib.error.URLError("name"), "no connection"),
    ],
)
def test_a_refused_list_says_why_and_how_to_get_it(
    error: OSError, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place that was searched, the reason, and a command."""

    def fail(address: str, timeout: float) -> None:
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    context = DataContext(data_dirs=(tmp_path / "mirror",), cache=tmp_path / "cache")
    with pytest.raises(MissingDataError) as caught:
        find_github_file(Repository("lab/lists", "abc123"), "a/b.txt", context)
    for part in (words, f"{tmp_path}/mirror/lab/lists/a/b.txt", f"{tmp_path}/cache/github/lab/lists/abc123/a/b.txt",
                 "curl --create-dirs -o DIR/lab/lists/a/b.txt https://raw.github"):  # fmt: skip
        assert part in str(caught.value)


# --- shipped specs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rxrx3", "rxrx3-full", "rxrx3-compound-gene"])
def test_shipped_specs_say_all_that_the_reader_takes(name: str) -> None:
    """Every parameter of the reader stands in the spec or has its default there, and licences are shown."""
    spec = load_spec(Path(specs.__file__).parent / f"specs/{name}.yaml")
    own = {key: value for key, value in spec.protocol.params.items() if key in Params.model_fields}
    params = Params.model_validate(own)
    assert Source.model_validate(spec.source.keys) == Source()
    assert (params.rows, params.folds is None) == (("crispr", False) if name == "rxrx3" else ("all", True))
    assert "Non-Commercial" in spec.licence
    assert all(LICENCES[source] in spec.licence for source in params.sources)
    assert (spec.input.channels, spec.input.um_per_px, spec.input.views) == (6, 0.65, ["image"])


# --- size --------------------------------------------------------------------------------------------------------


def test_a_gene_may_have_thousands_of_wells(tmp_path: Path) -> None:
    """The draw takes the same few of them; nothing grows with the square of the table."""
    tree = write_tree(tmp_path / "data", n_genes=2, n_wells=4000, n_compounds=0)
    split = build_folds(read_metadata(tree.metadata), Folds(), 32)
    assert [len(fold.rows) for fold in split.folds] == [20, 20, 20]
    write_shard(tree.root / CORE / "data/train-00000-of-00001.parquet", [])
    assert tree.open().shards.names == ("data/train-00000-of-00001.parquet",)
