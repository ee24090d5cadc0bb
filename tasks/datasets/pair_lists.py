"""Lists of known pairs: ``entity1,entity2``, each pair taken once and in no direction."""

from __future__ import annotations

from pathlib import Path

from harness.errors import DamagedFileError

from ..wells import Relations
from .text_tables import read_text_table

_SIDES = ("entity1", "entity2")


def read_pairs(path: Path, source: str, licence: str) -> Relations:
    """Read a list; some name both directions of a pair, some one.

    Args:
        path: a table of text with the columns ``entity1`` and ``entity2``.
        source: name of the list, for scores and messages.
        licence: of the list.

    Raises:
        DamagedFileError: unreadable, other columns, no rows, or an empty name.
    """
    try:
        table = read_text_table(path, _SIDES)
    except DamagedFileError as error:
        raise DamagedFileError(f"relations: {source}: {error}") from None
    rows = list(zip(*(table[side].to_pylist() for side in _SIDES), strict=True))
    empty = [row for row, pair in enumerate(rows) if not all(pair)]
    if empty:
        raise DamagedFileError(
            f"relations: {source}: {path}:{empty[0] + 2}: {len(empty)} rows lack a name; truncated? copy it again"
        )
    once = {(a, b) if a < b else (b, a) for a, b in rows if a != b}
    return Relations(source, tuple(sorted(once)), licence, len(rows), sum(a == b for a, b in rows))
