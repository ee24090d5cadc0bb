"""The shortcut baselines that run beside every model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.binding import BoundTask
from harness.match import Pairing, match
from harness.modelstring import ModelRequest, parse_models
from harness.options import RunOptions
from harness.plugins import Registry
from harness.selection import RequestedModel, select_model

UNTRAINED = "untrained"
"""In a spec's list of baselines: the model's own randomly initialised twin."""


def with_baselines(registry: Registry, pairings: Sequence[Pairing], options: RunOptions) -> list[Pairing]:
    """Return the pairings with the baselines of their tasks added, each once, tasks kept together.

    A baseline runs on the view of the pairing if it can take it, else on the first view of the task that it can.
    """
    chosen = {_key(pairing): pairing for pairing in pairings}
    for pairing in pairings:
        for request in _requests(registry, pairing, options):
            model = select_model(registry, request, options.data_context)
            for beside in _fit(pairing, model):
                known = chosen.get(_key(beside))
                if known is None:
                    chosen[_key(beside)] = beside
    order = list(dict.fromkeys(pairing.task.spec_hash for pairing in pairings))
    return sorted(chosen.values(), key=lambda pairing: order.index(pairing.task.spec_hash))


def _key(pairing: Pairing) -> tuple[str, str, str]:
    return pairing.task.spec_hash, pairing.view, str(pairing.model.request)


def _requests(registry: Registry, pairing: Pairing, options: RunOptions) -> Iterator[ModelRequest]:
    named = pairing.task.spec.baselines
    if options.baselines == "none":
        return
    if options.baselines not in ("cheap", "all"):
        yield from parse_models(options.baselines)
        return
    for name in named:
        if name in registry.cards and registry.cards[name].tiny:
            yield ModelRequest(name)
    request, card = pairing.model.request, pairing.model.card
    twin = not request.untrained and not card.stochastic and card.untrained.twin != "none"
    if options.baselines == "all" and UNTRAINED in named and twin:
        kept = {key: value for key, value in request.options.items() if key != "weights"}
        yield ModelRequest(request.base, untrained=True, options=kept)


def _fit(pairing: Pairing, model: RequestedModel) -> list[Pairing]:
    stages = ",".join(pairing.stages) if model.card is pairing.model.card else "last"
    fits = _match(pairing.task, model, stages)
    if not fits:  # NAME@VIEW was asked for, and the baseline sees another view of the same samples
        fits = [replace(one, task=pairing.task) for one in _match(replace(pairing.task, view=None), model, "last")]
    same = [one for one in fits if one.view == pairing.view]
    return same or fits[:1]


def _match(task: BoundTask, model: RequestedModel, stages: str) -> list[Pairing]:
    return [one for one in match(task, model, stages) if isinstance(one, Pairing)]
