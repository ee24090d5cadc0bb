"""The next batch goes to the device while the model works on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.feed import Span
from harness.types import Batch, Model


def send_ahead(model: Model, batches: Iterator[tuple[Span, Batch]]) -> Iterator[tuple[Span, Batch]]:
    """Yield batches in order, each handed to the model's ``send`` one step before; a model without it gets none.

    Args:
        model: one that may define ``send(batch)``: begin to fetch a batch and return at once.
        batches: where batches come from.
    """
    send: Callable[[Batch], None] | None = getattr(model, "send", None)
    if send is None:
        yield from batches
        return
    waiting = next(batches, None)
    while waiting is not None:
        coming = next(batches, None)
        if coming is not None:
            send(coming[1])
        yield waiting
        waiting = coming
