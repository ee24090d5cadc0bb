"""One pairing from data to results, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness.binding import BoundTask
from harness.describe import Making, Outcome, describe
from harness.embed import EmbedJob, embed
from harness.errors import HarnessError, PluginError
from harness.identity import Identity, identify
from harness.match import Pairing
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import Registry
from harness.results import FieldValue
from harness.scoring import combine, score
from harness.store import Store
from harness.training import train_pairing
from harness.trainjob import Trained, TrainingSamples
from harness.types import BuildContext, DataContext, Dataset, Embeddings, Progress
from harness.writing import Claim, refuse_others

_BATCH = 32
"""Samples a call of a model for which no plugin has a rule."""


def open_dataset(task: BoundTask, context: DataContext) -> Dataset:
    """Open the data of a task.

    Raises:
        MissingDataError, DamagedFileError: as the reader finds.
        PluginError: the reader fails otherwise.
    """
    try:
        return task.reader.open(task.spec, task.source, task.reader_params, context)
    except HarnessError:
        raise
    except Exception as error:
        where = f"{task.spec.name}: reader {task.reader.name}"
        raise PluginError(f"{where} failed: {type(error).__name__}: {error}") from error


def evaluate_pairing(
    registry: Registry, pairing: Pairing, dataset: Dataset, options: RunOptions, progress: Progress
) -> list[Outcome]:
    """Embed, score and describe: one result a stage (none when only a share of the store was embedded)."""
    context = place_model(registry, pairing.model, pairing.view, pairing.task.spec.input, options)
    identity = identify(pairing.model, context)
    if options.output is not None and options.share is None:
        claim = Claim(pairing.task.spec_hash, dataset.data_hash, identity.digest, _status(options))
        refuse_others(options.output, pairing, claim)
    seeds = tuple(options.seeds) if pairing.model.random else (0,)
    store = Store(options.store_root)
    by_stage: dict[str, list[Embeddings]] = {stage: [] for stage in pairing.stages}
    n_embedded, batch_size, started = 0, 0, time.perf_counter()
    trained: dict[int, Trained] = {}
    for seed in seeds:
        job = _job(registry, pairing, dataset, replace(context, seed=seed), identity=identity, options=options)
        if pairing.trains:
            begin = replace(context, seed=seed)
            trained[seed] = train_pairing(registry, pairing, dataset, begin, options=options, progress=progress)
            job = _of_trained(job, trained[seed])
        report = embed(job, store, progress)
        n_embedded, batch_size = n_embedded + report.n_embedded, report.batch_size
        for embeddings in report.embeddings:
            by_stage[embeddings.stage].append(embeddings)
    if options.share is not None:
        return []
    seconds = time.perf_counter() - started
    made = Making(pairing, dataset, context, identity, seeds, n_embedded, batch_size, seconds, options.changes)
    outcomes = [_outcome(registry, made, sets, options) for sets in by_stage.values()]
    return [_with_training(outcome, trained) for outcome in outcomes]


def _of_trained(job: EmbedJob, trained: Trained) -> EmbedJob:
    """Let the trained network give class scores, of the test samples alone."""
    if not isinstance(job.dataset, TrainingSamples):
        raise PluginError(f"{job.title}: the data set cannot be split")
    tested = job.dataset.only("test")
    identity = {**job.identity, "trained": trained.digest, "data": tested.fingerprint(job.view)}
    return replace(job, dataset=tested, identity=identity, build=trained.load)


def _with_training(outcome: Outcome, trained: Mapping[int, Trained]) -> Outcome:
    """Put the training curves into a result and beside it."""
    told: dict[str, FieldValue] = {}
    files: dict[str, Path] = {}
    for seed, one in trained.items():
        told[f"training.seed{seed}.best_epoch"] = one.best
        told[f"training.seed{seed}.checkpoint"] = one.digest
        for name in sorted({name for epoch in one.history for name in epoch} - {"epoch", "seconds"}):
            told[f"training.seed{seed}.{name}"] = [epoch.get(name) for epoch in one.history]
        files |= {f"training-seed{seed}{path.suffix}": path for path in one.curves}
    result = outcome.result.model_copy(update={"diagnostics": {**outcome.result.diagnostics, **told}})
    return replace(outcome, result=result, files=files) if trained else outcome


def _job(
    registry: Registry,
    pairing: Pairing,
    dataset: Dataset,
    context: BuildContext,
    *,
    identity: Identity,
    options: RunOptions,
) -> EmbedJob:
    transform = context.transform.model_dump(mode="json") if context.transform else None
    rule: int | None = registry.manager.hook.harness_batch_size(device=context.device, card=context.card)
    return EmbedJob(
        title=f"{pairing.model.request} on {pairing.task.spec.name}@{pairing.view}"
        + (f", seed {context.seed}" if pairing.model.random else ""),
        dataset=dataset,
        view=pairing.view,
        stages=pairing.stages,
        seed=context.seed,
        identity={
            "model": identity.digest,
            "seed": context.seed,
            "view": pairing.view,
            "channels": context.channels,
            "transform": transform,
            "dtype": context.dtype,
            "data": dataset.fingerprint(pairing.view),
            **({"compile": True} if context.compile else {}),
        },
        batch_size=options.batch_size or rule or _BATCH,
        build=lambda: build_model(pairing.model, context),
        share=options.share,
    )


def _outcome(registry: Registry, made: Making, sets: Sequence[Embeddings], options: RunOptions) -> Outcome:
    started = time.perf_counter()
    scored = score(made.pairing, made.dataset, sets)
    diagnostics = _diagnose(registry, sets, options) | scored.diagnostics
    seconds = time.perf_counter() - started
    return describe(made, sets, replace(scored, diagnostics=diagnostics), _status(options), seconds)


def _status(options: RunOptions) -> Literal["ok", "partial"]:
    return "ok" if options.limit is None else "partial"


def _diagnose(registry: Registry, sets: Sequence[Embeddings], options: RunOptions) -> dict[str, FieldValue]:
    if options.diagnostics == "none":
        return {}
    names = list(registry.diagnostics) if options.diagnostics == "default" else options.diagnostics.split(",")
    found: dict[str, FieldValue] = {}
    for name in names:
        diagnose = registry.load("diagnostic", registry.diagnostics, name)
        found |= combine([diagnose(embeddings.features) for embeddings in sets])
    return found
