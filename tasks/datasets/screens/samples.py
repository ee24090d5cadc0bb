"""What samples of a screen offer to protocols, whether they are pictures or vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...wells import Relations, WellFold, Wells
from .screen import Screen


@dataclass(frozen=True)
class ScreenSamples:
    """The rows of a table, each one sample."""

    screen: Screen

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the rows."""
        return self.screen.rows.ids

    @property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """Columns that name rows and wells -> their values."""
        return self.screen.keys

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        """Every column of the table that the spec names, in words or in file names: none is a feature."""
        return tuple(self.screen.table.columns)

    @property
    def well_names(self) -> Sequence[tuple[str, ...]]:
        """The columns of ``source.id``, or those of ``source.well``."""
        return self.screen.well_names

    @property
    def joined(self) -> dict[str, Any]:
        """All that shapes which vectors of a table a row gets."""
        keys = {name: list(values) for name, values in self.keys.items()}
        described = sorted(self.metadata_columns)
        return {"ids": self.ids, "keys": keys, "wells": self.well_of.tolist(), "described": described}

    @property
    def wells(self) -> Wells:
        """The wells."""
        return self.screen.wells

    @property
    def well_of(self) -> NDArray[np.int64]:
        """(n,) int64, the well of each row."""
        return self.screen.rows.well_of

    @property
    def folds(self) -> tuple[WellFold, ...]:
        """At least one."""
        return self.screen.folds

    @property
    def relations(self) -> Mapping[str, Relations]:
        """Known pairs by source; empty where the spec names none."""
        return self.screen.relations

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found odd in the tables."""
        return self.screen.notes
