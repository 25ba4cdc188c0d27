"""Pictures for the notebooks: colour-blind safe, readable on light and dark themes, always with a text alternative.

Every function draws one figure, shows it and returns nothing. ``alt`` says in words what a reader who cannot see the
figure should take from it. matplotlib is loaded at the first figure.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colour-blind safe colours, strongest first, without the yellow that vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")
WIDTH = 7.5  # inches, a notebook column
DPI = 90

Curve = Sequence[float] | Tensor
Band = tuple[Curve, Curve, Curve]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The course's matplotlib settings, for figures you draw yourself: ``with style(): fig, ax = plt.subplots()``."""
    import matplotlib.style
    from cycler import cycler

    settings: dict[str, Any] = {
        "figure.facecolor": "white",
        "figure.figsize": (WIDTH, 3.6),
        "figure.dpi": DPI,
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.facecolor": "white",
        "axes.edgecolor": "#444444",
        "axes.grid": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.labelsize": 10,
        "font.size": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "image.cmap": "viridis",
        "text.color": "#111111",
        "axes.labelcolor": "#111111",
        "xtick.color": "#111111",
        "ytick.color": "#111111",
    }
    with matplotlib.style.context(settings, after_reset=True):  # a dark style set elsewhere must not leak in
        yield


def _new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (WIDTH, 3.6)) -> tuple[Figure, list[Axes]]:
    """A figure that belongs to no window, and its axes in reading order."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _in_ipython() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


def figure_html(fig: Figure, alt: str, caption: str | None = None) -> str:
    """The figure as an HTML ``<figure>`` with an embedded PNG, its text alternative and an optional caption.

    Raises ValueError for an empty alt text.
    """
    if not alt.strip():
        raise ValueError("alt must describe the figure in words for readers who cannot see it")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.08)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure style="margin:0.5em 0"><img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{data}" '
        f'style="max-width:100%; background:#fff; border-radius:6px">{note}</figure>'
    )


def show(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Display `fig` in the notebook with its text alternative, and close it. Outside a notebook, print `alt`.

    alt: what the figure shows, in words; an empty one raises ValueError. caption: a line under the picture.
    """
    page = figure_html(fig, alt, caption)
    if _in_ipython():
        from IPython.display import display

        display({"text/html": page, "text/plain": alt}, raw=True)
    else:
        print(alt)
    if "matplotlib.pyplot" in sys.modules:  # only then can it have a window or a place in pyplot's list
        sys.modules["matplotlib.pyplot"].close(fig)


# --------------------------------------------------------------------------- pictures


def _picture(image: Any) -> Tensor:
    """A tensor or array (C, H, W), (H, W) with 1 or 3 channels as float (H, W) or (H, W, 3) in 0..1 on the CPU."""
    tensor = torch.as_tensor(image).detach().float().cpu()
    if tensor.ndim == 3 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim == 3 and tensor.shape[0] == 3:
        tensor = tensor.permute(1, 2, 0)
    elif tensor.ndim != 2:
        raise ValueError(f"an image must be (3, H, W), (1, H, W) or (H, W), got shape {tuple(tensor.shape)}")
    return tensor.clamp(0, 1)


def _draw_picture(axes: Axes, image: Any, title: str | None = None) -> None:
    axes.imshow(_picture(image).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_anchor("N")
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=9)


@style()
def show_images(
    images: Tensor | Sequence[Any],
    titles: Sequence[Any] | None = None,
    columns: int | None = None,
    *,
    alt: str,
    caption: str | None = None,
    size: float | None = None,
) -> None:
    """A grid of pictures: a batch (B, C, H, W), one picture (C, H, W), or a list of pictures, 1 or 3 channels, 0..1.

    titles: one for each picture. columns: default at most 8. size: inches of a picture's side, default fits the page.
    """
    pictures = [images] if isinstance(images, Tensor) and images.ndim <= 3 else list(images)
    if not pictures:
        raise ValueError("there is no picture to show")
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(titles)} titles")
    columns = min(len(pictures), columns or 8)
    rows = math.ceil(len(pictures) / columns)
    side = size or min(2.6, WIDTH / columns)
    height, width = _picture(pictures[0]).shape[:2]
    longest = max(str(t).count("\n") + 1 for t in titles) if titles else 0
    shape = (columns * side, rows * (side * min(2.5, height / width) + 0.2 * longest))
    figure, axes = _new_figure(rows, columns, shape)
    for index, place in enumerate(axes):
        if index < len(pictures):
            _draw_picture(place, pictures[index], str(titles[index]) if titles else None)
        else:
            place.axis("off")
    show(figure, alt, caption)


