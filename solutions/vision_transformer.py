"""Lesson 04: the Vision Transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from solutions.attention import Attention
from solutions.embeddings import PatchEmbed


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, applied to every token alone (Vaswani et al. 2017, eq. 2).

    The GELU is the exact one, x · Φ(x) with Φ the normal distribution function (Hendrycks and Gimpel 2016), not its
    tanh approximation.

    Args:
        dim: D, the width of a token.
        hidden_dim: the width between the layers, in ViT 4D.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D)."""
        ### BEGIN SOLUTION
        return self.fc2(F.gelu(self.fc1(x)))  # (B, N, D) → (B, N, hidden) → (B, N, D)
        ### END SOLUTION


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, a sample loses its whole branch with probability `drop_prob`.

    Args:
        drop_prob: in [0, 1), otherwise `ValueError`.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= drop_prob < 1.0:
            raise ValueError(f"drop_prob must lie in [0, 1), got {drop_prob}")
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """A branch's output (B, ...) to the same shape.

        In training every sample of the batch is kept with probability 1 − drop_prob and then divided by it, or set to
        zero as a whole. In evaluation, and where drop_prob is 0, x comes back as it is.
        """
        ### BEGIN SOLUTION
        if not self.training or self.drop_prob == 0.0:
            return x
        keep = 1.0 - self.drop_prob
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)  # (B, 1, ..., 1): one coin per sample
        return x * mask / keep
        ### END SOLUTION


class Block(nn.Module):
    """One pre-norm encoder block (Dosovitskiy et al. 2021, eqs. 2 and 3).

    Args:
        dim: D.
        num_heads: h.
        mlp_ratio: hidden width of the MLP as a multiple of D.
        drop_path: probability of stochastic depth for each of the two branches.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens (B, N, D)."""
        ### BEGIN SOLUTION
        x = x + self.drop_path1(self.attn(self.norm1(x)))  # tokens exchange
        return x + self.drop_path2(self.mlp(self.norm2(x)))  # each token thinks alone
        ### END SOLUTION


class VisionTransformer(nn.Module):
    """The Vision Transformer (Dosovitskiy et al. 2021, eqs. 1 to 4), with timm's parameter names.

    Args:
        img_size: side of the square training image, or (H, W), in pixels.
        patch_size: P.
        in_chans: C.
        num_classes: number of classes.
        embed_dim: D.
        depth: L.
        num_heads: h.
        drop_path: the last block's probability of stochastic depth; it grows linearly from 0 in the first.
    """

    global_pool = "token"  # what the head reads: "token", the class token, or "avg", the mean of the patch tokens

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        patches = (height // patch_size) * (width // patch_size)  # N
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + patches, embed_dim) * 0.02)
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]  # 0 in the first block, drop_path in the last
        ### BEGIN SOLUTION
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads, drop_path=rate) for rate in rates))
        ### END SOLUTION
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to normed tokens (B, 1 + N, D), the class token first."""
        ### BEGIN SOLUTION
        x = self.patch_embed(x)  # (B, N, D)
        cls = self.cls_token.expand(x.shape[0], -1, -1)  # (B, 1, D)
        x = torch.cat([cls, x], dim=1) + self.pos_embed  # (B, 1 + N, D)
        return self.norm(self.blocks(x))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes), read from the class token or the mean of the patch tokens."""
        ### BEGIN SOLUTION
        x = self.forward_features(x)  # (B, 1 + N, D)
        x = x[:, 1:].mean(dim=1) if self.global_pool == "avg" else x[:, 0]  # (B, D)
        return self.head(x)
        ### END SOLUTION


@dataclass(frozen=True)
class ViTConfig:
    """The numbers that make a Vision Transformer; the defaults are ViT-B/16. The MLP's hidden width is always 4D."""

    img_size: int = 224  # H = W, in pixels
    patch_size: int = 16  # P
    in_chans: int = 3  # C
    num_classes: int = 1000  # K
    embed_dim: int = 768  # D
    depth: int = 12  # L
    num_heads: int = 12  # h
    drop_path: float = 0.0


# Dosovitskiy et al. 2021, table 1, and Touvron et al. 2021, table 1.
PRESETS = {
    "Ti/16": ViTConfig(embed_dim=192, num_heads=3),
    "S/16": ViTConfig(embed_dim=384, num_heads=6),
    "B/16": ViTConfig(embed_dim=768, num_heads=12),
    "L/16": ViTConfig(embed_dim=1024, depth=24, num_heads=16),
    "H/14": ViTConfig(embed_dim=1280, depth=32, num_heads=16, patch_size=14),
}


