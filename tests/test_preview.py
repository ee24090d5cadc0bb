"""Pictures of samples and of training: what is read, what is drawn, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import toy
from harness.tasks.datasets.point_graph import nearest_neighbour_edges
from hest_factory import SLIDES, Tree, write_slides, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.figure import Figure
from places import ROOT, SHARED, needs_shared
from small_task import enter

from harness import curves, panels
from harness.cli import main
from harness.curves import draw_curves
from harness.errors import MissingDataError, ModelOutputError, PluginError, UnknownNameError, UsageError
from harness.panels import draw_preview, find_edges
from harness.pictures import Surroundings
from harness.plugins import load_registry
from harness.preview import Missing, Preview, read_preview
from harness.section_map import round_length, section_panel
from harness.selection import select_tasks
from harness.sheet import Panel, lay_out
from harness.types import Batch, DataContext

STARTS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a cache of its own."""
    return enter(tmp_path, monkeypatch)


def show(*arguments: str) -> int:
    """Run ``harness tasks show`` and return its exit code."""
    try:
        main(["tasks", "show", *arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def surroundings(**changes: object) -> Surroundings:
    """Return a section of 3 x 3 patches of 100 px, 200 px apart, with the middle row as neighbourhood."""
    corners = np.array([[200.0 * x, 200.0 * y] for y in range(3) for x in range(3)])
    values = {
        "boxes": np.hstack([corners, corners + 100]),
        "own": 4,
        "members": np.array([3, 4, 5]),
        "box": np.array([0.0, 200, 500, 300]),
        "cells": np.array([[10.0, 210], [260, 280]]),
        "um_per_px": 0.5,
    }
    return Surroundings(**{**values, **changes})  # type: ignore[arg-type]


def image(channels: int, rows: int = 8, columns: int = 8, dtype: type = np.uint8) -> Batch:
    """Return one noisy image."""
    noise = np.random.default_rng(0).random((1, channels, rows, columns))
    return Batch(("a",), "image", images=(noise * (255 if dtype is np.uint8 else 1)).astype(dtype))


def drawn(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """Return the figure that a preview becomes, instead of saving it."""
    kept: list[Figure] = []
    monkeypatch.setattr(panels, "save_figure", lambda figure, _: kept.append(figure))
    draw_preview(preview, Path("x.png"))
    return kept[0]


def texts(figure: Figure) -> str:
    """Return all words of a figure outside its axes."""
    return "\n".join(text.get_text() for text in figure.texts)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", STARTS)
def test_one_line_says_what_was_written(suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The middle sample of the task is drawn, in the format of the suffix; folders are made on the way."""
    assert show("tiny.yaml", "--preview", f"new/out{suffix}") == 0
    out, err = capsys.readouterr()
    assert out == f"wrote new/out{suffix}: sample train/22/0004 of tiny-synthetic\n"
    assert err == ""
    assert (folder / f"new/out{suffix}").read_bytes().startswith(STARTS[suffix])


@pytest.mark.parametrize("suffix", STARTS)
def test_the_same_sample_gives_the_same_bytes(suffix: str, folder: Path) -> None:
    """No date and no chance gets into a picture, nor the user's own look of matplotlib."""
    assert show("tiny.yaml", "--preview", f"a{suffix}", "--sample", "test/03/0001") == 0
    with mpl.rc_context({"figure.facecolor": "black", "font.size": 20, "savefig.bbox": "tight"}):
        assert show("tiny.yaml", "--preview", f"b{suffix}", "--sample", "test/03/0001") == 0
    assert (folder / f"a{suffix}").read_bytes() == (folder / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tiny.yaml", "--preview", "x.jpg"], 2, "known: .png, .pdf, .svg"),
        (["tiny.yaml", "--preview", "x"], 2, "known: .png, .pdf, .svg"),
        (["hest-*", "--preview", "x.png"], 2, "hest-idc"),
        (["nonsense", "--preview", "tiny.yaml/x.png"], 8, "tiny.yaml/x.png: cannot be written"),
        (["nonsense", "--preview", "full.png"], 8, "is a folder"),
        (["tiny.yaml", "--preview", "x.png", "--sample", "test/3/0001"], 3, "Did you mean test/23/0001"),
        (["tiny.yaml", "--sample", "test/03/0001"], 2, "--preview"),
        (["tiny.yaml", "--preview", "x.png", "--json"], 2, "give one of them"),
        (["hest-idc", "--preview", "x.png", "--offline"], 5, "--data-dir"),
    ],
)
def test_failures_leave_no_picture(
    arguments: list[str], code: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its exit code and says what to do; what cannot be written is found before any work."""
    (folder / "full.png").mkdir()
    assert show(*arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""
    assert not (folder / "x.png").exists()


def test_one_view_may_be_asked_for(folder: Path) -> None:
    """NAME@VIEW draws that view alone: a narrower picture."""
    assert show("tiny.yaml", "--preview", "both.svg") == 0
    assert show("tiny.yaml@points", "--preview", "one.svg") == 0
    widths = [float((folder / name).read_text().split('width="')[1].split("pt")[0]) for name in ("one.svg", "both.svg")]
    assert widths[0] < widths[1]


def test_help_holds_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows how a preview is asked for."""
    assert show("--help") == 0
    assert "Example" in capsys.readouterr().out


def test_matplotlib_is_imported_only_for_a_picture() -> None:
    """Showing the spec, and importing all modules that draw, leaves it out."""
    program = (
        "import sys\n"
        "import harness.cli.preview, harness.curves, harness.panels\n"
        "from harness.cli import main\n"
        "main(['tasks', 'show', 'synthetic-mini'])\n"
        "sys.exit('matplotlib' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-Ic", program], capture_output=True, check=False).returncode == 0


# --- what is read ------------------------------------------------------------------------------------------------


def test_views_are_those_of_the_task_in_its_order(folder: Path) -> None:
    """A preview holds what a model gets of the sample, and its class."""
    (task,) = select_tasks(load_registry(), "tiny.yaml")
    dataset = task.reader.open(task.spec, task.source, task.reader_params, DataContext())
    row = list(dataset.ids).index("test/03/0001")
    found = read_preview(task, DataContext(), "test/03/0001")
    assert [part.view for part in found.parts if isinstance(part, Batch)] == task.spec.input.views
    assert (found.task, found.sample, found.facts) == ("tiny-synthetic", "test/03/0001", ("class 03",))
    for part in found.parts:
        assert isinstance(part, Batch)
        expected = dataset.read(part.view, row, row + 1)
        if expected.images is not None:
            np.testing.assert_array_equal(part.images, expected.images)
        else:
            np.testing.assert_array_equal(part.points[0], expected.points[0])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Write a good tree once."""
    tree = write_tree(tmp_path_factory.mktemp("original"), sizes=(5, 4, 4))
    write_slides(tree)
    return tree


def test_missing_data_of_a_view_leave_the_rest(
    original: Tree, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without nuclei the image is drawn, the other panels say why not, and one warning says it once."""
    tree = original.copy(folder / "data")
    tree.nuclei("B").unlink()
    spec = str(tree.write_spec("image", "graph_image", "points", slides=SLIDES))
    where = ["--data-dir", str(tree.root), "--offline"]
    assert show(spec, "--preview", "x.png", *where) == 0
    out, err = capsys.readouterr()
    assert out.startswith("wrote x.png: sample C/")
    assert err.count("warning:") == 1
    assert err.startswith("warning: neighbourhood, graph_image, points not drawn: section B")
    assert "--data-dir" in err
    (folder / "x.png").unlink()
    assert show(f"{spec}@points", "--preview", "x.png", *where) == 5
    assert capsys.readouterr().err.startswith("error: section B")
    assert not (folder / "x.png").exists()


def test_surroundings_come_first_where_the_dataset_knows_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for the row of the sample; where their data are missing the panel says so."""
    (task,) = select_tasks(toy.registry(folder), "toy")
    asked: list[int] = []
    monkeypatch.setattr(
        toy.ToyDataset, "surroundings", lambda self, row: asked.append(row) or surroundings(), raising=False
    )
    found = read_preview(task, DataContext(), "toy/0007")
    assert asked == [7]
    assert [type(part) for part in found.parts] == [Surroundings, Batch]

    def fail(self, row):
        raise MissingDataError("no slide")

    monkeypatch.setattr(toy.ToyDataset, "surroundings", fail)
    assert read_preview(task, DataContext()).missing == (Missing("neighbourhood", "no slide"),)
    monkeypatch.setattr(toy.ToyDataset, "surroundings", lambda self, row: None)
    assert [type(part) for part in read_preview(task, DataContext()).parts] == [Batch]


@pytest.mark.parametrize(
    ("name", "answer", "error", "words"),
    [
        ("surroundings", lambda self, row: 1 / 0, PluginError, "toy failed: ZeroDivisionError"),
        ("surroundings", lambda self, row: "here", PluginError, "got str"),
        ("read", lambda self, view, start, stop: 1 / 0, PluginError, "toy failed: ZeroDivisionError"),
        ("read", lambda self, view, start, stop: Batch(("a",), view), ModelOutputError, "point sets"),
    ],
)
def test_faults_of_a_reader_are_named(
    name: str, answer: object, error: type[Exception], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a plugin does wrong is its failure, with the task and the reader in the message."""
    (task,) = select_tasks(toy.registry(folder), "toy")
    monkeypatch.setattr(toy.ToyDataset, name, answer, raising=False)
    with pytest.raises(error, match=words):
        read_preview(task, DataContext())


def test_an_unknown_sample_names_how_many_there_are(folder: Path) -> None:
    """The message holds the nearest ids and the range."""
    (task,) = select_tasks(toy.registry(folder), "toy")
    with pytest.raises(UnknownNameError, match=r"toy/0507.* toy has 600 samples, from toy/0000 to toy/0599"):
        read_preview(task, DataContext(), "toy/007")


@pytest.mark.parametrize(
    "wrong",
    [
        {"boxes": np.zeros((9, 2))},
        {"box": np.zeros(2)},
        {"cells": np.zeros(3)},
        {"own": 9},
        {"members": np.array([-1])},
        {"um_per_px": 0.0},
    ],
)
def test_surroundings_check_themselves(wrong: Mapping[str, object]) -> None:
    """Arrays of another shape, rows of no box and a pixel size of 0 are refused."""
    with pytest.raises(ValueError, match="expected"):
        surroundings(**wrong)


# --- what is drawn -----------------------------------------------------------------------------------------------


def test_panels_have_one_height_and_tell_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbourhood, image and points stand side by side with their captions."""
    points = Batch(("a",), "points", points=(np.random.default_rng(1).uniform(-1, 1, (1200, 2)).astype(np.float32),))
    preview = Preview("a-task", "A/1", ("class 07",), 0.5, (surroundings(), image(3, 16, 24), points))
    figure = drawn(preview, monkeypatch)
    frames = [axes.get_position() for axes in figure.axes]
    assert len(frames) == 3
    assert len({round(frame.height, 9) for frame in frames}) == 1
    assert len({round(frame.y0, 9) for frame in frames}) == 1
    assert all(one.x1 < next_.x0 for one, next_ in pairwise(frames))
    for words in (
        "a-task",
        "sample A/1, class 07, 1,200 cells",
        "neighbourhood",
        "3 of 9 patches",
        "box 250 \N{MULTIPLICATION SIGN} 50 µm, 2 cells",
        "24 \N{MULTIPLICATION SIGN} 16 px, 12 \N{MULTIPLICATION SIGN} 8 µm",
        "1,200 cells, x and y from \N{MINUS SIGN}1 to 1",
        f"{len(find_edges(points.points[0])):,} edges to the 5 nearest",
    ):
        assert words in texts(figure)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 2), (3, 1), (5, 5), (6, 6), (8, 6)])
def test_other_than_three_channels_are_grey_panels(channels: int, shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three channels are RGB; others have a panel each, at most 6, with the values that the model gets."""
    batch = image(channels)
    figure = drawn(Preview("t", "s", (), None, (batch,)), monkeypatch)
    shapes = [axes.images[0].get_array().shape for axes in figure.axes]
    assert shapes == ([(8, 8, 3)] if channels == 3 else [(8, 8)] * shown)
    if channels != 3:
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), batch.images[0, 0])
        assert figure.axes[0].images[0].get_clim() == (0, 255)
        assert f"image, channel {shown} of {channels}" in texts(figure)


def test_float_images_are_black_at_0_and_white_at_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grey scale is fixed, never stretched to what one image holds."""
    figure = drawn(Preview("t", "s", (), None, (image(1, dtype=np.float32),)), monkeypatch)
    assert figure.axes[0].images[0].get_clim() == (0, 1)


def test_points_lie_as_in_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel of points is square, from -1 to 1, y downwards, and grows for points outside."""
    for far, reach in ((0.5, 1.0), (1.234, 1.3)):
        points = np.array([[0.0, far], [0.1, -0.2]], dtype=np.float32)
        figure = drawn(Preview("t", "s", (), None, (Batch(("s",), "points", points=(points,)),)), monkeypatch)
        (axes,) = figure.axes
        assert axes.get_xlim() == (-reach, reach)
        assert axes.get_ylim() == (reach, -reach)
        size = figure.get_size_inches() * axes.get_position().size
        assert size[0] == pytest.approx(size[1])


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_few_points_are_drawn_too(n: int, tmp_path: Path) -> None:
    """A sample without cells, or with one, has a picture."""
    points = np.linspace(-1, 1, 2 * n, dtype=np.float32).reshape(n, 2)
    draw_preview(Preview("t", "s", (), None, (Batch(("s",), "points", points=(points,)),)), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_the_map_shows_every_patch_and_a_scale_bar() -> None:
    """Patches lie inside the map with equal scales, the bar is a round length, and a sample alone has one key."""
    panel = section_panel(surroundings())
    axes = Figure().add_axes((0, 0, 1, 1))
    panel.draw(axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert max(left, top) < 0
    assert min(right, bottom) > 500
    assert (right - left) / (bottom - top) == pytest.approx(panel.aspect)
    assert [len(collection.get_paths()) for collection in axes.collections] == [9, 2, 1]
    (bar,) = axes.lines
    assert float(np.ptp(bar.get_xdata())) * 0.5 == pytest.approx(50)
    assert [text.get_text() for text in axes.texts] == ["50 µm"]
    assert [key.label for key in panel.keys] == ["sample", "neighbours", "box"]
    alone = surroundings(members=np.array([4]), box=np.array([200.0, 200, 300, 300]))
    assert [key.label for key in section_panel(alone).keys] == ["sample"]


@given(st.floats(1e-3, 1e6))
def test_round_lengths_fit(most: float) -> None:
    """A round length is at most what was asked for and more than two fifths of it."""
    assert 0.4 * most < round_length(most) <= most


@pytest.mark.parametrize(("count", "rows"), [(1, [1]), (4, [4]), (5, [3, 2]), (7, [4, 3]), (9, [3, 3, 3])])
def test_many_panels_break_into_rows(count: int, rows: list[int]) -> None:
    """At most four stand side by side, spread evenly, and all lie on the sheet."""
    figure = lay_out([Panel(str(index), (), 1.0, lambda axes: None) for index in range(count)], 448, "t", "s")
    frames = [axes.get_position() for axes in figure.axes]
    tops = [round(frame.y1, 6) for frame in frames]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == rows
    assert all(0 < frame.x0 < frame.x1 < 1 and 0 < frame.y0 < frame.y1 < 1 for frame in frames)


@settings(deadline=None, max_examples=50)
@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(2)), elements=st.sampled_from([-1, 0, 0.5, 1])))
def test_edges_are_simple_where_points_coincide(points: np.ndarray) -> None:
    """Each point is joined with k others or all; no edge stands twice, and none joins a point to itself."""
    edges = find_edges(points)
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(np.unique(edges, axis=0)) == len(edges)
    degree = np.bincount(edges.ravel(), minlength=len(points))
    assert (degree >= min(5, len(points) - 1)).all()
    assert len(edges) <= 5 * len(points)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40), st.integers(0, 1000))
