"""Segmentation of Emoji-12 composites: a ViT with two heads against a Swin with a pyramid, at about equal cost.

    python experiments/dense_prediction.py --seeds 0 1 2

Trains each model on 64-pixel composites with known masks (12 classes and background), measures mIoU on the
in-distribution test split and on held-out styles and photographs, and writes one entry per model and seed to
`vitcourse/assets/dense_prediction.json` as it goes; entries that are there already are not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from solutions.dense_prediction import SwinSegmenter, ViTSegmenter, confusion_matrix, mean_iou
from solutions.swin_windows import SwinTransformer
from solutions.vision_transformer import VisionTransformer
from vitcourse.data import ImageData, emoji_masks
from vitcourse.devices import seed_everything
from vitcourse.training import fit, parameter_count, predict

LOG = Path(__file__).parent.parent / "vitcourse" / "assets" / "dense_prediction.json"
SIZE, CLASSES = 64, 13


def vit(patch_size: int, embed_dim: int, depth: int) -> VisionTransformer:
    """A small ViT for 64-pixel pictures."""
    return VisionTransformer(SIZE, patch_size, 3, 1, embed_dim, depth, embed_dim // 32)


def swin() -> SwinTransformer:
    """A small Swin for 64-pixel pictures; linear layers begin as in Swin's own code (truncated normal, 0.02)."""
    model = SwinTransformer(4, 3, 1, 32, (2, 2, 2), (1, 2, 4), window_size=4, drop_path=0.0)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "ViT, linear head": lambda: ViTSegmenter(vit(8, 96, 4), CLASSES),
    "ViT, pyramid head": lambda: ViTSegmenter(vit(8, 96, 3), CLASSES, pyramid_dim=64),
    "Swin, pyramid head": lambda: SwinSegmenter(swin(), CLASSES, 32),
}


def flops(model: nn.Module) -> int:
    """Floating point operations of one picture's forward pass, counted."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, SIZE, SIZE))
    return counter.get_total_flops()


def loss(model: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy over pixels."""
    return F.cross_entropy(model(images), masks)


def score(model: nn.Module, data: ImageData) -> tuple[float, Tensor]:
    """(mIoU, confusion matrix) on a split."""
    prediction = predict(model, data.images, batch_size=250).argmax(1)
    counts = confusion_matrix(prediction, data.labels, CLASSES)
    return mean_iou(counts), counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    log = json.loads(options.log.read_text()) if options.log.exists() else {"runs": []}
    done = {(r["model"], r["seed"]) for r in log["runs"]}
    train = emoji_masks("emoji12", "train", options.pictures, SIZE)
    test = {name: emoji_masks("emoji12", name, 600, SIZE) for name in ("test", "heldout")}
    for seed in options.seeds:
        for name, make in MODELS.items():
            if (name, seed) in done:
                continue
            seed_everything(seed)
            model = make()
            cost = {"gflops": flops(model) / 1e9, "parameters": parameter_count(model)}
            began, cpu = time.monotonic(), time.process_time()
            fit(model, train, epochs=options.epochs, batch_size=64, lr=1e-3, loss=loss, seed=seed, progress=False)
            entry = {"model": name, "seed": seed, **cost, "epochs": options.epochs, "pictures": options.pictures,
                     "seconds": round(time.monotonic() - began), "cpu_seconds": round(time.process_time() - cpu)}  # fmt: skip
            entry |= {split: round(score(model, data)[0], 4) for split, data in test.items()}
            log["runs"].append(entry)
            options.log.write_text(json.dumps(log, indent=1) + "\n")
            print(entry, flush=True)


if __name__ == "__main__":
    main()
