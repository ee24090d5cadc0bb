"""Counts of a section, joined with its patches by barcode, checked and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError

from .h5ad import Spots, iterate_counts

Normalize = Literal["log1p", "none", "cp10k_log1p"]
_WHOLE = 1e-3  # how far a raw count may be from a whole number


@dataclass(frozen=True)
class GeneMoments:
    """How the genes of one section vary over its samples.

    Attributes:
        genes: names, in file order.
        n: number of samples.
        detected: (n_genes,) int64 samples with a count above 0.
        mean: (n_genes,) float64 mean of log1p counts.
        spread: (n_genes,) float64 sum of squared deviations from that mean.
    """

    genes: tuple[str, ...]
    n: int
    detected: NDArray[np.int64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]


def join_barcodes(spots: Spots, barcodes: Sequence[str], where: str) -> NDArray[np.int64]:
    """Return for each barcode of a patch file its row in the h5ad file.

    Raises:
        DamagedFileError: barcodes without a spot, saying how many and the first three.
    """
    row = {name: index for index, name in enumerate(spots.names)}
    absent = [name for name in barcodes if name not in row]
    if absent:
        raise DamagedFileError(
            f"{where}: {len(absent)} of {len(barcodes)} barcodes are not in {spots.path}, "
            f"the first: {', '.join(absent[:3])}; are both files of the same section?"
        )
    return np.array([row[name] for name in barcodes], dtype=np.int64)


def find_genes(spots: Spots, genes: Sequence[str]) -> NDArray[np.int64]:
    """Return the columns of the wanted genes.

    Raises:
        DamagedFileError: a gene is missing from ``var_names`` or stands there more than once, naming it.
    """
    wanted = dict.fromkeys(genes, -1)
    twice = set()
    for column, name in enumerate(spots.genes):
        if name in wanted:
            twice |= {name} if wanted[name] >= 0 else set()
            wanted[name] = column
    absent = [name for name, column in wanted.items() if column < 0]
    for problem, names in (("are not in var_names", absent), ("stand in var_names more than once", sorted(twice))):
        if names:
            raise DamagedFileError(
                f"{spots.path}: {len(names)} genes of the list {problem}: {', '.join(names[:3])}; "
                "change the gene list or take another file"
            )
    return np.array([wanted[name] for name in genes], dtype=np.int64)


def read_targets(
    spots: Spots, rows: NDArray[np.int64], columns: NDArray[np.int64], normalize: Normalize
) -> NDArray[np.float64]:
    """Read and normalise the counts of some spots and genes.

    Args:
        spots: the h5ad file.
        rows: (n,) rows of ``X``.
        columns: (g,) columns of ``X``.
        normalize: ``log1p`` of the counts; ``cp10k_log1p`` scales each spot to 10,000 counts over all genes of the
            file first (an empty spot stays 0); ``none`` takes the numbers as they are.

    Returns:
        (n, g) float64, finite.

    Raises:
        DamagedFileError: numbers that are not raw counts (only NaN and infinities under ``none``).

    Source: mahmoodlab/HEST@afd42c3 ``st_dataset.py`` (log1p of raw counts, no library size).
    """
    counts = read_scaled(spots, rows, columns, normalize)
    return counts if normalize == "none" else np.log1p(counts)


def read_scaled(
    spots: Spots, rows: NDArray[np.int64], columns: NDArray[np.int64], normalize: Normalize
) -> NDArray[np.float64]:
    """Read the counts of some spots and genes as they are before the logarithm; see :func:`read_targets`."""
    counts = np.empty((len(spots.names), len(columns)))
    totals = np.empty(len(spots.names))
    for part, block in iterate_counts(spots):
        check_counts(block, spots, part.start, raw=normalize != "none")
        counts[part] = block[:, columns]
        totals[part] = block.sum(axis=1, dtype=np.float64)
    counts, totals = counts[rows], totals[rows, None]
    if normalize == "cp10k_log1p":
        counts = 1e4 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return counts


def read_moments(spots: Spots, rows: NDArray[np.int64]) -> GeneMoments:
    """Summarise log1p counts of every gene over some spots.

    Raises:
        DamagedFileError: numbers that are not raw counts.
    """
    wanted = np.zeros(len(spots.names), dtype=bool)
    wanted[rows] = True
    detected = np.zeros(len(spots.genes), dtype=np.int64)
    total, mean, spread = 0, np.zeros(len(spots.genes)), np.zeros(len(spots.genes))
    for part, block in iterate_counts(spots):
        check_counts(block, spots, part.start, raw=True)
        values = np.log1p(block[wanted[part]], dtype=np.float64)
        if not len(values):
            continue
        detected += (values > 0).sum(axis=0)
        total, mean, spread = merge_moments((total, mean, spread), _moments(values))
    return GeneMoments(spots.genes, total, detected, mean, spread)


Moments = tuple[int, NDArray[np.float64], NDArray[np.float64]]


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Combine (n, mean, sum of squared deviations) of two disjoint sets of rows.

    Source: Chan, Golub, LeVeque (1983), updating formula for variances.

    Example:
        >>> zero, two = np.array([0.0]), np.array([2.0])
        >>> n, mean, spread = merge_moments((1, zero, zero), (1, two, zero))
        >>> n, float(mean[0]), float(spread[0])
        (2, 1.0, 2.0)
    """
    (n, mean, spread), (m, other_mean, other_spread) = first, second
    step = other_mean - mean
    total = n + m
    return total, mean + step * (m / total), spread + other_spread + step**2 * (n * m / total)


def check_counts(block: NDArray[np.generic], spots: Spots, start: int, *, raw: bool) -> None:
    """Refuse numbers that are not counts.

    Args:
        block: (n, n_genes) consecutive rows of ``X``.
        spots: the file, for the message.
        start: row of the first of them.
        raw: also refuse negative numbers and those more than 1e-3 away from a whole one.

    Raises:
        DamagedFileError: saying which number stands where.
    """
    if np.issubdtype(block.dtype, np.unsignedinteger) or block.dtype == bool:
        return
    values = block.astype(np.float64, copy=False)
    checks = [("not finite", ~np.isfinite(values))]
    if raw:
        with np.errstate(invalid="ignore"):  # infinities are refused above
            fraction = np.abs(values - np.rint(values))
        checks += [
            ("negative", values < 0),
            ("not a whole number (already normalised? then set normalize: none)", fraction > _WHOLE),
        ]
    for problem, bad in checks:
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise DamagedFileError(
                f"{spots.path}: X: expected raw counts, found {int(bad.sum())} others in rows {start} to "
                f"{start + len(block) - 1}, the first: {values[row, column]:g} of gene {spots.genes[column]} in "
                f"{spots.names[start + row]} is {problem}"
            )


def _moments(values: NDArray[np.float64]) -> Moments:
    mean = values.mean(axis=0)
    return len(values), mean, ((values - mean) ** 2).sum(axis=0)