def test_edges_are_those_of_the_tasks(n: int, seed: int) -> None:
    """Where no distances tie, the drawn graph is the one that the tasks draw."""
    points = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    np.testing.assert_array_equal(find_edges(points), nearest_neighbour_edges(points, 5))


@needs_shared
def test_real_tissue_has_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All three views of a spot of real tissue are drawn."""
    task = str(ROOT / "examples/her2st/hest.yaml")
    assert show(task, "--preview", "x.png", "--data-dir", str(SHARED / "data"), "--offline") == 0
    assert capsys.readouterr().err == ""
    assert (folder / "x.png").stat().st_size > 50_000


# --- training curves ---------------------------------------------------------------------------------------------


def history(epochs: int = 12, **changes: object) -> list[dict[str, float]]:
    """Return a training that gets better."""
    return [
        {
            "epoch": epoch,
            "train_loss": 3 / epoch,
            "val_loss": 3.2 / epoch,
            "val_f1_macro": 1 - 1 / epoch,
            "learning_rate": 1e-3,
            "seconds": 2.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def curves_of(values: list[dict[str, float]], best: int, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """Return the figure of a history, instead of saving it."""
    kept: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, _: kept.append(figure))
    draw_curves(values, Path("x.png"), title="gcn on synthetic-gnn", best=best)
    return kept[0]


def test_losses_and_scores_have_a_panel_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each curve carries a mark and its value at the kept epoch; learning rate and seconds are not drawn."""
    figure = curves_of(history(), 9, monkeypatch)
    loss, score = figure.axes
    assert [line.get_label() for line in loss.lines[1:]] == ["training 0.333", "validation 0.356"]
    assert [line.get_label() for line in score.lines[1:]] == ["validation f1 macro 0.889"]
    for axes in figure.axes:
        assert [*axes.lines[0].get_xdata()] == [9, 9]
        assert all(line.get_markevery() == [8] for line in axes.lines[1:])
    assert score.get_ylim() == (0, 1)
    assert loss.get_ylim()[0] == 0


