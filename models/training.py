"""Training of a classifier from a random initialisation: deterministic for a seed, resumed epoch by epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from harness.curves import draw_curves
from harness.errors import UsageError
from harness.results import write_atomically
from harness.trainjob import Trained, TrainJob

from .classifier import Classifier
from .training_epochs import Epochs, Rows
from .training_reading import open_reader
from .training_state import History, digest, load_state, read, refuse_other, save_state, write


def train(job: TrainJob) -> Trained:
    """Train a network, or take up an interrupted training; a finished one is only read.

    Of all epochs, the first one with the best macro-F1 on the validation split is kept.

    Raises:
        MismatchError: the model is no torch network.
        UsageError: a split is empty, or the files at hand belong to another training.
        ModelOutputError: the loss is no number any more.
        CannotWriteError: the disk refuses; finished epochs are kept.
    """
    rows = Rows(*(np.flatnonzero(job.dataset.split == split) for split in ("train", "val")))
    if not len(rows.train) or not len(rows.val):
        raise UsageError(f"{job.title}: training needs samples of the splits train and val, to keep the best epoch")
    example = job.dataset.read_rows(job.context.view, rows.train[:1].tolist())
    network = Classifier(job.model, job.context, len(job.dataset.class_names), example)
    if not job.file.exists():
        with _shared_threads(network) as workers, open_reader(job.dataset, job.context) as reader:
            _run(job, network, Epochs(job, network, rows, reader, workers))
    return _read_finished(job, network)


def _run(job: TrainJob, network: Classifier, epochs: Epochs) -> None:
    """Train the epochs that are missing, keeping after each all that the next one depends on."""
    state, best = (beside(job.file) / name for name in ("state.safetensors", "best.safetensors"))
    history = load_state(state, network, epochs.optimiser, job.identity)
    if history is None:
        history = History()
        epochs.prepare()
    job.progress.start(job.title, job.recipe.epochs)
    job.progress.advance(len(history.epochs))
    try:
        while len(history.epochs) < job.recipe.epochs:
            facts = epochs.train_one(len(history.epochs))
            history.epochs.append(facts)
            if facts["val_f1_macro"] > max((one["val_f1_macro"] for one in history.epochs[:-1]), default=-1.0):
                history.best = len(history.epochs)
                write(best, network.tensors(), {"identity": dict(job.identity), "epoch": history.best})
            save_state(state, network, epochs.optimiser, job.identity, history)
            load_state(state, network, epochs.optimiser, job.identity)  # as after an interruption, layout and all
            _draw(job, history)
            job.progress.advance(1)
    finally:
        job.progress.finish()
    tensors, _ = read(best)
    facts_of_run = {"identity": dict(job.identity), "provenance": dict(job.provenance)}
    write(job.file, tensors, {**facts_of_run, "epochs": history.epochs, "best": history.best})
    state.unlink()
    best.unlink()


def beside(file: Path) -> Path:
    """Return the folder beside a checkpoint that holds its curves, and the state of a training that goes on."""
    return file.with_suffix(".training")


def _draw(job: TrainJob, history: History) -> None:
    table, picture = _curve_files(job.file)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(history.epochs[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history.epochs)
    write_atomically(table, stream.getvalue().encode())
    draw_curves(history.epochs, picture, title=job.title, best=history.best)


def _curve_files(file: Path) -> tuple[Path, Path]:
    return beside(file) / "curves.csv", beside(file) / "curves.png"


def _read_finished(job: TrainJob, network: Classifier) -> Trained:
    tensors, facts = read(job.file)
    refuse_other(job.file, facts, job.identity)

    def load() -> Classifier:
        network.fill(tensors)
        network.requires_grad_(requires_grad=False).eval()
        return network

    curves = tuple(path for path in _curve_files(job.file) if path.exists())
    return Trained(job.file, digest(tensors), curves, tuple(facts["epochs"]), int(facts["best"]), load)


@contextmanager
def _shared_threads(network: Classifier) -> Iterator[int]:
    """Say how many parts of a batch may run side by side, with one thread each; images use all threads in one part."""
    before = torch.get_num_threads()
    workers = before if network.takes_points else 1
    torch.set_num_threads(max(1, before // workers))
    try:
        yield workers
    finally:
        torch.set_num_threads(before)
