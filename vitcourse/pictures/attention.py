"""The figures of lesson 03."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitcourse.plots import PALETTE, WIDTH, _draw_picture, _new_figure, _picture, show, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _frame(axes: Axes, query: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Mark patch number `query` of a picture of this size (H, W)."""
    from matplotlib.patches import Rectangle

    tall, wide = size[0] / grid[0], size[1] / grid[1]
    row, column = divmod(query, grid[1])
    for colour, line in (("white", 3.5), ("#D55E00", 1.8)):
        axes.add_patch(Rectangle((column * wide - 0.5, row * tall - 0.5), wide, tall, fill=False, edgecolor=colour, linewidth=line))  # fmt: skip


def _lit(image: Any, weights: Tensor, grid: tuple[int, int]) -> Tensor:
    """A picture in 0..1, bright where the weights (N,) are large."""
    picture = _picture(image)
    height, width = picture.shape[:2]
    heat = weights.detach().float().cpu().reshape(1, 1, *grid)
    smooth = F.interpolate(heat, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    light = 0.12 + 0.88 * (smooth / (float(heat.max()) or 1.0)).clamp(0, 1).sqrt()
    return picture * (light[..., None] if picture.ndim == 3 else light)


def _cells(
    axes: Axes, values: Tensor, colours: Sequence[Sequence[str]] | None = None, form: str = "{:.2f}", font: float = 9
) -> None:
    """A matrix as a table of coloured cells with its numbers in it."""
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    for row in range(rows):
        for column in range(columns):
            fill = colours[row][column] if colours else "#EEF3F8"
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=fill, edgecolor="white", linewidth=1.5))
            axes.text(
                column + 0.5,
                row + 0.5,
                form.format(values[row, column].item()),
                ha="center",
                va="center",
                fontsize=font,
            )
    axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
    axes.axis("off")


def _tinted(colour: str, strength: float) -> str:
    """A colour, "#RRGGBB", as light as its strength in 0..1 is small."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - 0.6 * strength * (255 - part)):02x}" for part in parts)


@style()
def one_patch_alone(image: Tensor, grid: tuple[int, int], query: int) -> None:
    """A patch by itself, with its neighbours, and in the whole picture."""
    _, height, width = image.shape
    tall, wide = height // grid[0], width // grid[1]
    row, column = divmod(query, grid[1])
    top, left = row * tall, column * wide
    around = image[:, max(0, top - tall) : top + 2 * tall, max(0, left - wide) : left + 2 * wide]
    figure, axes = _new_figure(1, 3, (WIDTH, 2.75))
    _draw_picture(axes[0], image[:, top : top + tall, left : left + wide], "one patch")
    _draw_picture(axes[1], around, "with its eight neighbours")
    _draw_picture(axes[2], image, "in the whole picture")
    _frame(axes[2], query, grid, (height, width))
    show(
        figure,
        "Three pictures. One patch alone is a brown blur with a dark edge. With its eight neighbours an eye and fur appear. "
        "In the whole picture it is clearly part of a cat's face.",
    )


@style()
def in_numbers(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Attention of two queries to three keys as tables of numbers: scores, weights, mix. Shapes (n, d), (m, d), (m, d_v)."""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    weights = scores.softmax(-1)
    mixed = weights @ v
    tables = [
        (q, "queries\nq  (2 × 4)", "{:.0f}"), (k.T, "keys\nkᵀ  (4 × 3)", "{:.0f}"), (scores, "scores\nq kᵀ/√d  (2 × 3)", "{:.1f}"),
        (weights, "weights\nsoftmax  (2 × 3)", "{:.2f}"), (v, "values\nv  (3 × 2)", "{:.0f}"), (mixed, "mix\n(2 × 2)", "{:.2f}"),
    ]  # fmt: skip
    figure, _ = _new_figure(1, 1, (WIDTH + 1, 2.3))
    figure.clear()
    places = figure.subplots(1, len(tables), width_ratios=[t.shape[1] + 0.6 for t, _, _ in tables])
    rows = [PALETTE[0], PALETTE[1]]
    for axes, (values, title, form), sign in zip(places, tables, ("×", "→", "→", "×", "→", ""), strict=True):
        shade = None
        if values.shape[0] == 2:  # one colour per query; in the weights, the stronger the larger
            full = values / values.abs().amax() if title.startswith("weights") else torch.full_like(values, 0.25)
            shade = [[_tinted(rows[i], float(full[i, j])) for j in range(values.shape[1])] for i in range(2)]
        _cells(axes, values, shade, form, 8.5)
        axes.set_title(title, fontsize=8.5)
        axes.annotate(sign, (1.0, 0.5), xycoords="axes fraction", xytext=(7, 0), textcoords="offset points", ha="center", va="center", fontsize=13)  # fmt: skip
    words = "; ".join(f"query {i}: " + ", ".join(f"{w:.2f}" for w in weights[i].tolist()) for i in range(2))
    show(figure, f"Tables from left to right: two queries times three keys give a 2 by 3 table of scores, the softmax of each row gives weights ({words}), and the weights average three values into one row per query.")  # fmt: skip