def test_a_training_without_validation_has_one_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not measured leaves no empty panel."""
    bare = [{key: epoch[key] for key in ("epoch", "train_loss")} for epoch in history()]
    (loss,) = curves_of(bare, 12, monkeypatch).axes
    assert len(loss.lines) == 2


def test_epochs_without_a_value_are_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value may be absent or NaN in some epochs, the kept one included."""
    values = history(4)
    del values[1]["val_f1_macro"]
    values[3]["val_f1_macro"] = float("nan")
    _, score = curves_of(values, 4, monkeypatch).axes
    assert np.isnan(score.lines[1].get_ydata()).tolist() == [False, True, False, True]
    assert score.lines[1].get_label() == "validation f1 macro"


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_curves_are_written(epochs: int, tmp_path: Path) -> None:
    """The picture is a PNG and the same each time, whatever the length of training and title."""
    for name in ("a.png", "b.png"):
        draw_curves(history(epochs), tmp_path / name, title="a model with a long name on a task " * 3, best=epochs)
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(STARTS[".png"])
    assert first == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("values", "best", "words"),
    [
        ([], 1, "one of 0 epochs"),
        (history(3), 4, "one of 3 epochs"),
        ([{"epoch": 1, "seconds": 2.0}], 1, "a loss or a score"),
    ],
)
def test_nothing_to_draw_is_refused(values: list[dict[str, float]], best: int, words: str, tmp_path: Path) -> None:
    """An empty history, an unknown kept epoch and a history without curves are mistakes of the caller."""
    with pytest.raises(ValueError, match=words):
        draw_curves(values, tmp_path / "x.png", title="t", best=best)


def test_curves_know_the_same_formats(tmp_path: Path) -> None:
    """Another suffix is a usage error that lists them."""
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        draw_curves(history(), tmp_path / "x.gif", title="t", best=1)
