"""The boxes on the line from sample to score: frozen, checked, free of biology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from harness.progress import Silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    from harness.cards import InputTransform, ModelCard
    from harness.specs import TaskSpec

Scalar = bool | int | float | str | None
"""A JSON scalar; NaN and infinities are refused when a result is written."""
Field = Scalar | Sequence[Scalar]
"""A diagnostic's value."""
Reduce = Literal["mean", "min", "max"]
Undefined = Literal["omit", "propagate"]


@dataclass(frozen=True)
class Batch:
    """Consecutive samples of one view, as a dataset delivers them and a model takes them.

    Attributes:
        ids: sample ids, length N.
        view: ``image``, ``graph_image``, ``points`` or ``profiles``.
        images: (N, C, H, W) uint8 0..255, or float32 in [0, 1]; any memory order. None for ``points``.
        points: N arrays (n_i, 2) float32 or float64, columns x, y in about [-1, 1]; n_i may be 0. None
            for images.
    """

    ids: tuple[str, ...]
    view: str
    images: NDArray[np.uint8] | NDArray[np.float32] | None = None
    points: tuple[NDArray[np.floating], ...] | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)


class Samples(Protocol):
    """Samples in a fixed order, without labels: all that a model may see."""

    @property
    def ids(self) -> Sequence[str]:
        """Sample ids, unique, in a fixed order."""

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read the samples ``start`` to ``stop`` (exclusive) of one view; safe to call from a thread."""


@runtime_checkable
class Dataset(Samples, Protocol):
    """What a reader opens: samples, plus whatever the protocols it serves need (labels, folds, targets)."""

    @property
    def data_hash(self) -> str:
        """sha256 over the contents of every file used, or over the generator's parameters."""

    def fingerprint(self, view: str) -> str:
        """Return the sha256 of what :meth:`read` delivers for a view: contents, order, options, reader's code."""


@dataclass(frozen=True)
class Embeddings:
    """One vector a sample: one model, one stage, one seed.

    Attributes:
        ids: sample ids, in the dataset's order.
        features: (n, D) float32, finite.
        stage: name of the probed depth.
        seed: seed of the random initialisation; 0 for models without one.
        digest: sha256 over the stored shards.
    """

    ids: tuple[str, ...]
    features: NDArray[np.float32]
    stage: str
    seed: int
    digest: str


@dataclass(frozen=True)
class Units:
    """Per-unit scores of one metric: the atoms from which every headline is recomputed.

    Attributes:
        kind: what a unit is, for example ``gene`` or ``class``.
        unit: names, length n (one entry a unit and fold).
        fold: (n,) int64.
        value: (n,) float64; NaN marks an undefined score here and becomes null in a result.
        weight: (n,) float64 >= 0, or None for equal weights.
        cluster: names of the clusters of dependent units, or None.
        reduce: how the units of a fold become its score: weighted mean, lowest or highest unit.
        undefined: ``omit`` leaves undefined units out; ``propagate`` makes the headline undefined too.
    """

    kind: str
    unit: tuple[str, ...]
    fold: NDArray[np.int64]
    value: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None
    cluster: tuple[str, ...] | None = None
    reduce: Reduce = "mean"
    undefined: Undefined = "omit"

    def __post_init__(self) -> None:
        """Check that all columns have one length and that no (unit, fold) stands twice."""
        columns = (self.fold, self.value, self.weight, self.cluster)
        if any(len(column) != len(self.unit) for column in columns if column is not None):
            raise ValueError(f"units of kind {self.kind!r}: columns of different lengths")
        if len({*zip(self.unit, self.fold.tolist(), strict=True)}) != len(self.unit):
            raise ValueError(f"units of kind {self.kind!r}: a (unit, fold) pair stands twice")


@dataclass(frozen=True)
class Evaluation:
    """What a protocol returns for one set of embeddings.

    Attributes:
        units: metric name -> atoms; must hold the headline, and every companion of the spec that parameters ask for.
        diagnostics: named facts about the evaluation (solver, effective components, non-convergence).
        notes: sentences for the reader of the table, for example a warning.
        chance: metric name -> score of a model that knows nothing, where it depends on the data; the spec's number
            stands for the others.
    """

    units: Mapping[str, Units]
    diagnostics: Mapping[str, Field] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    chance: Mapping[str, float] = field(default_factory=dict)


