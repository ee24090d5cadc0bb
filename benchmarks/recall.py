"""Recall of known pairs and TVN alignment, side by side with efaar-benchmarking, the code of the data's authors.

Recall: 736 profiles of 384 features and five lists of pairs that lie in memory on both sides (tables there, coded
arrays here). Alignment: 127,000 wells of 384 features in 176 batches; the other side does its steps over all wells, but
its step within batches for a sample of them, and the rest is extrapolated without what it spends on finding rows. One
BLAS thread each, alternating order. The other side runs in an environment of its own, made once under
``build/efaar-peer`` or named by ``--peer-python``. Run: ``python benchmarks/recall.py [--pairs 5]``; writes
``benchmarks/recall.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg.blas  # noqa: F401 - must be loaded before its threads are limited
from harness.tasks.metrics.alignment import align
from harness.tasks.metrics.cosine_map import map_cosines
from harness.tasks.metrics.known_pairs import KnownPairs, code_pairs
from harness.tasks.metrics.recall import TAILS, find_hits
from threadpoolctl import threadpool_limits
from timing import clock, machine, spread

HERE = Path(__file__).parent
GENES, KNOWN = 736, 4968  # the map of RxRx3-core and its known pairs
BAR_RECALL, BAR_TVN, BAR_DIFFERENCE = 20.0, 10.0, 1e-6
REPEATS = 20  # of our recall in one timing: a single one takes milliseconds
COMPARED = 2000  # wells whose cosines are compared


@dataclass
class Peer:
    """The process of the other side."""

    process: subprocess.Popen[str]

    def ask(self, what: str, **request: object) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"ask": what, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the other side has ended; its message stands above")
        return dict(json.loads(line))


def start_peer(python: Path | None) -> Peer:
    """Start the other side, making its environment first if none is named."""
    if python is None:
        folder = HERE.parent / "build" / "efaar-peer"
        python = folder / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "numpy", "scipy", "pandas", "scikit-learn", "joblib"], check=True)
            subprocess.run([*pip, "--no-deps", "efaar_benchmarking"], check=True)
    limits = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    command = [str(python), str(HERE / "recall_peer.py")]
    pipe = subprocess.PIPE
    return Peer(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **limits}))


def read_pairs(folder: Path, sources: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Read the lists of pairs that the other side ships, each pair once."""
    pairs = {}
    for source in sources:
        table = pd.read_csv(folder / f"{source}.txt", keep_default_na=False)
        pairs[source] = sorted(
            {(min(p), max(p)) for p in zip(table.entity1, table.entity2, strict=True) if len({*p}) == 2}
        )
    return pairs


def choose_genes(pairs: dict[str, list[tuple[str, str]]], rng: np.random.Generator) -> list[str]:
    """Draw genes among the best connected ones so that about as many pairs are known as in RxRx3-core."""
    flat = pd.Series([gene for listed in pairs.values() for pair in listed for gene in pair])
    ranked, order = list(flat.value_counts(sort=True).index), rng.permutation(flat.nunique())
    best: tuple[float, list[str]] = (np.inf, [])
    for most in range(GENES, len(ranked), 200):
        genes = sorted(ranked[index] for index in order[order < most][:GENES])
        inside = set(genes)
        n = sum(a in inside and b in inside for listed in pairs.values() for a, b in listed)
        best = min(best, (abs(n - KNOWN), genes))
    return best[1]


def run_recall(profiles: np.ndarray, genes: list[str], known: KnownPairs) -> dict[str, list[float]]:
    """Return the recall of each source in all tails; the two that the other side takes come first."""
    cosines = map_cosines(profiles)
    located = known.locate(genes)
    queries = [cosines.read(pairs.first, pairs.second) for pairs in located.values()]
    tails = [TAILS[name] for name in ("both5", "both10", "top5", "bottom5")]
    found = find_hits(cosines.triangle, queries, tails)
    return {source: [float(hits[at].mean()) for hits in found] for at, source in enumerate(located)}


