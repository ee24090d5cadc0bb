"""Cost of embedding real HEST patches through the harness, beside what cannot be avoided.

What cannot be avoided: reading the patches from h5, plus a bare loop that calls the same network, in the same dtype,
on uint8 batches already in memory with one normalisation each. Runs alternate; the figure is the median of the ratios
of CPU seconds. Run: ``python benchmarks/embedding.py --data-dir DIR``; writes ``benchmarks/embedding.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import Timing, clock, machine, spread

from harness.binding import BoundTask
from harness.embed import EmbedJob, embed
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import Registry, load_registry
from harness.progress import Silent
from harness.selection import select_model, select_tasks
from harness.store import Store
from harness.types import Batch, BuildContext, Dataset, Model

SPEC = Path(__file__).resolve().parents[1] / "examples/her2st/hest-xp.yaml"
BAR_CPU, BAR_BUSY = 1.05, 0.85


@dataclass(frozen=True)
class Case:
    """One network in one dtype on one data set."""

    name: str
    dataset: Dataset
    context: BuildContext
    model: Model
    stage: str
    batch_size: int

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Batches as the harness cuts them: none crosses a shard of 256."""
        total = len(self.dataset.ids)
        return [
            (start, min(start + self.batch_size, shard + 256, total))
            for shard in range(0, total, 256)
            for start in range(shard, min(shard + 256, total), self.batch_size)
        ]


def prepare(registry: Registry, task: BoundTask, name: str, dtype: str, options: RunOptions) -> Case:
    """Open the data and build the network."""
    model = select_model(registry, parse_models(name)[0], options.data_context)
    context = place_model(registry, model, "image", task.spec.input, options)
    dataset = task.reader.open(task.spec, task.source, task.reader_params, options.data_context)
    return Case(f"{name} {dtype}", dataset, context, build_model(model, context), model.card.stages[-1], 32)


def read(case: Case) -> list[Batch]:
    """Read every batch from the h5 files."""
    return [case.dataset.read("image", *span) for span in case.spans]


def bare_loop(case: Case) -> Callable[[list[Batch]], None]:
    """Return a loop over batches in memory: one normalisation, one call of timm's own network."""
    import timm

    card = case.context.card
    network = timm.create_model(str(card.arch), num_classes=0).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values)[:, None, None] for values in (card.input.mean, card.input.std))
    low = getattr(torch, case.context.dtype)

    @torch.inference_mode()
    def loop(batches: list[Batch]) -> None:
        with torch.autocast("cpu", low, enabled=low != torch.float32):
            for batch in batches:
                pixels = torch.from_numpy(batch.images).float().div_(255).sub_(mean).div_(std)
                network(pixels.to(memory_format=torch.channels_last)).float().numpy()

    return loop


def through_the_harness(case: Case) -> None:
    """Embed into an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        identity = {"model": case.name}
        job = EmbedJob(
            case.name, case.dataset, "image", (case.stage,), 0, identity, case.batch_size, lambda: case.model
        )
        embed(job, Store(folder), Silent())


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Alternate the three and compare."""
    in_memory, loop, cores = read(case), bare_loop(case), os.cpu_count() or 1
    loop(in_memory[:2])
    case.model.embed(in_memory[0], (case.stage,))
    timings: dict[str, list[Timing]] = {"read": [], "bare": [], "harness": []}
    for _ in range(runs):
        timings["read"].append(clock(lambda: read(case)))
        timings["bare"].append(clock(lambda: loop(in_memory)))
        timings["harness"].append(clock(lambda: through_the_harness(case)))
    ratio = spread([h.cpu / (r.cpu + b.cpu) for r, b, h in zip(*timings.values(), strict=True)])
    busy = {name: spread([one.cpu / (cores * one.wall) for one in timings[name]]) for name in ("bare", "harness")}
    total = len(case.dataset.ids)
    return {
        "case": case.name,
        "patches": total,
        "batch_size": case.batch_size,
        "cpu_ratio": ratio,
        "cores_busy": busy,
        "cpu_seconds": {name: spread([one.cpu for one in values]) for name, values in timings.items()},
        "images_per_second": round(total / spread([one.wall for one in timings["harness"]])["median"], 1),
        "bars_met": {
            "cpu_ratio": ratio["median"] <= BAR_CPU,
            "cores_busy": busy["harness"]["median"] >= min(BAR_BUSY, busy["bare"]["median"]),
        },
    }


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--models", default="untrained:resnet18,untrained:vit-s-16")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    registry, rows = load_registry(), []
    (task,) = select_tasks(registry, str(SPEC))
    for name in chosen.models.split(","):
        for dtype in chosen.dtypes.split(","):
            options = RunOptions(data_dirs=(chosen.data_dir,), device="cpu", dtype=dtype, offline=True)
            rows.append(measure(prepare(registry, task, name, dtype, options), chosen.runs))
            print(json.dumps(rows[-1]))
    bars = {"cpu_ratio": f"<= {BAR_CPU}", "cores_busy": f">= {BAR_BUSY}, or no lower than the bare loop's"}
    chosen.output.write_text(
        json.dumps({"bars": bars, **machine("torch", "timm", "h5py"), "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
