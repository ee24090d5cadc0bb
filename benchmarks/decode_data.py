"""Data sets of drawn pictures in the layouts of RxRx3-core and JUMP-CP, whose files cost what real ones cost to decode.

A few fields are drawn and named again and again: a decoder knows no picture from the last time.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from scipy.ndimage import gaussian_filter

DRAWN = 8
"""Fields that are drawn; all others repeat them."""
GENES, CONTROLS = 25, 6
STAINS = ("AGP", "DNA", "ER", "Mito", "RNA")
DMSO = "JCP2022_033924"
POSITIVE = tuple(f"JCP2022_{number:06d}" for number in range(1, 9))
WELLS = [*(name for name in POSITIVE for _ in range(2)), *[DMSO] * 8]
RXRX3_SPEC = """\
include: rxrx3
name: decode-rxrx3
protocol:
  params: {{folds: {{n: 1, n_images: {images}}}, controls_per_batch: {controls}, sources: [CORUM]}}
"""
JUMP_SPEC = """\
include: jump
name: decode-jump
protocol:
  params: {labs: [source_2], folds: {n: 1, plates_per_lab: 1}, min_dmso: 8, max_dmso: 8, min_poscon_wells: 2}
"""


def draw_field(rng: np.random.Generator, side: int, grain: float) -> NDArray[np.float64]:
    """Draw cells as blurred spots, with grain that grows with brightness: (side, side), about 0 to 255."""
    spots = (rng.random((side, side)) < 4e-4) * rng.uniform(300, 900, (side, side))
    cells = gaussian_filter(spots, 9, mode="wrap") * 60
    noise = gaussian_filter(rng.normal(size=(side, side)), 1.2, mode="wrap") * grain
    return np.clip(cells + noise * np.sqrt(cells / 20 + 0.1) + 12, 0, 255)


def write_rxrx3(root: Path, n_images: int) -> Path:
    """Write 25 genes with ``n_images`` wells each and 6 controls, six lossless JPEG 2000 channels a well.

    Returns:
        The task spec.
    """
    rng = np.random.default_rng(0)
    drawn = [_jpeg2000(draw_field(rng, 512, grain=6).round().astype(np.uint8)) for _ in range(6 * DRAWN)]
    core = root / "recursionpharma/rxrx3-core"
    lists = root / "recursionpharma/EFAAR_benchmarking/efaar_benchmarking/benchmark_annotations"
    (core / "data").mkdir(parents=True)
    lists.mkdir(parents=True)
    (lists / "CORUM.txt").write_text("entity1,entity2\nG00,G01\n")
    treatments = [f"G{gene:02d}_guide_1" for gene in range(GENES) for _ in range(n_images)]
    treatments += ["EMPTY_control"] * CONTROLS
    header = ["well_id", "experiment_name", "plate", "address", "treatment", "concentration", "perturbation_type"]
    rows = [
        [f"gene-001_1_A{place:04d}", "gene-001", "1", f"A{place:04d}", treatment, "", "CRISPR"]
        for place, treatment in enumerate(treatments)
    ]
    (core / "metadata_rxrx3_core.csv").write_text(_csv(header, rows))
    keys = [f"gene-001/Plate1/A{place:04d}_s1_{1 + number}" for place in range(len(rows)) for number in range(6)]
    images = [{"bytes": drawn[number % len(drawn)], "path": None} for number in range(len(keys))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"__key__": keys, "jp2": pa.array(images, kind)})
    parquet.write_table(table, core / "data/train-00000-of-00001.parquet", row_group_size=100)
    return _spec(root / "decode-rxrx3.yaml", RXRX3_SPEC.format(images=n_images, controls=CONTROLS))


def write_jump(root: Path, n_sites: int) -> Path:
    """Write a plate with 24 control wells of ``n_sites`` sites, five LZW channels of 16 bits, 1080 x 1080, a site.

    Returns:
        The task spec.
    """
    rng = np.random.default_rng(1)
    tables = root / "jump-cellpainting/datasets/metadata"
    gallery = root / "cellpainting-gallery/cpg0016-jump/source_2"
    plate = gallery / "workspace/load_data_csv/B1/P1"
    for folder in (tables, plate, gallery / "images"):
        folder.mkdir(parents=True)
    for number in range(DRAWN):
        for stain in STAINS:
            field = (draw_field(rng, 1080, grain=6) * 40).astype(np.uint16)
            tifffile.imwrite(gallery / f"images/{number}-{stain}.tiff", field, compression="lzw")
    wells = [(f"{'ABCDEFGHIJKLMNOPQRSTUVWX'[place]}01", name) for place, name in enumerate(WELLS)]
    source, batch, name, well = (f"Metadata_{word}" for word in ("Source", "Batch", "Plate", "Well"))
    _gz(tables / "plate.csv.gz", [source, batch, name, "Metadata_PlateType"], [["source_2", "B1", "P1", "COMPOUND"]])
    _gz(tables / "well.csv.gz", [source, name, well, "Metadata_JCP2022"], [["source_2", "P1", *one] for one in wells])
    kinds = [[label, "poscon", label, "compound"] for label in POSITIVE] + [[DMSO, "negcon", "DMSO", "compound"]]
    header = ["Metadata_JCP2022", "Metadata_pert_type", "Metadata_Name", "Metadata_modality"]
    (tables / "perturbation_control.csv").write_text(_csv(header, kinds))
    rows = []
    for number in range(n_sites * len(wells)):
        row = {source: "source_2", batch: "B1", name: "P1", well: wells[number // n_sites][0]}
        row["Metadata_Site"] = str(number % n_sites + 1)
        for stain in STAINS:
            row[f"PathName_Orig{stain}"] = "s3://cellpainting-gallery/cpg0016-jump/source_2/images"
            row[f"FileName_Orig{stain}"] = f"{number % DRAWN}-{stain}.tiff"
        rows.append(row)
    parquet.write_table(pa.Table.from_pylist(rows), plate / "load_data_with_illum.parquet")
    return _spec(root / "decode-jump.yaml", JUMP_SPEC)


def _jpeg2000(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG2000")  # reversible, which is Pillow's default
    return stream.getvalue()


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _gz(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.write_bytes(gzip.compress(_csv(header, rows).encode()))


def _spec(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
