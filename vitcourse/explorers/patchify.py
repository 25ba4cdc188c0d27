"""Explore patch sizes: choose a photograph, a picture size and P, and see the grid and what it costs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vitcourse.data import photo, photo_names
from vitcourse.pictures.patchify import _grid_lines
from vitcourse.plots import WIDTH, _draw_picture, _new_figure, figure_html, show, style

SHAPES = {
    "224 × 224 (ImageNet)": (224, 224), "384 × 384 (fine-tuning)": (384, 384), "32 × 32 (CIFAR-10)": (32, 32),
    "256 × 384 (landscape)": (256, 384), "384 × 256 (portrait)": (384, 256),
}  # fmt: skip
FALLBACK = "vitcourse-patchify-fallback"  # CSS class of the fixed figure, which the running widget hides
SIDES = (2, 4, 7, 8, 14, 16, 28, 32, 56, 64)


def sides_for(height: int, width: int) -> list[int]:
    """The patch sides offered for a picture: those that divide both sides and leave at most 5000 tokens."""
    return [p for p in SIDES if height % p == 0 and width % p == 0 and (height // p) * (width // p) <= 5000]


def facts(height: int, width: int, patch_size: int) -> str:
    """Tokens, patch length and attention pairs in words."""
    rows, cols = height // patch_size, width // patch_size
    n = rows * cols
    return (f"grid {rows} × {cols} · N = {n:,} tokens of {3 * patch_size**2:,} numbers · "
            f"attention compares N² = {n * n:,} pairs")  # fmt: skip


def _view(image: Tensor, patch_size: int) -> tuple[Any, str]:
    _, height, width = image.shape
    figure, (axes,) = _new_figure(1, 1, (4.4 * width / max(height, width), 4.4 * height / max(height, width)))
    _draw_picture(axes, image)
    _grid_lines(axes, height, width, patch_size, thin=0.4)
    return (
        figure,
        f"A picture of {height}×{width} pixels under the grid of its patches. {facts(height, width, patch_size)}.",
    )


@style()
def static_picture(
    name: str = "coffee", height: int = 256, width: int = 384, sizes: tuple[int, ...] = (8, 16, 32, 64)
) -> None:
    """What the explorer shows for four patch sides, as one figure: for pages without widgets."""
    figure, alt = _four(name, height, width, sizes)
    show(figure, alt)


def _four(name: str, height: int, width: int, sizes: tuple[int, ...]) -> tuple[Any, str]:
    figure, axes = _new_figure(2, 2, (0.72 * WIDTH, 0.72 * WIDTH * height / width + 0.8))
    for place, p in zip(axes, sizes, strict=True):
        n = (height // p) * (width // p)
        _draw_picture(place, photo(name, (height, width)), f"P = {p}: N = {n:,}, N² = {n * n:,}")
        _grid_lines(place, height, width, p, thin=0.3)
    words = "; ".join(f"P = {p}: {facts(height, width, p)}" for p in sizes)
    return figure, f"The photograph {name}, {height}×{width} pixels, under four grids. {words}."


def widget(name: str = "chelsea") -> Any:
    """The explorer as an ipywidgets box; needs ipywidgets."""
    import ipywidgets as widgets

    picture = widgets.Dropdown(options=photo_names(), value=name, description="photograph")
    shape = widgets.Dropdown(options=list(SHAPES), value=next(iter(SHAPES)), description="H × W")
    side = widgets.SelectionSlider(options=sides_for(224, 224), value=16, description="P", continuous_update=False)
    view, words = widgets.HTML(), widgets.HTML()

    @style()
    def draw(_: object = None) -> None:
        height, width = SHAPES[shape.value]
        if side.value not in sides_for(height, width):
            return  # the shape has just changed, the slider follows
        view.value = figure_html(*_view(photo(picture.value, (height, width)), side.value))
        words.value = f"<b>P = {side.value}</b>: {facts(height, width, side.value)}"

    def reshaped(_: object) -> None:
        old, options = side.value, sides_for(*SHAPES[shape.value])
        side.options = options
        side.value = min(options, key=lambda p: abs(p - old))
        draw()

    draw()
    picture.observe(draw, names="value")
    side.observe(draw, names="value")
    shape.observe(reshaped, names="value")
    hide = widgets.HTML(
        f"<style>.{FALLBACK} {{ display: none }}</style>"
    )  # a page that can show this needs no fallback
    return widgets.VBox([widgets.HBox([picture, shape]), side, words, view, hide])


def explore(name: str = "chelsea") -> None:
    """Show the explorer. Where widgets are missing (a page without a kernel, no ipywidgets) a fixed figure stands in."""
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display

        box = widget(name) if get_ipython() is not None else None
    except ImportError:
        box = None
    if box is None:
        return static_picture()
    with style():
        page = figure_html(*_four("coffee", 256, 384, (8, 16, 32, 64)))
    display(HTML(f'<div class="{FALLBACK}">{page}</div>'))
    display(box)
    return None
