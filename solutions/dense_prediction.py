"""Lesson 08: a class for every pixel, from a ViT's tokens and from a Swin's pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from solutions.swin_windows import SwinTransformer
from solutions.vision_transformer import VisionTransformer


def tokens_to_grid(tokens: Tensor, grid: tuple[int, int], num_prefix_tokens: int = 1) -> Tensor:
    """Put patch tokens back where their patches were.

    Args:
        tokens: (B, E + h·w, D), E extra tokens first, such as the class token, then the patches in
            reading order.
        grid: (h, w), rows and columns of patches.
        num_prefix_tokens: E; they belong to no place and are left out.

    Returns:
        (B, D, h, w), a feature map as convolutions take it.

    Raises:
        ValueError: the number of tokens is not E + h·w.
    """
    ### BEGIN SOLUTION
    rows, columns = grid
    if tokens.shape[1] != num_prefix_tokens + rows * columns:
        raise ValueError(f"{tokens.shape[1]} tokens are not {num_prefix_tokens} + {rows}·{columns}")
    return rearrange(tokens[:, num_prefix_tokens:], "b (h w) d -> b d h w", h=rows, w=columns)
    ### END SOLUTION


class LinearHead(nn.Module):
    """A class score for every pixel from one feature map: a 1×1 convolution, then bilinear upsampling
    (the linear decoder of Strudel et al. 2021, section 3.2).

    Args:
        in_dim: channels of the feature map.
        num_classes: classes, background included.
    """

    def __init__(self, in_dim: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(in_dim, num_classes, kernel_size=1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Features (B, D, h, w) to logits (B, classes, *size): classify, then upsample, align_corners=False."""
        ### BEGIN SOLUTION
        return F.interpolate(self.classify(features), size=size, mode="bilinear", align_corners=False)
        ### END SOLUTION


class FPNHead(nn.Module):
    """Class scores from a pyramid of feature maps, joined from coarse to fine: the top-down path of FPN
    (Lin et al. 2017, section 3), its levels summed at the finest resolution (Kirillov et al. 2019,
    Panoptic FPN, section 3.1).

    Args:
        in_dims: channels of each level, finest level first.
        dim: channels inside the head.
        num_classes: classes, background included.
    """

    def __init__(self, in_dims: Sequence[int], dim: int, num_classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, dim, kernel_size=1) for channels in in_dims)
        self.smooth = nn.ModuleList(nn.Conv2d(dim, dim, kernel_size=3, padding=1) for _ in in_dims)
        self.classify = nn.Conv2d(dim, num_classes, kernel_size=1)

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Join feature maps, finest first, level i (B, in_dims[i], h_i, w_i), to logits (B, classes, *size).

        1. Every level goes through its `lateral` convolution.
        2. From the coarsest level down, each joined level is upsampled (nearest) to the next finer one
           and added to it.
        3. Every joined level goes through its `smooth` convolution and ReLU, is upsampled (bilinear) to
           the finest level, and all are summed.
        4. `classify`, then bilinear upsampling to `size`. All bilinear upsampling has align_corners=False.
        """

        ### BEGIN SOLUTION
        def up(x: Tensor, size: Sequence[int]) -> Tensor:
            return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)

        levels = [lateral(x) for lateral, x in zip(self.lateral, pyramid, strict=True)]  # (B, dim, h_i, w_i)
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + F.interpolate(levels[i], size=levels[i - 1].shape[-2:], mode="nearest")
        finest = levels[0].shape[-2:]
        smoothed = [smooth(x).relu() for smooth, x in zip(self.smooth, levels, strict=True)]
        joined = torch.stack([up(x, finest) for x in smoothed]).sum(0)  # (B, dim, h_0, w_0)
        return up(self.classify(joined), size)
        ### END SOLUTION


def simple_pyramid(features: Tensor, levels: int = 3) -> list[Tensor]:
    """A pyramid from one map (after Li et al. 2022, ViTDet, section 3, without learned layers).

    Args:
        features: (B, D, h, w).
        levels: how many maps; level 0 is `features` itself.

    Returns:
        Level i is `features` average-pooled over squares of side 2^i: (B, D, h/2^i, w/2^i), rounded down.
    """
    ### BEGIN SOLUTION
    return [F.avg_pool2d(features, kernel_size=2**i, stride=2**i) for i in range(levels)]
    ### END SOLUTION


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Count pixels by their true and their predicted class.

    Args:
        prediction: predicted classes, (B, H, W), integers.
        target: true classes, (B, H, W), integers; `ignore_index` marks pixels that do not count.
        num_classes: K.

    Returns:
        (K, K) int64; row t, column p counts the pixels of class t that were predicted as p.
    """
    ### BEGIN SOLUTION
    counted = target != ignore_index
    pairs = target[counted].long() * num_classes + prediction[counted].long()  # (t, p) → its own number
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    ### END SOLUTION


def mean_iou(confusion: Tensor) -> float:
    """Mean intersection over union (mIoU) from a confusion matrix, in 0..1 (Everingham et al. 2010).

    The IoU of a class is: pixels that are and were called this class, over pixels that are or were
    called this class. The mean runs over the classes that occur in the target or the prediction; a class
    that occurs in neither has no IoU and does not count. With no class at all the result is nan.
    """
    ### BEGIN SOLUTION
    confusion = confusion.double()
    intersection = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - intersection
    occurs = union > 0
    return float((intersection[occurs] / union[occurs]).mean())
    ### END SOLUTION


class ViTSegmenter(nn.Module):
    """A ViT whose patch tokens become a map, and a head on it.

    Args:
        backbone: lesson 04's model.
        num_classes: classes, background included.
        pyramid_dim: None for a `LinearHead`; otherwise the width of an `FPNHead` on a `simple_pyramid`
            of three levels.
    """

    def __init__(self, backbone: VisionTransformer, num_classes: int, pyramid_dim: int | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        dim = backbone.norm.normalized_shape[0]
        self.pyramid = pyramid_dim is not None
        self.head = FPNHead([dim] * 3, pyramid_dim, num_classes) if pyramid_dim else LinearHead(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes, H, W)."""
        size, patch = x.shape[-2:], self.backbone.patch_embed.patch_size
        tokens = self.backbone.forward_features(x)  # (B, 1 + N, D)
        features = tokens_to_grid(tokens, (size[0] // patch, size[1] // patch))  # (B, D, H/P, W/P)
        return self.head(simple_pyramid(features) if self.pyramid else features, size)


class SwinSegmenter(nn.Module):
    """A Swin with an `FPNHead` on the maps of all its stages.

    Args:
        backbone: lesson 06's model.
        num_classes: classes, background included.
        pyramid_dim: width of the head.
    """

    def __init__(self, backbone: SwinTransformer, num_classes: int, pyramid_dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        stages = len(backbone.layers)
        first = backbone.head.in_features // 2 ** (stages - 1)
        dims = [first * 2**i for i in range(stages)]
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims)  # as in Swin's own segmentation code
        self.head = FPNHead(dims, pyramid_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes, H, W)."""
        maps = self.backbone.feature_maps(x)  # finest first, (B, h_i, w_i, C·2^i)
        pyramid = [rearrange(norm(m), "b h w c -> b c h w") for norm, m in zip(self.norms, maps, strict=True)]
        return self.head(pyramid, x.shape[-2:])
