"""The picture files of a screen: found for every sample before anything is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import DamagedFileError, MissingDataError
from harness.hashing import hash_file
from harness.types import DataContext

from ..imaging.pool import on_all_cores
from .image_source import ImageSource
from .patterns import CHANNEL, parse_pattern
from .screen import Screen
from .table import find_path

Place = tuple[int, int]
"""Sample, and which of its files."""


@dataclass(frozen=True)
class ImageFiles:
    """The files of all samples.

    Attributes:
        paths: for each sample one file a channel, or one file with all.
        wells: for each sample its well, for messages.
        channels: names of the channels.
        stacked: whether a file holds all channels.
        planes: plane of each channel in such a file, from 0; None for all planes in order.
    """

    paths: tuple[tuple[Path, ...], ...]
    wells: tuple[str, ...]
    channels: tuple[str, ...]
    stacked: bool
    planes: tuple[int, ...] | None

    @property
    def places(self) -> list[Place]:
        """All files."""
        return [(sample, slot) for sample, paths in enumerate(self.paths) for slot in range(len(paths))]

    def path(self, place: Place) -> Path:
        """Return one file."""
        return self.paths[place[0]][place[1]]

    def describe(self, place: Place) -> str:
        """Say which well and channel a file shows."""
        channel = "all channels" if self.stacked else f"channel {self.channels[place[1]]}"
        return f"well {self.wells[place[0]]}, {channel}"

    @cached_property
    def hashes(self) -> list[str]:
        """sha256 of the content of every file, in the order of :attr:`places`."""
        return on_all_cores(hash_file, [self.path(place) for place in self.places])


def find_images(source: ImageSource, screen: Screen, context: DataContext) -> ImageFiles:
    """Name the files of every sample and check that they are there.

    Raises:
        MissingDataError: files are missing: how many, and which wells and channels.
        DamagedFileError: two samples or channels would have the same picture, or a cell does not fit the file name.
    """
    wanted = source.images.folder
    folder = screen.table.path.parent if wanted is None else find_path(wanted, context, "images.folder")
    rows = screen.rows
    files = ImageFiles(
        paths=tuple(
            tuple(folder / name for name in names) for names in _spell(source, screen)
        ),
        wells=tuple(rows.wells[well] for well in rows.well_of.tolist()),
        channels=tuple(source.channels),
        stacked=source.stacked,
        planes=None if source.planes is None else tuple(source.planes),
    )  # fmt: skip
    _refuse_shared(files, rows.ids)
    _refuse_missing(files, folder)
    return files


def _spell(source: ImageSource, screen: Screen) -> list[list[str]]:
    files, channels, table = source.images.files, source.channels, screen.table
    named = [files] if source.stacked else [files if isinstance(files, str) else files[name] for name in channels]
    patterns = [parse_pattern(str(text)) for text in named]
    spelt = [source.images.channel.get(name, name) for name in channels]
    columns = list(source.picture_columns)
    spelled = []
    for row in screen.rows.at.tolist():
        cells = {name: table.columns[name][row] for name in columns}
        try:
            pairs = zip(patterns, spelt, strict=False)  # a stack has one pattern and no field for the channel
            spelled.append([pattern.fill({**cells, CHANNEL: channel}) for pattern, channel in pairs])
        except ValueError as error:
            raise DamagedFileError(f"{table.path}:{row + 2}: images.files: {error}") from None
    return spelled


def _refuse_shared(files: ImageFiles, ids: Sequence[str]) -> None:
    counts = Counter(path for paths in files.paths for path in paths)
    for place in files.places:
        path = files.path(place)
        if counts[path] > 1:
            others = [other for other in files.places if files.path(other) == path][:2]
            shown = " and ".join(f"{ids[sample]} ({files.describe((sample, slot))})" for sample, slot in others)
            raise DamagedFileError(
                f"{path}: {shown} would have the same picture; images.files lacks a column or {{channel}}"
            )


def _refuse_missing(files: ImageFiles, folder: Path) -> None:
    places = files.places
    there = on_all_cores(Path.is_file, [files.path(place) for place in places])
    absent = [place for place, found in zip(places, there, strict=True) if not found]
    if absent:
        shown = "\n".join(f"  {files.describe(place)}: {files.path(place)}" for place in absent[:3])
        raise MissingDataError(
            f"{len(absent)} of {len(places)} pictures are missing below {folder}, first:\n{shown}\nCopy them there, or "
            "correct source.images (files, folder, channel)"
        )
