"""Speed of training ``gcn`` on a CPU: forward and backward, against the same network of plain torch-geometric.

Both get the graphs of one optimiser step, 64 samples of synthetic-24 with about 900 points each: torch-geometric as one
batch of ``edge_index``, ours in micro-batches whose gradients add up. Edges are ready beforehand; joining them to
batches is clocked apart. Rounds are paired, and each round has samples of its own. The two losses must agree.
Run: ``python benchmarks/gcn.py [--rounds 7] [--micro 4] [--threads 1]``; needs torch-geometric; writes
``benchmarks/gcn.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from harness.models.gcn import Gcn
from harness.models.point_graphs import PointGraph, PointGraphs, connect, join
from harness.tasks.datasets.synthetic_params import Params
from harness.tasks.datasets.synthetic_samples import SyntheticDataset
from threadpoolctl import threadpool_limits
from timing import clock, machine, spread
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv, global_max_pool

BAR = 2.0
BATCH = 64
CLASSES = 24
SEED = 0
PARAMS = Params()


class Plain(nn.Module):
    """The network as torch-geometric's documentation would have it."""

    def __init__(self, ours: Gcn) -> None:
        """Take over the weights."""
        super().__init__()
        self.projection, self.hidden, self.classifier = ours.projection, ours.hidden, ours.classifier
        self.layers = nn.ModuleList(GCNConv(128, 128) for _ in ours.layers)
        for layer, other in zip(self.layers, ours.layers, strict=True):
            layer.lin.weight, layer.bias = other.linear.weight, other.linear.bias

    def forward(self, batch: Batch) -> Tensor:
        """Return (N, classes) scores."""
        state, states = self.projection(batch.x), []
        for layer in self.layers:
            state = torch.relu(layer(state, batch.edge_index))
            states.append(state)
        pooled = global_max_pool(torch.cat(states, dim=1), batch.batch)
        return self.classifier(torch.relu(self.hidden(pooled)))


@dataclass
class Step:
    """Samples of one optimiser step, and what comes of it."""

    graphs: Sequence[PointGraph]
    labels: Tensor
    micro: int
    loss: float = 0.0

    def join_ours(self) -> list[PointGraphs]:
        """Make the micro-batches, their matrices included."""
        parts = [join(self.graphs[start : start + self.micro]) for start in range(0, BATCH, self.micro)]
        for part in parts:
            _ = part.normalised.compressed
        return parts

    def join_plain(self) -> Batch:
        """Make the batch of torch-geometric."""
        return Batch.from_data_list(
            [
                Data(
                    x=torch.from_numpy(one.points.astype(np.float32)),
                    edge_index=torch.from_numpy(one.edges.T.copy()),
                )
                for one in self.graphs
            ]
        )

    def run_ours(self, network: Gcn, parts: Sequence[PointGraphs]) -> None:
        """Add up the gradients of the micro-batches."""
        network.zero_grad()
        self.loss = 0.0
        for part, labels in zip(parts, self.labels.split(self.micro), strict=True):
            loss = functional.cross_entropy(network(part), labels, reduction="sum") / BATCH
            loss.backward()
            self.loss += loss.item()

    def run_plain(self, network: Plain, batch: Batch) -> None:
        """Take all samples at once."""
        network.zero_grad()
        loss = functional.cross_entropy(network(batch), self.labels)
        loss.backward()
        self.loss = loss.item()


def draw(dataset: SyntheticDataset, number: int, micro: int) -> Step:
    """Take as many samples of every class as a step holds."""
    rng = np.random.default_rng([SEED, number])
    rows = rng.choice(np.flatnonzero(dataset.split == "train"), BATCH, replace=False)
    points = dataset.read_rows("points", rows.tolist()).points
    assert points is not None
    return Step([connect(one) for one in points], torch.from_numpy(dataset.labels[rows]), micro)


def main() -> None:
    """Run the rounds and write the figures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--micro", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    ours = Gcn(CLASSES)
    plain = Plain(ours)
    dataset = SyntheticDataset(PARAMS, PARAMS.per_class)
    rates: dict[str, list[float]] = {"ours": [], "torch_geometric": []}
    cpu: dict[str, list[float]] = {"ours": [], "torch_geometric": []}
    joining: dict[str, list[float]] = {"ours": [], "torch_geometric": []}
    ratios, sizes, worst = [], [], 0.0
    with threadpool_limits(limits=arguments.threads):
        for number in range(-1, arguments.rounds):  # the first round warms up
            step = draw(dataset, number + 1, arguments.micro)
            joined = {"ours": clock(step.join_ours).cpu, "torch_geometric": clock(step.join_plain).cpu}
            parts, batch = step.join_ours(), step.join_plain()
            work = {
                "ours": lambda step=step, parts=parts: step.run_ours(ours, parts),
                "torch_geometric": lambda step=step, batch=batch: step.run_plain(plain, batch),
            }
            order = list(work) if number % 2 else list(work)[::-1]
            timings, losses = {}, {}
            for name in order:
                timings[name] = clock(work[name])
                losses[name] = step.loss
            if number < 0:
                continue
            sizes.append(len(batch.x) / BATCH)
            worst = max(worst, abs(losses["ours"] - losses["torch_geometric"]) / abs(losses["torch_geometric"]))
            ratios.append(timings["torch_geometric"].wall / timings["ours"].wall)
            for name, timing in timings.items():
                rates[name].append(BATCH / timing.wall)
                cpu[name].append(1000 * timing.cpu / BATCH)
                joining[name].append(1000 * joined[name] / BATCH)
    assert worst < 1e-4, worst
    report = {
        "problem": {
            "batch": BATCH,
            "micro_batch": arguments.micro,
            "rounds": arguments.rounds,
            "points_per_sample": round(statistics.mean(sizes), 1),
            "neighbours": PARAMS.neighbours,
            "classes": CLASSES,
        },
        "samples_per_second": {name: spread(values) for name, values in rates.items()},
        "cpu_ms_per_sample": {name: spread(values) for name, values in cpu.items()},
        "cpu_ms_per_sample_of_joining": {name: spread(values) for name, values in joining.items()},
        "times_faster": spread(ratios),
        "largest_relative_difference_of_losses": float(f"{worst:.1e}"),
        "bar": {"times_faster": BAR},
        "met": statistics.median(ratios) >= BAR,
        "threads": arguments.threads,
        **machine("numpy", "scipy", "torch", "torch-geometric"),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("samples_per_second", "times_faster", "met")}))


if __name__ == "__main__":
    main()
