"""A tiny JUMP-CP in the layout of the public repository and bucket, and ways to damage it."""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tifffile
from harness.tasks.datasets.jump.dataset import JumpDataset
from harness.tasks.datasets.jump.params import Params, Source
from harness.tasks.datasets.jump.reader import READER
from numpy.typing import NDArray

from harness.types import DataContext

CHANNELS = ("AGP", "DNA", "ER", "Mito", "RNA")
DMSO = "JCP2022_033924"
POSITIVE = tuple(
    f"JCP2022_{number}" for number in ("037716", "025848", "046054", "035095", "064022", "050797", "012818", "085227")
)
FRAME = (37, 41)
"""Odd, not square, larger than the crop."""
CROP = 24
N_SITES = 2
SMALL = {
    "labs": ["source_2", "source_3"],
    "folds": {"n": 2, "plates_per_lab": 1},
    "min_dmso": 2,
    "max_dmso": 8,
    "crop": CROP,
}
PLATES = {
    "source_2": ("1053600001", "1053600002", "0053600003"),  # names of digits, one with a leading zero
    "source_3": ("JCPQC01", "JCPQC02", "JCPQC03"),
}
SPEC = """\
include: jump
name: tiny-jump
protocol:
  params:
    labs: [source_2, source_3]
    folds: {n: 2, plates_per_lab: 1}
    min_dmso: 2
    max_dmso: 8
    crop: 24
baselines: []
"""


@dataclass(frozen=True)
class Tree:
    """A written data folder: ``root`` is what ``--data-dir`` names."""

    root: Path

    @property
    def metadata(self) -> Path:
        return self.root / "jump-cellpainting/datasets/metadata"

    def table(self, source: str, plate: str, ending: str = ".parquet") -> Path:
        folder = f"cellpainting-gallery/cpg0016-jump/{source}/workspace/load_data_csv/B_{source}/{plate}"
        return self.root / folder / f"load_data_with_illum{ending}"

    def image(self, source: str, plate: str, name: str) -> Path:
        return self.root / address(source, plate, name)

    def illumination(self, source: str, plate: str, channel: str) -> Path:
        return self.root / f"{gallery(source)}/illum/{plate}/{plate}_Illum{channel}.npy"

    def copy(self, root: Path, *, images: bool = False) -> Tree:
        """Copy the tables; the folders of images are links unless a test changes them."""
        leave = None if images else shutil.ignore_patterns("images")
        shutil.copytree(self.root, root, ignore=leave)
        for source in () if images else PLATES:
            folder = Path(f"cellpainting-gallery/cpg0016-jump/{source}/images")
            (root / folder).symlink_to(self.root / folder)
        return replace(self, root=root)

    def context(self, **changes: object) -> DataContext:
        values = {"data_dirs": (self.root,), "cache": self.root.parent / "cache", "offline": True, **changes}
        return DataContext(**values)

    def open(self, context: DataContext | None = None, **params: object) -> JumpDataset:
        chosen = Params.model_validate({**SMALL, **params})
        return READER.open(None, Source(), chosen, context or self.context())

    def drop_images(self) -> None:
        shutil.rmtree(self.root / "cellpainting-gallery")

    def write_spec(self) -> Path:
        path = self.root / "tiny.yaml"
        path.write_text(SPEC)
        return path


def gallery(source: str) -> str:
    return f"cellpainting-gallery/cpg0016-jump/{source}/images/B_{source}"


def address(source: str, plate: str, name: str) -> str:
    return f"{gallery(source)}/images/{plate}__run/Images/{name}"


def file_name(well: str, site: int, channel: str) -> str:
    """Number channels as a microscope does, not in the order of the sample."""
    return f"r{well}f{site:02d}-ch{5 - CHANNELS.index(channel)}.tiff"


def layout() -> list[tuple[str, str]]:
    """Return (well, label): two wells of each positive control, four of DMSO, one compound, one empty."""
    labels = [*(name for name in POSITIVE for _ in range(2)), *[DMSO] * 4, "JCP2022_000017", "JCP2022_999999"]
    return [(f"{'ABCDEFGHIJKLMNOP'[index % 16]}{1 + index // 16:02d}", label) for index, label in enumerate(labels)]


