"""Mean average precision of replicate retrieval, side by side with copairs; and 30,000 rows all against all.

Both score the same 4,480 profiles of 1,536 features, 8 labels of 560 rows, every row a query and all others its
gallery, one BLAS thread each, in alternating order. Run: ``python benchmarks/mean_ap.py [--pairs 3]``; writes
``benchmarks/mean_ap.json``. ``--rows`` and ``--large`` shrink both problems for a trial, which writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from harness.tasks.metrics.retrieval import retrieve, unit_rows
from threadpoolctl import threadpool_limits
from timing import Timing, clock, machine, spread

ROWS, WIDTH, LABELS = 4_480, 1_536, 8
LARGE, LARGE_WIDTH = 30_000, 384
BAR_RATIO, BAR_DIFFERENCE, BAR_GIB = 40, 2e-5, 2.0


def make_problem(rows: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return profiles (n, D) float32 with an effect of the label, and labels (n,)."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(LABELS), -(-rows // LABELS))[:rows]
    effect = 0.1 * rng.standard_normal((LABELS, width), dtype=np.float32)
    return rng.standard_normal((rows, width), dtype=np.float32) + effect[label], label


def score_ours(profiles: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the average precision of every row by the harness, in float64."""
    return retrieve(unit_rows(profiles), label).score


def score_copairs(profiles: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return it by copairs, in float32."""
    from copairs.map import average_precision

    table = pd.DataFrame({"label": label.astype(str)})
    scored = average_precision(table, profiles, ["label"], [], [], ["label"], progress_bar=False)
    return scored["average_precision"].to_numpy()


def compare(rows: int, pairs: int) -> dict[str, object]:
    """Time both on one problem, in turns."""
    profiles, label = make_problem(rows, WIDTH)
    timings: dict[str, list[Timing]] = {"ours": [], "copairs": []}
    scores: dict[str, np.ndarray] = {}

    def work(name: str, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        def run() -> None:
            scores[name] = score(profiles, label)

        timings[name].append(clock(run))

    contestants = [("ours", score_ours), ("copairs", score_copairs)]
    for _, score in contestants:
        score(profiles[::8], label[::8])  # loads libraries
    for pair in range(pairs):
        for name, score in contestants if pair % 2 == 0 else contestants[::-1]:
            work(name, score)
    apart = np.abs(scores["ours"] - scores["copairs"])
    by_label = [float(abs((scores["ours"] - scores["copairs"])[label == one].mean())) for one in range(LABELS)]
    ratio = [theirs.cpu / own.cpu for own, theirs in zip(timings["ours"], timings["copairs"], strict=True)]
    return {
        "problem": {"rows": rows, "features": WIDTH, "labels": LABELS},
        **{
            name: {key: spread([getattr(one, key) for one in taken]) for key in ("cpu", "wall")}
            for name, taken in timings.items()
        },
        "copairs_cpu_over_ours": spread(ratio),
        "largest_difference_of_a_label": max(by_label),
        "largest_difference_of_a_query": float(apart.max()),  # one swap of near-equal similarities in float32
        "met": statistics.median(ratio) >= BAR_RATIO and max(by_label) <= BAR_DIFFERENCE,
    }


def measure_large(rows: int) -> dict[str, object]:
    """Score many rows in this process, and tell its time and the most memory it held."""
    profiles, label = make_problem(rows, LARGE_WIDTH)
    taken = clock(lambda: score_ours(profiles, label))
    told = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would count the parent's memory too
    peak = int(told.split("VmHWM:")[1].split()[0]) / 2**20
    return {
        "problem": {"rows": rows, "features": LARGE_WIDTH, "labels": LABELS},
        "cpu": round(taken.cpu, 2),
        "wall": round(taken.wall, 2),
        "peak_gib_of_the_process": round(peak, 3),
        "met": peak <= BAR_GIB,
    }


def measure_apart(rows: int) -> dict[str, object]:
    """Do that in a fresh process, so that its memory is its own."""
    command = [sys.executable, __file__, "--only-large", "--large", str(rows)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer: dict[str, object] = json.loads(told)
    return answer


def main() -> None:
    """Run the pairs and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--large", type=int, default=LARGE)
    parser.add_argument("--only-large", action="store_true", help="print the figures of the large problem alone")
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        if options.only_large:
            print(json.dumps(measure_large(options.large)))
            return
        report = {
            "side_by_side": compare(options.rows, options.pairs),
            "large": measure_apart(options.large),
            "bar": {"cpu_ratio": BAR_RATIO, "difference": BAR_DIFFERENCE, "gib": BAR_GIB},
            "blas_threads": 1,
            "machine": machine("numpy", "scipy", "copairs"),
        }
    if (options.rows, options.large) == (ROWS, LARGE):
        Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
