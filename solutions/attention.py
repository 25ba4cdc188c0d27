"""Lesson 03: attention."""

from __future__ import annotations

import math

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Mix the values by how well each query matches each key (Vaswani et al. 2017, eq. 1).

    Args:
        q: queries, (B, h, N, d).
        k: keys, (B, h, M, d).
        v: values, (B, h, M, d).

    Returns:
        The mixed values, (B, h, N, d), and the attention weights, (B, h, N, M); each row of weights sums to 1.
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, h, N, M)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights
    ### END SOLUTION


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), with timm's parameter names.

    Args:
        dim: D, the width of a token.
        num_heads: h; must divide D, otherwise `ValueError`.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide a width of {dim}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D)."""
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        return self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
