"""HEST: patches of tissue sections and the nuclei in them beside the expression of their spots, as ``hest-bench``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from harness.specs import Strict, TaskSpec
from harness.types import DataContext

from .graph_picture import GraphOptions
from .hest_cells import StructureViews
from .hest_copies import refuse_copies
from .hest_counts import Normalize, find_genes, read_targets
from .hest_dataset import HestDataset
from .hest_metadata import read_patient
from .hest_patients import SharedPatients, check_patients
from .hest_sections import Section, check_images, read_section, thin_out
from .hest_splits import Splits, read_splits
from .hest_task import choose_genes, find_modules, make_folds, name_files
from .mirror import Repository, RepositoryName


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
    shared_patients: SharedPatients = "refuse"
    """A patient in train and test of a fold, as the metadata name them: ``refuse`` the splits, or only ``note`` it."""
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
            SpecError: the split files contradict themselves, or a patient is in train and test.
            DamagedFileError: a file is unreadable or does not join with another.
        """
        if not isinstance(source, Source) or not isinstance(params, Params):
            raise TypeError("the hest reader takes its own Source and Params")
        repository = Repository(source.bench, source.revision)
        splits = read_splits(repository, source.folder, context)
        complete = [read_section(place, context) for place in splits.sections]
        refuse_copies("patch files", [(section.name, section.patches.path) for section in complete])
        shared = _find_shared_patients(splits, source.slides, params.shared_patients, context)
        note = check_images(complete)
        sections = thin_out(complete, context.limit)
        chosen = choose_genes(
            repository, source.folder, params.gene_list, context, folds=splits.folds, sections=sections
        )
        folds = make_folds(splits.folds, {section.name: len(section.patch_rows) for section in sections}, chosen)
        targets = _read_all_targets(sections, chosen.genes, params.normalize)
        return HestDataset(
            ids=tuple(name for section in sections for name in section.ids),
            section=tuple(section.name for section in sections for _ in section.patch_rows),
            genes=chosen.genes,
            targets=targets,
            folds=folds,
            clusters=find_modules(targets, folds, params.normalize),
            findings=tuple(filter(None, [note, *(section.warning for section in sections), *shared])),
            sections=sections,
            files=(*splits.files, *chosen.files, *name_files(sections)),
            structure=StructureViews(
                sections, Repository(source.slides) if source.slides else None, context, params.graph
            ),
        )


READER = HestReader()


def _find_shared_patients(
    splits: Splits, slides: RepositoryName | None, choice: SharedPatients, context: DataContext
) -> list[str]:
    """Check patients as far as metadata lie on disk: a view of patches alone asks for no other file."""
    if slides is None:
        return []
    repository = Repository(slides)
    patients = {place.name: read_patient(repository, place.name, context) for place in splits.sections}
    return check_patients(splits.folds, patients, choice)


def _read_all_targets(sections: Sequence[Section], genes: Sequence[str], normalize: Normalize) -> NDArray[np.float64]:
    return np.concatenate(
        [read_targets(item.spots, item.spot_rows, find_genes(item.spots, genes), normalize) for item in sections]
    )
