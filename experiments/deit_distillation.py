"""Does distillation help a small Vision Transformer on Emoji-12? The runs behind lesson 05.

    python experiments/deit_distillation.py --seeds 0 1 2

Every run is one (seed, recipe, arm):

* recipe "basic": pictures shifted by up to 2 pixels and mirrored; recipe "strong": also RandAugment, Random Erasing,
  label smoothing 0.1, Mixup or CutMix on half of the batches, stochastic depth 0.1.
* arm "teacher": the residual CNN. "plain": the ViT alone. "soft" and "hard": the same ViT with a distillation token,
  taught by the CNN of the same seed and recipe. "longer": the plain ViT, trained for more epochs, so that it costs at
  least what the distilled student costs together with its teacher's training and answers.

All arms see the same 6000 training pictures of a seed (the seed also draws the pictures). Nothing is tuned on the test
pictures: the settings were fixed before these runs, after a trial of one seed with a wider ViT and larger batches that
took too long. Each finished run is written to the log at once; runs already in
the log are skipped, so the script resumes. One thread; about 8 minutes of CPU time per seed.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from solutions.deit_distillation import (
    DistilledVisionTransformer,
    ask_teacher,
    conv_teacher,
    hard_distillation_loss,
    smooth_labels,
    soft_distillation_loss,
    strong_augment,
)
from solutions.vision_transformer import VisionTransformer
from vitcourse.data import ASSETS, ImageData, emoji
from vitcourse.training import Loss, fit, parameter_count, predict, random_shift_flip

SETTINGS: dict[str, Any] = {
    "train_pictures": 6000,
    "test_pictures": 2400,
    "heldout_pictures": 2400,
    "size": 32,
    "vit": {"patch_size": 8, "embed_dim": 64, "depth": 4, "num_heads": 4},
    "teacher_width": 16,
    "epochs": 12,
    "longer_epochs": 22,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 0.05,
    "temperature": 3.0,
    "lam": 0.5,
    "label_smoothing": 0.1,
    "drop_path": 0.1,
    "mixup_alpha": 0.8,
    "cutmix_alpha": 1.0,
    "mixing_probability": 0.5,
}
RECIPES = ("basic", "strong")
ARMS = ("teacher", "plain", "soft", "hard", "longer")
STAGES = (("basic", ARMS), ("strong", ("teacher", "plain", "hard")), ("strong", ("soft", "longer")))  # in this order
CLASSES = 12
LOG = Path(__file__).parent / "logs" / "deit_distillation.json"
SHOWN = ASSETS / "deit_distillation_log.json"


def batch_of(images: Tensor, labels: Tensor, recipe: str) -> tuple[Tensor, Tensor]:
    """What the networks see of a batch under a recipe: pictures and targets."""
    if recipe == "basic":
        return images, labels
    images = strong_augment(images)
    if torch.rand(()) < SETTINGS["mixing_probability"]:
        use_mixup = bool(torch.rand(()) < 0.5)
        mix = (
            v2.MixUp(alpha=SETTINGS["mixup_alpha"], num_classes=CLASSES)
            if use_mixup
            else v2.CutMix(alpha=SETTINGS["cutmix_alpha"], num_classes=CLASSES)
        )
        images, targets = mix(images, labels)
    else:
        targets = F.one_hot(labels, CLASSES).float()
    epsilon = SETTINGS["label_smoothing"]
    uniform = smooth_labels(labels, CLASSES, 1.0)  # every class 1/K
    return images, (1 - epsilon) * targets + epsilon * uniform


def loss_of(arm: str, recipe: str, teacher: nn.Module | None) -> Loss:
    """The training loss of an arm, in the form `fit` wants."""

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        x, y = batch_of(images, labels, recipe)
        if teacher is None:
            return F.cross_entropy(model(x), y)
        class_logits, dist_logits = model(x)
        opinion = ask_teacher(teacher, x)
        if arm == "hard":
            return hard_distillation_loss(class_logits, dist_logits, opinion, y)
        return soft_distillation_loss(class_logits, dist_logits, opinion, y, SETTINGS["temperature"], SETTINGS["lam"])

    return loss


def build(arm: str, recipe: str, seed: int) -> nn.Module:
    torch.manual_seed(1000 + seed)
    if arm == "teacher":
        return conv_teacher(CLASSES, SETTINGS["teacher_width"]).to(memory_format=torch.channels_last)
    kind = DistilledVisionTransformer if arm in ("soft", "hard") else VisionTransformer
    drop = SETTINGS["drop_path"] if recipe == "strong" else 0.0
    return kind(img_size=SETTINGS["size"], num_classes=CLASSES, drop_path=drop, **SETTINGS["vit"])


def heads(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits by read-out: {"mean"} for a plain model, {"mean", "class", "distillation"} for a distilled one."""
    if not isinstance(model, DistilledVisionTransformer):
        return {"mean": predict(model, images)}
    model.eval()
    with torch.no_grad():
        tokens = torch.cat([model.forward_features(part) for part in images.split(500)])
        cls, dist = model.head(tokens[:, 0]), model.head_dist(tokens[:, 1])
    return {"mean": (cls + dist) / 2, "class": cls, "distillation": dist}


