"""Tiny data sets in the layout of RxRx3-core, written to a temporary folder, and ways to damage them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from harness.tasks.datasets.rxrx3.dataset import RxrxDataset
from harness.tasks.datasets.rxrx3.reader import METADATA, READER, Params, Source
from harness.tasks.datasets.rxrx3.relations import FOLDER, LICENCES
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from harness import tasks as specs
from harness.specs import ProtocolSpec, TaskSpec, load_spec
from harness.types import DataContext

CORE, LISTS = "lab/core", "lab/lists"
INTERACTIONS = f"{FOLDER}/compound_gene_interactions.csv"
DOSES = (0.01, 1.0)
Row = dict[str, Any]


def aligned_spec(protocol: str, method: str) -> TaskSpec:
    """Make the spec of a task with one alignment."""
    spec = load_spec(Path(specs.__file__).parent / "specs/rxrx3.yaml")
    params = {"align": {"method": method, "companions": []}}
    return spec.model_copy(update={"protocol": ProtocolSpec(name=protocol, params=params)})


UNALIGNED = aligned_spec("gene-recall", "none")


@dataclass(frozen=True)
class Tree:
    """A written data set: ``root`` is what ``--data-dir`` names."""

    root: Path

    @property
    def metadata(self) -> Path:
        """The table of wells."""
        return self.root / CORE / METADATA

    @property
    def interactions(self) -> Path:
        """The table of interactions."""
        return self.root / LISTS / INTERACTIONS

    @property
    def shards(self) -> list[Path]:
        """The image files."""
        return sorted((self.root / CORE / "data").glob("*.parquet"))

    def pairs(self, source: str) -> Path:
        """The list of one source."""
        return self.root / LISTS / FOLDER / f"{source}.txt"

    def open(self, limit: int | None = None, spec: TaskSpec | None = None, **params: object) -> RxrxDataset:
        """Open the task as it is on disk now; by default one that needs no controls."""
        context = DataContext(data_dirs=(self.root,), cache=self.root / "cache", offline=True, limit=limit)
        source = Source(core=CORE, annotations=LISTS, shards=3)
        return READER.open(spec or UNALIGNED, source, Params.model_validate(params), context)

    def open_map(self, **params: object) -> RxrxDataset:
        """Open all wells of both kinds as one map."""
        return self.open(folds=None, rows="all", controls_per_batch=None, **params)

    def copy(self, root: Path) -> Tree:
        """Copy all files to another data folder."""
        shutil.copytree(self.root, root)
        return replace(self, root=root)


def write_tree(root: Path, n_genes: int = 6, n_wells: int = 6, n_compounds: int = 2, n_controls: int = 3) -> Tree:
    """Write tables and lists without images: each gene on three experiments, compounds on one of their own.

    Genes are called G00, G01, …, and one is called NA. Rows stand in no order. Each list relates neighbours, in both
    directions, a gene to itself, and one to a gene that nobody perturbed.
    """
    genes = ["NA", *(f"G{number:02d}" for number in range(n_genes - 1))]
    rows = []
    for number in range(n_genes * n_wells):
        treatment = f"{genes[number % n_genes]}_guide_{number // n_genes % 3 + 1}"
        rows.append(_row(f"gene-{number % 3 + 1:03d}", number % 2 + 1, number, treatment, "CRISPR"))
    for experiment in range(3):
        rows += [
            _row(f"gene-{experiment + 1:03d}", 1, 90000 + number, "EMPTY_control", "CRISPR")
            for number in range(n_controls)
        ]
    for number in range(n_compounds * len(DOSES)):
        row = _row("compound-001", 1, number, f"Drug_{number // len(DOSES)}", "COMPOUND")
        rows.append(row | {"SMILES": "C", "concentration": DOSES[number % len(DOSES)]})
    if n_compounds:
        rows += [_row("compound-001", 1, 90000 + n, "EMPTY_control", "COMPOUND") for n in range(n_controls)]
        rows.append(_row("compound-001", 1, 99000, "CRISPR_control", "COMPOUND"))
    order = np.random.default_rng(0).permutation(len(rows))
    tree = Tree(root)
    for folder in (tree.metadata.parent / "data", tree.interactions.parent):
        folder.mkdir(parents=True)
    pd.DataFrame([rows[index] for index in order]).to_csv(tree.metadata, index=False)
    neighbours = list(pairwise(genes))
    listed = [*neighbours, *((b, a) for a, b in neighbours), (genes[0], genes[0]), (genes[0], "UNKNOWN")]
    for source in LICENCES:
        tree.pairs(source).write_text("\n".join(["entity1,entity2", *map(",".join, listed)]) + "\n")
    known = [f"{gene},{10.0**number},ic50,none,Drug_0" for number, gene in enumerate(genes[:5])]
    tree.interactions.write_text("\n".join(["gene_symbol,nM_value,measurement_type,database,treatment", *known]) + "\n")
    return tree


def _row(experiment: str, plate: int, address: int, treatment: str, kind: str) -> Row:
    place = f"A{address:05d}"
    gene = treatment.partition("_guide")[0] if kind == "CRISPR" else None
    return {
        "well_id": f"{experiment}_{plate}_{place}", "experiment_name": experiment, "plate": plate, "address": place,
        "gene": gene, "treatment": treatment, "SMILES": None, "concentration": None, "perturbation_type": kind,
        "cell_type": "HUVEC",
    }  # fmt: skip


def write_images(tree: Tree, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Write the images of all wells to three shards with row groups of seven; wells straddle groups and files.

    Returns:
        Well -> (6, 512, 512) uint8.
    """
    rng, images, rows = np.random.default_rng(seed), dict[str, NDArray[np.uint8]](), []
    slope = (np.arange(512)[:, None] // 4 + np.arange(512) // 8).astype(np.uint8)
    for well in rng.permutation(pd.read_csv(tree.metadata, keep_default_na=False)["well_id"]):
        images[well] = slope + rng.integers(0, 256, (6, 1, 1), dtype=np.uint8)
        rows += [(key_of(well, channel), encode(images[well][channel])) for channel in range(6)]
    cuts = [0, len(rows) // 3 + 2, 2 * len(rows) // 3 + 3, len(rows)]
    for number, (start, stop) in enumerate(pairwise(cuts)):
        path = tree.root / CORE / f"data/train-{number:05d}-of-00003.parquet"
        write_shard(path, rows[start:stop])
    return images


def key_of(well: str, channel: int) -> str:
    """Name an image as the data set does; ``channel`` from 0."""
    experiment, plate, address = well.split("_")
    return f"{experiment}/Plate{plate}/{address}_s1_{channel + 1}"


def encode(image: NDArray[np.generic]) -> bytes:
    """Encode an image as lossless JPEG 2000."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG2000")
    return stream.getvalue()


def write_shard(path: Path, rows: Sequence[tuple[str | None, bytes | None]]) -> None:
    """Write one image file."""
    images = pa.array([{"bytes": data, "path": None} for _, data in rows], _IMAGE)
    parquet.write_table(pa.table({"__key__": [key for key, _ in rows], "jp2": images}), path, row_group_size=7)


def alter_shard(path: Path, change: Callable[[list[tuple[str, bytes]]], object]) -> None:
    """Change the (key, encoded image) rows of one image file in place."""
    table = parquet.read_table(path)
    rows = list(zip(table["__key__"].to_pylist(), (image["bytes"] for image in table["jp2"].to_pylist()), strict=True))
    change(rows)
    write_shard(path, rows)


def alter_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Replace a CSV file by what ``change`` makes of it."""
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
