"""The images of the wells of a question: which sites, in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import DamagedFileError, MissingDataError
from harness.types import DataContext

from ..objects import Objects
from .load_data import SiteFiles, find_table, read_sites, table_addresses
from .params import Params, SitesPerWell, Source
from .question import Question

_ByPlate = dict[int, dict[str, list[SiteFiles]]]
"""Number of a plate -> well -> its sites."""


@dataclass(frozen=True)
class Site:
    """One sample.

    Attributes:
        well: row of its well.
        files: its number and where its images lie.
    """

    well: int
    files: SiteFiles


def find_sites(
    question: Question, source: Source, params: Params, context: DataContext, per_well: int | None
) -> tuple[Site, ...] | str:
    """Find the sites of all wells, in the order of the wells, then by number.

    Returns:
        The sites; or, where the tables of no plate can be had, the reason in words.

    Raises:
        MissingDataError: the tables of some plates are there, and one is not.
        DamagedFileError: a table is damaged, or a well of the question has no site.
    """
    context.progress.start("Tables of images", len(question.plates))
    try:
        gathered = _gather(question, source, params, context)
    finally:
        context.progress.finish()
    return gathered if isinstance(gathered, str) else _line_up(question, params, gathered, per_well)


def choose_sites(
    sites: Sequence[SiteFiles], most: int | None, seed: int, source: str, plate: str
) -> tuple[SiteFiles, ...]:
    """Keep the ``most`` sites with the smallest SHA-256 of ``jump|SEED|SOURCE|PLATE|WELL|SITE``, in their order."""
    if most is None or len(sites) <= most:
        return tuple(sites)

    def order(site: SiteFiles) -> str:
        return hashlib.sha256(f"jump|{seed}|{source}|{plate}|{site.well}|{site.site}".encode()).hexdigest()

    kept = set(sorted(sites, key=order)[:most])
    return tuple(site for site in sites if site in kept)


def _gather(question: Question, source: Source, params: Params, context: DataContext) -> _ByPlate | str:
    """Read the tables of all plates, those at hand first; or say why not even the first can be had."""
    objects, plates = Objects(context), question.plates
    wells: list[set[str]] = [set() for _ in plates]
    for number, name in zip(question.plate_of, question.names, strict=True):
        wells[number].add(name)
    known = [any(map(objects.locate, table_addresses(plate, source))) for plate in plates]
    gathered: _ByPlate = {}
    for number in sorted(range(len(plates)), key=lambda number: not known[number]):
        try:
            path = find_table(plates[number], source, objects)
        except MissingDataError as error:
            if not gathered:
                return str(error)
            raise
        of_well: dict[str, list[SiteFiles]] = {}
        for site in read_sites(path, plates[number], wells[number], illumination=params.illum == "divide"):
            of_well.setdefault(site.well, []).append(site)
        gathered[number] = of_well
        context.progress.advance(1)
    return gathered


def _line_up(question: Question, params: Params, by_plate: _ByPlate, per_well: int | None) -> tuple[Site, ...]:
    found: list[Site] = []
    absent: list[str] = []
    for row, (number, name) in enumerate(zip(question.plate_of, question.names, strict=True)):
        plate, sites = question.plates[number], by_plate[number].get(name, [])
        if not sites:
            absent.append(question.wells.ids[row])
        wanted = _most(params.sites, bool(question.wells.control[row]))
        most = min((one for one in (wanted, per_well) if one is not None), default=None)
        found += [Site(row, one) for one in choose_sites(sites, most, params.folds.seed, plate.source, plate.name)]
    if absent:
        raise DamagedFileError(
            f"{len(absent)} of {len(question.names)} control wells have no image in the tables of their plates, "
            f"first: {', '.join(absent[:3])}; leave the plate out with protocol.params.exclude_plates"
        )
    return tuple(found)


def _most(sites: object, control: bool) -> int | None:
    if not isinstance(sites, SitesPerWell):
        return None
    return sites.negcon if control else sites.poscon
