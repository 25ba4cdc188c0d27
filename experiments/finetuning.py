"""What does a pretrained ViT buy? The checkpoint and the runs behind lesson 07.

    python experiments/finetuning.py --seeds 0 1 2 3 4

1. `checkpoint`: a small ViT of lesson 04, trained on Emoji-12 (12000 pictures of 32×32, 20 epochs), written to
   vitcourse/assets/checkpoints/emoji12_vit.safetensors with its settings in the file's metadata.
2. `choose`: the learning rate of each way of training, on 1000 other training pictures of Emoji-10, at 10 pictures a
   class, one seed. Test pictures are never looked at here.
3. `few_shot`: Emoji-10 with k pictures a class (seed s draws the pictures, the batches and the new weights).
   "scratch": all weights new. "probe": a linear layer on frozen features. "full": all weights start from the checkpoint.
   "layerwise": the same with layer-wise learning rates. Every run but the probe takes about 120 steps.
4. `fashion`: Fashion-MNIST, 10 pictures a class and all 10000: the same checkpoint, a task far from Emoji-12.

Each finished run is written to experiments/logs/finetuning.json at once; runs found there are skipped, so the script
resumes, and two processes can share the work (`--only`). What the notebook plots goes to
vitcourse/assets/finetuning_results.json. One thread; about 17 minutes of CPU time for five seeds.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from solutions.finetuning import layer_lr_groups, load_backbone, probe_features
from solutions.vision_transformer import VisionTransformer
from vitcourse.data import ImageData, emoji, fashion_mnist
from vitcourse.training import accuracy, decay_groups, fit, parameter_count, random_shift_flip

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "experiments" / "logs" / "finetuning.json"
ASSET = ROOT / "vitcourse" / "assets" / "finetuning_results.json"
CHECKPOINT = ROOT / "vitcourse" / "assets" / "checkpoints" / "emoji12_vit.safetensors"

VIT = {"img_size": 32, "patch_size": 8, "in_chans": 3, "num_classes": 12, "embed_dim": 96, "depth": 4, "num_heads": 4}
MEAN, STD = 0.5, 0.25
SHOTS = (10, 100, 5, 20)
RATES = {"scratch": (3e-4, 1e-3, 3e-3, 1e-2), "full": (1e-4, 3e-4, 1e-3, 3e-3), "layerwise": (3e-4, 1e-3, 3e-3)}
STEPS, BATCH, WEIGHT_DECAY, LAYER_DECAY, TEST_PICTURES = 120, 64, 0.05, 0.65, 2000


def prepared(data: ImageData) -> ImageData:
    """Pictures as the checkpoint knows them: three channels, 32×32, normalised."""
    images = data.images
    if images.shape[1] == 1:
        images = F.pad(images, (2, 2, 2, 2)).expand(-1, 3, -1, -1)
    return replace(data, images=(images - MEAN) / STD)


def new_model(num_classes: int, seed: int) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(**{**VIT, "num_classes": num_classes})


def make_checkpoint() -> dict[str, Any]:
    train, test = prepared(emoji("emoji12", "train", n=12000)), prepared(emoji("emoji12", "test", n=TEST_PICTURES))
    heldout = prepared(emoji("emoji12", "heldout", n=TEST_PICTURES))
    model, start = new_model(12, seed=0), time.process_time()
    history = fit(model, train, epochs=20, lr=1e-3, augment=random_shift_flip, progress=False, seed=0)
    result = {
        "parameters": parameter_count(model), "train_pictures": len(train), "epochs": 20, "seed": 0,
        "test": accuracy(model, test), "heldout": accuracy(model, heldout), "loss": history.loss,
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip
    about = {"config": VIT, "mean": MEAN, "std": STD, "classes": list(train.class_names), "test_accuracy": result["test"],
             "made_by": "experiments/finetuning.py"}  # fmt: skip
    CHECKPOINT.parent.mkdir(exist_ok=True)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, str(CHECKPOINT), metadata={"about": json.dumps(about)})
    return result


def train_probe(model: VisionTransformer, train: ImageData, test: ImageData, seed: int) -> float:
    """Accuracy of a linear layer on frozen, standardised features, fitted with L-BFGS and a little weight decay."""
    x, t = probe_features(model, train.images), probe_features(model, test.images)
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, t = (x - mean) / std, (t - mean) / std
    torch.manual_seed(seed)
    head = nn.Linear(x.shape[1], train.num_classes)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(x), train.labels) + 1e-2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float((head(t).argmax(1) == test.labels).float().mean())


def run(way: str, train: ImageData, tests: dict[str, ImageData], lr: float, steps: int, seed: int) -> dict[str, Any]:
    start = time.process_time()
    model = new_model(train.num_classes, seed)
    if way != "scratch":
        load_backbone(model, load_file(str(CHECKPOINT)))
    if way == "probe":
        scores = {name: train_probe(model, train, test, seed) for name, test in tests.items()}
        return {**scores, "cpu_seconds": round(time.process_time() - start, 1)}
    layerwise = layer_lr_groups(model, lr, LAYER_DECAY, WEIGHT_DECAY)
    groups = layerwise if way == "layerwise" else [{**g, "lr": lr} for g in decay_groups(model, WEIGHT_DECAY)]
    epochs = max(1, round(steps / max(1, -(-len(train) // BATCH))))
    history = fit(model, train, epochs=epochs, batch_size=BATCH, augment=random_shift_flip, progress=False, seed=seed,
                  optimizer=torch.optim.AdamW(groups, lr=lr, fused=True))  # fmt: skip
    return {**{name: accuracy(model, test) for name, test in tests.items()}, "lr": lr, "train_loss": history.loss[-1],
            "cpu_seconds": round(time.process_time() - start, 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--fashion-seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the 10000-picture runs"
    )
    parser.add_argument("--only", choices=["few_shot", "fashion"], help="one part alone, beside another process")
    parser.add_argument("--long-steps", type=int, default=800)
    options = parser.parse_args()
    torch.set_num_threads(1)

    log: dict[str, Any] = json.loads(LOG.read_text()) if LOG.exists() else {"runs": {}}
    log["made_with"] = {"torch": torch.__version__, "python": platform.python_version(), "threads": 1}
    log["settings"] = {"vit": VIT, "steps": STEPS, "batch": BATCH, "weight_decay": WEIGHT_DECAY,
                       "layer_decay": LAYER_DECAY, "test_pictures": TEST_PICTURES, "rates_tried": RATES}  # fmt: skip

    def once(name: str, make: Any) -> dict[str, Any]:
        if LOG.exists():  # another process may work on other parts
            log["runs"] = {**json.loads(LOG.read_text())["runs"], **log["runs"]}
        if name not in log["runs"]:
            result = make()
            if LOG.exists():
                log["runs"] = {**json.loads(LOG.read_text())["runs"], **log["runs"]}
            log["runs"][name] = result
            LOG.parent.mkdir(exist_ok=True)
            LOG.write_text(json.dumps(log, indent=1) + "\n")
            print(name, log["runs"][name] if name != "checkpoint" else "done", flush=True)
        return log["runs"][name]

    once("checkpoint", make_checkpoint)

    validation = {"validation": prepared(emoji("emoji10", "train", n=1000, seed=900))}
    rates: dict[str, float] = {}
    for way, tried in RATES.items():
        data = prepared(emoji("emoji10", n=100, seed=901))
        found = {lr: once(f"choose/{way}/{lr}", lambda: run(way, data, validation, lr, STEPS, 901)) for lr in tried}  # noqa: B023
        rates[way] = max(found, key=lambda lr: found[lr]["validation"])
    rates["probe"] = 0.0
    log["chosen_rates"] = rates

    tests = {"test": prepared(emoji("emoji10", "test", n=TEST_PICTURES))}
    ways = ("scratch", "probe", "full", "layerwise")
    for k in SHOTS if options.only != "fashion" else ():
        for seed in options.seeds:
            data = prepared(emoji("emoji10", n=10 * k, seed=1000 + seed))
            for way in ways:
                once(f"few_shot/{k}/{way}/{seed}", lambda: run(way, data, tests, rates[way], STEPS, seed))  # noqa: B023

    if options.only == "few_shot":
        return
    fashion, fashion_tests = prepared(fashion_mnist("train")), {"test": prepared(fashion_mnist("test"))}
    for seed in options.seeds:
        order = torch.randperm(len(fashion), generator=torch.Generator().manual_seed(seed))
        chosen = torch.cat([order[fashion.labels[order] == c][:10] for c in range(10)])
        few = replace(fashion, images=fashion.images[chosen], labels=fashion.labels[chosen])
        for way in ways:
            once(f"fashion/10/{way}/{seed}", lambda: run(way, few, fashion_tests, rates[way], STEPS, seed))  # noqa: B023
    for seed in options.fashion_seeds:
        for way in ("scratch", "full", "probe"):
            steps = options.long_steps
            once(f"fashion/1000/{way}/{seed}", lambda: run(way, fashion, fashion_tests, rates[way], steps, seed))  # noqa: B023
    LOG.write_text(json.dumps(log, indent=1) + "\n")
    summarise(log)


def summarise(log: dict[str, Any]) -> None:
    """What the notebook plots: test accuracies by experiment, pictures a class and way of training."""
    results: dict[str, Any] = {}
    for name, result in log["runs"].items():
        kind, *rest = name.split("/")
        if kind in ("few_shot", "fashion"):
            k, way, _ = rest
            results.setdefault(kind, {}).setdefault(k, {}).setdefault(way, []).append(round(result["test"], 4))
    for kind in ("few_shot", "fashion"):  # keep what is complete
        for k, found in list(results.get(kind, {}).items()):
            most = len(found.get("full", []))
            if most < 3 or any(len(values) != most for values in found.values()):
                del results[kind][k]
    checkpoint = {k: v for k, v in log["runs"]["checkpoint"].items() if k != "loss"}
    total = sum(result["cpu_seconds"] for result in log["runs"].values())
    ASSET.write_text(json.dumps({"checkpoint": checkpoint, "cpu_seconds": round(total), **results}, indent=1) + "\n")
    print(f"{total / 60:.1f} CPU minutes")


if __name__ == "__main__":
    main()
