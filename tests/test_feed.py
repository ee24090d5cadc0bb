"""Between dataset, model and store: what is checked, and how much memory it takes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from harness.embed import EmbedJob, embed
from harness.errors import DamagedFileError, ModelOutputError
from harness.feed import check_batch, read_ahead
from harness.progress import Silent
from harness.store import Store
from harness.types import Batch


class Pictures:
    """Random images made when they are read."""

    def __init__(self, n: int, rename: bool = False) -> None:
        """Keep how many there are."""
        self.ids = [f"p/{row:05d}" for row in range(n)]
        self.rename = rename

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Return images of 64 x 64 px."""
        ids = tuple(self.ids[start:stop])
        images = np.full((len(ids), 3, 64, 64), start % 256, dtype=np.uint8)
        return Batch(tuple(reversed(ids)) if self.rename else ids, view, images=images)


class Mean:
    """Channel means."""

    def embed(self, batch: Batch, stages) -> dict:
        """Return (N, 3)."""
        return dict.fromkeys(stages, batch.images.mean(axis=(2, 3)).astype(np.float32))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (Batch(("a", "b"), "image", images=np.zeros((1, 3, 4, 4), dtype=np.uint8)), r"for 2 ids, got \(1, 3, 4, 4\)"),
        (Batch(("a",), "image", images=np.zeros((3, 4, 4), dtype=np.uint8)), r"expected images \(N, C, H, W\)"),
        (Batch(("a",), "image", images=np.zeros((1, 3, 4, 4), dtype=np.int32)), "images are int32; expected uint8"),
        (Batch(("a",), "image", images=np.zeros((1, 3, 4, 4))), "images are float64"),
        (Batch(("a", "b"), "image", images=np.stack([np.zeros((3, 4, 4)), np.full((3, 4, 4), 1.01)]).astype("f4")),
         r"samples b: expected float in \[0, 1\]"),
        (Batch(("a",), "image", images=np.full((1, 3, 4, 4), np.nan, dtype=np.float32)), "samples a: expected float"),
        (Batch(("a",), "points", points=()), "expected 1 point sets"),
        (Batch(("a",), "points", points=(np.zeros((3, 3)),)), r"sample a: .* got \(3, 3\)"),
        (Batch(("a",), "points", points=(np.full((3, 2), np.inf),)), "sample a: expected finite points"),
    ],
)  # fmt: skip
def test_a_batch_that_breaks_its_promise_is_named(batch: Batch, words: str) -> None:
    """Wrong size, dtype, range or points: the source and the samples are named."""
    with pytest.raises(ModelOutputError, match=f"toy: .*{words}"):
        check_batch(batch, "toy")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_good_images_pass(dtype: type) -> None:
    """uint8 and float32 in [0, 1] are fine, a little rounding beyond included."""
    images = np.full((2, 5, 4, 4), 1, dtype=dtype)
    check_batch(Batch(("a", "b"), "image", images=images if dtype is np.uint8 else images + np.float32(5e-4)), "toy")


def test_samples_under_other_ids_are_refused() -> None:
    """A reader that returns other samples than asked for is caught before anything is embedded."""
    with pytest.raises(DamagedFileError, match="samples 0 to 2 came back under other ids"):
        list(read_ahead(Pictures(4, rename=True), "image", [(0, 2)], "toy", needs_pixels=True))


def test_batches_come_in_order_and_not_too_early() -> None:
    """Spans keep their order, and no more than three batches are read before the first is used."""
    pictures, reads = Pictures(64), []
    original = pictures.read
    pictures.read = lambda *arguments: (reads.append(arguments[1]), original(*arguments))[1]
    spans = [(start, start + 8) for start in range(0, 64, 8)]
    walk = read_ahead(pictures, "image", spans, "toy", needs_pixels=True)
    first, batch = next(walk)
    assert first == (0, 8)
    assert batch.ids == tuple(pictures.ids[:8])
    assert len(reads) <= 4
    assert [span for span, _ in walk] == spans[1:]


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    """Eight times as many samples cost no more than their embeddings on top (images are streamed)."""
    peaks = []
    for n in (512, 4096):
        job = EmbedJob("toy", Pictures(n), "image", ("last",), 0, {"n": n}, 32, Mean)
        tracemalloc.start()
        (report,) = embed(job, Store(str(tmp_path)), Silent()).embeddings
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.features.shape == (n, 3)
    ids_and_vectors = 4096 * 400  # an id, its place, and twelve bytes of features
    assert peaks[1] - peaks[0] < ids_and_vectors
    assert 20 * ids_and_vectors < 4096 * 3 * 64 * 64
