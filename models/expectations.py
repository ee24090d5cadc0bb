"""Is the built network the one its card describes?"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from importlib.metadata import version

from torch import Tensor, nn

from harness.cards import ModelCard
from harness.errors import PluginError

_log = logging.getLogger(__name__)


def signature(state: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits over the names and shapes of a state dict, whatever its values and order."""
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def check_expectations(module: nn.Module, card: ModelCard) -> None:
    """Compare a network, on any device (``meta`` costs no memory), with the ``expect`` block of its card.

    Other parameters or tensors are an error; other names with as many parameters are a warning, because a library
    may rename a buffer between versions.

    Raises:
        PluginError: naming what differs and the library's version.
    """
    state = module.state_dict()
    libraries = ", ".join(f"{name} {version(name)}" for name in card.requires)
    found = {"params": sum(parameter.numel() for parameter in module.parameters()), "tensors": len(state)}
    for key, word in (("params", "parameters"), ("tensors", "tensors")):
        expected = getattr(card.expect, key)
        if expected is not None and expected != found[key]:
            raise PluginError(
                f"{card.name}: built network differs from its card: expected {expected} {word}, got {found[key]} "
                f"({libraries})"
            )
    if card.expect.signature is not None and card.expect.signature != signature(state):
        _log.warning(
            "%s: built network has other names or shapes than its card says (expected signature %s, got %s; %s)",
            card.name, card.expect.signature, signature(state), libraries,
        )  # fmt: skip
