"""Which wells of a fold are normalised together, and to which of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

from ..wells import WellFold, Wells
from .replicate_retrieval_steps import Scope


@dataclass(frozen=True)
class FoldScopes:
    """The wells of a fold by plate.

    Attributes:
        wells: the table of wells.
        fold: the fold.
        taken: (n,) int64 rows of the table: the wells that are scored or normalise; positions below count in it.
        control: (n,) bool, which of them normalise.
    """

    wells: Wells
    fold: WellFold
    taken: NDArray[np.int64]
    control: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Find the controls."""
        object.__setattr__(self, "control", np.isin(self.taken, self.fold.controls))

    @property
    def title(self) -> str:
        """How messages name the fold."""
        return f"fold {self.fold.number}"

    def split(self, by: Scope) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield name and positions (k,) int64 of the wells that are normalised together.

        Raises:
            UsageError: plates are asked for and the data know none.
        """
        if by == "all":
            yield self.title, np.arange(len(self.taken))
            return
        if self.wells.plate is None:
            raise UsageError("protocol.params.normalize: by: plate, but the data know no plates; say by: all")
        plate = np.array([self.wells.plate[row] for row in self.taken])
        for name in np.unique(plate):
            yield f"{self.title}, plate {name}", np.flatnonzero(plate == name)

    def fitted(
        self, step: str, fit: Literal["negcon", "all"], where: str, rows: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell on which of some wells a step is fitted.

        Args:
            step: name of the step, for messages.
            fit: negative controls, or all.
            where: name of the scope, for messages.
            rows: (k,) positions of its wells.

        Returns:
            (k,) bool.

        Raises:
            UsageError: there are fewer than 2 such wells.
        """
        chosen = np.ones(len(rows), dtype=bool) if fit == "all" else self.control[rows]
        if chosen.sum() < 2:
            what = "wells" if fit == "all" else "negative controls"
            raise UsageError(
                f"{where}: {step} needs at least 2 {what}, got {int(chosen.sum())}; leave the plate out, or choose "
                "by: all, fit: all or another step in protocol.params.normalize (drop_std: null for that one)"
            )
        return chosen
