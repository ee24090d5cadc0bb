"""Precomputed vectors: read from every kind of file, joined by sample id, refused with the reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from harness.models.precomputed import PrecomputedModel, build, embeddings_card
from harness.models.vector_tables import choose_columns
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT, SHARED, needs_shared
from small_task import enter

from harness import evaluate
from harness.errors import DamagedFileError, HarnessError, MissingDataError, UsageError
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.results import Result
from harness.selection import select_tasks
from harness.types import Batch, BuildContext, DataContext

IDS = ("b", "a", "c")
FEATURES = np.arange(36, dtype=np.float32).reshape(3, 12)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


class Wanted:
    """Samples of a task."""

    def __init__(self, *ids: str) -> None:
        """Keep the ids."""
        self.ids = ids

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Refuse: vectors need no images."""
        raise AssertionError("an image was read")


def frame(ids: Sequence[str] = IDS, features: np.ndarray = FEATURES, column: str = "sample_id") -> pd.DataFrame:
    """Make a table with the features from the last to the first, as a careless export may write it."""
    columns = {f"feature_{number}": features[:, number] for number in reversed(range(features.shape[1]))}
    return pd.DataFrame({column: list(ids), **columns})


def write(path: Path, ids: Sequence[str] = IDS, features: np.ndarray = FEATURES) -> Path:
    """Write vectors in the format of the ending."""
    if path.suffix == ".parquet":
        frame(ids, features).to_parquet(path)
    elif path.suffix == ".npz":
        np.savez(path, ids=np.array(ids), features=features)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["ids"] = np.array(ids, dtype="S")
            file["features"] = features
    else:
        frame(ids, features).to_csv(path, index=False)
    return path


def load(path: Path, **options: str) -> PrecomputedModel:
    """Build the model of a file."""
    return build(BuildContext(embeddings_card(str(path), DataContext()), options=options))


def vectors(path: Path, *ids: str, stage: str = "last", **options: str) -> np.ndarray:
    """Join a file with samples and return their vectors."""
    model = load(path, **options)
    model.prepare(Wanted(*ids), "image")
    return model.embed(Batch(ids, "image"), [stage])[stage]


def failure(path: Path, kind: type[HarnessError], *ids: str, **options: str) -> str:
    """Return the message of a join that fails."""
    with pytest.raises(kind) as caught:
        vectors(path, *(ids or ("a",)), **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["v.parquet", "v.csv", "v.csv.gz", "v.npz", "v.h5", "V.CSV"])
def test_every_kind_of_file_gives_the_vectors_by_id(name: str, folder: Path) -> None:
    """Whatever the format and the order of rows, each sample gets its own vector, as float32."""
    answer = vectors(write(folder / name), "a", "b")
    assert answer.tolist() == FEATURES[[1, 0]].tolist()
    assert answer.dtype == np.float32


@pytest.mark.parametrize(("ids", "features"), [("ids", "features"), ("barcodes", "embeddings")])
def test_h5_of_two_customs(ids: str, features: str, folder: Path) -> None:
    """Names of arrays, half precision, column vectors of barcodes and further arrays are all read."""
    with h5py.File(folder / "v.h5", "w") as file:
        file[ids] = np.array(IDS, dtype="S").reshape(-1, 1)
        file[features] = FEATURES.astype(np.float16)
        file["coords"] = np.zeros((3, 2), dtype=np.int64)
    assert vectors(folder / "v.h5", "c").tolist() == FEATURES[[2]].tolist()


def test_several_arrays_are_stages(folder: Path) -> None:
    """The arrays of an npz beside the ids are the stages, in their order, of any lengths."""
    np.savez(folder / "v.npz", early=FEATURES[:, :3], ids=np.array(IDS), late=2 * FEATURES)
    assert embeddings_card("v.npz", DataContext()).stages == ["early", "late"]
    assert vectors(folder / "v.npz", "a", stage="early").tolist() == FEATURES[[1], :3].tolist()
    assert vectors(folder / "v.npz", "a", stage="late").tolist() == (2 * FEATURES[[1]]).tolist()


