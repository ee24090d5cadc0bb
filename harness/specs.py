"""Task specs: the words of a task's YAML file, strict, with errors that name the line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.errors import SpecError
from harness.yamlfile import YamlDocument, load_yaml, merge

View = Literal["image", "graph_image", "points", "profiles"]
"""``profiles``: no picture at all; only vectors that somebody computed already can answer."""
_NAME = re.compile(r"^[a-z0-9][a-z0-9.-]*$")


def _check_name(name: str) -> str:
    if not _NAME.match(name):
        raise ValueError("lower-case letters, digits, dots and dashes only, starting with a letter or digit")
    return name


def _refuse_text_number(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f"expected a number, got the text {value!r} (YAML needs a dot in exponents: write 1.0e-5)")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
Number = Annotated[float, BeforeValidator(_refuse_text_number)]


class Strict(BaseModel):
    """Immutable, without unknown keys, without NaN; the docstring of a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


class MetricSpec(Strict):
    """One metric of a task."""

    name: str
    """Name as the protocol reports it, for example ``pcc``."""
    primary: bool = False
    """The headline; exactly one metric of a task is."""
    higher_is_better: bool = True
    chance: Number | Literal["permutation"] | None = None
    """Score of a model that knows nothing; null when unknown."""
    ceiling: Number | None = None
    """Best possible score; null when there is none."""


class ProtocolSpec(Strict):
    """Which procedure turns embeddings into scores, and its parameters."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    """Keys of the protocol's and of the reader's own parameter models, in one flat namespace."""


class TaskInput(Strict):
    """What a sample looks like, and which fields of a card's transform the task overrides."""

    views: list[View] = Field(min_length=1)
    channels: int = Field(3, ge=1)
    """Channels of the images."""
    um_per_px: Number | None = Field(None, gt=0)
    """Pixel size of the images in micrometres."""
    override: dict[str, Any] = Field(default_factory=dict)
    """Fields of a card's ``input`` that this task sets for every model."""


class Inference(Strict):
    """How uncertainty is taken from the units."""

    unit: str
    """Kind of the units."""
    cluster: str | None = None
    """Kind of the clusters of dependent units; null when units are independent."""


class SourceSpec(BaseModel):
    """Where the data come from: the name of a reader and that reader's own keys."""

    model_config = ConfigDict(extra="allow", frozen=True)
    reader: str

    @property
    def keys(self) -> dict[str, Any]:
        """The reader's own keys."""
        return dict(self.model_extra or {})


class TaskSpec(Strict):
    """One task: what is asked, on which data, by which protocol, scored how."""

    name: Name
    version: int = Field(1, ge=1)
    title: str
    description: str = ""
    warnings: list[str] = Field(default_factory=list)
    """Known defects of the data that a reader of a score should know."""
    group: Name | None = None
    """Group with a column of its own in the leaderboard."""
    in_group_mean: bool = True
    """Whether the task counts in the mean of its group."""
    tags: list[Name] = Field(default_factory=list)
    domain: str
    """Compared with a card's ``pretrain_domain`` to tell in-domain from out-of-domain training."""
    dataset: str | None = None
    """Key of the data set in the ``exposure`` block of model cards."""
    licence: str
    paper: str | None = None
    source: SourceSpec
    input: TaskInput
    protocol: ProtocolSpec
    metrics: list[MetricSpec] = Field(min_length=1)
    inference: Inference
    baselines: list[str] = Field(default_factory=list)
    """Model names whose scores stand beside every score; ``untrained`` means the model's own random twin."""

    @model_validator(mode="after")
    def _check_metrics(self) -> TaskSpec:
        primary = [metric.name for metric in self.metrics if metric.primary]
        if len(primary) != 1:
            raise ValueError(
                f"metrics: exactly one must be primary, got {len(primary)} ({', '.join(primary) or 'none'})"
            )
        names = [metric.name for metric in self.metrics]
        if len(set(names)) != len(names):
            raise ValueError(f"metrics: a name stands twice ({', '.join(names)})")
        return self

    @property
    def primary(self) -> MetricSpec:
        """The headline metric."""
        return next(metric for metric in self.metrics if metric.primary)


def load_spec(path: Path, shipped: Callable[[str], Path] | None = None) -> TaskSpec:
    """Read a task spec; ``include: NAME`` (or a path) is laid under it.

    Args:
        path: the YAML file.
        shipped: finds the file of a shipped task by name; needed for ``include: NAME``.

    Raises:
        MissingDataError: a file does not exist.
        SpecError: it does not validate, or includes itself.
    """
    return load_spec_document(path, shipped).validate(TaskSpec)


def load_spec_document(
    path: Path, shipped: Callable[[str], Path] | None = None, _above: tuple[Path, ...] = ()
) -> YamlDocument:
    """Read a task spec with its includes, not yet validated."""
    document = load_yaml(path)
    if "include" not in document.value:
        return document
    wanted = str(document.value["include"])
    beside = path.parent / wanted
    if beside.suffix in (".yaml", ".yml"):
        base_path = beside
    elif shipped is not None:
        base_path = shipped(wanted)
    else:
        raise SpecError(
            f"{document.where(('include',))}: include: {wanted!r} is neither a YAML file nor a shipped task"
        )
    if base_path.resolve() in (path.resolve(), *(above.resolve() for above in _above)):
        raise SpecError(f"{document.where(('include',))}: include: {wanted!r} includes itself")
    base = load_spec_document(base_path, shipped, (*_above, path))
    change = {key: value for key, value in document.value.items() if key != "include"}
    return YamlDocument(merge(base.value, change), {**base.lines, **document.lines})
