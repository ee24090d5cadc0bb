"""The words with which a task spec describes a table of wells: one schema for pictures and for vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from harness.specs import Strict


def _as_text(value: Any) -> Any:
    """Let YAML write the text of a cell as a whole number: ``-1`` stands for ``"-1"``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Cell = Annotated[str, BeforeValidator(_as_text)]
Names = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class Pick(Strict):
    """Some rows of the table: those that have one of the values in the column."""

    column: str
    values: list[Cell] = Field(min_length=1)
    """As they stand in the table, letter by letter."""


class Columns(Strict):
    """Which column says what; a column may serve twice."""

    perturbation: str
    """What was done: a gene, a compound, or for negative controls the name of the control."""
    dose: str | None = None
    """A number; empty where there is none."""
    kind: str | None = None
    """Kind of the perturbation, for example ``CRISPR`` or ``COMPOUND``."""
    plate: str | None = None
    batch: str | None = None
    """Wells that were made together."""
    laboratory: str | None = None
    fold: str | None = None
    """A whole number. By default all wells are one fold. A control without number normalises every fold."""


class KnownPairs(Strict):
    """A file of known relations."""

    source: str
    """Name in the scores, for example ``CORUM``."""
    file: str
    """CSV with the columns ``entity1`` and ``entity2``; found like the table."""
    licence: str


class ScreenSource(Strict):
    """A table of wells, or of genes, compounds or anything else that was measured and treated as one."""

    table: str
    """csv, csv.gz, tsv, tsv.gz or parquet: an absolute path, or one below a ``--data-dir`` or the working folder."""
    id: Names
    """Column, or columns, whose values name a row; vectors of ``embeddings:PATH`` are joined by them."""
    well: Names | None = None
    """Column, or columns, that name the well where several rows (fields, sites) show one; by default a row is a
    well."""
    columns: Columns
    only: Pick | None = None
    """The rows that belong to the task; by default all."""
    control: Pick | None = None
    """Which rows are negative controls, to which others are normalised."""
    positive: Pick | None = None
    """Which rows are positive controls; they have the kind ``positive``."""
    relations: list[KnownPairs] = Field(default_factory=list)
    """Known pairs of perturbations, in the order in which scores list them."""

    @model_validator(mode="after")
    def _check_sources(self) -> ScreenSource:
        names = [item.source for item in self.relations]
        twins = sorted({name for name in names if names.count(name) > 1})
        if twins:
            raise ValueError(f"relations: a source stands twice: {', '.join(twins)}")
        return self

    def used(self) -> Iterator[tuple[str, str]]:
        """Give each column that is named, with the key that names it."""
        for key in ("id", "well"):
            yield from ((name, key) for name in getattr(self, key) or [])
        for key, name in self.columns.model_dump(exclude_none=True).items():
            yield name, f"columns.{key}"
        for key in ("only", "control", "positive"):
            pick = getattr(self, key)
            if pick is not None:
                yield pick.column, f"{key}.column"