def test_a_folder_holds_a_file_a_section(folder: Path) -> None:
    """Sample ids of a folder are SECTION/BARCODE, so equal barcodes of two sections stay apart."""
    (folder / "sections").mkdir()
    write(folder / "sections/S1.h5")
    write(folder / "sections/S2.h5", features=-FEATURES)
    answer = vectors(folder / "sections", "S2/a", "S1/a")
    assert answer.tolist() == [(-FEATURES[1]).tolist(), FEATURES[1].tolist()]
    write(folder / "sections/S3.h5", features=FEATURES[:, :2])
    assert "different lengths: [2, 12]" in failure(folder / "sections", DamagedFileError, "S1/a")
    (folder / "empty").mkdir()
    assert "holds no .h5 files" in failure(folder / "empty", MissingDataError)


@needs_shared
def test_a_real_folder_of_sections() -> None:
    """A folder that another program wrote is read: its barcodes and vectors row by row."""
    place = SHARED / "oracles/hest/dims_lt_256/embeddings/SYN"
    with h5py.File(place / "S1.h5") as file:
        barcodes = [name.decode() for name in file["barcodes"][:, 0]]
        wanted = file["embeddings"][:]
    assert (vectors(place, *(f"S1/{name}" for name in barcodes)) == wanted).all()


def test_columns_are_chosen_by_name_and_ordered_by_number() -> None:
    """feature_* wins over all else; without it metadata and counts stay out; a pattern chooses freely."""
    names = ["feature_10", "feature_9", "area", "Metadata_Row", "Image_Width", "Cells_Count", "emb_1", "emb_0"]
    assert choose_columns(names, None) == ["feature_9", "feature_10"]
    assert choose_columns(names[2:], None) == ["area", "emb_0", "emb_1"]
    assert choose_columns(names, "emb_*") == ["emb_0", "emb_1"]
    assert choose_columns(names, "nothing_*") == []
    assert choose_columns(["Metadata_Area", "AREA", "x", "Dose", "Row"], None, ["area"]) == ["x"]
    assert choose_columns(["feature_1", "feature_2"], None, ["feature_2"]) == ["feature_1"]
    assert choose_columns(["area", "x"], "area", ["area"]) == ["area"]


@given(st.permutations([f"feature_{number}" for number in range(12)]))
def test_order_of_columns_does_not_matter(names: list[str]) -> None:
    """Any order of columns gives one order of features."""
    assert choose_columns(names, None) == [f"feature_{number}" for number in range(12)]


def test_columns_left_out_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Numeric columns that are no features are named in a warning and shape no vector."""
    table = frame().assign(Metadata_Row=1, note="text")
    table.to_csv(folder / "v.csv", index=False)
    assert vectors(folder / "v.csv", "c").tolist() == FEATURES[[2]].tolist()
    assert "features are feature_0 to feature_11 (12 columns); numeric columns left out: Metadata_Row" in caplog.text


def test_a_guess_of_features_is_always_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where neither names nor an option say what is a feature, the choice is told even if nothing is left out."""
    pd.DataFrame({"id": ["a"], **{f"e{number}": [1.0] for number in range(9)}}).to_csv(folder / "v.csv", index=False)
    assert vectors(folder / "v.csv", "a").shape == (1, 9)
    assert "e0, e1, e2, e3, e4, e5, e6, e7 … (9 columns); numeric columns left out: none" in caplog.text
    caplog.clear()
    vectors(folder / "v.csv", "a", columns="e*")
    assert caplog.text == ""


def test_options_choose_columns_ids_and_length(folder: Path) -> None:
    """columns=, id= and dim= are obeyed, and a wrong one is named with what there is."""
    table = frame().rename(columns={"feature_3": "emb_3", "feature_11": "emb_11"})
    table.assign(well=["x", "y", "z"]).to_parquet(folder / "v.parquet")
    chosen = {"id": "well", "columns": "emb_*", "dim": "2"}
    assert vectors(folder / "v.parquet", "z", **chosen).tolist() == [[27.0, 35.0]]
    message = failure(folder / "v.parquet", UsageError, id="plate")
    assert "id=plate: no such column; columns: sample_id, emb_11, feature_10, " in message
    assert "no feature columns match columns=x_*" in failure(folder / "v.parquet", UsageError, columns="x_*")
    assert "expected 3 features, found 10" in failure(folder / "v.parquet", DamagedFileError, dim="3")
    assert "option dim=many" in failure(folder / "v.parquet", UsageError, dim="many")
    assert UsageError.exit_code == 2
    assert "are for parquet and csv files" in failure(write(folder / "v.npz"), UsageError, columns="x")


