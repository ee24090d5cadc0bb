"""HEST: patches of tissue sections and the nuclei in them beside the expression of their spots, as ``hest-bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StringConstraints

from harness.specs import Strict, TaskSpec
from harness.types import DataContext

from ..expression import ExpressionFold
from ..metrics.modules import coexpression_modules
from .graph_picture import GraphOptions
from .hest_cells import StructureViews
from .hest_counts import Normalize, find_genes, read_moments, read_targets
from .hest_dataset import HestDataset
from .hest_genes import GeneChoice, read_gene_list, select_variable
from .hest_sections import Section, check_images, read_section, thin_out
from .hest_splits import SectionPlace, SplitFold, read_splits
from .mirror import Repository, find_file

RepositoryName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]


class Source(Strict):
    """Where a HEST task lies."""

    bench: RepositoryName
    """Repository with splits, patches and counts, OWNER/REPO."""
    folder: str
    """Folder of the task in it, for example ``IDC``."""
    slides: RepositoryName | None = None
    """Repository with nuclei and metadata, which the views ``graph_image`` and ``points`` need."""
    revision: str | None = None
    """Commit of ``bench`` that is downloaded where no mirror has the file."""


class Params(Strict):
    """How targets and pictures are made."""

    normalize: Normalize = "log1p"
    """``log1p`` of raw counts, ``cp10k_log1p`` (each spot scaled to 10,000 counts first) or ``none``."""
    gene_list: str = "var_50genes"
    """``var_50genes`` (shipped with the task), ``train_hvg`` (selected anew in each training fold) or a JSON file."""
    graph: GraphOptions = Field(default_factory=GraphOptions)
    """How ``graph_image`` draws the nuclei of a patch."""


class HestReader:
    """Opens a task folder of ``hest-bench`` or of a repository with the same layout."""

    name: ClassVar[str] = "hest"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = Source

    def open(
        self,
        spec: TaskSpec,  # noqa: ARG002 - the contract's signature
        source: BaseModel,
        params: BaseModel,
        context: DataContext,
    ) -> HestDataset:
        """Find, check and join the files and read the counts; no pixels and no nuclei are read.

        Raises:
            MissingDataError: a file is nowhere.
            SpecError: the split files contradict themselves.
            DamagedFileError: a file is unreadable or does not join with another.
        """
        if not isinstance(source, Source) or not isinstance(params, Params):
            raise TypeError("the hest reader takes its own Source and Params")
        repository = Repository(source.bench, source.revision)
        splits = read_splits(repository, source.folder, context)
        complete = [read_section(place, context) for place in splits.sections]
        note = check_images(complete)
        sections = thin_out(complete, context.limit)
        rows = _rows_by_section(sections)
        chosen = _choose_genes(repository, source.folder, params, context, folds=splits.folds, sections=sections)
        folds = tuple(_make_fold(fold, rows, chosen.columns(number)) for number, fold in enumerate(splits.folds))
        targets = _read_all_targets(sections, chosen.genes, params.normalize)
        return HestDataset(
            ids=tuple(name for section in sections for name in section.ids),
            section=tuple(section.name for section in sections for _ in section.patch_rows),
            genes=chosen.genes,
            targets=targets,
            folds=folds,
            clusters=coexpression_modules(_log_scale(targets[folds[0].train], params.normalize)),
            findings=tuple(filter(None, [note, *(section.warning for section in sections)])),
            sections=sections,
            files=(*splits.files, *chosen.files, *_name_files(splits.sections, sections)),
            structure=StructureViews(
                sections, Repository(source.slides) if source.slides else None, context, params.graph
            ),
        )


READER = HestReader()


def _rows_by_section(sections: Sequence[Section]) -> dict[str, NDArray[np.int64]]:
    rows, first = {}, 0
    for section in sections:
        rows[section.name] = np.arange(first, first + len(section.patch_rows), dtype=np.int64)
        first += len(section.patch_rows)
    return rows


def _make_fold(fold: SplitFold, rows: dict[str, NDArray[np.int64]], columns: NDArray[np.int64]) -> ExpressionFold:
    train, test = (np.concatenate([rows[name] for name in side]) for side in (fold.train, fold.test))
    return ExpressionFold(fold.number, train, test, columns)


def _choose_genes(
    repository: Repository,
    folder: str,
    params: Params,
    context: DataContext,
    *,
    folds: Sequence[SplitFold],
    sections: Sequence[Section],
) -> GeneChoice:
    if params.gene_list == "train_hvg":
        moments = {item.name: read_moments(item.spots, item.spot_rows) for item in sections}
        known = [item.spots.genes for item in sections]
        lists = tuple(select_variable([moments[name] for name in fold.train], known) for fold in folds)
        return GeneChoice(tuple(sorted(set().union(*lists))), lists)
    if params.gene_list == "var_50genes":
        public = f"{folder}/var_50genes.json"
        name, path = f"{repository.name}/{public}", find_file(repository, public, context)
    else:
        name, path = "gene_list", Path(params.gene_list)
    genes = read_gene_list(path)
    return GeneChoice(genes, (genes,) * len(folds), ((name, path),))


def _name_files(places: Sequence[SectionPlace], sections: Sequence[Section]) -> list[tuple[str, Path]]:
    files = []
    for place, section in zip(places, sections, strict=True):
        for (repository, path), local in (
            (place.patches, section.patches.path),
            (place.expression, section.spots.path),
        ):
            files.append((f"{repository.name}/{path}", local))
    return files


def _read_all_targets(sections: Sequence[Section], genes: Sequence[str], normalize: Normalize) -> NDArray[np.float64]:
    return np.concatenate(
        [read_targets(item.spots, item.spot_rows, find_genes(item.spots, genes), normalize) for item in sections]
    )


def _log_scale(targets: NDArray[np.float64], normalize: Normalize) -> NDArray[np.float64]:
    """Bring targets to the log scale of the co-expression modules; values below 0 are taken for logs already."""
    return np.log1p(targets) if normalize == "none" and (targets >= 0).all() else targets
