"""Names of picture files, spelt with columns of the table: ``{Plate}/{Well}-{Site:02d}-{channel}.tif``."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

CHANNEL = "channel"
"""The field that stands for the channel, not for a column."""


@dataclass(frozen=True)
class Piece:
    """Text, and the field that follows it (None at the end) with its format, such as ``02d``."""

    text: str
    column: str | None
    format: str


@dataclass(frozen=True)
class Pattern:
    """A pattern taken apart."""

    pieces: tuple[Piece, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs."""
        return tuple(piece.column for piece in self.pieces if piece.column not in (None, CHANNEL) and piece.column)

    @property
    def names_channel(self) -> bool:
        """Whether it has the field ``{channel}``."""
        return any(piece.column == CHANNEL for piece in self.pieces)

    def fill(self, cells: Mapping[str, str]) -> str:
        """Put cells into the fields.

        Raises:
            ValueError: a cell that is no whole number where the format ends in ``d``.
        """
        return "".join(piece.text + _write(piece, cells) for piece in self.pieces)


def parse_pattern(text: str) -> Pattern:
    """Take a pattern apart; ``{{`` and ``}}`` are braces.

    Raises:
        ValueError: a brace without its other half, an empty field, or a format that does not exist.

    Example:
        >>> parse_pattern("{Row}-{Column:02d}.png").fill({"Row": "A", "Column": "3"})
        'A-03.png'
    """
    pieces = []
    for literal, column, spec, conversion in string.Formatter().parse(text):
        if column == "" or conversion:
            raise ValueError(f"{text!r}: a field needs the name of a column, such as {{Well}} or {{Site:02d}}")
        piece = Piece(literal, column, spec or "")
        try:
            _write(piece, {column: "0"} if column else {})
        except ValueError as error:
            raise ValueError(f"{text!r}: field {{{column}:{spec}}}: {error}") from None
        pieces.append(piece)
    return Pattern(tuple(pieces))


def _write(piece: Piece, cells: Mapping[str, str]) -> str:
    if piece.column is None:
        return ""
    cell = cells[piece.column]
    if not piece.format.endswith("d"):
        return format(cell, piece.format)
    if not cell.removeprefix("-").isdecimal():
        raise ValueError(
            f"column {piece.column}: {cell!r} is no whole number, as {{{piece.column}:{piece.format}}} needs"
        )
    return format(int(cell), piece.format)
