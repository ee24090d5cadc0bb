"""Models in a file of one's own: ``file:PATH.py:OBJECT`` and ``file:CARD.yaml``."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import MissingDataError, PluginError, SpecError, UnknownNameError, UsageError
from harness.specs import ModelCard, load_card
from harness.types import BuildContext, DataContext, Model

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
        return load_card(Path(text))
    file, _, name = text.rpartition(":")
    if not file.endswith(".py") or not name:
        raise UsageError(f"file:{text}: expected file:PATH.py:OBJECT or file:CARD.yaml")
    path = Path(file).expanduser()
    changes = getattr(_load_object(path, name), "card", {})
    if not isinstance(changes, dict):
        raise SpecError(f"{path}: {name}.card: expected a dict of fields of a card, found {type(changes).__name__}")
    label = "".join(letter if letter.isalnum() else "-" for letter in f"{path.stem}-{name}".lower()).strip("-")
    fields = {
        "name": label,
        "label": name,
        "build": _BUILD,
        "input": {"channels": "any", "size": None, "resize": "none"},
        "untrained": {"twin": "none"},
        **changes,
        "kwargs": {**changes.get("kwargs", {}), "file": str(path), "object": name, "code": _digest(path)},
    }
    try:
        return ModelCard.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(f"{path}: {name}.card: {where}: {first['msg']}") from None


def build(context: BuildContext) -> Model:
    """Call the object of a card that :func:`file_card` made.

    It is called with the context if it needs an argument or has one named ``context``, else without; torch's random
    state is set to the seed around the call, so that an ``nn.Module`` is drawn the same way every time.

    Raises:
        PluginError: it returns neither a model nor an ``nn.Module``.
    """
    from torch import nn

    from .random_draw import drawn_from
    from .torch_model import TorchModel

    file, name = context.card.kwargs["file"], context.card.kwargs["object"]
    factory = _load_object(Path(file), name)
    with drawn_from(context.seed):
        made = factory(context) if _takes_context(factory) else factory()
    if isinstance(made, nn.Module):
        return TorchModel(made, context)
    if callable(getattr(made, "embed", None)):
        return made  # type: ignore[no-any-return]
    raise PluginError(
        f"{file}: {name} returned {type(made).__name__}; expected an nn.Module or an object with "
        "embed(batch, stages) -> {stage: (N, D) float32}"
    )


def _load_object(path: Path, name: str) -> Callable[..., Any]:
    module = f"harness_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    if not path.is_file():
        raise MissingDataError(f"file:{path}: no such file (looked for it in {Path.cwd()})")
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, path)
        if spec is None or spec.loader is None:
            raise PluginError(f"{path}: cannot be imported as Python")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded
        try:
            spec.loader.exec_module(loaded)
        except Exception as error:
            del sys.modules[module]
            raise PluginError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(sys.modules[module], name, None)
    if found is None:
        known = [key for key, value in vars(sys.modules[module]).items() if callable(value)]
        raise UnknownNameError(f"object of {path}", name, known)
    if not callable(found):
        raise UsageError(f"{path}: {name} is a {type(found).__name__}; expected a class or function")
    checked: Callable[..., Any] = found
    return checked


def _takes_context(factory: Callable[..., Any]) -> bool:
    parameters = inspect.signature(factory).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        parameter.name == "context" or (parameter.kind in positional and parameter.default is inspect.Parameter.empty)
        for parameter in parameters
    )


def _digest(path: Path) -> str:
    """Hash the Python files of the folder: what the file imports from beside it shapes its numbers too."""
    digest = hashlib.sha256()
    for file in sorted(path.resolve().parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
