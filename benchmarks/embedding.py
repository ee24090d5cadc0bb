"""Cost of embedding real HEST patches through the harness, beside what cannot be avoided.

What cannot be avoided: reading the patches from h5, plus a bare loop that calls the same model, in the same dtype, on
uint8 batches already in memory with one normalisation each. Runs alternate; the figure is the median of the ratios.

    python benchmarks/embedding.py --data-dir DIR [--runs 5] [--models untrained:resnet18,untrained:vit-s-16]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.embed import EmbedJob, embed
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import load_registry
from harness.progress import Silent
from harness.provenance import versions
from harness.selection import select_model, select_tasks
from harness.store import Store

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "examples/her2st/hest-xp.yaml"


def clock(work) -> tuple[float, float]:
    """Return (CPU seconds of the process, wall seconds) of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(name: str, dtype: str, data_dir: Path, runs: int, batch_size: int, limit: int | None) -> dict[str, object]:
    import torch

    torch.set_num_threads(2)
    registry = load_registry()
    (task,) = select_tasks(registry, str(SPEC))
    options = RunOptions(data_dirs=(data_dir,), device="cpu", dtype=dtype, limit=limit)
    model = select_model(registry, parse_models(name)[0], options.data_context)
    context = replace(place_model(registry, model, "image", task.spec.input, options), seed=0)
    dataset = task.reader.open(task.spec, task.source, task.reader_params, options.data_context)
    total = len(dataset.ids)
    spans = [(start, min(start + batch_size, total)) for start in range(0, total, batch_size)]
    built = build_model(model, context)
    stages = (model.card.stages[-1],)
    in_memory = [dataset.read("image", *span) for span in spans]
    network = built.module.eval()
    mean = torch.tensor(context.transform.mean)[:, None, None]
    std = torch.tensor(context.transform.std)[:, None, None]

    def read() -> None:
        for span in spans:
            dataset.read("image", *span)

    @torch.inference_mode()
    def bare() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            for batch in in_memory:
                images = torch.from_numpy(batch.images).float().div_(255).sub_(mean).div_(std)
                network(images).float().numpy()

    def through() -> None:
        with tempfile.TemporaryDirectory() as folder:
            identity = {"model": name, "seed": 0}
            job = EmbedJob(name, dataset, "image", stages, 0, identity, batch_size, lambda: built)
            embed(job, Store(folder), Silent())

    built.embed(in_memory[0], stages)
    figures: dict[str, list[float]] = {key: [] for key in ("ratio", "read", "bare", "harness", "wall", "bare_wall")}
    for _ in range(runs):
        cpu_read, _ = clock(read)
        cpu_bare, wall_bare = clock(bare)
        cpu_through, wall_through = clock(through)
        figures["ratio"].append(cpu_through / (cpu_read + cpu_bare))
        for key, value in zip(("read", "bare", "harness"), (cpu_read, cpu_bare, cpu_through), strict=True):
            figures[key].append(value)
        figures["wall"].append(wall_through)
        figures["bare_wall"].append(wall_bare)
    cores = os.cpu_count() or 1
    return {
        "model": name,
        "dtype": dtype,
        "patches": total,
        "batch_size": batch_size,
        "runs": runs,
        "cpu_ratio_median": round(statistics.median(figures["ratio"]), 4),
        "cpu_ratio_spread": [round(min(figures["ratio"]), 4), round(max(figures["ratio"]), 4)],
        "utilisation": round(statistics.median(np.array(figures["harness"]) / (cores * np.array(figures["wall"]))), 4),
        "utilisation_bare": round(
            statistics.median(np.array(figures["bare"]) / (cores * np.array(figures["bare_wall"]))), 4
        ),
        "cpu_seconds": {key: round(statistics.median(figures[key]), 2) for key in ("read", "bare", "harness")},
        "images_per_second": round(total / statistics.median(figures["wall"]), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", default="untrained:resnet18,untrained:vit-s-16")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    rows = []
    for name in chosen.models.split(","):
        for dtype in chosen.dtypes.split(","):
            rows.append(measure(name, dtype, chosen.data_dir, chosen.runs, chosen.batch_size, chosen.limit))
            print(json.dumps(rows[-1]))
    found = {
        "bar": "cpu_ratio_median <= 1.05",
        "cores": os.cpu_count(),
        "versions": versions(["torch", "timm", "h5py"]),
    }
    chosen.output.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
