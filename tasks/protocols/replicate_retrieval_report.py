"""What a result on replicate retrieval says beside its scores: chance, counts, p-values and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.types import Field

from .replicate_retrieval_companions import HEADLINE
from .replicate_retrieval_params import Params
from .replicate_retrieval_profiles import Remark
from .replicate_retrieval_units import UnitScores

_UNDEFINED = "the score of their fold is undefined; set protocol.params.undefined=omit to average the others"


@dataclass(frozen=True)
class FoldOutcome:
    """What became of one fold.

    Attributes:
        answers: metric -> scores of its units.
        dropped: features that ``drop_std`` left out.
        remarks: oddities that the normalisation met.
        similarity: dtype of the similarities.
        n_zero: wells whose profile is zero, so that their similarity to everything is 0.
    """

    answers: Mapping[str, UnitScores]
    dropped: int
    remarks: tuple[Remark, ...]
    similarity: str
    n_zero: int


def tabulate(outcomes: Sequence[FoldOutcome], seed: int) -> dict[str, Field]:
    """Return the diagnostics of an evaluation.

    ``chance.METRIC`` is the mean over folds of the mean over units of the expected average precision of random
    rankings. ``queries.*`` are columns with one entry a unit and fold of the headline, ``p.METRIC.*`` the same for a
    tested metric; p- and q-values carry the seed of the embeddings in their names.
    """
    facts: dict[str, Field] = {
        "similarity": sorted({one.similarity for one in outcomes}),
        "features_dropped": max(one.dropped for one in outcomes),
        "zero_profiles": sum(one.n_zero for one in outcomes),
    }
    expected = expect_by_chance(outcomes)
    for metric in outcomes[0].answers:
        folds = [one.answers[metric] for one in outcomes]
        facts[f"chance.{metric}"] = expected.get(metric)
        facts[f"left_out.{metric}"] = sum(one.left_out for one in folds)
        if metric == HEADLINE:
            facts |= _place("queries", folds) | {
                "queries.n": [int(count) for one in folds for count in one.n_queries],
                "queries.relevant": _join(one.relevant for one in folds),
                "queries.gallery": _join(one.gallery for one in folds),
                "queries.chance": _join(one.chance for one in folds),
            }
        if folds[0].p is not None:
            facts |= _place(f"p.{metric}", folds) | {
                f"p.{metric}.seed{seed}.p": _join(one.p for one in folds if one.p is not None),
                f"p.{metric}.seed{seed}.q": _join(one.q for one in folds if one.q is not None),
            }
    return facts


def expect_by_chance(outcomes: Sequence[FoldOutcome]) -> dict[str, float]:
    """Return of each metric the mean over folds of the mean over units for random rankings; none where undefined."""
    means = {
        metric: float(np.mean([_mean(one.answers[metric].chance) for one in outcomes]))
        for metric in outcomes[0].answers
    }
    return {metric: value for metric, value in means.items() if not np.isnan(value)}


def warn(outcomes: Sequence[FoldOutcome], params: Params) -> tuple[str, ...]:
    """Return sentences about what a reader of the score should see."""
    notes = [*_tell_remarks([remark for one in outcomes for remark in one.remarks])]
    n_zero = sum(one.n_zero for one in outcomes)
    if n_zero:
        notes.append(f"{n_zero} wells have a profile of zeros after normalisation; their similarity to all others is 0")
    if params.p_values is not None:
        notes.append(
            "p- and q-values take the queries of a label as independent, which they are not: of random embeddings "
            "9 to 15 % of labels have p <= .05 (simulated)"
        )
    for metric in outcomes[0].answers:
        folds = [one.answers[metric] for one in outcomes]
        reasons = sorted({one.undefined for one in folds if one.undefined})
        if reasons:
            count = sum(one.undefined is not None for one in folds)
            notes.append(f"{metric} is undefined in {count} of {len(folds)} folds: {'; '.join(reasons)}")
            continue
        empty = [
            f"{name} (fold {one.fold})"
            for one in folds
            for name, n in zip(one.names, one.n_queries, strict=True)
            if n == 0
        ]
        if empty:
            fate = _UNDEFINED if params.undefined == "propagate" else "they are left out"
            notes.append(
                f"{metric}: {len(empty)} {folds[0].kind} scores are undefined, as no well has anything relevant to "
                f"find ({', '.join(empty[:3])}{', ...' if len(empty) > 3 else ''}); {fate}"
            )
    return tuple(notes)


def _tell_remarks(remarks: Sequence[Remark]) -> list[str]:
    places: dict[tuple[str, str], list[str]] = {}
    for remark in remarks:
        places.setdefault((remark.step, remark.what), []).append(remark.where)
    return [
        f"{step} {what} ({where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''})"
        for (step, what), where in places.items()
    ]


def _place(prefix: str, folds: Sequence[UnitScores]) -> dict[str, Field]:
    return {
        f"{prefix}.unit": [name for one in folds for name in one.names],
        f"{prefix}.fold": [one.fold for one in folds for _ in one.names],
    }


def _join(columns: Iterable[NDArray[np.float64]]) -> list[float | None]:
    return [_number(value) for column in columns for value in column]


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _number(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
