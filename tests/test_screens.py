"""Tables of a user's own screen: read letter by letter, checked before anything is embedded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness.models.precomputed import build, embeddings_card
from harness.tasks.wells import RelatedWells, WellSamples
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT, SHARED, needs_shared
from screen_factory import PROTOCOL, SOURCE, WELLS, bind, open_data, open_profiles, spec, write_wells
from small_task import enter

from harness import evaluate
from harness.errors import DamagedFileError, HarnessError, MismatchError, MissingDataError, SpecError, UsageError
from harness.joining import Described, Keyed, NamedWells
from harness.types import Batch, BuildContext, DataContext

CONTROL = {"column": "role", "values": [-1]}
RECALLS = [{"name": "recall_top5.mean", "primary": True}]
RECALL = {"name": "gene-recall", "params": {"align": {"method": "centerscale", "companions": []}}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder that holds a table of six wells."""
    enter(tmp_path, monkeypatch)
    write_wells(tmp_path)
    return tmp_path


def columns(**more: str) -> dict[str, str]:
    """Name columns beside the one of the perturbation."""
    return {"perturbation": "gene", **more}


def failure(folder: Path, kind: type[HarnessError], **source: Any) -> str:
    """Return the message with which a table is refused."""
    with pytest.raises(kind) as caught:
        open_profiles(folder, **source)
    return str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz", "t.txt", "t.parquet", "T.CSV"])
def test_every_kind_of_table_gives_the_same_wells(name: str, folder: Path) -> None:
    """Whatever the format, wells come in the order of the table, each cell the text that was written."""
    frame = pd.DataFrame(WELLS | {"gene": ["NA", "NA", "nan", "001", "1e3", "1,5"]})
    if name.endswith("parquet"):
        frame.to_parquet(folder / name)
    else:
        frame.to_csv(folder / name, index=False, sep="\t" if ".tsv" in name else ",")
    wells = open_profiles(folder, table=name, columns=columns(plate="plate")).wells
    assert wells.ids == tuple(WELLS["well"])
    assert wells.perturbation == ("NA", "NA", "nan", "001", "1e3", "1,5")
    assert wells.plate == tuple(WELLS["plate"])


def test_numbers_of_a_parquet_table_are_whole_where_all_are(folder: Path) -> None:
    """Whole numbers that a missing one turned into floats are names again; fractions stay; missing is empty."""
    pd.DataFrame(
        {
            "well": [1, 2, 3],
            "gene": ["a", "a", "b"],
            "plate": [7.0, 8.0, 9.0],
            "dose": [0.5, np.nan, 2.0],
            "c": [0, -1, 0],
        }
    ).to_parquet(folder / "t.parquet")
    control = {"column": "c", "values": [-1]}
    wells = open_profiles(folder, table="t.parquet", columns=columns(plate="plate", dose="dose"), control=control).wells
    assert (wells.ids, wells.plate) == (("1", "2", "3"), ("7", "8", "9"))
    assert wells.dose is not None
    np.testing.assert_array_equal(wells.dose, [0.5, np.nan, 2.0])
    pd.DataFrame({"well": [1e17, 2e17], "gene": ["a", "b"]}).to_parquet(folder / "t.parquet")
    assert "column well holds numbers too large to be exact" in failure(folder, DamagedFileError, table="t.parquet")


def test_the_dataset_offers_what_protocols_and_joins_ask_for(folder: Path) -> None:
    """A table without pictures has wells, one fold of all, keys, relations, and no notes when nothing is odd."""
    data = open_profiles(folder, control=CONTROL)
    assert isinstance(data, WellSamples)
    assert isinstance(data, RelatedWells)
    assert isinstance(data, Keyed)
    assert isinstance(data, NamedWells)
    assert [*data.well_names] == [("well",)]
    assert data.ids == tuple(WELLS["well"])
    assert data.keys == {"well": tuple(WELLS["well"])}
    assert data.well_of.tolist() == [0, 1, 2, 3, 4, 5]
    assert [(fold.number, fold.rows.tolist(), fold.controls.tolist()) for fold in data.folds] == [
        (0, [0, 1, 2, 3, 4, 5], [0, 1])
    ]
    assert (dict(data.relations), data.notes) == ({}, ())


