"""The leaderboard: rows of models, cells of scores, deltas against baselines; versioned JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.results import Source
from harness.specs import Strict

Verdict = Literal["above", "tied", "below", "untested"]


class Delta(Strict):
    """A score against one baseline; a number that cannot be formed is null and ``reasons`` says why."""

    vs: str
    """Name of the baseline, as the task names it."""
    model: str | None = None
    """The row that stood for the baseline."""
    view: str | None = None
    """The view on which that row was scored."""
    value: float | None = None
    """The baseline's score."""
    abs: float | None = None
    """Model minus baseline, oriented so that higher is better."""
    abs_ci95: tuple[float, float] | None = None
    rel: float | None = None
    """abs over the baseline's magnitude; null unless the baseline is clearly above chance."""
    gain: float | None = None
    """abs over what the baseline leaves to the ceiling."""
    gain_ci95: tuple[float, float] | None = None
    share: float | None = None
    """Share of the model's score above chance that the baseline already reaches, clipped to [0, 1.5]."""
    p: float | None = None
    p_holm: float | None = None
    verdict: Verdict | None = None
    reasons: dict[str, str] = Field(default_factory=dict)
    """Field -> why it is null; ``abs`` tells why there is no delta at all."""


class Cell(Strict):
    """One score of a row."""

    task: str
    view: str
    stage: str
    metric: str
    score: float | None
    ci95: tuple[float, float] | None = None
    fold_sd: float | None = None
    seed_sd: float | None = None
    n_undefined: int = 0
    deltas: list[Delta] = Field(default_factory=list)
    rank: int | None = None
    rank_ci95: tuple[int, int] | None = None
    exposure: str
    source: Source | None = None
    spec_hash: str | None = None
    """Tells apart a task and its changed variants."""


class Row(Strict):
    """One model."""

    model: str
    """Model string with options."""
    label: str = ""
    family: str = ""
    training: dict[str, str] = Field(default_factory=dict)
    """Task -> none | untrained | iid | ood."""
    status: Literal["ok", "reported"] = "ok"
    cells: list[Cell]
    mean_gain: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    coverage: float = 0.0


class Column(Strict):
    """One column: a task (with its view and variant) or the mean of a group."""

    name: str
    """Task name, ``+<8 hex>`` appended for a changed spec, or the group's name."""
    view: str | None = None
    kind: Literal["task", "group"] = "task"
    version: int | None = None
    spec_hash: str | None = None
    data_hash: str | None = None
    primary: str
    higher_is_better: bool
    chance: float | Literal["permutation"] | None = None
    ceiling: float | None = None
    baselines: list[str] = Field(default_factory=list)
    members: list[str] = Field(default_factory=list)
    """Tasks of a group."""


class Leaderboard(Strict):
    """The merged results."""

    schema_version: Literal[1] = 1
    tasks: list[Column]
    rows: list[Row]
    inference: dict[str, Any] = Field(default_factory=dict)
