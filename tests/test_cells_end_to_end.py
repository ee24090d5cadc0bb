"""From the files of RxRx3-core and JUMP-CP to a result: decoding, channels, resize, embedding, evaluation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jump_factory
import numpy as np
import pytest
import rxrx3_factory
import tifffile
from numpy.typing import NDArray
from places import SHARED, needs_shared
from test_cli import call

from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import load_registry
from harness.results import Result
from harness.runner import evaluate
from harness.selection import select_model, select_tasks
from harness.types import Batch, Dataset, Model

MODELS = ("pixel-stats", "single-conv", "untrained:vit-s-16", "untrained:resnet18")
RXRX3_SPEC = f"""\
include: rxrx3
name: tiny-rxrx3
source: {{reader: rxrx3, core: {rxrx3_factory.CORE}, annotations: {rxrx3_factory.LISTS}, shards: 3}}
protocol: {{params: {{folds: {{n: 1, n_images: 1}}, controls_per_batch: 2}}}}
baselines: []
"""
ORACLE_SPEC = """\
include: rxrx3-full
name: oracle-rxrx3
protocol: {params: {folds: null, rows: all, controls_per_batch: null, align: {method: none, companions: []}}}
baselines: []
"""
JUMP_CHANGES = {"{n: 2,": "{n: 1,", "    crop: 24\n": "    crop: 24\n    sites: {poscon: 1, negcon: 1}\n"}


@dataclass(frozen=True)
class World:
    """A written data set, its task, and a way to permute the channels of a copy."""

    root: Path
    spec: Path
    channels: int
    samples: int
    permute: Callable[[Path], object]

    def run(self, models: str = ",".join(MODELS), **options: object) -> list[Result]:
        """Evaluate with one seed, on the CPU, without baselines."""
        return evaluate(models, self.spec, **{**SETTINGS, "data_dirs": (self.root,), **options})


SETTINGS = {"output": None, "offline": True, "device": "cpu", "dtype": "float32", "seeds": (0,), "baselines": "none"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep cache and store in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOIMAGE_HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("HARNESS_DATA_DIR", raising=False)
        yield


@pytest.fixture(scope="module", params=["rxrx3", "jump"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Write one of the data sets; tests read it only."""
    root = tmp_path_factory.mktemp(request.param) / "data"
    if request.param == "jump":
        tree = jump_factory.write_tree(root)
        spec = tree.write_spec()
        change(spec, JUMP_CHANGES)
        return World(root, spec, 5, 40, permute_jump)
    rxrx3_factory.write_images(rxrx3_factory.write_tree(root, n_genes=21, n_wells=1, n_compounds=0, n_controls=2))
    (root / "task.yaml").write_text(RXRX3_SPEC)
    return World(root, root / "task.yaml", 6, 27, permute_rxrx3)


def change(path: Path, words: dict[str, str]) -> None:
    """Replace words of a text file."""
    text = path.read_text()
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def turned(channels: int) -> list[int]:
    """Say which channel stands in each place of a permuted copy."""
    return [(place + 2) % channels for place in range(channels)]


def permute_rxrx3(root: Path) -> None:
    """Give every image the key of the place that it takes."""
    for path in (root / rxrx3_factory.CORE / "data").glob("*.parquet"):
        rxrx3_factory.alter_shard(
            path, lambda rows: rows.__setitem__(slice(None), [(turn(key), data) for key, data in rows])
        )


def turn(key: str) -> str:
    """Rename an image."""
    return f"{key[:-1]}{turned(6).index(int(key[-1]) - 1) + 1}"


def permute_jump(root: Path) -> None:
    """Let every column name the file of the channel that takes its place."""
    names = [f"FileName_Orig{channel}" for channel in jump_factory.CHANNELS]

    def swap(rows: list[dict[str, object]]) -> None:
        for row in rows:
            old = [row[name] for name in names]
            row.update({name: old[of] for name, of in zip(names, turned(5), strict=True)})

    for path in root.glob("cellpainting-gallery/**/load_data_with_illum.parquet"):
        jump_factory.change_rows(path, swap)


def open_with(spec: Path, name: str, *roots: Path) -> tuple[Dataset, Model, str]:
    """Open the data of a task and build a model for it."""
    options = RunOptions(data_dirs=roots, offline=True, device="cpu", dtype="float32")
    registry = load_registry()
    (task,) = select_tasks(registry, str(spec))
    chosen = select_model(registry, parse_models(name)[0], options.data_context)
    context = place_model(registry, chosen, "image", task.spec.input, options)
    dataset = task.reader.open(task.spec, task.source, task.reader_params, options.data_context)
    return dataset, build_model(chosen, context), chosen.card.stages[-1]


def describe(spec: Path, name: str, n: int, *roots: Path) -> NDArray[np.float32]:
    """Return the features of the first samples."""
    dataset, model, stage = open_with(spec, name, *roots)
    return model.embed(dataset.read("image", 0, n), (stage,))[stage]


# --- generated data ----------------------------------------------------------------------------------------------


