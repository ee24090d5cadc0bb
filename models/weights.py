"""Trained weights: found, identified, read without running any code in them, and given to a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from harness.errors import MissingDataError
from harness.hashing import hash_file
from harness.types import BuildContext

from .checkpoint_file import read_state
from .fitting import load_weights
from .remaps import find_remap
from .weights_place import find_weights, model_string


def identify_weights(context: BuildContext) -> str:
    """Return the sha256 of the weights file, for the identity of the model.

    Raises:
        MissingDataError: the file is nowhere, or is not the one the card names.
    """
    path, digest = find_weights(context), context.card.weights.sha256 if context.card.weights else None
    found, name = hash_file(path), model_string(context.card)
    if digest and "weights" not in context.options and not found.startswith(digest):
        raise MissingDataError(
            f"{name}: {path} is not the file its card names: expected sha256 {digest}…, found {found[:16]}…; download "
            f"it again, or pass {name},weights=PATH to use another file on purpose"
        )
    return found


identify = identify_weights
"""The name under which the engine looks in the module of a builder."""


def read_weights(context: BuildContext) -> dict[str, Tensor]:
    """Find the weights file of a card and read its tensors, without running any code in the file.

    Returns:
        Name in the file, below the keys of ``weights.unwrap`` -> tensor on the CPU.

    Raises:
        MissingDataError: the file is nowhere, gated, or holds code.
        DamagedFileError: a truncated file, or something else than weights.
    """
    spec = context.card.weights
    return _unwrap(read_state(find_weights(context)), spec.unwrap if spec else [])


def fill(network: nn.Module, context: BuildContext) -> None:
    """Give a network built for the card's channels the trained weights of the card.

    Every tensor of the network must be filled and nothing may be left over, classifier heads excepted. The tensors
    read become those of the network, so that the weights are in memory once and the network may have been hollow.

    Raises:
        MissingDataError: weights absent, gated, refused, or of another network.
        DamagedFileError: a truncated file, or something else than weights.
        UnknownNameError: the card names a remap that does not exist.
    """
    spec = context.card.weights
    remap = find_remap(spec.remap if spec else "none")
    load_weights(network, remap(read_weights(context), network), context)


def _unwrap(state: Mapping[str, Any], keys: list[str]) -> dict[str, Tensor]:
    for key in keys:
        inner = state.get(key)
        if isinstance(inner, Mapping):
            state = inner
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
