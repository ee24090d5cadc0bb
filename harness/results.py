"""The result of one (task, view, model, stage): versioned JSON that carries its own evidence."""

from __future__ import annotations

import json
import os
from collections.abc import Sized
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from harness.errors import CannotWriteError, DamagedFileError, MissingDataError
from harness.specs import Strict

SCHEMA_VERSION: Literal[1] = 1
FieldValue = bool | int | float | str | None | list[bool | int | float | str | None]


class Metric(Strict):
    """One metric: its value and how far it can be trusted."""

    value: float | None
    """Null when undefined."""
    ci95: tuple[float, float] | None = None
    """95 % interval over clusters of units, conditional on folds and seeds; null when not computed."""
    fold_sd: float | None = None
    """Standard deviation (ddof 0) over folds of the seed means; null with one fold."""
    seed_sd: float | None = None
    """Standard deviation (ddof 1) over seeds of the fold means; null with one seed."""
    n_folds: int
    n_seeds: int
    n_units: int
    """Distinct units."""
    n_undefined: int
    """(seed, fold, unit) cells without a defined score."""


class UnitBlock(Strict):
    """Per-unit scores of one metric, columnar; the atoms of every number above them."""

    kind: str
    reduce: Literal["mean", "min", "max"] = "mean"
    undefined: Literal["omit", "propagate"] = "omit"
    unit: list[str]
    fold: list[int]
    seed: list[int]
    value: list[float | None]
    weight: list[float] | None = None
    cluster: list[str] | None = None

    @model_validator(mode="after")
    def _check_columns(self) -> UnitBlock:
        columns: list[Sized | None] = [self.fold, self.seed, self.value, self.weight, self.cluster]
        if any(len(column) != len(self.unit) for column in columns if column is not None):
            raise ValueError("columns of different lengths")
        if len(set(zip(self.seed, self.fold, self.unit, strict=True))) != len(self.unit):
            raise ValueError("a (seed, fold, unit) stands twice")
        if self.weight is not None and any(weight < 0 for weight in self.weight):
            raise ValueError("negative weight")
        return self


class UnitsFile(Strict):
    """Where the units of the companion metrics lie: a parquet file beside the result."""

    path: str
    sha256: str


class ResultTask(Strict):
    """The task a result belongs to."""

    name: str
    version: int
    group: str | None = None
    in_group_mean: bool = True
    group_members: list[str] = Field(default_factory=list)
    """Tasks that the mean of the group asks for, as far as they were installed."""
    spec_hash: str | None
    """Null only for reported numbers."""
    data_hash: str | None
    primary: str
    higher_is_better: bool
    chance: float | Literal["permutation"] | None = None
    ceiling: float | None = None
    baselines: list[str] = Field(default_factory=list)


Training = Literal["none", "untrained", "scratch", "iid", "ood"]


class ResultModel(Strict):
    """The model a result belongs to: what the card says, as far as a reader of scores needs it."""

    name: str
    """Model string without options, for example ``untrained:resnet18``."""
    label: str
    family: str
    pretrain_domain: str
    training: Training
    """Relation of the training data to the task's domain; ``scratch``: the task trains it, from random weights."""
    structure: bool
    """Sees positions or counts of cells only."""
    params: int | None = None
    dim: int
    stages: list[str] = Field(default_factory=list)
    """Stages of the card, shallow to deep."""
    licence: str | None = None
    exposure: str
    """clean | exposed | related | undisclosed."""
    identity: str
    """sha256 over card, options, weights and code: two models never share it."""
    card: dict[str, Any] = Field(default_factory=dict)
    """The full card."""


class Source(Strict):
    """Where a reported number was read."""

    paper: str
    table: str


class Provenance(Strict):
    """How, where and when; the only part of a result that may differ between two equal runs."""

    created: str
    """ISO 8601, UTC."""
    command: str
    device: str
    dtype: str
    batch_size: int
    seeds: list[int]
    seconds: dict[str, float]
    n_embedded: int
    """Samples embedded in this run; 0 when all came from the store."""
    versions: dict[str, str]
    plugin: str
    """Distribution and version that registered the model."""
    git: str | None = None
    platform: str = ""
    selected: dict[str, str] = Field(default_factory=dict)
    """Options changed for this run (``--set``)."""


class Result(Strict):
    """One result file."""

    schema_version: Literal[1] = 1
    status: Literal["ok", "partial", "reported"]
    model: ResultModel
    model_args: dict[str, str] = Field(default_factory=dict)
    stage: str
    view: str
    task: ResultTask
    metrics: dict[str, Metric]
    units: dict[str, UnitBlock] = Field(default_factory=dict)
    """Atoms of the headline metric."""
    units_file: UnitsFile | None = None
    """Atoms of the companion metrics."""
    diagnostics: dict[str, FieldValue] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    embedding_hash: str | None = None
    source: Source | None = None
    """For reported numbers."""
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _check_headline(self) -> Result:
        if self.task.primary not in self.metrics:
            raise ValueError(f"metrics: the headline {self.task.primary!r} is missing")
        if self.status != "reported" and self.task.primary not in self.units:
            raise ValueError(f"units: the atoms of the headline {self.task.primary!r} are missing")
        return self

    @property
    def headline(self) -> Metric:
        """The primary metric."""
        return self.metrics[self.task.primary]

    @property
    def is_last_stage(self) -> bool:
        """Whether the stage is the deepest that the model's card names."""
        return not self.model.stages or self.stage == self.model.stages[-1]

    @property
    def model_string(self) -> str:
        """The model string with its options."""
        return ",".join([self.model.name, *(f"{key}={value}" for key, value in self.model_args.items())])


def to_json(value: dict[str, Any]) -> str:
    """Write JSON canonically and readably: sorted keys, one line a column, NaN refused."""
    return _write(value, 0) + "\n"


def dump_result(result: Result) -> str:
    """Return the text of a result file."""
    return to_json(result.model_dump(mode="json"))


def load_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        MissingDataError: no such file.
        DamagedFileError: not JSON, not a result, or of a schema version that cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingDataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DamagedFileError(
            f"{path}: not a readable result file ({error}); delete it and run the task again"
        ) from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise DamagedFileError(
            f"{path}: schema_version is {version!r}, this harness reads {SCHEMA_VERSION}; "
            "update bioimage-harness, or run the task again"
        )
    try:
        return Result.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedFileError(f"{path}: {where}: {first['msg']}") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that a reader sees all of it or nothing.

    Raises:
        CannotWriteError: the folder or disk refuses; nothing is left behind.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise CannotWriteError(
            f"{path}: cannot be written ({error.strerror}); choose another folder or free some space"
        ) from error


def _write(value: Any, depth: int) -> str:
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(key, ensure_ascii=False)}: {_write(value[key], depth + 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(rows) + f"\n{end}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(pad + _write(item, depth + 1) for item in value) + f"\n{end}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
