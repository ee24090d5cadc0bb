"""What a run will cost, told before it begins where it is more than a user may expect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.selection import RequestedModel

_LARGE = 700_000_000
"""Parameters above which drawing a network once a seed is worth a word."""


def costly_twins(models: Iterable[RequestedModel], seeds: tuple[int, ...]) -> Iterator[str]:
    """Name each random network of more than 700 million parameters that would be drawn and run once a seed.

    Yields:
        One line a model, with its cost and what to do.
    """
    for model in {str(model.request): model for model in models}.values():
        params = model.card.expect.params or 0
        if model.random and params > _LARGE and len(seeds) > 1:
            size = f"{params / 1e6:,.0f} M parameters ({4 * params / 1e9:.1f} GB in memory)"
            yield (
                f"{model.request}: {size} are drawn and run {len(seeds)} times, once a seed; "
                f"--seeds {seeds[0]} costs 1/{len(seeds)} of it"
            )
