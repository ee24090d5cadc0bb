"""Models of which only vectors were released: one file serves, none or several are explained, other tasks refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness.models.released import build, identify
from small_task import enter

from harness.cli import main
from harness.errors import DamagedFileError, MissingDataError, UsageError
from harness.match import Mismatch, Pairing, match
from harness.modelstring import ModelRequest
from harness.plugins import load_registry
from harness.selection import select_model, select_tasks
from harness.types import Batch, BuildContext, DataContext

REGISTRY = load_registry()
WELLS = ("s1/1/AA02", "s1/1/AA03", "s1/2/AA02")
PLACE = "recursionpharma/rxrx3-core"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


class Wells:
    """Samples that are named by their well, as those of RxRx3-core are."""

    ids = WELLS[:2]

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Return the wells."""
        return {"well_id": self.ids}

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Refuse: vectors need no images."""
        raise AssertionError("an image was read")


def release(root: Path, file: str = "MAE_rxrx3_core_embeddings.parquet", width: int = 1664) -> np.ndarray:
    """Write vectors of three wells into a mirror and return them."""
    features = np.random.default_rng(width).standard_normal((3, width)).astype(np.float32)
    frame = pd.DataFrame(features, columns=[f"feature_{number}" for number in range(width)])
    (root / PLACE).mkdir(parents=True, exist_ok=True)
    frame.assign(well_id=WELLS).to_parquet(root / PLACE / file)
    return features


def context(name: str, *roots: Path, **options: str) -> BuildContext:
    """Say where a model finds its vectors."""
    return BuildContext(REGISTRY.cards[name], data_dirs=roots, options=options)


@pytest.mark.parametrize(("name", "width"), [("mae-g-8", 1664), ("mae-l-8", 1024)])
def test_the_released_file_is_found_and_joined_by_well(name: str, width: int, folder: Path) -> None:
    """The first data folder that has it serves; wells that the task does not ask for are left out."""
    features = release(folder / "mirror", width=width)
    asked = context(name, folder / "empty", folder / "mirror")
    model = build(asked)
    model.prepare(Wells(), "image")
    found = model.embed(Batch(WELLS[1::-1], "image"), ("last",))["last"]
    assert np.array_equal(found, features[1::-1])
    before = identify(asked)
    release(folder / "mirror", width=width + 1)
    assert identify(asked) != before


def test_another_width_is_not_taken_for_the_model(folder: Path) -> None:
    """The vectors of one of the two models never pass for those of the other, unless the user says so."""
    release(folder, width=1024)
    with pytest.raises(DamagedFileError, match="expected 1664 features, found 1024; say dim=1024 if that is meant"):
        build(context("mae-g-8", folder)).prepare(Wells(), "image")
    build(context("mae-g-8", folder, dim="1024")).prepare(Wells(), "image")


def test_no_file_is_explained(folder: Path) -> None:
    """Without vectors the message says that there are no weights, what was looked for, and the way out."""
    want = (
        "mae-g-8: its weights are not public; only embeddings of RxRx3-core exist. Expected "
        f"DIR/{PLACE}/*MAE*.parquet with --data-dir DIR; found none. Use embeddings:PATH,name=mae-g-8."
    )
    for roots in ((), (folder,)):
        with pytest.raises(MissingDataError) as caught:
            build(context("mae-g-8", *roots))
        assert str(caught.value) == want
    assert MissingDataError.exit_code == 5


def test_several_files_are_listed(folder: Path) -> None:
    """Two files are named and the user chooses; nothing is guessed from a name."""
    for file in ("MAE-G.parquet", "MAE-L.parquet", "OpenPhenom.parquet"):
        release(folder, file)
    with pytest.raises(MissingDataError) as caught:
        identify(context("mae-g-8", folder))
    where = folder / PLACE
    assert f"found 2 ({where / 'MAE-G.parquet'}, {where / 'MAE-L.parquet'}). Use embeddings:PATH" in str(caught.value)


def test_they_answer_on_their_own_data_set_only() -> None:
    """Tasks of RxRx3-core are paired on one view; any other task says which data set the vectors belong to."""
    model = select_model(REGISTRY, ModelRequest("mae-l-8"), DataContext())
    [own], [other] = (match(select_tasks(REGISTRY, task)[0], model, "last") for task in ("rxrx3", "hest-idc"))
    assert isinstance(own, Pairing)
    assert isinstance(other, Mismatch)
    assert other.reason == "mae-l-8 has embeddings for rxrx3-core only and cannot run hest-idc"


def test_another_task_ends_the_command_with_four(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing else runs, the reason is all there is."""
    with pytest.raises(SystemExit) as stop:
        main(["eval", "--model", "mae-g-8", "--tasks", "tiny.yaml"])
    assert stop.value.code == 4
    assert "mae-g-8 has embeddings for rxrx3-core only and cannot run tiny-synthetic" in capsys.readouterr().err


def test_there_is_no_untrained_twin() -> None:
    """A network that nobody has cannot be drawn at random."""
    with pytest.raises(UsageError, match="has no weights to leave untrained"):
        select_model(REGISTRY, ModelRequest("mae-g-8", untrained=True), DataContext())
