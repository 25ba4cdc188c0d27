"""The figures of lesson 08."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitcourse import plots
from vitcourse.data import ImageData

LOG = Path(__file__).parent.parent / "assets" / "dense_prediction.json"


def names_in(mask: Tensor, class_names: tuple[str, ...]) -> str:
    """The classes of a mask (H, W) in words, background left out."""
    found = [class_names[int(k)] for k in mask.unique() if k > 0]
    return ", ".join(found) or "background only"


def task(data: ImageData, count: int = 5) -> None:
    """Pictures above, their masks below."""
    titles = ["picture"] * count + [names_in(m, data.class_names) for m in data.labels[:count]]
    plots.show_images(
        [*data.images[:count], *plots.colour_masks(data.labels[:count])], titles, columns=count, size=1.6,
        alt=f"Above, {count} pictures of {data.images.shape[-1]} by {data.images.shape[-1]} pixels, each with an emoji "
        "on a photograph. Below, their masks: one colour per class, dark for the background.",
    )  # fmt: skip


def from_tokens_to_pixels() -> None:
    """The way of a token: a numbered sequence, a grid, scores per cell, scores per pixel."""
    import matplotlib.pyplot as plt

    with plots.style():
        fig, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained", width_ratios=[1.5, 1, 1, 1])
        numbers = torch.arange(6).view(2, 3)
        scores = torch.tensor([[0.1, 0.2, 0.7], [0.2, 0.9, 0.8]])
        smooth = torch.nn.functional.interpolate(scores[None, None], size=(40, 60), mode="bilinear")[0, 0]
        axes[0].imshow(torch.arange(-1, 6)[None], cmap="cividis", vmin=-1, vmax=8)
        for n in range(-1, 6):
            axes[0].text(n + 1, 0, "CLS" if n < 0 else str(n), ha="center", va="center", color="white", fontsize=10)
        axes[1].imshow(numbers, cmap="cividis", vmin=-1, vmax=8)
        for n in range(6):
            axes[1].text(n % 3, n // 3, str(n), ha="center", va="center", color="white", fontsize=10)
        axes[2].imshow(scores, cmap="viridis", vmin=0, vmax=1)
        axes[3].imshow(smooth, cmap="viridis", vmin=0, vmax=1)
        titles = ("tokens (1 + N, D)", "map (D, h, w)", "one class's scores (h, w)", "upsampled (H, W)")
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize=10)
            axis.set_xticks([])
            axis.set_yticks([])
    plots.show(
        fig,
        "Four panels. A row of seven tokens, CLS and 0 to 5. The tokens 0 to 5 on a grid of two rows and three columns, "
        "without CLS. One score per cell of that grid. The same scores upsampled to a smooth map of pixels.",
    )


def iou_circles() -> None:
    """Intersection and union of a true and a predicted region."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Circle

    with plots.style():
        fig, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
        for x, colour in ((0.0, plots.PALETTE[0]), (1.0, plots.PALETTE[1])):
            axis.add_patch(Circle((x, 0), 1, facecolor=colour, alpha=0.45, edgecolor=colour, linewidth=2))
        axis.text(-0.55, 0, "missed\n10", ha="center", va="center")
        axis.text(0.5, 0, "both\n20", ha="center", va="center")
        axis.text(1.55, 0, "invented\n10", ha="center", va="center")
        axis.text(-0.7, 1.05, "is a cat", ha="center")
        axis.text(1.7, 1.05, "called a cat", ha="center")
        axis.set_xlim(-1.3, 2.4)
        axis.set_ylim(-1.1, 1.3)
        axis.set_aspect("equal")
        axis.axis("off")
    plots.show(
        fig,
        "Two circles that overlap: the pixels that are a cat and the pixels that were called a cat. 20 pixels lie in both, 10 "
        "only in the first, missed, and 10 only in the second, invented.",
    )


def largest(mask: Tensor, class_names: tuple[str, ...]) -> str:
    """The class with the most pixels of a mask (H, W), background left out unless there is nothing else."""
    objects = mask[mask > 0]
    return class_names[int(objects.mode().values)] if len(objects) else class_names[0]


def predictions(data: ImageData, guesses: dict[str, Tensor], count: int = 6) -> None:
    """Pictures, true masks and predicted masks (B, H, W), one row each."""
    rows = [*data.images[:count], *plots.colour_masks(data.labels[:count])]
    titles = ["picture"] * count + [f"true: {largest(m, data.class_names)}" for m in data.labels[:count]]
    for guess in guesses.values():
        rows += [*plots.colour_masks(guess[:count])]
        titles += [f"guess: {largest(m, data.class_names)}" for m in guess[:count]]
    plots.show_images(
        rows, titles, columns=count, size=1.5,
        alt=f"{count} pictures of the held-back test set in columns. Below each, its true mask and what was predicted: "
        + ", ".join(guesses) + ". Equal colours mean equal classes; the title names the largest one.",
    )  # fmt: skip


def pyramid(levels: list[Tensor]) -> None:
    """Maps of a pyramid as grey pictures, finest first."""
    shown = [level.mean(0, keepdim=True) for level in levels]
    low, high = min(float(s.min()) for s in shown), max(float(s.max()) for s in shown)
    plots.show_images(
        [(s - low) / (high - low) for s in shown], [f"level {i}: {s.shape[-2]}×{s.shape[-1]}" for i, s in enumerate(shown)],
        alt="The same picture as maps of falling resolution, each with half the sides of the one before.",
    )  # fmt: skip


def log() -> dict[str, list[dict[str, Any]]]:
    """The runs of `experiments/dense_prediction.py`, by model."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in json.loads(LOG.read_text(encoding="utf-8"))["runs"]:
        runs.setdefault(run["model"], []).append(run)
    return runs


def table() -> None:
    """Print the log: cost and mIoU of each model, mean and range over seeds."""
    print(f"{'model':20s} {'MFLOPs':>7s} {'seeds':>5s}   test mIoU (range)     held-out mIoU (range)")
    for name, runs in log().items():
        parts = []
        for split in ("test", "heldout"):
            values = [100 * r[split] for r in runs]
            parts.append(f"{statistics.mean(values):5.1f} ({min(values):.1f} to {max(values):.1f})")
        print(f"{name:20s} {1000 * runs[0]['gflops']:7.0f} {len(runs):5d}   {parts[0]:22s} {parts[1]}")


def results() -> None:
    """The log as bars: mean over seeds, the range as a line."""
    import matplotlib.pyplot as plt

    runs = log()
    words = []
    with plots.style():
        fig, axes = plt.subplots(1, 2, figsize=(8.6, 2.4), layout="constrained", sharex=True, sharey=True)
        for axis, (split, title) in zip(
            axes, (("test", "styles seen in training"), ("heldout", "held-out styles")), strict=True
        ):
            for row, (name, found) in enumerate(runs.items()):
                values = [100 * r[split] for r in found]
                mean = statistics.mean(values)
                axis.barh(row, mean, color=plots.PALETTE[row], height=0.6)
                axis.plot([min(values), max(values)], [row, row], color="black", linewidth=1.5, marker="|")
                axis.text(mean + 1.5, row + 0.05, f"{mean:.1f}", va="center")
                words.append(f"{name}, {title}: {mean:.1f} %")
            axis.set_yticks(range(len(runs)), list(runs))
            axis.set_xlabel("mIoU in %")
            axis.set_title(title, fontsize=10)
            axis.margins(x=0.18)
        axes[0].invert_yaxis()
    plots.show(
        fig, "Bars of mean IoU. " + "; ".join(words) + ".", caption="Mean over seeds; the black line is their range."
    )
