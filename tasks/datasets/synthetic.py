"""The synthetic-24 reader: opens a generator instead of files.

Source: our reconstruction of a published benchmark whose formulas are not available.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

from harness.errors import UsageError
from harness.specs import Strict, TaskSpec
from harness.types import DataContext

from .synthetic_params import Params, PerClass
from .synthetic_samples import SPLITS, Row, SyntheticDataset

_LEAST = PerClass(train=2, val=1, test=1)
"""Samples a class without which no evaluation is possible."""


class Source(Strict):
    """The generator needs no files."""


class SyntheticReader:
    """Opens synthetic-24."""

    name: ClassVar[str] = "synthetic"
    Params: ClassVar[type[BaseModel]] = Params
    Source: ClassVar[type[BaseModel]] = Source

    def open(
        self,
        spec: TaskSpec,  # noqa: ARG002 - the contract's signature
        source: BaseModel,  # noqa: ARG002
        params: BaseModel,
        context: DataContext,
    ) -> SyntheticDataset:
        """Return the dataset, after drawing one sample of every class to see that the parameters work.

        Raises:
            UsageError: parameters that give no usable samples, or a limit that allows no evaluation.
        """
        checked = Params.model_validate(params)
        kept = checked.per_class if context.limit is None else limited(checked, context.limit)
        dataset = SyntheticDataset(checked, kept)
        for label in range(len(checked.classes)):
            dataset.points(Row("train", label, 0, 0))
        return dataset


def limited(params: Params, limit: int) -> PerClass:
    """Spread at most ``limit`` samples evenly over splits and classes.

    Every class keeps 2 training samples, 1 validation and 1 test sample; what is left over goes to the splits in
    proportion to their sizes.

    Raises:
        UsageError: the limit is too small for that.

    Example:
        >>> limited(Params(), 240)
        PerClass(train=4, val=1, test=3)
    """
    full, cost, classes = params.per_class, params.augmented_copies, len(params.classes)
    least = cost * _LEAST.train + _LEAST.val + _LEAST.test
    whole = cost * full.train + full.val + full.test
    if limit < least * classes:
        raise UsageError(
            f"--limit {limit}: {classes} classes need at least {least * classes} samples "
            f"({_LEAST.train} training, {_LEAST.val} validation and {_LEAST.test} test samples each"
            + (f", training ones in {cost} copies)" if cost > 1 else ")")
        )
    share = min(1.0, (limit // classes - least) / max(whole - least, 1))
    sizes = {
        split: getattr(_LEAST, split) + int(share * (getattr(full, split) - getattr(_LEAST, split))) for split in SPLITS
    }
    return PerClass(**sizes)


READER = SyntheticReader()
