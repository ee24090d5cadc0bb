"""Results for tests: scores in, a whole result out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from harness.results import (
    Metric,
    Provenance,
    Result,
    ResultModel,
    ResultTask,
    Source,
    UnitBlock,
    dump_result,
)
from harness.summary import summarise

SPEC = "ab" * 32
DATA = "cd" * 32
BASELINES = ("untrained", "pixel-mean")
TRAINING = {
    "pixel-mean": "none", "pixel-stats": "none", "cell-count": "none", "count-only": "none", "single-conv": "untrained",
}  # fmt: skip


def make_block(scores: ArrayLike, units: Sequence[str] = (), **columns) -> UnitBlock:
    """Lay scores (seed x fold x unit; leading axes may be left out) out as columns; NaN becomes null."""
    table = np.array(scores, dtype=float, ndmin=3)
    names = list(units) or [f"u{index:02d}" for index in range(table.shape[2])]
    seeds, folds, items = (axis.ravel() for axis in np.indices(table.shape))
    return UnitBlock(
        kind="gene",
        unit=[names[item] for item in items],
        fold=folds.tolist(),
        seed=seeds.tolist(),
        value=[None if np.isnan(value) else value for value in table.ravel().tolist()],
        **columns,
    )


def make_result(
    model: str = "resnet18",
    scores: ArrayLike | UnitBlock = ((0.4, 0.6),),
    *,
    units: Sequence[str] = (),
    args: dict[str, str] | None = None,
    task: str = "toy",
    view: str = "image",
    stage: str = "last",
    stages: Sequence[str] = ("last",),
    status: str = "ok",
    training: str | None = None,
    structure: bool = False,
    exposure: str = "clean",
    created: str = "2026-01-01T00:00:00+00:00",
    selected: dict[str, str] | None = None,
    metrics: dict[str, Metric] | None = None,
    **fields,
) -> Result:
    """Make a result whose headline agrees with its atoms; ``fields`` go to its task."""
    block = scores if isinstance(scores, UnitBlock) else make_block(scores, units)
    default = "untrained" if model.startswith("untrained:") else TRAINING.get(model, "ood")
    training = training or default
    said = {
        "version": 1, "spec_hash": SPEC, "data_hash": DATA, "primary": "pcc", "higher_is_better": True, "chance": 0.0,
        "ceiling": 1.0, "baselines": list(BASELINES), **fields,
    }  # fmt: skip
    return Result(
        status=status,
        model=ResultModel(
            name=model,
            label=model,
            family="hand-crafted" if training == "none" else "cnn",
            pretrain_domain="natural" if training in ("iid", "ood") else "none",
            training=training,
            structure=structure or model in ("cell-count", "count-only"),
            dim=4,
            stages=list(stages),
            exposure=exposure,
            identity="ef" * 32,
            card={"untrained": {"twin": "none" if training == "none" else "library"}},
        ),
        model_args=args or {},
        stage=stage,
        view=view,
        task=ResultTask(name=task, **said),
        metrics={said["primary"]: summarise(block), **(metrics or {})},
        units={said["primary"]: block},
        provenance=Provenance(
            created=created, command="harness eval", device="cpu", dtype="float32", batch_size=32,
            seeds=sorted(set(block.seed)), seconds={"embed": 1.0}, n_embedded=0, versions={}, plugin="test",
            selected=selected or {},
        ),
    )  # fmt: skip


def make_reported(model: str = "uni", value: float = 0.5, task: str = "toy", table: str = "Table 8") -> Result:
    """Make a number of a paper."""
    own = make_result(model, [[value]], task=task)
    metric = Metric(value=value, n_folds=1, n_seeds=1, n_units=1, n_undefined=0)
    changes = {
        "status": "reported", "metrics": {"pcc": metric}, "units": {}, "provenance": None,
        "source": Source(paper="arXiv 2603.13377", table=table),
        "task": own.task.model_copy(update={"spec_hash": None, "data_hash": None}),
    }  # fmt: skip
    return own.model_copy(update=changes)


def write_result(folder: Path, result: Result, name: str = "") -> Path:
    """Write a result file as the harness would."""
    path = folder / f"{name or result.model_string}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_result(result))
    return path