def picture(plate: str, well: str, label: str, site: int, channel: int) -> NDArray[np.uint16]:
    """Draw noise whose grain tells the label, on a gain of the plate."""
    rng = np.random.default_rng([*plate.encode(), *well.encode(), site, channel])
    number = [*POSITIVE, DMSO].index(label) if label in (*POSITIVE, DMSO) else 9
    grain = 4 if number >> channel & 1 else 1  # a binary number of coarse and fine channels
    noise = rng.gamma(grain, 1.0, FRAME) * (200 + 10 * int(plate[-1]))
    return (noise + 100 * (channel + 1)).astype(np.uint16)


def write_tree(root: Path) -> Tree:
    """Write two laboratories of three plates; all three qualify."""
    tree = Tree(root)
    tree.metadata.mkdir(parents=True)
    plates = [(source, plate) for source, names in PLATES.items() for plate in names]
    write_gz(
        tree.metadata / "plate.csv.gz",
        ["Metadata_Source", "Metadata_Batch", "Metadata_Plate", "Metadata_PlateType"],
        [[source, f"B_{source}", plate, "COMPOUND"] for source, plate in plates],
    )
    write_gz(
        tree.metadata / "well.csv.gz",
        ["Metadata_Source", "Metadata_Plate", "Metadata_Well", "Metadata_JCP2022"],
        [[source, plate, well, label] for source, plate in plates for well, label in layout()],
    )
    rows = [[name, "poscon", f"name of {name}", "compound"] for name in POSITIVE]
    rows += [[DMSO, "negcon", "DMSO", "compound"], ["JCP2022_999999", "empty", "Empty", "any"]]
    rows += [["JCP2022_805264", "poscon", "PLK1", "crispr"]]
    path = tree.metadata / "perturbation_control.csv"
    path.write_text(to_csv(["Metadata_JCP2022", "Metadata_pert_type", "Metadata_Name", "Metadata_modality"], rows))
    for source, plate in plates:
        _write_plate(tree, source, plate)
    return tree


def _write_plate(tree: Tree, source: str, plate: str) -> None:
    tree.image(source, plate, "x").parent.mkdir(parents=True)
    rows = []
    for well, label in layout():
        for site in range(1, N_SITES + 1):
            rows.append(load_data_row(source, plate, well, site))
            for number, channel in enumerate(CHANNELS):
                path = tree.image(source, plate, file_name(well, site, channel))
                tifffile.imwrite(path, picture(plate, well, label, site, number))
    write_parquet(tree.table(source, plate), rows)
    for number, channel in enumerate(CHANNELS):
        path = tree.illumination(source, plate, channel)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.linspace(0.5, 1.5 + number, FRAME[0] * FRAME[1]).reshape(FRAME))


def load_data_row(source: str, plate: str, well: str, site: int) -> dict[str, str]:
    row = {"Metadata_Plate": plate, "Metadata_Well": well, "Metadata_Site": str(site), "Metadata_Source": source}
    row["Metadata_Batch"] = f"B_{source}"
    for channel in CHANNELS:
        row[f"FileName_Orig{channel}"] = file_name(well, site, channel)
        row[f"PathName_Orig{channel}"] = "s3://" + address(source, plate, "")
        row[f"FileName_Illum{channel}"] = f"{plate}_Illum{channel}.npy"
        row[f"PathName_Illum{channel}"] = f"s3://{gallery(source)}/illum/{plate}"  # without the slash at the end
    return row


def write_parquet(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def change_rows(path: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    """Change a parquet table row by row; the change works in place."""
    rows = pq.read_table(path).to_pylist()
    change(rows)
    write_parquet(path, rows)


def change_lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a csv or csv.gz file."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as stream:
        lines = stream.read().splitlines()
    with opened(path, "wt") as stream:
        stream.write("\n".join(change(lines)) + "\n")


def write_gz(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.write_bytes(gzip.compress(to_csv(header, rows).encode()))


def to_csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
