"""Cost of decoding beside the model, against decoding alone plus a bare loop over what was decoded.

Pictures are drawn in the layouts of RxRx3-core (JPEG 2000) and JUMP-CP (TIFF). The bare loop calls timm's own network
on batches in memory: one resize, one normalisation each. The three alternate; the figures are medians of the ratios.
CPU seconds count all threads. Wall seconds are compared with the CPU seconds of the two parts spread evenly over the
cores, so they mean something on a machine without other work only; two parts that do not fill the cores by themselves
are no excuse. Run: ``python benchmarks/decode.py`` (``--quick`` for a small try); writes ``benchmarks/decode.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decode_data import write_jump, write_rxrx3
from timing import Timing, clock, machine, spread

from harness.embed import EmbedJob, embed
from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.placing import build_model, place_model
from harness.plugins import Registry, load_registry
from harness.progress import Silent
from harness.selection import select_model, select_tasks
from harness.store import SHARD, Store
from harness.types import Batch, BuildContext, Dataset, Model

BAR_CPU, BAR_WALL = 1.07, 1.15
BATCH = 32


@dataclass(frozen=True)
class Case:
    """One network on one data set."""

    name: str
    dataset: Dataset
    context: BuildContext
    model: Model
    stage: str

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Batches as the harness cuts them: none crosses a shard."""
        total = len(self.dataset.ids)
        return [
            (start, min(start + BATCH, shard + SHARD, total))
            for shard in range(0, total, SHARD)
            for start in range(shard, min(shard + SHARD, total), BATCH)
        ]


def prepare(registry: Registry, spec: Path, name: str, options: RunOptions) -> Case:
    """Open the data and build the network."""
    (task,) = select_tasks(registry, str(spec))
    model = select_model(registry, parse_models(name)[0], options.data_context)
    context = place_model(registry, model, "image", task.spec.input, options)
    dataset = task.reader.open(task.spec, task.source, task.reader_params, options.data_context)
    title = f"{name} on {spec.stem.removeprefix('decode-')} {context.dtype}"
    return Case(title, dataset, context, build_model(model, context), model.card.stages[-1])


def decode(case: Case) -> list[Batch]:
    """Read every batch."""
    return [case.dataset.read("image", *span) for span in case.spans]


def bare_loop(case: Case) -> Callable[[list[Batch]], None]:
    """Return a loop over batches in memory: one resize, one normalisation, one call of timm's own network."""
    import timm
    import torch
    from torch.nn import functional

    card, transform, channels = case.context.card, case.context.transform, case.context.channels
    network = timm.create_model(str(card.arch), num_classes=0, in_chans=channels).eval()
    network = network.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor((values * channels)[:channels]) for values in (card.input.mean, card.input.std))
    mean, std = mean[:, None, None], std[:, None, None]
    size, how, low = (transform.size, transform.size), transform.interpolation, getattr(torch, case.context.dtype)

    @torch.inference_mode()
    def loop(batches: list[Batch]) -> None:
        with torch.autocast("cpu", low, enabled=low != torch.float32):
            for batch in batches:
                pixels = torch.from_numpy(batch.images).float()
                pixels = functional.interpolate(pixels, size, mode=how, antialias=transform.antialias)
                pixels = pixels.div_(255).sub_(mean).div_(std)
                network(pixels.to(memory_format=torch.channels_last)).float().numpy()

    return loop


def through_the_harness(case: Case) -> None:
    """Embed into an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        identity = {"model": case.name}
        job = EmbedJob(case.name, case.dataset, "image", (case.stage,), 0, identity, BATCH, lambda: case.model)
        embed(job, Store(folder), Silent())


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Alternate the three and compare."""
    in_memory, loop, cores = decode(case), bare_loop(case), len(os.sched_getaffinity(0))
    loop(in_memory[:1])
    case.model.embed(in_memory[0], (case.stage,))
    timings: dict[str, list[Timing]] = {"decode": [], "bare": [], "harness": []}
    for _ in range(runs):
        timings["decode"].append(clock(lambda: decode(case)))
        timings["bare"].append(clock(lambda: loop(in_memory)))
        timings["harness"].append(clock(lambda: through_the_harness(case)))
    parts = [(d.cpu + b.cpu, h) for d, b, h in zip(*timings.values(), strict=True)]
    cpu = spread([h.cpu / alone for alone, h in parts])
    wall = spread([h.wall * cores / alone for alone, h in parts])
    images = len(case.dataset.ids) * in_memory[0].images.shape[1]
    return {
        "case": case.name,
        "samples": len(case.dataset.ids),
        "batch_size": BATCH,
        "decode_ms_a_channel": round(1000 * spread([one.cpu for one in timings["decode"]])["median"] / images, 2),
        "cpu_ratio": cpu,
        "wall_ratio": wall,
        "cpu_seconds": {name: spread([one.cpu for one in values]) for name, values in timings.items()},
        "wall_seconds": {name: spread([one.wall for one in values]) for name, values in timings.items()},
        "bars_met": {"cpu_ratio": cpu["median"] <= BAR_CPU, "wall_ratio": wall["median"] <= BAR_WALL},
    }


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="untrained:resnet18,untrained:vit-s-16")
    parser.add_argument("--layouts", default="rxrx3,jump")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--runs", type=int, help="of each of the three; 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="few pictures, one model, and no file")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    chosen = parser.parse_args()
    registry, rows = load_registry(), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["BIOIMAGE_HARNESS_CACHE"] = str(root / "cache")
        layouts = {"rxrx3": (write_rxrx3, 10), "jump": (write_jump, 4)}
        writers = [layouts[name] for name in chosen.layouts.split(",")]
        specs = [write(root, 2 if chosen.quick else images) for write, images in writers]
        options = RunOptions(data_dirs=(root,), device="cpu", dtype=chosen.dtype, offline=True)
        runs = chosen.runs or (1 if chosen.quick else 5)
        for name in chosen.models.split(",")[: 1 if chosen.quick else None]:
            for spec in specs:
                rows.append(measure(prepare(registry, spec, name, options), runs))
                print(json.dumps(rows[-1]), flush=True)
    if chosen.quick:
        return
    bars = {"cpu_ratio": f"<= {BAR_CPU}", "wall_ratio": f"<= {BAR_WALL}, of CPU seconds of the parts over the cores"}
    told = {"bars": bars, **machine("torch", "timm", "imagecodecs", "tifffile"), "rows": rows}
    chosen.output.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
