"""Which files are the channels of a site: the ``load_data_with_illum`` table of a plate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DamagedFileError, MissingDataError

from ..objects import Objects
from .addresses import join_address, read_url
from .columns import pad_well, read_columns, rows_of
from .params import Source
from .plates import Plate

CHANNELS = ("AGP", "DNA", "ER", "Mito", "RNA")
"""Order of the channels of a sample. Numbers in file names mean other channels on other plates."""
ENDINGS = (".parquet", ".csv", ".csv.gz")


@dataclass(frozen=True)
class SiteFiles:
    """Where the images of a site lie.

    Attributes:
        well: ``A01``.
        site: number of the site in its well, from 1, as text.
        images: addresses in the order of :data:`CHANNELS`.
        illumination: addresses of the illumination functions in the same order; empty where they are not wanted.
    """

    well: str
    site: str
    images: tuple[str, ...]
    illumination: tuple[str, ...] = ()


def table_addresses(plate: Plate, source: Source) -> tuple[str, ...]:
    """Return where the table of a plate may lie, the likeliest first."""
    folder = f"{source.bucket}/{source.prefix}/{plate.source}/workspace/load_data_csv/{plate.batch}/{plate.name}"
    return tuple(f"{folder}/load_data_with_illum{ending}" for ending in ENDINGS)


def find_table(plate: Plate, source: Source, objects: Objects) -> Path:
    """Return the local path of the table of a plate; from the bucket it goes to the cache first.

    Raises:
        MissingDataError: it is nowhere.
    """
    addresses = table_addresses(plate, source)
    local = next((path for path in map(objects.locate, addresses) if path is not None), None)
    if local is not None:
        return local
    first: MissingDataError | None = None
    for address in addresses:
        try:
            return objects.fetch(address)
        except MissingDataError as error:
            first = first or error
            if "no such file" not in str(error):
                break  # the next will not be had either
    raise MissingDataError(f"plate {plate.source}/{plate.name}: no table of its images\n{first}")


def read_sites(path: Path, plate: Plate, wells: Collection[str], *, illumination: bool) -> tuple[SiteFiles, ...]:
    """Read the sites of some wells of a plate, sorted by well and number.

    Raises:
        DamagedFileError: unreadable, a column is missing, rows of another plate, a well that is none; among the
            wanted wells a site that is no number or stands twice, or an entry that is no address.
    """
    where = f"plate {plate.source}/{plate.name}: {path}"
    names = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
    kinds = ("Orig", "Illum") if illumination else ("Orig",)
    places = [f"{kind}{channel}" for kind in kinds for channel in CHANNELS]
    table = _keep_wells(_read(path, plate, names, places), plate, wells, where)
    columns = [_addresses(table, place, where) for place in places]
    sites = []
    for (well, site), addresses in zip(rows_of(table.select(names[1:])), zip(*columns, strict=True), strict=True):
        if not site.isdecimal() or int(site) < 1:
            raise DamagedFileError(f"{where}: Metadata_Site {site!r} of well {well} is not a number from 1")
        sites.append(SiteFiles(pad_well(well), str(int(site)), addresses[:5], addresses[5:]))
    twice = [key for key, number in Counter((one.well, one.site) for one in sites).items() if number > 1]
    if twice:
        first = ", ".join(f"{well} site {site}" for well, site in twice[:3])
        raise DamagedFileError(f"{where}: {len(twice)} sites stand more than once, first: {first}")
    return tuple(sorted(sites, key=lambda one: (one.well, int(one.site))))


def _read(path: Path, plate: Plate, names: tuple[str, ...], places: list[str]) -> Any:
    """Read the columns of names, and of places as whole addresses or as folder and file."""
    optional = [f"URL_{place}" for place in places]
    split = [f"{part}_{place}" for place in places for part in ("PathName", "FileName")]
    try:
        table = read_columns(path, names, [*optional, *split])
    except DamagedFileError as error:
        raise DamagedFileError(f"plate {plate.source}/{plate.name}: {error}") from None
    for place in places:
        lacking = [column for column in (f"PathName_{place}", f"FileName_{place}") if column not in table.column_names]
        if lacking and f"URL_{place}" not in table.column_names:
            raise DamagedFileError(
                f"plate {plate.source}/{plate.name}: {path}: column {' and '.join(lacking)} is missing, and there is "
                f"no URL_{place}"
            )
    return table


def _keep_wells(table: Any, plate: Plate, wells: Collection[str], where: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in pc.unique(table["Metadata_Plate"]).to_pylist():
        if name != plate.name:
            raise DamagedFileError(f"{where}: holds rows of plate {name}")
    try:
        kept = [name for name in pc.unique(table["Metadata_Well"]).to_pylist() if pad_well(name) in wells]
    except ValueError as error:
        raise DamagedFileError(f"{where}: {error}") from None
    return table.filter(pc.is_in(table["Metadata_Well"], pa.array(kept, pa.string())))


def _addresses(table: Any, place: str, where: str) -> list[str]:
    url = f"URL_{place}"
    try:
        if url in table.column_names:
            return [read_url(entry) for entry in table[url].to_pylist()]
        join: Callable[[str, str], str] = join_address
        return list(map(join, table[f"PathName_{place}"].to_pylist(), table[f"FileName_{place}"].to_pylist()))
    except ValueError as error:
        raise DamagedFileError(f"{where}: column {place}: {error}") from None
