"""Lesson 01: from an image to a sequence of patches and back."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images (B, C, H, W) into patches (B, N, C·P·P), row by row; each patch is flattened in the order (C, P, P).

    Raises:
        ValueError: P does not divide H and W.
    """
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(f"an image of {height}×{width} does not divide into patches of side {patch_size}")
    return rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)
