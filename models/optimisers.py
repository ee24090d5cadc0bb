"""Optimisers by the names that recipes give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn, optim

from harness.recipes import Recipe


def make_optimiser(recipe: Recipe, above: list[nn.Parameter], below: list[nn.Parameter]) -> optim.Optimizer:
    """Make the optimiser of a recipe.

    Args:
        recipe: its name and numbers.
        above: parameters of the last layers, the first group.
        below: all others, the second group, whose rate may be a share of the first one's.
    """
    groups: list[dict[str, Any]] = [{"params": above}, {"params": below}]
    kinds: dict[str, Callable[[], optim.Optimizer]] = {
        "adamw": lambda: optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay),
        "sgd": lambda: optim.SGD(groups, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay),
        "soap": lambda: _soap(groups, recipe.learning_rate, recipe.weight_decay),
    }
    return kinds[recipe.optimiser]()


def _soap(groups: list[dict[str, Any]], rate: float, decay: float) -> optim.Optimizer:
    from pytorch_optimizer import SOAP

    made: optim.Optimizer = SOAP(groups, rate, weight_decay=decay)
    return made
