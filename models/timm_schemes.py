"""Cards for networks that nobody registered: ``timm:ARCH[.TAG]`` and ``hf-hub:ORG/REPO``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.errors import DamagedFileError, MissingDataError, UnknownNameError
from harness.specs import ModelCard
from harness.types import DataContext

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
    configuration = timm.models.get_pretrained_cfg(text, allow_unregistered=False)
    if tag and (configuration is None or configuration.tag != tag):
        tags = [name.partition(".")[2] for name in timm.list_models(f"{arch}.*", pretrained=True)]
        raise UnknownNameError(f"tag of timm model {arch}", tag, tags, f"It has {', '.join(tags) or 'no weights'}.")
    known = configuration.to_dict() if configuration is not None else {}
    source = known.get("hf_hub_id")
    if source:
        source = source if "/" in source and not source.endswith("/") else f"{source}{arch}.{configuration.tag}"
    return _card(f"timm-{text}", arch, {}, known, source=source)


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
        arch = config["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{path}: expected a config.json of timm with the key architecture ({type(error).__name__}: {error})"
        ) from error
    known = dict(config.get("pretrained_cfg") or {})
    if config.get("global_pool"):
        known["global_pool"] = config["global_pool"]
    return _card(f"hf-hub-{text}", arch, dict(config.get("model_args") or {}), known, source=text)


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
        reason = "not asked (--offline)" if context.offline else str(error).strip().splitlines()[0]
        raise MissingDataError(
            f"hf-hub:{text}: config.json not found ({places}; download: {reason}). Put the files of the repository at "
            f"DIR/{text} and pass --data-dir DIR, or accept the terms on its model page and log in (hf auth login)"
        ) from None


def _card(name: str, arch: str, kwargs: dict[str, Any], known: dict[str, Any], *, source: str | None) -> ModelCard:
    import timm

    kwargs = {key: value for key, value in kwargs.items() if value is not None} | {"num_classes": 0}
    if not timm.is_model(arch):
        raise UnknownNameError("timm model", arch, timm.list_models(), f"{name} asks for it.")
    with torch.device("meta"):
        network = timm.create_model(arch, pretrained=False, **kwargs)
    stages = _name_stages(network)
    scaled = any(key.rpartition(".")[2] in ("gamma", "gamma_1", "gamma_2") for key, _ in network.named_parameters())
    return ModelCard.model_validate(
        {
            "name": "".join(letter if letter.isalnum() or letter == "." else "-" for letter in name.lower()),
            "label": name,
            "family": "vit" if is_token_network(network) else "cnn",
            "build": _BUILD,
            "arch": arch,
            "kwargs": kwargs,
            "weights": None if source is None else {"source": f"hf-hub:{source}"},
            "access": {"licence": known.get("license")},
            "input": {
                "size": known.get("input_size", (3, 224, 224))[-1],
                "interpolation": "bilinear" if known.get("interpolation") == "bilinear" else "bicubic",
                "mean": list(known.get("mean", (0.5, 0.5, 0.5))),
                "std": list(known.get("std", (0.5, 0.5, 0.5))),
                "channel_adapt": "copy" if is_token_network(network) else "timm",
            },
            "output": {
                "pooling": _POOLINGS.get(str(getattr(network, "global_pool", "")), "avg")
                if is_token_network(network)
                else "gap",
                "dim": getattr(network, "num_features", None) if len(stages) > 1 else None,
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
