"""The reader of JUMP-CP: folds, wells, sites, and what it refuses."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from harness.models.precomputed import build, embeddings_card
from harness.tasks.datasets.jump.columns import pad_well
from harness.tasks.datasets.jump.controls import Controls
from harness.tasks.datasets.jump.folds import draw_folds
from harness.tasks.datasets.jump.limiting import limit_wells
from harness.tasks.datasets.jump.load_data import SiteFiles, read_sites
from harness.tasks.datasets.jump.params import Params, Source
from harness.tasks.datasets.jump.plates import ControlWells, Plate
from harness.tasks.datasets.jump.reader import READER
from harness.tasks.datasets.jump.sites import choose_sites
from harness.tasks.datasets.jump.tables import read_tables
from harness.tasks.wells import WellSamples
from jump_factory import (
    DMSO,
    PLATES,
    POSITIVE,
    SMALL,
    Tree,
    change_lines,
    change_rows,
    layout,
    load_data_row,
    write_parquet,
    write_tree,
)
from places import SHARED, needs_shared
from pydantic import ValidationError

from harness import planning
from harness.cli.plan import plan_command
from harness.errors import DamagedFileError, HarnessError, MissingDataError, PluginError, SpecError, UsageError
from harness.joining import Keyed
from harness.plans import Planned
from harness.plugins import load_registry
from harness.runner import evaluate
from harness.selection import select_tasks
from harness.types import Batch, BuildContext, DataContext, Dataset

FOLD_BUILDER = SHARED / "oracles/jump/fold_builder"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the harness's cache in the test's folder."""
    monkeypatch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Write a good tree once."""
    return write_tree(tmp_path_factory.mktemp("jump") / "data")


@pytest.fixture
def tree(original: Tree, tmp_path: Path) -> Tree:
    """Return a copy of the good tree that a test may damage."""
    return original.copy(tmp_path / "data")


# --- folds -------------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("seed", [0, 1])
def test_folds_of_the_real_plates_are_those_of_the_reference(seed: int, tmp_path: Path) -> None:
    """On all public plates the defaults give the reference's folds, plates and number of control wells."""
    context = DataContext((FOLD_BUILDER / "data",), tmp_path, offline=True)
    tables = read_tables(Source(), context)
    folds = draw_folds(tables.plates, tables.wells, tables.controls, Params(folds={"seed": seed}))
    with (FOLD_BUILDER / f"folds_seed{seed}.csv").open() as stream:
        expected = [tuple(row.values()) for row in csv.DictReader(stream)]
    drawn = [(str(fold), one.source, one.batch, one.name) for fold, plates in enumerate(folds) for one in plates]
    assert expected == drawn
    stated = json.loads((FOLD_BUILDER / "expected.json").read_text())[f"seed{seed}"]
    lines = "\n".join(f"{fold} {source} {plate}" for fold, source, _, plate in drawn)
    assert stated["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert stated["n_control_wells"] == sum(len(tables.wells.of[one.key]) for plates in folds for one in plates)


@needs_shared
def test_the_public_tables_open_without_any_image(tmp_path: Path) -> None:
    """Offline, with the three tables alone, a sample is a well, and a file of folds gives the same question."""
    context = DataContext((FOLD_BUILDER / "data",), tmp_path, offline=True)
    drawn = READER.open(None, Source(), Params(), context)
    assert len(drawn.ids) == 8800
    assert [len(fold.rows) for fold in drawn.folds] == [28 * 32] * 5
    params = Params(folds={"file": str(FOLD_BUILDER / "folds_seed0.csv")})
    assert READER.open(None, Source(), params, context).data_hash == drawn.data_hash


def test_a_fold_takes_the_next_plates_in_order_of_their_hash() -> None:
    """Plates are sorted by the SHA-256 of jump|SEED|SOURCE|PLATE; fold 1 begins where fold 0 ends."""
    plates = [Plate("source_2", "B", f"P{number}", "COMPOUND") for number in range(7)]
    wells = ControlWells({plate.key: _controls() for plate in plates})
    params = Params(labs=["source_2"], folds={"n": 3, "plates_per_lab": 2, "seed": 5}, min_dmso=2)
    folds = draw_folds(plates, wells, _ids(), params)
    order = sorted(plates, key=lambda one: hashlib.sha256(f"jump|5|source_2|{one.name}".encode()).hexdigest())
    assert [set(order[:2]), set(order[2:4]), set(order[4:6])] == [set(fold) for fold in folds]
    assert folds == draw_folds(plates[::-1], wells, _ids(), params)


def _controls() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((well, label) for well, label in layout() if label in (*POSITIVE, DMSO)))


