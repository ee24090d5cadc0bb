"""Preparing HEST-1k-1NN from real slides: neighbourhoods a second, and memory, in fresh processes with an empty cache.

``open`` reads nuclei and counts, and bins them; ``image`` crops the slides; ``graph_image`` draws graphs. The bar, 60
neighbourhoods/s on two cores and less than 1 GiB, is held by ``image``. Run:
``python benchmarks/hest1nn.py --data-dir DIR [--rounds 3]``; writes ``benchmarks/hest1nn.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from harness.tasks.datasets.hest1nn import READER, Params, Source
from timing import Timing, clock, machine, spread

from harness.types import DataContext

BAR_RATE, BAR_MB = 60.0, 1024.0
STEP = 32


def prepare(data: Path, view: str) -> tuple[int, Timing, Timing, float]:
    """Open the task with an empty cache and read one view of all samples.

    Returns:
        Number of samples, the cost of opening, the cost of the view, and the peak memory of the process in MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BIOIMAGE_HARNESS_CACHE"] = folder
        context = DataContext(data_dirs=(data,), cache=Path(folder), offline=True)
        source = Source(bench="MahmoodLab/hest-bench", folder="HER2ST", slides="MahmoodLab/hest")
        opened = []
        opening = clock(lambda: opened.append(READER.open(None, source, Params(nn={"shape": "square"}), context)))
        dataset = opened[0]
        total = len(dataset.ids)

        def read() -> None:
            for start in range(0, total, STEP):
                dataset.read(view, start, min(start + STEP, total))

        reading = clock(read)
    return total, opening, reading, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the rounds and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    report: dict[str, object] = {}
    for view in ("image", "graph_image"):
        rates, cpu, opening, memory, total = [], [], [], [], 0
        for _ in range(arguments.rounds):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                total, opened, read, peak = pool.submit(prepare, arguments.data_dir, view).result()
            rates.append(total / read.wall)
            cpu.append(1000 * read.cpu / total)
            opening.append(opened.wall)
            memory.append(peak)
        report[view] = {
            "neighbourhoods": total,
            "per_second": spread(rates),
            "cpu_ms_each": spread(cpu),
            "open_seconds": spread(opening),
            "peak_mb": spread(memory),
        }
        if view == "image":
            report["met"] = statistics.median(rates) >= BAR_RATE and max(memory) < BAR_MB
    report |= {"bar": {"per_second": BAR_RATE, "peak_mb": BAR_MB}, "rounds": arguments.rounds, "load": round(load, 1)}
    report |= machine("numpy", "h5py", "openslide-python", "openslide-bin")
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("image", "graph_image", "met")}))


if __name__ == "__main__":
    main()
