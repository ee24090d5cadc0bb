"""The words with which a task spec says where the pictures of a screen lie."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from harness.specs import Number, Strict

from .columns import Cell, ScreenSource
from .patterns import parse_pattern


def _check_pattern(text: str) -> str:
    parse_pattern(text)
    return text


FilePattern = Annotated[str, AfterValidator(_check_pattern)]


class Images(Strict):
    """Where the pictures are."""

    files: FilePattern | dict[str, FilePattern]
    """A file name in which ``{COLUMN}`` stands for a cell and ``{channel}`` for the channel; or one for each channel,
    for example ``{DNA: "{FileName_DNA}"}``. Without ``{channel}``, a file holds all channels."""
    folder: str | None = None
    """Where file names start; found like the table. By default the table's own folder."""
    channel: dict[str, Cell] = Field(default_factory=dict)
    """What stands for ``{channel}``, by channel; by default its name. Where a file holds all channels: the number of
    its plane, from 1; by default they are all its planes, in order."""
    bits: Literal[8, 16] | None = None
    """Bits a pixel; by default those of the first picture. All pictures have the same."""


class ImageSource(ScreenSource):
    """A table of wells or fields, and their pictures."""

    channels: list[str] = Field(min_length=1)
    """Names of the channels, in the order in which models get them."""
    images: Images

    @model_validator(mode="after")
    def _check_channels(self) -> ImageSource:
        names, images = self.channels, self.images
        if len(set(names)) != len(names):
            raise ValueError(f"channels: a name stands twice ({', '.join(names)})")
        for key in ("files", "channel"):
            given = getattr(images, key)
            if isinstance(given, dict) and given and set(given) != set(names):
                raise ValueError(
                    f"images.{key}: expected the channels {', '.join(names)}, found {', '.join(given) or 'none'}"
                )
        if not images.files:
            raise ValueError("images.files: names no file")
        if self.stacked and images.channel:
            planes = list(images.channel.values())
            if not all(plane.isdecimal() and int(plane) >= 1 for plane in planes) or len(set(planes)) != len(planes):
                raise ValueError(
                    f"images.channel: the file name has no {{channel}}, so these are numbers of planes, from 1, each "
                    f"once; found {', '.join(planes)}"
                )
        return self

    @property
    def stacked(self) -> bool:
        """Whether a file holds all channels."""
        files = self.images.files
        return isinstance(files, str) and len(self.channels) > 1 and not parse_pattern(files).names_channel

    @property
    def planes(self) -> list[int] | None:
        """Number of the plane of each channel, from 0; None for all planes in order."""
        spelt = self.images.channel
        return [int(spelt[name]) - 1 for name in self.channels] if self.stacked and spelt else None

    @property
    def picture_columns(self) -> dict[str, str]:
        """Columns that name files, with the key that names them."""
        files = self.images.files
        patterns = [files] if isinstance(files, str) else list(files.values())
        return {column: "images.files" for text in patterns for column in parse_pattern(text).columns}


class Params(Strict):
    """How grey levels are taken."""

    clip: tuple[Number, Number] | None = None
    """Percentiles of each channel of each picture that become 0 and 255 (8 bits); absolute intensity is lost. By
    default 8-bit pictures stay, and 16-bit ones are divided by ``scale``."""
    scale: int | None = Field(None, ge=1, le=65535)
    """White of 16-bit pictures, 65535 by default; 4095 for a camera of 12 bits. A brighter pixel is an error."""

    @model_validator(mode="after")
    def _check_levels(self) -> Params:
        if self.clip is not None and not 0 <= self.clip[0] < self.clip[1] <= 100:
            raise ValueError(f"clip: expected two percentiles, rising, within 0..100, found {list(self.clip)}")
        if self.clip is not None and self.scale is not None:
            raise ValueError("clip and scale: give one of them; percentiles need no white level")
        return self