def run(
    seed: int, recipe: str, arm: str, data: dict[str, ImageData], teacher: nn.Module | None
) -> tuple[nn.Module, dict[str, Any]]:
    model = build(arm, recipe, seed)
    epochs = SETTINGS["longer_epochs"] if arm == "longer" else SETTINGS["epochs"]
    wall, cpu = time.perf_counter(), time.process_time()
    history = fit(
        model, data["train"], epochs=epochs, batch_size=SETTINGS["batch_size"], lr=SETTINGS["lr"],
        weight_decay=SETTINGS["weight_decay"], augment=random_shift_flip, device="cpu", progress=False, seed=seed,
        loss=loss_of(arm, recipe, teacher if arm in ("soft", "hard") else None),
    )  # fmt: skip
    entry: dict[str, Any] = {
        "seed": seed, "recipe": recipe, "arm": arm, "epochs": epochs, "parameters": parameter_count(model),
        "cpu_seconds": round(time.process_time() - cpu, 1), "wall_seconds": round(time.perf_counter() - wall, 1),
        "loss": [round(v, 4) for v in history.loss],
    }  # fmt: skip
    for split in ("test", "heldout"):
        truth = data[split].labels
        answers = {name: logits.argmax(1) for name, logits in heads(model, data[split].images).items()}
        entry[split] = {name: round(float((a == truth).float().mean()), 4) for name, a in answers.items()}
        if teacher is not None and arm != "teacher":
            opinion = predict(teacher, data[split].images).argmax(1)
            entry[f"{split}_agreement_with_teacher"] = {
                name: round(float((a == opinion).float().mean()), 4) for name, a in answers.items()
            }
    return model, entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--log", type=Path, default=LOG)
    parser.add_argument(
        "--teachers", type=Path, default=Path("/tmp/deit_distillation"), help="teachers' weights, for resuming"
    )
    parser.add_argument("--quick", action="store_true", help="a few batches only, to see that everything runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        SETTINGS.update(train_pictures=360, test_pictures=120, heldout_pictures=120, epochs=1, longer_epochs=2)
    options.teachers.mkdir(parents=True, exist_ok=True)
    options.log.parent.mkdir(parents=True, exist_ok=True)
    log: dict[str, Any] = json.loads(options.log.read_text()) if options.log.exists() else {"runs": []}
    log |= {"script": "experiments/deit_distillation.py", "settings": SETTINGS, "torch": torch.__version__,
            "machine": f"{platform.machine()}, 1 thread, shared"}  # fmt: skip
    done = {(r["seed"], r["recipe"], r["arm"]) for r in log["runs"]}
    for recipe, arms, seed in ((recipe, arms, seed) for recipe, arms in STAGES for seed in options.seeds):
        wanted = [arm for arm in arms if (seed, recipe, arm) not in done]
        if not wanted:
            continue
        sizes = {split: SETTINGS[f"{split}_pictures"] for split in ("train", "test", "heldout")}
        data = {split: emoji("emoji12", split, n=n, size=SETTINGS["size"], seed=seed) for split, n in sizes.items()}  # type: ignore[arg-type]
        kept = options.teachers / f"{recipe}_{seed}{'_quick' if options.quick else ''}.pt"
        teacher: nn.Module | None = None
        if "teacher" not in wanted and kept.exists():
            teacher = build("teacher", recipe, seed)
            teacher.load_state_dict(torch.load(kept, weights_only=True))
        elif "teacher" not in wanted:
            wanted = ["teacher", *wanted]  # its weights are gone: train it again
        for arm in wanted:
            model, entry = run(seed, recipe, arm, data, teacher)
            if arm == "teacher":
                teacher = model.eval()
                torch.save(model.state_dict(), kept)
            done.add((seed, recipe, arm))
            log["runs"] = [r for r in log["runs"] if (r["seed"], r["recipe"], r["arm"]) != (seed, recipe, arm)] + [
                entry
            ]
            written = json.dumps(log, indent=1) + "\n"
            options.log.write_text(written)
            if options.log == LOG:
                SHOWN.write_text(written)  # the copy that lesson 05 shows
            print({k: v for k, v in entry.items() if k not in ("loss", "parameters")}, flush=True)


if __name__ == "__main__":
    main()