def _ids() -> Controls:
    return Controls(tuple(sorted(POSITIVE)), (DMSO,))


def test_plates_that_do_not_qualify_are_counted_by_reason(tree: Tree) -> None:
    """Too few plates: the message counts, for each reason, what was left out."""
    first, second, third = PLATES["source_3"]
    change_lines(tree.metadata / "well.csv.gz", lambda lines: [
        line.replace(line.rsplit(",", 1)[1], DMSO) if f",{first}," in line else line
        for line in lines
        if not (f",{second}," in line and line.endswith(POSITIVE[0]))
    ])  # fmt: skip
    with pytest.raises(UsageError) as caught:
        tree.open(exclude_plates=[third])
    assert str(caught.value) == (
        "folds: source_3 has 0 plates that qualify, 2 folds of 1 need 2; left out:\n"
        "  1 plates: more than 8 DMSO wells\n"
        "  1 plates: fewer than 2 wells of a positive control\n"
        "  1 plates: in exclude_plates"
    )


def test_a_plate_typed_compound_that_holds_dmso_alone_is_never_drawn(tree: Tree) -> None:
    """The type of a plate is not believed; its wells are counted."""
    first = PLATES["source_3"][0]
    change_lines(tree.metadata / "well.csv.gz", lambda lines: [
        line.rsplit(",", 1)[0] + f",{DMSO}" if f",{first}," in line else line for line in lines
    ])  # fmt: skip
    assert f"source_3/{first}" not in set(tree.open().wells.plate)


# --- wells, samples, keys ----------------------------------------------------------------------------------------


def test_samples_are_the_sites_of_all_control_wells(original: Tree) -> None:
    """Ids name source, plate, well and site; wells know control, plate and laboratory; folds share no well."""
    dataset = original.open()
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset, WellSamples)
    assert isinstance(dataset, Keyed)
    assert isinstance(dataset, Planned)
    wells = dataset.wells
    assert len(wells.ids) == 4 * 20
    assert len(dataset.ids) == 4 * 20 * 2
    assert list(dataset.ids) == [f"{wells.ids[row]}/{1 + place % 2}" for place, row in enumerate(dataset.well_of)]
    assert {DMSO, *POSITIVE} == set(wells.perturbation)
    assert [label == DMSO for label in wells.perturbation] == wells.control.tolist()
    rows = [{*fold.rows.tolist(), *fold.controls.tolist()} for fold in dataset.folds]
    assert rows[0] | rows[1] == set(range(80))
    assert not rows[0] & rows[1]
    assert all(wells.control[fold.controls].all() and not wells.control[fold.rows].any() for fold in dataset.folds)
    assert [len({wells.plate[row] for row in fold}) for fold in rows] == [2, 2]
    assert dataset.ids == tuple("/".join(parts) for parts in zip(*dataset.keys.values(), strict=True))
    assert dataset.notes == ()


