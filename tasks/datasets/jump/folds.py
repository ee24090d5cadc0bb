"""Which plates make up a fold: drawn by hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from harness.errors import UsageError

from .controls import Controls
from .params import Params
from .plates import ControlWells, Plate

FoldPlates = tuple[tuple[Plate, ...], ...]
"""Plates of each fold, sorted by source, batch and name."""


def draw_folds(plates: Sequence[Plate], wells: ControlWells, controls: Controls, params: Params) -> FoldPlates:
    """Draw ``n`` folds of ``plates_per_lab`` compound plates of each laboratory; no plate is in two.

    Within a laboratory plates are sorted by the lower-case hexadecimal SHA-256 of ``jump|SEED|SOURCE|PLATE``, then by
    name, and fold f takes the entries from f times ``plates_per_lab`` on. The order of the tables does not matter.

    Raises:
        UsageError: a laboratory has too few plates that qualify, with the reasons why others do not.
    """
    wanted, each = params.folds, params.folds.plates_per_lab
    by_fold: list[list[Plate]] = [[] for _ in range(wanted.n)]
    for lab in params.labs:
        eligible: list[Plate] = []
        rejected: Counter[str] = Counter()
        for plate in plates:
            if plate.source == lab and plate.kind == "COMPOUND":
                reason = why_not(plate, wells, controls, params)
                eligible += [] if reason else [plate]
                rejected.update([reason] if reason else [])
        if len(eligible) < wanted.n * each:
            reasons = "".join(f"\n  {number} plates: {reason}" for reason, number in rejected.most_common())
            raise UsageError(
                f"folds: {lab} has {len(eligible)} plates that qualify, {wanted.n} folds of {each} need "
                f"{wanted.n * each}; left out:{reasons or ' none, the plate table has no others'}"
            )
        eligible.sort(key=lambda plate: (_order(wanted.seed, plate), plate.name))
        for fold in range(wanted.n):
            by_fold[fold] += eligible[fold * each : (fold + 1) * each]
    return tuple(tuple(sorted(members)) for members in by_fold)


def why_not(plate: Plate, wells: ControlWells, controls: Controls, params: Params) -> str | None:
    """Say why a compound plate does not qualify; None where it does."""
    if plate.batch in params.exclude_batches:
        return f"batch {plate.batch} in exclude_batches"
    if plate.name in params.exclude_plates:
        return "in exclude_plates"
    count = wells.count(plate.key)
    n_negative = sum(count[name] for name in controls.negative)
    if n_negative < params.min_dmso:
        return f"fewer than {params.min_dmso} DMSO wells"
    if n_negative > params.max_dmso:
        return f"more than {params.max_dmso} DMSO wells"
    few = [name for name in controls.positive if count[name] < params.min_poscon_wells]
    return f"fewer than {params.min_poscon_wells} wells of a positive control" if few else None


def _order(seed: int, plate: Plate) -> str:
    return hashlib.sha256(f"jump|{seed}|{plate.source}|{plate.name}".encode()).hexdigest()