def test_tables_are_found_in_data_folders_first(folder: Path) -> None:
    """A relative path starts at each data folder, then at the working folder; an absolute one stands."""
    (folder / "deep").mkdir()
    write_wells(folder / "deep")
    for table in ("deep/wells.csv", str(folder / "deep/wells.csv")):
        assert open_profiles(folder, table=table).screen.table.path == folder / "deep/wells.csv"
    message = failure(folder, MissingDataError, table="none.csv")
    assert "source.table: none.csv not found. Searched:\n  " + str(folder / "none.csv") in message
    assert "expected one of .csv, .csv.gz" in failure(folder, UsageError, table="task.yaml")


def test_unknown_columns_are_all_named_with_the_nearest(folder: Path) -> None:
    """Each column that the table lacks is named with the key that asks for it."""
    message = failure(folder, UsageError, id="wel", columns=columns(dose="Dose", batch="xyz"))
    assert "source.id: no column 'wel'. Did you mean well? Columns: well, gene, plate, role, dose" in message
    assert "source.columns.dose: no column 'Dose'. Did you mean dose, role?" in message
    assert "source.columns.batch: no column 'xyz'. Columns:" in message


def test_ids_name_one_row_each(folder: Path) -> None:
    """A name twice or none is an error with the first; several columns together may name a row."""
    assert "3 ids stand more than once in gene (source.id), first: DMSO, TP53, MDM2" in failure(
        folder, DamagedFileError, id="gene"
    )
    data = open_profiles(folder, id=["plate", "well"])
    assert data.ids[:2] == ("007/A01", "008/A02")
    assert list(data.keys) == ["plate", "well"]
    write_wells(folder, well=["A01", "", "B01", "", "C01", "C02"])
    assert "wells.csv:3: 2 rows are empty in column well (source.id)" in failure(folder, DamagedFileError)
    write_wells(folder, gene=["DMSO", "DMSO", "", "TP53", "MDM2", "MDM2"])
    message = failure(folder, DamagedFileError)
    assert "wells.csv:4: 1 wells have no value in column gene (source.columns.perturbation), first: B01" in message


def test_rows_and_controls_are_picked_by_value(folder: Path) -> None:
    """Rows are left out and marked as controls by their values; one that no row has is named with those there are."""
    positive = {"column": "role", "values": [1]}
    data = open_profiles(folder, control=CONTROL, positive=positive)
    assert data.wells.control.tolist() == [True, True, False, False, False, False]
    assert data.wells.kind == ("negative", "negative", "treated", "treated", "positive", "positive")
    data = open_profiles(
        folder, positive=positive, only={"column": "role", "values": [1, 0]}, columns=columns(kind="role")
    )
    assert data.ids == ("B01", "B02", "C01", "C02")
    assert data.wells.kind == ("0", "0", "positive", "positive")
    message = failure(folder, UsageError, control={"column": "role", "values": ["DMSO"]})
    assert "source.control: no row has 'DMSO' in column role; it holds values such as '-1', '0', '1'" in message
    message = failure(folder, UsageError, control=CONTROL, positive=CONTROL)
    assert "2 wells are negative and positive controls, first: A01" in message


def test_doses_are_numbers(folder: Path) -> None:
    """Controls, and kinds without any dose, may have none; everything else is named by line and well."""
    data = open_profiles(folder, columns=columns(dose="dose"), control=CONTROL)
    np.testing.assert_array_equal(data.wells.dose, [np.nan, np.nan, 0.5, 1, 2, 10])
    write_wells(folder, dose=["", "", "", "", "2", "10"])
    data = open_profiles(folder, columns=columns(dose="dose", kind="role"), control=CONTROL)
    np.testing.assert_array_equal(data.wells.dose, [np.nan, np.nan, np.nan, np.nan, 2, 10])
    message = failure(folder, DamagedFileError, columns=columns(dose="dose"), control=CONTROL)
    assert "wells.csv:4: dose: 2 wells have no valid number, first: B01 with ''" in message
    for odd in ("high", "nan", "inf"):
        write_wells(folder, dose=["", "", "0.5", odd, "2", "10"])
        message = failure(folder, DamagedFileError, columns=columns(dose="dose"), control=CONTROL)
        assert f"wells.csv:5: dose: 1 wells have no valid number, first: B02 with '{odd}'" in message


