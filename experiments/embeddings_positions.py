"""What positions are worth, and what they learn: the numbers and maps that lesson 02 shows.

    python experiments/embeddings_positions.py

Trains `TinyClassifier` (patches of 4 pixels, D = 48, 2 layers, 4 epochs, AdamW 2e-3) with four kinds of positions and
three seeds each, on the course's 10,000 pictures of Fashion-MNIST, tested on 2,000. Writes the log beside this file and
`vitcourse/assets/embeddings_positions.safetensors`: the learned positions of seed 0, with the log in its header.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from solutions.embeddings import Embeddings, PatchEmbed, TinyClassifier, sincos_positions
from vitcourse.data import ImageData, fashion_mnist
from vitcourse.pictures.embeddings import permute_patches, random_orders
from vitcourse.training import accuracy, fit

LOG = Path(__file__).with_suffix(".jsonl")
ASSET = Path(__file__).parent.parent / "vitcourse" / "assets" / "embeddings_positions.safetensors"
KINDS = ("learned", "none", "fixed sin-cos", "learned, one shuffle for all")
SEEDS = 3


def classifier(kind: str, seed: int) -> TinyClassifier:
    """The lesson's small model, with one of the kinds of positions."""
    torch.manual_seed(seed)
    embed = Embeddings(PatchEmbed(4, 1, 48), 49, 48)
    if kind in ("none", "fixed sin-cos"):
        embed.pos_embed.requires_grad_(False).zero_()
    if kind == "fixed sin-cos":
        embed.pos_embed[0, 1:] = sincos_positions((7, 7), 48)
    return TinyClassifier(embed, 48)


def shuffled(data: ImageData, order: Tensor) -> ImageData:
    """The same pictures with their patches in another order."""
    return ImageData(permute_patches(data.images, order, 4), data.labels, data.class_names)


def main() -> None:
    """Train every kind with every seed; write log and asset."""
    train, test = fashion_mnist("train"), fashion_mnist("test")
    own = shuffled(test, random_orders(len(test), 49, seed=1))  # every test picture in an order of its own
    one = random_orders(1, 49, seed=2)[0]  # one order for all pictures
    runs, kept = [], {"shuffle": one}
    with LOG.open("w", encoding="utf-8") as file:
        for seed in range(SEEDS):
            for kind in KINDS:
                mine, tested = (shuffled(train, one), shuffled(test, one)) if "shuffle" in kind else (train, test)
                model = classifier(kind, seed)
                history = fit(model, mine, epochs=4, lr=2e-3, progress=False, seed=seed, device="cpu")
                runs.append({"kind": kind, "seed": seed, "test": round(accuracy(model, tested), 4),
                             "test, each shuffled": round(accuracy(model, own), 4),
                             "seconds": round(history.seconds, 1)})  # fmt: skip
                print(json.dumps(runs[-1]), flush=True)
                print(json.dumps(runs[-1]), file=file, flush=True)
                if seed == 0 and kind.startswith("learned"):
                    kept[kind] = model.embed.pos_embed.detach().clone()
                    save_file(kept, ASSET, metadata={"runs": json.dumps(runs)})
    save_file(kept, ASSET, metadata={"runs": json.dumps(runs)})


if __name__ == "__main__":
    main()
