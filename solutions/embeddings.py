"""Lesson 02: from patches to tokens that know where they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
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


def interpolate_positions(
    pos_embed: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], num_prefix_tokens: int = 1
) -> Tensor:
    """Fit learned positions to another grid of patches (Dosovitskiy et al. 2021, section 3.2).

    Bicubic, `antialias=False`, `align_corners=False`, computed in float32 and cast back. The tokens in front of the
    grid (the class token; in DeiT also the distillation token) keep their positions. Positions come back unchanged
    exactly when the two grids are equal.

    Args:
        pos_embed: (1, K + h·w, D), K = num_prefix_tokens; the grid row by row.
        old_grid: (h, w), patches down and across.
        new_grid: (h', w').
        num_prefix_tokens: K.

    Returns:
        (1, K + h'·w', D), in the dtype of `pos_embed`.

    Raises:
        ValueError: `pos_embed` does not have K + h·w rows.
    """
    ### BEGIN SOLUTION
    if pos_embed.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise ValueError(f"{pos_embed.shape[1]} positions are not {num_prefix_tokens} and a grid of {old_grid}")
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    prefix, patches = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    image = rearrange(patches, "one (h w) d -> one d h w", h=old_grid[0])  # D pictures of h × w
    image = F.interpolate(image.float(), size=tuple(new_grid), mode="bicubic", align_corners=False, antialias=False)
    patches = rearrange(image, "one d h w -> one (h w) d").to(pos_embed.dtype)
    return torch.cat([prefix, patches], dim=1)
    ### END SOLUTION
