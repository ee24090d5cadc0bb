"""Evaluation harness for representations of cells and tissue.

``harness.evaluate(model, task)`` is the command line's ``harness eval`` in Python. Everything else a plugin needs
is here too; heavy parts are imported when they are first touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.cards import ModelCard
    from harness.hookspecs import hookimpl
    from harness.runner import evaluate
    from harness.specs import TaskSpec
    from harness.types import Batch, BuildContext, Model

__all__ = [
    "Batch",
    "BuildContext",
    "Model",
    "ModelCard",
    "TaskSpec",
    "TorchModel",
    "evaluate",
    "hookimpl",
    "identify_weights",
    "load_weights",
    "read_weights",
]

_HOMES = {
    "hookimpl": "harness.hookspecs",
    "evaluate": "harness.runner",
    "ModelCard": "harness.cards",
    "TaskSpec": "harness.specs",
    "Batch": "harness.types",
    "BuildContext": "harness.types",
    "Model": "harness.types",
    "TorchModel": "harness.models.torch_model",
    "identify_weights": "harness.models.weights",
    "load_weights": "harness.models.fitting",
    "read_weights": "harness.models.weights",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
