"""What a classification protocol needs of a dataset: labels, class names and three splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, UsageError
from harness.labelled import LabelledSplits
from harness.types import Dataset

SPLITS = ("train", "val", "test")


@runtime_checkable
class Remarks(Protocol):
    """A dataset that has something to say to the reader of a score."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences that belong into the notes of every result on this dataset."""


@dataclass(frozen=True)
class SplitLabels:
    """Checked labels of a dataset, by split.

    Attributes:
        class_names: names of the classes, length K.
        labels: (n,) int64 in 0..K-1.
        train: (n,) bool, samples to fit on.
        val: (n,) bool, samples to choose parameters on; may be empty.
        test: (n,) bool, samples to score.
    """

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    train: NDArray[np.bool_]
    val: NDArray[np.bool_]
    test: NDArray[np.bool_]


def split_labels(dataset: Dataset, protocol: str) -> SplitLabels:
    """Take labels and splits from a dataset and check them.

    Args:
        dataset: what the reader opened.
        protocol: name of the asking protocol, for messages.

    Raises:
        UsageError: the dataset has no labels and splits at all.
        DamagedFileError: columns of different lengths, an unknown label or split, or a class without training sample.
    """
    kind = type(dataset).__name__
    if not isinstance(dataset, LabelledSplits):
        raise UsageError(
            f"protocol {protocol} needs labels, class_names and split, which {kind} does not offer; "
            "name another protocol in the task's YAML"
        )
    names, labels, split = tuple(dataset.class_names), np.asarray(dataset.labels), np.asarray(dataset.split)
    if not len(dataset.ids) == len(labels) == len(split):
        raise DamagedFileError(f"{kind}: {len(dataset.ids)} samples, {len(labels)} labels, {len(split)} split entries")
    strange = sorted(set(split.tolist()) - set(SPLITS))
    if strange:
        raise DamagedFileError(f"{kind}: unknown split {strange[0]!r}; expected one of {', '.join(SPLITS)}")
    if labels.dtype.kind not in "iu" or ((labels < 0) | (labels >= len(names))).any():
        raise DamagedFileError(f"{kind}: labels must be whole numbers in 0..{len(names) - 1}, one a class name")
    train = split == "train"
    untaught = np.setdiff1d(np.arange(len(names)), labels[train])
    if len(untaught):
        missing = ", ".join(names[label] for label in untaught[:5])
        raise DamagedFileError(f"{kind}: no training sample for {len(untaught)} of {len(names)} classes ({missing})")
    if not (split == "test").any():
        raise DamagedFileError(f"{kind}: the test split is empty")
    return SplitLabels(names, labels.astype(np.int64), train, split == "val", split == "test")
