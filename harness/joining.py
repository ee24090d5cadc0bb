"""How a table of vectors finds the samples of a task when one column of ids does not name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Keyed(Protocol):
    """Samples that have names in several columns, for example plate and well."""

    @property
    def keys(self) -> Mapping[str, Sequence[str]]:
        """Column of a table -> its value for each sample; together the columns present must name a row's well.

        A row of a table may serve several samples (all fields of a well); several rows that serve one sample are
        averaged.
        """


@runtime_checkable
class Described(Protocol):
    """Samples whose data set knows which columns of a table describe a row: places, doses, labels, no features."""

    @property
    def metadata_columns(self) -> Collection[str]:
        """Names that are never taken for features unasked; compared without ``Metadata_`` and letter case."""


@runtime_checkable
class NamedWells(Protocol):
    """Keyed samples whose data set knows which keys name a well among all that there are, not only in the task."""

    @property
    def well_names(self) -> Sequence[Sequence[str]]:
        """Choices of key columns; a table with all of one names its wells, and may hold several rows of each."""
