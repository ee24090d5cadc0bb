"""Cards for networks that nobody registered: ``timm:ARCH[.TAG]`` and ``hf-hub:ORG/REPO``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.cards import ModelCard
from harness.errors import DamagedFileError, MissingDataError, UnknownNameError
from harness.hub import why_not
from harness.types import DataContext

from .card_names import card_name
from .stages import is_token_network

_BUILD = "harness.models.timm_backbone:build"
_OPTIONS = ["weights", "pool", "channel_adapt", "channel_norm", "tiles", "init"]
_POOLINGS = {"token": "cls", "avg": "avg", "map": "head"}


def timm_card(text: str, context: DataContext) -> ModelCard:  # noqa: ARG001 - the contract's signature
    """Make the card of a timm model, with the transform of its pretrained configuration.

    Args:
        text: ``ARCH`` or ``ARCH.TAG``.
        context: not used; timm's list of models is part of the library.

    Raises:
        UnknownNameError: timm does not know it.
    """
    import timm

    arch, _, tag = text.partition(".")
    if not timm.is_model(arch):
        raise UnknownNameError("timm model", arch, timm.list_models())
    tags = [name.partition(".")[2] for name in timm.list_models(f"{arch}.*", pretrained=True)]
    try:
        configuration = timm.models.get_pretrained_cfg(text)
    except RuntimeError:  # how timm says that it has no such tag
        hint = f"It has {', '.join(tags) or 'no weights'}."
        raise UnknownNameError(f"tag of timm model {arch}", tag, tags, hint) from None
    known = configuration.to_dict() if configuration is not None else {}
    weights = None
    if known.get("hf_hub_id"):
        source = known["hf_hub_id"]
        source = source if "/" in source and not source.endswith("/") else f"{source}{arch}.{configuration.tag}"
        weights = {"source": f"hf-hub:{source}"}
    return _card(f"timm:{text}", text, {}, known, weights)


def hub_card(text: str, context: DataContext) -> ModelCard:
    """Make the card of a repository in timm's layout, from its ``config.json``.

    Args:
        text: ``ORG/REPO``.
        context: where it is looked for: ``DIR/ORG/REPO``, then the cache, then the hub.

    Raises:
        MissingDataError: no such repository here, or none may be asked for.
        DamagedFileError: its config.json is not one of timm's.
    """
    path = _find_config(text, context)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        arch, given = str(config["architecture"]), config.get("model_args") or {}
        known = config.get("pretrained_cfg") or config  # older files have one level
        size = [int(side) for side in known.get("input_size", (3, 224, 224))]
        kwargs = {key: value for key, value in given.items() if value is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            f"{path}: expected a config.json of timm with the key architecture ({type(error).__name__}: {error})"
        ) from error
    # timm takes the size and the channels of a network from here, where model_args do not say them
    flexible = kwargs.get("dynamic_img_size") or kwargs.get("strict_img_size") is False
    kwargs["pretrained_cfg"] = {
        "input_size": size,
        "fixed_input_size": bool(known.get("fixed_input_size", False)) and not flexible,
    }
    try:
        return _card(f"hf-hub:{text}", arch, kwargs, known, {"source": f"hf-hub:{text}"})
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise DamagedFileError(f"{path}: timm builds no {arch} from it: {error}") from error


def _find_config(text: str, context: DataContext) -> Path:
    local = [folder / text / "config.json" for folder in context.data_dirs]
    found = next((path for path in local if path.is_file()), None)
    if found is not None:
        return found
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(
            huggingface_hub.hf_hub_download(
                text, "config.json", cache_dir=context.cache / "huggingface", local_files_only=context.offline
            )
        )
    except (HfHubHTTPError, EntryNotFoundError, HFValidationError, OSError) as error:
        places = ", ".join(map(str, local)) or "no --data-dir given"
        reason = "not asked (--offline)" if context.offline else why_not(error)
        raise MissingDataError(
            f"hf-hub:{text}: config.json not found ({places}; download: {reason}). Put the files of the repository at "
            f"DIR/{text} and pass --data-dir DIR, or accept the terms on its model page and log in (hf auth login)"
        ) from None


def _card(
    name: str, arch: str, kwargs: dict[str, Any], known: Mapping[str, Any], weights: Mapping[str, Any] | None
) -> ModelCard:
    import timm
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    if not timm.is_model(arch):
        raise UnknownNameError("timm model", arch, timm.list_models(), f"{name} asks for it.")
    kwargs = kwargs | {"num_classes": 0}
    with torch.device("meta"):
        network = timm.create_model(arch, pretrained=False, **kwargs)
    tokens = is_token_network(network)
    channels, size = _takes(network, known)
    stages = _name_stages(network)
    scaled = any(key.rpartition(".")[2] in ("gamma", "gamma_1", "gamma_2") for key, _ in network.named_parameters())
    return ModelCard.model_validate(
        {
            "name": card_name(*name.split(":", 1)),
            "label": name,
            "family": "vit" if tokens else "cnn",
            "build": _BUILD,
            "arch": arch,
            "kwargs": kwargs,
            "weights": weights,
            "access": {"licence": known.get("license")},
            "input": {
                "size": size,
                "interpolation": "bilinear" if known.get("interpolation") == "bilinear" else "bicubic",
                "mean": list(known.get("mean") or IMAGENET_DEFAULT_MEAN),
                "std": list(known.get("std") or IMAGENET_DEFAULT_STD),
                "channels": channels,
                "channel_adapt": "copy" if tokens else "timm",
            },
            "output": {
                "pooling": _POOLINGS.get(str(getattr(network, "global_pool", "")), "avg") if tokens else "gap",
                "dim": getattr(network, "head_hidden_size", None) or getattr(network, "num_features", None),
                "stages": stages,
                "stage_origin": "ours",
            },
            "options": _OPTIONS,
            "dtypes": ["float32", "bfloat16"],
            "requires": ["torch", "timm"],
            "untrained": {"twin": "active" if scaled else "library"},
            "expect": {"params": sum(parameter.numel() for parameter in network.parameters())},
        }
    )


def _takes(network: nn.Module, known: Mapping[str, Any]) -> tuple[int, int]:
    """Tell how many channels, and images of which side in pixels, a network is built for."""
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    embed = getattr(network, "patch_embed", None)
    fixed = getattr(embed, "img_size", None) if getattr(embed, "strict_img_size", False) else None
    size = known.get("input_size") or (3, 224, 224)
    return (first.in_channels if first is not None else size[0]), (fixed or size)[-1]


def _name_stages(network: nn.Module) -> dict[str, int]:
    """Name four blocks at the quarters of a token network, every map of a convolutional one, else the last."""
    blocks = getattr(network, "blocks", None)
    if is_token_network(network) and blocks is not None:
        depth = len(blocks)
        ends = sorted({max(1, round(depth * part / 4)) for part in (1, 2, 3, 4)})
        return {f"block{end}": end - 1 for end in ends}
    maps = getattr(network, "feature_info", None)
    if hasattr(network, "forward_intermediates") and maps and hasattr(network, "forward_head"):
        return {f"stage{number}": number for number in range(len(maps))}
    return {"last": 0}
