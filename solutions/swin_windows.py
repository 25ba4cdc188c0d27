"""Lesson 06: attention in windows (Liu et al. 2021, "Swin Transformer", arXiv 2103.14030).

Maps are (B, H, W, C) here, channels last, as in the paper's code. LayerNorm's eps is 1e-5. Parameter names are timm's.
At every image size the numbers are those of `torchvision.models.swin_t`; timm rolls before it pads, and so agrees only
where the windows fit (multiples of 224 for Swin-T).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from solutions.vision_transformer import DropPath, Mlp


def window_partition(x: Tensor, window: int) -> Tensor:
    """Cut maps into windows (Liu et al. 2021, section 3.2).

    Args:
        x: maps, (B, H, W, C).
        window: M, the side of a window in tokens.

    Returns:
        Windows, (B·nW, M, M, C), with nW = HW/M²: all windows of the first map, row by row,
        then those of the next.

    Raises:
        ValueError: M does not divide H and W.
    """
    ### BEGIN SOLUTION
    height, width = x.shape[1:3]
    if height % window or width % window:
        raise ValueError(f"windows of side {window} do not fill a map of {height}×{width}")
    return rearrange(x, "b (h r) (w c) d -> (b h w) r c d", r=window, c=window)
    ### END SOLUTION


def window_reverse(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Put windows back in their places: the inverse of `window_partition`.

    Args:
        windows: (B·nW, M, M, C), in the order in which `window_partition` gives them.
        window: M.
        height, width: H and W of the map.

    Returns:
        Maps, (B, H, W, C).
    """
    ### BEGIN SOLUTION
    return rearrange(windows, "(b h w) r c d -> b (h r) (w c) d", h=height // window, w=width // window)
    ### END SOLUTION


def cyclic_shift(x: Tensor, shift: tuple[int, int]) -> Tensor:
    """Move maps up and to the left; what leaves at the top or left comes in again at the bottom or right.

    Args:
        x: maps, (B, H, W, C).
        shift: (s_h, s_w), by how many tokens up and by how many to the left.

    Returns:
        Maps, (B, H, W, C): the token at row i and column j was at row i + s_h and column j + s_w.
    """
    ### BEGIN SOLUTION
    return torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
    ### END SOLUTION


def reverse_shift(x: Tensor, shift: tuple[int, int]) -> Tensor:
    """Undo `cyclic_shift` by the same `shift`: maps (B, H, W, C) to maps (B, H, W, C)."""
    ### BEGIN SOLUTION
    return torch.roll(x, shift, dims=(1, 2))
    ### END SOLUTION


def shift_mask(height: int, width: int, window: int, shift: tuple[int, int]) -> Tensor:
    """Say which tokens of a window may look at each other after `cyclic_shift` (Liu et al. 2021, figure 4).

    Two tokens of one window may look at each other if they were not brought together by the
    roll alone: both came around from the top or neither did, and both came around from the
    left or neither did.

    Args:
        height, width: H and W of the map, multiples of M.
        window: M.
        shift: (s_h, s_w) of the cyclic shift. A side with shift 0 needs no mask.

    Returns:
        (nW, M², M²): one table for each window, windows row by row, tokens row by row; rows are
        queries, columns are keys. To be added to the scores: 0 where the query may look, −100,
        −1e9 or −inf where not. A bool table is as good: True where the query may look.
    """
    ### BEGIN SOLUTION
    came_from_top = torch.arange(height) >= height - shift[0]  # (H,)
    came_from_left = torch.arange(width) >= width - shift[1]  # (W,)
    region = 2 * came_from_top[:, None].int() + came_from_left  # (H, W), numbers 0 to 3
    region = rearrange(region, "(h r) (w c) -> (h w) (r c)", r=window, c=window)  # (nW, M²)
    same = region[:, :, None] == region[:, None, :]  # (nW, M², M²)
    return torch.zeros(same.shape).masked_fill(~same, float("-inf"))
    ### END SOLUTION


def relative_position_index(window: tuple[int, int]) -> Tensor:
    """Number the offsets between the tokens of a window (Liu et al. 2021, eq. 4).

    The offset from the key at (row k, column l) to the query at (row i, column j) is
    (i − k, j − l). It runs from −(Wh − 1) to Wh − 1 and from −(Ww − 1) to Ww − 1. Offsets are
    numbered row by row from 0.

    Args:
        window: (Wh, Ww), rows and columns of the window; they may differ.

    Returns:
        int64, (Wh·Ww, Wh·Ww): for each query (row) and key (column) the number of their offset,
        from 0 to (2·Wh − 1)·(2·Ww − 1) − 1. Tokens are counted row by row.
    """
    ### BEGIN SOLUTION
    tall, wide = window
    row = torch.arange(tall).repeat_interleave(wide)  # (N,) row of each token
    column = torch.arange(wide).repeat(tall)  # (N,) column of each token
    down = row[:, None] - row[None, :] + tall - 1  # (N, N), 0 ... 2·Wh − 2
    across = column[:, None] - column[None, :] + wide - 1  # (N, N), 0 ... 2·Ww − 2
    return down * (2 * wide - 1) + across
    ### END SOLUTION


def attention_by_hand(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d + bias + mask) v in every window (Liu et al. 2021, eq. 4).

    q, k, v: (B, nW, h, N, d). bias: (h, N, N), the same in every window.
    mask: (nW, N, N), the same for every head.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, nW, h, N, N)
    scores = scores + bias
    if mask is not None:
        scores = scores + mask[:, None]  # (nW, 1, N, N)
    return scores.softmax(dim=-1) @ v  # (B, nW, h, N, d)


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias for each offset (Liu et al. 2021, eq. 4).

    Args:
        dim: C, the width of a token.
        window_size: (Wh, Ww); a window holds N = Wh·Ww tokens.
        num_heads: h; must divide C, otherwise `ValueError`.

    The names of the parameters count: they are timm's.
    """

    relative_position_index: Tensor  # (N, N), a buffer: it moves with the module, and is never learned

    def __init__(self, dim: int, window_size: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide a width of {dim}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)  # its output holds q, then k, then v; each of them head after head
        self.proj = nn.Linear(dim, dim)
        offsets = (2 * window_size[0] - 1) * (2 * window_size[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window_size), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside each window.

        Args:
            x: windows, (B·nW, N, C), map after map.
            mask: (nW, N, N), added to the scores, the same for every map and head; or None.

        Returns:
            (B·nW, N, C)
        """
        ### BEGIN SOLUTION
        bias = self.relative_position_bias_table[self.relative_position_index]  # (N, N, h)
        bias = bias.permute(2, 0, 1)[None]  # (1, h, N, N)
        if mask is not None:
            bias = bias + mask[:, None].to(bias)  # (nW, h, N, N)
        # Windows that share a table are folded into the batch, windows that do not into the heads.
        split = "(b w) n (three h d) -> three b (w h) n d"
        q, k, v = rearrange(self.qkv(x), split, three=3, w=len(bias), h=self.num_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.flatten(0, 1)[None])  # (b, w·h, N, d)
        return self.proj(rearrange(mixed, "b (w h) n d -> (b w) n (h d)", w=len(bias)))
        ### END SOLUTION


