"""Networks trained by the harness itself: where their checkpoints lie, and what they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.binding import BoundTask
from harness.errors import HarnessError, PluginError, UsageError
from harness.hashing import hash_value
from harness.match import Pairing
from harness.modelstring import file_name
from harness.options import RunOptions
from harness.placing import build_model
from harness.plugins import Registry
from harness.provenance import command_line, git_revision, machine, now, versions
from harness.trainjob import Trained, TrainingProtocol, TrainingSamples, TrainJob
from harness.types import BuildContext, Dataset, Progress

FOLDER = "trained"
"""Folder of the cache, and of a data folder, for checkpoints: trained/TASK/MODEL-seed-N.safetensors."""


def train_pairing(
    registry: Registry,
    pairing: Pairing,
    dataset: Dataset,
    context: BuildContext,
    *,
    options: RunOptions,
    progress: Progress,
    file: Path | None = None,
) -> Trained:
    """Train the network of a pairing from the initialisation of one seed; a finished training is only read.

    Args:
        registry: plugins; one of them trains.
        pairing: model, task and view.
        dataset: the task's samples.
        context: how the model is built, with its seed.
        options: where the cache lies, whether only a part of the samples is used.
        progress: where progress is told.
        file: the checkpoint; by default a place in the cache that is the same for every run.

    Raises:
        UsageError: the data set cannot be trained on, or the file belongs to another training.
        PluginError: no plugin trains, or it fails.
    """
    task, protocol = pairing.task, pairing.task.protocol
    if not isinstance(protocol, TrainingProtocol) or not isinstance(dataset, TrainingSamples):
        raise UsageError(
            f"{task.spec.name}: nothing can be trained here: protocol {protocol.name} and reader {task.reader.name} "
            "must both be made for it"
        )
    random = replace(context, untrained=True)
    job = TrainJob(
        title=f"training {pairing.model.request} on {task.spec.name}, seed {context.seed}",
        model=build_model(pairing.model, random),
        context=random,
        dataset=dataset,
        recipe=protocol.recipe(task.protocol_params),
        file=file or default_file(pairing, options, context.seed),
        identity=_identity(pairing, dataset, context),
        provenance=_provenance(pairing, context),
        progress=progress,
    )
    try:
        trained: Trained | None = registry.manager.hook.harness_train(job=job)
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{job.title} failed: {type(error).__name__}: {error}") from error
    if trained is None:
        raise PluginError(f"{job.title}: no plugin can train")
    return trained


def default_file(pairing: Pairing, options: RunOptions, seed: int) -> Path:
    """Return where the checkpoint of a training lies in the cache; a changed task or a limit has its own folder."""
    name = f"{file_name(pairing.model.request.base)}{_options_of(pairing)}-seed-{seed}.safetensors"
    return options.data_context.cache / FOLDER / _folder(pairing.task, options) / name


def _folder(task: BoundTask, options: RunOptions) -> str:
    change = f"+{task.spec_hash[:8]}" if task.changed else ""
    return f"{task.spec.name}{change}" + (f"+limit-{options.limit}" if options.limit is not None else "")


def _options_of(pairing: Pairing) -> str:
    given = pairing.model.request.options
    return "".join(f",{file_name(f'{key}={value}')}" for key, value in sorted(given.items()))


def _identity(pairing: Pairing, dataset: Dataset, context: BuildContext) -> dict[str, str | int]:
    """What the weights depend on; versions and code stand in the provenance, so that an update spoils no training."""
    card = context.card
    network = {"build": card.build, "arch": card.arch, "kwargs": card.kwargs, "options": dict(context.options)}
    return {
        "task": pairing.task.spec.name,
        "version": pairing.task.spec.version,
        "spec_hash": pairing.task.spec_hash,
        "data_hash": dataset.data_hash,
        "view": pairing.view,
        "model": pairing.model.request.base,
        "network": hash_value(network),
        "seed": context.seed,
        "dtype": context.dtype,
    }


def _provenance(pairing: Pairing, context: BuildContext) -> dict[str, str | int | None]:
    libraries = versions(pairing.model.card.requires)
    return {
        "created": now(),
        "command": command_line(),
        "device": context.device,
        "platform": machine(),
        "plugin": str(pairing.model.origin),
        "git": git_revision(),
        "licence": pairing.model.card.access.licence,
        "training_data": pairing.task.spec.dataset or pairing.task.spec.name,
        **{f"versions.{name}": number for name, number in libraries.items()},
    }
