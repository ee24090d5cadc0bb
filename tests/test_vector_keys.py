"""Vectors joined with wells by the columns that name them: plate and well, one row for many fields, or many for one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness.models.precomputed import PrecomputedModel, build, embeddings_card
from hypothesis import given, settings
from hypothesis import strategies as st
from small_task import enter

from harness.errors import DamagedFileError, HarnessError, UsageError
from harness.types import Batch, BuildContext, DataContext

PLATES = ("007", "007", "1053601756", "1053601756")
NAMES = ("A01", "B02", "A01", "B02")
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


class Fields:
    """Two fields of each of four wells on two plates."""

    ids = tuple(f"field{row}" for row in range(8))
    keys: Mapping[str, Sequence[str]] = {
        "Metadata_Plate": tuple(np.repeat(PLATES, 2)),
        "Metadata_Well": tuple(np.repeat(NAMES, 2)),
        "Metadata_Site": ("1", "2") * 4,
    }
    well_of = np.repeat(np.arange(4), 2)

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Refuse: vectors need no images."""
        raise AssertionError("an image was read")


def frame(**more: Sequence[object]) -> pd.DataFrame:
    """Make a table with one row a well."""
    features = {f"feature_{number}": FEATURES[:, number] for number in range(3)}
    return pd.DataFrame({"Metadata_Plate": PLATES, "Metadata_Well": NAMES, **more, **features})


