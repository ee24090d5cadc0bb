"""Vectors that somebody computed already, as a model: ``embeddings:PATH``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.cards import ModelCard
from harness.errors import DamagedFileError, MissingDataError, UsageError
from harness.hashing import hash_file, hash_value
from harness.types import Batch, BuildContext, DataContext, Samples

from .card_names import card_name
from .option_values import whole_number
from .vector_files import KINDS, list_stages, read_vectors
from .vector_tables import VectorTable

_log = logging.getLogger(__name__)


def embeddings_card(text: str, context: DataContext) -> ModelCard:  # noqa: ARG001 - the contract's signature
    """Make the card of a file of vectors, or of a folder with one h5 a section.

    Args:
        text: the path.
        context: not used; the path is relative to the working folder.

    Raises:
        MissingDataError: no such file, or a folder without h5 files.
        UsageError: a kind of file that is not read.
    """
    path = Path(text).expanduser()
    files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        what = "holds no .h5 files" if path.is_dir() else f"no such file (looked for it in {Path.cwd()})"
        raise MissingDataError(f"embeddings:{text}: {what}")
    if not files[0].name.lower().endswith(KINDS):
        raise UsageError(f"embeddings:{text}: expected one of {', '.join(KINDS)}, or a folder of .h5 files")
    return ModelCard.model_validate(
        {
            "name": card_name("embeddings", path.name.replace(".", "-")),
            "label": path.name,
            "build": "harness.models.precomputed:build",
            "kwargs": {"path": str(path), "content": hash_value([[file.name, hash_file(file)] for file in files])},
            "views": ["image", "graph_image", "points", "profiles"],
            "view_free": True,
            "input": {"channels": "any", "size": None, "resize": "none"},
            "output": {"pooling": "none", "stages": {stage: depth for depth, stage in enumerate(list_stages(path))}},
            "options": ["id", "columns", "dim"],
            "requires": ["pandas", "pyarrow", "h5py"],
            "untrained": {"twin": "none"},
        }
    )


class PrecomputedModel:
    """Looks vectors up by sample id."""

    needs_pixels = False

    def __init__(self, tables: Mapping[str, VectorTable], name: str) -> None:
        """Keep one table a stage."""
        self._tables = tables
        self._name = name
        self._row = {sample: row for row, sample in enumerate(next(iter(tables.values())).ids)}

    def prepare(self, samples: Samples, view: str) -> None:  # noqa: ARG002 - the contract's signature
        """Join the table with the samples of a task.

        Raises:
            DamagedFileError: samples without a vector, or with one that is not finite.
        """
        wanted = list(samples.ids)
        absent = [sample for sample in wanted if sample not in self._row]
        if absent:
            raise DamagedFileError(
                f"{self._name}: {len(absent)} of {len(wanted)} samples have no vector, first: {', '.join(absent[:3])}; "
                f"the file has ids such as {', '.join(list(self._row)[:3])}. Choose the id column with id=COLUMN, or "
                "compute the missing vectors"
            )
        rows = np.array([self._row[sample] for sample in wanted])
        for stage, table in self._tables.items():
            bad = np.flatnonzero(~np.isfinite(table.features[rows]).all(axis=1))
            if len(bad):
                names = ", ".join(wanted[row] for row in bad[:3])
                raise DamagedFileError(
                    f"{self._name}: stage {stage}: NaN or infinity for {len(bad)} of {len(wanted)} samples: {names}"
                )
        surplus = len(self._row) - len(set(wanted))
        if surplus:
            _log.warning("%s: %d rows belong to no sample of this task and are not used", self._name, surplus)

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of a batch; the ids were joined by :meth:`prepare`."""
        rows = [self._row[sample] for sample in batch.ids]
        return {stage: self._tables[stage].features[rows] for stage in stages}


def build(context: BuildContext) -> PrecomputedModel:
    """Read the vectors.

    Options: ``id`` (column of the sample ids), ``columns`` (a pattern such as ``emb_*``), ``dim`` (how many features
    are expected).

    Raises:
        DamagedFileError: unreadable, an id twice, or another number of features than expected.
        UsageError: columns that are not there.
    """
    path, options = Path(context.card.kwargs["path"]), context.options
    tables = read_vectors(path, options.get("id"), options.get("columns"))
    name = f"embeddings:{path}"
    for stage, table in tables.items():
        found = table.features.shape[1]
        if "dim" in options and found != whole_number(context, "dim", 1):
            raise DamagedFileError(f"{name}: stage {stage}: expected {options['dim']} features, found {found}")
        if table.remark:
            _log.warning("%s: %s", name, table.remark)
    return PrecomputedModel(tables, name)
