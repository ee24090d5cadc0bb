"""What the reader of HEST-1k-1NN refuses, and what it only notes."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from harness.tasks.datasets.hest1nn_regularity import check_grid
from harness.tasks.metrics.neighbourhoods import measure_pitch
from hest1nn_factory import PITCH, Grid, place_spots, put_nuclei, write_grid, write_slide
from hest_factory import SLIDES, alter, cut, drop, rename, set_attribute, wkb_polygon, write_nuclei, write_split

from harness.cli import main
from harness.errors import DamagedFileError, HarnessError, MissingDataError, SpecError
from harness.progress import Silent


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the harness's cache in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """Write a good task once."""
    return write_grid(tmp_path_factory.mktemp("original"))


@pytest.fixture
def grid(original: Grid, tmp_path: Path) -> Grid:
    """Return a copy of the good task that a test may damage."""
    return original.copy(tmp_path / "data")


def stretch(grid: Grid, factor: float) -> None:
    """Move the spots of section B apart, patches with them."""
    alter(grid.tree.adata("B"), "obsm/spatial", lambda v: v * factor)
    with h5py.File(grid.tree.adata("B")) as file:
        spatial = file["obsm/spatial"][()]
        place = {name.decode(): at for name, at in zip(file["obs/_index"][()], spatial, strict=True)}
    with h5py.File(grid.tree.patches("B")) as file:
        names = [name.decode() for name in file["barcode"][:, 0]]
    alter(grid.tree.patches("B"), "coords", lambda v: np.array([np.trunc(place[name] - 112) for name in names]))


def scatter(grid: Grid) -> None:
    """Put the spots of section B anywhere, so densely that they are on no grid."""
    rng = np.random.default_rng(0)
    alter(grid.tree.adata("B"), "obsm/spatial", lambda v: rng.uniform(200, 600, v.shape))


def exchange_coords(grid: Grid) -> None:
    """Exchange x and y of the patches of section A, which is wider than high."""
    alter(grid.tree.patches("A"), "coords", lambda v: v[:, ::-1])


Break = Callable[[Grid], object]
BAD: dict[str, tuple[Break, type[HarnessError], str]] = {
    "no nuclei": (
        lambda g: g.tree.nuclei("B").unlink(),
        MissingDataError,
        r"section B: every view of hest1nn needs its nuclei:(.|\n)*\.parquet not found",
    ),
    "nuclei cut off": (lambda g: cut(g.tree.nuclei("B")), DamagedFileError, r"B_cellvit_seg\.parquet: not a readable"),
    "nuclei of another frame": (
        lambda g: put_nuclei(g, "B", g.nuclei["B"] + 50_000),
        DamagedFileError,
        r"0\.00% of 80 nuclei lie in a patch of section B, expected at least 1%",
    ),
    "no pixel size": (
        lambda g: g.set_metadata("B", pixel_size_um_estimated=None),
        MissingDataError,
        r"section B: the size of a pixel is unknown(.|\n)*no pixel_size_um_estimated(.|\n)*nn\.pitch: measured",
    ),
    "absurd pixel size": (
        lambda g: g.set_metadata("B", pixel_size_um_estimated=5),
        DamagedFileError,
        r"B\.json: section B: pixel_size_um_estimated: expected micrometres a pixel from 0\.1 to 1\.2, found 5",
    ),
    "absurd pitch": (
        lambda g: g.set_metadata("B", inter_spot_dist="far"),
        DamagedFileError,
        r"B\.json: section B: inter_spot_dist: expected a positive number, found 'far'",
    ),
    "pitch too short": (
        lambda g: g.set_metadata("B", inter_spot_dist=50),
        DamagedFileError,
        r"section B: inter_spot_dist gives a pitch of 50 um, measured are 100 um .*wrong, or the pixel size, 0\.5 um\?",
    ),
    "pitch far too long": (
        lambda g: g.set_metadata("B", inter_spot_dist=250),
        DamagedFileError,
        r"inter_spot_dist gives a pitch of 250 um, measured are 100 um .*pitch wrong, or",
    ),
    "pitch too long": (
        lambda g: g.set_metadata("B", inter_spot_dist=190),
        DamagedFileError,
        r"B\.h5ad: section B: spot \d+ has more than 9 spots within .* pitch wrong\?",
    ),
    "spots on no grid": (scatter, DamagedFileError, r"section B: the spots lie on no (square )?grid"),
    "patches elsewhere than their spots": (
        lambda g: alter(g.tree.patches("B"), "coords", lambda v: v[np.random.default_rng(0).permutation(len(v))]),
        DamagedFileError,
        r"section B: .*B\.h5 and .*B\.h5ad contradict each other: .*\d+ of 16 spots lie more than 56 px \(a quarter",
    ),
    "another pixel size in the patch file": (
        lambda g: set_attribute(g.tree.patches("B"), "img", "pixel_size", 0.55),
        DamagedFileError,
        r"B\.json: section B: pixel_size_um_estimated: 0\.5 um, but .*B\.h5: img states 0\.55 um, expected .* 5%",
    ),
    "nuclei outside the slide": (
        lambda g: put_nuclei(g, "B", g.nuclei["B"] + 1e6 * (np.arange(80) % 2 == 0)[:, None]),
        DamagedFileError,
        r"B_cellvit_seg\.parquet: section B: 40 of 80 nuclei \(50\.00%\) lie outside the slide of \d+ x \d+ px",
    ),
    "the nuclei of another section": (
        lambda g: shutil.copy(g.tree.nuclei("B"), g.tree.nuclei("C")),
        DamagedFileError,
        r"sections B and C: expected two segmentations, found the same content in .*B_cell.* and .*C_cell",
    ),
    "a patient on both sides": (
        lambda g: [g.set_metadata(name, patient="Patient 1") for name in ("A", "C")],
        SpecError,
        r"fold 0: Patient 1 of 'Study' is in train \(C\) and test \(A\), .* protocol\.params\.shared_patients: note",
    ),
    "no pitch and another grid": (
        lambda g: [stretch(g, 1.2), g.set_metadata("B", inter_spot_dist=None)],
        MissingDataError,
        r"section B: the metadata state no inter_spot_dist, and the grid measures 120 um, not 100 um: set nn\.pitch",
    ),
    "coords exchanged": (exchange_coords, DamagedFileError, r"A\.h5: coords: x and y are exchanged"),
    "no centres": (
        lambda g: drop(g.tree.adata("B"), "obsm/spatial"),
        DamagedFileError,
        r"B\.h5ad: obsm/spatial is missing; neighbourhoods need the centres",
    ),
    "a spot without a position": (
        lambda g: alter(
            g.tree.adata("B"), "obsm/spatial", lambda v: np.where(np.arange(len(v))[:, None] == 4, np.nan, v)
        ),
        DamagedFileError,
        r"B\.h5ad: obsm/spatial: spot \w+ has no position",
    ),
    "no array positions": (
        lambda g: drop(g.tree.adata("B"), "obs/array_col"),
        DamagedFileError,
        r"B\.h5ad: dataset 'obs/array_col' is missing",
    ),
    "a barcode renamed": (
        lambda g: rename(g.tree.adata("B"), "obs/_index", "001x001", "nobody"),
        DamagedFileError,
        r"1 of 16 barcodes are not in .*001x001",
    ),
    "a gene missing": (
        lambda g: rename(g.tree.adata("B"), "var/_index", "G03", "other"),
        DamagedFileError,
        r"B\.h5ad: 1 genes of the list are not in var_names: G03",
    ),
    "no counts": (
        lambda g: g.tree.adata("B").unlink(),
        MissingDataError,
        r"section B: its counts are missing:(.|\n)*adata/B\.h5ad not found(.|\n)*st/B\.h5ad not found",
    ),
    "a section on both sides": (
        lambda g: write_split(g.tree.split("test", 0), ["B"]),
        SpecError,
        r"fold 0: B is in train and test",
    ),
    "an absent section": (
        lambda g: write_split(g.tree.split("test", 0), ["Z"]),
        MissingDataError,
        r"patches/Z\.h5 not found",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(grid: Grid, case: str) -> None:
    """Opening ends with an error that names section or file, whatever view would be read."""
    damage, error, words = BAD[case]
    damage(grid)
    with pytest.raises(error, match=words):
        grid.open(nn={"neighbours": "grid"} if "array" in case else {})


SLIDE: dict[str, tuple[Break, type[HarnessError], str]] = {
    "missing": (
        lambda g: g.slide("B").unlink(),
        MissingDataError,
        r"section B: the image view needs its slide, or nn\.image_source: patches(.|\n)*wsis/B\.tif not found",
    ),
    "cut off": (lambda g: cut(g.slide("B")), DamagedFileError, r"B\.tif"),
    "of another size": (
        lambda g: write_slide(g.slide("B"), g.slides["B"][::2, ::2], levels=1),
        DamagedFileError,
        r"B\.tif: the slide of section B has \d+ x \d+ px, its metadata state \d+ x \d+",
    ),
    "too small for the patches": (
        lambda g: [
            write_slide(g.slide("B"), g.slides["B"][:, :500], levels=1),
            g.set_metadata("B", fullres_px_width=None, fullres_width=None),
        ],
        DamagedFileError,
        r"has 500 x \d+ px, and 8 of 16 patches lie outside it, the first: 00[23]x",
    ),
}


@pytest.mark.parametrize("case", SLIDE)
def test_a_bad_slide_stops_the_image_view_only(grid: Grid, case: str) -> None:
    """The other views, targets and fingerprints are there without it."""
    damage, error, words = SLIDE[case]
    damage(grid)
    dataset = grid.open()
    assert len({dataset.fingerprint(view) for view in ("image", "graph_image", "points")}) == 3
    assert len(dataset.read("points", 0, len(dataset.ids)).points) == len(dataset.ids)
    assert dataset.read("graph_image", 0, 3).images.any()
    with pytest.raises(error, match=words):
        dataset.read("image", 0, 1)


def test_a_missing_slide_ends_a_run_with_code_5(grid: Grid, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The image result is missing with the reason, and the points have their score."""
    grid.slide("B").unlink()
    arguments = ["eval", "--model", "pixel-mean,cell-count", "--tasks", str(grid.write_spec("image", "points"))]
    arguments += ["--data-dir", str(grid.tree.root), "--offline", "--baselines", "none", "--store", str(tmp_path / "s")]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--output", str(tmp_path / "out")])
    assert stop.value.code == 5
    assert "section B: the image view needs its slide" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").glob("*/*.json")] == ["cell-count.json"]
    assert "@points" in next((tmp_path / "out").glob("*/*.json")).parent.name


