"""Figures of lesson 05."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitcourse.data import ASSETS
from vitcourse.plots import PALETTE, WIDTH, _draw_picture, _new_figure, bars, show, style

LOG = ASSETS / "deit_distillation_log.json"
ARM_NAMES = {
    "teacher": "CNN (the teacher)", "plain": "ViT alone", "longer": "ViT alone, longer",
    "soft": "ViT, soft teacher", "hard": "ViT, hard teacher",
}  # fmt: skip
RECIPE_NAMES = {"basic": "light augmentation", "strong": "DeiT's recipe"}


@style()
def gallery(rows: Mapping[str, Tensor], alt: str, caption: str | None = None) -> None:
    """Rows of pictures (n, C, H, W), each with its name at the left."""
    columns = max(len(pictures) for pictures in rows.values())
    figure, axes = _new_figure(len(rows), columns, (WIDTH, WIDTH / columns * len(rows) * 0.86))
    for row, (name, pictures) in enumerate(rows.items()):
        for column in range(columns):
            place = axes[row * columns + column]
            if column < len(pictures):
                _draw_picture(place, pictures[column])
            else:
                place.axis("off")
        axes[row * columns].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, labelpad=8)
    show(figure, alt, caption)


@style()
def blends(pictures: Sequence[Tensor], targets: Sequence[Tensor], names: Sequence[str], titles: Sequence[str], *,
           alt: str, caption: str | None = None) -> None:  # fmt: skip
    """Pictures (C, H, W), and below each its target (K,) as bars with the names of the classes that have a share."""
    count = len(pictures)
    figure, axes = _new_figure(2, count, (WIDTH, 4.1))
    for i, (picture, target, title) in enumerate(zip(pictures, targets, titles, strict=True)):
        _draw_picture(axes[i], picture, title)
        place, values = axes[count + i], target.detach().float().cpu()
        place.bar(range(len(values)), values.numpy(), color=PALETTE[0], width=0.8)
        for k in values.argsort(descending=True)[:2].tolist():
            if values[k] > 0.09:
                place.annotate(f"{names[k]}\n{values[k]:.2f}", (k, float(values[k])), xytext=(0, 2), fontsize=8.5,
                               textcoords="offset points", ha=_lean(k, len(values)), va="bottom")  # fmt: skip
        place.set(ylim=(0, 1.42), xticks=[], yticks=[0, 0.5, 1] if i == 0 else [], xlabel="classes")
        if i == 0:
            place.set_ylabel("target")
    show(figure, alt, caption)


def _lean(index: int, count: int) -> str:
    return "left" if index < count / 4 else "right" if index >= 3 * count / 4 else "center"


@style()
def two_targets(rows: Mapping[str, Tensor], names: Sequence[str], *, alt: str, caption: str | None = None) -> None:
    """Several distributions (K,) over the same classes, one panel each, with the class names on the shared axis."""
    figure, axes = _new_figure(1, len(rows), (WIDTH, 2.7))
    for index, (place, (title, values)) in enumerate(zip(axes, rows.items(), strict=True)):
        numbers = torch.as_tensor(values).detach().float().cpu()
        place.barh(range(len(numbers)), numbers.numpy(), color=PALETTE[index % 6])
        for k, v in enumerate(numbers.tolist()):
            place.annotate(f"{v:.2f}", (v, k), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5)
        place.set(xlim=(0, 1.2), title=title, xticks=[0, 0.5, 1])
        place.set_yticks(range(len(numbers)), list(names) if index == 0 else [""] * len(numbers), fontsize=8)
        place.invert_yaxis()
    show(figure, alt, caption)


@style()
def stochastic_depth(rates: Sequence[float], samples: int = 32, *, alt: str, caption: str | None = None) -> None:
    """One training step under stochastic depth: rows are blocks, columns are pictures, empty squares were skipped."""
    generator = torch.Generator().manual_seed(3)
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 0.23 * len(rates) + 0.9))
    for block, rate in enumerate(rates):
        kept = torch.rand(samples, generator=generator) >= rate
        for place in range(samples):
            on = bool(kept[place])
            axes.add_patch(_square(place, block, PALETTE[0] if on else "white", "#9aa4ad"))
        axes.annotate(f"p = {rate:.2f}", (samples + 0.3, block), va="center", fontsize=9, annotation_clip=False)
    axes.set(xlim=(-0.6, samples + 2.6), ylim=(-0.7, len(rates) - 0.3), xticks=[], xlabel="pictures of one batch",
             ylabel="block")  # fmt: skip
    axes.set_yticks([0, len(rates) - 1], ["1", str(len(rates))])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    show(figure, alt, caption)


def _square(x: float, y: float, face: str, edge: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.42, y - 0.4), 0.84, 0.8, facecolor=face, edgecolor=edge, linewidth=0.8)


@style()
def distillation_token() -> None:
    """Who looks at what: two extra tokens, two heads, two losses, one teacher."""
    from matplotlib.patches import FancyBboxPatch

    figure, (axes,) = _new_figure(1, 1, (WIDTH, 4.3))
    blue, red, green, grey = PALETTE[0], PALETTE[1], PALETTE[2], "#6b7680"

    def box(x: float, y: float, w: float, h: float, text: str, colour: str, filled: bool = False) -> None:
        face = colour if filled else "white"
        axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle="round,pad=0.02,rounding_size=0.12", facecolor=face,
                                      edgecolor=colour, linewidth=1.8))  # fmt: skip
        axes.text(
            x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=9.5, color="white" if filled else "black"
        )

    def arrow(x0: float, y0: float, x1: float, y1: float, colour: str, dashed: bool = False) -> None:
        axes.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.8,
                      "linestyle": "--" if dashed else "-", "shrinkA": 0, "shrinkB": 0})  # fmt: skip

    box(0.2, 0.1, 1.5, 0.7, "class token", blue, True)
    box(2.1, 0.1, 2.0, 0.7, "distillation token", red, True)
    for i in range(4):
        box(4.5 + 1.05 * i, 0.1, 0.85, 0.7, f"patch {i + 1}" if i < 3 else "…", grey)
    box(0.2, 1.5, 8.3, 0.8, "L encoder blocks: every token looks at every token", "#333333")
    for x, colour in ((0.95, blue), (3.1, red), *((4.92 + 1.05 * i, grey) for i in range(4))):
        arrow(x, 0.85, x, 1.45, colour)
    for x, name, colour in ((0.95, "head", blue), (3.1, "head_dist", red)):
        arrow(x, 2.35, x, 2.9, colour)
        box(x - 0.65, 2.95, 1.3, 0.6, name, colour)
        arrow(x, 3.6, x, 4.15, colour)
    box(0.05, 4.2, 1.8, 0.7, "loss with the\nlabels", blue)
    box(2.2, 4.2, 1.8, 0.7, "loss with the\nteacher", red)
    box(7.0, 4.1, 2.2, 0.9, "CNN teacher\n(frozen)", green, True)
    arrow(6.9, 4.55, 4.1, 4.55, green)
    axes.text(
        5.5, 4.68, "softened probabilities\nor its decision", ha="center", va="bottom", fontsize=9, color="#111111"
    )
    box(7.2, 2.75, 1.8, 0.7, "same picture", grey)
    arrow(8.1, 3.5, 8.1, 4.05, grey)
    axes.set(xlim=(0, 9.5), ylim=(0, 5.5), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    show(figure, "Diagram. The class token, the distillation token and the patches enter the same encoder blocks. `head` "
         "reads the class token and meets the labels; `head_dist` reads the distillation token and meets the answer that a "
         "frozen CNN teacher gives to the same picture.",
         "Blue: what the labels teach. Orange: what the teacher teaches. Both tokens see all patches, and each other.")  # fmt: skip


def read_log(path: Path = LOG) -> dict[str, Any]:
    """The log that `experiments/deit_distillation.py` wrote."""
    log: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return log


def scores(log: Mapping[str, Any], recipe: str, arm: str, split: str, head: str = "mean") -> list[float]:
    """Accuracies of one arm, one number for each seed. split: "test" or "heldout"; head: "mean", "class", "distillation"."""
    runs = sorted((r for r in log["runs"] if r["recipe"] == recipe and r["arm"] == arm), key=lambda r: r["seed"])
    return [r[split][head] for r in runs]


def gains(log: Mapping[str, Any], recipe: str, arm: str, against: str, split: str) -> list[float]:
    """Accuracy of one arm minus another's, seed by seed: both share the pictures and the batch order of their seed."""
    found = {(r["seed"], r["arm"]): r[split]["mean"] for r in log["runs"] if r["recipe"] == recipe}
    seeds = sorted(seed for seed, a in found if a == arm and (seed, against) in found)
    return [found[seed, arm] - found[seed, against] for seed in seeds]


