"""Tiny data sets in the layout of hest-bench, written to a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from harness.tasks.datasets.hest import READER, Params, Source
from harness.tasks.datasets.hest_dataset import HestDataset
from numpy.typing import NDArray

from harness.types import DataContext

BENCH = "owner/bench"
UM_PER_PX = 0.7
Storage = Literal["dense", "csr", "csc"]


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

    def open(self, limit: int | None = None, **params: str) -> HestDataset:
        """Open the task as it is on disk now."""
        context = DataContext(data_dirs=(self.root,), cache=self.root / "cache", offline=True, limit=limit)
        return READER.open(None, Source(bench=BENCH, folder=self.folder), Params(**params), context)


def write_tree(
    root: Path,
    sizes: Sequence[int] = (12, 9, 10),
    n_genes: int = 6,
    storage: Sequence[Storage] = ("dense", "csr", "csc"),
    seed: int = 0,
    planar: bool = True,
) -> Tree:
    """Write sections A, B, C, … with leave-one-section-out folds; spots shuffled, with extra spots and genes."""
    rng = np.random.default_rng(seed)
    names = tuple("ABCDEFGH"[: len(sizes)])
    genes = tuple(f"G{index:02d}" for index in range(n_genes))
    tree = Tree(root, "TASK", genes, names, {}, {})
    for name in ("patches", "adata", "splits"):
        (tree.task / name).mkdir(parents=True)
    (tree.task / "var_50genes.json").write_text(json.dumps({"genes": list(genes)}))
    for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
        barcodes = [f"{row:03d}x{name}" for row in range(size)]
        corners = rng.integers(0, 5000, (size, 2))
        images = rng.integers(0, 256, (size, 224, 224, 3), dtype=np.uint8)
        tree.images[name] = images
        tree.counts[name] = rng.poisson(3.0, (size, n_genes))
        write_patches(tree.task / f"patches/{name}.h5", barcodes, corners, images, planar=planar)
        _write_shuffled(tree, name, barcodes, corners, storage[index % len(storage)], rng)
    for fold, test in enumerate(names):
        write_split(tree.task / f"splits/train_{fold}.csv", [name for name in names if name != test])
        write_split(tree.task / f"splits/test_{fold}.csv", [test])
    return tree


def write_split(path: Path, names: Sequence[str], up: str = "") -> None:
    """Write a split file; ``up`` is put before each path."""
    rows = [f"{name},{up}patches/{name}.h5,{up}adata/{name}.h5ad" for name in names]
    path.write_text("\n".join(["sample_id,patches_path,expr_path", *rows]) + "\n")


def write_patches(
    path: Path, barcodes: Sequence[str], corners: NDArray[np.int64], images: NDArray[np.uint8], *, planar: bool = True
) -> None:
    """Write a patch file with compressed chunks of one channel, or of whole patches."""
    with h5py.File(path, "w") as file:
        file["barcode"] = np.array([[name.encode()] for name in barcodes])
        file["coords"] = corners
        chunks = (4, 224, 224, 1) if planar else (1, 224, 224, 3)
        data = file.create_dataset("img", data=images, chunks=chunks, compression="gzip", compression_opts=1)
        data.attrs["pixel_size"] = UM_PER_PX


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
        matrix = (csr_matrix if storage == "csr" else csc_matrix)(counts.astype(np.float32))
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{storage}_matrix", "shape": np.array(counts.shape)})
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)


def _write_shuffled(
    tree: Tree,
    name: str,
    barcodes: Sequence[str],
    corners: NDArray[np.int64],
    storage: Storage,
    rng: np.random.Generator,
) -> None:
    spots = [*barcodes, "900xX", "901xX"]
    genes = [*tree.genes, "EXTRA"]
    counts = rng.poisson(3.0, (len(spots), len(genes)))
    counts[: len(barcodes), : len(tree.genes)] = tree.counts[name]
    centres = np.zeros((len(spots), 2))
    centres[: len(barcodes)] = corners + 56 / UM_PER_PX + rng.random(corners.shape)
    rows, columns = rng.permutation(len(spots)), rng.permutation(len(genes))
    stored = counts[np.ix_(rows, columns)].astype(np.uint16 if storage == "dense" else np.float32)
    write_h5ad(
        tree.task / f"adata/{name}.h5ad",
        [spots[row] for row in rows],
        [genes[column] for column in columns],
        stored,
        centres[rows],
        storage,
    )
