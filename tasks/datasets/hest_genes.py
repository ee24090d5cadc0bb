"""Which genes a HEST task predicts: the shipped list, a list of the user's, or a selection inside training folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError, MissingDataError

from .hest_counts import GeneMoments, merge_moments

N_GENES = 50
"""Genes of a task."""
_DETECTED = 0.1  # share of the samples of every training section in which a selected gene must be seen


@dataclass(frozen=True)
class GeneChoice:
    """The genes of a task.

    Attributes:
        genes: all of them, the columns of the targets.
        lists: those of each fold.
        files: (name, local path) of the file they were read from.
    """

    genes: tuple[str, ...]
    lists: tuple[tuple[str, ...], ...]
    files: tuple[tuple[str, Path], ...] = ()

    def columns(self, fold: int) -> NDArray[np.int64]:
        """Return the columns of the genes of the fold at a position."""
        place = {gene: column for column, gene in enumerate(self.genes)}
        return np.array([place[gene] for gene in self.lists[fold]], dtype=np.int64)


def read_gene_list(path: Path) -> tuple[str, ...]:
    """Read ``{"genes": [...]}`` from JSON.

    Raises:
        MissingDataError: no such file.
        DamagedFileError: not JSON of that form, empty, or a gene twice.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingDataError(
            f"{path}: no such file; gene_list is var_50genes, train_hvg, or the path of a JSON file"
        ) from None
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a readable JSON file ({error}); download it again") from None
    genes = document.get("genes") if isinstance(document, dict) else None
    if not isinstance(genes, list) or not genes or not all(isinstance(gene, str) for gene in genes):
        raise DamagedFileError(f'{path}: genes: expected {{"genes": ["NAME", ...]}}')
    if len(set(genes)) != len(genes):
        twice = next(gene for gene in genes if genes.count(gene) > 1)
        raise DamagedFileError(f"{path}: genes: {twice} stands twice")
    return tuple(genes)


def select_variable(sections: Sequence[GeneMoments], known: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Choose the most variable genes of a training fold.

    A gene qualifies when it is seen in at least 10 % of the samples of every training section and measured in every
    section of the task. Of those the 50 with the largest variance of log1p counts over all training samples win; of
    equal ones the first by name.

    Args:
        sections: the training sections.
        known: genes measured in each section of the task.

    Returns:
        Names in alphabetical order.

    Raises:
        DamagedFileError: no gene qualifies.
    """
    common = set.intersection(*(set(names) for names in known))
    for section in sections:
        needed = np.ceil(_DETECTED * section.n)
        common &= {name for name, seen in zip(section.genes, section.detected, strict=True) if seen >= needed}
    names = sorted(common)
    if not names:
        raise DamagedFileError("gene_list train_hvg: no gene is seen in 10 % of the samples of every training section")
    variance = _variance(sections, names)
    best = np.argsort(-variance, kind="stable")[:N_GENES]
    return tuple(sorted(names[index] for index in best))


def _variance(sections: Sequence[GeneMoments], names: Sequence[str]) -> NDArray[np.float64]:
    total = (0, np.zeros(len(names)), np.zeros(len(names)))
    for section in sections:
        place: Mapping[str, int] = {name: index for index, name in enumerate(section.genes)}
        columns = np.array([place[name] for name in names])
        total = merge_moments(total, (section.n, section.mean[columns], section.spread[columns]))
    return total[2] / total[0]
