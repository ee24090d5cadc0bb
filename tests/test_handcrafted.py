"""Hand-crafted baselines: pixels, counts and one random convolution."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from harness.models import cell_count, pixels, single_conv
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared
from scipy.stats import skew

from harness.errors import MismatchError, PluginError, UsageError
from harness.plugins import load_registry
from harness.types import Batch, BuildContext

CARDS = load_registry().cards


def context(name: str, **options: str) -> BuildContext:
    """Return how a model is built for three channels."""
    return BuildContext(CARDS[name], transform=CARDS[name].input, options=options)


def images(seed: int, n: int = 2, channels: int = 3, height: int = 9, width: int = 7) -> Batch:
    """Return random images."""
    values = np.random.default_rng(seed).integers(0, 256, (n, channels, height, width), dtype=np.uint8)
    return Batch(tuple(f"s/{row}" for row in range(n)), "image", images=values)


class Cloud:
    """Samples that are sets of points; reads are counted."""

    def __init__(self, counts: list[int]) -> None:
        """Keep how many points each sample has."""
        self.ids = [f"s/{len(counts) - row:03d}" for row in range(len(counts))]
        self.counts = counts
        self.reads = 0

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Return points at the origin."""
        self.reads += 1
        points = tuple(np.zeros((count, 2)) for count in self.counts[start:stop])
        return Batch(tuple(self.ids[start:stop]), view, points=points)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
def test_pixel_stats_are_numpys_and_scipys_moments(seed: int, channels: int, floats: bool) -> None:
    """Means, population sds and skewnesses of values in [0, 1], channel after channel, for any number of channels."""
    batch = images(seed, channels=channels)
    if floats:
        batch = Batch(batch.ids, "image", images=batch.images.astype(np.float32) / np.float32(255))
    values = batch.images.reshape(2, channels, -1) / (1.0 if floats else 255.0)
    want = np.concatenate([values.mean(axis=2), values.std(axis=2), skew(values, axis=2)], axis=1)
    found = pixels.build_stats(context("pixel-stats")).embed(batch, ("last",))["last"]
    np.testing.assert_allclose(found, want, atol=1e-5)
    means = pixels.build_mean(context("pixel-mean")).embed(batch, ("last",))["last"]
    np.testing.assert_allclose(means, want[:, :channels], atol=1e-6)


def test_a_flat_channel_has_no_skewness() -> None:
    """A constant image gives sd 0 and skewness 0, not NaN."""
    flat = Batch(("a",), "image", images=np.full((1, 3, 5, 5), 77, dtype=np.uint8))
    found = pixels.build_stats(context("pixel-stats")).embed(flat, ("last",))["last"][0]
    assert found.tolist() == pytest.approx([77 / 255] * 3 + [0] * 6, abs=1e-7)


@needs_shared
def test_pixel_stats_repeat_the_reference() -> None:
    """Five channels of the probe images give the stored rows."""
    i, c, y, x = np.ogrid[:2, :5, :64, :64]
    batch = Batch(("a", "b"), "image", images=((7 * x + 13 * y + 29 * c + 53 * i + x * y) % 256).astype(np.uint8))
    stored = json.loads((SHARED / "oracles/models/fingerprints.json").read_text())["pixel-stats 64px 5ch"]["rows"]
    found = pixels.build_stats(context("pixel-stats")).embed(batch, ("last",))["last"]
    np.testing.assert_allclose(found, stored, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 33), (8, 8)])
def test_raw_pixels_are_area_means(height: int, width: int) -> None:
    """Whole multiples are block means; other sizes equal a naive loop over overlaps; the mean is kept."""
    batch, side = images(1, height=height, width=width), 16
    found = pixels.build_raw(context("raw-pixels", size="16")).embed(batch, ("last",))["last"].reshape(2, 3, side, side)
    image = batch.images[0, 0] / 255.0
    for row in range(side):
        for column in range(side):
            top, bottom = row * height / side, (row + 1) * height / side
            left, right = column * width / side, (column + 1) * width / side
            total = 0.0
            for y in range(int(top), min(height, int(np.ceil(bottom)))):
                for x in range(int(left), min(width, int(np.ceil(right)))):
                    share = (min(bottom, y + 1) - max(top, y)) * (min(right, x + 1) - max(left, x))
                    total += image[y, x] * share
            assert found[0, 0, row, column] == pytest.approx(total / ((bottom - top) * (right - left)), abs=1e-6)
    np.testing.assert_allclose(found.mean(axis=(2, 3)), batch.images.mean(axis=(2, 3)) / 255, atol=1e-6)


def test_raw_pixels_take_a_side() -> None:
    """32 x 32 by default; anything but a whole number is refused."""
    assert pixels.build_raw(context("raw-pixels")).embed(images(0), ("last",))["last"].shape == (2, 3 * 32 * 32)
    with pytest.raises(UsageError, match="size=x: expected a whole number"):
        pixels.build_raw(context("raw-pixels", size="x"))


@needs_shared
def test_count_functions_are_the_reference() -> None:
    """The sixteen functions of count / 100 equal the stored ones."""
    known = json.loads((SHARED / "oracles/models/fingerprints.json").read_text())
    stored = next(value for key, value in known.items() if key.startswith("cell-count functions"))
    for count, row in stored.items():
        found = cell_count.count_functions(np.array([int(count) / 100]))[0]
        np.testing.assert_allclose(found, row, rtol=1e-5, atol=1e-6)


