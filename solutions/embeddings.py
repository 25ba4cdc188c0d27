"""Lesson 02: from patches to tokens that know where they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from solutions.patchify import patchify


def embed_patches(images: Tensor, E: Tensor, bias: Tensor, patch_size: int) -> Tensor:
    """Multiply every patch vector by one matrix (Dosovitskiy et al. 2021, eq. 1): token = patch · E + bias.

    Args:
        images: (B, C, H, W).
        E: the projection, (C·P·P, D). Its rows stand in the order (C, P, P), as the patch vectors of lesson 01 do.
        bias: (D,), added to every token.
        patch_size: P, in pixels.

    Returns:
        Tokens (B, N, D), N = HW/P², row by row.
    """
    ### BEGIN SOLUTION
    patches = patchify(images, patch_size)  # (B, N, C·P·P)
    return patches @ E + bias
    ### END SOLUTION


def conv_from_linear(weight: Tensor, patch_size: int) -> Tensor:
    """Turn the weight of `nn.Linear(C·P·P, D)` on patch vectors into the weight of the equal strided convolution.

    Args:
        weight: `linear.weight`, (D, C·P·P): one row per output channel, its numbers in the order (C, P, P).
        patch_size: P, in pixels.

    Returns:
        The same numbers as the weight of `nn.Conv2d(C, D, kernel_size=P, stride=P)`, (D, C, P, P).

    Raises:
        ValueError: the rows are not a whole number of P × P squares long.
    """
    ### BEGIN SOLUTION
    if weight.shape[1] % patch_size**2:
        raise ValueError(f"rows of {weight.shape[1]} numbers do not hold whole {patch_size}×{patch_size} squares")
    return rearrange(weight, "d (c p q) -> d c p q", p=patch_size, q=patch_size)
    ### END SOLUTION


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
        ### BEGIN SOLUTION
        height, width = x.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"an image of {height}×{width} does not divide into patches of {self.patch_size}")
        return self.proj(x).flatten(2).transpose(1, 2)  # (B, D, H/P, W/P) → (B, D, N) → (B, N, D)
        ### END SOLUTION


def prepend_cls(x: Tensor, cls_token: Tensor) -> Tensor:
    """Put the class token in front of every picture's tokens: position 0 (Dosovitskiy et al. 2021, eq. 1).

    Args:
        x: tokens, (B, N, D).
        cls_token: one learned vector for all pictures, (1, 1, D). Gradients must reach it.

    Returns:
        (B, 1 + N, D).
    """
    ### BEGIN SOLUTION
    cls = cls_token.expand(x.shape[0], -1, -1)  # (1, 1, D) → (B, 1, D), a view: nothing is copied
    return torch.cat([cls, x], dim=1)
    ### END SOLUTION


class Embeddings(nn.Module):
    """Everything before the first encoder block: z0 = [cls; patches · E] + positions (Dosovitskiy et al. 2021, eq. 1).

    The names are timm's, and published weights are stored under them, so they count:

    * `cls_token`, a learned vector of shape (1, 1, D), zero at the start;
    * `pos_embed`, learned positions of shape (1, N + 1, D), drawn from a normal distribution with standard
      deviation 0.02. Row 0 belongs to the class token.

    Args:
        patch_embed: a module from images (B, C, H, W) to tokens (B, N, D).
        num_patches: N.
        embed_dim: D.
    """

    def __init__(self, patch_embed: nn.Module, num_patches: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        ### BEGIN SOLUTION
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.randn(1, num_patches + 1, embed_dim) * 0.02)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to tokens (B, 1 + N, D): the class token first, and every token with its position."""
        ### BEGIN SOLUTION
        x = self.patch_embed(x)  # (B, N, D)
        x = prepend_cls(x, self.cls_token)  # (B, 1 + N, D)
        return x + self.pos_embed
        ### END SOLUTION


def sincos_1d(positions: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Sines and cosines of positions (Vaswani et al. 2017, section 3.5), all sines first, then all cosines.

    Args:
        positions: (M,), whole numbers or fractions.
        dim: an even number of channels.
        temperature: T. Wavelengths grow from 2π to nearly 2πT.

    Returns:
        (M, dim): channel k is sin(p · ω_k), channel dim/2 + k is cos(p · ω_k), with ω_k = T^(−k / (dim/2)).
    """
    half = dim // 2
    omega = temperature ** (-torch.arange(half, dtype=torch.get_default_dtype()) / half)  # (dim/2,)
    angles = positions.to(omega)[:, None] * omega  # (M, dim/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_positions(grid: tuple[int, int], dim: int, temperature: float = 10000.0) -> Tensor:
    """Fixed positions for a grid of patches: the first half of the channels encodes the row, the second the column.

    Args:
        grid: (h, w), patches down and across.
        dim: D, a multiple of 4.
        temperature: T of `sincos_1d`.

    Returns:
        (h·w, D), patches row by row. Row number y fills channels 0 … D/2 − 1, column number x the others, each as
        `sincos_1d` does it: D/4 sines, then D/4 cosines. Rows and columns count from 0. No class token.

    Raises:
        ValueError: D is not a multiple of 4.
    """
    ### BEGIN SOLUTION
    if dim % 4:
        raise ValueError(f"{dim} channels do not split into sines and cosines of two axes")
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")  # (h, w) each
    y = sincos_1d(rows.flatten(), dim // 2, temperature)  # (h·w, D/2)
    x = sincos_1d(columns.flatten(), dim // 2, temperature)
    return torch.cat([y, x], dim=1)
    ### END SOLUTION


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


class TinyClassifier(nn.Module):
    """Tokens through `depth` encoder layers, then one linear layer on the class token. Lessons 03 and 04 open the box.

    Args:
        embed: from images to tokens (B, 1 + N, D).
        embed_dim: D.
        num_classes: number of classes.
    """

    def __init__(self, embed: nn.Module, embed_dim: int, num_classes: int = 10, depth: int = 2) -> None:
        super().__init__()
        self.embed = embed
        layers = [
            nn.TransformerEncoderLayer(embed_dim, 4, 2 * embed_dim, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        ]
        self.encoder = nn.Sequential(*layers, nn.LayerNorm(embed_dim))
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        return self.head(self.encoder(self.embed(x))[:, 0])