def test_exchanged_nuclei_are_refused_though_many_lie_in_patches(tmp_path: Path) -> None:
    """Where the tissue lies near the diagonal, some nuclei stay inside; more lie there with x and y exchanged."""
    grid = write_grid(tmp_path, sizes=((5, 4), (4, 4), (4, 4), (8, 2)), slides=False)
    share = (grid.nuclei["D"][:, ::-1] < grid.corners["D"].max(axis=0) + 224).all(axis=1).mean()
    assert 0.05 < share < 0.5
    put_nuclei(grid, "D", grid.nuclei["D"][:, ::-1])
    with pytest.raises(
        DamagedFileError, match=r"lie in a patch of section D.* with x and y exchanged it would be 100\.00% and 0%"
    ):
        grid.open()


def notes(grid: Grid, **options: Any) -> str:
    """Return the notes of the task, a line each."""
    return "\n".join(grid.open(**options).notes)


def test_a_patient_in_train_and_test_is_noted(grid: Grid) -> None:
    """With ``note`` it is named with its folds: shipped tasks have such folds; another study's patient is another."""
    assert "patient" not in notes(grid)
    grid.set_metadata("A", patient="Patient 1")
    grid.set_metadata("C", patient="Patient 1")
    told = "patient in train and test: Patient 1 (fold 0, 2); scores are optimistic"
    assert told in notes(grid, shared_patients="note")
    grid.set_metadata("C", dataset_title="Another study")
    assert "patient" not in notes(grid)


