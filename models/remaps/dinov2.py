"""DINOv2 files in the naming of the transformers library: Phikon-v2."""

from __future__ import annotations

from torch import Tensor, nn

from .hf_vit import DROPPED, PARTS, PREFIXES, SHARED
from .renaming import drop, join_layers, rename, strip_prefixes

_BLOCKS = {
    "encoder.layer.N.norm1": "blocks.N.norm1",
    "encoder.layer.N.norm2": "blocks.N.norm2",
    "encoder.layer.N.mlp.fc1": "blocks.N.mlp.fc1",
    "encoder.layer.N.mlp.fc2": "blocks.N.mlp.fc2",
    "encoder.layer.N.mlp.weights_in": "blocks.N.mlp.fc1",  # SwiGLU: gate and value, packed
    "encoder.layer.N.mlp.weights_out": "blocks.N.mlp.fc2",
    "encoder.layer.N.layer_scale1.lambda1": "blocks.N.ls1.gamma",
    "encoder.layer.N.layer_scale2.lambda1": "blocks.N.ls2.gamma",
}


def remap(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:  # noqa: ARG001 - as all rules
    """Rename the tensors of a DINOv2 file, with GELU or SwiGLU blocks; query, key and value become one layer."""
    kept = drop(strip_prefixes(tensors, PREFIXES), DROPPED)
    return rename(join_layers(kept, PARTS, "blocks.N.attn.qkv"), SHARED | _BLOCKS)
