"""Lesson 03: attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
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


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Cut the width of every token into h slices of d = D/h numbers (Vaswani et al. 2017, section 3.2.2).

    Head 0 gets the first d numbers of each token, head 1 the next d, and so on.

    Args:
        x: tokens, (B, N, D).
        num_heads: h.

    Returns:
        One sequence per head, (B, h, N, d).

    Raises:
        ValueError: h does not divide D.
    """
    ### BEGIN SOLUTION
    if x.shape[-1] % num_heads:
        raise ValueError(f"{num_heads} heads do not divide a width of {x.shape[-1]}")
    return rearrange(x, "b n (h d) -> b h n d", h=num_heads)
    ### END SOLUTION


def merge_heads(x: Tensor) -> Tensor:
    """Put the slices of all heads side by side again: undo `split_heads`.

    Args:
        x: one sequence per head, (B, h, N, d).

    Returns:
        Tokens, (B, N, D) with D = h·d; the first d numbers of a token come from head 0.
    """
    ### BEGIN SOLUTION
    return rearrange(x, "b h n d -> b n (h d)")
    ### END SOLUTION


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), with timm's parameter names.

    `qkv` computes queries, keys and values of all heads at once. Its 3·D outputs are in the order (3, h, d): first all
    queries (head by head), then all keys, then all values. The names `qkv` and `proj` count: weights are loaded by name.

    Args:
        dim: D, the width of a token.
        num_heads: h; must divide D, otherwise `ValueError`.
        qkv_bias: whether `qkv` adds a bias.
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
        ### BEGIN SOLUTION
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d); the same as ours, in one call
        return self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        ### END SOLUTION

    def attention_weights(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to the weights (B, h, N, N) with which `forward` mixes the values."""
        ### BEGIN SOLUTION
        q, k, _ = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        ### END SOLUTION


def masked_attention_weights(scores: Tensor, allowed: Tensor) -> Tensor:
    """Attention weights when a query may look at some keys only.

    Args:
        scores: already scaled scores, (B, h, N, M).
        allowed: bool, of a shape that broadcasts to the scores; True where the query (row) may look at the key
            (column). Every query may look at one key at least.

    Returns:
        The weights, (B, h, N, M): exactly 0 (or less than 1e-6) where not allowed; each row sums to 1.
    """
    ### BEGIN SOLUTION
    return scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1)
    ### END SOLUTION


def attention_distance(weights: Tensor, grid: tuple[int, int]) -> Tensor:
    """How far each head looks: the mean distance between a patch and what it attends to (Dosovitskiy et al. 2021, fig. 7).

    The distance between two patches is the straight line between their centres, in units of patches. It is averaged
    with the weights over the keys, then plainly over queries and pictures.

    Args:
        weights: (B, h, N, N), patches only (no class token), in reading order: row by row.
        grid: how many rows and columns of patches, N = rows · columns.

    Returns:
        One number per head, (h,).

    Raises:
        ValueError: the grid does not have N places (for example because the class token was left in).
    """
    ### BEGIN SOLUTION
    rows, columns = grid
    if weights.shape[-1] != rows * columns:
        raise ValueError(f"{weights.shape[-1]} keys do not fill a grid of {rows}×{columns}")
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(weights)  # (N, 2)
    distance = torch.cdist(places, places)  # (N, N)
    return (weights * distance).sum(dim=-1).mean(dim=(0, 2))
    ### END SOLUTION


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    """Follow attention through all layers (Abnar and Zuidema 2020, eq. 1).

    Per layer: take the mean over heads, add the identity (the residual connection), divide each row by its sum.
    Then multiply the layers' matrices so that the first layer acts first: R = Ã_L ··· Ã_2 Ã_1.

    Args:
        weights: from the first layer to the last, each (B, h, N, N).

    Returns:
        (B, N, N): row i says how much of each input token is in output token i. Each row sums to 1.
    """
    ### BEGIN SOLUTION
    rollout = torch.eye(weights[0].shape[-1]).to(weights[0])  # (N, N)
    for layer in weights:
        mixing = layer.mean(dim=1) + torch.eye(layer.shape[-1]).to(layer)  # (B, N, N)
        rollout = mixing / mixing.sum(dim=-1, keepdim=True) @ rollout
    return rollout
    ### END SOLUTION
