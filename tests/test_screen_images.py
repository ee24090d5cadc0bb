"""Pictures of a user's own screen: found, decoded and checked, whatever microscope wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from harness.tasks.datasets.imaging.pictures import open_image
from harness.tasks.datasets.screens.patterns import parse_pattern
from PIL import Image
from places import ROOT, SHARED, needs_shared
from screen_factory import SOURCE, WELLS, bind, draw, open_pictures, save, spec, write_wells
from small_task import enter

from harness import evaluate
from harness.errors import DamagedFileError, HarnessError, MissingDataError, SpecError, UsageError
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.selection import select_tasks

NAMES = WELLS["well"]
EACH = {"files": "{well}-{channel}.tif"}
CHANNELS = ["DNA", "ER", "AGP"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder that holds a table of six wells."""
    enter(tmp_path, monkeypatch)
    write_wells(tmp_path)
    return tmp_path


def write_each(folder: Path, images: np.ndarray, ending: str = "tif", channels: list[str] = CHANNELS) -> None:
    """Write one file a well and channel."""
    for well, image in zip(NAMES, images, strict=True):
        for channel, plane in zip(channels, image, strict=True):
            save(folder / f"{well}-{channel}.{ending}", plane)


def read(data: Any) -> np.ndarray:
    """Read all samples."""
    images = data.read("image", 0, len(data.ids)).images
    assert images is not None
    return images


def refusal(folder: Path, kind: type[HarnessError], images: dict[str, Any] = EACH, **more: Any) -> str:
    """Return the message with which pictures are refused, when they are found or when they are read."""
    with pytest.raises(kind) as caught:
        read(open_pictures(folder, images, more.pop("channels", CHANNELS), **more))
    return str(caught.value)


def pillow(path: Path) -> np.ndarray:
    """Decode all pages of a file with Pillow."""
    pages = []
    with Image.open(path) as file:
        for page in range(getattr(file, "n_frames", 1)):
            file.seek(page)
            pages.append(np.array(file))
    return np.stack(pages)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(37, 53), (64, 48), (1, 7)])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF"])
def test_one_channel_is_decoded_like_pillow_does(name: str, shape: tuple[int, int], dtype: str, folder: Path) -> None:
    """PNG and TIFF of 8 and 16 bits and any shape give the pixels that another decoder gives."""
    image = draw(1, 1, *shape, dtype)[0, 0]
    path = save(folder / name, image)
    decoded = open_image(path)
    assert (decoded.dtype, decoded.shape) == (image.dtype, (1, *shape))
    assert (decoded == image).all()
    assert (decoded == pillow(path)).all()


