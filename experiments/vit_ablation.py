"""What each part of a Vision Transformer is worth, and how much data it wants: the log behind lesson 04.

Trains small ViTs on Fashion-MNIST (10 000 pictures, 28×28, patch 7, D = 64, h = 4), each for the same number of
steps, over several seeds, and writes `vitcourse/assets/logs/vit_ablation.json`. A seed decides the initial weights and
the order of the pictures. One thread; about 3 CPU minutes a seed.

    python experiments/vit_ablation.py --seeds 0 1
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from solutions.vision_transformer import Block, VisionTransformer
from vitcourse.data import ImageData, fashion_mnist
from vitcourse.training import accuracy, fit

LOG = Path(__file__).parents[1] / "vitcourse" / "assets" / "logs" / "vit_ablation.json"
STEPS, BATCH, LR = 300, 100, 3e-3


class PostNormBlock(Block):
    """The order of the first Transformer (Vaswani et al. 2017): sum, then norm."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


class FirstPatch(VisionTransformer):
    """No read-out token and no mean: the head reads the patch in the top left corner."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x)[:, 1])


class Nothing(nn.Module):
    """Stands where a branch would add something."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def vit(kind: type[VisionTransformer] = VisionTransformer, depth: int = 4) -> VisionTransformer:
    return kind(img_size=28, patch_size=7, in_chans=1, num_classes=10, embed_dim=64, depth=depth, num_heads=4)


def mean_pool() -> VisionTransformer:
    model = vit()
    model.global_pool = "avg"
    return model


def no_positions() -> VisionTransformer:
    model = vit()
    nn.init.zeros_(model.pos_embed).requires_grad_(False)
    return model


def no_attention() -> VisionTransformer:
    """Mean-pool, and the attention branches return zero: tokens never meet before the mean."""
    model = mean_pool()
    for block in model.blocks:
        block.drop_path1 = Nothing()
        block.attn.requires_grad_(False)
    return model


def post_norm(depth: int = 4) -> VisionTransformer:
    model = vit(depth=depth)
    model.blocks = nn.Sequential(*(PostNormBlock(64, 4) for _ in range(depth)))
    return model


def small_cnn() -> nn.Module:
    """Three times convolution, norm, ReLU, max-pool; then the mean over the map. 94 000 parameters."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


# name -> (model, number of training pictures)
RUNS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "class token": (vit, 10_000),
    "mean-pool": (mean_pool, 10_000),
    "no positions": (no_positions, 10_000),
    "first patch read": (lambda: vit(FirstPatch), 10_000),
    "no attention": (no_attention, 10_000),
    "post-norm": (post_norm, 10_000),
    "CNN, 10000": (small_cnn, 10_000),
    "ViT, 500": (vit, 500),
    "CNN, 500": (small_cnn, 500),
    "ViT, 2000": (vit, 2_000),
    "CNN, 2000": (small_cnn, 2_000),
}


def run(make: Callable[[], nn.Module], train: ImageData, test: ImageData, seed: int) -> dict[str, float]:
    """Train one model; the learning rate rises over the first tenth of the steps."""
    torch.manual_seed(seed)
    model, start = make(), time.process_time()
    epochs = STEPS * BATCH // len(train)
    history = fit(model, train, None, epochs=epochs, batch_size=BATCH, lr=LR, seed=seed, progress=False, device="cpu")
    cpu = time.process_time() - start
    return {"accuracy": accuracy(model, test), "loss": history.loss[-1], "cpu_seconds": round(cpu, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=LOG)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    train, test = fashion_mnist(), fashion_mnist("test")
    log = {"steps": STEPS, "batch": BATCH, "lr": LR, "torch": torch.__version__, "runs": []}
    for seed in chosen.seeds:
        for name, (make, pictures) in RUNS.items():
            result = {"name": name, "seed": seed, "pictures": pictures} | run(make, train.take(pictures), test, seed)
            log["runs"].append(result)
            print(result, flush=True)
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