def test_the_id_column_is_found(folder: Path) -> None:
    """A known name, a named index or the only text column holds the ids; else the message asks for one."""
    frame(column="well_id").assign(plate="p").to_csv(folder / "known.csv", index=False)
    frame(column="whatever").to_csv(folder / "only.csv", index=False)
    frame(column="whatever").set_index("whatever").to_parquet(folder / "index.parquet")
    for name in ("known.csv", "only.csv", "index.parquet"):
        assert vectors(folder / name, "a").tolist() == FEATURES[[1]].tolist()
    frame(column="whatever").assign(plate="p").to_csv(folder / "two.csv", index=False)
    message = failure(folder / "two.csv", UsageError)
    assert "Say id=COLUMN" in message
    assert "text columns: whatever, plate" in message
    assert "none is called sample_id, id, ids, well_id; text" in message


def test_ids_are_text_letter_by_letter(folder: Path) -> None:
    """Ids that look like numbers or like missing values keep their letters."""
    (folder / "v.csv").write_text("well_id,feature_0\n001,1.5\n1,2.5\nNA,3.5\n")
    assert vectors(folder / "v.csv", "NA", "001", "1").tolist() == [[3.5], [1.5], [2.5]]
    pd.DataFrame({"id": [7, 8], "feature_0": [1.0, 2.0]}).to_parquet(folder / "v.parquet")
    assert vectors(folder / "v.parquet", "8").tolist() == [[2.0]]


@pytest.mark.parametrize("name", ["v.parquet", "v.csv"])
def test_a_row_without_id_is_damage(name: str, folder: Path) -> None:
    """Rows without an id are counted, not given the id ``nan``."""
    write(folder / name, ids=("a", None, None))
    assert "2 of 3 rows have no id in column sample_id" in failure(folder / name, DamagedFileError)


@pytest.mark.parametrize("options", [{}, {"columns": "feature_*"}])
def test_text_in_a_feature_column_is_damage(options: dict[str, str], folder: Path) -> None:
    """A feature column that is not numeric is an error: it is never left out without a word."""
    table = frame().assign(feature_4=["1", "x", "2"])
    table.to_csv(folder / "v.csv", index=False)
    message = failure(folder / "v.csv", DamagedFileError, **options)
    assert "1 columns match feature_* but hold no numbers, first: feature_4" in message


@pytest.mark.parametrize("name", ["v.parquet", "v.csv", "v.npz", "v.h5"])
def test_an_id_that_stands_twice_is_named(name: str, folder: Path) -> None:
    """Duplicate ids are an error, whether a task uses them or not."""
    message = failure(write(folder / name, ids=("a", "b", "b")), DamagedFileError)
    assert "1 ids stand more than once: b" in message


def test_samples_without_vector_are_counted_and_named(folder: Path) -> None:
    """The message says how many of how many are missing, the first three, and what the file has."""
    message = failure(write(folder / "v.npz"), DamagedFileError, "a", "w", "x", "y", "z")
    assert "4 of 5 samples have no vector, first: w, x, y; the file has ids such as b, a, c" in message
    assert DamagedFileError.exit_code == 7