@pytest.mark.parametrize("options", [{}, {"compression": "lzw"}, {"compression": "zlib", "predictor": True}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_stack_is_decoded_like_pillow_does(dtype: str, options: dict[str, Any], folder: Path) -> None:
    """An OME-TIFF of three channels gives its planes in order, compressed or not."""
    image = draw(1, 3, 31, 45, dtype)[0]
    path = save(folder / "a.ome.tif", image, **options)
    assert (open_image(path, stack=True) == image).all()
    assert (pillow(path) == image).all()
    assert open_image(path, stack=True).dtype == image.dtype


def test_other_stacks(folder: Path) -> None:
    """ImageJ stacks, plain pages, big endian, tiles and colour are read too; depth and time are refused."""
    image = draw(1, 3, 40, 24)[0]
    tifffile.imwrite(folder / "a.tif", image, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(folder / "b.tif", image, photometric="minisblack", metadata=None)
    tifffile.imwrite(
        folder / "c.tif", image, byteorder=">", tile=(16, 16), photometric="minisblack", metadata={"axes": "CYX"}
    )
    tifffile.imwrite(folder / "d.tif", np.moveaxis(image, 0, -1), photometric="rgb")
    for name in "abcd":
        decoded = open_image(folder / f"{name}.tif", stack=True)
        assert (decoded == image).all()
        assert decoded.flags.c_contiguous
    colour = draw(1, 3, 8, 9, "uint8")[0]
    Image.fromarray(np.moveaxis(colour, 0, -1)).save(folder / "e.png")
    assert (open_image(folder / "e.png", stack=True) == colour).all()
    tifffile.imwrite(folder / "z.ome.tif", draw(2, 3, 8, 8), ome=True, metadata={"axes": "ZCYX"})
    with pytest.raises(DamagedFileError, match=r"expected \(channels, height, width\), found axes ZCYX of shape"):
        open_image(folder / "z.ome.tif", stack=True)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ome.tif"])
def test_cut_pictures_never_give_other_pixels(name: str, folder: Path) -> None:
    """A file that is cut anywhere is an error with its name, unless every pixel is still there."""
    stack = name.endswith("ome.tif")
    image = draw(1, 3, 40, 40)[0]
    path = save(folder / name, image if stack else image[0])
    whole = path.read_bytes()
    messages = []
    for end in [0, 4, 9, *range(16, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:end])
        try:
            decoded = open_image(path, stack=stack)
        except DamagedFileError as error:
            messages.append(str(error))
        else:
            assert len(decoded) == 1 or (decoded == image).all()  # a stack that lost planes is refused by its reader
    assert len(messages) >= 8
    assert all(message.startswith(str(path)) for message in messages)


def test_what_is_no_picture_is_refused(folder: Path) -> None:
    """Other endings, other contents, signs, floats, and colour where one channel is expected are named."""
    for name in ("a.png", "a.tif"):
        (folder / name).write_bytes(b"no picture at all, but long enough to hold a header")
        with pytest.raises(DamagedFileError, match=name):
            open_image(folder / name)
        with pytest.raises(MissingDataError, match="none"):
            open_image(folder / f"none{name}")
    with pytest.raises(UsageError, match=r"expected a picture that ends in \.tif, \.tiff, \.png"):
        open_image(folder / "a.jpg")
    tifffile.imwrite(folder / "f.tif", np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(DamagedFileError, match="expected 8 or 16 bits a pixel without sign, found float32"):
        open_image(folder / "f.tif")
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(folder / "c.png")
    with pytest.raises(DamagedFileError, match="expected one channel, found 3"):
        open_image(folder / "c.png")


@pytest.mark.parametrize(
    ("ending", "dtype"), [("png", "uint8"), ("tif", "uint8"), ("png", "uint16"), ("tif", "uint16")]
)
def test_files_of_single_channels_make_samples(ending: str, dtype: str, folder: Path) -> None:
    """Channels come in the order of the spec; 8 bits stay, 16 bits become float32 in [0, 1]."""
    images = draw(6, 3, 21, 34, dtype)
    write_each(folder, images, ending)
    data = open_pictures(folder, {"files": f"{{well}}-{{channel}}.{ending}"}, CHANNELS)
    found = read(data)
    wanted = images if dtype == "uint8" else (images.astype(np.float64) / 65535).astype(np.float32)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=0)
    turned = open_pictures(folder, {"files": f"{{well}}-{{channel}}.{ending}"}, CHANNELS[::-1])
    assert (read(turned) == found[:, ::-1]).all()
    assert turned.fingerprint("image") != data.fingerprint("image")
    part = data.read("image", 2, 5)
    assert part.ids == data.ids[2:5]
    assert (part.images == found[2:5]).all()


def test_a_channel_may_have_a_pattern_or_a_word_of_its_own(folder: Path) -> None:
    """Files are named by a pattern a channel, by cells that hold whole names, or by what stands for a channel."""
    images = draw(6, 2, 8, 8, "uint8")
    for row, well in enumerate(NAMES):
        save(folder / f"pictures/ch{1}/{row + 1:03d}.png", images[row, 0])
        save(folder / f"pictures/ch{2}/{row + 1:03d}.png", images[row, 1])
        assert well
    numbers = [str(row + 1) for row in range(6)]
    names = [f"pictures/ch2/{row + 1:03d}.png" for row in range(6)]
    write_wells(folder, number=numbers, second=names)
    spelt = {"files": "pictures/ch{channel}/{number:03d}.png", "channel": {"DNA": 1, "ER": 2}}
    own = {"files": {"DNA": "pictures/ch1/{number:03d}.png", "ER": "{second}"}}
    below = {"files": "ch{channel}/{number:03d}.png", "channel": {"DNA": 1, "ER": 2}, "folder": "pictures"}
    for form in (spelt, own, below):
        assert (read(open_pictures(folder, form, CHANNELS[:2])) == images).all()


def test_files_of_all_channels_make_samples(folder: Path) -> None:
    """Planes of an OME-TIFF are the channels in order, or those that the spec numbers."""
    images = draw(6, 3, 12, 20, "uint8")
    for well, image in zip(NAMES, images, strict=True):
        save(folder / f"{well}.ome.tif", image)
    files = {"files": "{well}.ome.tif"}
    assert (read(open_pictures(folder, files, CHANNELS)) == images).all()
    chosen = open_pictures(folder, files | {"channel": {"DNA": 3, "ER": 1}}, CHANNELS[:2])
    assert (read(chosen) == images[:, [2, 0]]).all()
    message = refusal(folder, DamagedFileError, files, channels=CHANNELS[:2])
    assert (
        "A01.ome.tif: expected 2 channels, found 3 (well A01, all channels); images.channel says which plane" in message
    )
    message = refusal(folder, DamagedFileError, files | {"channel": {"DNA": 4, "ER": 1}}, channels=CHANNELS[:2])
    assert "expected 4 channels, found 3" in message


def test_white_of_a_camera_of_twelve_bits(folder: Path) -> None:
    """A white level of 4095 fills [0, 1]; a pixel above it is an error that names file and value."""
    images = draw(6, 3, 8, 9) >> 4
    images[0, 0, 0, 0] = 4095
    write_each(folder, images)
    found = read(open_pictures(folder, EACH, CHANNELS, {"scale": 4095}))
    np.testing.assert_allclose(found, images / 4095, rtol=1e-6)
    images[3, 1, 2, 2] = 4096
    write_each(folder, images)
    message = refusal(folder, DamagedFileError, params={"scale": 4095})
    assert "B02-ER.tif: a pixel of 4096 is brighter than protocol.params.scale, 4095 (well B02, channel ER)" in message


def test_percentiles_stretch_each_channel_of_each_picture(folder: Path) -> None:
    """With clip, levels between two percentiles become 0 to 255; a flat channel becomes zeros."""
    images = draw(6, 3, 30, 31)
    images[2, 1] = 700
    write_each(folder, images)
    data = open_pictures(folder, EACH, CHANNELS, {"clip": [1, 99]})
    found = read(data)
    assert found.dtype == np.uint8
    plane = images[4, 2].astype(float)
    low, high = np.percentile(plane, 1), np.percentile(plane, 99)
    by_hand = np.round(255 * (np.minimum(np.maximum(plane, low), high) - low) / (high - low))
    assert np.abs(found[4, 2] - by_hand).max() <= 1  # a value on the edge of two levels
    assert (found[4, 2] != by_hand).mean() < 0.01
    assert not found[2, 1].any()
    assert data.fingerprint("image") != open_pictures(folder, EACH, CHANNELS).fingerprint("image")
    images = draw(6, 3, 30, 31, "uint8") >> 1
    write_each(folder, images)
    found = read(open_pictures(folder, EACH, CHANNELS, {"clip": [0, 100]}))
    assert (found.min(axis=(2, 3)).max(), found.max(axis=(2, 3)).min()) == (0, 255)


def test_missing_pictures_are_counted_and_named(folder: Path) -> None:
    """The message says how many are missing, and well, channel and path of the first."""
    write_each(folder, draw(6, 3, 8, 8))
    (folder / "B01-ER.tif").unlink()
    (folder / "C02-DNA.tif").unlink()
    message = refusal(folder, MissingDataError)
    assert (
        f"2 of 18 pictures are missing below {folder}, first:\n  well B01, channel ER: {folder / 'B01-ER.tif'}"
        in message
    )
    message = refusal(folder, MissingDataError, EACH | {"folder": "elsewhere"})
    assert "source.images.folder: elsewhere not found" in message


def test_pictures_that_differ_from_the_first_are_named(folder: Path) -> None:
    """Another bit depth or shape is an error with expected and found, well, channel and file."""
    write_each(folder, draw(6, 3, 8, 9))
    save(folder / "B02-AGP.tif", draw(1, 1, 8, 9, "uint8")[0, 0])
    message = refusal(folder, DamagedFileError)
    assert "B02-AGP.tif: expected 16 bits, 8 x 9 pixels, like the first picture" in message
    assert "found 8 bits, 8 x 9 pixels (well B02, channel AGP)" in message
    save(folder / "B02-AGP.tif", draw(1, 1, 9, 8)[0, 0])
    assert "found 16 bits, 9 x 8 pixels (well B02, channel AGP)" in refusal(folder, DamagedFileError)
    message = refusal(folder, DamagedFileError, EACH | {"bits": 8})
    assert "A01-DNA.tif: expected 8 bits, 8 x 9 pixels, like images.bits and the first picture" in message


def test_a_broken_picture_is_named_with_its_well(folder: Path) -> None:
    """A truncated file is found when it is read, and said with well and channel."""
    write_each(folder, draw(6, 3, 60, 60))
    path = folder / "C01-ER.tif"
    path.write_bytes(path.read_bytes()[:3000])
    data = open_pictures(folder, EACH, CHANNELS)
    data.read("image", 0, 4)
    with pytest.raises(DamagedFileError) as caught:
        data.read("image", 4, 6)
    assert str(caught.value).startswith(f"{path}: ")
    assert "(well C01, channel ER)" in str(caught.value)


def test_two_samples_never_share_a_picture(folder: Path) -> None:
    """A pattern that lacks a column would show one picture twice: refused with both samples."""
    save(folder / "007-DNA.tif", draw(1, 1, 8, 8)[0, 0])
    message = refusal(folder, DamagedFileError, {"files": "{plate}-DNA.tif"}, channels=["DNA"])
    assert "A01 (well A01, channel DNA) and B01 (well B01, channel DNA) would have the same picture" in message


def test_cells_must_fit_the_pattern(folder: Path) -> None:
    """A column that is not there, or a cell that is no number where one is needed, is named."""
    message = refusal(folder, UsageError, {"files": "{Well}-{channel}.tif"})
    assert "source.images.files: no column 'Well'. Did you mean well?" in message
    message = refusal(folder, DamagedFileError, {"files": "{gene:02d}-{channel}.tif"})
    assert "wells.csv:2: images.files: column gene: 'DMSO' is no whole number, as {gene:02d} needs" in message
    assert parse_pattern("{a.b}{{{x:>4}}}").fill({"a.b": "1", "x": "q"}) == "1{   q}"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"images": {"files": "{well.tif"}}, "images.files"),
        ({"images": {"files": "{}.tif"}}, "a field needs the name of a column"),
        ({"images": {"files": "{well:02q}.tif"}}, "field {well:02q}"),
        ({"images": {"files": {"DNA": "{well}.tif"}}}, "images.files: expected the channels DNA, ER, AGP, found DNA"),
        ({"images": EACH | {"channel": {"DNA": 1}}}, "images.channel: expected the channels DNA, ER, AGP, found DNA"),
        ({"images": {"files": "{well}.tif", "channel": {"DNA": 1, "ER": 1, "AGP": 2}}}, "numbers of planes, from 1"),
        ({"channels": ["DNA", "DNA"]}, "channels: a name stands twice"),
        ({"images": EACH | {"bits": 12}}, "images.bits"),
        ({"images": EACH | {"file": "x"}}, "unknown key. Did you mean files, folder?"),
    ],
)
def test_wrong_words_are_found_by_validation(source: dict[str, Any], words: str, folder: Path) -> None:
    """Binding a spec names what is wrong with patterns and channels before any file is looked for."""
    with pytest.raises(SpecError) as caught:
        bind(folder, spec("image-table", SOURCE | {"channels": CHANNELS, "images": EACH} | source))
    assert words in str(caught.value)
    assert "task.yaml:" in str(caught.value)


