"""Vectors that somebody computed already, as a model: ``embeddings:PATH``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.cards import ModelCard
from harness.errors import DamagedFileError, MissingDataError, UsageError
from harness.hashing import hash_file, hash_value
from harness.joining import Described, Keyed, NamedWells
from harness.types import Batch, BuildContext, DataContext, Samples

from .card_names import card_name
from .option_values import whole_number
from .vector_files import KINDS, list_stages, read_vectors
from .vector_keys import Joined, check_averaging, join_ids, join_keys
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
            "options": ["id", "columns", "dim", "name"],
            "requires": ["pandas", "pyarrow", "h5py"],
            "untrained": {"twin": "none"},
        }
    )


@dataclass(frozen=True)
class VectorSource:
    """A file of vectors and how it is read.

    Attributes:
        path: the file or folder.
        id_column: column of the sample ids, or None for the rule.
        columns: pattern of the feature columns, or None for the rule.
        dim: how many features are expected, or None.
    """

    path: Path
    id_column: str | None = None
    columns: str | None = None
    dim: int | None = None


class PrecomputedModel:
    """Looks vectors up by sample id, or by the keys that samples of wells have."""

    needs_pixels = False

    def __init__(self, source: VectorSource) -> None:
        """Keep where the vectors are; they are read when the samples are known."""
        self._source = source
        self._name = f"embeddings:{source.path}"
        self._joined: dict[str, Joined] = {}
        self._place: dict[str, int] = {}

    def prepare(self, samples: Samples, view: str) -> None:  # noqa: ARG002 - the contract's signature
        """Read the vectors and join them with the samples of a task.

        Samples that have keys are joined by every key column of a table, unless the option ``id`` names another
        column; several rows for one sample are averaged. Columns that the data set knows to describe a row are no
        features unless the option ``columns`` asks for them.

        Raises:
            DamagedFileError: unreadable, an id twice, another number of features than expected, samples without a
                vector, or with one that is not finite.
            UsageError: columns that are not there, or that do not tell wells apart, in the task or in the table.
        """
        source, keys = self._source, samples.keys if isinstance(samples, Keyed) else {}
        metadata = samples.metadata_columns if isinstance(samples, Described) else ()
        tables = read_vectors(source.path, source.id_column, source.columns, tuple(keys), metadata)
        for stage, table in tables.items():
            found = table.features.shape[1]
            if source.dim not in (None, found):
                raise DamagedFileError(
                    f"{self._name}: stage {stage}: expected {source.dim} features, found {found}; say dim={found} if "
                    "that is meant"
                )
            if table.remark:
                _log.warning("%s: %s", self._name, table.remark)
            self._joined[stage] = self._join(f"{self._name}: stage {stage}", table, samples, keys)
        self._place = {sample: place for place, sample in enumerate(samples.ids)}
        self._tell(next(iter(self._joined.values())))

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of a batch; the ids were joined by :meth:`prepare`."""
        places = [self._place[sample] for sample in batch.ids]
        joined = {stage: self._joined[stage] for stage in stages}
        return {stage: one.features[one.rows[places]] for stage, one in joined.items()}

    def _join(self, title: str, table: VectorTable, samples: Samples, keys: Mapping[str, Sequence[str]]) -> Joined:
        if not table.keys:
            return join_ids(title, table, samples.ids)
        joined = join_keys(title, table, samples.ids, keys, getattr(samples, "well_of", None))
        check_averaging(title, table, joined, samples.well_names if isinstance(samples, NamedWells) else ())
        return joined

    def _tell(self, joined: Joined) -> None:
        if joined.n_surplus:
            _log.warning("%s: %d rows belong to no sample of this task and are not used", self._name, joined.n_surplus)
        if joined.n_averaged:
            _log.warning("%s: %d vectors are the mean of several rows", self._name, joined.n_averaged)


def build(context: BuildContext) -> PrecomputedModel:
    """Build the model; the vectors are read when it is prepared.

    Options: ``id`` (column of the sample ids), ``columns`` (a pattern such as ``emb_*``), ``dim`` (how many features
    are expected), ``name`` (what the vectors are called, for example ``mae-g-8``; it shapes no number).

    Raises:
        UsageError: ``dim`` is no number.
    """
    options = context.options
    dim = whole_number(context, "dim", 1) if "dim" in options else None
    path = Path(context.card.kwargs["path"])
    return PrecomputedModel(VectorSource(path, options.get("id"), options.get("columns"), dim))
