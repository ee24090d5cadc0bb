"""Are the weights of a card at hand? Told from names of files alone, without opening or asking for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.cards import ModelCard, WeightsSpec
from harness.types import DataContext, WeightsState

from .weights_place import local_places


def weights_state(card: ModelCard, context: DataContext) -> WeightsState:
    """Say whether a model can run as it is, or what it lacks.

    Args:
        card: its card.
        context: data folders and the cache.

    Returns:
        ``ready`` is true for weights at hand and for models that need none.
    """
    spec = card.weights
    if spec is None:
        return _without_published(card)
    found = next((place for place in _places(spec, context) if place.is_file()), None)
    if found is not None:
        where = "cache" if found.is_relative_to(context.cache) else "mirror"
        return WeightsState(True, f"in the {where}", str(found))
    if spec.source.startswith("trained:"):
        return WeightsState(False, "train first", f"task {spec.source.removeprefix('trained:')}")
    if card.access.gated != "no":
        return WeightsState(False, f"gated ({card.access.gated})", spec.source)
    if spec.source.startswith("github:"):
        return WeightsState(False, "fetch by hand", spec.source)
    return WeightsState(False, "download" + (f" {spec.size_gb:g} GB" if spec.size_gb else ""), spec.source)


def _without_published(card: ModelCard) -> WeightsState:
    if card.datasets:
        return WeightsState(False, "vectors only", f"of {', '.join(card.datasets)}")
    if card.stochastic or card.untrained.twin == "none" or not card.trainable:
        return WeightsState(True, "needs none", "")
    return WeightsState(False, "weights=FILE", "none are published")


def _places(spec: WeightsSpec, context: DataContext) -> Iterator[Path]:
    """List where :func:`harness.models.weights_place.find_weights` would find a file without a download."""
    yield from local_places(spec, context)
    if spec.source.startswith("torchvision:"):
        yield context.cache / "torchvision" / spec.source.removeprefix("torchvision:")
    if spec.source.startswith("hf-hub:"):
        text = spec.source.removeprefix("hf-hub:")
        kind, name = ("datasets", text.removeprefix("datasets/")) if text.startswith("datasets/") else ("models", text)
        snapshots = context.cache / "huggingface" / f"{kind}--{name.replace('/', '--')}" / "snapshots"
        for file in spec.files:
            yield from sorted(snapshots.glob(f"{spec.revision or '*'}/{file}"))