def test_surplus_rows_are_told_and_not_used(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that no sample asks for are counted in a warning."""
    assert vectors(write(folder / "v.npz"), "c").tolist() == FEATURES[[2]].tolist()
    assert "2 rows belong to no sample of this task" in caplog.text
    caplog.clear()
    vectors(folder / "v.npz", *IDS)
    assert caplog.text == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_only_vectors_that_are_used_must_be_finite(value: float, folder: Path) -> None:
    """NaN or infinity in the row of a sample names the sample; in a surplus row it harms nobody."""
    features = FEATURES.copy()
    features[1, 5] = value
    path = write(folder / "v.parquet", features=features)
    assert "NaN or infinity for 1 of 2 samples: a" in failure(path, DamagedFileError, "b", "a")
    assert vectors(path, "c", "b").tolist() == FEATURES[[2, 0]].tolist()


def test_missing_numbers_are_not_finite(folder: Path) -> None:
    """An empty cell of a csv, and a null of a nullable column, count as NaN."""
    (folder / "v.csv").write_text("id,feature_0,feature_1\na,1,2\nb,,3\n")
    assert "for 1 of 1 samples: b" in failure(folder / "v.csv", DamagedFileError, "b")
    table = pd.DataFrame({"id": ["a", "b"], "feature_0": pd.array([1, None], dtype="Int64")})
    table.to_parquet(folder / "v.parquet")
    assert "for 1 of 1 samples: b" in failure(folder / "v.parquet", DamagedFileError, "b")
    assert vectors(folder / "v.parquet", "a").tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["v.parquet", "v.csv.gz", "v.npz", "v.h5"])
@pytest.mark.parametrize("kept", [0, 4, 0.5, 0.95])
def test_truncated_files_are_damaged(name: str, kept: float, folder: Path) -> None:
    """A file that is cut anywhere, or empty, is named as damaged."""
    path = write(
        folder / name, ids=[f"s{row}" for row in range(300)], features=np.random.default_rng(0).random((300, 9))
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    assert name in failure(path, DamagedFileError)


@pytest.mark.parametrize("name", ["v.csv.gz", "v.npz"])
def test_flipped_bytes_in_compressed_files_are_damage(name: str, folder: Path) -> None:
    """Damage inside a compressed stream is an error with the file's name, not a crash."""
    ids, features = [f"s{row}" for row in range(300)], np.random.default_rng(0).random((300, 9))
    path = write(folder / name, ids, features)
    if name.endswith("npz"):
        np.savez_compressed(path, ids=np.array(ids), features=features)
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 200):
        content[place] ^= 255
    path.write_bytes(content)
    assert "cannot be read" in failure(path, DamagedFileError)


def test_arrays_that_are_no_vectors_are_refused(folder: Path) -> None:
    """Pickled objects, unknown number formats, complex numbers and wrong shapes are refused by name."""
    objects = np.array(IDS, dtype=object)
    cases: dict[str, dict[str, Any]] = {
        "without objects": {"ids": objects, "features": FEATURES},
        "features: expected real numbers (n, D), found complex64": {"ids": IDS, "features": FEATURES * 1j},
        "features: expected real numbers (n, D), found |V2": {"ids": IDS, "features": np.zeros((3, 2), dtype="V2")},
        "label: expected real numbers (n, D), found int64 of shape (3,)": {
            "ids": IDS, "features": FEATURES, "label": np.arange(3),
        },
        "expected the arrays ids and features, found ids": {"ids": IDS},
        "expected the arrays ids and features, found features": {"features": FEATURES},
        "2 ids, but 3 vectors": {"ids": IDS[:2], "features": FEATURES},
        "holds no vectors": {"ids": np.zeros(0, dtype="U1"), "features": np.zeros((0, 4))},
    }  # fmt: skip
    for words, arrays in cases.items():
        np.savez(folder / "v.npz", **arrays)
        assert words in failure(folder / "v.npz", DamagedFileError)
    np.save(folder / "single.npy", FEATURES)
    (folder / "single.npy").rename(folder / "single.npz")
    assert "single.npz: cannot be read" in failure(folder / "single.npz", DamagedFileError)


def test_h5_files_that_hold_no_vectors_are_refused(folder: Path) -> None:
    """Missing arrays, groups in their place and unreadable number formats are named."""
    with h5py.File(folder / "v.h5", "w") as file:
        file["ids"] = np.array(IDS, dtype="S")
        file.create_group("features")
        file["coords"] = np.zeros((3, 2))
    assert "features or embeddings; found coords, ids" in failure(folder / "v.h5", DamagedFileError)
    with h5py.File(folder / "v.h5", "w") as file:
        file["ids"] = np.array(IDS, dtype="S")
        file["features"] = np.zeros((3, 2), dtype="V2")  # how a format of two bytes that numpy lacks is kept
    assert "found |V2 of shape (3, 2); write the file again as float32" in failure(folder / "v.h5", DamagedFileError)


def test_paths_that_lead_nowhere(folder: Path) -> None:
    """No such file is missing data; a kind of file that is not read is bad usage, with the kinds that are."""
    assert f"no such file (looked for it in {folder})" in failure(Path("none.parquet"), MissingDataError)
    assert MissingDataError.exit_code == 5
    (folder / "v.txt").write_text("x")
    assert "expected one of .parquet, .csv, .csv.gz, .npz, .h5" in failure(folder / "v.txt", UsageError)
    frame().to_csv(folder / "zellkörper.csv", index=False)
    assert vectors(folder / "zellkörper.csv", "a").tolist() == FEATURES[[1]].tolist()


