"""Cost of one synthetic-24 sample: points, 5-nearest-neighbour graph, 224 x 224 picture.

Every class is generated in turn, one thread, no sample twice; a figure is the mean over the samples of one class and
round. Run: ``python benchmarks/synthetic.py [--rounds 5] [--samples 40]``; writes ``benchmarks/synthetic.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from harness.tasks.datasets.point_graph import draw_edges, nearest_neighbour_edges
from harness.tasks.datasets.synthetic_params import Params
from harness.tasks.datasets.synthetic_samples import Row, SyntheticDataset
from threadpoolctl import threadpool_limits
from timing import clock, machine, spread

BAR_MS = 3.0
PARAMS = Params()


def generate(dataset: SyntheticDataset, label: int, indices: Sequence[int]) -> dict[str, Callable[[], object]]:
    """Return the work to be timed: whole samples as a model gets them, and their three parts from ready inputs."""
    rows = [Row("train", label, index, 0) for index in indices]
    places = [dataset.ids.index(f"train/{label:02d}/{index:04d}") for index in indices]
    points = [dataset.points(row) for row in rows]
    edges = [nearest_neighbour_edges(one, PARAMS.neighbours) for one in points]
    side = PARAMS.image_size
    return {
        "sample": lambda: [dataset.read_rows("graph_image", [place]) for place in places],
        "points": lambda: [dataset.points(row) for row in rows],
        "graph": lambda: [nearest_neighbour_edges(one, PARAMS.neighbours) for one in points],
        "picture": lambda: [draw_edges(one * side, two, side, side) for one, two in zip(points, edges, strict=True)],
    }


def main() -> None:
    """Run the rounds and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=40)
    arguments = parser.parse_args()
    dataset = SyntheticDataset(PARAMS, PARAMS.per_class)
    classes = range(len(PARAMS.classes))
    cpu: dict[str, np.ndarray] = {}
    wall: dict[str, np.ndarray] = {}
    with threadpool_limits(limits=1):
        dataset.read("graph_image", 0, 1)  # loads libraries
        for number in range(arguments.rounds):
            indices = range(number * arguments.samples, (number + 1) * arguments.samples)
            for label in classes:
                for part, work in generate(dataset, label, indices).items():
                    timing = clock(work)
                    for table, seconds in ((cpu, timing.cpu), (wall, timing.wall)):
                        table.setdefault(part, np.zeros((arguments.rounds, len(classes))))
                        table[part][number, label] = 1000 * seconds / arguments.samples
    by_class = np.median(cpu["sample"], axis=0)
    median = statistics.median(cpu["sample"].ravel().tolist())
    report = {
        "problem": {
            "classes": len(classes),
            "samples_per_class_and_round": arguments.samples,
            "rounds": arguments.rounds,
            "points": PARAMS.points,
            "neighbours": PARAMS.neighbours,
            "side": PARAMS.image_size,
        },
        "cpu_ms_per_sample": spread(cpu["sample"].ravel().tolist()),
        "wall_ms_per_sample": spread(wall["sample"].ravel().tolist()),
        "cpu_ms_of_parts": {part: spread(cpu[part].ravel().tolist()) for part in ("points", "graph", "picture")},
        "cpu_ms_by_class": [round(float(value), 4) for value in by_class],
        "bar": {"cpu_ms_per_sample": BAR_MS},
        "met": median <= BAR_MS,
        "threads": 1,
        **machine("numpy", "scipy"),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("cpu_ms_per_sample", "cpu_ms_of_parts", "met")}))


if __name__ == "__main__":
    main()
