"""The figures of lesson 06."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vitcourse.plots import PALETTE, WIDTH, _draw_picture, _new_figure, show, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Nine light tints that stay apart for the colour-blind together with the numbers written on them.
TINTS = ("#cfe8f7", "#9ecfee", "#56B4E9", "#fbe3c0", "#f4c27a", "#E69F00", "#c9ead9", "#86cfae", "#3fae86")


def _bare(axes: Axes, rows: float, columns: float, title: str = "") -> None:
    """A drawing area of rows × columns cells, row 0 at the top, without ticks."""
    axes.set_xlim(-0.05, columns + 0.05)
    axes.set_ylim(rows + 0.05, -0.05)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=10)


def _cell(axes: Axes, row: float, column: float, colour: str, text: str = "", *, height: float = 1, width: float = 1,
          edge: str = "white", line: float = 0.8, size: float = 9) -> None:  # fmt: skip
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column, row), width, height, facecolor=colour, edgecolor=edge, linewidth=line))
    if text:
        axes.text(column + width / 2, row + height / 2, text, ha="center", va="center", fontsize=size, color="#111111")


def _borders(axes: Axes, rows: Sequence[float], columns: Sequence[float], height: float, width: float,
             colour: str = "black", line: float = 2.2, dash: str = "-") -> None:  # fmt: skip
    """Thick lines at these rows and columns."""
    for row in rows:
        axes.plot((0, width), (row, row), color=colour, linewidth=line, linestyle=dash, clip_on=colour == "white")
    for column in columns:
        axes.plot(
            (column, column), (0, height), color=colour, linewidth=line, linestyle=dash, clip_on=colour == "white"
        )


def _marks(size: int, step: int, first: int = 0) -> list[int]:
    """Where window borders lie along a side: both ends, and every `step` from `first`."""
    return sorted({0, size, *range(first or step, size, step)})


# -------------------------------------------------------------------------------------------- who looks where


@style()
def who_looks_where(photo: Tensor, tokens: int = 16, window: int = 4, query: tuple[int, int] = (6, 10)) -> None:
    """One token and all that it looks at: globally, in its window, in its shifted window."""
    figure, axes = _new_figure(1, 3, (WIDTH, WIDTH / 3 + 0.35))
    side = photo.shape[-1] / tokens
    half = window // 2
    top, left = (v // window * window for v in query)
    shifted_top, shifted_left = ((v - half) // window * window + half for v in query)
    seen = (("global: 256 tokens", 0, 0, tokens), (f"window: {window**2} tokens", top, left, window),
            (f"shifted window: {window**2} tokens", shifted_top, shifted_left, window))  # fmt: skip
    for place, (title, row, column, size) in zip(axes, seen, strict=True):
        light = torch.full((tokens, tokens), 0.28)
        light[row : row + size, column : column + size] = 1.0
        light = light.repeat_interleave(int(side), 0).repeat_interleave(int(side), 1)
        _draw_picture(place, photo * light, title)
        for at in range(tokens + 1):
            place.axhline(at * side - 0.5, color="white", linewidth=0.3, alpha=0.6)
            place.axvline(at * side - 0.5, color="white", linewidth=0.3, alpha=0.6)
        if size < tokens:
            first = half if "shifted" in title else 0
            for at in _marks(tokens, window, first):
                place.axhline(at * side - 0.5, color="white", linewidth=1.3)
                place.axvline(at * side - 0.5, color="white", linewidth=1.3)
        from matplotlib.patches import Rectangle

        corner = (query[1] * side - 0.5, query[0] * side - 0.5)
        place.add_patch(Rectangle(corner, side, side, facecolor=PALETTE[1], edgecolor="white", linewidth=1.2))
        place.set_xlim(-0.5, photo.shape[-1] - 0.5)
        place.set_ylim(photo.shape[-2] - 0.5, -0.5)
    show(figure, f"The same photograph three times under a grid of {tokens} by {tokens} tokens, one token marked in orange. "
         f"With global attention the whole picture is lit. With windows only the marked token's square of {window} by "
         f"{window} tokens is lit. With shifted windows a square of the same size is lit, moved by {half} tokens.")  # fmt: skip


@style()
def with_windows(maps: Mapping[str, Tensor], window: int) -> None:
    """Maps (1, H, W, 3) as pictures under the borders of windows."""
    figure, axes = _new_figure(1, len(maps), (WIDTH, 2.3))
    for place, (name, value) in zip(axes, maps.items(), strict=True):
        _draw_picture(place, value[0].permute(2, 0, 1), name)
        height, width = value.shape[1:3]
        _borders(place, _marks(height, window), _marks(width, window), height, width, "white", 1.2)
        place.set_xlim(-0.5, width - 0.5)
        place.set_ylim(height - 0.5, -0.5)
    show(figure, f"Three photographs under borders of windows of {window} pixels: as it is; moved up and to the left, so that a strip "
         "of its top appears at the bottom and a strip of its left side at the right, with seams inside the last windows; and moved back.")  # fmt: skip


# ---------------------------------------------------------------------------------------------- shift and mask


def region_numbers(height: int, width: int, window: int, shift: tuple[int, int]) -> Tensor:
    """The pieces that shifted borders cut from a map, (H, W), numbered row by row from 0."""
    rows = torch.tensor([sum(i >= cut for cut in range(shift[0] or window, height, window)) for i in range(height)])
    columns = torch.tensor([sum(j >= cut for cut in range(shift[1] or window, width, window)) for j in range(width)])
    return rows[:, None] * (int(columns.max()) + 1) + columns


def _draw_regions(axes: Axes, numbers: Tensor, title: str) -> None:
    height, width = numbers.shape
    _bare(axes, height, width, title)
    for i in range(height):
        for j in range(width):
            number = int(numbers[i, j])
            _cell(axes, i, j, TINTS[number % 9], str(number), size=8 if max(height, width) <= 8 else 7)


def draw_step(axes: Axes, step: int, height: int, width: int, window: int, shift: tuple[int, int]) -> None:
    """One of the four steps of a shifted window: 0 regular windows, 1 shifted borders, 2 the roll, 3 its masks."""
    numbers = region_numbers(height, width, window, shift)
    rolled = numbers.roll((-shift[0], -shift[1]), (0, 1))
    if step == 0:
        _draw_regions(axes, region_numbers(height, width, window, (0, 0)), "1  regular windows")
        _borders(axes, _marks(height, window), _marks(width, window), height, width)
    elif step == 1:
        _draw_regions(axes, numbers, "2  shifted borders: uneven pieces")
        _borders(axes, _marks(height, window, shift[0]), _marks(width, window, shift[1]), height, width, PALETTE[1])
    elif step == 2:
        _draw_regions(axes, rolled, f"3  rolled by {shift}: even windows again")
        _borders(axes, _marks(height, window), _marks(width, window), height, width)
    else:
        _draw_regions(axes, rolled, "4  the mask: look only at your own piece")
        _borders(axes, _marks(height, window), _marks(width, window), height, width)
        for across, (size, cut) in ((False, (height, height - shift[0])), (True, (width, width - shift[1]))):
            if cut < size:
                rows, columns = ((), (cut,)) if across else ((cut,), ())
                _borders(axes, rows, columns, height, width, PALETTE[1], 3.0, (0, (2, 1)))  # type: ignore[arg-type]


@style()
def shift_steps(height: int = 8, width: int = 8, window: int = 4, shift: tuple[int, int] = (2, 2)) -> None:
    """Shift and mask in four steps, on a small map with numbered pieces."""
    figure, axes = _new_figure(2, 2, (WIDTH, WIDTH * height / width + 0.5))
    for step, place in enumerate(axes):
        draw_step(place, step, height, width, window, shift)
    show(figure, f"A map of {height} by {width} tokens in four steps. 1: regular windows of side {window}. 2: borders moved by "
         f"{shift}, which cut the map into uneven pieces, each with a number. 3: the map rolled up and to the left; the "
         "pieces now fill even windows, and the last row and column of windows hold several pieces. 4: dashed lines inside "
         "those windows show where the mask separates pieces that the roll brought together.")  # fmt: skip


def may_look(mask: Tensor) -> Tensor:
    """A mask in any of its forms as bool, True where the query may look."""
    return mask if mask.dtype == torch.bool else mask > -1e-6


@style()
def mask_tables(yours: Tensor, height: int, width: int, window: int, shift: tuple[int, int]) -> None:
    """Your mask of every window above the target's; dark cells are blocked."""
    rolled = region_numbers(height, width, window, shift).roll((-shift[0], -shift[1]), (0, 1))
    target = []
    for i in range(0, height, window):
        for j in range(0, width, window):
            piece = rolled[i : i + window, j : j + window].flatten()
            target.append(piece[:, None] == piece[None])
    figure, axes = _new_figure(2, len(target), (WIDTH, 2 * WIDTH / len(target) + 0.7))
    for row, (name, tables) in enumerate((("yours", may_look(yours)), ("target", torch.stack(target)))):
        for number in range(len(target)):
            place = axes[row * len(target) + number]
            place.imshow(tables[number].float().numpy(), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
            place.set_xticks([])
            place.set_yticks([])
            place.set_title(f"window {number}" if row == 0 else "", fontsize=9)
            place.set_ylabel(f"{name}\nquery" if number == 0 else "", fontsize=9)
            place.set_xlabel("key" if row == 1 else "", fontsize=9)
    same = tuple(yours.shape) == tuple(torch.stack(target).shape) and bool(
        (may_look(yours) == torch.stack(target)).all()
    )
    show(figure, f"One table for each of the {len(target)} windows, your mask above the target: light where the query may look, dark where "
         f"not. The first window is all light, the last is the most divided. Yours and the target are {'equal' if same else 'not equal'}.")  # fmt: skip


# ------------------------------------------------------------------------------------------- relative positions


@style()
def offset_numbers(yours: Tensor, window: tuple[int, int]) -> None:
    """The numbered offsets of a window, and your index beside the target."""
    tall, wide = window
    figure, axes = _new_figure(1, 3, (WIDTH, 3.0))
    place = axes[0]
    _bare(place, 2 * tall - 1, 2 * wide - 1, "offsets (down, across)\nand their numbers")
    for number in range((2 * tall - 1) * (2 * wide - 1)):
        i, j = divmod(number, 2 * wide - 1)
        middle = (i, j) == (tall - 1, wide - 1)
        offset = f"({i - tall + 1},{j - wide + 1})".replace("-", "−")
        _cell(place, i, j, TINTS[5] if middle else TINTS[0], f"{offset}\n{number}", size=7.5)
    tokens = tall * wide
    spot = torch.arange(tokens)
    down = spot[:, None] // wide - spot[None] // wide + tall - 1
    across = spot[:, None] % wide - spot[None] % wide + wide - 1
    target = down * (2 * wide - 1) + across
    for place, name, table in ((axes[1], "yours", yours), (axes[2], "target", target)):
        place.imshow(table.float().numpy(), cmap="viridis", vmin=0, vmax=float(target.max()), interpolation="nearest")
        for i in range(tokens):
            for j in range(tokens):
                value = int(table[i, j])
                place.text(j, i, str(value), ha="center", va="center", fontsize=8,
                           color="black" if value > 0.6 * float(target.max()) else "white")  # fmt: skip
        place.set(xlabel="key", xticks=range(tokens), yticks=range(tokens))
        place.set_title(name, fontsize=10)
    axes[1].set_ylabel("query")
    show(figure, f"Left: the {(2 * tall - 1) * (2 * wide - 1)} offsets of a window of {tall} by {wide} tokens as a table, numbered row by row; the offset "
         "(0, 0) lies in the middle. Right: for each query and key the number of their offset, yours beside the target; "
         "the diagonal holds the number of the offset (0, 0) everywhere.")  # fmt: skip


@style()
def bias_maps(table: Tensor, window: int, title: str) -> None:
    """A learned bias table (offsets, heads) as one picture per head, the offset (0, 0) in the middle."""
    heads = table.shape[1]
    maps = table.detach().cpu().T.reshape(heads, 2 * window - 1, 2 * window - 1)
    figure, axes = _new_figure(1, heads, (min(WIDTH, 2.6 * heads + 0.8), 2.9))
    top = float(maps.abs().max())
    ends = (-window + 0.5, window - 0.5, window - 0.5, -window + 0.5)
    for head, place in enumerate(axes):
        drawn = place.imshow(maps[head].numpy(), cmap="PuOr", vmin=-top, vmax=top, extent=ends, interpolation="nearest")
        place.plot(0, 0, "k+", markersize=9)
        place.set_title(f"head {head}", fontsize=10)
        place.set_xlabel("query − key, columns")
    axes[0].set_ylabel("query − key, rows")
    figure.colorbar(drawn, ax=axes, shrink=0.85, label="added to the score")
    figure.suptitle(title, fontsize=11)
    show(figure, f"{title}: one picture per head. The colour at an offset is what the head adds to the score of every pair of tokens at that "
         "offset; a cross marks the offset zero. The heads have learned different patterns.")  # fmt: skip


# --------------------------------------------------------------------------------------------------- influence


def influence(blocks: Sequence[Any], height: int, width: int, dim: int, token: tuple[int, int]) -> Tensor:
    """Which tokens of the input the output of one token depends on after these blocks: bool (H, W).

    Asked with derivatives, in float64, on random numbers: 0 means no path at all.
    """
    x = torch.randn(1, height, width, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_()
    out = x
    for block in blocks:
        out = block.double()(out)
    (grad,) = torch.autograd.grad(out[0, token[0], token[1]].square().sum(), x)
    return grad[0].abs().sum(-1) > 0


@style()
def influences(maps: Mapping[str, Tensor], window: int, token: tuple[int, int], caption: str = "") -> None:
    """Maps of influence, one panel each: light cells reach the marked token."""
    side = min(2.4, WIDTH / len(maps))
    figure, axes = _new_figure(1, len(maps), (side * len(maps), side + 0.6))
    for place, (title, reached) in zip(axes, maps.items(), strict=True):
        height, width = reached.shape
        _bare(place, height, width, f"{title}\n{int(reached.sum())} of {height * width} tokens")
        for i in range(height):
            for j in range(width):
                colour = PALETTE[1] if (i, j) == token else (TINTS[2] if reached[i, j] else "#eeeeee")
                _cell(place, i, j, colour, line=0.5)
        _borders(place, _marks(height, window), _marks(width, window), height, width, line=1.2)
    words = "; ".join(f"{title}: {int(reached.sum())}" for title, reached in maps.items()).replace("\n", " ")
    show(figure, f"Grids of tokens with window borders. One token is marked; blue cells are those it depends on. Number of such tokens: {words}.",
         caption or None)  # fmt: skip


# -------------------------------------------------------------------------------------------- merging and pyramid


@style()
def merging_order() -> None:
    """Four neighbours become one token: which channels stand where."""
    figure, axes = _new_figure(1, 2, (WIDTH, 2.5))
    names = {(0, 0): ("a", TINTS[2]), (1, 0): ("b", TINTS[5]), (0, 1): ("c", TINTS[8]), (1, 1): ("d", "#CC79A7")}
    _bare(axes[0], 4, 6, "a map of 4×6 tokens, C channels each")
    for i in range(4):
        for j in range(6):
            letter, colour = names[i % 2, j % 2]
            _cell(axes[0], i, j, colour, letter)
    _borders(axes[0], (0, 2, 4), (0, 2, 4, 6), 4, 6)
    _bare(axes[1], 4, 7, "each square becomes one token")
    for place, key in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        letter, colour = names[key]
        _cell(axes[1], 0.6, place * 1.75, colour, f"{letter}\nC", width=1.75, height=1.0)
    axes[1].annotate("", (3.5, 2.7), (3.5, 1.7), arrowprops={"arrowstyle": "->", "color": "#111111"})
    axes[1].text(3.7, 2.2, "norm over 4C, then reduction", fontsize=9, va="center")
    _cell(axes[1], 2.8, 1.75, "#dddddd", "2C", width=3.5, height=1.0)
    show(figure, "Left: a map of 4 by 6 tokens in squares of four; in each square a is top left, b bottom left, c top right, d bottom right. "
         "Right: the four tokens side by side in the order a, b, c, d, with C channels each; norm and reduction make 2C of 4C.")  # fmt: skip


@style()
def pyramid() -> None:
    """The maps of a ViT and of a Swin at 224 pixels, drawn to one scale."""
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 2.9))
    _bare(axes, 74, 215)
    axes.text(0, 1, "ViT-B/16: one map, 12 blocks", fontsize=10, va="top")
    axes.text(72, 1, "Swin-T: four stages; after each, half the side and twice the width", fontsize=10, va="top")
    boxes = ((14, 768, 0, PALETTE[1], "14×14\nC = 768"), (56, 96, 72, PALETTE[0], "56×56\nC = 96"), (28, 192, 136, PALETTE[0], "28×28\nC = 192"),
             (14, 384, 172, PALETTE[0], "14×14\nC = 384"), (7, 768, 198, PALETTE[0], "7×7\nC = 768"))  # fmt: skip
    for side, _, left, colour, words in boxes:
        _cell(axes, 64 - side, left, colour, width=side, height=side, edge="#111111")
        lines = range(0, side + 1, 7)
        if left:
            for at in lines:
                axes.plot((left, left + side), (64 - side + at,) * 2, color="white", linewidth=0.9)
                axes.plot((left + at,) * 2, (64 - side, 64), color="white", linewidth=0.9)
        axes.text(left + max(side, 10) / 2, 66, words, ha="center", va="top", fontsize=9)
    show(figure, "Squares drawn to scale. ViT-B/16 keeps one map of 14 by 14 tokens. Swin-T goes from 56 by 56 tokens of width 96 through 28 by 28 "
         "and 14 by 14 to 7 by 7 tokens of width 768; white lines show its windows of 7 by 7 tokens, 64, 16, 4 and 1 of them.")  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ cost


