"""The pictures of a screen, decoded on all cores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError, UsageError
from harness.hashing import hash_code, hash_value
from harness.types import Batch

from ..imaging import contrast
from ..imaging.pictures import Pixels, open_image
from ..imaging.pool import on_all_cores
from .image_files import ImageFiles, Place
from .image_source import Params
from .samples import ScreenSamples

VIEW = "image"


@dataclass(frozen=True)
class ImageDataset(ScreenSamples):
    """Samples of a screen with one picture of several channels each.

    Attributes:
        screen: what the tables say.
        files: where the pictures are.
        levels: how grey levels are taken.
        bits: bits a pixel; None for those of the first picture.
    """

    files: ImageFiles
    levels: Params
    bits: int | None = None

    @cached_property
    def data_hash(self) -> str:
        """sha256 over the rows of the columns in use, the files of known pairs, and every picture."""
        return hash_value([self.screen.data_hash, self.files.hashes])

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of pictures, order, channels, grey levels and code; and of what vectors are joined by."""
        _check_view(view)
        shape = {
            "pictures": self.files.hashes,
            "channels": self.files.channels,
            "planes": self.files.planes,
            "levels": self.levels.model_dump(mode="json"),
            "bits": self.bits,
        }
        code = [hash_code(__name__), hash_code(contrast.__name__)]
        return hash_value({"view": view, **shape, **self.joined, "code": code})

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Decode a range of samples.

        Returns:
            ``image``: (N, channels, H, W); uint8 for pictures of 8 bits and for those stretched between percentiles,
            else float32 in [0, 1].

        Raises:
            UsageError: another view.
            MissingDataError: a picture has gone.
            DamagedFileError: a picture is unreadable, truncated, of another shape or bit depth than the first, or
                brighter than white.
        """
        _check_view(view)
        ids = self.ids[start:stop]
        byte = self._frame.dtype == np.uint8 or self.levels.clip is not None
        shape = (len(ids), len(self.files.channels), *self._frame.shape)
        images = np.empty(shape, dtype=np.uint8 if byte else np.float32)

        def fill(place: Place) -> None:
            planes = self._check(place, self._decode(place))
            for channel, plane in enumerate(planes, start=place[1]):
                images[place[0] - start, channel] = self._grade(place, plane)

        places = [(row, slot) for row in range(start, start + len(ids)) for slot in range(len(self.files.paths[row]))]
        on_all_cores(fill, places)
        return Batch(ids, view, images=images)

    @cached_property
    def _frame(self) -> Pixels:
        """One channel of the first picture: all others have its shape and bit depth."""
        frame: Pixels = self._decode((0, 0))[0]
        return frame

    def _decode(self, place: Place) -> Pixels:
        files = self.files
        try:
            planes = open_image(files.path(place), stack=files.stacked)
        except (DamagedFileError, MissingDataError) as error:
            raise type(error)(f"{error} ({files.describe(place)})") from None
        if not files.stacked:
            return planes
        wanted = files.planes or range(len(files.channels))
        if max(wanted) >= len(planes) or (files.planes is None and len(planes) != len(files.channels)):
            expected = max(wanted) + 1 if files.planes else len(files.channels)
            raise DamagedFileError(
                f"{files.path(place)}: expected {expected} channels, found {len(planes)} ({files.describe(place)}); "
                "images.channel says which plane is which channel"
            )
        return planes[list(wanted)]

    def _check(self, place: Place, planes: Pixels) -> Pixels:
        frame = self._frame
        expected, found = (
            f"{8 * image.dtype.itemsize if bits is None else bits} bits, {image.shape[-2]} x {image.shape[-1]} pixels"
            for image, bits in ((frame, self.bits), (planes, None))
        )
        if found != expected:
            like = f"the first picture, {self.files.path((0, 0))}"
            raise DamagedFileError(
                f"{self.files.path(place)}: expected {expected}, like {'images.bits and ' if self.bits else ''}{like}; "
                f"found {found} ({self.files.describe(place)})"
            )
        return planes

    def _grade(self, place: Place, plane: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8] | NDArray[np.float32]:
        if self.levels.clip is not None:
            raw = plane.astype(np.uint16, copy=False)
            return contrast.scale_grey(raw, *contrast.find_percentiles(raw, self.levels.clip))
        if plane.dtype == np.uint8:
            return plane.astype(np.uint8, copy=False)
        white = self.levels.scale or 65535
        if plane.max(initial=0) > white:
            raise DamagedFileError(
                f"{self.files.path(place)}: a pixel of {plane.max()} is brighter than protocol.params.scale, {white} "
                f"({self.files.describe(place)})"
            )
        return np.divide(plane, np.float32(white), dtype=np.float32)


def _check_view(view: str) -> None:
    if view != VIEW:
        raise UsageError(f"view {view!r}: the reader image-table offers {VIEW}")