def test_grey_levels_are_checked_by_validation(folder: Path) -> None:
    """Percentiles rise within 0..100 and stand instead of a white level."""
    write_each(folder, draw(6, 3, 8, 8))
    for params, words in (({"clip": [99, 1]}, "two percentiles, rising"), ({"clip": [1, 99], "scale": 9}, "give one")):
        assert words in refusal(folder, SpecError, params=params)


def test_the_task_must_have_the_channels(folder: Path) -> None:
    """The task's number of channels and views are those of the source."""
    write_each(folder, draw(6, 3, 8, 8))
    content = spec("image-table", SOURCE | {"channels": CHANNELS, "images": EACH})
    for inputs, words in (
        ({"views": ["image"], "channels": 2}, "input.channels is 2, but source.channels names 3: DNA, ER, AGP"),
        ({"views": ["points"], "channels": 3}, r"the reader image-table offers \[image\], not \[points\]"),
    ):
        task = bind(folder, content | {"input": inputs})
        with pytest.raises(UsageError, match=words):
            task.reader.open(task.spec, task.source, task.reader_params, RunOptions(data_dirs=(folder,)).data_context)


def test_hashes_follow_the_pixels(folder: Path) -> None:
    """One other pixel changes data and fingerprint; another table alone changes the data only."""
    images = draw(6, 3, 8, 8)
    write_each(folder, images)
    first = open_pictures(folder, EACH, CHANNELS)
    known = first.data_hash, first.fingerprint("image")
    write_wells(folder, gene=["a", "a", "b", "b", "c", "d"])
    second = open_pictures(folder, EACH, CHANNELS)
    assert second.data_hash != known[0]
    assert second.fingerprint("image") == known[1]
    write_wells(folder)
    images[5, 2, 7, 7] ^= 1
    write_each(folder, images)
    third = open_pictures(folder, EACH, CHANNELS)
    assert third.data_hash != known[0]
    assert third.fingerprint("image") != known[1]


