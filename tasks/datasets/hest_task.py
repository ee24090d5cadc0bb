"""What makes a task of sections: genes, folds, modules and the files behind them, the same for every HEST reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.types import DataContext

from ..expression import ExpressionFold
from ..metrics.modules import coexpression_modules
from .hest_counts import Normalize, read_moments
from .hest_genes import GeneChoice, read_gene_list, select_variable
from .hest_sections import Section
from .hest_splits import SplitFold
from .mirror import Repository, find_file


def choose_genes(
    repository: Repository,
    folder: str,
    gene_list: str,
    context: DataContext,
    *,
    folds: Sequence[SplitFold],
    sections: Sequence[Section],
) -> GeneChoice:
    """Choose the genes that a task predicts.

    Args:
        repository: where the task lies.
        folder: of the task.
        gene_list: ``var_50genes``, ``train_hvg`` or the path of a JSON file.
        context: where files are found.
        folds: of the task.
        sections: all sections of the task; ``train_hvg`` looks at the counts of their samples.

    Raises:
        MissingDataError: no such list.
        DamagedFileError: not a list of genes, or counts that cannot be read.
    """
    if gene_list == "train_hvg":
        moments = {item.name: read_moments(item.spots, item.spot_rows) for item in sections}
        known = [item.spots.genes for item in sections]
        lists = tuple(select_variable([moments[name] for name in fold.train], known) for fold in folds)
        return GeneChoice(tuple(sorted(set().union(*lists))), lists)
    if gene_list == "var_50genes":
        public = f"{folder}/var_50genes.json"
        name, path = f"{repository.name}/{public}", find_file(repository, public, context)
    else:
        name, path = "gene_list", Path(gene_list)
    genes = read_gene_list(path)
    return GeneChoice(genes, (genes,) * len(folds), ((name, path),))


def make_folds(folds: Sequence[SplitFold], sizes: Mapping[str, int], genes: GeneChoice) -> tuple[ExpressionFold, ...]:
    """Turn folds of sections into folds of samples.

    Args:
        folds: sections that train and test.
        sizes: samples of each section, in the order of the dataset.
        genes: what each fold predicts.
    """
    rows, first = {}, 0
    for name, size in sizes.items():
        rows[name] = np.arange(first, first + size, dtype=np.int64)
        first += size
    return tuple(
        ExpressionFold(
            fold.number,
            np.concatenate([rows[name] for name in fold.train]),
            np.concatenate([rows[name] for name in fold.test]),
            genes.columns(number),
        )
        for number, fold in enumerate(folds)
    )


def name_files(sections: Sequence[Section]) -> list[tuple[str, Path]]:
    """List (public name, local path) of the patch and count files of sections."""
    return [file for section in sections for file in section.files]


def find_modules(
    targets: NDArray[np.float64], folds: Sequence[ExpressionFold], normalize: Normalize
) -> tuple[str, ...]:
    """Return the co-expression module of each gene in the training samples of the first fold.

    Modules are made on a log scale; without ``normalize``, values below 0 are taken for logs already.
    """
    known = targets[folds[0].train]
    return coexpression_modules(np.log1p(known) if normalize == "none" and (known >= 0).all() else known)
