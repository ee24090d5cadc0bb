"""What one pass gives: all stages for the price of the last, one convolution without its maps, a run from the store.

Run: ``python benchmarks/passes.py --data-dir DIR``; writes ``benchmarks/passes.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from embedding import SPEC, Case, prepare, read
from timing import clock, machine, spread

from harness.embed import EmbedJob, embed
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.progress import Silent
from harness.runner import run
from harness.selection import select_tasks
from harness.store import Store

BAR_STAGES, BAR_IMAGES, BAR_RERUN = 1.1, 120, 1.0


def embed_stages(case: Case, stages: tuple[str, ...]) -> None:
    """Embed into an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        job = EmbedJob(case.name, case.dataset, "image", stages, 0, {}, case.batch_size, lambda: case.model)
        embed(job, Store(folder), Silent())


def measure_stages(case: Case, runs: int) -> dict[str, Any]:
    """Compare all four stages in one pass with the last alone, in alternating runs."""
    every = tuple(case.context.card.stages)
    case.model.embed(case.dataset.read("image", 0, 32), every)
    ratios, seconds = [], []
    for _ in range(runs):
        last = clock(lambda: embed_stages(case, every[-1:]))
        four = clock(lambda: embed_stages(case, every))
        ratios.append(four.cpu / last.cpu)
        seconds.append(last.cpu)
    ratio = spread(ratios)
    return {
        "case": case.name,
        "stages": list(every),
        "cpu_ratio": ratio,
        "cpu_seconds_last": spread(seconds),
        "met": ratio["median"] <= BAR_STAGES,
    }


def measure_single_conv(case: Case, runs: int) -> dict[str, Any]:
    """Rate of one convolution on batches in memory, and the largest feature maps it ever holds."""
    batches, stages = read(case), (case.stage,)
    held: list[int] = []
    conv = next(part for part in case.model.module.modules() if isinstance(part, torch.nn.Conv2d))
    watch = conv.register_forward_hook(lambda _module, _given, maps: held.append(maps.numel() * maps.element_size()))
    case.model.embed(batches[0], stages)
    watch.remove()
    rates = [
        len(case.dataset.ids) / clock(lambda: [case.model.embed(batch, stages) for batch in batches]).wall
        for _ in range(runs)
    ]
    rate, whole = spread(rates), sum(held)
    return {
        "case": case.name,
        "batch_size": case.batch_size,
        "images_per_second": rate,
        "largest_maps_held_mib": round(max(held) / 2**20, 1),
        "maps_of_a_batch_mib": round(whole / 2**20, 1),
        "met": rate["median"] >= BAR_IMAGES and max(held) < whole / 4,
    }


def measure_rerun(options: RunOptions, runs: int) -> dict[str, Any]:
    """Time the same command again on a filled store, imports done: everything but the evaluation."""
    models = parse_models("pixel-mean,pixel-stats,single-conv,untrained:resnet18")
    with tempfile.TemporaryDirectory() as folder:
        chosen = replace(options, store=f"{folder}/store", output=Path(folder) / "results", baselines="none")
        run(models, f"{SPEC}@image", chosen)
        beyond = []
        for _ in range(runs):
            reports = []
            timing = clock(lambda reports=reports: reports.append(run(models, f"{SPEC}@image", chosen)))
            (report,) = reports
            evaluated = sum(result.provenance.seconds["evaluate"] for result in report.results)
            if sum(result.provenance.n_embedded for result in report.results):
                raise RuntimeError("the second run embedded something")
            beyond.append(timing.wall - evaluated)
    seconds = spread(beyond)
    return {
        "case": "4 models (8 embedding sets) from the store",
        "seconds_beyond_imports_and_evaluation": seconds,
        "met": seconds["median"] <= BAR_RERUN,
    }


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    registry = load_registry()
    (task,) = select_tasks(registry, str(SPEC))
    options = RunOptions(data_dirs=(chosen.data_dir,), device="cpu", offline=True)
    torch.set_num_threads(2)
    conv = [
        measure_single_conv(prepare(registry, task, "single-conv", dtype, replace(options, dtype=dtype)), chosen.runs)
        for dtype in ("bfloat16", "float32")
    ]
    stages = [
        measure_stages(prepare(registry, task, name, dtype, replace(options, dtype=dtype)), chosen.runs)
        for name, dtype in (("untrained:resnet18", "bfloat16"), ("untrained:vit-s-16", "bfloat16"))
    ]
    found = {
        "bars": {
            "stages": f"all stages <= {BAR_STAGES} of the last, CPU seconds",
            "single_conv": f">= {BAR_IMAGES} images/s in bfloat16, never the maps of a batch",
            "rerun": f"<= {BAR_RERUN} s beyond imports and evaluation",
        },
        **machine("torch", "timm"),
        "single_conv": conv,
        "stages": stages,
        "rerun": measure_rerun(options, chosen.runs),
    }
    print(json.dumps(found, indent=1))
    chosen.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
