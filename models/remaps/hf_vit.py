"""ViT files in the naming of the transformers library: Phikon."""

from __future__ import annotations

from torch import Tensor, nn

from .renaming import drop, join_layers, rename, strip_prefixes

PREFIXES = ("vit.", "model.", "teacher.")
"""What may stand before all names of a file."""
DROPPED = ("pooler.", "embeddings.mask_token")
"""What serves training only."""
PARTS = tuple(f"encoder.layer.N.attention.attention.{part}" for part in ("query", "key", "value"))
SHARED = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "encoder.layer.N.attention.output.dense": "blocks.N.attn.proj",
    "layernorm": "norm",
}
"""Names that DINOv2 files share."""
_BLOCKS = {
    "encoder.layer.N.layernorm_before": "blocks.N.norm1",
    "encoder.layer.N.layernorm_after": "blocks.N.norm2",
    "encoder.layer.N.intermediate.dense": "blocks.N.mlp.fc1",
    "encoder.layer.N.output.dense": "blocks.N.mlp.fc2",
}


def remap(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:  # noqa: ARG001 - as all rules
    """Rename the tensors of a ViT file; query, key and value become one layer.

    The network needs layer norms with epsilon 1e-12 to give the same numbers.
    """
    kept = drop(strip_prefixes(tensors, PREFIXES), DROPPED)
    return rename(join_layers(kept, PARTS, "blocks.N.attn.qkv"), SHARED | _BLOCKS)
