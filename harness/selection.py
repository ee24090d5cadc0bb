"""From names on the command line to bound tasks and requested models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.binding import BoundTask, bind
from harness.cards import ModelCard
from harness.errors import UnknownNameError, UsageError, nearest
from harness.modelstring import ModelRequest
from harness.plugins import Origin, Registry, import_object
from harness.specs import load_spec_document
from harness.types import DataContext


@dataclass(frozen=True)
class RequestedModel:
    """A model string together with the card it leads to.

    Attributes:
        request: the model as asked for.
        card: its card.
        origin: who registered it.
        scratch: it starts from random weights because the task trains it.
    """

    request: ModelRequest
    card: ModelCard
    origin: Origin
    scratch: bool = False

    @property
    def random(self) -> bool:
        """Whether its weights are drawn for each seed."""
        return self.request.untrained or self.card.stochastic or self.scratch


def select_tasks(registry: Registry, wanted: str, changes: Mapping[str, str] | None = None) -> list[BoundTask]:
    """Bind every task that a comma-separated list of names, globs, groups, tags and YAML paths selects.

    Raises:
        UnknownNameError: nothing carries the name; the nearest are named.
        SpecError: a spec, or a parameter of it, does not validate.
    """
    bound: dict[tuple[str, str | None], BoundTask] = {}
    for part in (piece.strip() for piece in wanted.split(",")):
        name, _, view = part.partition("@")
        for path in _find(registry, name):
            task = bind(registry, path, view or None, changes or {})
            bound.setdefault((str(path), view or None), task)
    return list(bound.values())


def select_model(registry: Registry, request: ModelRequest, context: DataContext) -> RequestedModel:
    """Find the card of a model string and check its options.

    Raises:
        UnknownNameError: no card, alias or scheme of that name.
        UsageError: an option that the card does not know or that would have no effect, or a twin of a model without
            weights.
    """
    card, origin = _find_card(registry, request.base, context)
    if request.untrained and card.untrained.twin == "none":
        raise UsageError(f"{request}: {card.name} has no weights to leave untrained; ask for {request.base}")
    for key in request.options:
        if key not in card.options:
            near = nearest(key, card.options)
            known = ", ".join(card.options) or "none"
            raise UsageError(
                f"{request}: {card.name} has no option {key!r}."
                + (f" Did you mean {', '.join(near)}?" if near else "")
                + f" Known options: {known}."
            )
    _refuse_idle(request, card)
    return RequestedModel(request, card, origin)


def _refuse_idle(request: ModelRequest, card: ModelCard) -> None:
    """Refuse options that would name another model and change nothing in it."""
    if request.untrained and "weights" in request.options:
        raise UsageError(
            f"{request}: weights= has no meaning for {request.model}, which is drawn at random; leave out one of the "
            "two"
        )
    trained = not (request.untrained or card.stochastic) and (card.weights or "weights" in request.options)
    if trained and "init" in request.options and card.untrained.twin != "none":
        raise UsageError(
            f"{request}: init= has no meaning for {request.base}, which is trained; leave it out, or ask for "
            f"untrained:{request.base},init={request.options['init']}"
        )


def _find_card(registry: Registry, base: str, context: DataContext) -> tuple[ModelCard, Origin]:
    scheme, colon, rest = base.partition(":")
    if colon and scheme in registry.schemes:
        registry.check_unique("model scheme", scheme)
        origin = registry.origin("model scheme", scheme)
        return import_object(registry.schemes[scheme], str(origin))(rest, context), origin
    name = base if base in registry.cards else registry.aliases.get(base, base)
    registry.check_unique("model", name)
    if name not in registry.cards:
        schemes = ", ".join(f"{known}:…" for known in sorted(registry.schemes))
        raise UnknownNameError("model", base, registry.cards, f"`harness models ls` lists all; schemes: {schemes}.")
    return registry.cards[name], registry.origin("model", name)


def _find(registry: Registry, name: str) -> list[Path]:
    if name.endswith((".yaml", ".yml")):
        return [Path(name)]
    if name in registry.specs or ("task", name) in registry.refused:
        return [registry.spec_path(name)]
    if any(sign in name for sign in "*?["):
        found = [registry.spec_path(task) for task in sorted(registry.specs) if fnmatchcase(task, name)]
    else:
        found = [path for path in registry.specs.values() if name in _labels(path, registry)]
    if not found:
        labels = {label for path in registry.specs.values() for label in _labels(path, registry)}
        raise UnknownNameError("task", name, [*registry.specs, *labels], "`harness tasks ls` lists all.")
    return found


def _labels(path: Path, registry: Registry) -> set[str]:
    raw = load_spec_document(path, registry.spec_path).value
    group = raw.get("group")
    return {*map(str, raw.get("tags") or []), *([str(group)] if group else [])}
