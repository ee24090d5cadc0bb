"""Checks of a card: what others need to know and a builder cannot tell."""

from __future__ import annotations

from collections.abc import Iterator

from harness.cards import ModelCard
from harness.selection import RequestedModel
from harness.trials import Line, judge

_SEEN = {"image", "graph_image"}
"""Views that a transform is for."""


def card_facts(card: ModelCard) -> Iterator[Line]:
    """Check that a card names a licence, a transform and the exposure of its training data."""
    licence = card.access.licence
    advice = "access: {licence: …}: without one nobody knows whether scores and vectors may be published"
    yield judge("licence on the card", licence is not None, licence or "none", advice, "warning")
    given = card.input
    if _SEEN & {*card.views} and card.family != "hand-crafted":
        known = given.mean_std == "none" or given.channel_norm == "instance" or bool(given.mean and given.std)
        seen = f"size {given.size}, mean {given.mean}, sd {given.std}" if known else "no mean and no sd"
        advice = "input: {size, mean, std} as in training, or {mean_std: none} if the network normalises by itself"
        yield judge("transform on the card", known, seen, advice, "warning")
    if card.weights is not None:
        told = {name: word for name, word in card.exposure.items() if name != "basis"}
        seen, advice = (
            f"{len(told)} data sets",
            "exposure: {data set: clean | exposed | related | undisclosed, basis: …}",
        )
        yield judge("exposure on the card", bool(told), seen, advice, "warning")


def card_weights(model: RequestedModel, found: str) -> Iterator[Line]:
    """Tell whether the weights are those that the card names.

    Args:
        model: the model.
        found: sha256 of the file; empty where there is none.
    """
    spec, name, seen = model.card.weights, "weights are the card's", f"sha256 {found[:16]}…"
    if not found:
        return
    if spec is None or spec.sha256 is None:
        yield Line(name, "skipped", f"{seen}; the card names none", "weights: {sha256: …}, to know the file again")
    elif found.startswith(spec.sha256):
        yield Line(name, "ok", seen)
    else:  # the engine lets no other file pass without the option
        yield Line(name, "skipped", f"{seen}, of weights={model.request.options.get('weights', '')}")
