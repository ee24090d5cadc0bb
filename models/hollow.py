"""Trained networks without a random one before them: built hollow on the meta device, then given a file's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from harness.types import BuildContext

from .weights import fill

_UNSET = -(2**31) + 7
"""Stands in whole-number tables until they are computed."""


def hollow(make: Callable[[], nn.Module]) -> nn.Module:
    """Build a network whose tensors have shapes and no memory (milliseconds, whatever its size)."""
    with torch.device("meta"):
        return make()


def filled(make: Callable[[], nn.Module], context: BuildContext, empty: nn.Module | None = None) -> nn.Module:
    """Build a network with the trained weights of its card; its memory is that of the weights, once.

    Tables that no file holds (rotary periods, attention masks, indices of relative positions) are computed on the
    CPU by the parts that own them. Where a part cannot, or keeps tensors outside its buffers, the network is built
    in the ordinary way and takes over the tensors that were read.

    Args:
        make: constructs the network on the current device.
        context: names the card and where its weights lie.
        empty: what :func:`hollow` made of ``make`` before, if it did.

    Raises:
        MissingDataError, DamagedFileError, UnknownNameError: as :func:`harness.models.weights.fill`.
    """
    network = empty if empty is not None else hollow(make)
    fill(network, context)
    if next(_loose_tensors(network), None) is None and compute_tables(network):
        return network
    tensors = network.state_dict()
    network = make()
    network.load_state_dict(tensors, strict=True, assign=True)
    return network


def compute_tables(network: nn.Module) -> bool:
    """Compute the non-persistent buffers of a network that has its parameters, through timm's own method for it.

    Returns:
        Whether every buffer is there and was computed; no value is ever left to chance.
    """
    for part in network.modules():
        names = [name for name, buffer in part.named_buffers(recurse=False) if buffer.is_meta]
        compute = getattr(part, "init_non_persistent_buffers", None)
        if not names:
            continue
        if compute is None:
            return False
        for name in names:
            setattr(part, name, _marked(part.get_buffer(name)))
        with torch.no_grad():
            compute()
        if not all(_is_computed(part.get_buffer(name)) for name in names):
            return False
    return not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


def _marked(buffer: Tensor) -> Tensor:
    """Make a buffer in memory, full of a value that no table holds."""
    if buffer.dtype == torch.bool:
        return torch.zeros(buffer.shape, dtype=torch.bool)  # cannot be marked; timm has none
    return torch.full(buffer.shape, float("nan") if buffer.is_floating_point() else _UNSET, dtype=buffer.dtype)


def _is_computed(buffer: Tensor) -> bool:
    if buffer.is_meta:
        return False
    return not bool((torch.isnan(buffer) if buffer.is_floating_point() else buffer == _UNSET).any())


def _loose_tensors(network: nn.Module) -> Iterator[Tensor]:
    """Find tensors that are plain attributes of a part, alone or in a list or dict, and therefore stayed hollow."""
    for part in network.modules():
        for key, value in vars(part).items():
            if key in ("_parameters", "_buffers", "_modules"):
                continue
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            yield from (one for one in (value, *inside) if isinstance(one, Tensor) and one.is_meta)
