"""Where the six channels of a well lie: its key says which well a row of a parquet file shows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError
from harness.hashing import hash_file

CHANNELS = 6
KEY = "__key__"
_FORM = re.compile(r"([^/]+)/Plate([^/]+)/([^/_]+)_s\d+_(\d+)")


@dataclass(frozen=True)
class ImagePlaces:
    """Rows of the images of some wells.

    Attributes:
        paths: the shards that hold any of them.
        shard: (n_wells, 6) int64, position in ``paths``.
        row: (n_wells, 6) int64, row in that shard, channels 1 to 6 in order.
    """

    paths: tuple[Path, ...]
    shard: NDArray[np.int64]
    row: NDArray[np.int64]


@dataclass(frozen=True)
class Search:
    """Where the images of wells were found.

    Attributes:
        shard: (n_wells, 6) int64, position among the shards, -1 where no row shows that channel.
        row: (n_wells, 6) int64, row in that shard, -1 likewise.
        at_edge: (n_wells,) bool, whether a row found is the first or last of its shard: the rest may lie in another.
    """

    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    at_edge: NDArray[np.bool_]

    @property
    def elsewhere(self) -> NDArray[np.int64]:
        """Positions of the wells whose images may lie in a shard that was not searched."""
        lacking = (self.row < 0).any(axis=1)
        return np.flatnonzero(lacking & (self.at_edge | (self.row < 0).all(axis=1))).astype(np.int64)


def find_images(ids: Sequence[str], paths: Sequence[Path], cache: Path) -> Search:
    """Look the wells up in the ``__key__`` columns; six channels of one well may lie in two shards.

    Args:
        ids: the wells.
        paths: the shards.
        cache: folder in which the keys of a shard are kept under the hash of its content.

    Raises:
        DamagedFileError: a shard is unreadable, or a key is malformed, stands twice or names a seventh channel.
    """
    position = {name: index for index, name in enumerate(ids)}
    shard, row = (np.full((len(ids), CHANNELS), -1, dtype=np.int64) for _ in range(2))
    at_edge = np.zeros(len(ids), dtype=np.bool_)
    for number, path in enumerate(paths):
        keys = _read_keys(path, cache)
        for at, key in enumerate(keys):
            well, channel = _parse(path, key)
            index = position.get(well)
            if index is None:
                continue
            if not 1 <= channel <= CHANNELS:
                raise DamagedFileError(f"{path}: {key}: expected a channel from 1 to {CHANNELS}")
            if row[index, channel - 1] >= 0:
                first = paths[shard[index, channel - 1]]
                raise DamagedFileError(f"{path}: {key}: this well and channel stand in {first} already")
            shard[index, channel - 1], row[index, channel - 1] = number, at
            at_edge[index] |= at in (0, len(keys) - 1)
    return Search(shard, row, at_edge)


def settle(search: Search, ids: Sequence[str], paths: Sequence[Path]) -> ImagePlaces:
    """Check that every well has all six channels, and keep the shards that are needed.

    Raises:
        DamagedFileError: a channel is missing, naming its key.
    """
    partial = np.flatnonzero((search.row < 0).any(axis=1))
    if len(partial):
        lost = np.flatnonzero(search.row[partial[0]] < 0).tolist()
        raise DamagedFileError(
            f"{paths[0].parent}: {len(partial)} of {len(ids)} wells lack channels, first: "
            f"{', '.join(name_image(ids[partial[0]], channel) for channel in lost)} in no shard; download them again"
        )
    used, shard = np.unique(search.shard, return_inverse=True)
    return ImagePlaces(tuple(paths[number] for number in used), shard.reshape(search.shard.shape), search.row)


def name_image(well: str, channel: int) -> str:
    """Return the key of an image.

    Args:
        well: name of the well.
        channel: 0 to 5.

    Example:
        >>> name_image("compound-001_1_AA15", 0)
        'compound-001/Plate1/AA15_s1_1'
    """
    experiment, plate, address = ("?", "?", *well.rsplit("_", 2))[-3:]
    return f"{experiment}/Plate{plate}/{address}_s1_{channel + 1}"


def _parse(path: Path, key: str) -> tuple[str, int]:
    match = _FORM.fullmatch(key)
    if match is None:
        raise DamagedFileError(f"{path}: {KEY}: {key!r} is no key; expected EXPERIMENT/PlateN/ADDRESS_s1_CHANNEL")
    return f"{match[1]}_{match[2]}_{match[3]}", int(match[4])


def _read_keys(path: Path, cache: Path) -> list[str]:
    kept = cache / "rxrx3" / f"keys-{hash_file(path)}.txt"
    if kept.is_file():
        return kept.read_text(encoding="utf-8").split("\n")
    keys = _read_column(path)
    draft = kept.with_name(f"{kept.name}.{os.getpid()}.draft")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text("\n".join(keys), encoding="utf-8")
        draft.replace(kept)
    except OSError:  # a read-only cache costs time, never correctness
        pass
    return keys


def _read_column(path: Path) -> list[str]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if KEY not in names:
                raise DamagedFileError(f"{path}: column {KEY} is missing; found {', '.join(names)}")
            keys: list[str | None] = file.read([KEY]).column(KEY).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise DamagedFileError(f"{path}: not a readable parquet file ({error}); download it again") from None
    return [key if isinstance(key, str) else "" for key in keys]
