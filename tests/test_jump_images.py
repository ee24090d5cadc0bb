"""Pixels of JUMP-CP: decoding, crop, contrast, illumination, and images that are not what they must be."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from harness.tasks.datasets.imaging.contrast import crop_centre, find_percentiles, scale_grey
from harness.tasks.datasets.imaging.tiff import decode_tiff
from harness.tasks.datasets.jump.params import Params
from harness.tasks.datasets.jump.pictures import make_channel
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jump_factory import CHANNELS, CROP, FRAME, Tree, write_tree
from numpy.typing import NDArray
from PIL import Image
from places import SHARED, needs_shared

from harness.errors import DamagedFileError, HarnessError, MissingDataError
from harness.feed import check_batch

SAMPLES = SHARED / "data/tiff_samples"
uint16_images = arrays.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)))


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
    """Return a copy of the good tree whose images a test may damage."""
    return original.copy(tmp_path / "data", images=True)


def encode(image: NDArray[np.generic], **options: object) -> bytes:
    """Return an image as the bytes of a TIFF."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, **options)
    return stream.getvalue()


def naive(raw: NDArray[np.generic], side: int | None, clip: tuple[float, float] | None, scale: float = 65535):
    """Write the steps of the protocol down once more, pixel by pixel with numpy's own percentile."""
    image = raw.astype(np.float64)
    if side is not None:
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        image = image[top : top + side, left : left + side]
    black, white = np.percentile(image, clip) if clip is not None else (0.0, scale)
    grey = np.zeros(image.shape, dtype=np.uint8)
    for place, value in np.ndenumerate(image):
        if white > black:
            grey[place] = round(255 * (min(max(value, black), white) - black) / (white - black))
    return grey


# --- TIFF --------------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("name", ["jump_BR00117006/r01c01f01p01-ch2sk1fk1fl1.tiff", "nf1_plate2/D6_01_2_2_GFP_001.tif"])
def test_real_images_decode_as_pillow_decodes_them(name: str) -> None:
    """LZW and deflate, from bytes and from a path, equal another library's pixels."""
    path = SAMPLES / name
    expected = np.array(Image.open(path))
    assert expected.dtype == np.uint16
    assert np.array_equal(expected, decode_tiff(path.read_bytes(), name))
    assert np.array_equal(expected, decode_tiff(path, name))


@pytest.mark.parametrize(
    ("compression", "predictor"),
    [(None, False), ("packbits", False), ("lzw", False), ("lzw", True), ("zlib", False), ("zlib", True)],
)
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f4"])
def test_every_value_survives_decoding(compression: str | None, predictor: bool, dtype: str) -> None:
    """The values and the type of the file, in this machine's byte order."""
    image = (np.random.default_rng(0).random((17, 23)) * 250).astype(dtype)
    content = encode(image, compression=compression, predictor=predictor, byteorder=">" if dtype[0] == ">" else "<")
    found = decode_tiff(content, "x")
    assert np.array_equal(image, found)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")


