"""The figures of lesson 04."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitcourse.plots import PALETTE, bars, curves, show, style

LOG = Path(__file__).parents[1] / "assets" / "logs" / "vit_ablation.json"
BLUE, ORANGE, GREEN, PINK = PALETTE[:4]
GREY = "#666666"


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **settings: Any) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **settings)


def _box(axes: Any, x: float, y: float, text: str, colour: str, width: float = 1.5, height: float = 0.52,
         size: float = 9.5) -> None:  # fmt: skip
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.1",
                                  facecolor="white", edgecolor="none", zorder=2))  # fmt: skip
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.1",
                                  facecolor=colour, alpha=0.2, edgecolor="none", zorder=2))  # fmt: skip
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.1",
                                  facecolor="none", edgecolor=colour, linewidth=1.4, zorder=2))  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", fontsize=size, zorder=3)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str = "#333333") -> None:
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=look, zorder=1)


def _bare(axes: Any, width: float, height: float) -> None:
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")


@style()
def whole_model(image: Tensor, patch: int = 7) -> None:
    """A picture, its patches, the row of tokens, L blocks, the read-out: what this lesson assembles."""
    figure, ((axes,),) = _figure(7.5, 3.3)
    _bare(axes, 15, 6.6)
    picture = image[0].numpy()
    axes.imshow(picture, cmap="gray", extent=(0.1, 2.5, 3.1, 5.5), zorder=1)
    for step in range(5):
        at = 0.1 + 0.6 * step
        axes.plot([at, at], [3.1, 5.5], color=ORANGE, lw=1)
        axes.plot([0.1, 2.5], [at + 3.0, at + 3.0], color=ORANGE, lw=1)
    axes.text(1.3, 2.75, "picture, N = 16\npatches", ha="center", va="top", fontsize=9)
    _arrow(axes, (2.7, 4.3), (3.5, 4.3))
    names = ["class", "patch 1", "patch 2", "⋮", "patch N"]
    for index, name in enumerate(names):
        y = 5.9 - 0.8 * index
        if name == "⋮":
            axes.text(4.4, y, "⋮", ha="center", va="center", fontsize=13)
            continue
        _box(axes, 4.4, y, name, GREEN if index == 0 else BLUE, 1.5)
        axes.text(5.42, y, f"+ pos {index if index < 3 else 'N'}", ha="left", va="center", fontsize=8.5, color=GREY)
        _arrow(axes, (6.85, y), (7.5, y))
    axes.text(4.8, 1.95, "tokens (B, 1 + N, D)\nlessons 1 and 2", ha="center", va="top", fontsize=9)
    for offset in (0.36, 0.18, 0.0):
        _box(axes, 8.7 + offset, 4.25 + offset, "", ORANGE, 2.1, 3.6)
    axes.text(8.7, 4.6, "block", ha="center", va="center", fontsize=11, fontweight="bold")
    axes.text(8.7, 3.7, "attention\nMLP", ha="center", va="center", fontsize=9.5)
    axes.text(8.9, 1.95, "L blocks\nexercises 4.1 to 4.3", ha="center", va="top", fontsize=9)
    _arrow(axes, (10.2, 5.9), (10.95, 5.9))
    _box(axes, 11.6, 5.9, "norm", PINK, 1.2)
    _arrow(axes, (12.25, 5.9), (12.8, 5.9))
    _box(axes, 13.45, 5.9, "head", PINK, 1.2)
    _arrow(axes, (13.45, 5.6), (13.45, 4.95))
    axes.text(13.45, 4.85, "logits\n(B, classes)", ha="center", va="top", fontsize=9)
    axes.text(12.6, 3.4, "read from the class\ntoken, or from the\nmean of the patches\nexercise 4.4", ha="center", va="top",
              fontsize=9)  # fmt: skip
    show(figure, "From left to right: a picture cut into 16 patches; a column of tokens, the class token first, each with "
         "its position added; a stack of L blocks of attention and MLP; the final norm and the head, which read the class "
         "token and give the logits.")  # fmt: skip


@style()
def two_blocks() -> None:
    """Pre-norm beside post-norm."""
    figure, (places,) = _figure(7.5, 4.0, 1, 2)
    for axes, title, pre in zip(
        places, ("pre-norm: ViT, GPT-2", "post-norm: Transformer 2017, BERT"), (True, False), strict=True
    ):
        _bare(axes, 6, 8.6)
        axes.set_title(title, fontsize=11, fontweight="bold")
        stream, branch = 1.4, 3.9
        _arrow(axes, (stream, 0.1), (stream, 8.5), ORANGE)
        axes.text(stream - 0.25, 0.25, "z", ha="right", fontsize=10)
        for base, what in ((0.6, "attention"), (4.5, "MLP")):
            if pre:
                _box(axes, branch, base + 0.8, "norm", PINK)
                _box(axes, branch, base + 1.9, what, BLUE)
                _arrow(axes, (branch, base + 1.08), (branch, base + 1.62))
                top = base + 3.0
            else:
                _box(axes, branch, base + 1.1, what, BLUE)
                top = base + 2.2
                _box(axes, stream, base + 3.1, "norm", PINK)
            low = base + (0.8 if pre else 1.1)
            _arrow(axes, (stream, low), (branch - 0.78, low))
            high = base + (1.9 if pre else 1.1) + 0.28
            axes.plot([branch, branch], [high, top], color="#333333", lw=1.4)
            _arrow(axes, (branch, top), (stream + 0.24, top))
            axes.plot(stream, top, "o", ms=15, mfc="white", mec=ORANGE, mew=1.6)
            axes.text(stream, top - 0.02, "+", ha="center", va="center", fontsize=13, color=ORANGE)
        words = "nothing stands\non the orange line" if pre else "every norm stands\non the orange line"
        axes.text(branch + 0.1, 8.35, words, ha="center", va="top", fontsize=9, color=GREY)
    show(figure, "Two block diagrams. Pre-norm: the residual line runs straight from bottom to top; each branch (norm, then "
         "attention; norm, then MLP) reads from it and adds to it. Post-norm: the norm sits on the residual line after each "
         "sum.")  # fmt: skip


@style()
def activations() -> None:
    """GELU beside ReLU, and how far the approximations are off."""
    x = torch.linspace(-4, 4, 401)
    figure, ((left, right),) = _figure(7.5, 2.9, 1, 2)
    left.plot(x, F.gelu(x), color=BLUE, lw=2, label="GELU")
    left.plot(x, F.relu(x), color=ORANGE, lw=1.6, ls="--", label="ReLU")
    left.plot([1, -1], [0.8413, -0.1587], "o", color=BLUE)
    left.annotate("GELU(1) = 0.8413", (1, 0.84), (-3.9, 1.5), fontsize=9, arrowprops={"arrowstyle": "-", "color": GREY})
    left.annotate(
        "GELU(−1) = −0.1587", (-1, -0.16), (-0.4, -1.0), fontsize=9, arrowprops={"arrowstyle": "-", "color": GREY}
    )
    left.set(xlabel="x", title="the activation", ylim=(-1.3, 4))
    left.legend(loc="upper left")
    right.plot(x, 1e4 * (F.gelu(x, approximate="tanh") - F.gelu(x)), color=GREEN, lw=2)
    right.set(xlabel="x", title="tanh approximation − exact, × 10 000")
    right.axhline(0, color=GREY, lw=0.8)
    show(figure, "Left: GELU follows ReLU for large positive and negative x and dips slightly below zero between −2 and 0. "
         "Right: the tanh approximation is off by up to about 5 ten-thousandths near x = ±2.")  # fmt: skip


@style()
def dropped(branch: Tensor, yours: Tensor, drop_prob: float) -> None:
    """A branch (B, N, D) before and after the learner's DropPath, and after dropout, as one row per sample."""
    torch.manual_seed(1)
    panels = {"the branch": branch, "after your DropPath": yours, "dropout, to compare": F.dropout(branch, drop_prob)}
    figure, (places,) = _figure(7.5, 2.7, 1, 3)
    for axes, (title, values) in zip(places, panels.items(), strict=True):
        drawn = axes.imshow(
            values.detach().flatten(1), cmap="viridis", aspect="auto", vmin=0, vmax=2, interpolation="nearest"
        )
        axes.set(title=title, xlabel="token and width", yticks=range(len(branch)))
        axes.set_xticks([])
    places[0].set_ylabel("sample")
    figure.colorbar(drawn, ax=list(places), shrink=0.85)
    lost = int((yours.flatten(1) == 0).all(1).sum())
    show(figure, f"Three heat maps with one row per sample. After your DropPath {lost} of {len(branch)} rows are zero as a whole "
         "and the others brighter; after dropout single cells are zero in every row.")  # fmt: skip


