"""Who made an embedding: everything that shapes a model's numbers, as one hash."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, PluginError
from harness.hashing import hash_code, hash_file, hash_value
from harness.selection import RequestedModel
from harness.types import BuildContext

_PROSE = {"label", "aliases", "access", "datasets", "exposure", "training_data", "um_per_px", "paper", "year", "notes"}
"""Fields of a card that tell about the model without shaping its numbers."""


@dataclass(frozen=True)
class Identity:
    """The identity of one model, without its seed.

    Attributes:
        digest: sha256; two models never share it.
        weights: identity of the trained weights, empty for models without.
    """

    digest: str
    weights: str


def identify(model: RequestedModel, context: BuildContext) -> Identity:
    """Hash what shapes a model's numbers: card, options, weights, files named in options, code, libraries.

    Raises:
        MissingDataError: trained weights are asked for and cannot be found (with what to do).
        PluginError: the model's module cannot be imported, or fails.
    """
    card = model.card
    weights = "" if model.random else _weights(model, context)
    facts: dict[str, Any] = {
        "card": {key: value for key, value in card.model_dump(mode="json").items() if key not in _PROSE},
        "options": dict(context.options),
        "files": {key: hash_file(Path(value)) for key, value in context.options.items() if Path(value).is_file()},
        "random": model.random,
        "weights": weights,
        "code": hash_code(card.build.partition(":")[0]),
        "libraries": {name: installed(name) for name in sorted({*card.requires, "numpy"})},
        "plugin": str(model.origin),
    }
    return Identity(hash_value(facts), weights)


def installed(distribution: str) -> str:
    """Return the installed version of a distribution, or ``absent``."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def _weights(model: RequestedModel, context: BuildContext) -> str:
    module = model.card.build.partition(":")[0]
    try:
        finder = getattr(importlib.import_module(module), "identify", None)
        return str(finder(context)) if finder is not None else ""
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{model.request} ({model.origin}): {type(error).__name__}: {error}") from error
