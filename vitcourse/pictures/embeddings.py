"""The figures of lesson 02."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor


def permute_patches(images: Tensor, order: Tensor, patch_size: int) -> Tensor:
    """Pictures (B, C, H, W) with their patches in another order.

    order: (N,) for all pictures or (B, N) for each its own; place i of the result holds patch order[i].
    """
    height = images.shape[-2] // patch_size
    patches = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)
    order = order.expand(len(images), -1).to(images.device)
    patches = patches.gather(1, order[:, :, None].expand_as(patches))
    return rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=height, p=patch_size, q=patch_size)


def random_orders(count: int, patches: int, seed: int = 0) -> Tensor:
    """`count` random orders of `patches` patches, (count, patches)."""
    return torch.rand(count, patches, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
