"""Samples to embeddings: every stage in one pass, streamed shard by shard through the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, HarnessError, ModelOutputError, PluginError
from harness.feed import read_ahead
from harness.halving import PatientModel
from harness.hashing import hash_value
from harness.store import SHARD, Entry, Store
from harness.types import Dataset, Embeddings, Model, Progress


@dataclass(frozen=True)
class EmbedJob:
    """What is to be embedded.

    Attributes:
        title: for progress bars and messages.
        dataset: the samples.
        view: which view of them.
        stages: stages to return, shallow to deep.
        seed: seed of the model.
        identity: facts that make the key of an entry, the stage left out.
        batch_size: samples a call of the model, at most a shard; a begun entry keeps its own. Where memory does not
            suffice, calls get fewer.
        build: builds the model; called only when something is missing.
        share: (i, n): embed only shards s with s mod n = i; None for all.
    """

    title: str
    dataset: Dataset
    view: str
    stages: tuple[str, ...]
    seed: int
    identity: Mapping[str, Any]
    batch_size: int
    build: Callable[[], Model]
    share: tuple[int, int] | None = None


@dataclass(frozen=True)
class EmbedReport:
    """What embedding gave: one set a stage (none if only a share was made), how much was new, samples a call."""

    embeddings: tuple[Embeddings, ...]
    n_embedded: int
    batch_size: int


def embed(job: EmbedJob, store: Store, progress: Progress) -> EmbedReport:
    """Return the embeddings of a job, computing only what the store does not hold.

    A shard that is damaged on disk is named in a warning, deleted and computed again.

    Raises:
        PluginError: the model fails or returns what it must not.
        CannotWriteError: the store refuses a shard; finished ones are kept.
    """
    entries = {stage: store.entry(hash_value({**job.identity, "stage": stage})) for stage in job.stages}
    facts = {**job.identity, "title": job.title, "batch_size": job.batch_size, "n_samples": len(job.dataset.ids)}
    batch_size = min(int(entry.describe({**facts, "stage": s})["batch_size"]) for s, entry in entries.items())
    todo = _missing(job, entries)
    computed = sum(stop - start for start, stop in map(_bounds(job), todo))
    used = _compute(job, entries, todo, batch_size, progress) if todo else batch_size
    if job.share is not None:
        return EmbedReport((), computed, used)
    sets: list[Embeddings] = []
    for stage, entry in entries.items():
        arrays, damaged = _load(job, entry, stage, progress)
        if damaged:
            again = dict.fromkeys(damaged, (stage,))
            computed += sum(stop - start for start, stop in map(_bounds(job), again))
            _compute(job, entries, again, batch_size, progress)
            arrays, damaged = _load(job, entry, stage, progress)
        if damaged:
            raise DamagedFileError(f"{entry.path}: shards {damaged} are damaged again right after being written")
        entry.finish(len(arrays), arrays.shape[1])
        digest = hashlib.sha256(arrays.data).hexdigest()
        sets.append(Embeddings(tuple(job.dataset.ids), arrays, stage, job.seed, digest))
    return EmbedReport(tuple(sets), computed, used)


def _bounds(job: EmbedJob) -> Callable[[int], tuple[int, int]]:
    total = len(job.dataset.ids)
    return lambda number: (number * SHARD, min(total, (number + 1) * SHARD))


def _missing(job: EmbedJob, entries: Mapping[str, Entry]) -> dict[int, tuple[str, ...]]:
    """Map each shard that is missing anywhere to the stages that miss it."""
    present = {stage: entry.shards() for stage, entry in entries.items()}
    numbers = range(-(-len(job.dataset.ids) // SHARD))
    if job.share is not None:
        numbers = range(job.share[0], len(numbers), job.share[1])
    gaps = {number: tuple(stage for stage in job.stages if number not in present[stage]) for number in numbers}
    return {number: stages for number, stages in gaps.items() if stages}


def _compute(
    job: EmbedJob,
    entries: Mapping[str, Entry],
    todo: Mapping[int, tuple[str, ...]],
    batch_size: int,
    progress: Progress,
) -> int:
    """Embed and store the shards that are missing; return the samples a call that memory allowed."""
    model = job.build()
    _prepare(model, job)
    patient = PatientModel(model, job.title, progress)
    bounds = _bounds(job)
    spans = {
        (start, min(start + batch_size, bounds(number)[1])): number
        for number in todo
        for start in range(*bounds(number), batch_size)
    }
    needs_pixels = getattr(model, "needs_pixels", True)
    dims: dict[str, int] = {}
    parts: dict[str, list[NDArray[np.float32]]] = {}
    progress.start(job.title, sum(stop - start for start, stop in spans))
    try:
        send = getattr(model, "send", None)
        reading = read_ahead(job.dataset, job.view, list(spans), job.title, needs_pixels=needs_pixels, send=send)
        for span, batch in reading:
            number = spans[span]
            for stage, features in patient.run(batch, todo[number]).items():
                _check_length(dims.setdefault(stage, features.shape[1]), features, batch.ids[0], stage, job)
                parts.setdefault(stage, []).append(features)
            progress.advance(len(batch))
            if span[1] == bounds(number)[1]:
                ids = job.dataset.ids[slice(*bounds(number))]
                for stage, pieces in parts.items():
                    entries[stage].write(number, ids, np.concatenate(pieces))
                parts = {}
    finally:
        progress.finish()
    return min(batch_size, patient.most or batch_size)


def _check_length(dim: int, features: NDArray[np.float32], first: str, stage: str, job: EmbedJob) -> None:
    if features.shape[1] != dim:
        raise ModelOutputError(
            f"{job.title}: stage {stage}: vectors change their length: {dim}, then {features.shape[1]} "
            f"from sample {first} on"
        )


def _prepare(model: Model, job: EmbedJob) -> None:
    prepare = getattr(model, "prepare", None)
    if prepare is None:
        return
    try:
        prepare(job.dataset, job.view)
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{job.title}: prepare failed: {type(error).__name__}: {error}") from error


def _load(job: EmbedJob, entry: Entry, stage: str, progress: Progress) -> tuple[NDArray[np.float32], list[int]]:
    """Assemble an entry; return it with the numbers of the shards that are missing or damaged."""
    names, bounds, ids = entry.shards(), _bounds(job), job.dataset.ids
    damaged: list[int] = []
    whole: NDArray[np.float32] | None = None
    for number in range(-(-len(ids) // SHARD)):
        start, stop = bounds(number)
        if number not in names:
            damaged.append(number)
            continue
        try:
            shard = entry.read(names[number])
            if list(shard.ids) != list(ids[start:stop]):
                raise DamagedFileError(f"{entry.path}/{names[number]}: holds other samples")
        except DamagedFileError as error:
            progress.warn(f"{error}; it is computed again")
            entry.drop(names[number])
            damaged.append(number)
            continue
        if whole is None:
            whole = np.empty((len(ids), shard.features.shape[1]), dtype=np.float32)
        _check_length(whole.shape[1], shard.features, shard.ids[0], stage, job)
        whole[start:stop] = shard.features
    return np.empty((0, 0), dtype=np.float32) if whole is None else whole, damaged
