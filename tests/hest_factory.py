"""Tiny data sets in the layout of hest-bench, written to a temporary folder, and ways to damage them."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from harness.tasks.datasets.hest import READER, Params, Source
from harness.tasks.datasets.hest_dataset import HestDataset
from numpy.typing import DTypeLike, NDArray

from harness.types import DataContext

BENCH = "owner/bench"
SLIDES = "owner/slides"
UM_PER_PX = 0.7
HALF = 112 / UM_PER_PX / 2
"""Half the side of a patch in slide pixels."""
SPEC = f"""\
name: tiny
title: Tiny tissue
domain: histology
licence: CC0
source: {{reader: hest, bench: {BENCH}, folder: TASK SLIDES}}
input: {{views: [VIEWS], um_per_px: 0.5}}
protocol: {{name: expression-regression, params: {{}}}}
metrics:
  - {{name: pcc, primary: true, chance: 0, ceiling: 1}}
  - {{name: pcc_per_sample, chance: 0, ceiling: 1}}
  - {{name: mse, higher_is_better: false}}
  - {{name: r2, ceiling: 1}}
inference: {{unit: gene, cluster: co-expression module}}
baselines: []
"""
Storage = Literal["dense", "csr", "csc"]
Attributes = Literal["new", "old", "none"]
"""How a patch file states the pixel size: ``pixel_size``, ``factor`` as in older files, or not at all."""


@dataclass(frozen=True)
class Tree:
    """A written task: ``root`` is what ``--data-dir`` names."""

    root: Path
    folder: str
    genes: tuple[str, ...]
    sections: tuple[str, ...]
    images: dict[str, NDArray[np.uint8]]
    counts: dict[str, NDArray[np.int64]]
    """Section -> (n_patches, n_genes) counts in patch order."""

    @property
    def task(self) -> Path:
        """The task folder."""
        return self.root / BENCH / self.folder

    @property
    def genes_file(self) -> Path:
        """The gene list."""
        return self.task / "var_50genes.json"

    def patches(self, section: str) -> Path:
        """The patch file of a section."""
        return self.task / f"patches/{section}.h5"

    def adata(self, section: str) -> Path:
        """The h5ad file of a section."""
        return self.task / f"adata/{section}.h5ad"

    def split(self, side: str, fold: int) -> Path:
        """A split file."""
        return self.task / f"splits/{side}_{fold}.csv"

    def nuclei(self, section: str) -> Path:
        """The segmentation of a section."""
        return self.root / SLIDES / f"cellvit_seg/{section}_cellvit_seg.parquet"

    def metadata(self, section: str) -> Path:
        """The metadata of a section."""
        return self.root / SLIDES / f"metadata/{section}.json"

    def open(self, limit: int | None = None, slides: str | None = None, **params: object) -> HestDataset:
        """Open the task as it is on disk now."""
        context = DataContext(data_dirs=(self.root,), cache=self.root / "cache", offline=True, limit=limit)
        source = Source(bench=BENCH, folder=self.folder, slides=slides)
        return READER.open(None, source, Params.model_validate(params), context)

    def copy(self, root: Path) -> Tree:
        """Copy all files to another data folder."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return replace(self, root=root)

    def write_spec(self, *views: str, slides: str | None = None) -> Path:
        """Write a task spec that names this tree, by default with the image view alone."""
        path = self.root / "tiny.yaml"
        text = SPEC.replace("VIEWS", ", ".join(views) or "image")
        path.write_text(text.replace(" SLIDES", f", slides: {slides}" if slides else ""))
        return path


