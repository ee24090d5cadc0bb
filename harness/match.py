"""Which model can answer which task: a pairing, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import BaseModel, TypeAdapter, ValidationError

from harness.binding import BoundTask
from harness.errors import UnknownNameError
from harness.selection import RequestedModel
from harness.trainjob import TrainingProtocol


@dataclass(frozen=True)
class Pairing:
    """One model on one view of one task, with the stages to probe."""

    task: BoundTask
    model: RequestedModel
    view: str
    stages: tuple[str, ...]

    @property
    def trains(self) -> bool:
        """Whether the task trains the model before it is scored."""
        return isinstance(self.task.protocol, TrainingProtocol) and self.model.card.trainable


@dataclass(frozen=True)
class Mismatch:
    """A model and a task that do not fit, and why."""

    task: str
    model: str
    reason: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"{self.model} on {self.task}: {self.reason}"


def match(task: BoundTask, model: RequestedModel, stages: str) -> list[Pairing | Mismatch]:
    """Pair a model with every view of a task that it can take (or the one asked for).

    Args:
        task: the bound task.
        model: the requested model.
        stages: ``last``, ``all`` or names separated by commas.

    Raises:
        UnknownNameError: a stage the card does not have.
    """
    chosen = choose_stages(model, stages)
    card = model.card
    name = task.spec.name + (f"@{task.view}" if task.view else "")
    wanted = [task.view] if task.view else task.spec.input.views
    views = [view for view in wanted if view in card.views][: 1 if card.view_free else None]
    if card.datasets and (task.spec.dataset or task.spec.name) not in card.datasets:
        reason = f"{card.name} has embeddings for {', '.join(card.datasets)} only and cannot run {name}"
        return [Mismatch(name, str(model.request), reason)]
    if not views:
        reason = f"it takes {' or '.join(card.views)}; the task offers {' or '.join(wanted)}"
        return [Mismatch(name, str(model.request), reason)]
    if card.head is not None and not _offers_head(task.protocol_params, card.head):
        return [Mismatch(name, str(model.request), f"protocol {task.protocol.name} offers no head {card.head!r}")]
    return [_fit(task, model, view, chosen) for view in views]


def choose_stages(model: RequestedModel, stages: str) -> tuple[str, ...]:
    """Turn ``last``, ``all`` or a list of names into stages of the card, shallow to deep.

    Raises:
        UnknownNameError: naming the stages there are.
    """
    known = model.card.stages
    if stages == "last":
        return (known[-1],)
    if stages == "all":
        return tuple(known)
    wanted = [stage.strip() for stage in stages.split(",")]
    for stage in wanted:
        if stage not in known:
            raise UnknownNameError("stage", stage, known, f"{model.card.name} has {', '.join(known)}.")
    return tuple(stage for stage in known if stage in wanted)


def _offers_head(params: BaseModel, head: str) -> bool:
    """Tell whether a protocol takes this head: a choice of heads must name it, any other field must accept it."""
    field = type(params).model_fields.get("head")
    try:
        return field is not None and bool(TypeAdapter[object](field.annotation or object).validate_python(head))
    except ValidationError:
        return False


def _fit(task: BoundTask, model: RequestedModel, view: str, stages: tuple[str, ...]) -> Pairing | Mismatch:
    card, offered = model.card, task.spec.input.channels
    takes = card.input.channels
    if view != "points" and takes not in ("any", offered) and card.input.channel_adapt == "none" and not model.random:
        reason = f"its images have {offered} channels; {card.name} takes {takes} and has no rule for others"
        return Mismatch(f"{task.spec.name}@{view}", str(model.request), reason)
    pairing = Pairing(task, model, view, stages)
    return _from_scratch(pairing) if pairing.trains else pairing


def _from_scratch(pairing: Pairing) -> Pairing | Mismatch:
    """Let a task that trains begin with random weights; a model that brings its own would not be what was asked for."""
    task, model = pairing.task, pairing.model
    brings = "weights" in model.request.options or (model.card.weights is not None and not model.random)
    if brings:
        reason = f"the task trains from random weights; ask for untrained:{model.request.base}"
        return Mismatch(f"{task.spec.name}@{pairing.view}", str(model.request), reason)
    return replace(pairing, model=replace(model, scratch=True), stages=(model.card.stages[-1],))