def test_without_tables_of_images_a_sample_is_a_well(tree: Tree) -> None:
    """The question and its hash stay; a note says so; pixels are refused with every place that was searched."""
    with_images = tree.open()
    tree.drop_images()
    dataset = tree.open()
    assert dataset.ids == dataset.wells.ids
    assert with_images.data_hash == dataset.data_hash
    assert with_images.fingerprint("image") != dataset.fingerprint("image")
    assert "Metadata_Site" not in dataset.keys
    assert "No image is at hand" in dataset.notes[0]
    with pytest.raises(MissingDataError, match=r"embeddings:PATH[\s\S]*plate source_\d/\w+: no table[\s\S]*offline"):
        dataset.read("image", 0, 1)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_tables_of_images_may_be_text(tree: Tree, ending: str) -> None:
    """A csv, packed or not, gives the same samples as parquet; plate names of digits stay as they are."""
    expected = tree.open()
    for source, plates in PLATES.items():
        for plate in plates:
            rows = [load_data_row(source, plate, well, site) for well, _ in layout() for site in (1, 2)]
            path, text = tree.table(source, plate, ending), "\n".join(",".join(row.values()) for row in rows)
            content = f"{','.join(rows[0])}\n{text}\n".encode()
            path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
            tree.table(source, plate).unlink()
    found = tree.open()
    assert expected.ids == found.ids
    assert expected.fingerprint("image") == found.fingerprint("image")


def test_whole_addresses_are_accepted_in_place_of_folder_and_file(tree: Tree) -> None:
    """URL_Orig* columns give the same files, as s3 or https."""
    expected = tree.open().fingerprint("image")

    def change(rows: list[dict[str, Any]]) -> None:
        for number, row in enumerate(rows):
            for channel in ("AGP", "DNA", "ER", "Mito", "RNA"):
                whole = row.pop(f"PathName_Orig{channel}") + row.pop(f"FileName_Orig{channel}")
                bucket, _, key = whole.removeprefix("s3://").partition("/")
                row[f"URL_Orig{channel}"] = whole if number % 2 else f"https://{bucket}.s3.amazonaws.com/{key}"

    for source, plates in PLATES.items():
        for plate in plates:
            change_rows(tree.table(source, plate), change)
    assert expected == tree.open().fingerprint("image")


@needs_shared
def test_the_real_table_of_a_plate_is_read() -> None:
    """Two rows of a public plate: channels go by column, though ch1 is Mito and ch5 is DNA."""
    batch, plate = "2021_08_23_Batch12", "BR00126114"
    folder = "cellpainting-gallery/cpg0016-jump/source_4/workspace/load_data_csv"
    path = SHARED / f"data/{folder}/{batch}/{plate}/load_data_with_illum.parquet"
    sites = read_sites(path, Plate("source_4", batch, plate, "COMPOUND"), {"A01"}, illumination=True)
    assert [(one.well, one.site) for one in sites] == [("A01", "1"), ("A01", "2")]
    assert [int(one.split("-ch")[1][0]) for one in sites[0].images] == [2, 5, 4, 1, 3]
    assert all(one.startswith("cellpainting-gallery/cpg0016-jump/source_4/images/") for one in sites[0].images)
    assert f"/illum/{plate}/{plate}_IllumAGP.npy" in sites[0].illumination[0]


def test_sampled_sites_are_those_with_the_smallest_hash(original: Tree) -> None:
    """{poscon: 4, negcon: 3} keeps at most so many, in the order of their numbers."""
    sites = [SiteFiles("B03", str(number), ()) for number in range(1, 10)]
    chosen = choose_sites(sites, 4, 7, "source_2", "P1")
    order = sorted(sites, key=lambda one: hashlib.sha256(f"jump|7|source_2|P1|B03|{one.site}".encode()).hexdigest())
    assert sorted(order[:4], key=lambda one: int(one.site)) == list(chosen)
    dataset = original.open(sites={"poscon": 2, "negcon": 1})
    counts = np.bincount(dataset.well_of)
    assert np.where(dataset.wells.control, 1, 2).tolist() == counts.tolist()


