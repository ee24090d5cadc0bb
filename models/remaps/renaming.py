"""The moves that all rules are made of: drop by name, strip a prefix, rename by table, join layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]


def drop(tensors: Mapping[str, Tensor], names: Sequence[str]) -> State:
    """Leave out tensors by name; a name that ends with a dot stands for all below it.

    Example:
        >>> import torch
        >>> list(drop({"pooler.dense.bias": torch.ones(1), "norm.bias": torch.ones(1)}, ["pooler."]))
        ['norm.bias']
    """
    below = tuple(name for name in names if name.endswith("."))
    return {name: tensor for name, tensor in tensors.items() if name not in names and not name.startswith(below)}


def strip_prefixes(tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> State:
    """Take prefixes off, one after another, as long as all tensors have them.

    Example:
        >>> import torch
        >>> list(strip_prefixes({"model.vit.norm.bias": torch.ones(1)}, ["vit.", "model."]))
        ['norm.bias']
    """
    stripped = dict(tensors)
    while found := next((prefix for prefix in prefixes if _all_have(prefix, stripped)), None):
        stripped = {name.removeprefix(found): tensor for name, tensor in stripped.items()}
    return stripped


def rename(tensors: Mapping[str, Tensor], table: Mapping[str, str]) -> State:
    """Rename tensors by a table; what the table does not list, or lists twice, keeps its name and is refused later.

    Args:
        tensors: tensors of a file.
        table: name in the file -> name in the network. ``N`` stands for the number of a block; a name without
            ``weight`` or ``bias`` at its end stands for both.

    Example:
        >>> import torch
        >>> list(rename({"layer.7.dense.bias": torch.ones(1)}, {"layer.N.dense": "blocks.N.proj"}))
        ['blocks.7.proj.bias']
    """
    renamed: State = {}
    for name, tensor in tensors.items():
        stem, number, ending = _take_apart(name)
        new = table.get(name) or (_put_together(table[stem], number, ending) if stem in table else name)
        renamed[name if new in renamed else new] = tensor
    return renamed


def join_layers(tensors: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> State:
    """Put layers that a file holds apart on top of one another (rows of weights, entries of biases), in order.

    Layers of which a part is missing, or whose parts differ in width, stay as they are, and are refused later.

    Args:
        tensors: tensors of a file.
        parts: names of the layers, such as query, key and value; ``N`` stands for the number of a block.
        whole: name of the joined layer.

    Example:
        >>> import torch
        >>> apart = {"0.q.bias": torch.zeros(1), "0.k.bias": torch.ones(1)}
        >>> join_layers(apart, ["N.q", "N.k"], "N.qk")["0.qk.bias"].tolist()
        [0.0, 1.0]
    """
    joined = dict(tensors)
    for name in tensors:
        stem, number, ending = _take_apart(name)
        names = [_put_together(part, number, ending) for part in parts]
        if stem != parts[0] or not all(one in tensors for one in names):
            continue
        found = [tensors[one] for one in names]
        if found[0].ndim and len({one.shape[1:] for one in found}) == 1:
            joined = {one: tensor for one, tensor in joined.items() if one not in names}
            joined[_put_together(whole, number, ending)] = torch.cat(found)
    return joined


def _all_have(prefix: str, tensors: Mapping[str, Tensor]) -> bool:
    return bool(tensors) and all(name.startswith(prefix) for name in tensors)


def _take_apart(name: str) -> tuple[str, str, str]:
    """Split ``a.7.b.bias`` into ``a.N.b``, ``7`` and ``.bias``; names with two numbers keep them."""
    parts = name.split(".")
    numbers = [part for part in parts if part.isdigit()]
    if len(numbers) == 1:
        parts = ["N" if part.isdigit() else part for part in parts]
    ending = f".{parts.pop()}" if parts[-1] in ("weight", "bias") else ""
    return ".".join(parts), numbers[0] if len(numbers) == 1 else "", ending


def _put_together(stem: str, number: str, ending: str) -> str:
    return ".".join(number if part == "N" else part for part in stem.split(".")) + ending
