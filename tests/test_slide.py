"""Crops of slides: the level rule, exact resampling, borders, both libraries, real slides, bad files."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from harness.tasks.datasets.slide import Filter, Slide, open_slide, pixel_size
from harness.tasks.datasets.slide_faults import find_fault
from harness.tasks.datasets.slide_openslide import OpenslideReader
from harness.tasks.datasets.slide_resample import resample, weigh_pixels
from harness.tasks.datasets.slide_tiffslide import TiffslideReader
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared

from harness.errors import DamagedFileError, MissingDataError, UsageError

DATA = SHARED / "data" / "MahmoodLab"
READERS = [OpenslideReader, TiffslideReader]
SEEDS = st.integers(0, 2**32 - 1)
FILTERS = st.sampled_from(["area", "linear"])


def draw_noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return (height, width, 3) uint8 without any likeness between neighbours."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draw_waves(height: int, width: int) -> np.ndarray:
    """Return (height, width, 3) uint8 that changes by at most 4 levels a pixel."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 29), np.cos(y / 31), np.sin((x + y) / 53)]
    return np.rint(127 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)


def halve(picture: np.ndarray) -> np.ndarray:
    """Average 2 x 2 pixels; a last odd row or column counts twice."""
    height, width, _ = picture.shape
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.rint(even.reshape(len(even) // 2, 2, -1, 2, 3).mean(axis=(1, 3))).astype(np.uint8)


def write_pyramid(path: Path, picture: np.ndarray, levels: int = 3, compression: str = "deflate") -> list[np.ndarray]:
    """Write a tiled TIFF of 0.5 um/px with halved levels; return these."""
    pictures = [picture]
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(
                pictures[level],
                tile=(64, 64),
                photometric="rgb",
                compression=compression,
                subfiletype=int(level > 0),
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            pictures.append(halve(pictures[level]))
    return pictures[:levels]


def damage(path: Path, level: int, tile: int) -> None:
    """Overwrite the bytes of a tile."""
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[level].dataoffsets[tile], file.pages[level].databytecounts[tile]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\xa5" * length
    path.write_bytes(content)


def box(*corners: float) -> np.ndarray:
    """Return x0, y0, x1, y1 as a box."""
    return np.array(corners, dtype=np.float64)


def weigh_by_loop(low: float, high: float, length: int, have: int, kind: Filter) -> np.ndarray:
    """Compute the weights of a line pixel by pixel, in plain Python."""
    step = (high - low) / length
    weights = np.zeros((length, have))
    for new in range(length):
        start = low + new * step
        for pixel in range(math.floor(low), math.ceil(high)):
            if kind == "area" and step >= 1:
                weight = max(0.0, min(pixel + 1, start + step) - max(pixel, start)) / step
            else:
                centre = min(max(start + step / 2, math.floor(low) + 0.5), math.ceil(high) - 0.5)
                weight = max(0.0, 1 - abs(pixel + 0.5 - centre))
            if 0 <= pixel < have:
                weights[new, pixel] += weight
    return weights


def resample_by_loop(
    picture: np.ndarray, low: np.ndarray, high: np.ndarray, shape: tuple[int, int], kind: Filter
) -> np.ndarray:
    """Resample in float64, dense, what is missing of a weight being white; not rounded."""
    down = weigh_by_loop(low[1], high[1], shape[0], picture.shape[0], kind)
    across = weigh_by_loop(low[0], high[0], shape[1], picture.shape[1], kind)
    return 255 - np.einsum("ry,cx,yxk->rck", down, across, 255.0 - picture)


class Recorder:
    """A reader of black levels that writes down what it is asked for."""

    name = "recorder 1"
    dimensions = ((1000, 800), (500, 400), (125, 100))
    downsamples = (1.0, 2.0, 8.0)
    um_per_px = None

    def __init__(self) -> None:
        """Start with nothing asked."""
        self.asked: list[tuple[int, list[float], list[float]]] = []

    def read(self, level: int, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answer with black."""
        self.asked.append((level, low.tolist(), high.tolist()))
        width, height = (np.ceil(high) - np.floor(low)).astype(int)
        return np.zeros((height, width, 3), dtype=np.uint8), np.floor(low)

    def close(self) -> None:
        """Close nothing."""


# --- level rule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("downsample", "level"), [(0.5, 0), (1, 0), (1.99, 0), (2, 1), (7.9, 1), (8, 2), (100, 2), (math.inf, 2)]
)
def test_the_coarsest_level_that_is_fine_enough(downsample: float, level: int) -> None:
    """A level is taken from its own downsample on; level 0 where all are coarser."""
    assert Slide(Path("x"), Recorder()).best_level(downsample) == level


@pytest.mark.parametrize(
    ("side", "level", "factor"), [(300, 0, 1), (150, 1, 2), (101, 1, 2), (38, 1, 2), (37, 2, 8), (1, 2, 8)]
)
def test_a_crop_reads_once(side: int, level: int, factor: int) -> None:
    """The shorter side of the box over the side of the crop chooses the level, and one read covers the box there."""
    reader = Recorder()
    Slide(Path("x"), reader).crop(box(100, 200, 500, 500), side)
    assert reader.asked == [(level, [100 / factor, 200 / factor], [500 / factor, 500 / factor])]


# --- resampling -----------------------------------------------------------------------------------------------------


def test_area_by_hand() -> None:
    """One and a half pixels, 0 and 100, average to 200/3; nothing is interpolated."""
    picture = np.array([[[0] * 3, [100] * 3]], dtype=np.uint8)
    assert resample(picture, np.array([0.5, 0]), np.array([2.0, 1]), (1, 1), "area")[0, 0].tolist() == [67] * 3


def test_outside_is_white() -> None:
    """A footprint half outside takes half of white; one wholly outside is white."""
    black = np.zeros((2, 2, 3), dtype=np.uint8)
    found = resample(black, np.array([-3.0, 0]), np.array([3.0, 2]), (1, 3), "area")
    assert found[0, :, 0].tolist() == [255, 128, 128]


@given(SEEDS, FILTERS)
@settings(max_examples=60, deadline=None)
def test_resampling_agrees_with_plain_loops(seed: int, kind: Filter) -> None:
    """Any box, also beyond the picture, gives what float64 loops over all pixels give, to the rounding."""
    rng = np.random.default_rng(seed)
    picture = draw_noise(*rng.integers(1, 12, 2), seed=seed)
    low = rng.uniform(-4, 6, 2)
    high = low + rng.uniform(0.3, 14, 2)
    shape = tuple(rng.integers(1, 9, 2).tolist())
    expected = resample_by_loop(picture, low, high, shape, kind)
    np.testing.assert_allclose(resample(picture, low, high, shape, kind), expected, rtol=0, atol=0.5 + 1e-3)


@pytest.mark.parametrize(("height", "width", "side"), [(9, 12, 7), (5, 6, 16), (8, 8, 8)])
def test_linear_agrees_with_torch(height: int, width: int, side: int) -> None:
    """On whole pixels, linear is torch's bilinear without antialiasing, to the rounding."""
    picture = draw_noise(height, width)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    expected = torch.nn.functional.interpolate(planes, (side, side), mode="bilinear")[0].permute(1, 2, 0).numpy()
    found = resample(picture, np.zeros(2), np.array([width, height], dtype=float), (side, side), "linear")
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.5 + 1e-3)


@given(st.floats(-50, 50), st.floats(0.01, 80), st.integers(1, 40), FILTERS)
@settings(max_examples=60, deadline=None)
def test_weights_of_a_line_sum_to_one(low: float, extent: float, length: int, kind: Filter) -> None:
    """Where the line reaches over the stretch, nothing is gained or lost, so a flat picture stays flat."""
    weights = weigh_pixels(low + 100, low + 100 + extent, length, 300, kind)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert weights.data.min() > 0


def test_area_keeps_the_mean() -> None:
    """The mean over the crop is the mean over the box, to the rounding of 64 x 64 values."""
    picture = draw_noise(200, 200)
    found = resample(picture, np.zeros(2), np.full(2, 200.0), (64, 64), "area")
    np.testing.assert_allclose(found.mean(axis=(0, 1)), picture.mean(axis=(0, 1)), atol=0.05)


# --- slides ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
def test_facts_of_a_slide(tmp_path: Path, reader: type[OpenslideReader | TiffslideReader]) -> None:
    """Size is width and height; the levels ascend from 1; the pixel size is that of the file."""
    write_pyramid(tmp_path / "a.tif", draw_waves(320, 512))
    with Slide(tmp_path / "a.tif", reader(tmp_path / "a.tif")) as slide:
        assert (slide.size, slide.downsamples) == ((512, 320), (1.0, 2.0, 4.0))
        assert pixel_size(slide) == pytest.approx(0.5)
        assert slide.backend.split()[0] == reader.__name__.removesuffix("Reader").lower()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("corners", "side", "level"),
    [
        ((64, 32, 128, 96), 64, 0),
        ((10.3, 20.7, 110.9, 140.2), 64, 0),
        ((33, 35, 61.5, 64.25), 48, 0),
        ((10.3, 20.7, 300.1, 310.2), 100, 1),
        ((100.9, 50.1, 420, 300), 40, 2),
        ((-30.5, -20.25, 200.5, 210), 64, 1),
        ((400, 250, 612.5, 460), 60, 1),
        ((300, 100, 512, 320), 212, 0),
    ],
)
@pytest.mark.parametrize("kind", ["area", "linear"])
def test_crops_are_exact(
    tmp_path: Path,
    reader: type[OpenslideReader | TiffslideReader],
    corners: tuple[float, ...],
    side: int,
    level: int,
    kind: Filter,
) -> None:
    """Either library gives the resampled box of the very level, sub-pixel corners and borders of the slide included."""
    pictures = write_pyramid(tmp_path / "a.tif", draw_noise(320, 512))
    with Slide(tmp_path / "a.tif", reader(tmp_path / "a.tif")) as slide:
        found = slide.crop(box(*corners), side, filter=kind)
    low, high = np.array(corners[:2]) / 2**level, np.array(corners[2:]) / 2**level
    assert found.tolist() == resample(pictures[level], low, high, (side, side), kind).tolist()


def test_libraries_agree_where_levels_are_no_whole_factor(tmp_path: Path) -> None:
    """OpenSlide interpolates between pixels there; its crop of a smooth picture is still the same within 2 levels.

    Beyond the border of the slide they may differ, where OpenSlide blends the last pixel with nothing.
    """
    path = tmp_path / "a.tif"
    write_pyramid(path, draw_waves(991, 927))
    with Slide(path, OpenslideReader(path)) as one, Slide(path, TiffslideReader(path)) as other:
        assert one.downsamples == other.downsamples
        for start in range(0, 640, 33):
            place = box(start, start + 0.4, start + 250.7, start + 260)
            for side in (110, 55):
                assert np.abs(one.crop(place, side).astype(int) - other.crop(place, side)).max() <= 2


def test_libraries_agree_on_jpeg(tmp_path: Path) -> None:
    """Two decoders of the same tiles differ by at most 2 levels."""
    path = tmp_path / "a.tif"
    write_pyramid(path, draw_waves(320, 512), compression="jpeg")
    with Slide(path, OpenslideReader(path)) as one, Slide(path, TiffslideReader(path)) as other:
        place = box(40.5, 30.5, 290, 280)
        for side in (200, 100, 50):
            assert np.abs(one.crop(place, side).astype(int) - other.crop(place, side)).max() <= 2


@pytest.mark.parametrize("corners", [(-50, 0, 0, 50), (512, 0, 600, 50), (0, -90, 50, -1), (0, 1e6, 10, 1e6 + 10)])
def test_a_box_beside_the_slide_is_white(tmp_path: Path, corners: tuple[float, ...]) -> None:
    """Nothing is read where nothing is, touching borders included."""
    write_pyramid(tmp_path / "a.tif", draw_noise(320, 512))
    with open_slide(tmp_path / "a.tif") as slide:
        assert (slide.crop(box(*corners), 32) == 255).all()


@pytest.mark.parametrize("reader", READERS)
def test_transparent_pixels_are_white(tmp_path: Path, reader: type[OpenslideReader | TiffslideReader]) -> None:
    """A fourth channel of 0 hides what lies beneath it."""
    picture = np.dstack([np.zeros((128, 128, 3), dtype=np.uint8), np.full((128, 128), 255, dtype=np.uint8)])
    picture[:, 64:, 3] = 0
    tifffile.imwrite(
        tmp_path / "a.tif", picture, tile=(64, 64), photometric="rgb", extrasamples=["unassalpha"], metadata=None
    )
    with Slide(tmp_path / "a.tif", reader(tmp_path / "a.tif")) as slide:
        assert slide.crop(box(0, 0, 128, 128), 2)[..., 0].tolist() == [[0, 255], [0, 255]]


@pytest.mark.parametrize(("corners", "rows", "columns"), [((0, 0, 400, 200), 50, 100), ((9, 9, 50.5, 309.5), 100, 14)])
def test_pad_keeps_the_proportions(tmp_path: Path, corners: tuple[float, ...], rows: int, columns: int) -> None:
    """The longer side fills the crop; the shorter one is centred between white borders."""
    write_pyramid(tmp_path / "a.tif", np.zeros((320, 512, 3), dtype=np.uint8))
    with open_slide(tmp_path / "a.tif") as slide:
        found = slide.crop(box(*corners), 100, fit="pad")[..., 0]
    expected = np.full((100, 100), 255)
    top, left = (100 - rows) // 2, (100 - columns) // 2
    expected[top : top + rows, left : left + columns] = 0
    assert found.tolist() == expected.tolist()


def test_pad_leaves_squares_alone(tmp_path: Path) -> None:
    """A square box has no border."""
    write_pyramid(tmp_path / "a.tif", draw_noise(320, 512))
    with open_slide(tmp_path / "a.tif") as slide:
        place = box(10.5, 20.5, 210.5, 220.5)
        assert slide.crop(place, 64, fit="pad").tolist() == slide.crop(place, 64).tolist()


@pytest.mark.parametrize("corners", [(5, 0, 5, 9), (9, 0, 5, 9), (0, 0, math.nan, 9), (0, 0, math.inf, 9)])
def test_a_box_without_area_is_refused(corners: tuple[float, ...]) -> None:
    """Empty, reversed and undefined boxes are errors, as is a crop without pixels."""
    with pytest.raises(ValueError, match="expected a box"):
        Slide(Path("x"), Recorder()).crop(box(*corners), 8)
    with pytest.raises(ValueError, match="side of at least 1"):
        Slide(Path("x"), Recorder()).crop(box(0, 0, 1, 1), 0)


def test_a_closed_slide_says_so(tmp_path: Path) -> None:
    """Closing twice does nothing, cropping afterwards names the file."""
    write_pyramid(tmp_path / "a.tif", draw_noise(64, 64), levels=1)
    with open_slide(tmp_path / "a.tif") as slide:
        pass
    slide.close()
    with pytest.raises(ValueError, match=r"a\.tif: the slide is closed"):
        slide.crop(box(0, 0, 9, 9), 8)


# --- which library --------------------------------------------------------------------------------------------------


def test_openslide_comes_first(tmp_path: Path) -> None:
    """Where both are installed, OpenSlide reads."""
    write_pyramid(tmp_path / "a.tif", draw_noise(64, 64), levels=1)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.backend.startswith("openslide ")


def test_tiffslide_reads_what_openslide_does_not(tmp_path: Path) -> None:
    """A TIFF in strips instead of tiles is opened by tiffslide."""
    picture = draw_noise(64, 96)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.backend.startswith("tiffslide ")
        assert slide.crop(box(0, 0, 64, 64), 64).tolist() == picture[:64, :64].tolist()


def test_without_openslide_tiffslide_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slide opens when one of the two is installed."""
    monkeypatch.setitem(sys.modules, "openslide", None)
    write_pyramid(tmp_path / "a.tif", draw_noise(64, 64), levels=1)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.backend.startswith("tiffslide ")
    (tmp_path / "b.mrxs").write_bytes(b"\xff\xd8\xff\xe0 a JPEG")
    with pytest.raises(DamagedFileError, match="OpenSlide may open it: pip install openslide-python openslide-bin"):
        open_slide(tmp_path / "b.mrxs")


def test_without_both_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command stands in the message."""
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    write_pyramid(tmp_path / "a.tif", draw_noise(64, 64), levels=1)
    with pytest.raises(UsageError, match=r"a\.tif.*pip install openslide-python openslide-bin"):
        open_slide(tmp_path / "a.tif")


# --- bad files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page instead of a slide"),
        (b"<HTML><body>403</body>", "a web page instead of a slide"),
        (b"PK\x03\x04 something else", r"no TIFF \(it begins with b'PK.*OpenSlide: not a format it knows; tiffslide:"),
        (b"II*\0", "a truncated TIFF: it ends at byte 4,"),
        (b"II*\0\x08\x10\0\0", "it ends at byte 8, and something is missing at byte 4104"),
    ],
)
def test_files_that_are_no_slides(tmp_path: Path, content: bytes, message: str) -> None:
    """The message names the file, what was found in it and what to do."""
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"(?s)a\.tif: .*{message}"):
        open_slide(tmp_path / "a.tif")