@pytest.mark.parametrize(("limit", "n_wells"), [(1, 40), (60, 40), (85, 80), (1000, 80)])
def test_a_limit_leaves_an_evaluation(original: Tree, limit: int, n_wells: int) -> None:
    """Few samples: one fold, few wells, but every positive control twice and DMSO on every plate."""
    dataset = original.open(original.context(limit=limit))
    assert n_wells == len(dataset.wells.ids)
    assert max(limit, n_wells) >= len(dataset.ids)
    for fold in dataset.folds:
        labels = [dataset.wells.perturbation[row] for row in fold.rows]
        assert all(labels.count(name) >= 2 for name in POSITIVE)
        assert {dataset.wells.plate[row] for row in fold.controls} == {dataset.wells.plate[row] for row in fold.rows}


def test_a_limit_thins_laboratories_and_wells_last() -> None:
    """With three laboratories of two plates the steps are: folds, plates, laboratories, wells."""
    plates = [
        tuple(Plate(f"source_{lab}", "B", f"P{fold}{lab}{number}", "COMPOUND") for lab in (2, 3, 5) for number in "ab")
        for fold in range(2)
    ]
    many = tuple((f"{row}{column:02d}", label) for row in "ABC" for column, (_, label) in enumerate(_controls(), 1))
    wells = ControlWells({plate.key: many for fold in plates for plate in fold})
    sizes = {}
    for limit in (720, 719, 359, 179, 119):
        folds = limit_wells(tuple(plates), wells, _ids(), limit).folds
        sizes[limit] = [[len(of) for _, of in fold] for fold in folds]
    assert sizes == {
        720: [[60] * 6] * 2, 719: [[60] * 6], 359: [[60] * 3], 179: [[60] * 2], 119: [[20] * 2],
    }  # fmt: skip


def test_wells_are_written_with_two_digits(tree: Tree) -> None:
    """A table with A1 joins one with A01."""
    expected = tree.open()
    well = tree.metadata / "well.csv.gz"
    change_lines(well, lambda lines: [line.replace(",A01,", ",A1,").replace(",B02,", ",b2,") for line in lines])
    assert (expected.ids, expected.data_hash) == (tree.open().ids, tree.open().data_hash)
    assert [pad_well(name) for name in ("a1", "P24", "AF048")] == ["A01", "P24", "AF48"]


# --- hashes ------------------------------------------------------------------------------------------------------


def test_the_order_of_rows_in_the_tables_does_not_matter(tree: Tree) -> None:
    """Plates, wells and sites are sorted by the reader."""
    expected = tree.open()
    for name in ("plate.csv.gz", "well.csv.gz", "perturbation_control.csv"):
        change_lines(tree.metadata / name, lambda lines: [lines[0], *lines[:0:-1]])
    for source, plates in PLATES.items():
        for plate in plates:
            change_rows(tree.table(source, plate), lambda rows: rows.reverse())
    found = tree.open()
    assert (expected.ids, expected.data_hash, expected.fingerprint("image")) == (
        found.ids, found.data_hash, found.fingerprint("image"),
    )  # fmt: skip


def test_the_fingerprint_follows_images_and_options_and_the_hash_follows_labels(original: Tree, tmp_path: Path) -> None:
    """Another image or contrast: other pixels, the same question; another label: another question."""
    tree = original.copy(tmp_path / "data", images=True)
    dataset = tree.open()
    prints = {dataset.fingerprint("image")}
    path = tree.root / dataset.sites[0].files.images[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the same size
    altered = tree.open()
    assert dataset.data_hash == altered.data_hash
    prints |= {altered.fingerprint("image")}
    prints |= {tree.open(clip=[0, 100]).fingerprint("image"), tree.open(illum="divide").fingerprint("image")}
    assert len(prints) == 4
    with pytest.raises(UsageError, match="the jump reader offers image"):
        dataset.fingerprint("points")
    swap = {POSITIVE[0]: POSITIVE[1], POSITIVE[1]: POSITIVE[0]}
    first = dataset.wells.plate[0].split("/")[1]
    change_lines(tree.metadata / "well.csv.gz", lambda lines: [
        line.rsplit(",", 1)[0] + "," + swap.get(line.rsplit(",", 1)[1], line.rsplit(",", 1)[1])
        if f",{first}," in line else line for line in lines
    ])  # fmt: skip
    assert dataset.data_hash != tree.open().data_hash


# --- bad input ---------------------------------------------------------------------------------------------------

S, P = "source_3", PLATES["source_3"][0]
ALL = [(source, plate) for source, plates in PLATES.items() for plate in plates]


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Tree], object]:
    """Return a change of a metadata table."""
    return lambda tree: change_lines(tree.metadata / name, change)


