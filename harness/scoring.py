"""Embeddings to a result: evaluate every seed, lay the atoms together, summarise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from harness.errors import HarnessError, PluginError
from harness.match import Pairing
from harness.results import FieldValue, Metric, UnitBlock
from harness.summary import summarise
from harness.trainjob import TrainingProtocol
from harness.types import Dataset, Embeddings, Evaluation, Field, Scalar, Units

_SHOWN = 6
"""Names of metrics that a note shows."""


@dataclass(frozen=True)
class Score:
    """All that one stage of one pairing says.

    Attributes:
        metrics: metric name -> value with its spread.
        blocks: metric name -> atoms of all seeds.
        diagnostics: named facts.
        notes: sentences for the reader.
        chance: metric name -> score of a model that knows nothing, where the data say it; mean over seeds.
    """

    metrics: dict[str, Metric]
    blocks: dict[str, UnitBlock]
    diagnostics: dict[str, FieldValue]
    notes: list[str]
    chance: dict[str, float]


def score(pairing: Pairing, dataset: Dataset, sets: Sequence[Embeddings]) -> Score:
    """Evaluate the embeddings of one stage, one set a seed, and summarise them.

    Raises:
        PluginError: the protocol fails or leaves out the headline. A companion that it leaves out, because a parameter
            switches it off, is named in a note.
    """
    task, card = pairing.task, pairing.model.card
    head = {"head": card.head} if card.head is not None else {}
    params = task.protocol_params.model_copy(update=head)
    ask = cast(TrainingProtocol, task.protocol).judge if pairing.trains else task.protocol.evaluate
    evaluations: list[Evaluation] = []
    for embeddings in sets:
        try:
            evaluations.append(ask(embeddings, dataset, params, embeddings.seed))
        except HarnessError:
            raise
        except Exception as error:
            where = f"{task.spec.name}: protocol {task.protocol.name} failed on {pairing.model.request}"
            raise PluginError(f"{where}: {type(error).__name__}: {error}") from error
    seeds = [embeddings.seed for embeddings in sets]
    blocks: dict[str, UnitBlock] = {}
    left_out: list[str] = []
    for metric in task.spec.metrics:
        given = [evaluation.units[metric.name] for evaluation in evaluations if metric.name in evaluation.units]
        if len(given) == len(sets):
            blocks[metric.name] = stack(given, seeds)
        elif metric.primary or given:
            raise PluginError(f"{task.spec.name}: protocol {task.protocol.name} returned no units of {metric.name}")
        else:
            left_out.append(metric.name)
    notes = dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes)
    return Score(
        metrics={name: summarise(block) for name, block in blocks.items()},
        blocks=blocks,
        diagnostics=combine([evaluation.diagnostics for evaluation in evaluations]),
        notes=[*notes, *([_tell_left_out(left_out)] if left_out else [])],
        chance={
            name: float(np.mean([evaluation.chance[name] for evaluation in evaluations]))
            for name in evaluations[0].chance
        },
    )


def _tell_left_out(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"not computed with these parameters: {', '.join(names[:_SHOWN])}{more}"


def stack(units: Sequence[Units], seeds: Sequence[int]) -> UnitBlock:
    """Lay the units of several seeds under one another; NaN becomes null."""
    first = units[0]
    return UnitBlock(
        kind=first.kind,
        reduce=first.reduce,
        undefined=first.undefined,
        unit=[name for one in units for name in one.unit],
        fold=[int(fold) for one in units for fold in one.fold],
        seed=[seed for one, seed in zip(units, seeds, strict=True) for _ in one.unit],
        value=[None if np.isnan(value) else float(value) for one in units for value in one.value],
        weight=None
        if first.weight is None
        else [float(w) for one in units if one.weight is not None for w in one.weight],
        cluster=None if first.cluster is None else [c for one in units if one.cluster is not None for c in one.cluster],
    )


def combine(diagnostics: Sequence[Mapping[str, Field]]) -> dict[str, FieldValue]:
    """Join the diagnostics of several seeds.

    Equal ones stand once, flags say whether any seed raised them, lists are united, numbers and texts are listed by
    seed.

    Example:
        >>> combine([{"k": 3, "bad": False, "x": 1.0}, {"k": 3, "bad": True, "x": 2.0}])
        {'bad': True, 'k': 3, 'x': [1.0, 2.0]}
    """
    joined: dict[str, FieldValue] = {}
    for name in sorted({name for one in diagnostics for name in one}):
        values = [one.get(name) for one in diagnostics]
        first = values[0]
        if all(value == first for value in values):
            joined[name] = _items(first) if isinstance(first, (list, tuple)) else _scalar(first)
        elif all(isinstance(value, bool) for value in values):
            joined[name] = any(values)
        elif any(isinstance(value, (list, tuple)) for value in values):
            joined[name] = list(dict.fromkeys(item for value in values for item in _items(value)))
        else:
            joined[name] = [_scalar(value) for value in values]
    return joined


def _items(value: Field) -> list[Scalar]:
    return list(value) if isinstance(value, (list, tuple)) else [_scalar(value)]


def _scalar(value: Field) -> Scalar:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise PluginError(f"a diagnostic is neither a number, a text nor a list of them: {value!r}")