def where_parameters_are(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Stacked bars, one per preset: shares of embedding, attention, MLP, rest."""
    with style():
        figure, ((axes,),) = _figure(7.5, 0.9 + 0.42 * len(counts))
        parts = list(next(iter(counts.values())))
        for row, values in enumerate(counts.values()):
            left, total = 0.0, sum(values.values())
            for index, part in enumerate(parts):
                share = values[part] / total
                axes.barh(row, share, left=left, height=0.62, color=PALETTE[index], alpha=0.85,
                          hatch=("", "//", "..", "\\\\")[index], edgecolor="white", linewidth=0,
                          label=part if row == 0 else None)  # fmt: skip
                if share > 0.06:
                    axes.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=9, color="white",
                              fontweight="bold", bbox={"boxstyle": "round,pad=0.15", "fc": PALETTE[index], "ec": "none"})  # fmt: skip
                left += share
        axes.set_yticks(range(len(counts)), [f"{n}, {sum(v.values()) / 1e6:.1f} M" for n, v in counts.items()])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:.0%}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=4)
        axes.spines["left"].set_visible(False)
        words = "; ".join(
            f"{n}: " + ", ".join(f"{p} {v / sum(values.values()):.0%}" for p, v in values.items())
            for n, values in counts.items()
        )
        show(figure, f"Shares of the parameters. {words}.")


# ---------------------------------------------------------------------------------------------- the committed log


def log_runs() -> dict[str, list[dict[str, Any]]]:
    """The runs of `experiments/vit_ablation.py`, by name."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(LOG.read_text(encoding="utf-8"))["runs"]:
        runs.setdefault(entry["name"], []).append(entry)
    return runs


def summary(name: str) -> tuple[float, float, int]:
    """(mean, standard deviation, number of seeds) of the test accuracy of one run of the log."""
    values = [entry["accuracy"] for entry in log_runs()[name]]
    return mean(values), stdev(values) if len(values) > 1 else 0.0, len(values)


def ablation(names: Mapping[str, str], title: str) -> None:
    """Bars of test accuracy from the log: label -> name of the run."""
    runs = log_runs()
    found = {label: summary(name) for label, name in names.items() if name in runs}
    seeds = min(n for _, _, n in found.values())
    words = ", ".join(f"{label} {m:.1%} ± {s:.1%}" for label, (m, s, _) in found.items())
    bars({label: (m, s) for label, (m, s, _) in found.items()}, form="{:.1%}", title=title, xlim=(0, 1.12),
         xlabel=f"test accuracy, mean ± standard deviation over {seeds} seeds", alt=f"{title}: {words}.")  # fmt: skip


def data_hunger() -> None:
    """ViT and CNN against the number of training pictures, from the log."""
    sizes = {500: ("ViT, 500", "CNN, 500"), 2000: ("ViT, 2000", "CNN, 2000"), 10000: ("class token", "CNN, 10000")}
    runs = log_runs()
    sizes = {n: names for n, names in sizes.items() if set(names) <= set(runs)}
    if not sizes:
        raise ValueError(f"{LOG.name} holds no pair of ViT and CNN on the same pictures")
    lines: dict[str, Any] = {}
    for column, model in enumerate(("ViT", "CNN")):
        found = [summary(names[column]) for names in sizes.values()]
        middle, spread = [m for m, _, _ in found], [s for _, s, _ in found]
        lines[model] = (middle, [m - s for m, s in zip(middle, spread, strict=True)],
                        [m + s for m, s in zip(middle, spread, strict=True)])  # fmt: skip
    words = "; ".join(f"{n} pictures: ViT {v:.1%}, CNN {c:.1%}" for n, v, c in zip(sizes, lines["ViT"][0], lines["CNN"][0],
                                                                                strict=True))  # fmt: skip
    curves(lines, x=list(sizes), logx=True, xlabel="training pictures (the number of steps is the same everywhere)",
           ylabel="test accuracy", alt=f"Test accuracy against the number of training pictures. {words}.")  # fmt: skip


# --------------------------------------------------------------------------------------------- the trained model


@style()
def stream_scale(lines: Mapping[str, Sequence[float]]) -> None:
    """Standard deviation of the tokens after each block."""
    curves(lines, x=list(range(len(next(iter(lines.values()))))), xlabel="after block", ylabel="standard deviation",
           title="scale of the tokens", alt="Standard deviation of the tokens after each block. "
           + "; ".join(f"{name}: from {v[0]:.2f} to {v[-1]:.2f}" for name, v in lines.items()) + ".")  # fmt: skip


@style()
def looks(images: Tensor, weights: Tensor, grid: tuple[int, int], titles: Sequence[str]) -> None:
    """What the class token looks at: pictures above, its attention to the patches (B, N) over them below."""
    count = len(images)
    figure, places = _figure(7.5, 3.0, 2, count)
    for column in range(count):
        picture, heat = images[column, 0], weights[column].reshape(grid)
        light = F.interpolate((heat / heat.max())[None, None], size=picture.shape, mode="nearest")[0, 0]
        places[0][column].imshow(picture, cmap="gray", vmin=0, vmax=1)
        places[0][column].set_title(titles[column], fontsize=8.5)
        places[1][column].imshow(light, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        white = torch.ones(*picture.shape, 4)
        white[..., 3] = 0.45 * picture  # the picture as a white veil over the heat map
        places[1][column].imshow(white)
        strongest = int(heat.argmax())
        row, col = divmod(strongest, grid[1])
        step = picture.shape[0] / grid[0]
        places[1][column].add_patch(_frame(col * step - 0.5, row * step - 0.5, step))
        for axes in places[:, column]:
            axes.axis("off")
    show(figure, "Top: test pictures. Bottom: the same pictures coloured by the class token's attention in the last block, "
         "averaged over heads, bright where it looks most; the strongest patch is framed.")  # fmt: skip


def _frame(x: float, y: float, side: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), side, side, fill=False, edgecolor=ORANGE, linewidth=2)


@style()
def confusion(labels: Tensor, predicted: Tensor, names: Sequence[str]) -> None:
    """Which classes are taken for which, in per cent of each true class."""
    count = len(names)
    table = torch.zeros(count, count)
    for t, p in zip(labels.tolist(), predicted.tolist(), strict=True):
        table[t, p] += 1
    table = 100 * table / table.sum(1, keepdim=True)
    figure, ((axes,),) = _figure(6.2, 4.6)
    axes.imshow(table, cmap="viridis", vmin=0, vmax=100)
    for row in range(count):
        for column in range(count):
            value = table[row, column].item()
            if value >= 0.5:
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5,
                          color="black" if value > 60 else "white")  # fmt: skip
    axes.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.set(xlabel="predicted", ylabel="true", title="test pictures of each class, in %")
    off = table.clone().fill_diagonal_(0)
    worst = int(off.argmax())
    show(figure, f"Confusion matrix. Most are right; the most frequent confusion is {names[worst // count]} taken for "
         f"{names[worst % count]}, {off.max():.0f} % of its pictures.")  # fmt: skip
