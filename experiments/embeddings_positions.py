"""What positions are worth, and what they learn: the numbers and maps that lesson 02 shows.

    python experiments/embeddings_positions.py compare   # four kinds of positions, 5 seeds each
    python experiments/embeddings_positions.py maps      # one longer training; keeps the learned positions
    python experiments/embeddings_positions.py collect   # writes vitcourse/assets/embeddings_positions.safetensors

`compare` trains `TinyClassifier` (patches of 4, D = 48, 2 layers, 4 epochs, AdamW 2e-3) on the course's 10,000 pictures
of Fashion-MNIST and tests it on 2,000. `maps` trains a deeper one on Emoji-12. Each writes a log beside this file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from solutions.embeddings import Embeddings, PatchEmbed, TinyClassifier, sincos_positions
from vitcourse.data import ImageData, emoji, fashion_mnist
from vitcourse.pictures.embeddings import permute_patches, random_orders
from vitcourse.training import accuracy, fit, random_shift_flip

HERE = Path(__file__).parent
ASSET = HERE.parent / "vitcourse" / "assets" / "embeddings_positions.safetensors"
KINDS = ("learned", "fixed sin-cos", "none", "learned, one shuffle for all pictures")
SEEDS = range(5)


def classifier(kind: str, seed: int) -> TinyClassifier:
    """The lesson's small model, with one of the kinds of positions."""
    torch.manual_seed(seed)
    embed = Embeddings(PatchEmbed(4, 1, 48), 49, 48)
    if kind in ("none", "fixed sin-cos"):
        embed.pos_embed.requires_grad_(False).zero_()
    if kind == "fixed sin-cos":
        embed.pos_embed[0, 1:] = sincos_positions((7, 7), 48)
    return TinyClassifier(embed, 48)


def shuffled(data: ImageData, order: torch.Tensor) -> ImageData:
    return ImageData(permute_patches(data.images, order, 4), data.labels, data.class_names)


def compare() -> None:
    train, test = fashion_mnist("train"), fashion_mnist("test")
    own = shuffled(test, random_orders(len(test), 49, seed=1))  # every test picture in an order of its own
    one = random_orders(1, 49, seed=2)[0]
    log = HERE / "embeddings_positions_compare.jsonl"
    with log.open("w", encoding="utf-8") as file:
        for seed in SEEDS:
            for kind in KINDS:
                mine, tested = (shuffled(train, one), shuffled(test, one)) if "shuffle" in kind else (train, test)
                model = classifier(kind, seed)
                history = fit(model, mine, epochs=4, lr=2e-3, progress=False, seed=seed)
                entry = {"kind": kind, "seed": seed, "test": accuracy(model, tested), "seconds": history.seconds,
                         "test shuffled": accuracy(model, own)}  # fmt: skip
                print(entry, flush=True)
                file.write(json.dumps(entry) + "\n")


def maps(epochs: int = 12) -> None:
    train, test = emoji("emoji12", "train"), emoji("emoji12", "test")
    start = time.perf_counter()
    torch.manual_seed(0)
    model = TinyClassifier(Embeddings(PatchEmbed(4, 3, 64), 64, 64), 64, 12, depth=3)
    history = fit(model, train, test, epochs=epochs, lr=2e-3, augment=random_shift_flip, progress=False)
    entry = {"data": "emoji12", "seed": 0, "epochs": epochs, "test": history.test_accuracy, "loss": history.loss,
             "seconds": time.perf_counter() - start}  # fmt: skip
    print(entry, flush=True)
    (HERE / "embeddings_positions_maps.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")
    save_file({"pos_embed": model.embed.pos_embed.detach().clone()}, HERE / "embeddings_positions_maps.safetensors")


def collect() -> None:
    runs = [json.loads(line) for line in (HERE / "embeddings_positions_compare.jsonl").read_text().splitlines()]
    long = json.loads((HERE / "embeddings_positions_maps.jsonl").read_text())
    tensors = load_file(HERE / "embeddings_positions_maps.safetensors")
    save_file(tensors, ASSET, metadata={"compare": json.dumps(runs), "maps": json.dumps(long)})
    print(f"wrote {ASSET}, {ASSET.stat().st_size} bytes")


if __name__ == "__main__":
    {"compare": compare, "maps": maps, "collect": collect}[sys.argv[1]]()