def test_the_content_is_part_of_the_identity(folder: Path) -> None:
    """Another content makes another card; the same content the same."""
    path = str(write(folder / "v.csv"))
    first = embeddings_card(path, DataContext())
    write(folder / "v.csv", features=-FEATURES)
    second = embeddings_card(path, DataContext())
    write(folder / "v.csv")
    assert first == embeddings_card(path, DataContext()) != second
    assert second.untrained.twin == "none"


def open_small():
    """Open the data of the small task."""
    task = select_tasks(load_registry(), "tiny.yaml")[0]
    return task.reader.open(task.spec, task.source, task.reader_params, RunOptions().data_context)


def scores(result: Result) -> dict[str, Any]:
    """Return what a result says about the embeddings, whoever made them."""
    return {"units": result.units, "metrics": result.metrics, "embedding_hash": result.embedding_hash}


def test_vectors_of_pixel_mean_score_like_pixel_mean(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Stored features give the result of their model: one a task of two views, no image read, surplus rows unused."""
    dataset = open_small()
    pixels = dataset.read("graph_image", 0, len(dataset.ids)).images
    assert pixels is not None
    features = (pixels.astype(np.float64) / 255).mean(axis=(2, 3)).astype(np.float32)
    (wanted,) = evaluate("pixel-mean", "tiny.yaml@graph_image", baselines="none", output=None)
    ids = [*dataset.ids, "surplus/1", "surplus/2"]
    rows = np.vstack([features, np.full((2, 3), np.nan, dtype=np.float32)])
    order = np.random.default_rng(0).permutation(len(ids))
    write(folder / "v.parquet", [ids[row] for row in order], rows[order])

    def refuse(*arguments: Any) -> Batch:
        raise AssertionError("an image was read")

    monkeypatch.setattr(type(dataset), "read", refuse)
    with caplog.at_level(logging.WARNING):
        (result,) = evaluate("embeddings:v.parquet", "tiny.yaml", baselines="none", output=folder / "results")
    assert scores(result) == scores(wanted)
    assert result.model.name == "embeddings:v.parquet"
    assert "2 rows belong to no sample" in caplog.text


@needs_shared
def test_a_folder_of_sections_gives_the_scores_of_its_benchmark(folder: Path) -> None:
    """Vectors of three sections, one h5 each, give the correlation that the original benchmark gives for them."""
    oracle = SHARED / "oracles/hest/dims_lt_256"
    text = (ROOT / "examples/her2st/hest.yaml").read_text().replace("folder: HER2ST", "folder: SYN")
    (folder / "syn.yaml").write_text(text.replace("name: hest-her2st", "name: hest-syn"))
    model = f"embeddings:{oracle / 'embeddings/SYN'}"
    (result,) = evaluate(model, "syn.yaml", baselines="none", output=None, data_dirs=(oracle / "data",))
    wanted = json.loads((oracle / "expected.json").read_text())["runs"]["latent64"]["pearson_mean"]
    assert result.headline.value == pytest.approx(wanted, abs=4e-4)  # the tolerance of a fold in the oracle tests


def test_a_task_that_lacks_vectors_fails_as_a_whole(folder: Path) -> None:
    """A sample without a vector stops the run before anything is scored; no result is written."""
    dataset = open_small()
    write(folder / "v.npz", dataset.ids[:-2], np.ones((len(dataset.ids) - 2, 3)))
    with pytest.raises(DamagedFileError, match=f"2 of {len(dataset.ids)} samples have no vector"):
        evaluate("embeddings:v.npz", "tiny.yaml", baselines="none", output=folder / "results")
    assert not list(folder.rglob("embeddings*.json"))


def test_an_edited_file_is_never_served_from_the_store(folder: Path) -> None:
    """After the vectors have changed, the next run scores the new ones."""
    dataset = open_small()
    labels = np.array([int(name.split("/")[1]) for name in dataset.ids], dtype=np.float32)
    telling = np.eye(24, dtype=np.float32)[labels.astype(int) - int(labels.min())]
    silent = np.random.default_rng(0).random(telling.shape).astype(np.float32)
    values = []
    for features in (silent, telling):
        write(folder / "v.npz", dataset.ids, features)
        (result,) = evaluate("embeddings:v.npz", "tiny.yaml", baselines="none", output=None)
        values.append(result.headline.value)
    assert values[0] < 0.3
    assert values[1] == 1.0