@style()
def spread(d: Sequence[int], measured: Sequence[float], largest: Mapping[str, Sequence[float]]) -> None:
    """Standard deviation of q·k against √d, and the largest softmax weight with and without the scale."""
    figure, axes = _new_figure(1, 2, (WIDTH, 3.2))
    axes[0].plot(d, [math.sqrt(x) for x in d], color="#444444", linestyle="--", linewidth=1.4, label="√d")
    axes[0].plot(d, measured, color=PALETTE[0], marker="o", linestyle="", label="measured, q · k")
    axes[0].plot(d, [m / math.sqrt(x) for m, x in zip(measured, d, strict=True)], color=PALETTE[1], marker="s", linestyle="", label="measured, q · k / √d")  # fmt: skip
    axes[0].set(xscale="log", yscale="log", xlabel="d", title="spread of the scores")
    axes[0].set_xscale("log", base=2)
    axes[0].set_yscale("log", base=2)
    axes[0].legend()
    for i, (name, values) in enumerate(largest.items()):
        axes[1].plot(d, values, color=PALETTE[i], marker="os"[i], linestyle=("-", "--")[i], label=name)
    axes[1].set_xscale("log", base=2)
    axes[1].set(xlabel="d", ylim=(0, 1.02), title="largest weight among 64 keys (mean)")
    axes[1].legend(loc="center right")
    for place in axes:
        place.grid(color="#dddddd", linewidth=0.6)
    show(
        figure,
        "Left: the standard deviation of q times k lies on the line √d from d = 4 to 1024; divided by √d it stays at 1. "
        "Right: without the scale the largest of 64 weights climbs close to 1 as d grows; with the scale it stays small.",
    )


_TINTS = ("#9CC9E8", "#F4B98A", "#8FD6BC", "#E5BBD4")