def test_several_rows_may_show_one_well(folder: Path) -> None:
    """Rows with the same well are its samples; they must agree in what was done to it."""
    write_wells(folder, field=["1", "2", "1", "2", "1", "2"])
    data = open_profiles(folder, id=["gene", "field"], well="gene")
    assert data.ids[:3] == ("DMSO/1", "DMSO/2", "TP53/1")
    assert (data.wells.ids, data.well_of.tolist()) == (("DMSO", "TP53", "MDM2"), [0, 0, 1, 1, 2, 2])
    assert list(data.keys) == ["gene", "field"]
    message = failure(folder, DamagedFileError, id="well", well="gene", columns=columns(plate="plate"))
    assert "wells.csv:3: plate (source.columns.plate): well DMSO has '008' here and '007' in line 2" in message


def test_plates_of_two_laboratories_stay_apart(folder: Path) -> None:
    """A name that repeats under two laboratories or batches is prefixed; one that does not stays."""
    write_wells(folder, lab=list("aabbbb"), batch=list("112222"))
    wells = open_profiles(folder, columns=columns(plate="plate", laboratory="lab", batch="batch")).wells
    assert wells.plate is not None
    assert wells.plate[:3] == ("a/1/007", "a/1/008", "b/2/007")
    assert wells.batch == ("1", "1", "2", "2", "2", "2")
    assert open_profiles(folder, columns=columns(plate="plate")).wells.plate == tuple(WELLS["plate"])


def test_a_column_may_number_folds(folder: Path) -> None:
    """Wells of a number are one fold; a control without number normalises all of them."""
    write_wells(folder, fold=["", "3", "0", "0", "3", "3"])
    data = open_profiles(folder, columns=columns(fold="fold"), control=CONTROL)
    assert [(fold.number, fold.rows.tolist(), fold.controls.tolist()) for fold in data.folds] == [
        (0, [2, 3], [0]),
        (3, [1, 4, 5], [0, 1]),
    ]
    message = failure(folder, DamagedFileError, columns=columns(fold="fold"))
    assert "wells.csv:2: fold: 1 wells have no whole number, first: A01 with ''" in message
    write_wells(folder, fold=["", "", "-1", "0", "3", "3"])
    assert "B01 with '-1'" in failure(folder, DamagedFileError, columns=columns(fold="fold"), control=CONTROL)


def test_places_without_controls_are_told_or_refused(folder: Path) -> None:
    """Plates without negative controls are a note where the protocol can do without, and an error where it cannot."""
    write_wells(folder, plate=["p", "p", "p", "p", "q", "q"])
    source = {"columns": columns(plate="plate"), "control": CONTROL}
    assert open_profiles(folder, **source).notes == ("1 of 2 plates have no negative control, first: q",)
    scaled = PROTOCOL | {"params": {"normalize": ["standardize"], "drop_std": None}}
    with pytest.raises(UsageError) as caught:
        open_profiles(folder, protocol=scaled, **source)
    assert (
        "protocol.params.normalize: standardize needs at least 2 negative controls (source.control) in each plate"
        in str(caught.value)
    )
    assert "fold 0: 1 of 2 have fewer, first: q" in str(caught.value)
    with pytest.raises(UsageError, match=r"standardize is fitted by plate; name its column, source\.columns\.plate"):
        open_profiles(folder, protocol=scaled, control=CONTROL)
    batches = {"columns": columns(batch="plate"), "control": CONTROL, **relate(folder, "entity1,entity2\na,b\n")}
    with pytest.raises(UsageError, match=r"align: centerscale needs at least 1 negative controls .* in each batch"):
        open_data(folder, spec("profiles", SOURCE | batches, protocol=RECALL, metrics=RECALLS))
    whole = {"name": "replicate-retrieval", "params": {"normalize": [{"standardize": {"by": "all"}}], "drop_std": None}}
    with pytest.raises(UsageError, match="in a fold; fold 0: 1 of 1 have fewer, first: all wells"):
        open_profiles(folder, protocol=whole)
    open_profiles(folder, protocol=whole, control=CONTROL)


def relate(folder: Path, text: str) -> dict[str, Any]:
    """Write known pairs and name them."""
    (folder / "pairs.txt").write_text(text)
    return {"relations": [{"source": "Mine", "file": "pairs.txt", "licence": "CC0-1.0"}]}


