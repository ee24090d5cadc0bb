"""What makes two results the same cell, and two cells the same column."""

from __future__ import annotations

from typing import NamedTuple

from harness.modelstring import parse_models
from harness.results import Result

POSITION_VIEWS = ("graph_image", "points")
"""Views that hold positions of cells only."""


class ColumnKey(NamedTuple):
    """One question: results compare within it only."""

    task: str
    version: int
    spec_hash: str


class CellKey(NamedTuple):
    """One answer to it."""

    model: str
    column: ColumnKey
    view: str
    stage: str
    source: tuple[str, str]
    """Paper and table of a reported number, else empty."""


def column_key(result: Result) -> ColumnKey:
    """Return the column a result belongs to; the hash is empty for reported numbers."""
    return ColumnKey(result.task.name, result.task.version, result.task.spec_hash or "")


def cell_key(result: Result) -> CellKey:
    """Return the cell a result fills."""
    source = (result.source.paper, result.source.table) if result.source else ("", "")
    return CellKey(model_string(result), column_key(result), result.view, result.stage, source)


def model_string(result: Result) -> str:
    """Return the model string with its options sorted, so that their order makes no second row."""
    return _join(result.model.name, result.model_args)


def twin_string(result: Result) -> str:
    """Return the model string of the untrained twin: the same options, without trained weights."""
    kept = {key: value for key, value in result.model_args.items() if key != "weights"}
    return _join(f"untrained:{result.model.name}", kept)


def sort_options(model: str) -> str:
    """Sort the options of a model string.

    Example:
        >>> sort_options("single-conv,stride=2,filters=64")
        'single-conv,filters=64,stride=2'
    """
    request = parse_models(model)[0]
    return _join(request.model, request.options)


def depth(result: Result) -> int:
    """Return how deep the stage of a result lies among those of its model."""
    stages = result.model.stages
    return stages.index(result.stage) if result.stage in stages else len(stages)


def is_learned(result: Result) -> bool:
    """Whether the model was trained on anything; hand-crafted and randomly drawn ones were not."""
    return result.model.training in ("iid", "ood")


def sees_structure_only(result: Result) -> bool:
    """Whether the model saw positions or counts of cells only."""
    return result.model.structure or result.view in POSITION_VIEWS


def _join(name: str, options: dict[str, str]) -> str:
    return ",".join([name, *(f"{key}={value}" for key, value in sorted(options.items()))])
