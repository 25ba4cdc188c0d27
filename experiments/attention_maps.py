"""Train the small Vision Transformer that lesson 03 looks into, and store it.

    python experiments/attention_maps.py

writes `vitcourse/assets/attention_vit.safetensors` (float16, timm's names) and `experiments/attention_maps.log`. Data:
Emoji-12, made by `vitcourse.data.emoji`. One seed. The log says how long it took and on what.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from solutions.vision_transformer import VisionTransformer
from vitcourse.data import ASSETS, emoji
from vitcourse.inspector import FILE, TrainedViT, digest
from vitcourse.training import accuracy, fit, predict

SIZES = {"img_size": 48, "patch_size": 6, "embed_dim": 64, "depth": 4, "num_heads": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=6000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ASSETS / FILE)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    size = SIZES["img_size"]
    train = emoji("emoji12", "train", n=options.pictures, size=size)
    test, heldout = (emoji("emoji12", split, n=1200, size=size) for split in ("test", "heldout"))  # type: ignore[arg-type]
    model = VisionTransformer(num_classes=train.num_classes, **SIZES)
    started = time.process_time()
    history = fit(model, train, test, epochs=options.epochs, batch_size=100, lr=options.lr, seed=options.seed)
    cpu = time.process_time() - started

    state = {name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()}
    config = SIZES | {"class_names": list(train.class_names)}
    copy = TrainedViT(**SIZES, class_names=train.class_names).load_timm(state)  # type: ignore[arg-type]
    gap = float((predict(copy, test.images[:200]) - predict(model, test.images[:200])).abs().max())
    scores = {name: accuracy(copy, data) for name, data in (("test", test), ("heldout", heldout))}
    summary = (
        f"ViT with L = {SIZES['depth']}, D = {SIZES['embed_dim']}, h = {SIZES['num_heads']}, trained on {len(train)} Emoji-12 "
        f"pictures for {options.epochs} epochs, one seed ({options.seed}): {scores['test']:.0%} of the test pictures right, "
        f"{scores['heldout']:.0%} of those in styles and on photographs it never saw; chance is {1 / train.num_classes:.0%}"
    )
    save_file(state, options.out, {"config": json.dumps(config), "summary": summary, "sha256": digest(state)})

    log = {
        "summary": summary,
        "command": f"python experiments/attention_maps.py --pictures {options.pictures} --epochs {options.epochs} "
        f"--lr {options.lr} --seed {options.seed} --threads {options.threads}",
        "accuracy": scores,
        "training_loss": [round(value, 4) for value in history.loss],
        "test_accuracy": [round(value, 4) for value in history.test_accuracy],
        "wall_seconds": round(history.seconds),
        "cpu_seconds": round(cpu),
        "largest_logit_difference_of_the_float16_copy_in_torch_layers": gap,
        "bytes": options.out.stat().st_size,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {options.threads} threads, shared with other work",
    }
    text = json.dumps(log, indent=1)
    if options.out == ASSETS / FILE:
        Path(__file__).with_suffix(".log").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