def test_a_missing_file(tmp_path: Path) -> None:
    """A slide that is not there is missing, not damaged; a folder is no slide."""
    for path in (tmp_path / "a.tif", tmp_path):
        with pytest.raises(MissingDataError, match="no such slide"):
            open_slide(path)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}])
@pytest.mark.parametrize("side", [256, 32])
def test_cuts_are_found(tmp_path: Path, options: dict[str, object], side: int) -> None:
    """Whatever byte a TIFF of three levels ends at, it is refused, in each dialect; the whole one is not."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **options) as file:
        for level in range(3):
            file.write(draw_noise(side >> level, side >> level), tile=(32, 32), subfiletype=int(level > 0))
    content = path.read_bytes()
    assert find_fault(path) is None
    for cut in np.linspace(4, len(content) - 1, 60).astype(int):
        path.write_bytes(content[:cut])
        assert f"it ends at byte {cut}," in str(find_fault(path))
    with pytest.raises(DamagedFileError, match=r"a\.tif: a truncated TIFF: it ends at byte"):
        open_slide(path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("compression", ["deflate", "jpeg"])
def test_a_damaged_tile_is_found_on_reading(
    tmp_path: Path, reader: type[OpenslideReader | TiffslideReader], compression: str
) -> None:
    """The message names file, level and box; the other tiles can be read before and after the failure."""
    path = tmp_path / "a.tif"
    write_pyramid(path, draw_noise(256, 256), compression=compression)
    damage(path, level=1, tile=3)
    with Slide(path, reader(path)) as slide:
        before = slide.crop(box(0, 0, 128, 128), 64)
        for _ in range(2):
            with pytest.raises(
                DamagedFileError, match=r"a\.tif: level 1: the box \[0\.0, 0\.0, 256\.0, 256\.0\] cannot"
            ):
                slide.crop(box(0, 0, 256, 256), 128)
        assert slide.crop(box(0, 0, 128, 128), 64).tolist() == before.tolist()


def test_a_damaged_slide_can_be_closed(tmp_path: Path) -> None:
    """Closing after a failure is no failure."""
    path = tmp_path / "a.tif"
    write_pyramid(path, draw_noise(256, 256), levels=1)
    damage(path, level=0, tile=0)
    with open_slide(path) as slide, pytest.raises(DamagedFileError, match="truncated or damaged"):
        slide.crop(box(0, 0, 256, 256), 32)


# --- real slides ----------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize(
    ("task", "section", "side"), [("HER2ST", "SPA141", 161), ("HER2ST", "SPA137", 160), ("HER2ST_XP", "SPA145", 163)]
)
def test_patches_are_found_again(task: str, section: str, side: int) -> None:
    """Stored patches, quantised by up to 3 levels, are the linear crops of level 0.

    They were made with weights of 11 bits, which moves about an eighth of the pixels by a level before quantisation.
    """
    with h5py.File(DATA / f"hest-bench/{task}/patches/{section}.h5") as file:
        corners, patches = file["coords"][::9].astype(float), file["img"][::9]
    with open_slide(DATA / f"hest/wsis/{section}.tif") as slide:
        crops = np.stack([slide.crop(np.hstack([at, at + side]), 224, filter="linear") for at in corners])
    off = np.abs(crops.astype(int) - patches)
    assert off.max() <= 4
    assert (off > 3).mean() < 0.025


@needs_shared
def test_levels_of_a_real_slide_show_the_same_tissue() -> None:
    """A neighbourhood read at level 1 is within a few levels of the one averaged from level 0, at the far end too."""
    path = DATA / "hest/wsis/SPA141.tif"
    with open_slide(path) as slide:
        assert slide.best_level(735 / 224) == 1
        place = box(4300.4, 8200.3, 5035.4, 8935.3)
        low, high = place[:2], place[2:]
        picture, origin = OpenslideReader(path).read(0, low, high)
        expected = resample(picture, low - origin, high - origin, (224, 224), "area")
        assert np.abs(slide.crop(place, 224).astype(int) - expected).mean() < 5


@needs_shared
def test_libraries_agree_on_a_real_slide() -> None:
    """The mean difference stays below 1.5 levels at level 1, where OpenSlide interpolates, and .5 at level 0."""
    path = DATA / "hest/wsis/SPA141.tif"
    with Slide(path, OpenslideReader(path)) as one, Slide(path, TiffslideReader(path)) as other:
        place = box(4300.4, 5200.3, 5035.4, 5935.3)
        for side, most in ((735, 0.5), (224, 1.5)):
            assert np.abs(one.crop(place, side).astype(int) - other.crop(place, side)).mean() < most
