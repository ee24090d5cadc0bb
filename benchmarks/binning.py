"""Cost of binning a million nuclei into 5,000 overlapping squares or neighbourhood boxes, one thread.

Nuclei lie evenly over 71 x 71 spots, pitch 100 um. ``patches``: squares of 112 um around 5,000 of the spots;
``neighbourhoods``: boxes of 312 um, 3 x 3 patches. Run: ``python benchmarks/binning.py [--rounds 7]``; writes
``benchmarks/binning.json``.
"""

from __future__ import annotations

import argparse
import json
import tracemalloc
from pathlib import Path

import numpy as np
from harness.tasks.metrics.binning import points_in_boxes
from threadpoolctl import threadpool_limits
from timing import clock, machine, spread

BAR_S = 2.0
POINTS, BOXES, PITCH, ACROSS = 1_000_000, 5_000, 100.0, 71
SIDES = {"patches": 112.0, "neighbourhoods": 312.0}


def place_boxes(side: float) -> np.ndarray:
    """Return (5000, 4) boxes centred on the spots of a square grid."""
    centres = (
        np.stack(np.meshgrid(np.arange(ACROSS), np.arange(ACROSS)), axis=-1).reshape(-1, 2)[:BOXES] + 0.5
    ) * PITCH
    return np.hstack([centres - side / 2, centres + side / 2])


def measure_memory(points: np.ndarray, boxes: np.ndarray) -> float:
    """Return the most memory one call allocates beside its inputs, in MB."""
    tracemalloc.start()
    points_in_boxes(points, boxes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 1e6, 1)


def main() -> None:
    """Run the rounds and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    boxes = {name: place_boxes(side) for name, side in SIDES.items()}
    cpu: dict[str, list[float]] = {name: [] for name in boxes}
    wall: dict[str, list[float]] = {name: [] for name in boxes}
    with threadpool_limits(limits=1):
        for number in range(arguments.rounds):
            points = np.random.default_rng(number).uniform(0, ACROSS * PITCH, (POINTS, 2))
            for name, some in boxes.items():
                timing = clock(lambda some=some, points=points: points_in_boxes(points, some))
                cpu[name].append(timing.cpu)
                wall[name].append(timing.wall)
        found = {name: int(points_in_boxes(points, some).counts.sum()) for name, some in boxes.items()}
        memory = {name: measure_memory(points, some) for name, some in boxes.items()}
    report = {
        "problem": {"points": POINTS, "boxes": BOXES, "pitch_um": PITCH, "sides_um": SIDES, "rounds": arguments.rounds},
        "members": found,
        "cpu_s": {name: spread(values) for name, values in cpu.items()},
        "wall_s": {name: spread(values) for name, values in wall.items()},
        "peak_mb": memory,
        "bar": {"cpu_s": BAR_S},
        "met": max(max(values) for values in cpu.values()) < BAR_S,
        "threads": 1,
        **machine("numpy"),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("cpu_s", "wall_s", "peak_mb", "met")}))


if __name__ == "__main__":
    main()