def effort(log: Mapping[str, Any], recipe: str = "basic") -> None:
    """CPU seconds of a whole training, the teacher's included where there is one: mean over the seeds."""

    def seconds(*arms: str) -> float:
        found = [[r["cpu_seconds"] for r in log["runs"] if (r["recipe"], r["arm"]) == (recipe, arm)] for arm in arms]
        return sum(sum(times) / max(1, len(times)) for times in found)

    costs = {
        "ViT alone": seconds("plain"), "teacher + soft": seconds("teacher", "soft"),
        "teacher + hard": seconds("teacher", "hard"), "ViT alone, longer": seconds("longer"),
    }  # fmt: skip
    words = ", ".join(f"{name} {cost:.0f}" for name, cost in costs.items())
    bars(costs, form="{:.0f} s", title=f"CPU time of a training, one thread, {RECIPE_NAMES[recipe]}",
         alt=f"Bars of CPU seconds: {words}.")  # fmt: skip


@style()
def experiment(log: Mapping[str, Any], *, alt: str, caption: str | None = None) -> None:
    """Accuracy of every arm, with and without the recipe, on seen and held-out styles: a dot for each seed, a bar mean."""
    arms = list(ARM_NAMES)
    figure, axes = _new_figure(1, 2, (WIDTH, 3.6))
    for place, split, title in zip(axes, ("test", "heldout"), ("seen styles (test)", "held-out styles"), strict=True):
        for index, arm in enumerate(arms):
            for offset, recipe, colour, hatch in ((-0.2, "basic", PALETTE[4], ""), (0.2, "strong", PALETTE[0], "//")):
                values = scores(log, recipe, arm, split)
                if not values:
                    continue
                mean = sum(values) / len(values)
                place.barh(index + offset, mean, height=0.36, color=colour, hatch=hatch, edgecolor="white", linewidth=0,
                           label=RECIPE_NAMES[recipe] if index == 0 else None)  # fmt: skip
                place.plot(values, [index + offset] * len(values), "o", color="black", markersize=3.5)
                place.annotate(f"{mean:.0%}", (max(values), index + offset), xytext=(6, 0), textcoords="offset points",
                               va="center", fontsize=8.5)  # fmt: skip
        place.set_yticks(range(len(arms)), [ARM_NAMES[a] for a in arms] if split == "test" else [""] * len(arms))
        place.invert_yaxis()
        place.set(xlim=(0, 1), title=title)
        place.xaxis.set_major_formatter(lambda tick, _: f"{tick:.0%}")
        place.grid(axis="x", color="#dddddd", linewidth=0.7)
        place.set_axisbelow(True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    show(figure, alt, caption)


@style()
def differences(log: Mapping[str, Any], *, alt: str, caption: str | None = None) -> None:
    """What distillation adds, seed by seed: accuracy minus the plain ViT's, and minus the longer-trained plain ViT's."""
    figure, axes = _new_figure(1, 2, (WIDTH, 3.1))
    lines = [(recipe, arm) for recipe in RECIPE_NAMES for arm in ("soft", "hard")]
    for place, against in zip(axes, ("plain", "longer"), strict=True):
        for index, (recipe, arm) in enumerate(lines):
            for offset, split, colour, marker in ((-0.13, "test", PALETTE[2], "o"), (0.13, "heldout", PALETTE[1], "D")):
                values = [100 * g for g in gains(log, recipe, arm, against, split)]
                if not values:
                    continue
                place.plot(values, [index + offset] * len(values), marker, color=colour, markersize=5, alpha=0.75,
                           label={"test": "seen styles", "heldout": "held-out styles"}[split] if index == 0 else None)  # fmt: skip
                mean = sum(values) / len(values)
                place.plot([mean, mean], [index + offset - 0.11, index + offset + 0.11], color="black", linewidth=2)
        place.axvline(0, color="#444444", linestyle="--", linewidth=1)
        words = [f"{arm}, {RECIPE_NAMES[recipe]}" for recipe, arm in lines]
        place.set_yticks(range(len(lines)), words if against == "plain" else [""] * len(lines))
        place.invert_yaxis()
        place.set(title=f"against the {ARM_NAMES[against]}", xlabel="percentage points")
        place.grid(axis="x", color="#dddddd", linewidth=0.7)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    show(figure, alt, caption)


def verdicts(log: Mapping[str, Any]) -> None:
    """Print what each teacher adds: mean and spread over the seeds, and in how many seeds it was above 0."""
    print(f"{'percentage points':28}{'against':16}{'seen styles':>24}{'held-out styles':>24}")
    for recipe, words in RECIPE_NAMES.items():
        for arm in ("soft", "hard"):
            for against in ("plain", "longer"):
                cells = [_gain(gains(log, recipe, arm, against, split)) for split in ("test", "heldout")]
                other = ARM_NAMES[against].removeprefix("ViT ")
                if any(cells):
                    print(f"{f'{arm}, {words}':28}{other:16}{cells[0]:>24}{cells[1]:>24}")


def _gain(values: Sequence[float]) -> str:
    """ "+4.1 ± 0.5 (up in 3/3)": mean and standard deviation over the seeds; empty where there is no seed."""
    if not values:
        return ""
    found = 100 * torch.tensor(values)
    spread = f" ± {float(found.std()):.1f}" if len(values) > 1 else ""
    return f"{float(found.mean()):+.1f}{spread} (up in {int((found > 0).sum())}/{len(values)})"