IMAGE = np.arange(64 * 65, dtype=np.uint16).reshape(64, 65)
BAD_TIFFS: dict[str, tuple[bytes, str]] = {
    "half of it": (encode(IMAGE)[: IMAGE.nbytes // 2], "not a readable TIFF, or truncated"),
    "half of it, packed": (encode(IMAGE, compression="lzw")[:3000], "not a readable TIFF, or truncated"),
    "the directory alone": (encode(IMAGE)[:400], r"pixels end at byte \d+, the file at 400"),
    "nothing": (b"", "it holds 0 bytes"),
    "an error page": (b"<Error><Code>NoSuchKey</Code></Error>", "not a readable TIFF"),
    "colours": (encode(np.zeros((8, 8, 3), dtype=np.uint8), photometric="rgb"), r"one channel .* \(8, 8, 3\)"),
    "two pages": (encode(np.zeros((2, 8, 8), dtype=np.uint16), photometric="minisblack"), "one image, found 2 pages"),
}


@pytest.mark.parametrize("case", BAD_TIFFS)
def test_bytes_that_are_no_grey_image_are_refused(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The message begins with the name of the file, from bytes and from a path; nothing else is printed."""
    content, message = BAD_TIFFS[case]
    (tmp_path / "x.tiff").write_bytes(content)
    for source in (content, tmp_path / "x.tiff"):
        with pytest.raises(DamagedFileError, match=rf"^bucket/x\.tiff: .*{message}"):
            decode_tiff(source, "bucket/x.tiff")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(MissingDataError, match=r"^none: no such file"):
        decode_tiff(tmp_path / "none.tiff", "none")


# --- crop and contrast -------------------------------------------------------------------------------------------


@given(uint16_images, st.floats(0, 100), st.floats(0, 100))
@settings(max_examples=150, deadline=None)
def test_counted_percentiles_are_those_of_numpy(image: NDArray[np.uint16], one: float, other: float) -> None:
    """Counting gives what sorting gives, to the rounding of a last multiplication: 1e-9 of 65,535 levels."""
    found = find_percentiles(image, (one, other))
    assert found == pytest.approx(tuple(np.percentile(image, (one, other))), rel=1e-12, abs=1e-9)
    assert found == pytest.approx(find_percentiles(image.astype(np.float64), (one, other)), rel=1e-12, abs=1e-9)


@given(uint16_images, st.sampled_from([(1, 99), (0, 100), (10, 50)]))
@settings(max_examples=100, deadline=None)
def test_grey_levels_are_those_of_the_pixel_by_pixel_rule(image: NDArray[np.uint16], clip: tuple[float, float]) -> None:
    """Looking levels up equals computing each; a flat image is zero."""
    grey = scale_grey(image, *find_percentiles(image, clip))
    assert np.abs(naive(image, None, clip).astype(int) - grey).max() <= 1  # a half may fall to either side
    assert np.mean(naive(image, None, clip) != grey) <= 0.5
    assert grey.dtype == np.uint8


@given(uint16_images)
@settings(max_examples=50, deadline=None)
def test_contrast_forgets_gain_and_offset(image: NDArray[np.uint16]) -> None:
    """Twice the intensity plus seven gives the same picture: what the task's description warns of."""
    dim = image // 4
    bright = (2 * dim + 7).astype(np.uint16)
    pictures = [scale_grey(one, *find_percentiles(one, (1, 99))).astype(int) for one in (dim, bright)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_sixteen_bits_keep_more_levels() -> None:
    """bits: 16 gives float32 in [0, 1] in steps of 1/65535; scale keeps absolute intensity."""
    image = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert np.array_equal(image / np.float32(65535), scale_grey(image, 0, 65535, bits=16))
    assert scale_grey(image, 0, 65535).tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(("shape", "start"), [((6, 6), (1, 1)), ((7, 6), (1, 1)), ((4, 9), (0, 2))])
def test_the_crop_is_in_the_centre(shape: tuple[int, int], start: tuple[int, int]) -> None:
    """An odd rest leaves one row or column more at the end."""
    image = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    assert np.array_equal(image[start[0] : start[0] + 4, start[1] : start[1] + 4], crop_centre(image, 4))


@needs_shared
def test_real_fields_are_cropped_and_stretched_as_written_down() -> None:
    """Real JUMP fields of 1080 x 1080 give 768 x 768, hardly a pixel off the pixel-by-pixel rule."""
    for path in sorted(SAMPLES.glob("jump_*/*.tiff")):
        channel = make_channel(path.read_bytes(), path.name, Params())
        raw = np.array(Image.open(path))[156:924, 156:924].astype(np.float64)
        black, white = np.percentile(raw, (1, 99))
        expected = np.rint(255 * (np.clip(raw, black, white) - black) / (white - black)).astype(np.uint8)
        assert (channel.flat, channel.frame) == (False, (1080, 1080))
        assert np.array_equal(expected, channel.image)


@needs_shared
def test_real_fields_of_another_microscope_are_not_square() -> None:
    """904 x 1224 is larger than the crop; a crop of 1080 is refused with the shape."""
    path = min((SAMPLES / "nf1_plate2").iterdir())
    assert make_channel(path.read_bytes(), path.name, Params()).image.shape == (768, 768)
    with pytest.raises(DamagedFileError, match=rf"{path.name}: shape \(904, 1224\) is smaller than the crop of 1080"):
        make_channel(path.read_bytes(), path.name, Params(crop=1080))


# --- samples -----------------------------------------------------------------------------------------------------


def raw(tree: Tree, row: int, **params: object) -> list[NDArray[np.generic]]:
    """Read the files of a sample, channel by channel."""
    return [tifffile.imread(tree.root / one) for one in tree.open(**params).sites[row].files.images]


def test_a_sample_is_five_channels_in_their_order(original: Tree) -> None:
    """AGP, DNA, ER, Mito, RNA as the columns say, though file names number them the other way round."""
    dataset = original.open()
    batch = dataset.read("image", 3, 7)
    check_batch(batch, "test")
    assert batch.ids == dataset.ids[3:7]
    assert (batch.images.shape, batch.images.dtype) == ((4, 5, CROP, CROP), np.uint8)
    for place in range(4):
        names = [one.rsplit("-ch", 1)[1] for one in dataset.sites[3 + place].files.images]
        assert names == ["5.tiff", "4.tiff", "3.tiff", "2.tiff", "1.tiff"]
        expected = np.stack([naive(one, CROP, (1, 99)) for one in raw(original, 3 + place)])
        assert np.array_equal(expected, batch.images[place])


def test_batches_do_not_depend_on_where_they_begin(original: Tree) -> None:
    """Single samples, and batches larger than what is fetched at a time, from several threads, give the same pixels."""
    dataset = original.open()
    whole = dataset.read("image", 0, 60).images
    with ThreadPoolExecutor(3) as pool:
        parts = pool.map(lambda start: dataset.read("image", start, start + 1).images, range(60))
    assert np.array_equal(whole, np.concatenate(list(parts)))
    assert threading.active_count() < 60


@pytest.mark.parametrize(("clip", "scale"), [(None, 1000), (None, 65535), ((0, 100), 1)])
def test_intensities_can_be_kept(original: Tree, clip: tuple[float, float] | None, scale: float) -> None:
    """clip: null divides by the scale and clips there."""
    params = {"clip": clip, "scale": scale}
    found = original.open(**params).read("image", 0, 1).images[0, 1]
    assert np.array_equal(naive(raw(original, 0)[1], CROP, clip, scale), found)


def test_uneven_illumination_is_divided_out_first(original: Tree) -> None:
    """The whole frame is divided by the function of its plate and channel, then cropped and stretched."""
    dataset = original.open(illum="divide")
    site = dataset.sites[5].files
    functions = [np.load(original.root / one) for one in site.illumination]
    expected = [naive(one / f, CROP, (1, 99)) for one, f in zip(raw(original, 5), functions, strict=True)]
    assert np.array_equal(np.stack(expected), dataset.read("image", 5, 6).images[0])
    assert len({one.sum() for one in functions}) == len(CHANNELS)


def test_frames_may_be_taken_whole(original: Tree) -> None:
    """crop: null gives the frame, odd and not square."""
    found = original.open(crop=None).read("image", 0, 2).images
    assert found.shape == (2, 5, *FRAME)
    assert np.array_equal(naive(raw(original, 0)[2], None, (1, 99)), found[0, 2])


def test_flat_channels_become_zero_and_are_counted(tree: Tree) -> None:
    """One intensity from the 1st to the 99th percentile: zeros, and a note that counts each image once."""
    dataset = tree.open()
    tifffile.imwrite(tree.root / dataset.sites[1].files.images[2], np.full(FRAME, 700, dtype=np.uint16))
    for _ in range(2):
        images = dataset.read("image", 0, 3).images
    assert not images[1, 2].any()
    assert dataset.notes == (
        "1 channel images have one intensity from the lower to the upper percentile and became zero.",
    )


def cut(path: Path) -> None:
    """Take the end off a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(image: NDArray[np.generic]) -> Callable[[Path], None]:
    """Return a damage that puts another image in place."""
    return lambda path: tifffile.imwrite(path, image)


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], type[HarnessError], str]] = {
    "absent": (lambda path: path.unlink(), MissingDataError, r"KEY not found\. Searched:\n  .*KEY\n"),
    "truncated": (cut, DamagedFileError, r"KEY: not a readable TIFF, or truncated"),
    "8 bit": (write(np.zeros(FRAME, dtype=np.uint8)), DamagedFileError, r"KEY: expected 16 bits .* found uint8"),
    "float": (write(np.zeros(FRAME, dtype=np.float32)), DamagedFileError, r"KEY: expected 16 bits .* found float32"),
    "colour": (write(np.zeros((*FRAME, 3), dtype=np.uint8)), DamagedFileError, r"KEY: expected one channel"),
    "small": (
        write(np.zeros((20, 40), dtype=np.uint16)), DamagedFileError, r"KEY: shape \(20, 40\) is smaller than the crop",
    ),
    "another shape than its channels": (
        write(np.zeros((50, 50), dtype=np.uint16)),
        DamagedFileError,
        r"KEY: shape \(50, 50\), but cellpainting-gallery/.*-ch5\.tiff of the same site has \(37, 41\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_by_name(tree: Tree, case: str) -> None:
    """The message begins with the key of the image."""
    damage, kind, message = BAD_IMAGES[case]
    dataset = tree.open()
    key = dataset.sites[2].files.images[3]
    damage(tree.root / key)
    with pytest.raises(kind, match=f"^{message.replace('KEY', key)}"):
        dataset.read("image", 0, 4)


def test_whole_frames_of_several_shapes_make_no_batch(tree: Tree) -> None:
    """crop: null needs one shape; a site of another, though right in itself, is refused."""
    dataset = tree.open(crop=None)
    for one in dataset.sites[1].files.images:
        tifffile.imwrite(tree.root / one, np.zeros((40, 40), dtype=np.uint16))
    with pytest.raises(DamagedFileError, match=r"shape \(40, 40\), but .* has \(37, 41\); with crop: null all frames"):
        dataset.read("image", 0, 2)
    assert dataset.read("image", 1, 2).images.shape == (1, 5, 40, 40)


BAD_FUNCTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut, r"Illum\w+\.npy: not a readable npy file"),
    "zero": (lambda path: np.save(path, np.zeros(FRAME)), r"Illum\w+\.npy: holds values that are not positive"),
    "another shape": (
        lambda path: np.save(path, np.ones((3, 4))),
        r"ch\d\.tiff: shape .* illumination function \(3",
    ),
    "a line": (
        lambda path: np.save(path, np.ones(5)),
        r"Illum\w+\.npy: expected \(height, width\), found shape",
    ),
}


@pytest.mark.parametrize("case", BAD_FUNCTIONS)
def test_bad_illumination_functions_are_refused_by_name(tree: Tree, case: str) -> None:
    """A function that cannot divide an image ends in an error, never in infinities."""
    damage, message = BAD_FUNCTIONS[case]
    dataset = tree.open(illum="divide")
    damage(tree.root / dataset.sites[0].files.illumination[1])
    with pytest.raises(DamagedFileError, match=message):
        dataset.read("image", 0, 1)
