"""Co-expression modules: clusters of genes whose scores are not independent of one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUT = 0.7
"""Height at which the tree is cut: genes of a module correlate by more than .3 on average."""


def coexpression_modules(targets: NDArray[np.floating], cut: float = CUT) -> tuple[str, ...]:
    """Cluster genes by average linkage on 1 - Pearson correlation.

    Args:
        targets: (n_samples, n_genes) log expression of the training samples.
        cut: height of the cut, in 0 .. 2.

    Returns:
        The module of each gene, ``m00``, ``m01``, … numbered by their first gene. A constant gene correlates with
        nothing and is a module of its own. Ties in the tree are broken by gene order.

    Source: the interval of a mean over genes is taken over these clusters, because genes share programmes.

    Example:
        >>> coexpression_modules(np.array([[0.0, 3, 1], [1, 5, 0], [2, 7, 1]]))
        ('m00', 'm00', 'm01')
    """
    constant = (targets == targets[:1]).all(axis=0)
    label = -1 - np.arange(targets.shape[1], dtype=np.int64)
    varying = np.flatnonzero(~constant)
    if len(varying):
        label[varying] = _cut_tree(targets[:, varying].astype(np.float64), cut)
    order: dict[int, int] = {}
    numbers = [order.setdefault(int(name), len(order)) for name in label]
    return tuple(f"m{number:02d}" for number in numbers)


def _cut_tree(values: NDArray[np.float64], cut: float) -> NDArray[np.int64]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if values.shape[1] == 1:
        return np.zeros(1, dtype=np.int64)
    distance = 1.0 - np.atleast_2d(np.corrcoef(values, rowvar=False))
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(np.clip(distance, 0.0, 2.0), checks=False), method="average")
    return np.asarray(fcluster(tree, t=cut, criterion="distance"), dtype=np.int64)