def test_a_pitch_that_is_a_little_off_is_noted_with_both_figures(grid: Grid) -> None:
    """Beyond 5 % between stated and measured a note says both, and which is used."""
    grid.set_metadata("B", inter_spot_dist=104)
    assert "pitch of" not in notes(grid)
    grid.set_metadata("B", inter_spot_dist=107)
    assert "section B: inter_spot_dist gives a pitch of 107 um, measured are 100 um (median distance" in notes(grid)


def test_a_missing_pitch_is_nominal_where_the_grid_measures_so(grid: Grid) -> None:
    """Sections without printed spots state none; 100 um is taken because it is measured."""
    before = grid.open()
    for section in grid.tree.sections:
        grid.set_metadata(section, inter_spot_dist=None)
    assert (
        [one.plan.pitch for one in grid.open().sections] == [one.plan.pitch for one in before.sections] == [PITCH] * 3
    )
    stretch(grid, 1.2)
    sizes = {name: len(grid.open(nn={"pitch": name}).surroundings(5).members) for name in ("nominal", "measured")}
    assert sizes["measured"] >= sizes["nominal"]


def test_a_missing_pixel_size_comes_from_the_patch_file_with_a_measured_pitch(grid: Grid) -> None:
    """The patch file states it, and the result says so; where it does not, that is the error."""
    grid.set_metadata("B", pixel_size_um_estimated=None)
    with pytest.raises(MissingDataError, match=r"nn\.pitch: measured needs it too.*B\.h5 states none"):
        grid.open(nn={"pitch": "measured"})
    set_attribute(grid.tree.patches("B"), "img", "pixel_size", 0.5)
    assert "section B: the pixel size, 0.5 um, is that of the patch file" in notes(grid, nn={"pitch": "measured"})
    with pytest.raises(MissingDataError, match="section B: the size of a pixel is unknown"):
        grid.open()


