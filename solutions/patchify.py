"""Lesson 01: from an image to a sequence of patches and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Count the patches that fit under each other and beside each other.

    Args:
        height: H, the height of the image in pixels.
        width: W, its width in pixels.
        patch_size: P, the side of a square patch in pixels.

    Returns:
        (rows, cols) as whole numbers; the image has N = rows · cols patches.

    Raises:
        ValueError: P does not divide H and W, or one of the three is not positive.
    """
    ### BEGIN SOLUTION
    if height < 1 or width < 1 or patch_size < 1:
        raise ValueError(f"sizes must be positive, got {height}×{width} and P = {patch_size}")
    if height % patch_size or width % patch_size:
        raise ValueError(f"{height}×{width} pixels do not divide into patches of side {patch_size}")
    return height // patch_size, width // patch_size
    ### END SOLUTION


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into a sequence of flattened patches (Dosovitskiy et al. 2021, section 3.1).

    The patches stand in reading order: left to right, then the next row. Inside a patch the numbers
    stand in the order (C, P, P): all of channel 0 row by row, then channel 1, and so on. (The paper
    leaves this order open.)

    Args:
        images: (B, C, H, W).
        patch_size: P.

    Returns:
        (B, N, C·P·P) with N = HW/P².

    Raises:
        ValueError: P does not divide H and W.
    """
    ### BEGIN SOLUTION
    B, C, H, W = images.shape
    rows, cols = patch_grid(H, W, patch_size)
    x = images.reshape(B, C, rows, patch_size, cols, patch_size)  # split H and W
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, rows, cols, C, P, P)
    return x.reshape(B, rows * cols, C * patch_size**2)  # (B, N, C·P·P)
    ### END SOLUTION


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Put the patches back in their places: the inverse of `patchify`.

    Args:
        patches: (B, N, C·P·P), as `patchify` makes them. Any number of channels C.
        patch_size: P.
        grid: (rows, cols), because N alone does not tell 2×6 from 3×4.

    Returns:
        (B, C, rows·P, cols·P).

    Raises:
        ValueError: rows · cols is not N.
    """
    ### BEGIN SOLUTION
    B, N, length = patches.shape
    rows, cols = grid
    if rows * cols != N:
        raise ValueError(f"{N} patches do not fill a grid of {rows}×{cols}")
    C = length // patch_size**2
    x = patches.reshape(B, rows, cols, C, patch_size, patch_size)
    x = x.permute(0, 3, 1, 4, 2, 5)  # (B, C, rows, P, cols, P)
    return x.reshape(B, C, rows * patch_size, cols * patch_size)
    ### END SOLUTION


def patchify_einops(images: Tensor, patch_size: int) -> Tensor:
    """`patchify` in one line, as an einops pattern (Rogozhnikov 2022).

    Args:
        images: (B, C, H, W). P divides H and W; you need not check it here.
        patch_size: P.

    Returns:
        (B, N, C·P·P), equal to `patchify(images, patch_size)`.
    """
    ### BEGIN SOLUTION
    return rearrange(images, "b c (rows p) (cols q) -> b (rows cols) (c p q)", p=patch_size, q=patch_size)
    ### END SOLUTION


def patchify_unfold(images: Tensor, patch_size: int) -> Tensor:
    """`patchify` with torch's own sliding window, `F.unfold`.

    Args:
        images: (B, C, H, W). P divides H and W; you need not check it here.
        patch_size: P.

    Returns:
        (B, N, C·P·P), equal to `patchify(images, patch_size)`.
    """
    ### BEGIN SOLUTION
    columns = F.unfold(images, kernel_size=patch_size, stride=patch_size)  # (B, C·P·P, N)
    return columns.transpose(1, 2)  # (B, N, C·P·P)
    ### END SOLUTION


def patch_kernel(channels: int, patch_size: int) -> Tensor:
    """Make the weight with which a convolution of stride P cuts patches.

    Output channel k of the convolution must be number k of the patch vector, in the order (C, P, P).
    So `F.conv2d(images, weight, stride=P)` has the shape (B, C·P·P, H/P, W/P): at each place of the
    grid it holds that patch's vector.

    Args:
        channels: C.
        patch_size: P.

    Returns:
        (C·P·P, C, P, P): output channels, input channels, height, width. torch's default dtype.
    """
    ### BEGIN SOLUTION
    length = channels * patch_size**2
    return torch.eye(length).reshape(length, channels, patch_size, patch_size)  # row k picks number k
    ### END SOLUTION


def attention_pairs(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Count the tokens of an image, and the pairs of tokens that self-attention compares.

    Every token looks at every token, itself included. Only patches count here, no extra tokens.

    Args:
        height: H.
        width: W.
        patch_size: P.

    Returns:
        (N, N²).

    Raises:
        ValueError: P does not divide H and W.
    """
    ### BEGIN SOLUTION
    rows, cols = patch_grid(height, width, patch_size)
    tokens = rows * cols
    return tokens, tokens**2
    ### END SOLUTION