def rows(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Tree], object]:
    """Return a change of the tables of images of all plates, because which is drawn is a matter of hashes."""
    return lambda tree: [change_rows(tree.table(*plate), change) for plate in ALL]


def each(column: str, value: Callable[[dict[str, Any]], object]) -> Callable[[list[dict[str, Any]]], object]:
    """Return a change of one column of all rows."""
    return lambda found: [row.update({column: value(row)}) for row in found]


BAD: dict[str, tuple[Callable[[Tree], object], type[HarnessError], str]] = {
    "no plate table": (
        lambda t: (t.metadata / "plate.csv.gz").unlink(),
        MissingDataError,
        r"jump-cellpainting/datasets: metadata/plate\.csv\.gz not found\. Searched:\n  .*metadata/plate\.csv\.gz",
    ),
    "no well table": (
        lambda t: (t.metadata / "well.csv.gz").unlink(), MissingDataError, r"metadata/well\.csv\.gz not found",
    ),
    "no control table": (
        lambda t: (t.metadata / "perturbation_control.csv").unlink(),
        MissingDataError,
        r"metadata/perturbation_control\.csv not found",
    ),
    "truncated well table": (
        lambda t: (t.metadata / "well.csv.gz").write_bytes((t.metadata / "well.csv.gz").read_bytes()[:200]),
        DamagedFileError,
        r"well\.csv\.gz: not a readable table",
    ),
    "well table without labels": (
        lines("well.csv.gz", lambda ls: [ls[0].replace("Metadata_JCP2022", "Metadata_JCP"), *ls[1:]]),
        DamagedFileError,
        r"well\.csv\.gz: missing columns: Metadata_JCP2022; found Metadata_JCP",
    ),
    "an abbreviated id": (
        lines("well.csv.gz", lambda ls: [*ls, ls[1].replace("JCP2022_", "JCP_")]),
        DamagedFileError,
        r"'JCP_037716' is not an id such as JCP2022_033924; JCP2022_037716 was probably meant",
    ),
    "an abbreviated control": (
        lines("perturbation_control.csv", lambda ls: [line.replace("JCP2022_050797,", "JCP_050797,") for line in ls]),
        DamagedFileError,
        r"perturbation_control\.csv: Metadata_JCP2022: 'JCP_050797' is not an id",
    ),
    "no negative control": (
        lines("perturbation_control.csv", lambda ls: [line for line in ls if "negcon" not in line]),
        DamagedFileError,
        r"expected poscon and negcon rows of modality compound, found 8 and 0",
    ),
    "a control twice": (
        lines("perturbation_control.csv", lambda ls: [*ls, ls[1]]), DamagedFileError, r"JCP2022_037716 stands twice",
    ),
    "plates that became floats": (
        lines("well.csv.gz", lambda ls: [line.replace("1053600001", "1053600001.0") for line in ls]),
        DamagedFileError,
        r"well\.csv\.gz: column Metadata_Plate: '1053600001\.0' was a name and became a number",
    ),
    "a plate twice": (
        lines("plate.csv.gz", lambda ls: [*ls, ls[1]]), DamagedFileError, r"plate\.csv\.gz: 1 plates .*: source_2/105",
    ),
    "a well twice": (
        lines("well.csv.gz", lambda ls: [*ls, ls[1].replace("A01", "A1")]),
        DamagedFileError,
        r"well source_2/1053600001/A01 stands twice",
    ),
    "a well that is none": (
        lines("well.csv.gz", lambda ls: [*ls, ls[1].replace("A01", "01A")]), DamagedFileError, r"'01A' is not a well",
    ),
    "an empty entry": (
        lines("plate.csv.gz", lambda ls: [ls[0], ls[1].replace("B_source_2", ""), *ls[2:]]),
        DamagedFileError,
        r"plate\.csv\.gz: column Metadata_Batch: row 1 is empty",
    ),
    "table of images of one laboratory is missing": (
        lambda t: [t.table("source_3", plate).unlink() for plate in PLATES["source_3"]],
        MissingDataError,
        r"plate source_3/JCPQC0\d: no table of its images\n.*load_data_with_illum\.parquet not found\. Searched:",
    ),
    "truncated table of images": (
        lambda t: [t.table(*plate).write_bytes(t.table(*plate).read_bytes()[:300]) for plate in ALL],
        DamagedFileError,
        r"plate source_\d/\w+: .*load_data_with_illum\.parquet: not a readable table",
    ),
    "a channel is missing": (
        rows(lambda found: [row.pop("FileName_OrigER") for row in found]),
        DamagedFileError,
        r"plate source_\d/\w+: .*parquet: column FileName_OrigER is missing, and there is no URL_OrigER",
    ),
    "no sites": (
        rows(lambda found: [row.pop("Metadata_Site") for row in found]),
        DamagedFileError,
        r"plate source_\d/\w+: .*missing columns: Metadata_Site; found",
    ),
    "plates as integers": (
        rows(each("Metadata_Plate", lambda row: 1053600001)),
        DamagedFileError,
        r"column Metadata_Plate holds int64; plates are names, write them as text",
    ),
    "rows of another plate": (
        rows(each("Metadata_Plate", lambda row: "other")), DamagedFileError, r"parquet: holds rows of plate other",
    ),
    "a site that is no number": (
        rows(each("Metadata_Site", lambda row: "one")), DamagedFileError, r"Metadata_Site 'one' of well A01 is not a",
    ),
    "a site twice": (
        rows(lambda found: found.append(dict(found[0]))),
        DamagedFileError,
        r"1 sites stand more than once, first: A01 site 1",
    ),
    "a folder of a disk": (
        rows(each("PathName_OrigDNA", lambda row: "/home/ubuntu/bucket")),
        DamagedFileError,
        r"column OrigDNA: '/home/ubuntu/bucket/rA01f01-ch4\.tiff' is not an address such as s3://BUCKET/KEY",
    ),
    "an address that leaves the bucket": (
        rows(each("FileName_OrigDNA", lambda row: "../../x.tiff")), DamagedFileError, r"column OrigDNA: .* is not an",
    ),
    "a control well without an image": (
        rows(lambda found: [found.remove(row) for row in list(found) if row["Metadata_Well"] == "B01"]),
        DamagedFileError,
        r"4 of 80 control wells have no image in the tables of their plates, first: source_2/\d+/B01",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused(tree: Tree, case: str) -> None:
    """Each defect ends in an error that names the file, and the plate or the value."""
    damage, kind, message = BAD[case]
    damage(tree)
    with pytest.raises(kind, match=message):
        tree.open()


FILES = "fold,Metadata_Source,Metadata_Batch,Metadata_Plate\n"
BAD_FOLDS = {
    "a plate in two folds": (f"0,{S},B_{S},{P}\n1,{S},B_{S},{P}\n", rf"plate {S}/{P}: stands in fold 0 and in fold 1"),
    "a plate of nobody": (f"0,{S},B_{S},nowhere\n", rf"plate {S}/nowhere: the plate table has no such plate"),
    "another batch": (f"0,{S},B9,{P}\n", rf"plate {S}/{P}: batch B9, but B_{S} in the plate table"),
    "a fold that is no number": (f"one,{S},B_{S},{P}\n", r"fold 'one' is not a whole number"),
    "a gap": (f"1,{S},B_{S},{P}\n", r"expected folds 0, 1, … without a gap, found 1"),
}


@pytest.mark.parametrize("case", BAD_FOLDS)
def test_bad_files_of_folds_are_refused(original: Tree, tmp_path: Path, case: str) -> None:
    """The message names the file and the plate."""
    text, message = BAD_FOLDS[case]
    (tmp_path / "folds.csv").write_text(FILES + text)
    with pytest.raises(SpecError, match=message):
        original.open(folds={"file": str(tmp_path / "folds.csv")})


def test_a_file_of_folds_overrides_the_drawing(original: Tree, tmp_path: Path) -> None:
    """Its plates make the folds, whatever would have been drawn; an absent file is missing data."""
    (tmp_path / "folds.csv").write_text(FILES + f"0,{S},B_{S},{P}\n")
    dataset = original.open(folds={"file": str(tmp_path / "folds.csv")})
    assert {f"{S}/{P}"} == set(dataset.wells.plate)
    with pytest.raises(MissingDataError, match=r"protocol\.params\.folds\.file: none\.csv not found"):
        original.open(folds={"file": "none.csv"})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"clip": [99, 1]}, "two percentiles, the lower first"),
        ({"labs": ["a", "a"]}, "labs: a name stands twice"),
        ({"min_dmso": 9, "max_dmso": 8}, "min_dmso 9 is above max_dmso 8"),
        ({"sites": {"poscon": 1}}, "negcon"),
        ({"crop": 0}, "crop"),
    ],
)
def test_parameters_are_checked(params: dict[str, object], message: str) -> None:
    """Values that cannot be meant are refused before any file is opened."""
    with pytest.raises(ValidationError, match=message):
        Params.model_validate({**SMALL, **params})