def create(name: str, **changes: int | float) -> VisionTransformer:
    """A preset by name, with some of its numbers changed: create("Ti/16", num_classes=10)."""
    return VisionTransformer(**asdict(replace(PRESETS[name], **changes)))  # type: ignore[arg-type]


def count_parameters(config: ViTConfig) -> int:
    """How many numbers a `VisionTransformer` of this config learns, by formula, without building it.

    Counts weights and biases of every layer, the class token, the positions and the head.
    """
    ### BEGIN SOLUTION
    D, patches = config.embed_dim, (config.img_size // config.patch_size) ** 2
    embedding = (config.patch_size**2 * config.in_chans + 1) * D + D + (1 + patches) * D  # patches, class, positions
    attention = (D + 1) * 3 * D + (D + 1) * D  # qkv, proj
    mlp = (D + 1) * 4 * D + (4 * D + 1) * D  # fc1, fc2
    block = attention + mlp + 2 * 2 * D  # and two norms
    return embedding + config.depth * block + 2 * D + (D + 1) * config.num_classes
    ### END SOLUTION


class ConvStem(nn.Module):
    """Tokens from a stack of small convolutions in place of one large patch (Xiao et al. 2021, section 4).

    Each of the three stages is a 3×3 convolution of stride 2, batch norm and ReLU; a 1×1 convolution then sets the
    width. H×W pixels become ⌈H/8⌉×⌈W/8⌉ tokens.

    Args:
        in_chans: C.
        embed_dim: D; the stages have D/4, D/2 and D channels.
    """

    def __init__(self, in_chans: int = 3, embed_dim: int = 768) -> None:
        super().__init__()
        widths = [in_chans, embed_dim // 4, embed_dim // 2, embed_dim]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        self.proj = nn.Conv2d(embed_dim, embed_dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to tokens (B, N, D) in reading order, as `PatchEmbed` gives them."""
        ### BEGIN SOLUTION
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()  # (B, channels, H/2, W/2), (…, H/4, W/4), (…, H/8, W/8)
        return rearrange(self.proj(x), "b d h w -> b (h w) d")
        ### END SOLUTION


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a torchvision ViT to timm's names, which `VisionTransformer` uses.

    Nothing but names changes: torchvision's `nn.MultiheadAttention` packs query, key and value into `in_proj_weight`
    in the order (q, k, v), rows of one head together, as our `qkv` does.
    """
    renamed = {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj": "patch_embed.proj",
        "encoder.layers.encoder_layer_": "blocks.",
        "ln_1": "norm1",
        "self_attention.in_proj_": "attn.qkv.",
        "self_attention.out_proj": "attn.proj",
        "ln_2": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
        "encoder.ln": "norm",
        "heads.head": "head",
    }
    result = {}
    for name, value in state.items():
        for theirs, ours in renamed.items():
            name = name.replace(theirs, ours)
        result[name] = value
    return result


def read_out_only(model: VisionTransformer, images: Tensor) -> Tensor:
    """The same logits as `model(images)` for "token" read-out in evaluation, with less work in the last block.

    The head reads only the class token, so the last block needs only that token's query, and its MLP only that
    token. Keys and values still come from all tokens. Exact, not an approximation.
    """
    x = model.patch_embed(images)
    x = torch.cat([model.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + model.pos_embed
    blocks: list[Any] = list(model.blocks)
    for block in blocks[:-1]:
        x = block(x)
    last = blocks[-1]
    normed, attn = last.norm1(x), last.attn  # (B, 1 + N, D)
    weight_q, weight_kv = attn.qkv.weight.tensor_split([x.shape[-1]])
    bias_q, bias_kv = attn.qkv.bias.tensor_split([x.shape[-1]])
    q = rearrange(F.linear(normed[:, :1], weight_q, bias_q), "b n (h d) -> b h n d", h=attn.num_heads)  # (B, h, 1, d)
    k, v = rearrange(F.linear(normed, weight_kv, bias_kv), "b n (two h d) -> two b h n d", two=2, h=attn.num_heads)
    x = x[:, :1] + attn.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
    x = x + last.mlp(last.norm2(x))  # (B, 1, D)
    return model.head(model.norm(x)[:, 0])
