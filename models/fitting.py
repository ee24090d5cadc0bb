"""Tensors of a file as the parameters of a network: every one fits, or what does not is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.errors import MissingDataError
from harness.types import BuildContext

from .weights_place import find_weights, model_string

_HEADS = ("head", "fc", "head_dist", "classifier")
"""Where classifiers lie in a network of timm or torchvision."""
_COUNTER = "num_batches_tracked"
"""Ends the name of the batch counter of a batch norm."""


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], context: BuildContext) -> None:
    """Give a network tensors under its own names; they become its parameters, without a copy where none is needed.

    A position embedding of another grid is resampled.

    Args:
        network: the network, its parameters drawn, empty or hollow.
        tensors: name in the network -> tensor of any float format. Left out are classifier heads that the network
            lacks; batch counters need not be there.
        context: names the model and the file, for the message.

    Raises:
        MissingDataError: a tensor is missing, surplus, misshapen or no float where the network's is; counted and
            named.
    """
    state, wanted = dict(tensors), network.state_dict()
    del tensors
    state = {**_counters(wanted), **_without_head(network, state, wanted)}
    _resample_positions(network, state, wanted)
    _check_fit(model_string(context.card), find_weights(context), state, wanted)
    _own(state, wanted)
    network.load_state_dict(state, strict=True, assign=True)


def _counters(wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch counters of batch norms, which older files lack and which shape no number."""
    counters = [name for name in wanted if name.endswith(_COUNTER)]
    return {name: torch.zeros((), dtype=torch.long) for name in counters}


def _without_head(network: nn.Module, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the classifier of a file whose network is built without one."""
    named = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()  # timm tells its name
    heads = tuple(f"{name}." for name in (*_HEADS, *([named] if isinstance(named, str) else named)))
    kept = any(name.startswith("classifier.") for name in wanted)  # AlexNet: its classifier is part of the network
    return {name: value for name, value in state.items() if name in wanted or kept or not name.startswith(heads)}


def _resample_positions(network: nn.Module, state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Bring a learned position embedding to the grid of the network: bicubic, antialiased, as timm does."""
    name = "pos_embed"
    if name not in state or name not in wanted or state[name].shape == wanted[name].shape:
        return
    from timm.layers import resample_abs_pos_embed

    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    given, needed = state[name].shape, wanted[name].shape
    if grid is None or len(given) != 3 or given[-1] != needed[-1] or given[1] <= needed[1] - grid[0] * grid[1]:
        return
    prefix = needed[1] - grid[0] * grid[1]
    if math.isqrt(given[1] - prefix) ** 2 != given[1] - prefix:  # tokens of another kind: does not fit
        return
    state[name] = resample_abs_pos_embed(state[name], new_size=list(grid), num_prefix_tokens=prefix)


def _own(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Bring tensors to the network's number format and into memory of their own, one by one.

    A tensor cut out of a larger one would keep that in memory, and sums depend on the place of a tensor in memory:
    with memory of their own the same numbers give the same bits from every kind of file.
    """
    for name, tensor in state.items():
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        if tensor.dtype != wanted[name].dtype or not whole or not tensor.is_contiguous():
            state[name] = tensor.to(wanted[name].dtype, copy=True, memory_format=torch.contiguous_format)


def _check_fit(model: str, path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in state]
    surplus = [name for name in state if name not in wanted]
    both = [name for name in wanted if name in state]
    shapes = [name for name in both if state[name].shape != wanted[name].shape]
    formats = [name for name in both if not _same_kind(name, state[name], wanted[name])]
    if not (missing or surplus or shapes or formats):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing (first: {missing[0]})")
    if surplus:
        parts.append(f"{len(surplus)} unexpected (first: {surplus[0]})")
    if shapes:
        sizes = f"{tuple(state[shapes[0]].shape)} instead of {tuple(wanted[shapes[0]].shape)}"
        parts.append(f"{len(shapes)} wrong shape (first: {shapes[0]} {sizes})")
    if formats:
        got, want = (str(tensors[formats[0]].dtype).removeprefix("torch.") for tensors in (state, wanted))
        parts.append(f"{len(formats)} in the wrong number format (first: {formats[0]} {got} instead of {want})")
    guess = ": a quantized file?" if formats else ". Wrong file or revision?"
    raise MissingDataError(f"{model}: {path} does not fit: {', '.join(parts)}{guess}")


def _same_kind(name: str, found: Tensor, wanted: Tensor) -> bool:
    """Tell whether both are floats or neither is; batch counters, which shape no number, may be averaged to floats."""
    return name.endswith(_COUNTER) or found.is_floating_point() == wanted.is_floating_point()
