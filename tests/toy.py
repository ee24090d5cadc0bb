"""A tiny world for engine tests: generated samples, countable models, one protocol; registered as a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import harness
from harness.hashing import hash_value
from harness.plugins import Registry, assemble
from harness.specs import Strict
from harness.types import Batch, Evaluation, Units

SPEC = """\
name: toy
title: Toy
domain: toys
licence: CC0
source: {reader: toy}
input: {views: [image], channels: 3}
protocol: {name: toy, params: {n: 600}}
metrics:
  - {name: sharpness, primary: true, chance: 0, ceiling: 1}
  - {name: bluntness, higher_is_better: false}
inference: {unit: letter}
baselines: [untrained, toy-mean]
"""
CALLS: list[tuple[str, ...]] = []
"""Ids of every batch a toy model was given."""


class ToyParams(Strict):
    """How many samples."""

    n: int = 600
    broken_from: int | None = None


class NoKeys(Strict):
    """Nothing to set."""


class ToyDataset:
    """Images whose pixels tell their index."""

    def __init__(self, n: int) -> None:
        self.ids = [f"toy/{index:04d}" for index in range(n)]
        self.data_hash = hash_value(self.ids)

    def fingerprint(self, view: str) -> str:
        return hash_value([view, *self.ids])

    def read(self, view: str, start: int, stop: int) -> Batch:
        images = np.zeros((stop - start, 3, 8, 8), dtype=np.uint8)
        images += np.arange(start, stop, dtype=np.uint64).astype(np.uint8)[:, None, None, None]
        images[:, 1] += 1
        return Batch(tuple(self.ids[start:stop]), view, images=images)


class ToyReader:
    name = "toy"
    Params = ToyParams
    Source = NoKeys

    def open(self, spec, source, params, context):
        return ToyDataset(params.n if context.limit is None else context.limit)


class ToyProtocol:
    name = "toy"
    metrics = ("sharpness", "bluntness")

    class Params(Strict):
        scale: float = 1.0

    def evaluate(self, embeddings, dataset, params, seed) -> Evaluation:
        value = np.tanh(np.abs(embeddings.features[:, :4].mean(axis=0)) / 1000) * params.scale
        unit = tuple("abcd"[: len(value)])
        units = Units("letter", unit, np.zeros(len(unit), dtype=np.int64), value.astype(np.float64))
        return Evaluation({"sharpness": units, "bluntness": units}, diagnostics={"seed_seen": seed})


class ToyModel:
    """Sum of the pixels a channel, plus seeded noise when random."""

    def __init__(self, context) -> None:
        self.context = context
        rng = np.random.default_rng(context.seed)
        self.shift = rng.normal(size=4) if context.untrained else np.zeros(4)
        self.fault = context.options.get("fault")

    def embed(self, batch: Batch, stages: Sequence[str]) -> Mapping[str, np.ndarray]:
        CALLS.append(batch.ids)
        sums = batch.images.reshape(len(batch), 3, -1).sum(axis=2, dtype=np.float64)
        features = np.concatenate([sums, sums[:, :1]], axis=1) + self.shift
        if self.fault == "nan" and "toy/0300" in batch.ids:
            features[batch.ids.index("toy/0300"), 0] = np.nan
        if self.fault == "length" and batch.ids[0] >= "toy/0300":
            features = features[:, :3]
        if self.fault == "raise":
            raise ValueError("toy broke")
        if self.fault == "rows":
            features = features[:-1]
        depth = {"shallow": 1.0, "deep": 2.0}
        return {stage: (features * depth[stage]).astype(np.float32) for stage in stages}


def build(context):
    return ToyModel(context)


def card(name: str, **changes: object) -> harness.ModelCard:
    values = {
        "name": name,
        "build": "toy:build",
        "views": ["image"],
        "output": {"stages": {"shallow": 0, "deep": 1}},
        "options": ["fault"],
        **changes,
    }
    return harness.ModelCard.model_validate(values)


class ToyPlugin:
    """The plugin object."""

    def __init__(self, folder: Path) -> None:
        self.spec = folder / "toy.yaml"
        self.spec.write_text(SPEC)

    @harness.hookimpl
    def harness_models(self):
        return [
            card("toy-sum"),
            card("toy-mean", tiny=True, family="hand-crafted", untrained={"twin": "none"}),
            card("toy-points", views=["points"]),
        ]

    @harness.hookimpl
    def harness_tasks(self):
        return [self.spec]

    @harness.hookimpl
    def harness_datasets(self):
        return {"toy": "toy:READER"}

    @harness.hookimpl
    def harness_protocols(self):
        return {"toy": "toy:PROTOCOL"}


READER, PROTOCOL = ToyReader(), ToyProtocol()


def registry(folder: Path) -> Registry:
    """Return the built-in plugins with the toys added."""
    return assemble(extra={"toy": ToyPlugin(folder)})