def test_four_models_go_all_the_way(world: World) -> None:
    """Each result is valid, its headline lies in [0, 1] with a chance beside it; a second run embeds nothing."""
    results = world.run()
    assert [result.model_string for result in results] == list(MODELS)
    for result in results:
        assert Result.model_validate(result.model_dump()) == result
        assert (result.status, result.view, result.provenance.seeds) == ("ok", "image", [0])
        assert result.headline.value is not None
        assert 0 <= result.headline.value <= 1
        assert 0 < result.task.chance < 1
        assert result.provenance.n_embedded == world.samples
    for first, second in zip(results, world.run(), strict=True):
        assert second.provenance.n_embedded == 0
        assert (second.metrics, second.units) == (first.metrics, first.units)


def test_a_trial_is_marked_as_partial(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--limit on the command line takes fewer samples where that leaves a score, and says so in the result."""
    folder = ("--output", str(tmp_path / "results"), "--offline", "--baselines", "none", "--data-dir", str(world.root))
    arguments = ("eval", "--model", "pixel-stats", "--tasks", str(world.spec), "--json", "--limit", "30", *folder)
    assert call(*arguments) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = Result.model_validate(json.loads(line))
    assert (result.status, result.headline.value is not None) == ("partial", True)
    (path,) = (tmp_path / "results").rglob("pixel-stats.json")
    assert Result.model_validate_json(path.read_text()).status == "partial"


@pytest.mark.parametrize(("model", "moments"), [("pixel-mean", 1), ("pixel-stats", 3)])
def test_channels_keep_their_order(world: World, model: str, moments: int, tmp_path: Path) -> None:
    """A copy with permuted channels has the permuted features, and no two channels look alike."""
    shutil.copytree(world.root, tmp_path / "copy")
    world.permute(tmp_path / "copy")
    straight, permuted = (describe(world.spec, model, 6, root) for root in (world.root, tmp_path / "copy"))
    blocks = straight.reshape(6, moments, world.channels)
    assert len({*blocks[0, 0].tolist()}) == world.channels
    np.testing.assert_array_equal(permuted.reshape(blocks.shape), blocks[:, :, turned(world.channels)])


@pytest.mark.parametrize(("model", "width"), [("untrained:vit-s-16", 384), ("untrained:resnet18", 512)])
def test_networks_get_all_channels_at_their_size(world: World, model: str, width: int) -> None:
    """The first layer of a network takes as many channels as there are, 224 pixels wide, and all of them matter."""
    dataset, network, stage = open_with(world.spec, model, world.root)
    seen: list[tuple[int, ...]] = []
    first = next(part for part in network.module.modules() if type(part).__name__ == "Conv2d")
    first.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    images = np.repeat(dataset.read("image", 0, 1).images, 1 + world.channels, axis=0)
    for channel in range(world.channels):
        images[1 + channel, channel] = 0
    ids = tuple(map(str, range(len(images))))
    features = network.embed(Batch(ids, "image", images=images), (stage,))[stage]
    assert features.shape == (1 + world.channels, width)
    assert (np.abs(features[1:] - features[0]).max(axis=1) > 0).all()
    assert seen == [(1 + world.channels, world.channels, 224, 224)]


# --- real pictures -----------------------------------------------------------------------------------------------


@needs_shared
def test_real_images_of_rxrx3_go_through_a_network(tmp_path: Path) -> None:
    """Published images, one well in two files: channel means as stored beside them, then a vector a well."""
    place = SHARED / "oracles/rxrx3/images"
    wanted = json.loads((place / "expected.json").read_text())["wells"]
    spec, roots = tmp_path / "task.yaml", (place / "data", SHARED / "data")
    spec.write_text(ORACLE_SPEC)
    dataset, network, stage = open_with(spec, "untrained:resnet18", *roots)
    batch = dataset.read("image", 0, len(dataset.ids))
    _, pixel_mean, last = open_with(spec, "pixel-mean", *roots)
    expected = [[channel["mean"] / 255 for channel in wanted[well]] for well in dataset.ids]
    np.testing.assert_allclose(pixel_mean.embed(batch, (last,))[last], expected, rtol=1e-6)
    features = network.embed(batch, (stage,))[stage]
    assert features.shape == (13, 512)
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == 13


@needs_shared
def test_real_fields_of_jump_go_through_a_network(tmp_path: Path) -> None:
    """Three channels of a published field, two of them twice, in the place of a site's files."""
    tree = jump_factory.write_tree(tmp_path / "data")
    spec = tree.write_spec()
    change(spec, {"    crop: 24\n": ""})
    dataset, network, stage = open_with(spec, "untrained:resnet18", tree.root)
    real = sorted((SHARED / "data/tiff_samples/jump_BR00117006").glob("*.tiff"))
    files = [real[number] for number in (0, 1, 2, 0, 1)]
    for address, path in zip(dataset.sites[0].files.images, files, strict=True):
        shutil.copyfile(path, tree.root / address)
    (means,) = describe(spec, "pixel-mean", 1, tree.root)
    for found, path in zip(means, files, strict=True):
        field = tifffile.imread(path)[156:924, 156:924].astype(np.float64)
        black, white = np.percentile(field, (1, 99))
        grey = np.rint(255 * (np.clip(field, black, white) - black) / (white - black))
        assert found == pytest.approx(grey.mean() / 255, rel=1e-6)
    features = network.embed(dataset.read("image", 0, 1), (stage,))[stage]
    assert features.shape == (1, 512)
    assert np.isfinite(features).all()
    assert features.std() > 0
