"""Lesson 02: from patches to tokens that know where they are."""

from __future__ import annotations

from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Project every patch to a token: z = x_p E + b (Dosovitskiy et al. 2021, eq. 1), as one strided convolution.

    Args:
        patch_size: P, the side of a patch in pixels.
        in_chans: C.
        embed_dim: D.
    """

    def __init__(self, patch_size: int = 16, in_chans: int = 3, embed_dim: int = 768) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to tokens (B, N, D), N = HW/P². Raises `ValueError` where P does not divide H and W."""
        if x.shape[-2] % self.patch_size or x.shape[-1] % self.patch_size:
            raise ValueError(
                f"an image of {x.shape[-2]}×{x.shape[-1]} does not divide into patches of {self.patch_size}"
            )
        return self.proj(x).flatten(2).transpose(1, 2)  # (B, D, H/P, W/P) → (B, N, D)
