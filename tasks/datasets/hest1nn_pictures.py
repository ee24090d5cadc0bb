"""The views of neighbourhoods that are pictures: what shapes them, and the files they are prepared in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError
from harness.hashing import hash_file, hash_value
from harness.types import DataContext

from .graph_picture import GraphOptions, draw_graph
from .hest1nn_crops import check_slide, open_crops, open_mosaics
from .hest1nn_draft import Draw, PictureJob
from .hest1nn_folder import hash_sources, name_folder
from .hest1nn_params import NeighbourOptions
from .hest1nn_prepare import prepare_pictures, read_pictures, remake_pictures
from .hest1nn_samples import SectionSamples
from .hest_patches import SIDE
from .mirror import Repository, find_file

_CROP_CODE = ("datasets/slide*.py", "datasets/hest1nn_crops.py")
_GRAPH_CODE = ("datasets/graph_picture.py", "datasets/point_graph.py", "datasets/hest1nn_samples.py")


class Maker(Protocol):
    """What a view of pictures is made from."""

    def facts(self) -> object:
        """Return all that shapes the pictures, as a JSON value; what is missing is null."""

    def plan(self) -> tuple[PictureJob, ...]:
        """Return the files to prepare, one a section; checks what they are made from."""


class Pictures:
    """Prepared pictures of a view; a section is prepared when it is first read. Safe to use from threads."""

    def __init__(self, maker: Maker, context: DataContext) -> None:
        """Keep what makes them; nothing is opened."""
        self.maker, self._context = maker, context
        self._lock = Lock()
        self._jobs: tuple[PictureJob, ...] | None = None
        self._ready: set[int] = set()
        self._remade: set[int] = set()

    def __reduce__(self) -> tuple[type[Pictures], tuple[object, ...]]:
        """Pickle without what is open or known to be prepared."""
        return Pictures, (self.maker, self._context)

    def read(self, section: int, start: int, stop: int) -> NDArray[np.uint8]:
        """Read the pictures of consecutive samples of a section, which is prepared first unless it is.

        A prepared file that is damaged is made again, once.

        Raises:
            MissingDataError, DamagedFileError: what they are made from is missing, damaged or of another section.
            CannotWriteError: the folder of prepared files cannot be written.
        """
        with self._lock:
            if self._jobs is None:
                self._jobs = self.maker.plan()
            if section not in self._ready:
                prepare_pictures(self._jobs[section], self._context.progress)
                self._ready.add(section)
            job = self._jobs[section]
        try:
            return read_pictures(job, start, stop)
        except DamagedFileError as error:
            self._remake(section, job, error)
        try:
            return read_pictures(job, start, stop)
        except DamagedFileError as error:
            raise DamagedFileError(
                f"{error}, though the file was made again in this run: check the disk, or move the cache"
            ) from error

    def _remake(self, section: int, job: PictureJob, reason: DamagedFileError) -> None:
        """Make a damaged file again, once: another thread may have done so, and a second damage is the disk's."""
        with self._lock:
            if section not in self._remade:
                self._remade.add(section)
                remake_pictures(job, reason, self._context.progress)


class Crops:
    """Makes the view ``image``: crops of slides, or laid out patches."""

    def __init__(
        self, samples: Sequence[SectionSamples], slides: Repository, context: DataContext, options: NeighbourOptions
    ) -> None:
        """Keep where slides are found; nothing is opened."""
        self._samples, self._slides, self._context, self._options = tuple(samples), slides, context, options

    def facts(self) -> object:
        """Return contents of slides or patch files, boxes and options."""
        hashes: list[str | None] = []
        for one in self._samples:
            try:
                hashes.append(hash_file(self._find(one)))
            except MissingDataError:  # vectors computed elsewhere need no slide; reading pictures will say so
                hashes.append(None)
        options = self._options
        return {
            "view": "image",
            "sections": [
                [
                    one.plan.name,
                    content,
                    one.digest(),
                    one.plan.um_per_px if options.image_source == "patches" else None,
                ]
                for one, content in zip(self._samples, hashes, strict=True)
            ],
            "ids": hash_value([one.ids for one in self._samples]),
            "options": [options.image_source, options.resize, options.filter, options.level, SIDE],
            "code": hash_sources(*_CROP_CODE),
        }

    def plan(self) -> tuple[PictureJob, ...]:
        """Check all slides, and name the files.

        Raises:
            MissingDataError: a slide is nowhere.
            DamagedFileError: a slide is that of another section.
        """
        paths = [self._find(one) for one in self._samples]
        if self._options.image_source == "wsi":
            for one, path in zip(self._samples, paths, strict=True):
                check_slide(path, one.plan)
        folder = name_folder(self._context.cache, self.facts())
        return tuple(
            PictureJob(
                folder / f"{one.plan.name}.h5",
                f"Neighbourhoods of {one.plan.name}",
                "image",
                one.ids,
                (SIDE, SIDE, 3),
                partial(open_crops, path, one.boxes, self._options)
                if self._options.image_source == "wsi"
                else partial(open_mosaics, one, self._options),
            )
            for one, path in zip(self._samples, paths, strict=True)
        )

    def _find(self, one: SectionSamples) -> Path:
        if self._options.image_source == "patches":
            return one.plan.section.patches.path
        try:
            return find_file(self._slides, f"wsis/{one.plan.name}.tif", self._context)
        except MissingDataError as error:
            raise MissingDataError(
                f"section {one.plan.name}: the image view needs its slide, or nn.image_source: patches\n{error}"
            ) from None


class Graphs:
    """Makes the view ``graph_image``."""

    def __init__(
        self, samples: Sequence[SectionSamples], cells: str, context: DataContext, options: GraphOptions
    ) -> None:
        """Keep the cells; ``cells`` is their digest."""
        self._samples, self._cells, self._context, self._options = tuple(samples), cells, context, options

    def facts(self) -> object:
        """Return cells, pixel sizes and options."""
        return {
            "view": "graph_image",
            "cells": self._cells,
            "sections": [[one.plan.name, one.plan.um_per_px] for one in self._samples],
            "ids": hash_value([one.ids for one in self._samples]),
            "options": [self._options.model_dump(mode="json"), SIDE],
            "code": hash_sources(*_GRAPH_CODE),
        }

    def plan(self) -> tuple[PictureJob, ...]:
        """Name the files."""
        folder = name_folder(self._context.cache, self.facts())
        return tuple(
            PictureJob(
                folder / f"{one.plan.name}.h5",
                f"Graphs of {one.plan.name}",
                "graph_image",
                one.ids,
                (SIDE, SIDE),
                partial(_open_graphs, one, self._options),
            )
            for one in self._samples
        )


@contextmanager
def _open_graphs(samples: SectionSamples, options: GraphOptions) -> Iterator[Draw]:
    yield lambda row: draw_graph(samples.micrometres(row), samples.extent(row), options, SIDE)
