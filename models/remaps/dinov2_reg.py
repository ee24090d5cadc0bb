"""DINOv2 files with registers in the naming of the transformers library: Hibou."""

from __future__ import annotations

from torch import Tensor, nn

from . import dinov2


def remap(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename the tensors of a DINOv2 file with registers.

    The file gives the class token a position of its own; the network gives it none. The two are added once, here: the
    first of the (1, 1 + positions, D) positions goes into the (1, 1, D) class token, the rest are the network's.
    """
    renamed = dinov2.remap(tensors, network)
    if "embeddings.register_tokens" in renamed:
        renamed["reg_token"] = renamed.pop("embeddings.register_tokens")
    token, positions = renamed.get("cls_token"), renamed.get("pos_embed")
    if token is not None and positions is not None and positions.ndim == 3 and token.shape == positions[:, :1].shape:
        renamed["cls_token"] = token.float() + positions[:, :1].float()
        renamed["pos_embed"] = positions[:, 1:]
    return renamed
