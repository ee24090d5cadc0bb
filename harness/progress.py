"""A progress that says nothing; the command line has one that draws bars."""

from __future__ import annotations


class Silent:
    """Takes progress and shows none; warnings are collected."""

    def __init__(self) -> None:
        """Start without warnings."""
        self.warnings: list[str] = []

    def start(self, title: str, total: int) -> None:
        """Begin a stretch."""

    def advance(self, steps: int) -> None:
        """Tell that steps are done."""

    def finish(self) -> None:
        """End the stretch."""

    def warn(self, message: str) -> None:
        """Keep a warning."""
        self.warnings.append(message)
