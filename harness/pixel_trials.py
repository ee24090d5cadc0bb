"""Checks of what a model makes of pixels: number formats, plain images, brightness, channels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.errors import PluginError
from harness.trials import Line, Subject, compare, judge
from harness.types import Batch

Images = NDArray[np.uint8] | NDArray[np.float32]


def pixels(subject: Subject) -> Iterator[Line]:
    """Check number formats of pixels, plain images, and that brightness and channels count."""
    images = subject.batch.images
    if images is None:
        return
    if images.dtype == np.uint8:
        scaled = _with(subject.batch, images.astype(np.float32) / np.float32(255))
        advice = "uint8 0..255 and float32 in [0, 1] are the same image: divide uint8 by 255, and only that"
        yield compare(subject, "uint8 and float32 are one image", subject.last, subject.embed(scaled), advice)
    top = 255 if images.dtype == np.uint8 else 1
    plain = np.stack([np.full_like(images[0], value) for value in (0, top // 2 if top > 1 else 0.5, top)])
    name, advice = "black, grey and white images", "a division by a spread of zero? add a small number to it"
    try:
        subject.embed(Batch(tuple(f"plain/{row}" for row in range(3)), subject.batch.view, images=plain))
        yield Line(name, "ok", "finite")
    except PluginError as error:
        yield Line(name, "failed", str(error), advice)
    darker: Images = (images * 0.6).astype(np.uint8) if top == 255 else (images * 0.6).astype(np.float32)
    advice = "is every image normalised by its own brightness? then intensity is lost; if so meant, never mind"
    yield _differs(subject, "brightness counts", darker, advice)
    if images.shape[1] > 1:
        advice = "are channels averaged or sorted? then stains are not told apart; if so meant, never mind"
        yield _differs(subject, "order of channels counts", images[:, ::-1], advice)


def _differs(subject: Subject, name: str, images: Images, advice: str) -> Line:
    last, other = subject.last, subject.embed(_with(subject.batch, images))
    change = float(np.abs(last - other).max()) / (float(np.abs(last).max()) or 1.0)
    return judge(name, change > 1e-4, f"changes the largest feature by {change:.1e} of it", advice, "warning")


def _with(batch: Batch, images: Images) -> Batch:
    return Batch(batch.ids, batch.view, images=images)