def write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table in the format of the ending."""
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


def load(path: Path, **options: str) -> PrecomputedModel:
    """Build the model of a file."""
    return build(BuildContext(embeddings_card(str(path), DataContext()), options=options))


def join(path: Path, samples: Fields | None = None, **options: str) -> np.ndarray:
    """Join a file with samples and return their vectors."""
    samples, model = samples or Fields(), load(path, **options)
    model.prepare(samples, "image")
    return model.embed(Batch(samples.ids, "image"), ["last"])["last"]


def failure(path: Path, kind: type[HarnessError], samples: Fields | None = None, **options: str) -> str:
    """Return the message of a join that fails."""
    with pytest.raises(kind) as caught:
        join(path, samples, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["v.parquet", "v.csv", "v.csv.gz"])
def test_a_row_serves_all_fields_of_its_well(name: str, folder: Path) -> None:
    """Plate and well find the row of each sample, whatever the order of rows; plates stay text."""
    answer = join(write(frame().iloc[::-1], folder / name))
    assert answer.dtype == np.float32
    assert answer.tolist() == np.repeat(FEATURES, 2, axis=0).tolist()


def test_every_key_that_the_table_has_counts(folder: Path) -> None:
    """A table with a column of sites gives each field its own row."""
    table = pd.concat([frame(Metadata_Site=[site] * 4) for site in ("2", "1")], ignore_index=True)
    table.loc[table["Metadata_Site"] == "2", "feature_0"] = -1.0
    answer = join(write(table, folder / "v.csv"))
    assert answer[:, 0].tolist() == [0, -1, 3, -1, 6, -1, 9, -1]


def test_several_rows_of_a_well_are_averaged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that serve one sample are averaged in float64, and how many vectors that concerns is told."""
    large = frame(other=["x"] * 4)
    large["feature_1"] = np.float32(16777216)
    small = frame(other=["y"] * 4).iloc[:1].assign(feature_0=7.0, feature_1=1.0)
    with caplog.at_level(logging.WARNING):
        answer = join(write(pd.concat([large, small, small], ignore_index=True), folder / "v.parquet"))
    assert answer[0].tolist() == [np.float32(14 / 3), np.float32((16777216 + 2) / 3), 2.0]
    assert (
        answer[2:].tolist() == np.repeat(large[["feature_0", "feature_1", "feature_2"]].to_numpy()[1:], 2, 0).tolist()
    )
    assert "1 vectors are the mean of several rows" in caplog.text


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12)), scale=st.floats(-4, 4))
def test_the_order_of_rows_does_not_matter(
    order: list[int], scale: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any order of rows gives the same means, up to rounding."""
    place = tmp_path_factory.mktemp("order")
    table = pd.concat([frame()] * 3, ignore_index=True)
    table["feature_2"] = scale * np.arange(12)
    wanted = join(write(table, place / "a.parquet"))
    np.testing.assert_allclose(join(write(table.iloc[order], place / "b.parquet")), wanted, rtol=1e-6, atol=1e-6)


def test_wells_are_compared_with_two_digits(folder: Path) -> None:
    """A table that says A1 and b2 serves the wells A01 and B02; plates keep every letter."""
    table = frame().assign(Metadata_Well=["A1", "b2", "A1", "B2"])
    assert join(write(table, folder / "v.csv")).tolist() == np.repeat(FEATURES, 2, axis=0).tolist()
    table["Metadata_Plate"] = [plate.lstrip("0") for plate in PLATES]
    assert "4 of 8 samples have no vector" in failure(write(table, folder / "v.csv"), DamagedFileError)


def test_whole_numbers_name_plates_and_fractions_do_not(folder: Path) -> None:
    """Integers of a parquet file are their digits; floats lost what they were and are refused."""
    samples = Fields()
    samples.keys = samples.keys | {"Metadata_Plate": tuple(np.repeat(("7", "7", "8", "8"), 2))}
    table = frame().assign(Metadata_Plate=[7, 7, 8, 8])
    assert join(write(table, folder / "v.parquet"), samples).tolist() == np.repeat(FEATURES, 2, axis=0).tolist()
    table["Metadata_Plate"] = table["Metadata_Plate"].astype(float)
    message = failure(write(table, folder / "v.parquet"), DamagedFileError, samples)
    assert "column Metadata_Plate holds numbers such as 7.0, which name nothing exactly; write it as text" in message


def test_missing_wells_are_counted_and_named(folder: Path) -> None:
    """The message says how many samples lack a vector, which, by which columns, and what the file has."""
    message = failure(write(frame().iloc[1:], folder / "v.csv"), DamagedFileError)
    assert (
        "2 of 8 samples have no vector, first: field0, field1 by Metadata_Plate, Metadata_Well; the file has rows "
        "such as 007/B02, 1053601756/A01, 1053601756/B02" in message
    )


def test_columns_must_tell_wells_apart(folder: Path) -> None:
    """A table of wells without their plates is refused: two wells would get one vector."""
    table = frame().drop(columns="Metadata_Plate")
    message = failure(write(table, folder / "v.csv"), UsageError)
    assert "Metadata_Well do not tell wells apart: field0 and field4 would get the same vector" in message


def test_rows_of_other_wells_are_not_averaged(folder: Path) -> None:
    """Where the data say which keys name a well, a table without one of them may hold one row a well only."""

    class Plate(Fields):
        ids = Fields.ids[:4]
        keys: Mapping[str, Sequence[str]] = {name: values[:4] for name, values in Fields.keys.items()}
        well_of = Fields.well_of[:4]
        well_names = (("Metadata_Plate", "Metadata_Well"),)

    wells = frame().drop(columns="Metadata_Plate")
    message = failure(write(wells, folder / "v.csv"), UsageError, Plate())
    assert "2 vectors would be the mean of several rows, but the table has no column Metadata_Plate" in message
    assert "id=COLUMN" in message
    assert join(write(wells.iloc[:2], folder / "v.csv"), Plate()).tolist() == np.repeat(FEATURES[:2], 2, 0).tolist()
    assert join(write(pd.concat([frame()] * 2), folder / "v.csv"), Plate()).shape == (4, 3)


def test_rows_in_use_must_be_finite(folder: Path) -> None:
    """A NaN is named with its row; rows of other wells may hold one."""
    table = frame()
    table.loc[2, "feature_1"] = np.nan
    message = failure(write(table, folder / "v.parquet"), DamagedFileError)
    assert "NaN or infinity for 1 of 4 rows in use: 1053601756/A01" in message
    assert "in 1 of 3 columns, first feature_1; leave them out with columns=PATTERN" in message
    surplus = frame().iloc[:1].assign(Metadata_Plate="none", feature_0=np.nan)
    assert join(write(pd.concat([frame(), surplus]), folder / "v.parquet")).shape == (8, 3)


def test_numeric_keys_are_no_features(folder: Path) -> None:
    """Without feature_* columns, a numeric key is still a key and never part of the vectors."""
    samples = Fields()
    samples.keys = {"Number": tuple(str(number) for number in np.repeat(np.arange(4), 2))}
    table = pd.DataFrame({"Number": range(4), "b": FEATURES[:, 1], "a": FEATURES[:, 0]})
    assert join(write(table, folder / "v.csv"), samples).tolist() == np.repeat(FEATURES[:, [0, 1]], 2, axis=0).tolist()


def test_an_id_column_wins_when_it_is_asked_for(folder: Path) -> None:
    """With id=COLUMN vectors are joined by that column alone, and a name twice is an error."""
    table = pd.DataFrame({"field": Fields.ids, "Metadata_Well": "Z99", "feature_0": range(8)})
    path = write(table, folder / "v.csv")
    assert "8 of 8 samples have no vector" in failure(path, DamagedFileError, _without_wells())
    assert join(path, id="field")[:, 0].tolist() == list(range(8))
    table.loc[1, "field"] = "field0"
    assert "1 ids stand more than once: field0" in failure(write(table, folder / "v.csv"), DamagedFileError, id="field")


def test_a_table_without_keys_is_joined_by_id(folder: Path) -> None:
    """Where no key is a column, the sample ids are looked for as for any task; the message knows the keys too."""
    table = pd.DataFrame({"sample_id": Fields.ids, "feature_0": range(8)})
    assert join(write(table, folder / "v.csv"))[:, 0].tolist() == list(range(8))
    other = pd.DataFrame({"x": Fields.ids, "y": Fields.ids, "feature_0": range(8)})
    message = failure(write(other, folder / "v.csv"), UsageError)
    assert "Say id=COLUMN; none is called Metadata_Plate, Metadata_Well, Metadata_Site, sample_id" in message
    np.savez(folder / "v.npz", ids=np.array(Fields.ids), features=np.arange(8.0).reshape(8, 1))
    assert join(folder / "v.npz")[:, 0].tolist() == list(range(8))


def test_a_row_without_a_key_is_damage(folder: Path) -> None:
    """An empty cell in a key column is an error, in a csv and in a parquet file."""
    for name, nothing in (("v.csv", ""), ("v.parquet", None)):
        table = frame().assign(Metadata_Well=["A01", nothing, "A01", "B02"])
        assert "1 of 4 rows have no id in column Metadata_Well" in failure(
            write(table, folder / name), DamagedFileError
        )


def test_vectors_may_be_named(folder: Path) -> None:
    """The option name is accepted and shapes no vector."""
    path = write(frame(), folder / "v.csv")
    assert "name" in embeddings_card(str(path), DataContext()).options
    assert (join(path, name="mae-g-8") == join(path)).all()


def _without_wells() -> Fields:
    """Give samples that cannot tell which well they show."""
    samples = Fields()
    samples.well_of = None
    return samples
