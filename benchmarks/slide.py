"""Cost of cropping the neighbourhoods of a real section from its slide: boxes of 512 um, side 224, in spot order.

Each way of working runs in fresh processes, so that memory is measured from the imports on: ``one``; ``threads``, two
in one process, a slide each; ``processes``, two. The bar, 60 crops/s on two cores, is held against CPU seconds, so that
other work on the machine (``load`` beside the figures) does not decide. Run:
``python benchmarks/slide.py --data-dir DIR [--rounds 5]``; writes ``benchmarks/slide.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from harness.tasks.datasets.hest_patches import SIDE, SIDE_UM, read_patch_file
from harness.tasks.datasets.slide import open_slide, pixel_size
from timing import clock, machine, spread

BAR_CROPS_S, BAR_MB = 60.0 / 2, 1024.0
SECTION, EXTENT_UM = "SPA141", 512.0
WAYS = {"one": (1, 1), "threads": (1, 2), "processes": (2, 1)}
"""Processes, and threads in each."""


@dataclass(frozen=True)
class Cost:
    """Seconds and memory of one process."""

    cpu: float
    wall: float
    growth_mb: float


def place_boxes(data: Path) -> tuple[Path, np.ndarray]:
    """Return a slide and (n, 4) boxes around its patches, in the order of the patch file."""
    path = data / f"MahmoodLab/hest/wsis/{SECTION}.tif"
    corners = read_patch_file(data / f"MahmoodLab/hest-bench/HER2ST/patches/{SECTION}.h5").corners
    with open_slide(path) as slide:
        um_per_px = pixel_size(slide)
    centres, half = corners + SIDE_UM / um_per_px / 2, EXTENT_UM / um_per_px / 2
    return path, np.hstack([centres - half, centres + half])


def crop_all(path: Path, boxes: np.ndarray) -> int:
    """Crop box after box."""
    with open_slide(path) as slide:
        return sum(int(slide.crop(box, SIDE)[0, 0, 0]) for box in boxes)


def crop_in_threads(path: Path, boxes: np.ndarray, threads: int) -> Cost:
    """Crop in one process, the boxes cut into as many runs as there are threads."""
    crop_all(path, boxes[:1])  # imports
    before = psutil.Process().memory_info().rss
    with ThreadPoolExecutor(threads) as pool:
        timing = clock(lambda: list(pool.map(crop_all, [path] * threads, np.array_split(boxes, threads))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kibibytes, as Linux says
    return Cost(timing.cpu, timing.wall, (peak - before) / 2**20)


def measure(path: Path, boxes: np.ndarray, processes: int, threads: int) -> Cost:
    """Return the CPU seconds and memory of all processes, and the wall seconds of the slowest."""
    parts = np.array_split(boxes, processes)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * processes))  # all have started
        costs = list(pool.map(crop_in_threads, [path] * processes, parts, [threads] * processes))
    return Cost(
        sum(cost.cpu for cost in costs), max(cost.wall for cost in costs), sum(cost.growth_mb for cost in costs)
    )


def main() -> None:
    """Run the rounds and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    path, boxes = place_boxes(arguments.data_dir)
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, (processes, threads) in WAYS.items():
            costs[way].append(measure(path, boxes, processes, threads))
    with open_slide(path) as slide:
        backend, level = slide.backend, slide.best_level(float(np.ptp(boxes[0, ::2])) / SIDE)
    by_cpu = {way: spread([len(boxes) / cost.cpu for cost in some]) for way, some in costs.items()}
    by_wall = {way: spread([len(boxes) / cost.wall for cost in some]) for way, some in costs.items()}
    memory = {way: spread([cost.growth_mb for cost in some]) for way, some in costs.items()}
    report = {
        "problem": {
            "section": SECTION,
            "crops": len(boxes),
            "box_px": round(float(np.ptp(boxes[0, ::2])), 1),
            "side": SIDE,
            "level": level,
            "backend": backend,
            "rounds": arguments.rounds,
        },
        "crops_per_cpu_s": by_cpu,
        "crops_per_wall_s": by_wall,
        "peak_growth_mb": memory,
        "bar": {"crops_per_cpu_s": BAR_CROPS_S, "peak_growth_mb": BAR_MB},
        "met": min(some["min"] for some in by_cpu.values()) >= BAR_CROPS_S
        and max(some["max"] for some in memory.values()) < BAR_MB,
        "load": round(os.getloadavg()[0], 1),
        **machine("numpy", "scipy", "openslide-python", "openslide-bin"),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("crops_per_cpu_s", "peak_growth_mb", "met", "load")}))


if __name__ == "__main__":
    main()
