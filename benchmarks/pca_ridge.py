"""PCA and ridge of the expression protocol, side by side with scikit-learn as HEST calls it.

Both evaluate four folds (leave one section out) of the same 10,000 x 1,536 embeddings and 50 genes, one BLAS thread
each, in alternating order. Run: ``python benchmarks/pca_ridge.py [--pairs 5]``; writes ``benchmarks/pca_ridge.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import sklearn
from harness.tasks.metrics.correlation import pearson
from harness.tasks.protocols.expression_exact import ExactSolver
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

N, WIDTH, GENES, SECTIONS, COMPONENTS = 10_000, 1_536, 50, 4, 256
ALPHA = 100 / (COMPONENTS * GENES)
BAR_CPU, BAR_PCC = 0.55, 1e-4


@dataclass(frozen=True)
class Problem:
    """Embeddings (n, D) float32, log counts (n, G) float64 and the rows of each fold."""

    features: np.ndarray
    targets: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Timing:
    """Seconds of one evaluation."""

    cpu: float
    wall: float


def make_problem(seed: int = 0) -> Problem:
    """Embeddings with a 1/k spectrum and a section effect; counts that depend on 64 of their directions."""
    rng = np.random.default_rng(seed)
    section = np.repeat(np.arange(SECTIONS), N // SECTIONS)
    rotation = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    latent = rng.standard_normal((N, WIDTH)) + 0.5 * rng.standard_normal((SECTIONS, WIDTH))[section]
    features = (latent / np.sqrt(np.arange(1, WIDTH + 1))) @ rotation + rng.standard_normal(WIDTH)
    signal = latent[:, :64] @ rng.standard_normal((64, GENES)) / 8
    targets = np.log1p(rng.poisson(np.exp(0.5 * signal + 0.5)))
    folds = [(np.flatnonzero(section != test), np.flatnonzero(section == test)) for test in range(SECTIONS)]
    return Problem(features.astype(np.float32), targets.astype(np.float64), folds)


def run_ours(problem: Problem) -> np.ndarray:
    """Return PCC (folds, genes) by the harness's exact solver; one fold after the other."""
    with ThreadPoolExecutor(1) as executor:
        solver = ExactSolver(
            problem.features,
            problem.targets,
            [train for train, _ in problem.folds],
            raw=False,
            intercept=False,
            executor=executor,
        )
        fits = [solver.fit(train, np.arange(GENES), COMPONENTS) for train, _ in problem.folds]
    return np.array(
        [
            pearson(problem.targets[test], fit.predict(test, ALPHA))
            for fit, (_, test) in zip(fits, problem.folds, strict=True)
        ]
    )


def run_scikit(problem: Problem) -> np.ndarray:
    """Return PCC (folds, genes) by StandardScaler, PCA (its own choice of solver: randomized) and Ridge (lsqr)."""
    scores = []
    for train, test in problem.folds:
        pipeline = Pipeline([("scale", StandardScaler()), ("pca", PCA(n_components=COMPONENTS, random_state=1))])
        z_train = pipeline.fit_transform(problem.features[train]).astype(np.float32).astype(np.float64)
        z_test = pipeline.transform(problem.features[test]).astype(np.float32).astype(np.float64)
        ridge = Ridge(alpha=ALPHA, fit_intercept=False, solver="lsqr", max_iter=1000, random_state=0)
        prediction = ridge.fit(z_train, problem.targets[train]).predict(z_test)
        scores.append(pearson(problem.targets[test], prediction))
    return np.array(scores)


def solve_independently(problem: Problem) -> np.ndarray:
    """Return PCC (folds, genes) in float64 by a full SVD of the standardised features and numpy's own correlation."""
    scores = []
    for train, test in problem.folds:
        x = problem.features[train].astype(np.float64)
        mean, sd = x.mean(axis=0), x.std(axis=0)
        left, singular, right = np.linalg.svd((x - mean) / sd, full_matrices=False)
        response = left[:, :COMPONENTS].T @ problem.targets[train]
        shrunk = (singular[:COMPONENTS] / (singular[:COMPONENTS] ** 2 + ALPHA))[:, None] * response
        prediction = ((problem.features[test] - mean) / sd) @ (right[:COMPONENTS].T @ shrunk)
        measured = problem.targets[test]
        scores.append([np.corrcoef(measured[:, gene], prediction[:, gene])[0, 1] for gene in range(GENES)])
    return np.array(scores)


def measure(run: Callable[[Problem], np.ndarray], problem: Problem) -> tuple[Timing, np.ndarray]:
    """Time one evaluation."""
    cpu, wall = time.process_time(), time.perf_counter()
    scores = run(problem)
    return Timing(time.process_time() - cpu, time.perf_counter() - wall), scores


def summarise(values: list[float]) -> dict[str, float | list[float]]:
    """Return all values with their median, lowest and highest."""
    return {"values": values, "median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    """Run the pairs and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    problem = make_problem()
    ours, theirs = [], []
    with threadpool_limits(limits=1):
        exact = solve_independently(problem)
        run_ours(problem)  # loads libraries
        for pair in range(pairs):
            order = [(run_ours, ours), (run_scikit, theirs)]
            for run, timings in order if pair % 2 == 0 else order[::-1]:
                timing, scores = measure(run, problem)
                timings.append(timing)
                if run is run_ours:
                    difference = float(np.abs(scores - exact).max())
                else:
                    scikit_difference = float(np.abs(scores - exact).max())
        libraries = [f"{item['internal_api']} {item['version']} ({item['architecture']})" for item in _blas()]
    ratio = [a.cpu / b.cpu for a, b in zip(ours, theirs, strict=True)]
    report = {
        "problem": {"samples": N, "features": WIDTH, "genes": GENES, "folds": SECTIONS, "components": COMPONENTS},
        "ours": {key: summarise([getattr(t, key) for t in ours]) for key in ("cpu", "wall")},
        "scikit_learn": {key: summarise([getattr(t, key) for t in theirs]) for key in ("cpu", "wall")},
        "cpu_ratio": summarise(ratio),
        "largest_pcc_difference_from_exact": difference,
        "largest_pcc_difference_of_scikit_learn_from_exact": scikit_difference,
        "bar": {"cpu_ratio": BAR_CPU, "pcc": BAR_PCC},
        "met": statistics.median(ratio) <= BAR_CPU and difference <= BAR_PCC,
        "blas_threads": 1,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "blas": sorted(set(libraries)),
        "machine": platform.machine(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("cpu_ratio", "largest_pcc_difference_from_exact", "met")}))


def _blas() -> list[dict[str, str]]:
    return [item for item in threadpool_info() if item["user_api"] == "blas"]


if __name__ == "__main__":
    main()
