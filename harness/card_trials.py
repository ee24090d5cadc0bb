"""Checks of a card: what others need to know and a builder cannot tell."""

from __future__ import annotations

from collections.abc import Iterator

from harness.cards import ModelCard
from harness.trials import Line, judge


def card_facts(card: ModelCard) -> Iterator[Line]:
    """Check that a card names a licence, a transform and the exposure of its training data."""
    licence = card.access.licence
    advice = "access: {licence: …}: without one nobody knows whether scores and vectors may be published"
    yield judge("licence on the card", licence is not None, licence or "none", advice, "warning")
    given = card.input
    if "torch" in card.requires and "points" not in card.views:
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