def test_a_task_of_known_pairs_needs_a_list(folder: Path) -> None:
    """Without source.relations a task of known pairs is refused when opened, and the message says what to write."""
    unaligned = RECALL | {"params": {"align": {"method": "none", "companions": []}}}
    content = spec("profiles", SOURCE, protocol=unaligned, metrics=RECALLS)
    with pytest.raises(UsageError, match=r"source\.relations needs at least one \{source, file, licence\}"):
        open_data(folder, content)
    pairs = relate(folder, "entity1,entity2\nTP53,MDM2\n")
    open_data(folder, spec("profiles", SOURCE | pairs, protocol=unaligned, metrics=RECALLS))


def prepare(folder: Path, data: Any, table: dict[str, Any], **options: str) -> np.ndarray:
    """Write a table of vectors and join it with a screen."""
    pd.DataFrame(table).to_csv(folder / "v.csv", index=False)
    model = build(BuildContext(embeddings_card(str(folder / "v.csv"), DataContext()), options=options))
    model.prepare(data, "profiles")
    return model.embed(Batch(data.ids, "profiles"), ["last"])["last"]


def test_columns_of_the_screen_are_no_features(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the spec names is no feature unless asked for, under any spelling, and the choice is told."""
    write_wells(folder, Strength=["1"] * 6)
    named = columns(plate="plate", dose="Strength")
    data = open_profiles(folder, columns=named, control=CONTROL)
    assert isinstance(data, Described)
    assert {*data.metadata_columns} == {"well", "gene", "plate", "Strength", "role"}
    table = {
        "well": WELLS["well"], "Metadata_strength": range(6), "STRENGTH": range(6), "Role": range(6), "row": range(6),
        "area": [float(row) for row in range(6)],
    }  # fmt: skip
    assert prepare(folder, data, table).tolist() == [[row] for row in range(6)]
    assert "features: area (1 columns); numeric columns left out: Metadata_strength, STRENGTH, Role, row" in caplog.text
    assert prepare(folder, data, table, columns="*").shape == (6, 5)
    del table["area"]
    with pytest.raises(
        UsageError, match=r"no feature columns; numeric columns: Metadata_strength, STRENGTH, Role, row"
    ):
        prepare(folder, data, table)
    other = open_profiles(folder, columns=columns(plate="plate"), control=CONTROL)
    assert other.fingerprint("profiles") != data.fingerprint("profiles")


def test_rows_of_other_plates_are_never_averaged(folder: Path) -> None:
    """Several rows a well are refused where the table lacks the plate, or the column that picked the rows."""
    two = {"well": ["A1", "A1", "A2", "A2"], "plate": ["p", "q", "p", "q"], "gene": ["a", "b", "a", "b"]}
    pd.DataFrame(two).to_csv(folder / "wells.csv", index=False)
    only = {"column": "plate", "values": ["p"]}
    vectors = {"feature_0": [1.0, 3.0, 2.0, 4.0]}
    for names in (["plate", "well"], ["well"]):
        data = open_profiles(folder, id=names, only=only)
        assert prepare(folder, data, two | vectors).tolist() == [[1], [2]]
        with pytest.raises(UsageError, match=r"2 vectors would be the mean .* no column plate: .*id=COLUMN"):
            prepare(folder, data, {"well": two["well"]} | vectors)
        assert prepare(folder, data, {"well": ["A1", "A2"], "feature_0": [1.0, 2.0]}).tolist() == [[1], [2]]
    fields = {"plate": ["p"] * 4, "well": two["well"]} | vectors
    assert prepare(folder, data, fields).tolist() == [[2], [3]]


def test_known_pairs_count_once_and_are_told(folder: Path) -> None:
    """Both directions are one pair; self pairs, unknown genes and genes without a pair are counted in the notes."""
    source = relate(folder, "entity1,entity2\nTP53,MDM2\nMDM2,TP53\nTP53,TP53\nTP53,NA\n")
    data = open_profiles(folder, control=CONTROL, only={"column": "role", "values": [-1, 0]}, **source)
    listed = data.relations["Mine"]
    assert listed.pairs == (("MDM2", "TP53"), ("NA", "TP53"))
    assert (listed.n_rows, listed.n_self, listed.licence) == (4, 1, "CC0-1.0")
    assert data.notes == (
        "Mine: 0 of 2 known pairs lie among the 1 perturbations; 1 rows relate something to itself and are left out",
        "1 of 1 perturbations have no known pair in any source",
    )
    assert open_profiles(folder, **source).notes[0].startswith("Mine: 1 of 2 known pairs lie among the 3 perturbations")


def test_lists_of_pairs_that_cannot_be_read(folder: Path) -> None:
    """Missing files, other columns, empty names and a source twice are errors that name the source."""
    source = relate(folder, "gene1,entity2\na,b\n")
    message = failure(folder, DamagedFileError, **source)
    assert message == f"relations: Mine: {folder / 'pairs.txt'}: missing columns: entity1; found entity2, gene1"
    assert "pairs.txt:3: 1 rows lack a name" in failure(
        folder, DamagedFileError, **relate(folder, "entity1,entity2\na,b\na,\n")
    )
    (folder / "pairs.txt").unlink()
    assert "source.relations: Mine: pairs.txt not found" in failure(folder, MissingDataError, **source)
    twice = {"relations": source["relations"] * 2}
    assert "relations: a source stands twice: Mine" in failure(folder, SpecError, **twice)


def test_without_pictures_only_vectors_can_answer(folder: Path) -> None:
    """No model that needs pixels is paired; reading says what can answer; other views are refused."""
    data = open_profiles(folder)
    with pytest.raises(
        MismatchError, match=r"has no pictures .*--model embeddings:PATH. For pictures use the reader image-table"
    ):
        data.read("profiles", 0, 2)
    bind(folder, spec("profiles", SOURCE))
    with pytest.raises(MismatchError, match="takes image or graph_image; the task offers profiles"):
        evaluate("pixel-mean", "task.yaml", output=None)
    content = spec("profiles", SOURCE, input={"views": ["image"]})
    task = bind(folder, content)
    with pytest.raises(UsageError, match=r"input.views: the reader profiles offers \[profiles\], not \[image\]"):
        task.reader.open(task.spec, task.source, task.reader_params, None)


def test_hashes_follow_the_cells_in_use(folder: Path) -> None:
    """Another label changes the data; another order or name changes the fingerprint too; an unused cell neither."""
    first = open_profiles(folder)
    write_wells(folder, role=["9"] * 6)
    unused = open_profiles(folder)
    assert (unused.data_hash, unused.fingerprint("profiles")) == (first.data_hash, first.fingerprint("profiles"))
    write_wells(folder, gene=["DMSO", "DMSO", "TP53", "TP53", "MDM2", "TP53"])
    relabelled = open_profiles(folder)
    assert relabelled.data_hash != first.data_hash
    assert relabelled.fingerprint("profiles") == first.fingerprint("profiles")
    write_wells(folder, well=["A01", "A02", "B01", "B02", "C01", "C03"])
    renamed = open_profiles(folder)
    assert renamed.fingerprint("profiles") != first.fingerprint("profiles")
    one = open_profiles(folder, **relate(folder, "entity1,entity2\na,b\n")).data_hash
    assert one != open_profiles(folder, **relate(folder, "entity1,entity2\na,c\n")).data_hash


@settings(max_examples=40)
@given(genes=st.lists(st.integers(0, 40), min_size=30, max_size=120), limit=st.integers(1, 60))
def test_a_limit_leaves_replicates_and_controls(genes: list[int], limit: int) -> None:
    """A part of a screen keeps controls, at least 20 perturbations, and two wells of each that has them."""
    from harness.tasks.datasets.screens.thinning import thin_out
    from harness.tasks.wells import Wells

    names = tuple(f"g{gene}" for gene in genes)
    control = np.array([gene == 0 for gene in genes])
    kept = thin_out(Wells(names, names, control), limit).tolist()
    assert kept == sorted(set(kept))
    left = [names[row] for row in kept]
    assert len({*left} - {"g0"}) >= min(20, len({*names} - {"g0"}))
    assert all(left.count(name) >= min(2, names.count(name)) for name in {*left})
    assert ("g0" in left) == ("g0" in names)


def test_a_limit_is_about_that_many_rows(folder: Path) -> None:
    """A limit thins rows and wells alike, and what is left fits together."""
    n = 600
    pd.DataFrame(
        {
            "well": range(n),
            "gene": [f"g{row % 30}" for row in range(n)],
            "role": ["-1" if row % 30 == 0 else "0" for row in range(n)],
        }
    ).to_csv(folder / "wells.csv", index=False)
    data = open_profiles(folder, limit=100, control=CONTROL)
    assert 60 <= len(data.ids) <= 140
    assert len(data.wells.ids) == len(data.ids) == len(data.keys["well"])
    assert data.well_of.tolist() == list(range(len(data.ids)))
    assert all(data.wells.perturbation[row] == f"g{int(name) % 30}" for row, name in enumerate(data.ids))
    assert len(open_profiles(folder, limit=n).ids) == n


def test_a_limit_keeps_known_pairs_of_every_source(folder: Path) -> None:
    """Of many genes with one row each, those of the first known pairs stay, whatever source knows them."""
    names = [f"g{row:03d}" for row in range(300)]
    pd.DataFrame({"well": names, "gene": names}).to_csv(folder / "wells.csv", index=False)
    (folder / "a.csv").write_text("entity1,entity2\ng001,g297\ng005,none\n")
    (folder / "b.csv").write_text("entity1,entity2\ng295,g003\n")
    lists = [{"source": name, "file": f"{name}.csv", "licence": "CC0-1.0"} for name in "ab"]
    data = open_profiles(folder, limit=50, relations=lists)
    assert len(data.ids) == 50
    assert {"g001", "g297", "g295", "g003"} <= {*data.wells.perturbation}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable table (Empty CSV file)"),
        (b"well,gene\n", "holds no rows"),
        (b"well,gene\na,b\nc\n", "Expected 2 columns, got 1"),
        (b"well,gene,gene\na,b,c\n", "1 headings stand twice: gene"),
        ("well,gene\nä,b\n".encode("latin-1"), "invalid UTF8"),
    ],
)
def test_damaged_tables_are_named(content: bytes, words: str, folder: Path) -> None:
    """What is wrong with a table is said with its name."""
    (folder / "wells.csv").write_bytes(content)
    message = failure(folder, DamagedFileError)
    assert message.startswith(f"{folder / 'wells.csv'}: ")
    assert words in message


def test_a_truncated_archive_is_damage(folder: Path) -> None:
    """A gz that breaks off is an error, not a shorter table."""
    text = "well,gene\n" + "".join(f"w{row},g{row * 7919 % 1000}\n" for row in range(20000))
    whole = gzip.compress(text.encode())
    (folder / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert "t.csv.gz" in failure(folder, DamagedFileError, table="t.csv.gz")


def test_unknown_words_are_found_by_validation(folder: Path) -> None:
    """Binding a spec names file and line of a wrong key, and the nearest right one, without opening data."""
    with pytest.raises(SpecError) as caught:
        bind(folder, spec("profiles", {"table": "t.csv", "id": "well", "columns": {"perturbatoin": "gene"}}))
    message = str(caught.value)
    assert "source.columns.perturbatoin: unknown key. Did you mean perturbation?" in message
    assert "task.yaml:" in message
    with pytest.raises(SpecError, match=r"source.control.values.0: .*got True"):
        bind(folder, spec("profiles", SOURCE | {"control": {"column": "role", "values": [True]}}))


@needs_shared
def test_real_profiles_give_the_published_recalls(folder: Path) -> None:
    """The example of HeLa knockouts gives every recall of the reference, joined by the column of the genes."""
    data = SHARED / "data"
    wanted = json.loads((data / "profiles/periscope_hela_hplm/expected.json").read_text())["as_given"]
    model = f"embeddings:{data / 'profiles/periscope_hela_hplm/HeLa_HPLM_hit_list_PCA.csv.gz'}"
    task = ROOT / "examples/periscope/hela-hplm.yaml"
    (result,) = evaluate(model, task, output=None, data_dirs=(data,))
    metrics = {name: metric.value for name, metric in result.metrics.items()}
    for source, recalls in wanted.items():
        assert result.diagnostics[f"n_pairs.{source}"] == [recalls["n_pairs"]]
        for tail in ("recall_top5", "recall_both5", "recall_top5_per_query"):
            assert metrics[f"{tail}.{source}"] == pytest.approx(recalls[tail], abs=1e-6)
    assert result.headline.value == pytest.approx(0.171909, abs=1e-6)
    assert "1223 of 3454 perturbations have no known pair in any source" in result.notes
