"""Models in a file of one's own: ``file:PATH.py:OBJECT`` and ``file:CARD.yaml``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.cards import ModelCard, load_card
from harness.errors import PluginError, SpecError, UsageError
from harness.types import BuildContext, DataContext, Model
from harness.yamlfile import explain, problems

from .card_names import card_name
from .source_file import hash_folder, importing_beside, load_object

_BUILD = "harness.models.file_model:build"


def file_card(text: str, context: DataContext) -> ModelCard:  # noqa: ARG001 - the contract's signature
    """Make the card of a model in a file.

    Args:
        text: ``PATH.py:OBJECT`` (a class or function that returns a model or an ``nn.Module``; a dict ``card`` on the
            object sets fields of its card) or ``CARD.yaml``.
        context: not used; the path is relative to the working folder.

    Raises:
        MissingDataError: no such file.
        UnknownNameError: the file has no such object.
        SpecError: the card does not validate.
        PluginError: the file fails when it is imported.
    """
    if text.endswith((".yaml", ".yml")):
        card = load_card(Path(text).expanduser())
        return card if card.label else card.model_copy(update={"label": f"file:{text}"})
    file, _, name = text.rpartition(":")
    if not file.endswith(".py") or not name:
        raise UsageError(f"file:{text}: expected file:PATH.py:OBJECT or file:CARD.yaml")
    path = Path(file).expanduser()
    code = hash_folder(path)
    changes = getattr(load_object(path, name, code), "card", {})
    if not isinstance(changes, dict) or not isinstance(changes.get("kwargs", {}), dict):
        raise SpecError(f"{path}: {name}.card: expected a dict of fields of a card, its kwargs a dict too")
    fields = {
        "name": card_name("file", f"{path.stem}-{name}"),
        "label": name,
        "build": _BUILD,
        "input": {"channels": "any", "size": None, "resize": "none"},
        "untrained": {"twin": "none"},
        **changes,
        "kwargs": {**changes.get("kwargs", {}), "file": str(path), "object": name, "code": code},
    }
    try:
        return ModelCard.model_validate(fields)
    except ValidationError as error:
        (_, first), *_ = problems(error)
        raise SpecError(f"{path}: {name}.card: {explain(first, ModelCard)}") from None


def build(context: BuildContext) -> Model:
    """Call the object of a card that :func:`file_card` made.

    It is called with the context if it has an argument named ``context`` or needs one, else without; torch's random
    state is set to the seed around the call, so that an ``nn.Module`` is drawn the same way every time.

    Raises:
        PluginError: it returns neither a model nor an ``nn.Module``.
    """
    from torch import nn

    from .random_draw import drawn_from
    from .torch_model import TorchModel

    file, name, code = (context.card.kwargs[key] for key in ("file", "object", "code"))
    factory = load_object(Path(file), name, code)
    with drawn_from(context.seed), importing_beside(Path(file)):
        made = _call(factory, context)
    if isinstance(made, nn.Module):
        return TorchModel(made, context)
    if callable(getattr(made, "embed", None)):
        return made  # type: ignore[no-any-return]
    raise PluginError(
        f"{file}: {name} returned {type(made).__name__}; expected an nn.Module or an object with "
        "embed(batch, stages) -> {stage: (N, D) float32}"
    )


def _call(factory: Callable[..., Any], context: BuildContext) -> Any:
    parameters = inspect.signature(factory).parameters
    named = parameters.get("context")
    if named is not None and named.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return factory(context=context)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = any(one.kind in positional and one.default is inspect.Parameter.empty for one in parameters.values())
    return factory(context) if needed else factory()