def write_tree(
    root: Path,
    sizes: Sequence[int] = (12, 9, 10),
    n_genes: int = 6,
    storage: Sequence[Storage] = ("dense", "csr", "csc"),
    seed: int = 0,
    planar: bool = True,
    attributes: Attributes = "new",
    numbers: DTypeLike | None = None,
) -> Tree:
    """Write sections A, B, C, … with leave-one-section-out folds; spots shuffled, with extra spots and genes.

    ``numbers`` is the type of the stored counts; by default uint16 in dense arrays and float32 in sparse ones.
    """
    rng = np.random.default_rng(seed)
    names = tuple("ABCDEFGH"[: len(sizes)])
    genes = tuple(f"G{index:02d}" for index in range(n_genes))
    tree = Tree(root, "TASK", genes, names, {}, {})
    for name in ("patches", "adata", "splits"):
        (tree.task / name).mkdir(parents=True)
    tree.genes_file.write_text(json.dumps({"genes": list(genes)}))
    for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
        barcodes = [f"{row:03d}x{name}" for row in range(size)]
        corners = rng.integers(0, 5000, (size, 2))
        images = rng.integers(0, 56, (size, 224, 224, 3), dtype=np.uint8)
        images += rng.integers(0, 200, (size, 1, 1, 3), dtype=np.uint8)
        tree.images[name] = images
        tree.counts[name] = rng.poisson(3.0, (size, n_genes))
        write_patches(tree.patches(name), barcodes, corners, images, planar=planar, attributes=attributes)
        _write_shuffled(tree, name, barcodes, corners, storage[index % len(storage)], numbers, rng)
    for fold, test in enumerate(names):
        write_split(tree.split("train", fold), [name for name in names if name != test])
        write_split(tree.split("test", fold), [test])
    return tree


def write_split(path: Path, names: Sequence[str], up: str = "") -> None:
    """Write a split file; ``up`` is put before each path."""
    rows = [f"{name},{up}patches/{name}.h5,{up}adata/{name}.h5ad" for name in names]
    path.write_text("\n".join(["sample_id,patches_path,expr_path", *rows]) + "\n")


def write_patches(
    path: Path,
    barcodes: Sequence[str],
    corners: NDArray[np.int64],
    images: NDArray[np.uint8],
    *,
    planar: bool = True,
    attributes: Attributes = "new",
) -> None:
    """Write a patch file with compressed chunks of one channel, or of whole patches."""
    with h5py.File(path, "w") as file:
        file["barcode"] = np.array([[name.encode()] for name in barcodes])
        file["coords"] = corners
        chunks = (min(4, len(images)), 224, 224, 1) if planar else (1, 224, 224, 3)
        data = file.create_dataset("img", data=images, chunks=chunks, compression="gzip", compression_opts=1)
        side = round(2 * HALF)
        stated = {
            "new": {"patch_size_src": side, "patch_size_target": 224, "pixel_size": UM_PER_PX},
            "old": {"patch_size": side, "factor": 0.5 / UM_PER_PX},
            "none": {},
        }
        data.attrs.update(stated[attributes])


def write_h5ad(
    path: Path,
    names: Sequence[str],
    genes: Sequence[str],
    counts: NDArray[np.generic],
    centres: NDArray[np.float64],
    storage: Storage = "dense",
) -> None:
    """Write an h5ad file without the anndata package."""
    from scipy.sparse import csc_matrix, csr_matrix

    with h5py.File(path, "w") as file:
        for axis, labels in (("obs", names), ("var", genes)):
            file.create_group(axis).attrs["_index"] = "_index"
            file[f"{axis}/_index"] = np.array(labels, dtype=h5py.string_dtype())
        file["obsm/spatial"] = centres
        if storage == "dense":
            file["X"] = counts
            file["X"].attrs["encoding-type"] = "array"
            return
        matrix = (csr_matrix if storage == "csr" else csc_matrix)(counts)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{storage}_matrix", "shape": np.array(counts.shape)})
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)


def write_slides(tree: Tree, per_patch: int = 6, seed: int = 1) -> dict[str, NDArray[np.float64]]:
    """Write pixel sizes and nuclei: some in each patch, and as many in none, 6000 px further to the right.

    Returns:
        Section -> (n, 2) centres of the nuclei, in the order of the file.
    """
    rng, centres = np.random.default_rng(seed), {}
    for section in tree.sections:
        with h5py.File(tree.patches(section)) as file:
            corners = file["coords"][()].astype(np.float64)
        inside = np.repeat(corners, per_patch, axis=0) + rng.uniform(0, 2 * HALF, (per_patch * len(corners), 2))
        outside = inside + np.array([6000, 0])
        centres[section] = rng.permutation(np.concatenate([inside, outside]))
        tree.nuclei(section).parent.mkdir(parents=True, exist_ok=True)
        tree.metadata(section).parent.mkdir(parents=True, exist_ok=True)
        tree.metadata(section).write_text(json.dumps({"id": section, "pixel_size_um_estimated": UM_PER_PX}))
        write_nuclei(tree.nuclei(section), [wkb_polygon(square_about(*centre)) for centre in centres[section]])
    return centres


