"""Lesson 05: DeiT, a Vision Transformer that learns from a convolutional teacher."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from solutions.vision_transformer import VisionTransformer


def smooth_labels(labels: Tensor, num_classes: int, epsilon: float = 0.1) -> Tensor:
    """Turn class numbers into label-smoothed target probabilities (Szegedy et al. 2016, section 7).

    The true class gives up ε, and ε is shared out evenly over *all* K classes, the true one included: it keeps
    1 − ε + ε/K. (Some codes share it over the K − 1 wrong classes only; PyTorch, timm and this course do not.)

    Args:
        labels: class numbers, (B,) int64.
        num_classes: K.
        epsilon: ε, 0 ≤ ε ≤ 1; 0 gives one-hot targets.

    Returns:
        Target probabilities, (B, K), floating point; each row sums to 1.
    """
    ### BEGIN SOLUTION
    one_hot = F.one_hot(labels, num_classes).to(torch.get_default_dtype())  # (B, K)
    return one_hot * (1 - epsilon) + epsilon / num_classes
    ### END SOLUTION


def mixup(images: Tensor, targets: Tensor, lam: float, permutation: Tensor) -> tuple[Tensor, Tensor]:
    """Blend every picture, and its target, with a partner from the same batch (Zhang et al. 2018, eq. 1).

    Picture i becomes λ · picture i + (1 − λ) · picture permutation[i]. Its target is blended in the same way.

    Args:
        images: (B, C, H, W).
        targets: target probabilities, (B, K).
        lam: λ, the share of the picture itself, 0 ≤ λ ≤ 1.
        permutation: the number of each picture's partner, (B,) int64.

    Returns:
        Blended images, (B, C, H, W), and blended targets, (B, K). The inputs stay as they were.
    """
    ### BEGIN SOLUTION
    mixed = lam * images + (1 - lam) * images[permutation]
    return mixed, lam * targets + (1 - lam) * targets[permutation]
    ### END SOLUTION


def ask_teacher(teacher: nn.Module, images: Tensor) -> Tensor:
    """The teacher's logits for a batch of pictures.

    The teacher is only asked, never trained: it runs in evaluation mode (batch norm uses its stored statistics and
    leaves them alone, dropout is off) and no gradient is recorded. `teacher` may arrive in either mode and may stay
    in evaluation mode afterwards.

    Args:
        teacher: a trained classifier, images (B, C, H, W) to logits (B, K).
        images: (B, C, H, W), the same augmented pictures that the student sees.

    Returns:
        Logits, (B, K), that need no gradient.
    """
    ### BEGIN SOLUTION
    teacher.eval()
    with torch.no_grad():
        return teacher(images)
    ### END SOLUTION


def soft_distillation_loss(
    class_logits: Tensor,
    dist_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float = 3.0,
    lam: float = 0.1,
) -> Tensor:
    """Soft distillation, (1 − λ) CE(Z_cls, y) + λ T² KL(softmax(Z_t / T) ‖ softmax(Z_dist / T)) (DeiT, eq. 2).

    The class token's logits meet the labels, at temperature 1. The distillation token's logits meet the teacher, at
    temperature T on both sides. The Kullback–Leibler divergence is summed over the classes and averaged over the batch
    (`batchmean`; DeiT's published code also divides by the number of classes). No gradient flows to the teacher.

    Args:
        class_logits: Z_cls, the student's class head, (B, K).
        dist_logits: Z_dist, the student's distillation head, (B, K).
        teacher_logits: Z_t, (B, K).
        labels: y, class numbers (B,), or target probabilities (B, K); `F.cross_entropy` takes both.
        temperature: T > 0.
        lam: λ in 0..1, the weight of the teacher.

    Returns:
        The loss, a scalar.
    """
    ### BEGIN SOLUTION
    student = F.log_softmax(dist_logits / temperature, dim=-1)  # (B, K)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)  # (B, K)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - lam) * F.cross_entropy(class_logits, labels) + lam * temperature**2 * divergence
    ### END SOLUTION


def hard_distillation_loss(class_logits: Tensor, dist_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Hard distillation, ½ CE(Z_cls, y) + ½ CE(Z_dist, y_t) with y_t = argmax Z_t (DeiT, eq. 3).

    The teacher's decision is treated as a second true label. No temperature, no λ, nothing to tune.

    Args:
        class_logits: Z_cls, the student's class head, (B, K).
        dist_logits: Z_dist, the student's distillation head, (B, K).
        teacher_logits: Z_t, (B, K).
        labels: y, class numbers (B,), or target probabilities (B, K); `F.cross_entropy` takes both.

    Returns:
        The loss, a scalar, averaged over the batch.
    """
    ### BEGIN SOLUTION
    decisions = teacher_logits.argmax(dim=-1)  # (B,)
    return 0.5 * F.cross_entropy(class_logits, labels) + 0.5 * F.cross_entropy(dist_logits, decisions)
    ### END SOLUTION


class DistilledVisionTransformer(VisionTransformer):
    """A Vision Transformer with a distillation token (Touvron et al. 2021, section 4), with timm's parameter names.

    The tokens stand in the order class, distillation, patches. The names below count: published weights are found by
    them.

    Args:
        img_size: side of the square training image, or (H, W), in pixels.
        patch_size: P.
        in_chans: C.
        num_classes: K.
        embed_dim: D.
        depth: L.
        num_heads: h.
        drop_path: the last block's probability of stochastic depth; it grows linearly from 0.
    """

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
        super().__init__(
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            num_classes=num_classes,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            drop_path=drop_path,
        )
        patches = self.pos_embed.shape[1] - 1  # N
        self.dist_token = nn.Parameter(torch.randn(1, 1, embed_dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, patches + 2, embed_dim) * 0.02)
        self.head_dist = nn.Linear(embed_dim, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to normed tokens (B, 2 + N, D): class token, distillation token, patches."""
        x = self.patch_embed(x)  # (B, N, D)
        ### BEGIN SOLUTION
        cls = self.cls_token.expand(x.shape[0], -1, -1)  # (B, 1, D)
        dist = self.dist_token.expand(x.shape[0], -1, -1)  # (B, 1, D)
        x = torch.cat([cls, dist, x], dim=1) + self.pos_embed  # (B, 2 + N, D)
        ### END SOLUTION
        return self.norm(self.blocks(x))

    def forward(self, x: Tensor) -> Any:
        """Images (B, C, H, W) to logits.

        Returns:
            In training mode the pair (class logits, distillation logits), each (B, K): each meets its own loss.
            In evaluation mode the mean of the two logits, (B, K), as in DeiT's published code and timm.
        """
        x = self.forward_features(x)  # (B, 2 + N, D)
        ### BEGIN SOLUTION
        class_logits, dist_logits = self.head(x[:, 0]), self.head_dist(x[:, 1])  # (B, K) each
        return (class_logits, dist_logits) if self.training else (class_logits + dist_logits) / 2
        ### END SOLUTION


class Residual(nn.Module):
    """Two 3×3 convolutions with batch norm around a skip connection (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(out)))


def conv_teacher(num_classes: int = 12, width: int = 24) -> nn.Sequential:
    """A small residual CNN: three stages, each halves the grid and widens the channels. Images to logits (B, K)."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(3):
        out = width * 2**stage
        layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [Residual(out)]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def strong_augment(images: Tensor, group: int = 16) -> Tensor:
    """RandAugment (2 operations, magnitude 9), then Random Erasing (a quarter of the pictures), as DeiT uses them.

    torchvision draws one set of operations per call. Here `group` pictures share one draw, which is far quicker than
    one call per picture. images (B, C, H, W) in 0..1 to the same shape.
    """
    rand_augment = v2.RandAugment(num_ops=2, magnitude=9)
    erase = v2.RandomErasing(p=0.25, value=0.5)
    augmented = torch.cat([rand_augment(part) for part in images.split(group)])
    return torch.stack([erase(picture) for picture in augmented])