@needs_shared
def test_real_fields_of_16_bits() -> None:
    """Real fields, some compressed, give the levels that are known of them, and those of Pillow."""
    place = SHARED / "data/tiff_samples"
    known = {
        "jump": {(279, 39513, 3567.466), (248, 56064, 5427.959), (177, 65535, 1867.029)},
        "nf1": {(2570, 65535, 5871.744)},
    }
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in (".tif", ".tiff"))
    found = set()
    for path in files:
        image = open_image(path)
        assert (image == pillow(path)).all()
        found.add((int(image.min()), int(image.max()), round(float(image.mean()), 3)))
    assert known["jump"] | known["nf1"] <= found
    assert len(files) == 9


@needs_shared
def test_a_real_plate_is_read_in_the_order_of_its_channels(folder: Path) -> None:
    """The first well of BBBC013 has the moments that are known of it, FKHR-GFP first, DNA second."""
    (task,) = select_tasks(load_registry(), str(ROOT / "examples/bbbc013/doses.yaml"))
    context = RunOptions(data_dirs=(SHARED / "data",)).data_context
    data = task.reader.open(task.spec, task.source, task.reader_params, context)
    assert (len(data.ids), int(data.wells.control.sum()), data.wells.kind.count("positive")) == (96, 16, 8)
    images = data.read("image", 0, 3).images
    for slot, name in enumerate(("Channel1-03-A-03", "Channel2-03-A-03")):
        with Image.open(SHARED / f"data/bbbc013/images/{name}.png") as file:
            assert (images[2, slot] == np.array(file)).all()
    pixels = images[0].reshape(2, -1) / 255.0
    mean, sd = pixels.mean(axis=1), pixels.std(axis=1)
    skewness = ((pixels - mean[:, None]) ** 3).mean(axis=1) / sd**3
    known = [0.0822156, 0.0789004, 1.8112549, 0.0812699, 0.1049519, 2.5656070]
    np.testing.assert_allclose(np.stack([mean, sd, skewness], axis=1).ravel(), known, atol=1e-6)


