"""Pixels of wells, read row group by row group and decoded on all cores."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from ..imaging.jpeg2000 import decode_grey
from ..imaging.pool import on_all_cores
from .image_index import CHANNELS, ImagePlaces, name_image

SIDE = 512
"""Side of an image in pixels."""
_KEPT = 128 * 2**20
"""Bytes of encoded images that are kept between batches, because neighbouring samples share a row group."""


class WellImages:
    """Images of wells in known places; files stay open. Safe to use from threads and to pickle."""

    def __init__(self, places: ImagePlaces, ids: Sequence[str]) -> None:
        """Open nothing yet.

        Args:
            places: where the images lie.
            ids: the wells in the same order, for messages.
        """
        self._places, self._ids = places, tuple(ids)
        self._lock = Lock()
        self._files: dict[Path, Any] = {}
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __reduce__(self) -> tuple[type[WellImages], tuple[ImagePlaces, tuple[str, ...]]]:
        """Pickle without open files."""
        return WellImages, (self._places, self._ids)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read consecutive wells.

        Returns:
            (n, 6, 512, 512) uint8, channels 1 to 6.

        Raises:
            DamagedFileError: an unreadable shard, or an image that is truncated or of another size or depth.
        """
        images = np.empty((stop - start, CHANNELS, SIDE, SIDE), dtype=np.uint8)
        encoded = self._fetch(start, stop)

        def decode(entry: tuple[tuple[int, int], bytes]) -> None:
            (well, channel), data = entry
            images[well - start, channel] = decode_grey(data, self._name(well, channel), SIDE)

        on_all_cores(decode, list(encoded.items()))
        return images

    def _fetch(self, start: int, stop: int) -> dict[tuple[int, int], bytes]:
        """Return (well, channel) -> encoded image; each row group is read once."""
        found: dict[tuple[int, int], bytes] = {}
        with self._lock:
            wanted = self._by_group(start, stop)
            for (shard, group), entries in sorted(wanted.items()):
                images = self._read_group(shard, group)
                for well, channel, row in entries:
                    data = images[row].as_py()
                    if not data:
                        raise DamagedFileError(f"{self._name(well, channel)}: no image; download the shard again")
                    found[well, channel] = data
        return found

    def _by_group(self, start: int, stop: int) -> dict[tuple[int, int], list[tuple[int, int, int]]]:
        """Return (shard, row group) -> (well, channel, row in the group)."""
        wanted: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
        for well in range(start, stop):
            for channel in range(CHANNELS):
                shard, row = int(self._places.shard[well, channel]), int(self._places.row[well, channel])
                ends = self._open(shard)[1]
                group = int(np.searchsorted(ends, row, side="right"))
                wanted[shard, group].append((well, channel, row - (int(ends[group - 1]) if group else 0)))
        return wanted

    def _open(self, shard: int) -> Any:
        """Return the open file and (n_groups,) int64, the row after the last one of each group."""
        from pyarrow import parquet

        path = self._places.paths[shard]
        if path not in self._files:
            try:
                file = parquet.ParquetFile(path)
            except (OSError, ValueError) as error:
                raise DamagedFileError(f"{path}: not a readable parquet file ({error}); download it again") from None
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            self._files[path] = (file, np.cumsum(sizes, dtype=np.int64))
        return self._files[path]

    def _read_group(self, shard: int, group: int) -> Any:
        """Return the encoded images of one row group, from memory where it was read lately."""
        key = (shard, group)
        if key not in self._groups:
            path = self._places.paths[shard]
            try:
                column = self._open(shard)[0].read_row_group(group, columns=["jp2.bytes"]).column("jp2")
                self._groups[key] = column.combine_chunks().field("bytes")
            except (OSError, ValueError, KeyError) as error:
                raise DamagedFileError(
                    f"{path}: jp2: row group {group} cannot be read ({error}); download it again"
                ) from None
        self._groups.move_to_end(key)
        while len(self._groups) > 1 and sum(images.nbytes for images in self._groups.values()) > _KEPT:
            self._groups.popitem(last=False)
        return self._groups[key]

    def _name(self, well: int, channel: int) -> str:
        shard = self._places.paths[self._places.shard[well, channel]]
        return f"{shard}: {name_image(self._ids[well], channel)}"
