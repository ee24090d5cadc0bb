"""The other side of ``recall.py``: answers one line of JSON a request, in an environment with efaar_benchmarking.

Of that package only ``benchmarking`` and ``efaar`` are used, which import scvi, geomloss and torch at the top for
other purposes; empty modules stand for those.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats  # noqa: F401 - before the empty modules: SciPy looks for a real torch
import sklearn.metrics.pairwise  # noqa: F401
from sklearn.utils import Bunch

EMPTY = {"scvi": (), "scvi.model": ("SCVI",), "geomloss": ("SamplesLoss",), "torch": ("from_numpy", "Tensor")}


def main() -> None:
    """Answer requests until the input ends."""
    for name, attributes in EMPTY.items():
        module = types.ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (), {}))
        sys.modules.setdefault(name, module)
    from efaar_benchmarking import benchmarking, constants, efaar

    held: dict[str, pd.DataFrame] = {}
    read = benchmarking.get_benchmark_relationships

    def remember(folder: str, source: str, filter: bool = True) -> pd.DataFrame:  # noqa: A002 - the peer's own name
        if source not in held:
            held[source] = read(folder, source, filter)
        return held[source]

    def where() -> dict[str, object]:
        names = ("efaar_benchmarking", "numpy", "scipy", "pandas", "scikit-learn")
        return {
            "annotations": constants.BENCHMARK_DATA_DIR,
            "sources": constants.BENCHMARK_SOURCES,
            "versions": {name: version(name) for name in names},
        }

    def recall(folder: str, reading: bool) -> dict[str, object]:
        genes = json.loads((Path(folder) / "genes.json").read_text())
        features = pd.DataFrame(np.load(Path(folder) / "profiles.npy"))
        benchmarking.get_benchmark_relationships = read if reading else remember
        if not reading:
            for source in constants.BENCHMARK_SOURCES:
                remember(constants.BENCHMARK_DATA_DIR, source)
        table = Bunch(features=features, metadata=pd.DataFrame({"gene": genes}))
        seconds, found = clock(lambda: benchmarking.known_relationship_benchmark(table, "gene"))
        rows = found.set_index("source")[["recall_0.05_0.95", "recall_0.1_0.9"]].T.to_dict("list")
        return {**seconds, "recall": rows}

    def tvn(folder: str, batches: int | None, within: bool, save: bool) -> dict[str, object]:
        """Align the wells of the first batches (None: of all), with or without the step within batches."""
        code, control = np.load(Path(folder) / "batch.npy"), np.load(Path(folder) / "control.npy")
        rows = np.flatnonzero(code < (batches or code.max() + 1))
        features = np.load(Path(folder) / "wells.npy", mmap_mode="r")[rows].astype(np.float64)
        name = np.where(control[rows], "control", "treated")
        table = pd.DataFrame({"perturbation": name, "batch": [f"batch {one}" for one in code[rows]]})
        column = "batch" if within else None
        seconds, aligned = clock(lambda: efaar.tvn_on_controls(features, table, "perturbation", "control", column))
        if save:
            np.save(Path(folder) / "peer_aligned.npy", aligned)
        return dict(seconds)

    answers = {"where": where, "recall": recall, "tvn": tvn}
    for line in sys.stdin:
        request = json.loads(line)
        answer = answers[request.pop("ask")](**request)  # type: ignore[operator]
        print(json.dumps(answer), flush=True)


def clock(work: Callable[[], object]) -> tuple[dict[str, float], object]:
    """Time one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}, result


if __name__ == "__main__":
    main()