def measure_recall(peer: Peer, folder: Path, pairs: int) -> dict[str, Any]:
    """Time both sides on one map."""
    told = peer.ask("where")
    rng = np.random.default_rng(0)
    listed = read_pairs(Path(told["annotations"]), told["sources"])
    genes, profiles = choose_genes(listed, rng), rng.standard_normal((GENES, 384))
    (folder / "genes.json").write_text(json.dumps(genes))
    np.save(folder / "profiles.npy", profiles)
    known: list[KnownPairs] = []
    coding = clock(lambda: known.append(code_pairs(listed)))
    work = lambda: [run_recall(profiles, genes, known[0]) for _ in range(REPEATS)]  # noqa: E731
    reading = peer.ask("recall", folder=str(folder), reading=True)
    peer.ask("recall", folder=str(folder), reading=False)
    work()
    ours, theirs = [], []
    for pair in range(pairs):
        if pair % 2:
            ours.append(clock(work))
        theirs.append(peer.ask("recall", folder=str(folder), reading=False))
        if not pair % 2:
            ours.append(clock(work))
    found, expected = run_recall(profiles, genes, known[0]), theirs[0]["recall"]
    ratios = [there["cpu"] / (here.cpu / REPEATS) for here, there in zip(ours, theirs, strict=True)]
    difference = max(abs(a - b) for source in expected for a, b in zip(expected[source], found[source], strict=False))
    return {
        "problem": {"genes": GENES, "features": 384, "pairs": {s: len(p) for s, p in known[0].locate(genes).items()}},
        "ours_cpu_seconds": spread([one.cpu / REPEATS for one in ours]),
        "efaar_cpu_seconds": spread([one["cpu"] for one in theirs]),
        "efaar_cpu_seconds_reading_its_lists": round(reading["cpu"], 4),
        "ours_cpu_seconds_coding_the_lists_once": round(coding.cpu, 4),
        "times_less_cpu": spread(ratios),
        "largest_difference": difference,
        "bar": {"times_less_cpu": BAR_RECALL, "difference": BAR_DIFFERENCE},
        "met": float(np.median(ratios)) >= BAR_RECALL and difference <= BAR_DIFFERENCE,
    }


def measure_tvn(peer: Peer, folder: Path, sizes: tuple[int, int, int], sample: int, pairs: int) -> dict[str, Any]:
    """Time both sides on wells with a batch effect; the other side within a sample of batches."""
    n, width, batches = sizes
    rng = np.random.default_rng(1)
    code, control = np.arange(n) % batches, rng.random(n) < 0.2
    mix = np.linalg.qr(rng.standard_normal((width, width)))[0] / np.sqrt(np.arange(1, width + 1))
    features = (rng.standard_normal((n, width)) @ mix.T).astype(np.float32)
    features += (rng.standard_normal((batches, width)) * 0.05).astype(np.float32)[code]
    for name, array in {"wells": features, "batch": code, "control": control}.items():
        np.save(folder / f"{name}.npy", array)
    names = [f"batch {one}" for one in code]
    part = np.flatnonzero(code < sample)
    ours, whole, within, across = [], [], [], []
    for pair in range(pairs):
        request = {"folder": str(folder), "save": pair == 0}
        if pair % 2:
            ours.append(clock(lambda: align(features, control, names, "tvn")))
        whole.append(peer.ask("tvn", batches=None, within=False, **request)["cpu"])
        across.append(peer.ask("tvn", batches=sample, within=False, **request)["cpu"])
        within.append(peer.ask("tvn", batches=sample, within=True, **request)["cpu"])
        if not pair % 2:
            ours.append(clock(lambda: align(features, control, names, "tvn")))
    theirs = [w + batches * (i - a) / sample for w, i, a in zip(whole, within, across, strict=True)]
    found = align(features[part], control[part], [names[row] for row in part], "tvn").features[:COMPARED]
    difference = float(np.abs(_cosines(found) - _cosines(np.load(folder / "peer_aligned.npy")[:COMPARED])).max())
    ratios = [there / here.cpu for here, there in zip(ours, theirs, strict=True)]
    return {
        "problem": {"wells": n, "features": width, "batches": batches, "batches_of_efaar_measured": sample},
        "ours_cpu_seconds": spread([one.cpu for one in ours]),
        "efaar_cpu_seconds_over_all_wells": spread(whole),
        "efaar_cpu_seconds_a_batch": spread([(i - a) / sample for i, a in zip(within, across, strict=True)]),
        "efaar_cpu_seconds_extrapolated": spread(theirs),
        "times_less_cpu": spread(ratios),
        "largest_difference_of_cosines": difference,
        "bar": {"times_less_cpu": BAR_TVN, "difference": BAR_DIFFERENCE},
        "met": float(np.median(ratios)) >= BAR_TVN and difference <= BAR_DIFFERENCE,
    }


def _cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def main() -> None:
    """Run the pairs and write the figures beside this file; smaller sizes are printed only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, help="Python of an environment with efaar_benchmarking")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=(127_000, 384, 176), metavar=("WELLS", "WIDTH", "BATCHES")
    )
    parser.add_argument("--sample", type=int, default=8, help="batches that efaar-benchmarking whitens")
    options = parser.parse_args()
    peer = start_peer(options.peer_python)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        report = {
            "recall": measure_recall(peer, Path(folder), options.pairs),
            "tvn": measure_tvn(peer, Path(folder), tuple(options.sizes), options.sample, options.pairs),
            "blas_threads": 1,
            "machine": machine("numpy", "scipy"),
            "efaar_versions": peer.ask("where")["versions"],
        }
    assert peer.process.stdin is not None
    peer.process.stdin.close()
    text = json.dumps(report, indent=2)
    if tuple(options.sizes) == parser.get_default("sizes"):
        Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
