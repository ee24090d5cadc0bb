"""HEST-1k-1NN: every spot of a HEST task with its first ring of neighbours, as one sample.

Source: "Deep Learning for BioImaging: What Are We Learning?" (arXiv 2603.13377), C.3 and E; what it leaves open is our
choice, and an option where another one is plausible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from harness.specs import Strict, TaskSpec
from harness.types import DataContext

from ..metrics.binning import Members
from ..metrics.neighbourhoods import average_over
from .hest1nn_cells import SectionCells, prepare_cells
from .hest1nn_dataset import Hest1nnDataset
from .hest1nn_geometry import Plan, lay_out
from .hest1nn_params import Params
from .hest1nn_pictures import Crops, Graphs, Pictures
from .hest1nn_samples import SectionSamples
from .hest_copies import refuse_copies
from .hest_counts import find_genes, read_scaled
from .hest_metadata import read_facts
from .hest_patients import check_patients
from .hest_sections import check_images, read_section, spread
from .hest_splits import read_splits
from .hest_task import choose_genes, find_modules, make_folds, name_files
from .mirror import Repository, RepositoryName


class Source(Strict):
    """Where a HEST-1k-1NN task lies."""

    bench: RepositoryName
    """Repository with splits, patches and counts, OWNER/REPO."""
    folder: str
    """Folder of the task in it, for example ``IDC``."""
    slides: RepositoryName
    """Repository with slides (for the view ``image`` only), nuclei and metadata."""
    revision: str | None = None
    """Commit of ``bench`` that is downloaded where no mirror has the file."""


class Hest1nnReader:
    """Opens a task folder of ``hest-bench`` with the slides, nuclei and metadata of ``hest``."""

    name: ClassVar[str] = "hest1nn"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = Source

    def open(
        self,
        spec: TaskSpec,  # noqa: ARG002 - the contract's signature
        source: BaseModel,
        params: BaseModel,
        context: DataContext,
    ) -> Hest1nnDataset:
        """Find, check and join the files, lay out neighbourhoods, bin nuclei, average counts; no pixels are read.

        What the nuclei give is kept in a folder of the cache, because which neighbourhoods hold a cell decides which
        samples there are.

        Raises:
            MissingDataError: a file is nowhere (slides are not looked for), or pixel size or pitch are unknown.
            SpecError: the split files contradict themselves, or a patient is in train and test.
            DamagedFileError: a file is unreadable, does not join with another, or contradicts it.
            CannotWriteError: what the nuclei gave cannot be kept.
        """
        if not isinstance(source, Source) or not isinstance(params, Params):
            raise TypeError("the hest1nn reader takes its own Source and Params")
        repository, slides = Repository(source.bench, source.revision), Repository(source.slides)
        splits = read_splits(repository, source.folder, context)
        complete = [read_section(place, context, slides) for place in splits.sections]
        refuse_copies("patch files", [(section.name, section.patches.path) for section in complete])
        facts = {section.name: read_facts(slides, section.name, context) for section in complete}
        shared = check_patients(
            splits.folds, {name: one.patient for name, one in facts.items()}, params.shared_patients
        )
        plans = [lay_out(section, facts[section.name], params.nn) for section in complete]
        cells = prepare_cells(plans, slides, context, params.nn.cells)
        kept = spread([len(one.spots) for one in cells.sections], context.limit)
        samples = tuple(
            SectionSamples(plan, one, rows) for plan, one, rows in zip(plans, cells.sections, kept, strict=True)
        )
        chosen = choose_genes(
            repository, source.folder, params.gene_list, context, folds=splits.folds, sections=complete
        )
        folds = make_folds(splits.folds, {one.plan.name: len(one.rows) for one in samples}, chosen)
        targets = np.concatenate([average_counts(one, chosen.genes, params) for one in samples])
        notes = (
            check_images(complete) if params.nn.image_source == "patches" else None,
            *(note for plan in plans for note in plan.notes),
            *describe_choices(params, plans, cells.sections),
            *cells.notes,
            *shared,
        )
        return Hest1nnDataset(
            ids=tuple(name for one in samples for name in one.ids),
            section=tuple(one.plan.name for one in samples for _ in one.rows),
            genes=chosen.genes,
            targets=targets,
            folds=folds,
            clusters=find_modules(targets, folds, params.normalize),
            notes=tuple(filter(None, notes)),
            sections=samples,
            files=(*splits.files, *chosen.files, *name_files(complete), *cells.files),
            cells=cells.digest,
            centre=params.points.centre,
            images=Pictures(Crops(samples, slides, context, params.nn), context),
            graphs=Pictures(Graphs(samples, cells.digest, context, params.graph), context),
        )


READER = Hest1nnReader()


def average_counts(samples: SectionSamples, genes: Sequence[str], params: Params) -> NDArray[np.float64]:
    """Average the counts of each sample over its neighbourhood, before the logarithm or after it.

    Returns:
        (n, n_genes) float64, on the log scale unless ``normalize`` is ``none``.

    Raises:
        DamagedFileError: a gene is missing, or the numbers are not raw counts.
    """
    spots = samples.plan.section.spots
    counts = read_scaled(spots, samples.plan.spot_rows, find_genes(spots, genes), params.normalize)
    members = _take(samples.cells.members, samples.rows)
    if params.nn.average == "log":
        return average_over(members, np.log1p(counts))
    means = average_over(members, counts)
    return means if params.normalize == "none" else np.log1p(means)


def describe_choices(params: Params, plans: Sequence[Plan], cells: Sequence[SectionCells]) -> list[str]:
    """Say how neighbours were found, how many neighbourhoods were dropped, and that mosaics stand in for slides."""
    total, kept = (sum(map(len, parts)) for parts in ([p.section.patch_rows for p in plans], [c.spots for c in cells]))
    nn = params.nn
    notes = [f"neighbours by {nn.neighbours} on a {nn.shape} grid, pitch {nn.pitch}"]
    if kept < total:
        notes.append(f"{total - kept} of {total} neighbourhoods hold no nucleus and are in no view")
    if nn.image_source == "patches":
        notes.append("images are laid out patches (nn.image_source: patches), not crops of slides")
    return notes


def _take(members: Members, rows: NDArray[np.int64]) -> Members:
    parts = [members.of(row) for row in rows]
    return Members(np.concatenate([[0], np.cumsum([len(part) for part in parts])]), np.concatenate(parts))
