"""What a task on wells offers beside its samples: the table of wells, folds, and known relations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Wells:
    """One row a well (or any other thing that was treated as one): what was done to it, and where it lay.

    Columns that a data set does not know are None.

    Attributes:
        ids: names, unique, length n.
        perturbation: what was done: a gene, a compound; for negative controls the name of the control.
        control: (n,) bool, negative controls, to which others are normalised.
        batch: wells that were made together, for alignment.
        plate: plate, unique over laboratories.
        laboratory: who made them.
        kind: kind of the perturbation, for example ``CRISPR`` or ``COMPOUND``.
        dose: (n,) float64, NaN where there is none.
    """

    ids: tuple[str, ...]
    perturbation: tuple[str, ...]
    control: NDArray[np.bool_]
    batch: tuple[str, ...] | None = None
    plate: tuple[str, ...] | None = None
    laboratory: tuple[str, ...] | None = None
    kind: tuple[str, ...] | None = None
    dose: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check that all columns have one length."""
        columns = (self.perturbation, self.control, self.batch, self.plate, self.laboratory, self.kind, self.dose)
        if any(len(column) != len(self.ids) for column in columns if column is not None):
            raise ValueError("wells: columns of different lengths")


@dataclass(frozen=True)
class WellFold:
    """One evaluation: wells that are scored, and wells that only normalise.

    Attributes:
        number: number of the fold.
        rows: (n,) int64 rows of the wells that are scored, ascending.
        controls: (m,) int64 rows of the negative controls that normalise them, ascending.
    """

    number: int
    rows: NDArray[np.int64]
    controls: NDArray[np.int64]


@dataclass(frozen=True)
class Relations:
    """Known pairs of one source, each once, in no direction.

    Attributes:
        source: name, for example ``CORUM``.
        pairs: (a, b) with a < b, sorted, unique.
        licence: licence of the list.
        n_rows: rows of the file.
        n_self: rows that relate something to itself; they are left out.
    """

    source: str
    pairs: tuple[tuple[str, str], ...]
    licence: str
    n_rows: int
    n_self: int = 0


@runtime_checkable
class WellSamples(Protocol):
    """A dataset whose samples are images or vectors of wells; arrays are never modified."""

    @property
    def wells(self) -> Wells:
        """The wells, in a fixed order."""

    @property
    def well_of(self) -> NDArray[np.int64]:
        """(n_samples,) int64, the row of the well of each sample; a well may have several samples."""

    @property
    def folds(self) -> tuple[WellFold, ...]:
        """At least one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the data that a reader of the score should see."""


@runtime_checkable
class RelatedWells(WellSamples, Protocol):
    """Wells whose perturbations have known relations."""

    @property
    def relations(self) -> Mapping[str, Relations]:
        """Known pairs by source, in the order in which scores list them."""
