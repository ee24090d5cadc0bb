"""Failures of the harness, one class each, with the exit code the command line gives.

::

    HarnessError                1   a defect of ours
    ├── UsageError              2   bad option, spec or plugin parameter
    │   └── SpecError           2   a YAML file that does not say what it must
    ├── UnknownNameError        3   no such task, model, stage, metric (names the nearest)
    ├── MismatchError           4   no model fits any task
    ├── MissingDataError        5   data or weights absent or refused
    ├── PluginError             6   somebody's code failed
    │   └── ModelOutputError    6   a model returned what it must not
    ├── DamagedFileError        7   a file is truncated, contradicts itself or does not join
    └── CannotWriteError        8   disk full, read-only, or another run's file in the way
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HarnessError(Exception):
    """Root of all failures that the harness explains itself."""

    exit_code = 1


class UsageError(HarnessError):
    """An option, parameter or combination of them is not valid."""

    exit_code = 2


class SpecError(UsageError):
    """A task spec or model card does not validate; the message starts with ``file:line``."""


class UnknownNameError(HarnessError):
    """A name is not registered; the message offers the nearest ones."""

    exit_code = 3

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        """Build the message from the unknown name and the known ones.

        Args:
            what: kind of thing, for example ``"task"``.
            name: what was asked for.
            known: all registered names.
            hint: what to do, appended to the message.
        """
        near = nearest(name, known)
        offer = f" Did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"unknown {what} {name!r}.{offer}{' ' + hint if hint else ''}")
        self.near = near


class MismatchError(HarnessError):
    """No model that was asked for fits any task that was asked for."""

    exit_code = 4


class MissingDataError(HarnessError):
    """A file of data or weights is absent, gated or refused."""

    exit_code = 5


class PluginError(HarnessError):
    """A plugin, built-in or third-party, failed while running."""

    exit_code = 6


class ModelOutputError(PluginError):
    """A model was given or returned something outside its contract."""


class DamagedFileError(HarnessError):
    """A file is truncated, contradicts itself or does not join with another."""

    exit_code = 7


class CannotWriteError(HarnessError):
    """Output or store cannot be written, or a file of another run is in the way."""

    exit_code = 8


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return up to ``most`` known names that resemble ``name``, best first.

    Example:
        >>> nearest("resnet81", ["resnet18", "vit-s-16"])
        ['resnet18']
    """
    return get_close_matches(name, sorted(set(known)), n=most, cutoff=0.5)
