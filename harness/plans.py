"""What a task needs, told before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class PlanRow:
    """One part of a task, for example a fold; parts share no file.

    Attributes:
        title: name of the part.
        samples: samples in it.
        files: files that are read.
        size: their bytes.
        to_fetch: those of the bytes that are not on this machine.
    """

    title: str
    samples: int
    files: int
    size: int
    to_fetch: int


@dataclass(frozen=True)
class Plan:
    """What a task needs.

    Attributes:
        rows: its parts, in order.
        basis: sentences that say what the numbers rest on, estimates and assumptions first of all.
    """

    rows: tuple[PlanRow, ...]
    basis: tuple[str, ...]

    @property
    def total(self) -> PlanRow:
        """All parts together."""
        rows = self.rows
        return PlanRow(
            "all",
            sum(row.samples for row in rows),
            sum(row.files for row in rows),
            sum(row.size for row in rows),
            sum(row.to_fetch for row in rows),
        )


@runtime_checkable
class Planned(Protocol):
    """A dataset that knows what it will read."""

    def plan(self) -> Plan:
        """Tell files and bytes; reads no sample."""
