"""What a dataset offers whose samples have classes, and belong to splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@runtime_checkable
class HasClasses(Protocol):
    """A dataset whose samples carry one class each."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, position of each sample's class in :attr:`class_names`, in the order of the ids."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""


@runtime_checkable
class LabelledSplits(HasClasses, Protocol):
    """A dataset whose samples carry one class each and belong to a split."""

    @property
    def split(self) -> NDArray[np.str_]:
        """(n,) str, ``train``, ``val`` or ``test`` for each sample."""
