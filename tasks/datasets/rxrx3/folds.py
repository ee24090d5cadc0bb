"""Which wells a fold scores: a draw of a few images of every gene that depends on nothing but their names."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.errors import DamagedFileError
from harness.specs import Strict

from ...wells import WellFold
from .metadata import Metadata

Rows = NDArray[np.int64]


class Folds(Strict):
    """How many wells of each gene a fold takes, and by which draw."""

    n: int = Field(3, ge=1)
    """Number of folds; no well stands in two."""
    n_images: int = Field(10, ge=1)
    """Wells of each gene in a fold."""
    seed: int = 0
    """Another seed gives another draw of wells and controls."""
    short_genes: Literal["error", "drop", "shrink"] = "error"
    """What becomes of a gene with too few wells: an error, left out, or as many wells a fold as it has."""
    file: str | None = None
    """CSV ``well_id,fold`` that is read instead; then the controls are the ``EMPTY_control`` wells of each fold."""


@dataclass(frozen=True)
class Split:
    """Folds, before any limit.

    Attributes:
        folds: rows into the table of wells.
        notes: what a reader of the score should know about them.
    """

    folds: tuple[WellFold, ...]
    notes: tuple[str, ...] = ()


def build_folds(wells: Metadata, options: Folds, controls_per_batch: int | None) -> Split:
    """Draw the wells of each gene, sorted by a hash of their names, into folds that share their controls.

    Candidates are the wells of genes. Sorted by (SHA-256 of ``rxrx3|SEED|WELL_ID``, well_id), fold f takes the
    entries f * n_images to (f + 1) * n_images - 1. The draw of one gene does not depend on the others, on the order of
    the table, or on the version of any library.

    Raises:
        DamagedFileError: a gene has fewer than ``n * n_images`` wells and ``short_genes`` is ``error``.
    """
    of_gene: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for row in np.flatnonzero(wells.gene).tolist():
        of_gene[wells.perturbation[row]].append((*_draw_key(wells, row, options.seed), row))
    needed = options.n * options.n_images
    short = {gene: len(entries) for gene, entries in of_gene.items() if len(entries) < needed}
    notes = _explain_short(short, needed, options)
    taken: list[list[int]] = [[] for _ in range(options.n)]
    for gene, entries in of_gene.items():
        size = options.n_images if gene not in short else _shrunk(len(entries), options)
        rows = [row for _, _, row in sorted(entries)]
        for fold in range(options.n):
            taken[fold] += rows[fold * size : (fold + 1) * size]
    controls = choose_controls(wells, wells.crispr & wells.control, controls_per_batch, options.seed)
    return Split(tuple(WellFold(number, _ascending(rows), controls) for number, rows in enumerate(taken)), tuple(notes))


def whole_map(wells: Metadata, controls_per_batch: int | None) -> Split:
    """Put all wells into one fold, ``EMPTY_control`` wells too; those of both kinds are its controls."""
    controls = choose_controls(wells, wells.control, controls_per_batch, 0)
    rows = np.union1d(np.flatnonzero(~wells.control), controls).astype(np.int64)
    return Split((WellFold(0, rows, controls),))


def choose_controls(wells: Metadata, pool: NDArray[np.bool_], per_batch: int | None, seed: int) -> Rows:
    """Choose control wells of every experiment, the first by the hash that draws the folds.

    Args:
        wells: the table.
        pool: (n,) bool, which wells are controls.
        per_batch: how many of an experiment; None for all.
        seed: of the draw.

    Returns:
        Ascending rows.
    """
    rows = np.flatnonzero(pool).astype(np.int64)
    if per_batch is None:
        return rows
    of_batch: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for row in rows.tolist():
        of_batch[wells.experiment[row]].append((*_draw_key(wells, row, seed), row))
    return _ascending([row for entries in of_batch.values() for _, _, row in sorted(entries)[:per_batch]])


def _draw_key(wells: Metadata, row: int, seed: int) -> tuple[str, str]:
    name = wells.ids[row]
    return hashlib.sha256(f"rxrx3|{seed}|{name}".encode()).hexdigest(), name


def _shrunk(size: int, options: Folds) -> int:
    return size // options.n if options.short_genes == "shrink" else 0


def _explain_short(short: dict[str, int], needed: int, options: Folds) -> list[str]:
    if not short:
        return []
    gene = min(short, key=lambda name: (short[name], name))
    told = (
        f"{len(short)} genes have fewer than {needed} wells (folds.n {options.n} x folds.n_images {options.n_images}), "
        f"the fewest {gene} with {short[gene]}"
    )
    if options.short_genes == "error":
        raise DamagedFileError(
            f"{told}: an incomplete table? Download it again, or set protocol.params.folds.short_genes to drop or "
            "shrink, or lower folds.n or folds.n_images"
        )
    lost = sum(_shrunk(size, options) == 0 for size in short.values())
    shrunk = f", {len(short) - lost} give fewer images a fold" if options.short_genes == "shrink" else ""
    return [f"{told}; {lost} genes are left out{shrunk} (folds.short_genes: {options.short_genes})"]


def _ascending(rows: list[int]) -> Rows:
    return np.array(sorted(rows), dtype=np.int64)