def test_a_download_with_another_content_is_refused(tree: Tree) -> None:
    """What lies in the cache must have the sum that the spec states; a mirror is taken as it is."""
    name, source = "plate.csv.gz", Source(sha256={"plate.csv.gz": "0" * 64})
    read_tables(source, tree.context())
    kept = tree.context().cache / "github/jump-cellpainting/datasets/main/metadata"
    kept.mkdir(parents=True)
    shutil.move(tree.metadata / name, kept / name)
    with pytest.raises(DamagedFileError, match=r"plate\.csv\.gz: expected the sha256 0000"):
        read_tables(source, tree.context())


# --- a whole run, and plans --------------------------------------------------------------------------------------


def test_a_run_from_tables_to_a_score(original: Tree) -> None:
    """Pictures whose grain tells the compound are retrieved far better than by chance."""
    (result,) = evaluate("pixel-stats", original.write_spec(), data_dirs=(original.root,), output=None, offline=True)
    assert result.metrics["mAP"].value > 0.4  # chance is 0.19
    assert len(result.units["mAP"].unit) == 2 * 8


def test_vectors_are_scored_where_no_image_is_at_hand(tree: Tree, tmp_path: Path) -> None:
    """A table with source, plate, well and site is averaged to wells and scored; the note comes along."""
    dataset = tree.open()
    tree.drop_images()
    rng = np.random.default_rng(0)
    table = [
        dict(zip(dataset.keys, names, strict=True))
        | {f"feature_{n}": float(x) for n, x in enumerate(rng.normal(size=6))}
        for names in zip(*dataset.keys.values(), strict=True)
    ]
    write_parquet(tmp_path / "vectors.parquet", table)
    (result,) = evaluate(
        f"embeddings:{tmp_path / 'vectors.parquet'}", tree.write_spec(),
        data_dirs=(tree.root,), output=None, offline=True,
    )  # fmt: skip
    assert 0 < result.metrics["mAP"].value < 0.6
    assert result.task.data_hash == dataset.data_hash