@style()
def heads_of(split: Callable[[Tensor, int], Tensor]) -> None:
    """What a function makes of 5 tokens of 12 numbers and 3 heads, beside a plain reshape. Colour: the right head."""
    tokens = torch.arange(60.0).view(1, 5, 12)
    mine = split(tokens, 3)
    figure, _ = _new_figure(1, 1, (WIDTH, 5.6))
    figure.clear()
    stack: Any = figure.subfigures(3, 1, height_ratios=[1.15, 1, 1])
    top, *parts = stack
    place = top.subplots(1, 1)

    def tint(values: Tensor) -> list[list[str]]:
        return [[_TINTS[int(n) % 12 // 4] for n in row] for row in values.tolist()]

    def label(axes: Axes, values: Tensor) -> None:
        rows = len(values)
        _cells(axes, values, tint(values), "{:.0f}", 8)
        for row in range(rows):
            axes.text(-0.25, row + 0.5, str(row), ha="right", va="center", fontsize=7.5, color="#555555")

    label(place, tokens[0])
    place.set_title("5 tokens (rows) of 12 numbers. Colour: the head that should get the number", fontsize=9)
    for part, heads, title in zip(parts, (mine, tokens.reshape(1, 3, 5, 4)), ("your split_heads", "a plain reshape, for comparison"), strict=True):  # fmt: skip
        part.suptitle(title, fontsize=9.5, fontweight="bold")
        axes = part.subplots(1, heads.shape[1], squeeze=False)[0]
        for i, axis in enumerate(axes):
            label(axis, heads[0, i])
            axis.set_title(f"head {i}", fontsize=8.5)
    good = mine.shape == (1, 3, 5, 4) and bool((mine[0] % 12 // 4 == torch.arange(3.0)[:, None, None]).all())
    show(
        figure,
        "Three tables, one above the other. First: 5 tokens of 12 numbers in three colours, numbers 0 to 3 for head 0, 4 "
        "to 7 for head 1, 8 to 11 for head 2. Second: the heads that your function makes, "
        + ("each in a single colour with one row per token. " if good else "with colours mixed. ")
        + "Third: a plain reshape, where each head holds all three colours and pieces of two tokens only.",
    )


@style()
def fused_qkv(heads: int = 3, width: int = 4) -> None:
    """The order of the outputs of the fused layer: (3, h, d), beside the order (h, 3, d) that it is not."""
    from matplotlib.patches import Rectangle

    figure, axes = _new_figure(2, 1, (WIDTH, 2.5))
    right = [(name, head) for name in "qkv" for head in range(heads)]
    other = [(name, head) for head in range(heads) for name in "qkv"]
    for place, order, title in zip(axes, (right, other), ("qkv here, and in timm and torch: order (3, h, d)", "not this: order (h, 3, d)"), strict=True):  # fmt: skip
        for i, (name, head) in enumerate(order):
            place.add_patch(Rectangle((i * width, 0), width, 1, facecolor=_TINTS["qkv".index(name)], edgecolor="white", linewidth=2, hatch=("", "...", "///")[head % 3], alpha=0.95))  # fmt: skip
            place.text(i * width + width / 2, 0.5, f"{name}, head {head}", ha="center", va="center", fontsize=8.5,
                       bbox={"fc": "white", "ec": "none", "alpha": 0.8, "boxstyle": "round,pad=0.15"})  # fmt: skip
        place.set(xlim=(0, 3 * heads * width), ylim=(0, 1))
        place.set_yticks([])
        place.set_xticks(range(0, 3 * heads * width + 1, width))
        place.set_title(title, fontsize=9.5)
        for side in place.spines.values():
            side.set_visible(False)
    show(
        figure,
        f"Two bars of {3 * heads * width} outputs. The first, used here, holds the queries of heads 0 to {heads - 1}, then "
        "all keys, then all values. The second, not used here, holds query, key and value of head 0, then those of head 1, and so on.",
    )


@style()
def shuffled(before: Tensor, after: Tensor, order: Sequence[int]) -> None:
    """Weights of one head (N, N) before and after the tokens changed places."""
    figure, axes = _new_figure(1, 2, (WIDTH, 3.3))
    top = float(torch.maximum(before, after).max())
    n = len(before)
    for place, values, names, title in zip(axes, (before, after), (range(n), order), ("tokens in order", "tokens shuffled"), strict=True):  # fmt: skip
        shown = place.imshow(values.detach().numpy(), cmap="viridis", vmin=0, vmax=top)
        place.set_xticks(range(n), [str(i) for i in names])
        place.set_yticks(range(n), [str(i) for i in names])
        place.set(xlabel="key: token number", ylabel="query: token number", title=title)
    figure.colorbar(shown, ax=axes, shrink=0.8)
    show(figure, "Two heat maps of attention weights. After shuffling the tokens, rows and columns are shuffled in the same way; each pair of tokens keeps its weight.")  # fmt: skip


@style()
def cost(n: Sequence[int], seconds: Mapping[str, Sequence[float]], megabytes: Mapping[str, Sequence[float]], slopes: Mapping[str, tuple[float, float]]) -> None:  # fmt: skip
    """Time and memory against the number of tokens, both axes logarithmic; the slopes (time, memory) in the legend."""
    figure, axes = _new_figure(1, 2, (WIDTH, 3.5))
    for place, values, unit, which in zip(axes, (seconds, megabytes), ("milliseconds of processor time", "MB kept for the backward pass"), (0, 1), strict=True):  # fmt: skip
        for i, (name, line) in enumerate(values.items()):
            place.plot(n, line, color=PALETTE[i], marker="os"[i], linestyle=("-", "--")[i], label=f"{name}: slope {slopes[name][which]:.1f}")  # fmt: skip
        place.set_xscale("log", base=2)
        place.set_yscale("log")
        place.set_xticks(n, [str(x) for x in n])
        place.set(xlabel="tokens N", title=unit)
        place.grid(color="#dddddd", linewidth=0.6)
        place.legend(loc="upper left")
    words = "; ".join(f"{name}: time {t:.1f}, memory {m:.1f}" for name, (t, m) in slopes.items())
    show(figure, f"Two charts with logarithmic axes, time and memory against the number of tokens from {n[0]} to {n[-1]}. Slopes over the three largest sizes: {words}.")  # fmt: skip


def _maps(
    panels: Sequence[Sequence[tuple[Any, Tensor | None, str, int | None]]], grid: tuple[int, int], side: float
) -> Figure:
    """Rows of pictures, each (image, weights or None, title, query to frame or None)."""
    rows, columns = len(panels), max(len(p) for p in panels)
    figure, axes = _new_figure(rows, columns, (columns * side, rows * (side + 0.22)))
    for i in range(rows * columns):
        row, column = divmod(i, columns)
        if column >= len(panels[row]):
            axes[i].axis("off")
            continue
        image, weights, title, query = panels[row][column]
        shown = image if weights is None else _lit(image, weights, grid)
        if weights is not None and shown.ndim == 3:
            shown = shown.permute(2, 0, 1)
        _draw_picture(axes[i], shown, title or None)
        if query is not None:
            _frame(axes[i], query, grid, tuple(_picture(image).shape[:2]))  # type: ignore[arg-type]
    return figure


@style()
def maps(
    rows: Sequence[tuple[Any, Mapping[str, Tensor]]], grid: tuple[int, int], *, alt: str, query: int | None = None
) -> None:
    """One row per picture: the picture, then the picture lit by each of the named weights (N,)."""
    panels = [
        [(image, None, "picture" if i == 0 else "", query), *((image, w, name if i == 0 else "", query) for name, w in named.items())]
        for i, (image, named) in enumerate(rows)
    ]  # fmt: skip
    show(_maps(panels, grid, min(1.7, WIDTH / (1 + max(len(m) for _, m in rows)))), alt)


@style()
def layers_and_heads(image: Any, weights: Tensor, grid: tuple[int, int], query: int | None, alt: str) -> None:
    """All layers (rows) and heads (columns) of one query: weights (L, h, N), the picture lit by them."""
    show(layers_and_heads_figure(image, weights, grid, query), alt)


def layers_and_heads_figure(image: Any, weights: Tensor, grid: tuple[int, int], query: int | None) -> Figure:
    """The figure of `layers_and_heads`, not shown."""
    panels = [
        [
            (image, weights[layer, head], f"layer {layer + 1}, head {head + 1}", query)
            for head in range(weights.shape[1])
        ]
        for layer in range(weights.shape[0])
    ]
    return _maps(panels, grid, min(1.5, WIDTH / weights.shape[1]))


@style()
def distances(per_layer: Sequence[Tensor], everywhere: float, neighbours: float) -> None:
    """Mean attention distance of each head, layer by layer."""
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 3.5))
    for i, heads in enumerate(per_layer):
        for head, value in enumerate(heads.tolist()):
            axes.plot(i + 1 + 0.07 * (head - (len(heads) - 1) / 2), value, color=PALETTE[head % 7], marker="osD^vPX"[head % 7], markersize=7,
                      linestyle="", label=f"head {head + 1}" if i == 0 else None)  # fmt: skip
    for value, name in (
        (everywhere, "looking everywhere equally"),
        (neighbours, "looking at the 3 × 3 neighbourhood equally"),
    ):
        axes.axhline(value, color="#444444", linestyle="--", linewidth=1.2)
        axes.annotate(name, (len(per_layer) + 0.45, value), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=8.5, color="#444444")  # fmt: skip
    axes.set(
        xlim=(0.5, len(per_layer) + 0.5), ylim=(0, everywhere * 1.25), xlabel="layer", ylabel="mean distance in patches"
    )
    axes.set_xticks(range(1, len(per_layer) + 1))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    words = "; ".join(
        f"layer {i + 1}: " + ", ".join(f"{v:.1f}" for v in heads.tolist()) for i, heads in enumerate(per_layer)
    )
    show(figure, f"Mean attention distance of each head in patches, {words}. Dashed lines: {everywhere:.1f} for looking everywhere equally, {neighbours:.1f} for a 3 by 3 neighbourhood.")  # fmt: skip


@style()
def reach(effects: Mapping[str, Tensor], query: int) -> None:
    """Which input patches change the output of one patch: name -> effect (rows, columns), 0 in white."""
    figure, axes = _new_figure(1, len(effects), (WIDTH, 3.0))
    for place, (name, effect) in zip(axes, effects.items(), strict=True):
        grid = (effect.shape[0], effect.shape[1])
        touched = effect.detach() > 1e-9
        place.imshow(
            torch.where(touched, 0.35 + 0.65 * effect / effect.max(), torch.zeros(())).numpy(),
            cmap="Blues",
            vmin=0,
            vmax=1,
        )
        _frame(place, query, grid, grid)
        place.set_title(f"{name}\n{int(touched.sum())} of {effect.numel()} patches", fontsize=9.5)
        place.set_xticks(range(grid[1]))
        place.set_yticks(range(grid[0]))
    words = "; ".join(f"{name}: {int((e > 1e-9).sum())} of {e.numel()}" for name, e in effects.items())
    show(figure, f"Which input patches change the output of the framed patch. {words}.")