class Progress(Protocol):
    """Where long work tells how far it is."""

    def start(self, title: str, total: int) -> None:
        """Begin a stretch of ``total`` steps."""

    def advance(self, steps: int) -> None:
        """Tell that ``steps`` more are done."""

    def finish(self) -> None:
        """End the stretch."""

    def warn(self, message: str) -> None:
        """Show one line of warning."""


@dataclass(frozen=True)
class DataContext:
    """Where a reader finds files and how much it may take.

    Attributes:
        data_dirs: mirrors of the public sources, searched in order.
        cache: folder for downloads and prepared data.
        offline: no network.
        limit: at most about this many samples, spread so that an evaluation is still possible; None for all.
        keep_data: keep streamed files.
        progress: where a reader tells how far long work, such as preparing files, has come.
    """

    data_dirs: tuple[Path, ...] = ()
    cache: Path = Path()
    offline: bool = False
    limit: int | None = None
    keep_data: bool = False
    progress: Progress = field(default_factory=Silent, compare=False)


@dataclass(frozen=True)
class BuildContext:
    """What a builder needs to know to build a model.

    Attributes:
        card: the card of the model.
        untrained: build the randomly initialised twin.
        seed: seed of the initialisation.
        view: the view it will be given.
        channels: channels of the images (0 for ``points``).
        transform: the card's input transform with the task's overrides applied.
        options: ``KEY=VALUE`` options of the model string.
        device: ``cpu``, ``cuda`` or ``mps``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        data_dirs: where weights are searched first.
        cache: folder for downloads.
        offline: no network.
        compile: run the network through a compiler, if it is of a kind that has one.
    """

    card: ModelCard
    untrained: bool = False
    seed: int = 0
    view: str = "image"
    channels: int = 3
    transform: InputTransform | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = "float32"
    data_dirs: tuple[Path, ...] = ()
    cache: Path = Path()
    offline: bool = False
    compile: bool = False


@dataclass(frozen=True)
class WeightsState:
    """Whether a model can run as it is.

    Attributes:
        ready: its weights are at hand, or it needs none.
        state: in a few words, for a table.
        where: the file, or where it would come from.
    """

    ready: bool
    state: str
    where: str


class Model(Protocol):
    """A model: batches in, one float32 (N, D) array a stage out.

    A model may also define ``prepare(samples: Samples, view: str) -> None``, called once before the first
    batch, for label-free facts about the whole task (such as the mean cell count), and ``send(batch: Batch) -> None``,
    called one batch before that batch is embedded, to begin fetching it to a device.
    """

    def embed(self, batch: Batch, stages: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Embed one batch; the keys of the answer are the stages asked for."""


class EvaluationProtocol(Protocol):
    """An evaluation procedure: embeddings and a dataset in, per-unit scores out."""

    name: ClassVar[str]
    Params: ClassVar[type[BaseModel]]
    """Strict pydantic model of the keys this protocol reads from ``protocol.params``."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics it can return; patterns where they depend on the data, for example ``mAP.*``."""

    def evaluate(self, embeddings: Embeddings, dataset: Dataset, params: BaseModel, seed: int) -> Evaluation:
        """Score one set of embeddings."""


class DatasetReader(Protocol):
    """Opens the data of a task."""

    name: ClassVar[str]
    Params: ClassVar[type[BaseModel]]
    """Strict pydantic model of the keys this reader takes from ``protocol.params``; no key of a protocol's own."""
    Source: ClassVar[type[BaseModel]]
    """Strict pydantic model of the spec's ``source`` block, ``reader`` left out."""

    def open(self, spec: TaskSpec, source: BaseModel, params: BaseModel, context: DataContext) -> Dataset:
        """Find and check the files; raise MissingDataError or DamagedFileError; read no pixels yet."""
