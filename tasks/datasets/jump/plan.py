"""How many files and bytes each fold needs, before any image is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.plans import Plan, PlanRow

from ..objects import Objects
from .load_data import CHANNELS
from .params import Params, SitesPerWell
from .question import Question
from .sites import Site

IMAGE_BYTES = {
    "source_2": 1_992_000, "source_3": 2_531_000, "source_5": 1_998_000, "source_6": 1_888_000,
    "source_8": 1_061_000, "source_10": 2_007_000, "source_11": 2_400_000,
}  # fmt: skip
"""Mean size of an image of a laboratory: bytes over number of TIFF files.

Source: jump-cellpainting/datasets@70c3e35, stats/cpg0016_source_images_size.csv and _tiff_count.csv.
"""
_OTHER_BYTES = 2_300_000
"""1080 x 1080 pixels of 16 bits, not compressed."""
SITES = {"source_2": 6, "source_10": 6}
_OTHER_SITES = 9
_ASKED = 2
"""Sites of a plate whose files the bucket is asked about."""


@dataclass
class _Sum:
    """Running total of one fold."""

    samples: int = 0
    files: int = 0
    total: float = 0
    to_fetch: float = 0


@dataclass
class _Basis:
    """How many files each kind of knowledge stands behind."""

    local: int = 0
    asked: int = 0
    estimated: int = 0
    assumed: int = 0

    def tell(self) -> tuple[str, ...]:
        """Say what the numbers rest on."""
        said = []
        if self.local:
            said.append(f"{self.local:,} files lie on this machine; their sizes are exact")
        if self.estimated:
            said.append(f"{self.estimated:,} files are estimated from {self.asked:,} of them that the bucket was asked")
        if self.assumed:
            said.append(f"{self.assumed:,} files are assumed to have the mean size of an image of their laboratory")
        return tuple(said)


def plan_sites(question: Question, sites: Sequence[Site], objects: Objects) -> Plan:
    """Add up the files of the sites of each fold: exact where they are local, estimated by plate where they are not."""
    by_plate: dict[int, list[Site]] = {}
    for site in sites:
        by_plate.setdefault(question.plate_of[site.well], []).append(site)
    fold_of = {question.plate_of[row]: fold.number for fold in question.folds for row in fold.rows.tolist()}
    sums, basis = {fold.number: _Sum() for fold in question.folds}, _Basis()
    for plate, own in by_plate.items():
        _add_plate(sums[fold_of[plate]], question.plates[plate].source, own, objects, basis)
    return Plan(tuple(_row(number, one) for number, one in sums.items()), basis.tell())


def plan_wells(question: Question, params: Params, per_well: int | None) -> Plan:
    """Estimate the files of each fold where no table of images is at hand."""
    sums, basis, control = {fold.number: _Sum() for fold in question.folds}, _Basis(), question.wells.control
    for fold in question.folds:
        for row in (*fold.rows.tolist(), *fold.controls.tolist()):
            source = question.plates[question.plate_of[row]].source
            most = [SITES.get(source, _OTHER_SITES)]
            if isinstance(params.sites, SitesPerWell):
                most.append(params.sites.negcon if control[row] else params.sites.poscon)
            most += [] if per_well is None else [per_well]
            files = min(most) * len(CHANNELS)
            _add(sums[fold.number], min(most), files, files * _mean(source), files * _mean(source))
            basis.assumed += files
    told = "no table of images is at hand: 6 images of a well are assumed for source_2 and source_10, 9 for others"
    return Plan(tuple(_row(number, one) for number, one in sums.items()), (told, *basis.tell()))


def _add_plate(total: _Sum, source: str, sites: Sequence[Site], objects: Objects, basis: _Basis) -> None:
    addresses = [address for site in sites for address in (*site.files.images, *site.files.illumination)]
    addresses = list(dict.fromkeys(addresses))  # an illumination function serves the whole plate
    local = [objects.local_size(address) for address in addresses]
    here = [size for size in local if size is not None]
    away = len(local) - len(here)
    known: list[int] = []
    if away:
        few = [address for address, size in zip(addresses, local, strict=True) if size is None]
        known = [size for size in objects.remote_sizes(few[: _ASKED * len(CHANNELS)]) if size is not None]
    each = sum(known) / len(known) if known else _mean(source)
    _add(total, len(sites), len(addresses), sum(here) + away * each, away * each)
    basis.local += len(here)
    basis.asked += len(known)
    basis.estimated += away if known else 0
    basis.assumed += 0 if known else away


def _add(total: _Sum, samples: int, files: int, size: float, to_fetch: float) -> None:
    total.samples += samples
    total.files += files
    total.total += size
    total.to_fetch += to_fetch


def _mean(source: str) -> int:
    return IMAGE_BYTES.get(source, _OTHER_BYTES)


def _row(number: int, one: _Sum) -> PlanRow:
    return PlanRow(f"fold {number}", one.samples, one.files, round(one.total), round(one.to_fetch))
