"""A small network of every family, and every kind of baseline, on real patches: all stages, one result each."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from places import ROOT, SHARED, needs_shared

from harness.modelstring import parse_models
from harness.options import RunOptions
from harness.plugins import load_registry
from harness.runner import evaluate
from harness.selection import select_model

pytestmark = needs_shared
SPEC = ROOT / "examples/her2st/hest-xp.yaml"
LIMIT = 24
PICTURES, POINTS = ("image", "graph_image"), ("points",)
slow = pytest.mark.slow
CASES = [
    pytest.param("pixel-stats", PICTURES, id="pixel-stats"),
    pytest.param("single-conv", PICTURES, id="single-conv"),
    pytest.param("cell-count", POINTS, id="cell-count"),
    pytest.param("untrained:gcn", POINTS, id="gcn"),
    pytest.param("untrained:egnn", POINTS, id="egnn"),
    pytest.param("untrained:alexnet", PICTURES, id="alexnet", marks=slow),
    pytest.param("untrained:resnet18", PICTURES, id="cnn"),
    pytest.param("untrained:vit-s-16", PICTURES, id="vit"),
    pytest.param("untrained:dinov2-vits14", PICTURES, id="dinov2"),
    pytest.param("untrained:timm:vit_small_patch14_reg4_dinov2", PICTURES, id="registers", marks=slow),
    pytest.param("untrained:dinov3-vits16", PICTURES, id="dinov3"),
    pytest.param("untrained:ctranspath", PICTURES, id="swin"),
    pytest.param("untrained:openphenom", PICTURES, id="channel-vit", marks=slow),
    pytest.param("untrained:conch-v1", PICTURES, id="conch", marks=slow),
    pytest.param("untrained:timm:vit_base_patch16_siglip_224", PICTURES, id="siglip", marks=slow),
]


@pytest.mark.parametrize(("model", "views"), CASES)
def test_every_stage_of_every_family_scores_real_patches(model: str, views: tuple[str, ...], tmp_path: Path) -> None:
    """One result a view and stage, shallow to deep, of different vectors each, with a defined score."""
    results = evaluate(
        model,
        str(SPEC),
        output=None,
        store=str(tmp_path / "store"),
        data_dirs=(SHARED / "data",),
        stages="all",
        seeds=(0,),
        limit=LIMIT,
        baselines="none",
        offline=True,
    )
    stages = tuple(select_model(load_registry(), parse_models(model)[0], RunOptions().data_context).card.stages)
    seen: dict[str, list[str]] = defaultdict(list)
    for result in results:
        seen[result.view].append(result.stage)
        assert result.status == "partial"
        assert result.headline.value is not None
        assert -1 <= result.headline.value <= 1
    assert seen == {view: list(stages) for view in views}
    assert len({result.embedding_hash for result in results}) == len(results)
