"""Baselines that know nothing but how many points a sample holds.

Source: arXiv 2603.13377, appendix E.1 (16 functions of the count, tiled to 256, a little noise); its formulas are not
legible, so the functions, their order and the noise are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import MismatchError, PluginError
from harness.types import Batch, BuildContext, Samples

from .option_values import flag

_HUNDRED = 100.0
_TILES = 16
_NOISE = 1e-3
_CHUNK = 256


class CountModel:
    """The number of points as a feature by itself."""

    def __init__(self, context: BuildContext) -> None:
        """Keep the name."""
        self._name = context.card.name

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return (N, 1) counts."""
        counts = count_points(batch, self._name)
        return dict.fromkeys(stages, counts[:, None].astype(np.float32))


class CountFunctions:
    """Functions of the count, tiled, with noise that depends on the sample's place among all and not on the batch.

    The card's ``kwargs.tile`` is what the option ``tile`` is by default.
    """

    def __init__(self, context: BuildContext, *, standardised: bool) -> None:
        """Keep the options."""
        self._name = context.card.name
        self._tile = flag(context, "tile", default=bool(context.card.kwargs.get("tile", True)))
        self._standardised = standardised
        self._place: dict[str, int] = {}
        self._mean, self._scale = 0.0, _HUNDRED

    def prepare(self, samples: Samples, view: str) -> None:
        """Learn the order of the sample ids and, for the standardised form, mean and spread of the counts."""
        self._place = {name: place for place, name in enumerate(sorted(samples.ids))}
        if self._standardised:
            total = len(samples.ids)
            chunks = (samples.read(view, start, min(start + _CHUNK, total)) for start in range(0, total, _CHUNK))
            counts = np.concatenate([count_points(batch, self._name) for batch in chunks])
            self._mean, self._scale = float(counts.mean()), float(counts.std()) or 1.0

    def embed(self, batch: Batch, stages: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return (N, 256) float32, or the (N, 16) functions alone with ``tile=false``.

        Raises:
            PluginError: called before :meth:`prepare`.
        """
        if not self._place:
            raise PluginError(f"{self._name}: prepare(samples, view) must be called before embed")
        features = count_functions((count_points(batch, self._name) - self._mean) / self._scale)
        if self._tile:
            features = np.tile(features, _TILES)
            features += np.stack([self._noise(name, features.shape[1]) for name in batch.ids])
        return dict.fromkeys(stages, features.astype(np.float32))

    def _noise(self, name: str, length: int) -> NDArray[np.float64]:
        return np.random.default_rng([0, self._place[name]]).normal(0.0, _NOISE, length)


def build(context: BuildContext) -> CountFunctions:
    """Build ``cell-count``."""
    return CountFunctions(context, standardised=False)


def build_standardised(context: BuildContext) -> CountFunctions:
    """Build ``cell-count-std``."""
    return CountFunctions(context, standardised=True)


def build_count(context: BuildContext) -> CountModel:
    """Build ``count-only``."""
    return CountModel(context)


def count_points(batch: Batch, name: str) -> NDArray[np.float64]:
    """Return (N,) float64 numbers of points.

    Raises:
        MismatchError: the batch holds no points.
    """
    if batch.points is None:
        raise MismatchError(f"{name}: takes points; the view {batch.view} holds none")
    return np.array([len(points) for points in batch.points], dtype=np.float64)


def count_functions(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 16 functions of a scaled count.

    Args:
        u: (n,) float64, the count over 100 or the standardised count.

    Returns:
        (n, 16) float64.

    Example:
        >>> count_functions(np.array([1.0]))[0, [0, 5, 12, 15]].round(6).tolist()
        [1.0, 1.0, 0.693147, 0.5]
    """
    size = np.abs(u)
    log = np.log1p(size)
    columns = (
        u, u**2, u**3, u**4, np.sqrt(size), np.cbrt(u), np.sin(u / 2), np.cos(u / 2), np.sin(u), np.cos(u),
        np.sin(2 * u), np.cos(2 * u), log, log**2, np.log1p(u**2), 1 / (1 + size),
    )  # fmt: skip
    return np.stack(columns, axis=1)
