"""How a network is trained: the numbers of a training run, as a task spec writes them."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from harness.specs import Number, Strict


class Recipe(Strict):
    """Optimiser, schedule and length of a training run; the papers give none of these numbers, so all are ours."""

    epochs: int = Field(30, ge=1)
    batch: int = Field(64, ge=1)
    """Samples an optimiser step."""
    optimiser: Literal["adamw", "sgd", "soap"] = "adamw"
    """``soap``: Adam in the eigenbasis of Shampoo's preconditioner (arXiv 2409.11321), momenta .95."""
    learning_rate: Number = Field(1e-3, gt=0)
    """Highest learning rate."""
    weight_decay: Number = Field(1e-4, ge=0)
    momentum: Number = Field(0.9, ge=0, lt=1)
    """Of ``sgd`` only."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """``cosine`` falls step by step to 0 at the end of the last epoch."""
    warmup_epochs: Number = Field(0.0, ge=0)
    """Epochs in which the learning rate rises from 0 in equal steps."""
    trunk_rate: Number = Field(1.0, gt=0)
    """Learning rate below the last layers (a graph network's MLP, else the classifier), as a share of theirs."""
    whiten: int = Field(0, ge=0)
    """Graph networks only: principal directions of the pooled values that are brought to unit variance on training
    samples before the first epoch. They are folded into the first layer of the MLP, so no weight is added; 0 leaves the
    drawn weights, with which what tells classes apart is a hundredth of what a rotation changes."""
    spread: bool = False
    """Graph convolutions (``gcn``): before the first epoch, each channel of each layer is scaled to unit variance on
    training samples and switches on at its own share of the points. In ``egnn``, degrees, squared distances and what
    each linear map of a layer gives are brought to mean 0 and unit variance. Other networks stay as drawn."""
    fixed_graphs: bool = False
    """The augmentation moves points rigidly, so that neighbours are looked for once and not in every epoch."""

    @model_validator(mode="after")
    def _check_warmup(self) -> Recipe:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: expected less than epochs ({self.epochs}), got {self.warmup_epochs:g}")
        return self

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of an optimiser step, counted from 0 over all epochs.

        Example:
            >>> recipe = Recipe(epochs=2, learning_rate=1.0, warmup_epochs=1)
            >>> [round(recipe.rate(step, 2), 3) for step in range(4)]
            [0.5, 1.0, 1.0, 0.5]
        """
        rising = round(self.warmup_epochs * steps_per_epoch)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - rising) / (self.epochs * steps_per_epoch - rising)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