@style()
def cost_curves(
    tokens: Sequence[int], work: Mapping[str, Sequence[float]], seconds: Mapping[str, Sequence[float]]
) -> None:
    """Formula and measurement side by side, both on logarithmic axes."""
    figure, axes = _new_figure(1, 2, (WIDTH, 3.3))
    for place, lines, title, label in (
        (axes[0], work, "the formulas", "multiplications"), (axes[1], seconds, "measured here", "seconds"),
    ):  # fmt: skip
        for index, (name, values) in enumerate(lines.items()):
            place.plot(
                tokens,
                values,
                color=PALETTE[index],
                marker="os"[index],
                linestyle=("-", "--")[index],
                label=name,
                linewidth=1.8,
            )
        place.set(xscale="log", yscale="log", xlabel="tokens HW", ylabel=label)
        place.set_title(title, fontsize=10)
        place.set_xticks(tokens, [f"{count}" for count in tokens])
        place.minorticks_off()
        place.grid(color="#dddddd", linewidth=0.6)
        place.legend(loc="upper left")
    growth = {name: values[-1] / values[-2] for name, values in seconds.items()}
    words = ", ".join(f"{name} times {factor:.1f}" for name, factor in growth.items())
    show(figure, "Two charts over the number of tokens, both axes logarithmic: multiplications by the formulas, and seconds measured here. In both, "
         f"global attention bends upwards and rises more steeply than attention in windows. From the last but one size to the last, the time grew: {words}.")  # fmt: skip
