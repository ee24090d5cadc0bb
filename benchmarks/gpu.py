"""Embedding on a GPU: the harness beside a bare loop, reading alone, and the rate of the chip's matrix units.

Patches lie in an h5 file and come through one reading thread; the bare loop has its batches in ordinary memory, sends
each to the device, normalises it there and calls timm's own network in the same dtype. Runs alternate; the figure is
the median of the ratios of images a second. Run on a machine with CUDA: ``python benchmarks/gpu.py``; writes
``benchmarks/gpu.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import timm
import torch
from timing import clock, machine, spread
from torch.utils.flop_counter import FlopCounterMode

from harness.embed import EmbedJob, embed
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import Registry, load_registry
from harness.progress import Silent
from harness.selection import select_model
from harness.specs import TaskInput
from harness.store import Store
from harness.types import Batch, Model

BAR = 0.9
SIDE, WARM = 224, 2


@dataclass(frozen=True)
class Patches:
    """Random patches in an h5 file, as the files of benchmarks hold them: (n, 224, 224, 3) uint8."""

    path: Path
    total: int
    data_hash = "random"

    @cached_property
    def ids(self) -> list[str]:
        """Numbers."""
        return [f"{number:06d}" for number in range(self.total)]

    def read(self, view: str, start: int, stop: int) -> Batch:
        """Read some patches."""
        with h5py.File(self.path) as file:
            images = file["img"][start:stop].transpose(0, 3, 1, 2)
        return Batch(tuple(f"{number:06d}" for number in range(start, stop)), view, images)

    def fingerprint(self, view: str) -> str:
        """Return a name."""
        return view


def write(path: Path, total: int) -> Patches:
    """Fill a file with noise."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("img", (total, SIDE, SIDE, 3), np.uint8, chunks=(1, SIDE, SIDE, 3))
        for start in range(0, total, 256):
            made[start : start + 256] = rng.integers(0, 256, (min(256, total - start), SIDE, SIDE, 3), dtype=np.uint8)
    return Patches(path, total)


def matrix_rate(size: int = 8192, runs: int = 20) -> float:
    """Return the TFLOP/s of a product of two random bf16 matrices."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        left @ right
    begin.record()
    for _ in range(runs):
        left @ right
    end.record()
    torch.cuda.synchronize()
    return runs * 2 * size**3 / (begin.elapsed_time(end) / 1e3) / 1e12


def bare_loop(card: Any, batches: list[Batch]) -> Callable[[], None]:
    """Return a loop over batches in ordinary memory."""
    network = timm.create_model(str(card.arch), **card.kwargs).eval().cuda()
    mean, std = (torch.tensor(values, device="cuda")[:, None, None] for values in (card.input.mean, card.input.std))

    @torch.inference_mode()
    def loop() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            for batch in batches:
                pixels = torch.from_numpy(batch.images).cuda().float().div_(255).sub_(mean).div_(std)
                network(pixels).float().cpu().numpy()

    return loop


def forward_flops(model: Model, batch: Batch, stage: str) -> float:
    """Return the operations of one image, in GFLOP."""
    with FlopCounterMode(display=False) as counter:
        model.embed(batch, (stage,))
    return counter.get_total_flops() / len(batch) / 1e9


def measure(registry: Registry, request: str, patches: Patches, runs: int, rate: float) -> dict[str, Any]:
    """Alternate bare loop, harness and reading alone."""
    options = RunOptions(device="cuda", dtype="bfloat16", offline=True)
    chosen = select_model(registry, parse_models(request)[0], options.data_context)
    context = place_model(registry, chosen, "image", TaskInput(views=["image"]), options)
    model, stage = build_model(chosen, context), chosen.card.stages[-1]
    size = options.batch_size or 128
    spans = [(start, min(start + size, patches.total)) for start in range(0, patches.total, size)]
    batches = [patches.read("image", *span) for span in spans]
    loop = bare_loop(chosen.card, batches)

    def through_the_harness() -> None:
        with tempfile.TemporaryDirectory() as folder:
            job = EmbedJob(request, patches, "image", (stage,), 0, {"model": request}, size, lambda: model)
            embed(job, Store(folder), Silent())

    def read() -> None:
        for span in spans:
            patches.read("image", *span)

    ways = {"bare": loop, "harness": through_the_harness, "read": read}
    for batch in batches[:WARM]:
        model.embed(batch, (stage,))
    loop()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            torch.cuda.synchronize()
            speeds[name].append(patches.total / clock(work).wall)
    ratio = spread([ours / bare for ours, bare in zip(speeds["harness"], speeds["bare"], strict=True)])
    gflop = forward_flops(model, batches[0], stage)
    done = spread([speed * gflop / 1e3 for speed in speeds["harness"]])
    return {
        "model": request,
        "dtype": "bfloat16",
        "patches": patches.total,
        "batch_size": size,
        "images_per_second": {name: spread(values) for name, values in speeds.items()},
        "of_bare_loop": ratio,
        "gflop_an_image": round(gflop, 1),
        "tflop_per_second": done,
        "of_matrix_rate": round(done["median"] / rate, 3),
        "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "met": ratio["median"] >= BAR or speeds["read"][0] < speeds["bare"][0],
    }


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="untrained:vit-l-16=8192,untrained:h-optimus-1=2048", help="NAME=PATCHES,…")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    registry, rate, rows = load_registry(), matrix_rate(), []
    with tempfile.TemporaryDirectory() as folder:
        for asked in chosen.models.split(","):
            name, _, total = asked.rpartition("=")
            patches = write(Path(folder) / f"{total}.h5", int(total))
            torch.cuda.reset_peak_memory_stats()
            rows.append(measure(registry, name, patches, chosen.runs, rate))
            print(json.dumps(rows[-1]), flush=True)
            torch.cuda.empty_cache()
    found = {
        "bar": f"harness >= {BAR} of the bare loop, or reading alone is slower than it",
        "device": torch.cuda.get_device_name(),
        "matrix_tflop_per_second": round(rate, 1),
        **machine("torch", "timm", "h5py"),
        "rows": rows,
    }
    chosen.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