def colour_masks(labels: Tensor) -> Tensor:
    """Class numbers (B, H, W) or (H, W) as colour pictures (B, 3, H, W) or (3, H, W): 0 black, 1 to 12 in 12 colours.

    Show the result with :func:`show_images` and say in the titles which classes occur: with so many classes colours
    alone cannot tell them apart for everyone. Numbers above 12 start again at the first colour.
    """
    tints = (*PALETTE[:6], "#F0E442", "#882255", "#999999", "#44AA99", "#332288", "#FFFFFF")
    rgb = [[int(tint[i : i + 2], 16) / 255 for i in (1, 3, 5)] for tint in tints]
    table = torch.tensor([[0.0, 0.0, 0.0], *rgb])
    numbers = labels.detach().cpu().long()
    index = torch.where(numbers > 0, (numbers - 1) % len(tints) + 1, torch.zeros_like(numbers))
    return table[index].movedim(-1, -3)


@style()
def side_by_side(
    yours: Any,
    target: Any,
    *,
    alt: str,
    titles: tuple[str, str] = ("yours", "target"),
    caption: str | None = None,
) -> None:
    """Your picture beside the target; when their shapes agree, a third panel shows where they differ.

    Both are pictures (C, H, W) in 0..1 or matrices (H, W) of any range, which share one viridis colour scale.
    """
    mine, goal = (torch.as_tensor(t).detach().float().cpu() for t in (yours, target))
    same = mine.shape == goal.shape
    aspect = max(value.shape[-2] / value.shape[-1] for value in (mine, goal))
    figure, axes = _new_figure(1, panels := 3 if same else 2, (WIDTH, min(1.3, aspect) * (WIDTH - 1) / panels + 0.6))
    low, high = min(mine.min(), goal.min()).item(), max(mine.max(), goal.max()).item()
    for place, value, title in zip(axes, (mine, goal), titles, strict=False):
        text = f"{title}\nshape {tuple(value.shape)}"
        if value.ndim == 2:
            drawn = place.imshow(value.numpy(), cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
            place.set_title(text, fontsize=9)
            if title == titles[1]:
                figure.colorbar(drawn, ax=place, shrink=0.75)
        else:
            _draw_picture(place, value, text)
        place.set_xticks([])
        place.set_yticks([])
    if same:
        gap = (mine - goal).abs()
        gap = gap.mean(0) if gap.ndim == 3 else gap
        top = gap.max().item()
        shown = axes[2].imshow(gap.numpy(), cmap="cividis", vmin=0, vmax=top or 1.0, interpolation="nearest")
        words = "no difference" if top == 0 else f"largest {top:.2g}"
        axes[2].set_title(f"difference\n{words}", fontsize=9)
        axes[2].set_xticks([])
        axes[2].set_yticks([])
        if top > 0:
            figure.colorbar(shown, ax=axes[2], shrink=0.75)
    show(figure, alt, caption)


@style()
def show_grid_on(image: Any, patch: int | tuple[int, int], *, alt: str, caption: str | None = None) -> None:
    """A picture (C, H, W) under the grid of its patches, numbered in reading order from 0 when there are at most 200.

    patch: side P of a patch in pixels, or (height, width).
    """
    picture = _picture(image)
    height, width = picture.shape[:2]
    tall, wide = (patch, patch) if isinstance(patch, int) else patch
    if tall < 1 or wide < 1:
        raise ValueError(f"a patch has at least one pixel on each side, got {patch}")
    side = 4.6
    shape = (side, side * height / width) if height <= width else (side * width / height, side)
    figure, (axes,) = _new_figure(1, 1, shape)
    _draw_picture(axes, image)
    down, across = height // tall, width // wide
    for at in range(0, height + 1, tall):
        axes.axhline(at - 0.5, color="white", linewidth=1.6)
        axes.axhline(at - 0.5, color="black", linewidth=0.6)
    for at in range(0, width + 1, wide):
        axes.axvline(at - 0.5, color="white", linewidth=1.6)
        axes.axvline(at - 0.5, color="black", linewidth=0.6)
    if 0 < down * across <= 200:
        font = max(6.0, min(12.0, 72 * min(shape[1] / down, shape[0] / across) * 0.36))
        for number in range(down * across):
            row, column = divmod(number, across)
            axes.text(
                column * wide + (wide - 1) / 2, row * tall + (tall - 1) / 2, str(number), ha="center", va="center",
                fontsize=font, color="black", bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    show(figure, alt, caption)


@style()
def attention_over(
    image: Any,
    weights: Tensor,
    grid: tuple[int, int],
    *,
    alt: str,
    caption: str | None = None,
    query: int | None = None,
) -> None:
    """Attention of one query over a picture: the picture, the weights as a heat map, and the picture lit by them.

    weights: (N,) over the patches only (leave out [CLS]), N = h * w. grid: (h, w). query: number of the patch that
    looks, marked with a frame.
    """
    picture = _picture(image)
    height, width = picture.shape[:2]
    rows, columns = grid
    flat = weights.detach().float().cpu().reshape(-1)
    if flat.numel() != rows * columns:
        raise ValueError(
            f"{flat.numel()} weights do not fill a {rows} x {columns} grid; leave out the weights on [CLS] tokens"
        )
    heat = flat.reshape(rows, columns)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    figure, axes = _new_figure(1, 3, (WIDTH, WIDTH / 3 * min(1.4, height / width) + 0.45))
    for place, title in zip(axes, ("picture", "attention", "lit by attention"), strict=True):
        _draw_picture(place, image, title)
    top = float(flat.max()) or 1.0
    shown = axes[1].imshow(heat.numpy(), cmap="viridis", vmin=0, vmax=top, extent=extent, interpolation="nearest")
    smooth = F.interpolate(heat[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    light = 0.15 + 0.85 * (smooth / top).clamp(0, 1).sqrt()  # the root keeps weaker weights visible
    lit = picture * (light[..., None] if picture.ndim == 3 else light)
    axes[2].imshow(lit.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if query is not None:
        from matplotlib.patches import Rectangle

        row, column = divmod(query, columns)
        tall, wide = height / rows, width / columns
        for place in axes:
            for colour, line in (("white", 3.5), ("#D55E00", 1.8)):
                corner = (column * wide - 0.5, row * tall - 0.5)
                place.add_patch(Rectangle(corner, wide, tall, fill=False, edgecolor=colour, linewidth=line))
    for place in axes:
        place.set_xlim(-0.5, width - 0.5)
        place.set_ylim(height - 0.5, -0.5)
    figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02)
    show(figure, alt, caption)


# --------------------------------------------------------------------------- charts


@style()
def heatmap(
    matrix: Tensor | Sequence[Sequence[float]],
    *,
    alt: str,
    xlabel: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
    xticks: Sequence[Any] | None = None,
    yticks: Sequence[Any] | None = None,
    annotate: bool | None = None,
    colorbar: bool = True,
    vmin: float | None = None,
    vmax: float | None = None,
    caption: str | None = None,
) -> None:
    """A matrix (rows, columns) as colours; numbers are written in when it is small (at most 100) or annotate=True."""
    values = torch.as_tensor(matrix).detach().float().cpu()
    if values.ndim != 2:
        raise ValueError(f"a heat map needs a matrix (rows, columns), got shape {tuple(values.shape)}")
    rows, columns = values.shape
    cell = min(0.62, 6.0 / columns, 5.0 / rows)
    size = (max(3.0, cell * columns + 1.4), max(2.2, cell * rows + 0.8))
    figure, (axes,) = _new_figure(1, 1, size)
    shown = axes.imshow(values.numpy(), cmap="viridis", vmin=vmin, vmax=vmax, interpolation="nearest")
    annotate = rows * columns <= 100 and columns <= 12 if annotate is None else annotate
    if annotate:
        colours = shown.to_rgba(values.numpy())
        whole = bool((values == values.round()).all())
        for row in range(rows):
            for column in range(columns):
                value = values[row, column].item()
                red, green, blue, _ = colours[row, column]
                bright = 0.3 * red + 0.6 * green + 0.1 * blue > 0.5
                text = f"{value:.0f}" if whole else f"{value:.2f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=9, color="black" if bright else "white")
    for ticks, count, setter in ((xticks, columns, axes.set_xticks), (yticks, rows, axes.set_yticks)):
        if ticks is not None:
            setter(range(count), [str(t) for t in ticks])
        elif count <= 12:
            setter(range(count))
    if xticks is not None and max(len(str(t)) for t in xticks) > 4:
        axes.tick_params(axis="x", rotation=45)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set(xlabel=xlabel or "", ylabel=ylabel or "", title=title or "")
    if colorbar:
        figure.colorbar(shown, ax=axes, shrink=0.85)
    show(figure, alt, caption)


def _numbers(values: Curve) -> list[float]:
    return [float(v) for v in values]


@style()
def curves(
    lines: Mapping[str, Curve | Band],
    *,
    alt: str,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
    x: Curve | None = None,
    logx: bool = False,
    logy: bool = False,
    ylim: tuple[float, float] | None = None,
    caption: str | None = None,
) -> None:
    """Lines with their names beside them, told apart by colour, dash and marker.

    lines: name -> values, or name -> (mean, low, high), which draws a band. x: shared positions, default 1, 2, 3, ...
    """
    if not lines:
        raise ValueError("there is no line to draw")
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 3.6))
    ends: list[tuple[float, float, str, str]] = []
    for index, (label, value) in enumerate(lines.items()):
        band = isinstance(value, tuple) and len(value) == 3 and not isinstance(value[0], (int, float))
        parts: list[Any] = list(value) if band else [value, [], []]
        middle, low, high = (_numbers(part) for part in parts)
        places = _numbers(x)[: len(middle)] if x is not None else [float(i) for i in range(1, len(middle) + 1)]
        if len(places) != len(middle):
            raise ValueError(f"line {label!r} has {len(middle)} values but x has {len(places)}")
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(
            places, middle, color=colour, linestyle=_DASHES[index % len(_DASHES)], linewidth=1.8, label=label,
            marker=_MARKERS[index % len(_MARKERS)], markersize=5, markevery=max(1, len(middle) // 12),
        )  # fmt: skip
        if band:
            axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
        ends.append((places[-1], middle[-1], label, colour))
    if logx:
        axes.set_xscale("log")
    if logy:
        axes.set_yscale("log")
    if ylim:
        axes.set_ylim(*ylim)
    if not logx:
        axes.xaxis.get_major_locator().set_params(integer=x is None)  # type: ignore[call-arg, attr-defined, unused-ignore]
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title or "")
    if len(lines) > 1:
        _name_lines(axes, ends)
    show(figure, alt, caption)


def _name_lines(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its end; where two would touch, or a line ends early, use a legend instead."""
    axes.figure.canvas.draw()
    heights = sorted(axes.transData.transform((x, y))[1] for x, y, _, _ in ends)
    apart = all(b - a > 14 for a, b in itertools.pairwise(heights))
    if apart and len({x for x, _, _, _ in ends}) == 1 and max(len(e[2]) for e in ends) <= 24:
        for x, y, label, colour in ends:
            axes.annotate(
                label, (x, y), xytext=(8, 0), textcoords="offset points", va="center", color=colour, fontsize=9,
                fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        return
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3.5, frameon=False, fontsize=9)


@style()
def bars(
    values: Mapping[str, float | tuple[float, float]],
    *,
    alt: str,
    xlabel: str = "",
    title: str | None = None,
    form: str = "{:.3g}",
    xlim: tuple[float, float] | None = None,
    reference: tuple[str, float] | None = None,
    caption: str | None = None,
) -> None:
    """Horizontal bars: name -> value, or name -> (mean, spread), which adds an error bar of +- spread.

    form: how the number beside each bar is written, e.g. "{:.1%}". reference: (name, value) of a dashed line, such as
    ("chance", 1 / 12).
    """
    if not values:
        raise ValueError("there is no bar to draw")
    figure, (axes,) = _new_figure(1, 1, (WIDTH, 0.9 + 0.42 * len(values)))
    reach = 0.0
    for index, (label, value) in enumerate(values.items()):
        mean, spread = value if isinstance(value, tuple) else (value, 0.0)
        axes.barh(
            index, mean, height=0.62, color=PALETTE[index % 6], hatch=_HATCHES[index % 6], edgecolor="white", linewidth=0,
            label=label,
        )  # fmt: skip
        if spread:
            axes.errorbar(mean, index, xerr=spread, color="#111111", capsize=4, linewidth=1.4)
        text = form.format(mean) + (f" ± {form.format(spread)}" if spread else "")
        axes.annotate(
            text, (max(mean, 0) + spread, index), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9
        )
        reach = max(reach, mean + spread)
    if reference is not None:
        name, place = reference
        axes.axvline(place, color="#444444", linestyle="--", linewidth=1.2)
        axes.annotate(name, (place, -0.48), xytext=(4, 5), textcoords="offset points", fontsize=9, color="#444444")
        reach = max(reach, place)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    if xlim:
        axes.set_xlim(*xlim)
    elif reach > 0:
        axes.set_xlim(right=reach * 1.22)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set(xlabel=xlabel, title=title or "")
    if "%" in form:
        axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:.0%}")
    show(figure, alt, caption)
