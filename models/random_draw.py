"""Random initialisation that leaves the caller's random state as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for the block, and put its state back afterwards.

    Networks are drawn on the CPU and moved later, so that a seed means the same network on every device. Only the
    CPU generator is touched: ``torch.manual_seed`` would reseed the accelerators as well.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def activate(module: nn.Module) -> nn.Module:
    """Make the residual branches of a freshly drawn network count: the twin ``active``.

    LayerScale gammas become 1, and batch norms that were zeroed to silence a branch become 1. No random number is
    drawn, so all other weights equal those of the twin ``library``. Returns the module, changed in place.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[2] in ("gamma", "gamma_1", "gamma_2"):
                parameter.fill_(1.0)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d) and part.affine and not part.weight.any():
                part.weight.fill_(1.0)
    return module
