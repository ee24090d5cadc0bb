"""``models ls`` and ``models show``: whether weights are at hand, told at a glance and without asking anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.models.weights_state import weights_state
from small_task import enter

from harness.cards import ModelCard
from harness.cli import main
from harness.plugins import load_registry
from harness.types import DataContext


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


def card(source: str = "hf-hub:lab/net", gated: str = "no", **weights: Any) -> ModelCard:
    """Return a card with weights."""
    return ModelCard(
        name="net", build="x:y", weights={"source": source, **weights}, access={"gated": gated}, requires=["torch"]
    )


@pytest.mark.parametrize(
    ("given", "place", "state"),
    [
        (card(), "cache/huggingface/models--lab--net/snapshots/abc/model.safetensors", "in the cache"),
        (card(), "cache/huggingface/models--lab--net/snapshots/abc/pytorch_model.bin", "in the cache"),
        (card(), "mirror/lab/net/pytorch_model.bin", "in the mirror"),
        (card(gated="manual"), "mirror/lab/net/model.safetensors", "in the mirror"),
        (card(paths=["odd/place.pt"]), "mirror/odd/place.pt", "in the mirror"),
        (
            card("hf-hub:datasets/lab/set", files=["net.bin"]),
            "cache/huggingface/datasets--lab--set/snapshots/abc/net.bin",
            "in the cache",
        ),
        (card("torchvision:net.pth"), "cache/torchvision/net.pth", "in the cache"),
        (
            card("trained:synthetic-gnn", files=["a.safetensors"]),
            "cache/trained/synthetic-gnn/a.safetensors",
            "in the cache",
        ),
        (card("github:lab/net", files=["a.th"]), "mirror/lab/net/a.th", "in the mirror"),
    ],
)
def test_weights_at_hand_are_found_where_loading_finds_them(
    given: ModelCard, place: str, state: str, folder: Path
) -> None:
    """A file in a mirror or in the cache makes a model ready, and its path is told."""
    context = DataContext((folder / "mirror",), folder / "cache")
    assert not weights_state(given, context).ready
    (folder / place).parent.mkdir(parents=True)
    (folder / place).write_bytes(b"x")
    found = weights_state(given, context)
    assert (found.ready, found.state, found.where) == (True, state, str(folder / place))


@pytest.mark.parametrize(
    ("given", "state", "where"),
    [
        (card(size_gb=1.2), "download 1.2 GB", "hf-hub:lab/net"),
        (card(), "download", "hf-hub:lab/net"),
        (card(gated="institutional"), "gated (institutional)", "hf-hub:lab/net"),
        (card("trained:synthetic-gnn"), "train first", "task synthetic-gnn"),
        (card("github:lab/net"), "fetch by hand", "github:lab/net"),
    ],
)
def test_what_is_lacking_is_named(given: ModelCard, state: str, where: str) -> None:
    """Nothing is asked for; the state says what has to be done."""
    found = weights_state(given, DataContext())
    assert (found.ready, found.state, found.where) == (False, state, where)


def test_a_pinned_revision_is_the_only_one_that_counts(folder: Path) -> None:
    """Another snapshot in the cache is not the file of the card."""
    place = folder / "cache/huggingface/models--lab--net/snapshots/old/model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    context = DataContext((), folder / "cache")
    assert weights_state(card(), context).ready
    assert not weights_state(card(revision="new"), context).ready


def test_built_in_models_have_a_state_each() -> None:
    """Hand-crafted models need nothing, graph networks a file or a training, the rest a download or an access."""
    cards = load_registry().cards
    states = {name: weights_state(one, DataContext()).state for name, one in cards.items()}
    assert states["pixel-mean"] == states["single-conv"] == "needs none"
    assert (states["gcn"], states["gcn-synthetic"]) == ("weights=FILE", "train first")
    assert states["resnet18"] == "download 0.047 GB"


def test_the_list_shows_it_and_the_settings_know_the_mirror(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARNESS_DATA_DIR counts for ls and show as for eval; --ready leaves out what would not run."""
    place = folder / "mirror/timm/resnet18.tv_in1k/model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(folder / "mirror"))
    monkeypatch.setenv("COLUMNS", "160")
    main(["models", "ls", "--family", "cnn"])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "ready: in the mirror" in rows["resnet18"]
    assert "download 0.0" in rows["resnet34"]
    main(["models", "ls", "--ready"])
    listed = capsys.readouterr().out
    assert "resnet18" in listed
    assert "resnet34" not in listed
    main(["models", "show", "resnet18"])
    shown = capsys.readouterr().out
    assert str(place) in shown.replace("\n    ", "")
    for key in ("name:", "licence:", "exposure:", "expect:", "stages:", "at_hand:"):
        assert key in shown


def test_a_revision_that_is_not_pinned_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``models show`` says that the hub's newest file is taken; JSON keeps null, and other sources have none."""
    main(["models", "show", "resnet18"])
    assert "  revision: not pinned" in capsys.readouterr().out.splitlines()
    main(["models", "show", "resnet18", "--json"])
    assert json.loads(capsys.readouterr().out)["weights"]["revision"] is None
    main(["models", "show", "alexnet"])
    assert "revision" not in capsys.readouterr().out
    (folder / "mine.yaml").write_text("name: mine\nbuild: x:y\nweights: {source: hf-hub:lab/net, revision: abc1234}\n")
    main(["models", "show", "file:mine.yaml"])
    assert "  revision: abc1234" in capsys.readouterr().out.splitlines()