def square_about(x: float, y: float, half: float = 4.0) -> list[tuple[float, float]]:
    """Return a closed ring with this centre."""
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    return [(x + half * a, y + half * b) for a, b in signs]


def wkb_polygon(*rings: Sequence[tuple[float, float]]) -> bytes:
    """Encode a polygon, the exterior first."""
    parts = [struct.pack("<BII", 1, 3, len(rings))]
    for ring in rings:
        parts += [struct.pack("<I", len(ring)), *(struct.pack("<dd", *vertex) for vertex in ring)]
    return b"".join(parts)


def wkb_multipolygon(*polygons: bytes) -> bytes:
    """Encode several encoded polygons as one."""
    return struct.pack("<BII", 1, 6, len(polygons)) + b"".join(polygons)


def write_nuclei(path: Path, geometry: Sequence[bytes | None], column: str = "geometry", rows: int = 50) -> None:
    """Write a GeoParquet file with row groups of a few rows."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"class": ["Unknown"] * len(geometry), column: pa.array(geometry, pa.binary())})
    stated = {"version": "1.1.0", "primary_column": column, "columns": {column: {"encoding": "WKB"}}}
    parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(stated)}), path, row_group_size=rows)


def cut(path: Path) -> None:
    """Keep the first half of a file, as after a copy that broke off."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def drop(path: Path, name: str) -> None:
    """Delete a dataset or group of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        del file[name]


def alter(path: Path, name: str, change: Callable[[NDArray], object]) -> None:
    """Replace a dataset of an HDF5 file by what ``change`` makes of its content; attributes stay."""
    with h5py.File(path, "r+") as file:
        attributes, new = dict(file[name].attrs), change(file[name][()])
        del file[name]
        file[name] = new
        file[name].attrs.update(attributes)


def rename(path: Path, name: str, old: str, new: str) -> None:
    """Replace one text in a dataset of texts."""

    def change(texts: NDArray) -> NDArray:
        assert old.encode() in texts
        return np.where(texts == old.encode(), new.encode(), texts).astype(object)

    alter(path, name, change)


def set_attribute(path: Path, name: str, key: str, value: object) -> None:
    """Set an attribute of a dataset or group."""
    with h5py.File(path, "r+") as file:
        file[name].attrs[key] = value


def set_counts(path: Path, gene: str, value: float | Sequence[float]) -> None:
    """Overwrite the counts of a gene in a dense h5ad file, in the order of the file's spots."""
    with h5py.File(path, "r+") as file:
        file["X"][:, list(file["var/_index"][()]).index(gene.encode())] = value


def _write_shuffled(
    tree: Tree,
    name: str,
    barcodes: Sequence[str],
    corners: NDArray[np.int64],
    storage: Storage,
    numbers: DTypeLike | None,
    rng: np.random.Generator,
) -> None:
    spots = [*barcodes, "900xX", "901xX"]
    genes = [*tree.genes, "EXTRA"]
    counts = rng.poisson(3.0, (len(spots), len(genes)))
    counts[: len(barcodes), : len(tree.genes)] = tree.counts[name]
    centres = np.zeros((len(spots), 2))
    centres[: len(barcodes)] = corners + int(HALF) + rng.random(corners.shape)
    rows, columns = rng.permutation(len(spots)), rng.permutation(len(genes))
    default = np.uint16 if storage == "dense" else np.float32
    write_h5ad(
        tree.adata(name),
        [spots[row] for row in rows],
        [genes[column] for column in columns],
        counts[np.ix_(rows, columns)].astype(numbers or default),
        centres[rows],
        storage,
    )
