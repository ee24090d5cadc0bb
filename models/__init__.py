"""Who answers: cards, builders and schemes, registered through the same hooks as third-party models.

Importing this package imports no torch; a builder's module is imported when its model is used.
"""

from __future__ import annotations

from pathlib import Path

from harness.cards import ModelCard, load_card
from harness.hookspecs import hookimpl
from harness.trainjob import Trained, TrainJob
from harness.types import DataContext, WeightsState

from .devices import batch_size, place
from .weights_state import weights_state


@hookimpl
def harness_models() -> list[ModelCard]:
    """Return the built-in cards, one YAML file each."""
    return [load_card(path) for path in sorted((Path(__file__).parent / "cards").glob("*.yaml"))]


@hookimpl
def harness_model_schemes() -> dict[str, str]:
    """Return the functions that turn ``scheme:text`` into a card."""
    return {
        "timm": "harness.models.timm_schemes:timm_card",
        "hf-hub": "harness.models.timm_schemes:hub_card",
        "file": "harness.models.file_model:file_card",
        "embeddings": "harness.models.precomputed:embeddings_card",
    }


@hookimpl
def harness_placement(device: str, dtype: str, allowed: list[str]) -> tuple[str, str]:
    """Choose device and dtype from what the machine can do and the card allows."""
    return place(device, dtype, allowed)


@hookimpl
def harness_batch_size(device: str, card: ModelCard) -> int | None:
    """Choose the samples a call of a network from the device's memory."""
    return batch_size(device, card) if "torch" in card.requires else None


@hookimpl
def harness_weights_state(card: ModelCard, context: DataContext) -> WeightsState:
    """Look where weights would be found."""
    return weights_state(card, context)


@hookimpl
def harness_train(job: TrainJob) -> Trained:
    """Train a network with torch."""
    from .training import train

    return train(job)
