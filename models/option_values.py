"""Values of ``KEY=VALUE`` options: taken from the context, checked, never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError
from harness.types import BuildContext


def choose(context: BuildContext, key: str, allowed: Sequence[str], default: str) -> str:
    """Return an option that must be one of a few words.

    Raises:
        UsageError: it is another word.
    """
    value = context.options.get(key, default)
    if value not in allowed:
        raise UsageError(f"{context.card.name}: option {key}={value}: expected one of {', '.join(allowed)}")
    return value


def flag(context: BuildContext, key: str, *, default: bool) -> bool:
    """Return an option that is ``true`` or ``false``."""
    return choose(context, key, ("true", "false"), str(default).lower()) == "true"


def whole_number(context: BuildContext, key: str, default: int) -> int:
    """Return an option that is a whole number of at least 1.

    Raises:
        UsageError: it is something else.
    """
    value = context.options.get(key, str(default))
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{context.card.name}: option {key}={value}: expected a whole number of at least 1")
    return int(value)