def test_cell_count_does_not_depend_on_the_batch() -> None:
    """256 columns: the sixteen in turn, with noise of sd .001 that belongs to the sample and not to its batch."""
    cloud = Cloud([100, 250, 819])
    model = cell_count.build(context("cell-count"))
    model.prepare(cloud, "points")
    whole = model.embed(cloud.read("points", 0, 3), ("last",))["last"]
    alone = model.embed(cloud.read("points", 1, 2), ("last",))["last"]
    assert whole.shape == (3, 256)
    assert np.array_equal(whole[1], alone[0])
    noise = whole - np.tile(cell_count.count_functions(np.array([1.0, 2.5, 8.19])), 16)
    place = sorted(cloud.ids).index(cloud.ids[1])
    np.testing.assert_allclose(
        noise[1], np.random.default_rng([0, place]).normal(0, 1e-3, 256), atol=4e-6
    )  # u^4 in float32


def test_cell_count_without_tiles_has_no_noise() -> None:
    """tile=false gives the sixteen functions alone."""
    cloud = Cloud([100, 250])
    model = cell_count.build(context("cell-count", tile="false"))
    model.prepare(cloud, "points")
    found = model.embed(cloud.read("points", 0, 2), ("last",))["last"]
    np.testing.assert_allclose(found, cell_count.count_functions(np.array([1.0, 2.5])), rtol=1e-6)


@pytest.mark.parametrize(("name", "build"), [("cell-count", "build"), ("cell-count-std", "build_standardised")])
def test_the_cards_with_trees_have_no_tiles(name: str, build: str) -> None:
    """Their features are the 16 of the plain card with tile=false, and they offer no such option."""
    cloud, build_it = Cloud([100, 250, 819]), getattr(cell_count, build)
    found = []
    for asked in (context(f"{name}-xgboost"), context(name, tile="false")):
        model = build_it(asked)
        model.prepare(cloud, "points")
        found.append(model.embed(cloud.read("points", 0, 3), ("last",))["last"])
    assert np.array_equal(*found)
    assert found[0].shape == (3, CARDS[f"{name}-xgboost"].output.dim)
    assert CARDS[f"{name}-xgboost"].build.endswith(f":{build}")
    assert CARDS[f"{name}-xgboost"].options == []


def test_standardised_counts_use_all_samples() -> None:
    """cell-count-std standardises over the whole task, whatever part of it is embedded."""
    counts = list(range(1, 601))
    cloud = Cloud(counts)
    model = cell_count.build_standardised(context("cell-count-std", tile="false"))
    model.prepare(cloud, "points")
    found = model.embed(cloud.read("points", 0, 1), ("last",))["last"]
    assert found[0, 0] == pytest.approx((1 - np.mean(counts)) / np.std(counts), abs=1e-6)
    equal = cell_count.build_standardised(context("cell-count-std", tile="false"))
    equal.prepare(Cloud([5, 5]), "points")
    assert equal.embed(Cloud([5, 5]).read("points", 0, 2), ("last",))["last"][:, 0].tolist() == [0, 0]


def test_counts_need_points_and_order() -> None:
    """An image batch is a mismatch; embedding before prepare is a defect of the caller."""
    with pytest.raises(MismatchError, match="count-only: takes points"):
        cell_count.build_count(context("count-only")).embed(images(0), ("last",))
    with pytest.raises(PluginError, match="prepare"):
        cell_count.build(context("cell-count")).embed(Cloud([1]).read("points", 0, 1), ("last",))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_convolution_equals_the_plain_one(dtype: str) -> None:
    """Averaging a few images at a time gives what the whole batch gives at once."""
    card = CARDS["single-conv"]
    model = single_conv.build(BuildContext(card, untrained=True, seed=2, transform=card.input, dtype=dtype))
    batch = images(3, n=5, height=224, width=224)
    found = model.embed(batch, ("conv",))["conv"]
    torch.manual_seed(2)
    conv = torch.nn.Conv2d(3, 512, 7, stride=4)
    pixels_in = (torch.from_numpy(batch.images).float() / 255 - 0.5) / 0.5
    want = torch.relu(conv(pixels_in)).mean((2, 3)).detach().numpy()
    np.testing.assert_allclose(found, want, atol=1e-5 if dtype == "float32" else 5e-3)


def test_options_of_the_convolution() -> None:
    """filters, kernel, stride and activation are options; without the ReLU the features are linear in the means."""
    card = CARDS["single-conv"]
    options = {"filters": "8", "kernel": "3", "stride": "3", "activation": "none"}
    model = single_conv.build(BuildContext(card, untrained=True, transform=card.input, options=options))
    flat = np.zeros((6, 3, 224, 224), dtype=np.uint8)
    flat += np.random.default_rng(0).integers(0, 256, (6, 3, 1, 1), dtype=np.uint8)
    features = model.embed(Batch(tuple("abcdef"), "image", images=flat), ("conv",))["conv"]
    assert features.shape == (6, 8)
    means = np.column_stack([flat.mean(axis=(2, 3)), np.ones(6)])
    residual = features - means @ np.linalg.lstsq(means, features, rcond=None)[0]
    assert np.abs(residual).max() < 1e-4
