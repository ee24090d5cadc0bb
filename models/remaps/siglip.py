"""SigLIP files in the naming of the transformers library, the text tower left out: MedSigLIP."""

from __future__ import annotations

from torch import Tensor, nn

from .renaming import drop, join_layers, rename, strip_prefixes

_DROPPED = ("text_model.", "logit_scale", "logit_bias")
_PARTS = tuple(f"encoder.layers.N.self_attn.{part}_proj" for part in "qkv")
_NAMES = {
    "embeddings.patch_embedding": "patch_embed.proj",
    "embeddings.position_embedding.weight": "pos_embed",
    "encoder.layers.N.self_attn.out_proj": "blocks.N.attn.proj",
    "encoder.layers.N.layer_norm1": "blocks.N.norm1",
    "encoder.layers.N.layer_norm2": "blocks.N.norm2",
    "encoder.layers.N.mlp.fc1": "blocks.N.mlp.fc1",
    "encoder.layers.N.mlp.fc2": "blocks.N.mlp.fc2",
    "post_layernorm": "norm",
    "head.probe": "attn_pool.latent",
    "head.attention.out_proj": "attn_pool.proj",
    "head.layernorm": "attn_pool.norm",
    "head.mlp.fc1": "attn_pool.mlp.fc1",
    "head.mlp.fc2": "attn_pool.mlp.fc2",
}


def remap(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:  # noqa: ARG001 - as all rules
    """Rename the tensors of the vision tower; query, key and value become one layer, in the pool two.

    The network needs the tanh form of GELU to give the same numbers.
    """
    kept = strip_prefixes(drop(tensors, _DROPPED), ["vision_model."])
    renamed = rename(join_layers(kept, _PARTS, "blocks.N.attn.qkv"), _NAMES)
    if "pos_embed" in renamed:
        renamed["pos_embed"] = renamed["pos_embed"].unsqueeze(0)
    for ending in ("weight", "bias"):
        packed = renamed.pop(f"head.attention.in_proj_{ending}", None)
        if packed is not None and packed.ndim:
            query = len(packed) // 3  # rows of query, key, value
            renamed[f"attn_pool.q.{ending}"] = packed[:query]
            renamed[f"attn_pool.kv.{ending}"] = packed[query:]
    # "head" is the pool in these files: what is left of it must not pass for a classifier, which may be left out.
    return {f"vision_model.{name}" if name.startswith("head.") else name: one for name, one in renamed.items()}
