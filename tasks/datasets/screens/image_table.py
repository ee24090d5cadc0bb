"""A screen of one's own: a table of wells or fields beside their pictures."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from harness.errors import UsageError
from harness.specs import TaskSpec
from harness.types import DataContext

from .image_dataset import VIEW, ImageDataset
from .image_files import find_images
from .image_source import ImageSource, Params
from .needs import check_controls, check_relations
from .screen import check_views, open_screen


class ImageTableReader:
    """Opens a table of wells or fields with pictures."""

    name: ClassVar[str] = "image-table"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = ImageSource

    def open(self, spec: TaskSpec, source: BaseModel, params: BaseModel, context: DataContext) -> ImageDataset:
        """Read and check the tables, and find every picture; no pixels are read.

        Raises:
            MissingDataError: a table or a picture is nowhere.
            DamagedFileError: a file is unreadable or contradicts itself.
            UsageError: a column, value or view that is not there, another number of channels than the task has,
                or controls or known pairs missing that its protocol needs.
        """
        if not isinstance(source, ImageSource) or not isinstance(params, Params):
            raise TypeError("the image-table reader takes its own Source and Params")
        check_views(spec, self.name, VIEW)
        check_relations(spec, source)
        if spec.input.channels != len(source.channels):
            raise UsageError(
                f"{spec.name}: input.channels is {spec.input.channels}, but source.channels names "
                f"{len(source.channels)}: {', '.join(source.channels)}"
            )
        screen = open_screen(source, context, source.picture_columns)
        check_controls(spec, screen.wells, screen.folds)
        return ImageDataset(screen, find_images(source, screen, context), params, source.images.bits)


READER = ImageTableReader()
