"""From embeddings of samples to features of wells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import DamagedFileError
from harness.types import Dataset, Embeddings

from ..wells import WellSamples

_SHOWN = 3


@dataclass(frozen=True)
class WellFeatures:
    """Features of samples, and which samples show which well.

    Attributes:
        samples: (n_samples, D) float32.
        order: (n_samples,) int64, samples sorted by well.
        start: (n_wells,) int64, where the samples of a well begin in ``order``.
        count: (n_wells,) int64, number of samples of each well.
        ids: names of the wells.
    """

    samples: NDArray[np.float32]
    order: NDArray[np.int64]
    start: NDArray[np.int64]
    count: NDArray[np.int64]
    ids: tuple[str, ...]

    def take(self, wells: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the features of some wells, (len(wells), D); several samples of a well are averaged in float64.

        Raises:
            DamagedFileError: a well has no sample, or a feature is not finite.
        """
        count, start = self.count[wells], self.start[wells]
        if not count.all():
            bare = [self.ids[well] for well in wells[count == 0][:_SHOWN]]
            raise DamagedFileError(
                f"{int((count == 0).sum())} of {len(wells)} wells of the task have no embedding, "
                f"the first: {', '.join(bare)}"
            )
        taken: NDArray[np.floating] = self.samples[self.order[start]]
        if count.max(initial=1) > 1:
            taken = taken.astype(np.float64)
            for turn in range(1, int(count.max())):
                more = np.flatnonzero(count > turn)
                taken[more] += self.samples[self.order[start[more] + turn]]
            taken /= count[:, None]
        finite = np.isfinite(taken)
        if not finite.all():
            first = self.ids[wells[np.flatnonzero(~finite.all(axis=1))[0]]]
            raise DamagedFileError(f"{int((~finite).sum())} features are not finite, the first in well {first}")
        return taken


def join_wells(embeddings: Embeddings, dataset: WellSamples) -> WellFeatures:
    """Lay embeddings beside the wells of the dataset that they were made from.

    Raises:
        DamagedFileError: embeddings and dataset have other samples.
    """
    if not isinstance(dataset, Dataset) or tuple(embeddings.ids) != tuple(dataset.ids):
        raise DamagedFileError(
            f"embeddings of stage {embeddings.stage!r} are not those of this dataset: {len(embeddings.ids)} samples "
            f"in another order or with other names than the {len(dataset.well_of)} of the task"
        )
    count = np.bincount(dataset.well_of, minlength=len(dataset.wells.ids))
    order = np.argsort(dataset.well_of, kind="stable")
    return WellFeatures(embeddings.features, order, np.cumsum(count) - count, count, dataset.wells.ids)
