"""Everything a result says about itself besides its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.hashing import hash_value
from harness.identity import Identity
from harness.match import Pairing
from harness.provenance import command_line, git_revision, machine, now, versions
from harness.results import Provenance, Result, ResultModel, ResultTask, Training, UnitBlock
from harness.scoring import Score
from harness.types import BuildContext, Dataset, Embeddings


@dataclass(frozen=True)
class Outcome:
    """A result, the atoms of its companion metrics, and files that go beside it, by the ending of their names."""

    result: Result
    companions: dict[str, UnitBlock]
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Making:
    """How the embeddings of a pairing came about; the same for all its stages."""

    pairing: Pairing
    dataset: Dataset
    context: BuildContext
    identity: Identity
    seeds: tuple[int, ...]
    n_embedded: int
    batch_size: int
    seconds: float
    changes: Mapping[str, str]


def describe(
    made: Making, sets: Sequence[Embeddings], scored: Score, status: Literal["ok", "partial"], seconds: float
) -> Outcome:
    """Put scores, atoms and provenance of one stage into a result.

    Args:
        made: how the embeddings came about.
        sets: the embeddings of the stage, one a seed.
        scored: what the protocol and the diagnostics said of them.
        status: ``partial`` for a run on some of the samples.
        seconds: wall time of the evaluation.
    """
    primary = made.pairing.task.spec.primary.name
    result = Result(
        status=status,
        model=_model(made, sets[0].features.shape[1]),
        model_args=dict(made.pairing.model.request.options),
        stage=sets[0].stage,
        view=made.pairing.view,
        task=_task(made, scored),
        metrics=scored.metrics,
        units={primary: scored.blocks[primary]},
        diagnostics=scored.diagnostics,
        notes=_notes(made, scored),
        embedding_hash=hash_value([embeddings.digest for embeddings in sets]),
        provenance=_provenance(made, seconds),
    )
    return Outcome(result, {name: block for name, block in scored.blocks.items() if name != primary})


def _model(made: Making, dim: int) -> ResultModel:
    pairing = made.pairing
    card, task, request = pairing.model.card, pairing.task.spec, pairing.model.request
    trained: Training = "iid" if card.pretrain_domain == task.domain else "ood"
    untouched = card.family == "hand-crafted"
    if pairing.trains:
        trained = "scratch"
    elif pairing.model.random:
        trained = "untrained"
    return ResultModel(
        name=request.model,
        label=("untrained " if request.untrained else "") + (request.options.get("name") or card.label or card.name),
        family=card.family,
        pretrain_domain="none" if pairing.model.random else card.pretrain_domain,
        training="none" if untouched else trained,
        structure=card.structure,
        params=card.expect.params,
        dim=dim,
        stages=card.stages,
        licence=card.access.licence,
        exposure="clean" if pairing.model.random else card.exposure.get(task.dataset or task.name, "undisclosed"),
        identity=made.identity.digest,
        card=card.model_dump(mode="json"),
    )


def _task(made: Making, scored: Score) -> ResultTask:
    spec, primary = made.pairing.task.spec, made.pairing.task.spec.primary
    return ResultTask(
        name=spec.name,
        version=spec.version,
        group=spec.group,
        in_group_mean=spec.in_group_mean,
        group_members=list(made.pairing.task.group_members),
        spec_hash=made.pairing.task.spec_hash,
        data_hash=made.dataset.data_hash,
        primary=primary.name,
        higher_is_better=primary.higher_is_better,
        chance=scored.chance.get(primary.name, primary.chance),
        ceiling=primary.ceiling,
        baselines=spec.baselines,
    )


def _notes(made: Making, scored: Score) -> list[str]:
    task = made.pairing.task
    changed = [f"spec changed for this run ({task.spec_hash[:8]})"] if task.changed else []
    return [*changed, *task.spec.warnings, *scored.notes]


def _provenance(made: Making, seconds: float) -> Provenance:
    return Provenance(
        created=now(),
        command=command_line(),
        device=made.context.device,
        dtype=made.context.dtype,
        batch_size=made.batch_size,
        seeds=list(made.seeds),
        seconds={"embed": round(made.seconds, 3), "evaluate": round(seconds, 3)},
        n_embedded=made.n_embedded,
        versions=versions(made.pairing.model.card.requires),
        plugin=str(made.pairing.model.origin),
        platform=machine(),
        git=git_revision(),
        selected=dict(made.changes),
    )