class PatchMerging(nn.Module):
    """Halve the map, double the width (Liu et al. 2021, section 3.1): four neighbours become one token.

    Args:
        dim: C of the incoming map. `norm` works on 4C numbers, `reduction` turns 4C into 2C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=1e-5)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to maps (B, ⌈H/2⌉, ⌈W/2⌉, 2C): join neighbours, `norm`, `reduction`.

        The 4C numbers come in the order of torchvision and timm: top left, bottom left, top right,
        bottom right, each with its C channels. Where H or W is odd, a row of zeros is added at the
        bottom or a column at the right.
        """
        ### BEGIN SOLUTION
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = rearrange(x, "b (h r) (w c) d -> b h w (c r d)", r=2, c=2)  # (B, H/2, W/2, 4C)
        return self.reduction(self.norm(x))
        ### END SOLUTION


@lru_cache(maxsize=64)
def cached_mask(
    build: Callable[..., Tensor], height: int, width: int, window: int, shift: tuple[int, int], device: torch.device
) -> Tensor | None:
    """The mask `build(height, width, window, shift)` to be added to the scores; None without a shift.

    Every size has a mask of its own, made once. `build` is part of the key: a corrected
    function gets no old masks.
    """
    if shift == (0, 0):
        return None
    with torch.inference_mode(False):  # a mask made during inference must serve in training too
        mask = build(height, width, window, shift).to(device)
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, device=device).masked_fill(~mask, -torch.inf)
        return mask


