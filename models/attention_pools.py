"""The two attention pools of CONCH: one learned query looks at all tokens of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiheadPool(nn.Module):
    """The pool of CONCH v1: torch's multi-head attention, with biases.

    Source: mahmoodlab/CONCH@e9c9e5b, ``conch/open_clip_custom/transformer.py``.
    """

    def __init__(self, width: int, token_width: int, heads: int) -> None:
        """Draw query and layers.

        Args:
            width: length of the pooled vector.
            token_width: length of a token.
            heads: number of heads; divides ``width``.
        """
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.attn = nn.MultiheadAttention(width, heads, kdim=token_width, vdim=token_width, batch_first=True)
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(token_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn (n, L, token_width) into (n, width)."""
        query = self.ln_q(self.query).expand(len(tokens), 1, -1)
        keys = self.ln_k(tokens)
        pooled: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        return pooled[:, 0]


class BiasFreePool(nn.Module):
    """The pool of CONCH v1.5: as in v1, but without biases, and with keys and values from one layer.

    Source: mahmoodlab/TRIDENT@a91fa84, the encoder conch_v15.
    """

    def __init__(self, width: int, token_width: int, heads: int) -> None:
        """Draw query and layers; arguments as for :class:`MultiheadPool`."""
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.ln_k = nn.LayerNorm(token_width)
        self.ln_q = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(token_width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self._heads = heads

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn (n, L, token_width) into (n, width)."""
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens), 1, -1)
        key, value = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)
        parts = (part.unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (query, key, value))
        pooled = functional.scaled_dot_product_attention(*parts)  # (n, heads, 1, width / heads)
        vector: Tensor = self.to_out(pooled.flatten(1))
        return vector