def run_plan(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run ``harness tasks plan`` 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")
    outcome = CliRunner().invoke(plan_command, list(arguments), catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.output


def test_a_plan_of_local_files_is_exact(original: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image of a fold counts once; nothing is fetched; the table fits 80 columns."""
    text = run_plan(
        monkeypatch, str(original.write_spec()), "--data-dir", str(original.root), "--offline", "--json",
        "--images-per-second", "2",
    )  # fmt: skip
    found = json.loads(text)
    dataset = original.open()
    sizes = sum((original.root / one).stat().st_size for site in dataset.sites for one in site.files.images)
    assert found["plan"]["all"]["size"] == sizes
    assert found["plan"]["all"]["to_fetch"] == 0
    assert [(part["samples"], part["files"]) for part in found["plan"]["parts"]] == [(80, 400), (80, 400)]
    assert found["plan"]["all"]["hours"] == pytest.approx(160 / 2 / 3600)
    drawn = run_plan(monkeypatch, str(original.write_spec()), "--data-dir", str(original.root), "--offline")
    assert "800 files lie on this machine" in drawn
    assert max(map(len, drawn.splitlines()[:5])) <= 80


def test_a_plan_without_images_says_what_it_assumes(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites and sizes are assumed by laboratory: 20 wells of 6 sites at 1.992 MB and of 9 at 2.531 MB, times five."""
    tree.drop_images()
    arguments = (str(tree.write_spec()), "--data-dir", str(tree.root), "--offline")
    found = json.loads(run_plan(monkeypatch, *arguments, "--json", "--mbit", "10"))["plan"]
    assert found["parts"][0]["to_fetch"] == 20 * 5 * (6 * 1_992_000 + 9 * 2_531_000)
    assert found["parts"][0]["hours"] == pytest.approx(found["parts"][0]["to_fetch"] * 8 / 10e6 / 3600)
    drawn = run_plan(monkeypatch, *arguments)
    assert "no table of images is at hand" in drawn
    assert "assumed to have the mean size" in drawn


def test_a_task_without_a_plan_tells_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that knows no bytes still gets a sentence."""
    drawn = run_plan(monkeypatch, "synthetic-mini", "--limit", "200")
    assert "synthetic-mini: " in drawn
    assert "does not tell bytes" in drawn


def test_a_plan_that_is_none_is_the_plugin_s_failure(original: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader's plan does wrong is reported as its fault."""
    (bound,) = select_tasks(load_registry(), str(original.write_spec()))
    dataset = original.open()
    for answer, message in ((lambda: 3, "expected harness.plans.Plan, got int"), (lambda: 1 / 0, "ZeroDivisionError")):
        stand_in = type("Broken", (), {"ids": dataset.ids, "plan": staticmethod(answer)})()
        monkeypatch.setattr(planning, "open_dataset", lambda *_, one=stand_in: one)
        with pytest.raises(PluginError, match=message):
            planning.plan_task(bound, original.context())


def test_rows_of_other_laboratories_are_not_averaged(tree: Tree, tmp_path: Path) -> None:
    """A table of fields without laboratories is refused; columns of the public tables are no features."""
    dataset = tree.open()
    assert {"Metadata_Batch", "Metadata_JCP2022"} <= {*dataset.metadata_columns}
    keys = {name: [*values] for name, values in dataset.keys.items() if name != "Metadata_Site"}
    table = pd.DataFrame(keys | {"area": np.arange(len(dataset.ids), dtype=float), "jcp2022": 1})
    for name, columns in (("whole", table), ("poor", table.drop(columns="Metadata_Source"))):
        columns.to_parquet(tmp_path / f"{name}.parquet")
        model = build(BuildContext(embeddings_card(str(tmp_path / f"{name}.parquet"), DataContext())))
        if name == "whole":
            model.prepare(dataset, "image")
            assert model.embed(Batch(dataset.ids, "image"), ["last"])["last"].shape == (len(dataset.ids), 1)
        else:
            with pytest.raises(UsageError, match="mean of several rows, but the table has no column Metadata_Source"):
                model.prepare(dataset, "image")