@needs_shared
def test_a_real_plate_gives_the_published_scores(folder: Path) -> None:
    """Both examples of BBBC013 reproduce the scores and chance levels of the reference for two pixel baselines."""
    wanted = json.loads((SHARED / "data/bbbc013/expected.json").read_text())
    for name, keys in (("controls", ("positive", "negative")), ("doses", ())):
        task = ROOT / f"examples/bbbc013/{name}.yaml"
        options = {"output": None, "data_dirs": (SHARED / "data",), "baselines": "none"}
        for result in evaluate("pixel-mean,pixel-stats", task, **options):
            known = wanted[result.model.name.replace("-", "_")]
            units = result.units["mAP"]
            for unit in keys:
                value = units.value[units.unit.index(unit)]
                assert value == pytest.approx(known[f"mAP_{unit}"], abs=1e-6)
            if name == "doses":
                assert result.headline.value == pytest.approx(known["dose_mAP"], abs=1e-6)
                assert result.diagnostics["chance.mAP"] == pytest.approx(known["dose_chance"], abs=1e-6)


def test_vectors_answer_a_task_of_pictures(folder: Path) -> None:
    """A pixel baseline and its vectors, stored one row a well, give one result; several fields share a well's row."""
    fields = [f"{well}_{field}" for well in NAMES for field in "12"]
    table = pd.DataFrame(
        {"field": fields, "well": np.repeat(NAMES, 2), "gene": np.repeat(["a", "a", "a", "b", "b", "b"], 2)}
    )
    table.to_csv(folder / "wells.csv", index=False)
    images = draw(12, 1, 9, 9, "uint8", seed=3)
    for name, image in zip(fields, images, strict=True):
        save(folder / f"{name}.png", image[0])
    source = SOURCE | {"id": "field", "well": "well", "channels": ["DNA"], "images": {"files": "{field}.png"}}
    bind(folder, spec("image-table", source))
    means = (images / 255.0).mean(axis=(2, 3)).reshape(6, 2).mean(axis=1)
    pd.DataFrame({"well": NAMES, "feature_0": means}).to_csv(folder / "v.csv", index=False)
    options = {"output": None, "data_dirs": (folder,), "baselines": "none"}
    (pixels,) = evaluate("pixel-mean", "task.yaml", **options)
    (vectors,) = evaluate("embeddings:v.csv", "task.yaml", **options)
    assert vectors.units == pixels.units
