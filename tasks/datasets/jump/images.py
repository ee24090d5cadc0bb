"""The pixels of sites: files are fetched while others are decoded, and decoded on all cores."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..imaging.contrast import Grey
from ..imaging.pool import on_all_cores
from ..objects import Objects
from .load_data import CHANNELS, SiteFiles
from .params import Params
from .pictures import Channel, make_channel, read_illumination

_AT_ONCE = 40
"""Files in memory at a time, fetched or being decoded: about 100 MB; twice, because one part is fetched ahead."""
_FUNCTIONS_KEPT = 30
"""Illumination functions kept: six plates, about 0.3 GB."""


@dataclass(frozen=True)
class _Job:
    """One channel of one site: where its image and its illumination function lie."""

    image: str
    illumination: str | None


@dataclass(frozen=True)
class Pixels:
    """Images of sites.

    Attributes:
        images: (N, 5, H, W) uint8, or float32 in [0, 1] with ``bits: 16``; channels AGP, DNA, ER, Mito, RNA.
        flat: (N, 5) bool, channels whose black and white were the same.
    """

    images: Grey
    flat: NDArray[np.bool_]


@dataclass(frozen=True)
class SiteImages:
    """Reads sites; safe to call from threads."""

    objects: Objects
    params: Params
    _functions: OrderedDict[str, NDArray[np.float64]] = field(default_factory=OrderedDict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def read(self, sites: Sequence[SiteFiles]) -> Pixels:
        """Read sites of one shape.

        Raises:
            MissingDataError: an image is nowhere.
            DamagedFileError: an image is not what it must be, or channels or sites differ in shape.
        """
        jobs = [_Job(*pair) for site in sites for pair in zip(site.images, _or_none(site), strict=True)]
        made: list[Channel] = []
        for part, contents in self._fetch(jobs):
            for channel in on_all_cores(self._make, list(zip(part, contents, strict=True))):
                made.append(channel)
                _check_shape(jobs, made)
        stacked: Grey = np.stack([channel.image for channel in made])  # type: ignore[assignment]  # all of one dtype
        flat = np.array([channel.flat for channel in made])
        return Pixels(stacked.reshape(len(sites), -1, *stacked.shape[1:]), flat.reshape(len(sites), -1))

    def _fetch(self, jobs: Sequence[_Job]) -> Iterator[tuple[Sequence[_Job], list[bytes]]]:
        """Give the jobs part by part with the bytes of their images; the next part is fetched meanwhile."""
        parts = [jobs[start : start + _AT_ONCE] for start in range(0, len(jobs), _AT_ONCE)]
        with ThreadPoolExecutor(1, thread_name_prefix="fetch-part") as ahead:
            coming = ahead.submit(self._read_part, parts[0]) if parts else None
            for number, part in enumerate(parts):
                contents = coming.result() if coming is not None else []
                last = number + 1 == len(parts)
                coming = None if last else ahead.submit(self._read_part, parts[number + 1])
                yield part, contents

    def _read_part(self, part: Sequence[_Job]) -> list[bytes]:
        for job in part:
            if job.illumination is not None:
                self._illumination(job.illumination)
        return self.objects.read_all([job.image for job in part])

    def _make(self, given: tuple[_Job, bytes]) -> Channel:
        job, content = given
        function = self._illumination(job.illumination) if job.illumination is not None else None
        return make_channel(content, job.image, self.params, function)

    def _illumination(self, address: str) -> NDArray[np.float64]:
        with self._lock:
            if address not in self._functions:
                self._functions[address] = read_illumination(self.objects.read(address), address)
            self._functions.move_to_end(address)
            while len(self._functions) > _FUNCTIONS_KEPT:
                self._functions.popitem(last=False)
            return self._functions[address]


def _check_shape(jobs: Sequence[_Job], made: Sequence[Channel]) -> None:
    """Check the last channel against the first of its site, and against the first of the batch."""
    number = len(made) - 1
    first = number - number % len(CHANNELS)
    if made[number].frame != made[first].frame:
        raise DamagedFileError(
            f"{jobs[number].image}: shape {made[number].frame}, but {jobs[first].image} of the same site has "
            f"{made[first].frame}"
        )
    if made[number].image.shape != made[0].image.shape:
        raise DamagedFileError(
            f"{jobs[number].image}: shape {made[number].frame}, but {jobs[0].image} has {made[0].frame}; with crop: "
            "null all frames must have one shape. Set protocol.params.crop"
        )


def _or_none(site: SiteFiles) -> tuple[str | None, ...]:
    return site.illumination or (None,) * len(site.images)
