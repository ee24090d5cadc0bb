"""ResNet-20 and ResNet-56 for CIFAR-10 as models of the bioimage-harness: what is known of them.

The weights are those of github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause). This module imports nothing heavy;
``wrapper`` is imported when a model is used.
"""

from __future__ import annotations

import harness

_REPOSITORY = "akamaster/pytorch_resnet_cifar10"
_REVISION = "d5489e8995e81e91ce6b1d69dcc98ad579b0b153"
_CLEAN = dict.fromkeys(("tcga-brca", "hest", "rxrx3-core", "jump-cp", "synthetic-24"), "clean")


@harness.hookimpl
def harness_models() -> list[harness.ModelCard]:
    """Announce both models."""
    small = "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"
    large = "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367"
    return [_card("resnet20", 3, small), _card("resnet56", 9, large)]


def _card(arch: str, blocks: int, sha256: str) -> harness.ModelCard:
    """Write the card of one network; its file is named after the first digits of its hash."""
    file = f"{arch}-{sha256[:8]}.th"
    fields = {
        "name": f"{arch}-cifar10",
        "label": f"ResNet-{arch.removeprefix('resnet')} (CIFAR-10)",
        "family": "cnn",
        "pretrain_domain": "natural",
        "build": "harness_resnet_cifar.wrapper:build",
        "kwargs": {"blocks": blocks},
        "weights": {
            "source": f"github:{_REPOSITORY}",
            "revision": _REVISION,
            "files": [file],
            "paths": [f"{_REPOSITORY}/pretrained_models/{file}"],
            "unwrap": ["state_dict"],
            "sha256": sha256,
        },
        "access": {"licence": "BSD-2-Clause"},
        "input": {
            "size": 32,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "channel_adapt": "timm",
        },
        "output": {"pooling": "gap", "dim": 64, "stages": {"layer1": 1, "layer2": 2, "layer3": 3}},
        "options": ["weights", "size", "channel_adapt"],
        "requires": ["torch"],
        "exposure": {**_CLEAN, "basis": "trained on photographs alone"},
        "training_data": "CIFAR-10",
        "untrained": {"twin": "library"},
        "notes": "32 px by default; size=N takes any side of at least 8",
    }
    return harness.ModelCard.model_validate(fields)
