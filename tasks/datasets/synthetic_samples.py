"""Samples of synthetic-24, generated when they are read: pictures of their graphs, or coordinates.

Nothing is stored: a sample is a pure function of its id and the parameters, in any order and any process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.errors import UnknownNameError
from harness.hashing import hash_code, hash_value
from harness.types import Batch

from .point_graph import draw_edges, nearest_neighbour_edges
from .synthetic_params import Params, PerClass
from .synthetic_points import Key, Points, augmentation_stream, draw_sample, rotate_and_mirror, rotate_freely

VIEWS = ("graph_image", "points")
SPLITS = ("train", "val", "test")
_SAFE_FACTOR = 20
"""Where one sample of a class has more than 20 k points, none has k or fewer (probability < 1e-30)."""


@dataclass(frozen=True)
class Row:
    """Where one sample stands: split name, position of its class, number within both, augmented copy."""

    split: str
    label: int
    index: int
    copy: int


@dataclass(frozen=True)
class SyntheticDataset:
    """Samples of synthetic-24, ordered by split, class, index and copy.

    Attributes:
        params: every number of the generator.
        kept: samples a class in use; smaller than ``params.per_class`` under a limit.
        epoch: number of the training epoch, which renews the augmentation of training samples.
        splits: splits in use.
    """

    params: Params
    kept: PerClass
    epoch: int = 0
    splits: tuple[str, ...] = SPLITS

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """What each sample is."""
        return tuple(
            Row(split, label, index, copy)
            for split in self.splits
            for label in range(len(self.params.classes))
            for index in range(getattr(self.kept, split))
            for copy in range(self.params.augmented_copies if split == "train" else 1)
        )

    @cached_property
    def ids(self) -> Sequence[str]:
        """Return ``split/class/index``; further copies of a training sample end in ``/a1``, ``/a2`` and so on."""
        names = self.class_names
        return [
            f"{row.split}/{names[row.label]}/{row.index:04d}" + (f"/a{row.copy}" if row.copy else "")
            for row in self.rows
        ]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Class ids with two digits."""
        return tuple(f"{kind.id:02d}" for kind in self.params.classes)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, position of the class of each sample in :attr:`class_names`."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    @cached_property
    def split(self) -> NDArray[np.str_]:
        """(n,) str, ``train``, ``val`` or ``test``."""
        return np.array([row.split for row in self.rows])

    @cached_property
    def data_hash(self) -> str:
        """sha256 over the generator's parameters and the samples in use."""
        return hash_value({"params": self.params.model_dump(mode="json"), "kept": self.kept.model_dump(mode="json")})

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of what :meth:`read` delivers for a view."""
        return hash_value(
            {
                "data": self.data_hash,
                "epoch": self.epoch,
                "splits": list(self.splits),
                "view": _known(view),
                "code": hash_code(__name__),
            }
        )

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """Say how many samples have so few points that each is joined to all others."""
        k = self.params.neighbours
        classes = range(len(self.params.classes))
        doubtful = {label for label in classes if len(self.points(Row("train", label, 0, 0))) <= _SAFE_FACTOR * k}
        small = sum(len(self.points(row)) <= k for row in self.rows if row.label in doubtful)
        return (
            (f"{small} of {len(self.rows)} samples have at most k = {k} points; k is reduced there",) if small else ()
        )

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Generate the samples ``start`` to ``stop`` (exclusive) of one view.

        Raises:
            UnknownNameError: a view this dataset does not have.
            UsageError: the parameters give a sample without points or with points outside the square.
        """
        return self.read_rows(view, range(start, min(stop, len(self.rows))))

    def read_rows(self, view: str, rows: Sequence[int]) -> Batch:
        """Generate samples in any order, for training.

        Returns:
            ``graph_image``: images (N, 3, side, side) uint8, three views of one channel, read-only; ``points``: N
            arrays (n_i, 2) float32, 2 p - 1.
        """
        ids = tuple(self.ids[row] for row in rows)
        if _known(view) == "points":
            return Batch(ids, view, points=tuple(self._coordinates(self.rows[row]) for row in rows))
        side = self.params.image_size
        pictures = np.empty((len(ids), 1, side, side), dtype=np.uint8)
        for place, row in enumerate(rows):
            pictures[place, 0] = self._picture(self.rows[row])
        return Batch(ids, view, images=np.broadcast_to(pictures, (len(ids), 3, side, side)))

    def points(self, row: Row) -> Points:
        """Generate the points of a sample before augmentation: (n, 2) float64 in [0, 1]."""
        return draw_sample(self.params, self.params.classes[row.label], self._key(row))

    def at_epoch(self, epoch: int) -> SyntheticDataset:
        """Return the same samples with the augmentation of another training epoch."""
        return replace(self, epoch=epoch)

    def only(self, split: str) -> SyntheticDataset:
        """Return the samples of one split; the data set, and so its ``data_hash``, is the same."""
        return replace(self, splits=(split,))

    def _picture(self, row: Row) -> NDArray[np.uint8]:
        points = self.points(row)
        if self.params.augmentation:
            points = rotate_and_mirror(points, self._augmentation(row))
        edges = nearest_neighbour_edges(points, self.params.neighbours)
        side = self.params.image_size
        return draw_edges(points * side, edges, side, side)

    def _coordinates(self, row: Row) -> NDArray[np.float32]:
        points = self.points(row)
        if self.params.augmentation:
            points = rotate_freely(points, self._augmentation(row))
        return (2 * points - 1).astype(np.float32)

    def _augmentation(self, row: Row) -> np.random.Generator:
        return augmentation_stream(self._key(row), training=row.split == "train", epoch=self.epoch + row.copy)

    def _key(self, row: Row) -> Key:
        split = int(getattr(self.params.split_keys, row.split))
        return Key(self.params.data_seed, split, self.params.classes[row.label].id, row.index)


def _known(view: str) -> str:
    if view not in VIEWS:
        raise UnknownNameError("view", view, VIEWS, f"synthetic samples come as {' or '.join(VIEWS)}.")
    return view
