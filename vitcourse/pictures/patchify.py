"""The figures of lesson 01."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vitcourse.plots import _DASHES, _MARKERS, PALETTE, WIDTH, _draw_picture, _new_figure, _picture, show, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TINTS = ("#56B4E9", "#E69F00", "#2FB58A", "#CC79A7", "#A6C8E8", "#F2CF80")  # the palette's, light enough for black text


def cut(image: Tensor, patch_size: int) -> list[Tensor]:
    """The patches of a picture (C, H, W) as small pictures (C, P, P), in reading order, cut out by slices."""
    p = patch_size
    return [
        image[:, top : top + p, left : left + p]
        for top in range(0, image.shape[1], p)
        for left in range(0, image.shape[2], p)
    ]


def tiles(patches: Sequence[Tensor] | Tensor, grid: tuple[int, int], gap: int = 3, fill: float = 1.0) -> Tensor:
    """Small pictures (C, P, P), or vectors of C·P·P numbers with C = 3 or 1, laid out on a grid with gaps: (C, H, W)."""
    small = [_as_picture(patch) for patch in patches]
    channels, p, _ = small[0].shape
    rows, cols = grid
    sheet = torch.full((channels, rows * (p + gap) - gap, cols * (p + gap) - gap), fill)
    for n, patch in enumerate(small[: rows * cols]):
        top, left = n // cols * (p + gap), n % cols * (p + gap)
        sheet[:, top : top + p, left : left + p] = patch
    return sheet


def _as_picture(patch: Tensor) -> Tensor:
    if patch.ndim == 3:
        return patch
    for channels in (3, 1):
        side = round((patch.numel() / channels) ** 0.5)
        if channels * side**2 == patch.numel():
            return patch.reshape(channels, side, side)
    raise ValueError(f"{patch.numel()} numbers are not a square patch of 3 channels or of 1")


def _grid_lines(axes: Axes, height: int, width: int, patch_size: int, thin: float = 0.6) -> None:
    for colour, line in (("white", thin + 1.0), ("black", thin)):
        for at in range(0, height + 1, patch_size):
            axes.plot((-0.5, width - 0.5), (at - 0.5, at - 0.5), color=colour, linewidth=line)
        for at in range(0, width + 1, patch_size):
            axes.plot((at - 0.5, at - 0.5), (-0.5, height - 0.5), color=colour, linewidth=line)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


@style()
def sentence_and_picture(image: Tensor, patch_size: int, words: Sequence[str]) -> None:
    """A sentence cut into words above a picture cut into patches: two sequences of tokens."""
    from matplotlib.patches import FancyBboxPatch

    _, height, width = image.shape
    patches = cut(image, patch_size)
    if len(words) != len(patches):
        raise ValueError(f"{len(words)} words for {len(patches)} patches")
    figure, axes = _new_figure(2, 1, (WIDTH, 3.3))
    for place in axes:
        place.axis("off")
    n = len(words)
    left = 2.4  # where the sequences begin, in units of one token

    axes[0].set_xlim(0, left + n)
    axes[0].set_ylim(0, 1.05)
    half = (n + 1) // 2
    axes[0].text(
        1.05, 0.51, f"“{' '.join(words[:half])}\n{' '.join(words[half:])}”", fontsize=12, va="center", ha="center", style="italic",
        linespacing=1.5,
    )  # fmt: skip
    for i, word in enumerate(words):
        x = left + i
        axes[0].add_patch(
            FancyBboxPatch(
                (x + 0.08, 0.3), 0.84, 0.42, boxstyle="round,pad=0.02", fc=TINTS[i % 6], ec="#444444", lw=0.8
            )
        )
        axes[0].text(x + 0.5, 0.51, word, ha="center", va="center", fontsize=11)
        axes[0].text(x + 0.5, 0.12, str(i), ha="center", va="center", fontsize=9, color="#444444")
    axes[0].text(left + n / 2, 0.92, "a sentence is a sequence of word tokens", ha="center", fontsize=10, weight="bold")

    axes[1].set_xlim(0, left + n)
    aspect = 3.3 * 0.5 / WIDTH * (left + n)  # height of the axes in units of one token, about
    axes[1].set_ylim(0, aspect)
    axes[1].set_aspect("equal")
    middle = aspect / 2 - 0.1
    tall = 2.1 * height / width
    axes[1].imshow(
        _picture(image).numpy(), extent=(0.0, 2.1, middle - tall / 2, middle + tall / 2), interpolation="nearest"
    )
    step = 2.1 * patch_size / width
    for row in range(1, height // patch_size):
        axes[1].plot((0, 2.1), (middle + tall / 2 - row * step,) * 2, color="white", lw=2)
    for col in range(1, width // patch_size):
        axes[1].plot((col * step,) * 2, (middle - tall / 2, middle + tall / 2), color="white", lw=2)
    for i, patch in enumerate(patches):
        x = left + i
        axes[1].imshow(
            _picture(patch).numpy(), extent=(x + 0.05, x + 0.95, middle - 0.45, middle + 0.45), interpolation="nearest"
        )
        axes[1].text(x + 0.5, middle - 0.66, str(i), ha="center", va="center", fontsize=9, color="#444444")
    axes[1].text(
        left + n / 2, middle + 0.66, "a picture is a sequence of patch tokens", ha="center", fontsize=10, weight="bold"
    )
    axes[1].set_xlim(0, left + n)
    axes[1].set_ylim(0, aspect)
    show(
        figure,
        f"Above, the sentence “{' '.join(words)}” becomes {n} boxes in a row, one per word, numbered 0 to {n - 1}. Below, a "
        f"photograph is cut into {height // patch_size} rows and {width // patch_size} columns of squares, which become "
        f"{n} small pictures in a row, numbered 0 to {n - 1} in reading order.",
    )


@style()
def stripes(image: Tensor, patch_size: int) -> None:
    """What a plain reshape calls patches, beside the patches."""
    _, height, width = image.shape
    grid = (height // patch_size, width // patch_size)
    reshaped = image.reshape(-1, image.shape[0], patch_size, patch_size)
    figure, axes = _new_figure(1, 3, (WIDTH, WIDTH / 3 * height / width + 0.55))
    _draw_picture(axes[0], image, f"the picture, {height}×{width}\nand its grid, P = {patch_size}")
    _grid_lines(axes[0], height, width, patch_size)
    _draw_picture(axes[1], tiles(list(reshaped), grid), "plain reshape:\nstripes, cut and rolled up")
    _draw_picture(axes[2], tiles(cut(image, patch_size), grid), "patches:\nsquares of the picture")
    show(
        figure,
        f"Three panels. Left: a photograph under a grid of {grid[0]} by {grid[1]}. Middle: what a plain reshape calls patches: "
        f"{grid[0] * grid[1]} squares of coloured stripes in which nothing can be recognised. Right: the real patches, laid out "
        "with gaps; together they show the photograph.",
    )


def _boxes(axes: Axes, numbers: Sequence[int], owner: Sequence[int], y: float, group: int) -> None:
    from matplotlib.patches import Rectangle

    for place, number in enumerate(numbers):
        x = place + 0.35 * (place // group)
        axes.add_patch(Rectangle((x, y), 1, 1, fc=TINTS[owner[number]], ec="#444444", lw=0.8))
        axes.text(x + 0.5, y + 0.5, str(number), ha="center", va="center", fontsize=9)
    for part in range(len(numbers) // group):
        x = part * (group + 0.35)
        axes.text(x + group / 2, y - 0.42, f"row {part}", ha="center", va="center", fontsize=8, color="#444444")


@style()
def memory_order() -> None:
    """A 4×4 picture, the order of its numbers in memory, and the order that patches need."""
    from matplotlib.patches import Rectangle

    owner = [(i // 4 // 2) * 2 + i % 4 // 2 for i in range(16)]  # which patch each pixel belongs to
    wanted = sorted(range(16), key=lambda i: owner[i])
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 2.6))
    axes.axis("off")
    axes.set_aspect("equal")
    for i in range(16):
        x, y = -7.2 + i % 4 * 1.25, 3.4 - i // 4 * 1.25
        axes.add_patch(Rectangle((x, y), 1.25, 1.25, fc=TINTS[owner[i]], ec="#444444", lw=0.8))
        axes.text(x + 0.62, y + 0.62, str(i), ha="center", va="center", fontsize=10)
    for at in (0, 2.5, 5):
        axes.plot((-7.2, -2.2), (-0.35 + at,) * 2, color="black", lw=2)
        axes.plot((-7.2 + at,) * 2, (-0.35, 4.65), color="black", lw=2)
    axes.text(-4.7, 5.15, "x: 4×4 pixels, P = 2", ha="center", fontsize=9)
    axes.text(0, 4.7, "in memory, and after x.reshape(4, 4): every row is a stripe", fontsize=9)
    _boxes(axes, range(16), owner, 3.35, 4)
    axes.text(0, 1.65, "what we want: every row is a patch (one colour)", fontsize=9)
    _boxes(axes, wanted, owner, 0.3, 4)
    axes.set_xlim(-7.4, 17.3)
    axes.set_ylim(-0.6, 5.7)
    show(
        figure,
        "A grid of 4 by 4 numbers from 0 to 15 in four colours, one per 2 by 2 patch. In memory the numbers stand in the order 0 "
        "to 15, and a reshape to 4 rows gives rows of two colours each: 0 1 2 3, then 4 5 6 7, and so on. Patches need the order "
        "0 1 4 5, then 2 3 6 7, 8 9 12 13, and 10 11 14 15: one colour per row.",
    )


@style()
def what_a_token_sees(image: Tensor, sizes: Sequence[int], at: tuple[int, int]) -> None:
    """A picture under grids of several patch sizes; below each, the one patch that covers the point `at` (row, column)."""
    from matplotlib.patches import Rectangle

    _, height, width = image.shape
    row, col = at
    side = WIDTH / len(sizes)
    figure, axes = _new_figure(2, len(sizes), (WIDTH, side * (height / width + 0.72) + 0.7))
    for top, bottom, p in zip(axes[: len(sizes)], axes[len(sizes) :], sizes, strict=True):
        rows, cols = height // p, width // p
        _draw_picture(top, image, f"P = {p}: {rows}×{cols} = {rows * cols:,} tokens")
        _grid_lines(top, height, width, p, thin=0.35)
        y, x = row // p * p, col // p * p
        for colour, line in (("white", 4.0), ("#D55E00", 2.2)):
            top.add_patch(Rectangle((x - 0.5, y - 0.5), p, p, fill=False, ec=colour, lw=line, zorder=5))
        _draw_picture(bottom, image[:, y : y + p, x : x + p], f"one token: {3 * p * p:,} numbers")
        bottom.set_anchor("C")
    words = ", ".join(f"P = {p} ({(height // p) * (width // p)} tokens)" for p in sizes)
    show(
        figure,
        f"A photograph of {height} by {width} pixels under grids with {words}; in each, the patch at the same place is framed. "
        "Below, that patch enlarged: the larger P, the more of the scene one token holds.",
    )


@style()
def cost_curves(height: int, width: int, sizes: Sequence[int], dim: int) -> None:
    """Multiply-adds of one encoder layer against the patch side: the part that grows with N, the part with N²."""
    tokens = [(height // p) * (width // p) for p in sizes]
    parts = {
        "linear layers, 12·N·D²": [12 * n * dim**2 / 1e9 for n in tokens],
        "attention, 2·N²·D": [2 * n**2 * dim / 1e9 for n in tokens],
    }
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 3.5))
    for index, (label, values) in enumerate(parts.items()):
        axes.plot(
            sizes, values, color=PALETTE[index], linestyle=_DASHES[index], marker=_MARKERS[index], label=label, lw=1.8
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(sizes), [f"{p}\nN = {n:,}" for p, n in zip(sizes, tokens, strict=True)], fontsize=8)
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set(
        xlabel=f"patch side P (smaller patches to the right), picture {height}×{width}, D = {dim}",
        ylabel="billion multiply-adds\nper layer and picture",
    )
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.legend(loc="upper left")
    said = "; ".join(f"P = {p}: {a:.2g} and {b:.2g}" for p, a, b in zip(sizes, *parts.values(), strict=True))
    show(
        figure,
        f"Billions of multiply-adds of one layer with D = {dim} against the patch side, on logarithmic axes; linear layers and "
        f"attention: {said}. Attention's line is twice as steep and crosses the other where N is 6·D = {6 * dim:,}.",
    )


@style()
def patch_map(places: Any, patches: Tensor, owner: Sequence[int] | Tensor, names: Sequence[str]) -> None:
    """Every patch drawn at its place on a map (M, 2); the frame's colour says from which photograph it comes.

    patches: (M, C·P·P) with C = 3. owner: (M,) number of the photograph.
    """
    from matplotlib.lines import Line2D
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    figure, (axes,) = _new_figure(1, 1, (WIDTH, 6.4))
    places = torch.as_tensor(places)
    pictures = [_as_picture(patch) for patch in patches]
    for (x, y), patch, number in zip(places.tolist(), pictures, list(map(int, owner)), strict=True):
        thumb = OffsetImage(_picture(patch).numpy(), zoom=15 / patch.shape[1], interpolation="bilinear")
        frame = {"edgecolor": PALETTE[number % 7], "linewidth": 1.6, "facecolor": "none"}
        axes.add_artist(AnnotationBbox(thumb, (x, y), pad=0.04, bboxprops=frame))
    low, high = places.min(0).values, places.max(0).values
    margin = 0.04 * (high - low)
    axes.set_xlim(float(low[0] - margin[0]), float(high[0] + margin[0]))
    axes.set_ylim(float(low[1] - margin[1]), float(high[1] + margin[1]))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles = [Line2D([], [], color=PALETTE[i % 7], lw=4, label=name) for i, name in enumerate(names)]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.005), ncols=len(names), handlelength=1.2)
    show(
        figure,
        f"{len(pictures)} patches as small pictures on a map, each framed in the colour of its photograph ({', '.join(names)}). "
        "Patches of like colour and brightness lie together, whatever they show: grey with grey, dark with dark, orange with orange.",
    )
