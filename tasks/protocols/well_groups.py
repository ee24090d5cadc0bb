"""Wells pooled to perturbations: one group for each kind, perturbation and dose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..wells import Wells

GENE, COMPOUND = "CRISPR", "COMPOUND"
DOSES = {name: float(name) for name in ("0.0025", "0.01", "0.025", "0.1", "0.25", "1", "2.5", "10")}
"""Concentrations of the dose response, uM; others are leftovers of plate layouts."""


@dataclass(frozen=True)
class Groups:
    """Perturbations, sorted by kind, name and dose.

    Attributes:
        codes: (n_rows,) int64, group of each row, -1 for none.
        perturbation: name of each group.
        gene: (n_groups,) bool, of kind ``CRISPR`` (all, where no well is of that kind).
        compound: (n_groups,) bool, of kind ``COMPOUND``.
        control: (n_groups,) bool, negative controls.
        dose: (n_groups,) float64, NaN where there is none.
    """

    codes: NDArray[np.int64]
    perturbation: tuple[str, ...]
    gene: NDArray[np.bool_]
    compound: NDArray[np.bool_]
    control: NDArray[np.bool_]
    dose: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.perturbation)

    @property
    def on_grid(self) -> NDArray[np.bool_]:
        """(n_groups,) bool, without a dose or at one of ``DOSES``."""
        near = np.isclose(self.dose[:, None], list(DOSES.values()), rtol=1e-6, atol=0)
        return np.isnan(self.dose) | near.any(axis=1)

    @property
    def treatment(self) -> NDArray[np.bool_]:
        """(n_groups,) bool, compounds that are no control of any sort."""
        named = np.array(["_control" in name for name in self.perturbation], dtype=np.bool_)
        return self.compound & ~self.control & ~named

    def choose(self, *parts: NDArray[np.int64]) -> Groups:
        """Keep some groups, in the order of their numbers given; rows of others get the code -1."""
        kept = np.concatenate(parts)
        place = np.full(len(self) + 1, -1, dtype=np.int64)  # the last place serves the code -1
        place[kept] = np.arange(len(kept))
        return replace(
            self,
            codes=place[self.codes],
            perturbation=tuple(self.perturbation[group] for group in kept),
            gene=self.gene[kept],
            compound=self.compound[kept],
            control=self.control[kept],
            dose=self.dose[kept],
        )


def group_wells(wells: Wells, rows: NDArray[np.int64]) -> Groups:
    """Group some wells; a control of one kind is no control of the other.

    Args:
        wells: the table.
        rows: (n_rows,) int64 rows of it.
    """
    kinds = wells.kind if wells.kind is not None and GENE in wells.kind else None
    dose = np.full(len(wells.ids), np.nan) if wells.dose is None else wells.dose
    keys: list[tuple[str, str, float]] = []
    for row in rows.tolist():
        value = float(dose[row])
        keys.append((kinds[row] if kinds else GENE, wells.perturbation[row], -1.0 if np.isnan(value) else value))
    names = sorted(set(keys))
    place = {key: code for code, key in enumerate(names)}
    codes = np.array([place[key] for key in keys], dtype=np.int64)
    control = np.zeros(len(names), dtype=np.bool_)
    control[codes[wells.control[rows]]] = True
    amounts = np.array([amount for *_, amount in names])
    return Groups(
        codes=codes,
        perturbation=tuple(name for _, name, _ in names),
        gene=np.array([kind == GENE for kind, *_ in names], dtype=np.bool_),
        compound=np.array([kind == COMPOUND for kind, *_ in names], dtype=np.bool_),
        control=control,
        dose=np.where(amounts < 0, np.nan, amounts),
    )
