"""Screens of a user for tests: a table, pictures, known pairs, and the spec that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import yaml
from PIL import Image

from harness.plugins import load_registry
from harness.selection import select_tasks
from harness.types import DataContext

WELLS = {
    "well": ["A01", "A02", "B01", "B02", "C01", "C02"],
    "gene": ["DMSO", "DMSO", "TP53", "TP53", "MDM2", "MDM2"],
    "plate": ["007", "008", "007", "008", "007", "008"],
    "role": ["-1", "-1", "0", "0", "1", "1"],
    "dose": ["", "", "0.5", "1", "2", "10"],
}
SOURCE = {"table": "wells.csv", "id": "well", "columns": {"perturbation": "gene"}}
PROTOCOL = {"name": "replicate-retrieval", "params": {"normalize": "none", "drop_std": None, "companions": []}}


def write_wells(folder: Path, **changes: list[str]) -> Path:
    """Write the table with some columns replaced or added."""
    path = folder / "wells.csv"
    pd.DataFrame(WELLS | changes).to_csv(path, index=False)
    return path


def spec(reader: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a task spec."""
    pictures = reader == "image-table"
    inputs = {"views": ["image"], "channels": len(source.get("channels", ()))} if pictures else {"views": ["profiles"]}
    base = {
        "name": "my-screen",
        "title": "My screen",
        "domain": "cell-culture",
        "licence": "CC0-1.0",
        "source": {"reader": reader, **source},
        "input": inputs,
        "protocol": PROTOCOL,
        "metrics": [{"name": "mAP", "primary": True}],
        "inference": {"unit": "compound"},
    }
    return base | more


def bind(folder: Path, content: dict[str, Any]) -> Any:
    """Write a spec and bind it."""
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return select_tasks(load_registry(), str(path))[0]


def open_data(folder: Path, content: dict[str, Any], limit: int | None = None) -> Any:
    """Write a spec and open its data, which lie in the folder."""
    task = bind(folder, content)
    return task.reader.open(task.spec, task.source, task.reader_params, DataContext((folder,), folder, limit=limit))


def open_profiles(folder: Path, limit: int | None = None, protocol: dict[str, Any] | None = None, **source: Any) -> Any:
    """Open a table without pictures."""
    return open_data(folder, spec("profiles", SOURCE | source, protocol=protocol or PROTOCOL), limit)


def open_pictures(
    folder: Path, images: dict[str, Any], channels: list[str], params: dict[str, Any] | None = None, **source: Any
) -> Any:
    """Open a table with pictures."""
    whole = SOURCE | source | {"channels": channels, "images": images}
    protocol = PROTOCOL | {"params": PROTOCOL["params"] | (params or {})}
    return open_data(folder, spec("image-table", whole, protocol=protocol))


def draw(n: int, channels: int, height: int, width: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    """Draw noise: (n, channels, height, width)."""
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (n, channels, height, width), dtype=dtype, endpoint=True)


def save(path: Path, image: np.ndarray, **options: Any) -> Path:
    """Write one channel (H, W), or a stack (C, H, W) as OME-TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    elif image.ndim == 3:
        tifffile.imwrite(path, image, ome=True, metadata={"axes": "CYX"}, **options)
    else:
        tifffile.imwrite(path, image, **options)
    return path