class SwinBlock(nn.Module):
    """One Swin block: attention in windows, regular or shifted, then an MLP (Liu et al. 2021, eq. 3).

    Args:
        dim: C.
        num_heads: h.
        window_size: M.
        shifted: whether the windows are moved by M // 2 (SW-MSA) or not (W-MSA).
        mlp_ratio: width of the MLP's hidden layer, in multiples of C.
        drop_path: probability of stochastic depth.
    """

    def __init__(
        self, dim: int, num_heads: int, window_size: int = 7, shifted: bool = False, mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.window_size = window_size
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.attn = WindowAttention(dim, (window_size, window_size), num_heads)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path2 = DropPath(drop_path)

    def shift(self, height: int, width: int) -> tuple[int, int]:
        """(s_h, s_w) on a padded map of H×W: M // 2, but 0 along a side that one window covers."""
        half = self.window_size // 2 if self.shifted else 0
        return (half if height > self.window_size else 0, half if width > self.window_size else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to maps (B, H, W, C), for any H and W.

        The normed map gets rows of zeros at the bottom and columns of zeros at the right until M
        divides both sides; they are cut off again after the shift has been undone.
        """
        ### BEGIN SOLUTION
        M, (height, width) = self.window_size, x.shape[1:3]
        y = F.pad(self.norm1(x), (0, 0, 0, -width % M, 0, -height % M))  # (B, H', W', C), M divides H' and W'
        tall, wide = y.shape[1:3]
        shift = self.shift(tall, wide)
        windows = window_partition(cyclic_shift(y, shift), M).flatten(1, 2)  # (B·nW, M², C)
        windows = self.attn(windows, cached_mask(shift_mask, tall, wide, M, shift, x.device))
        y = window_reverse(windows.unflatten(1, (M, M)), M, tall, wide)  # (B, H', W', C)
        x = x + self.drop_path1(reverse_shift(y, shift)[:, :height, :width])
        return x + self.drop_path2(self.mlp(self.norm2(x)))
        ### END SOLUTION


def make_blocks(
    dim: int, depth: int, num_heads: int, window_size: int = 7, drop_path: tuple[float, ...] | None = None
) -> nn.Sequential:
    """The blocks of one stage: regular windows first, then shifted, and so on in turn (Liu et al. 2021, figure 3b).

    Args:
        dim, num_heads, window_size: as in `SwinBlock`.
        depth: how many blocks.
        drop_path: the probability of stochastic depth of each block; None for 0.

    Returns:
        `nn.Sequential` of `depth` blocks with weights of their own.
    """
    rates = drop_path or (0.0,) * depth
    ### BEGIN SOLUTION
    return nn.Sequential(
        *(SwinBlock(dim, num_heads, window_size, shifted=i % 2 == 1, drop_path=rates[i]) for i in range(depth))
    )
    ### END SOLUTION


class SwinPatchEmbed(nn.Module):
    """Patches of P×P pixels to a map of normed tokens.

    A rest narrower than P at the bottom or right is left out, as in torchvision.
    """

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to maps (B, H/P, W/P, C)."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class SwinStage(nn.Module):
    """Patch merging (except in the first stage), then blocks."""

    def __init__(
        self, dim: int, depth: int, num_heads: int, window_size: int, merge: bool, drop_path: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.downsample = PatchMerging(dim // 2) if merge else nn.Identity()
        self.blocks = make_blocks(dim, depth, num_heads, window_size, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C/2) to (B, H/2, W/2, C); in the first stage (B, H, W, C) to the same."""
        return self.blocks(self.downsample(x))


class SwinTransformer(nn.Module):
    """Swin Transformer (Liu et al. 2021), with timm's parameter names; the defaults are Swin-T.

    Args:
        patch_size: P.
        in_chans: channels of the image.
        num_classes: number of classes.
        embed_dim: C of the first stage; it doubles from stage to stage.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        window_size: M.
        drop_path: the last block's probability of stochastic depth; it grows linearly from 0.
    """

    def __init__(
        self,
        patch_size: int = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: int = 7,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        self.patch_embed = SwinPatchEmbed(patch_size, in_chans, embed_dim)
        rates = [drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
        stages = []
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            own = tuple(rates[sum(depths[:i]) :][:depth])
            stages.append(SwinStage(embed_dim * 2**i, depth, heads, window_size, i > 0, own))
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(embed_dim * 2 ** (len(depths) - 1), eps=1e-5)
        self.head = nn.Linear(embed_dim * 2 ** (len(depths) - 1), num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Images to the map of every stage, (B, H/4, W/4, C), (B, H/8, W/8, 2C), ..., not normed."""
        x = self.patch_embed(x)
        return [x := stage(x) for stage in self.layers]

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the last stage's normed map (B, H/32, W/32, 8C)."""
        return self.norm(self.layers(self.patch_embed(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, classes): the mean token, then the head."""
        return self.head(self.forward_features(x).mean(dim=(1, 2)))


@dataclass(frozen=True)
class SwinPreset:
    """What differs between the published sizes (Liu et al. 2021, section 3.3)."""

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]


PRESETS = {
    "swin_t": SwinPreset(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": SwinPreset(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": SwinPreset(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


def swin(name: str = "swin_t", num_classes: int = 1000, drop_path: float = 0.2) -> SwinTransformer:
    """A Swin of a published size: "swin_t", "swin_s" or "swin_b"; another name raises `KeyError`."""
    preset = PRESETS[name]
    return SwinTransformer(
        num_classes=num_classes, embed_dim=preset.embed_dim, depths=preset.depths, num_heads=preset.num_heads,
        drop_path=drop_path,
    )  # fmt: skip


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `torchvision.models.swin_t` (or _s, _b) under this model's names.

    torchvision counts embedding, stages and mergings in one list, `features`: 0 the embedding
    (0 convolution, 2 norm); 1, 3, 5, 7 the stages; 2, 4, 6 the mergings, which here begin the next
    stage. The MLP's layers are `mlp.0` and `mlp.3`. The buffers `relative_position_index` are left
    out: they are computed.
    """
    renamed = {}
    for key, value in state.items():
        if key.endswith("relative_position_index"):
            continue
        if key.startswith("features."):
            number, rest = key.removeprefix("features.").split(".", 1)
            stage, merging = divmod(int(number), 2)
            if number == "0":
                key = "patch_embed." + rest.replace("0.", "proj.").replace("2.", "norm.")
            elif merging:  # odd numbers are stages
                rest = rest.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
                key = f"layers.{stage}.blocks.{rest}"
            else:
                key = f"layers.{stage}.downsample.{rest}"
        renamed[key] = value
    return renamed
