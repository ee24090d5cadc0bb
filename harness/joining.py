"""How a table of vectors finds the samples of a task when one column of ids does not name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