def test_the_table_states_what_the_json_leaves_out(grid: Grid) -> None:
    """Pixel size, pitch and patient come from the row of the table where a JSON file is absent."""
    before = grid.open()
    for section in grid.tree.sections:
        grid.tree.metadata(section).unlink()
    with (grid.tree.root / SLIDES / "HEST_v1_1_0.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        rows = [(name, 0.5, "100.0", "Patient 1", "") for name in grid.tree.sections]
        header = ("id", "pixel_size_um_estimated", "inter_spot_dist", "patient", "fullres_px_width")
        csv.writer(stream).writerows([header, *rows])
    after = grid.open(shared_patients="note")
    assert after.data_hash == before.data_hash
    assert any(note.startswith("patient in train and test: Patient 1 (fold 0, 1, 2)") for note in after.notes)


@pytest.mark.parametrize("pitch", ["metadata", "nominal", "measured"])
@pytest.mark.parametrize(("shape", "other"), [("square", "hex"), ("hex", "square")])
def test_the_other_shape_is_refused_by_name(tmp_path: Path, shape: Any, other: str, pitch: str) -> None:
    """Whatever the pitch comes from, spots on a grid of the other shape are refused, and the shape that fits named."""
    grid = write_grid(tmp_path, shape, slides=False)
    grid.open(nn={"pitch": pitch})
    with pytest.raises(DamagedFileError, match=rf"section B: .* on no {other} grid: .*set nn\.shape: {shape}"):
        grid.open(nn={"shape": other, "pitch": pitch})
    scatter(grid)
    with pytest.raises(DamagedFileError, match="section B: the spots lie on no"):
        grid.open(nn={"pitch": pitch})


@pytest.mark.parametrize("shape", ["square", "hex"])
def test_spots_at_random_are_on_no_grid_and_jittered_ones_are(shape: Any) -> None:
    """Random spots are refused on every seed; a grid with a third of its spots missing and 5 % jitter is not."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scattered = rng.uniform(0, 3000, (200, 2))
        with pytest.raises(DamagedFileError, match=r"on no grid: \d\d% of 200"):
            check_grid("S", scattered, measure_pitch(scattered) or 0, shape)
        centres = place_spots(shape, 15, 15)[0]
        centres = centres[rng.random(len(centres)) > 1 / 3]
        centres += rng.normal(0, 0.05 * PITCH, centres.shape)
        check_grid("S", centres, measure_pitch(centres) or 0, shape)


def test_a_failing_pitch_suspects_the_pixel_size_and_names_other_choices(grid: Grid) -> None:
    """The value of nn.pitch that is in force is not advised."""
    grid.set_metadata("B", pixel_size_um_estimated=0.2)
    words = r"or the pixel size, 0\.2 um\? Correct the metadata, or set nn\.pitch to "
    with pytest.raises(DamagedFileError, match=words + "nominal or measured$"):
        grid.open()
    with pytest.raises(DamagedFileError, match=words + "metadata or measured$"):
        grid.open(nn={"pitch": "nominal"})


def test_a_constant_offset_of_the_patches_is_only_noted(grid: Grid) -> None:
    """Patches that all lie a little aside still belong to their spots."""
    alter(grid.tree.patches("B"), "coords", lambda v: v - [60, 0])
    assert "B: coords lie (" in notes(grid)


def test_few_nuclei_outside_the_slide_are_noted_on_every_run(grid: Grid) -> None:
    """Up to 1 % pass with a note, also where the binned nuclei come from an earlier run."""
    put_nuclei(grid, "B", np.concatenate([np.tile(grid.nuclei["B"], (3, 1)), [[-5.0, 10.0]]]))
    for _ in range(2):
        assert "section B: 1 of 241 nuclei (0.41%) lie outside the slide of" in notes(grid)


def test_nuclei_far_from_all_patches_are_noted_without_a_size(grid: Grid) -> None:
    """Where the metadata state no size of the slide, nothing more can be said."""
    put_nuclei(grid, "B", grid.nuclei["B"] + 1e6 * (np.arange(80) % 2 == 0)[:, None])
    grid.set_metadata("B", fullres_px_width=None, fullres_px_height=None)
    assert "section B: 40 of 80 nuclei (50.00%) lie farther from the patches than 2 times" in notes(grid)


def test_one_section_under_two_names_is_refused(grid: Grid) -> None:
    """Patches, counts and nuclei copied to another name are found by the content of the patch file."""
    for kind in ("patches", "adata", "nuclei"):
        shutil.copy(getattr(grid.tree, kind)("B"), getattr(grid.tree, kind)("C"))
    with pytest.raises(DamagedFileError, match=r"sections B and C: expected two patch files, found the same content"):
        grid.open()


def test_no_neighbourhood_with_a_nucleus(grid: Grid) -> None:
    """Nuclei that lie in no patch at all are another frame; a section is never left empty silently."""
    write_nuclei(grid.tree.nuclei("C"), [wkb_polygon([(5000.0, 5000.0)])] * 3)
    with pytest.raises(DamagedFileError, match="of 3 nuclei lie in a patch of section C"):
        grid.open()


def test_a_damaged_file_of_cells_is_made_again(grid: Grid) -> None:
    """With a warning, and with the same samples."""
    before = grid.open()
    (path,) = (grid.tree.root / "cache/prepared/hest1nn").glob(f"{before.cells}/B.h5")
    cut(path)
    progress = Silent()
    after = grid.open(progress=progress)
    assert after.ids == before.ids
    assert len(progress.warnings) == 1
    assert "B.h5: cannot be read" in progress.warnings[0]
    assert "it is made again" in progress.warnings[0]
