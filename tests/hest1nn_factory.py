"""Tiny sections on real grids, with slide, patches, counts, nuclei and metadata, in the layouts that hest1nn reads."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import tifffile
from harness.tasks.datasets.hest1nn import READER, Params, Source
from harness.tasks.datasets.hest1nn_dataset import Hest1nnDataset
from hest_factory import (
    BENCH,
    SLIDES,
    SPEC,
    Tree,
    square_about,
    wkb_polygon,
    write_h5ad,
    write_nuclei,
    write_patches,
    write_split,
)
from numpy.typing import NDArray

from harness.types import DataContext, Progress

UM_PER_PX = 0.5
SIDE = 224
"""Side of a patch in slide pixels: 112 um."""
PITCH = 200
"""Distance of adjacent spots in slide pixels: 100 um."""
MARGIN = 40
Shape = Literal["square", "hex"]


@dataclass(frozen=True)
class Grid:
    """A written task on a grid.

    Attributes:
        tree: paths of patches, counts, splits, nuclei and metadata.
        shape: of the grid.
        slides: section -> level 0 of its slide.
        corners: section -> (n, 2) upper left corners of the patches.
        centres: section -> (n, 2) centres of the spots with a patch.
        counts: section -> (n, n_genes) counts in patch order.
        nuclei: section -> (m, 2) centres of the nuclei.
    """

    tree: Tree
    shape: Shape
    slides: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    corners: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    centres: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    nuclei: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def slide(self, section: str) -> Path:
        return self.tree.root / SLIDES / f"wsis/{section}.tif"

    def copy(self, root: Path) -> Grid:
        return replace(self, tree=self.tree.copy(root))

    def open(
        self,
        limit: int | None = None,
        progress: Progress | None = None,
        nn: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Hest1nnDataset:
        """Open the task as it is on disk now."""
        root = self.tree.root
        told = {} if progress is None else {"progress": progress}
        context = DataContext(data_dirs=(root,), cache=root / "cache", offline=True, limit=limit, **told)
        source = Source(bench=BENCH, folder=self.tree.folder, slides=SLIDES)
        chosen = Params.model_validate({"nn": {"shape": self.shape, **(nn or {})}, **params})
        return READER.open(None, source, chosen, context)

    def write_spec(self, *views: str, nn: str = "") -> Path:
        """Write a task spec that names this tree."""
        text = SPEC.replace("VIEWS", ", ".join(views or ("image", "graph_image", "points")))
        text = text.replace("reader: hest", "reader: hest1nn").replace(" SLIDES", f", slides: {SLIDES}")
        text = text.replace("params: {}", f"params: {{nn: {{shape: {self.shape}{nn}}}}}").replace(
            "um_per_px: 0.5", "um_per_px: null"
        )
        path = self.tree.root / "tiny.yaml"
        path.write_text(text)
        return path

    def set_metadata(self, section: str, **fields: object) -> None:
        """Change fields of the metadata of a section."""
        path = self.tree.metadata(section)
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def place_spots(shape: Shape, columns: int, rows: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return centres in slide pixels and (array_row, array_col), the horizontal index first."""
    across, down = (axis.ravel() for axis in np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"))
    x, y = across * float(PITCH), down * float(PITCH)
    if shape == "hex":
        x, y = x + (down % 2) * PITCH / 2, y * np.sqrt(0.75)
    middle = MARGIN + SIDE // 2
    return np.column_stack([x, y]) + middle + 0.25, np.column_stack([across, down])


def write_grid(
    root: Path,
    shape: Shape = "square",
    sizes: Sequence[tuple[int, int]] = ((5, 4), (4, 4), (4, 3)),
    seed: int = 0,
    folder: str = "TASK",
    slides: bool = True,
) -> Grid:
    """Write sections A, B, … of so many columns and rows, leave-one-out; in A no nuclei right of x = 400."""
    rng = np.random.default_rng(seed)
    names, genes = tuple("ABCDEFGH"[: len(sizes)]), tuple(f"G{index:02d}" for index in range(6))
    grid = Grid(Tree(root, folder, genes, names, {}, {}), shape)
    for name in ("patches", "adata", "splits"):
        (grid.tree.task / name).mkdir(parents=True)
    grid.tree.genes_file.write_text(json.dumps({"genes": list(genes)}))
    for kind in ("wsis", "cellvit_seg", "metadata"):
        (root / SLIDES / kind).mkdir(parents=True, exist_ok=True)
    for name, (columns, rows) in zip(names, sizes, strict=True):
        _write_section(grid, name, *place_spots(shape, columns, rows), rng, slides=slides)
    for fold, test in enumerate(names):
        write_split(grid.tree.split("train", fold), [name for name in names if name != test])
        write_split(grid.tree.split("test", fold), [test])
    return grid


def write_slide(path: Path, picture: NDArray[np.uint8], levels: int = 3) -> None:
    """Write a tiled TIFF with halved levels."""
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            kind = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
            file.write(picture, subfiletype=int(level > 0), **kind)
            height, width = (length // 2 * 2 for length in picture.shape[:2])
            blocks = picture[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
            picture = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def to_geojson(grid: Grid, section: str) -> None:
    """Replace the parquet file of a section by zipped GeoJSON with the same polygons."""
    path = grid.tree.nuclei(section)
    rings = [[square_about(*at)] for at in grid.nuclei[section].tolist()]
    geometry = {"type": "MultiPolygon", "coordinates": rings}
    document = [{"type": "Feature", "properties": {}, "geometry": geometry}]
    with zipfile.ZipFile(path.with_suffix("").with_suffix(".geojson.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", json.dumps(document))
    path.unlink()


def put_nuclei(grid: Grid, section: str, centres: NDArray[np.float64]) -> None:
    """Write the nuclei of a section anew."""
    write_nuclei(grid.tree.nuclei(section), [wkb_polygon(square_about(*at)) for at in centres.tolist()])


def _write_section(
    grid: Grid,
    name: str,
    centres: NDArray[np.float64],
    positions: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    slides: bool,
) -> None:
    tree, order = grid.tree, rng.permutation(len(centres))
    centres, positions = centres[order], positions[order]
    corners = np.trunc(centres - SIDE // 2).astype(np.int64)
    width, height = corners.max(axis=0) + SIDE + MARGIN
    picture = _paint(int(width), int(height), rng)
    patches = np.stack([picture[y : y + SIDE, x : x + SIDE] for x, y in corners])
    barcodes = [f"{x:03d}x{y:03d}" for x, y in positions]
    inside = np.repeat(corners, 5, axis=0) + rng.uniform(0, SIDE, (5 * len(corners), 2))
    grid.nuclei[name] = inside[inside[:, 0] < 400] if name == "A" else inside
    grid.slides[name], grid.corners[name], grid.centres[name] = picture, corners, centres
    grid.counts[name] = rng.poisson(4.0, (len(centres), len(tree.genes)))
    stated = {"id": name, "dataset_title": "Study", "patient": f"Patient {name}", "pixel_size_um_estimated": UM_PER_PX}
    stated |= {"inter_spot_dist": 100.0, "fullres_px_width": int(width), "fullres_px_height": int(height)}
    tree.metadata(name).write_text(json.dumps(stated))
    put_nuclei(grid, name, grid.nuclei[name])
    write_patches(tree.patches(name), barcodes, corners, patches, attributes="none")
    _write_counts(grid, name, barcodes, positions, rng)
    if slides:
        write_slide(grid.slide(name), picture)


def _write_counts(
    grid: Grid, name: str, barcodes: Sequence[str], positions: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Write the h5ad file: other order, and one spot without a patch, a pitch to the left of the first patch's."""
    spots = [*barcodes, "lonely"]
    counts = np.vstack([grid.counts[name], np.full((1, len(grid.tree.genes)), 1000)])
    centres = np.vstack([grid.centres[name], grid.centres[name].min(axis=0) - [PITCH, 0]])
    places = np.vstack([positions, [[-1, 0]]])
    rows = rng.permutation(len(spots))
    path = grid.tree.adata(name)
    write_h5ad(
        path, [spots[row] for row in rows], grid.tree.genes, counts[rows].astype(np.float32), centres[rows], "csr"
    )
    with h5py.File(path, "r+") as file:
        file["obs/array_row"], file["obs/array_col"] = places[rows, 0], places[rows, 1]


def _paint(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 that changes slowly."""
    y, x = np.mgrid[:height, :width]
    turns = rng.uniform(0, 6, 3)
    waves = [np.sin(x / 61 + turns[0]), np.cos(y / 47 + turns[1]), np.sin((x + y) / 83 + turns[2])]
    return np.rint(127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
