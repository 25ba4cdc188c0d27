"""Click a patch, choose a layer and a head, and see where it looks: `explore(images, weights, grid)`.

Without ipywidgets, or outside a notebook, a static picture of all layers and heads is shown instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitcourse.pictures.attention import _frame, _lit, layers_and_heads_figure
from vitcourse.plots import _draw_picture, _in_ipython, _new_figure, figure_html, show, style

MEAN, CLASS = "mean of all heads", "class token"


def selected(
    weights: Sequence[Tensor], picture: int, layer: int, head: int | None, query: int | None
) -> tuple[Tensor, float]:
    """Where one token looks: (weights on the patches (N,), weight on the class token).

    Args:
        weights: from the first layer to the last, each (B, h, 1 + N, 1 + N), the class token first.
        picture: number of the picture.
        layer: number of the layer, from 0.
        head: number of the head, from 0; None for the mean of all.
        query: number of the patch that looks, from 0; None for the class token.
    """
    table = weights[layer][picture]
    row = (table.mean(0) if head is None else table[head])[0 if query is None else 1 + query]
    return row[1:].detach(), float(row[0])


def words(row: Tensor, on_class: float, grid: tuple[int, int], who: str) -> str:
    """The three patches a token looks at most, as a sentence: the text alternative of the explorer's picture."""
    top = row.topk(min(3, len(row)))
    places = [
        f"row {int(i) // grid[1] + 1}, column {int(i) % grid[1] + 1} ({float(v):.0%})"
        for v, i in zip(top.values, top.indices, strict=True)
    ]
    return f"{who} looks most at {'; '.join(places)}. Weight on the class token: {on_class:.0%}."


@style()
def _figure(image: Tensor, row: Tensor, grid: tuple[int, int], query: int | None) -> Any:
    """The picture with the looking patch framed, the weights as a heat map, and the picture lit by them."""
    figure, axes = _new_figure(1, 3, (7.5, 2.75))
    height, width = image.shape[-2:]
    lit = _lit(image, row, grid)
    _draw_picture(axes[0], image, "picture")
    _draw_picture(axes[2], lit.permute(2, 0, 1) if lit.ndim == 3 else lit, "lit by attention")
    axes[1].imshow(row.reshape(grid).numpy(), cmap="viridis", vmin=0, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes[1].set(xticks=[], yticks=[])
    axes[1].set_title(f"weights, largest {float(row.max()):.0%}", fontsize=9)
    if query is not None:
        for place in axes:
            _frame(place, query, grid, (height, width))
    return figure


def explore(
    images: Tensor, weights: Sequence[Tensor], grid: tuple[int, int], rollout: Tensor | None = None, query: int | None = None,
    *, widgets: bool = True,
) -> None:  # fmt: skip
    """Show an explorer of attention weights.

    Click a patch in the table of buttons, or move the row and column sliders (arrow keys work), and choose picture, layer
    and head. The class token can look too.

    Args:
        images: (B, 3, H, W) in 0..1.
        weights: from the first layer to the last, each (B, h, 1 + N, 1 + N), the class token first.
        grid: rows and columns of patches, N = rows · columns.
        rollout: (B, 1 + N, 1 + N); adds "rollout" to the layers.
        query: number of the patch chosen at the start; None for the class token.
        widgets: False draws the static picture in any case.

    Raises:
        ValueError: the weights do not fit the grid.
    """
    if any(w.shape[-1] != 1 + grid[0] * grid[1] for w in weights):
        raise ValueError(f"weights over {weights[0].shape[-1]} tokens do not fit a class token and a grid of {grid}")
    try:
        import ipywidgets
    except ImportError:
        ipywidgets = None  # type: ignore[assignment, unused-ignore]
    if ipywidgets is None or not widgets or not _in_ipython():
        _static(images[0], weights, grid, query)
        return
    _show_widget(
        _widget(ipywidgets, images.detach().cpu(), weights, grid, rollout, query), images[0], weights, grid, query
    )


@style()
def _overview(image: Tensor, weights: Sequence[Tensor], grid: tuple[int, int], query: int | None) -> tuple[Any, str]:
    """All layers and heads of one query in one figure, and its text alternative."""
    rows = torch.stack([w[0, :, 0 if query is None else 1 + query, 1:] for w in weights])  # (L, h, N)
    who = (
        "the class token" if query is None else f"the patch in row {query // grid[1] + 1}, column {query % grid[1] + 1}"
    )
    alt = f"Where {who} looks in each layer and head; bright patches have large weights."
    return layers_and_heads_figure(image, rows, grid, query), alt


def _static(image: Tensor, weights: Sequence[Tensor], grid: tuple[int, int], query: int | None) -> None:
    show(*_overview(image, weights, grid, query))


def _show_widget(box: Any, image: Tensor, weights: Sequence[Tensor], grid: tuple[int, int], query: int | None) -> None:
    """Display the widget; a viewer without widgets (a saved notebook on the web) finds the static picture instead."""
    from IPython.display import display

    if not hasattr(box, "_repr_mimebundle_"):  # ipywidgets 7
        display(box)
        return
    figure, alt = _overview(image, weights, grid, query)
    bundle = dict(box._repr_mimebundle_())
    display(bundle | {"text/html": figure_html(figure, alt), "text/plain": alt}, raw=True)


def _widget(
    w: Any, images: Tensor, weights: Sequence[Tensor], grid: tuple[int, int], rollout: Tensor | None, query: int | None
) -> Any:
    rows, columns = grid
    layers: list[tuple[str, int]] = [(f"layer {i + 1}", i) for i in range(len(weights))]
    everything = list(weights)
    if rollout is not None:
        layers.append(("rollout through all layers", len(everything)))
        everything.append(rollout[:, None])
    picture = w.Dropdown(options=[(f"picture {i + 1}", i) for i in range(len(images))], description="picture")
    layer = w.Dropdown(options=layers, value=len(weights) - 1, description="layer")
    head = w.Dropdown(
        options=[(MEAN, -1), *((f"head {i + 1}", i) for i in range(weights[0].shape[1]))], value=-1, description="head"
    )
    row = w.IntSlider(value=1 + (query or 0) // columns, min=1, max=rows, description="row", continuous_update=False)
    column = w.IntSlider(
        value=1 + (query or 0) % columns, min=1, max=columns, description="column", continuous_update=False
    )
    token = w.Checkbox(value=query is None, description="the class token looks", indent=True)
    small = w.Layout(width="26px", height="26px", padding="0", margin="0")
    buttons = [
        w.Button(layout=small, tooltip=f"row {i // columns + 1}, column {i % columns + 1}")
        for i in range(rows * columns)
    ]
    board = w.GridBox(buttons, layout=w.Layout(grid_template_columns=f"repeat({columns}, 26px)", grid_gap="1px"))
    view, shown_for = w.HTML(), [-1]

    def draw(_: Any = None) -> None:
        chosen = None if token.value else (row.value - 1) * columns + column.value - 1
        head.disabled = layer.value == len(weights)
        which = None if head.value < 0 or head.disabled else head.value
        found, on_class = selected(everything, picture.value, layer.value, which, chosen)
        image = images[picture.value]
        if shown_for[0] != picture.value:  # each button has the mean colour of its patch
            colours = torch.nn.functional.adaptive_avg_pool2d(image, grid).flatten(1).T.mul(255).round().int().tolist()
            for button, colour in zip(buttons, colours, strict=True):
                button.style.button_color = "#{:02x}{:02x}{:02x}".format(*(colour * 3)[:3])
            shown_for[0] = picture.value
        for i, button in enumerate(buttons):
            mark = "●" if i == chosen else "\u00a0"  # an empty text would leave the old one standing
            if button.description != mark:
                button.description = mark
        who = "The class token" if chosen is None else f"The patch in row {row.value}, column {column.value}"
        alt = words(found, on_class, grid, who)
        view.value = figure_html(_figure(image, found, grid, chosen), alt, alt)

    quiet = [False]

    def changed(event: Any) -> None:
        if not quiet[0]:
            draw(event)

    def clicked(i: int) -> None:
        quiet[0] = True  # one picture for the three changes
        token.value, row.value, column.value = False, i // columns + 1, i % columns + 1
        quiet[0] = False
        draw()

    def slid(event: Any) -> None:
        if not quiet[0]:
            quiet[0] = True
            token.value = False
            quiet[0] = False
            draw(event)

    for i, button in enumerate(buttons):
        button.on_click(lambda _, i=i: clicked(i))
    for control in (picture, layer, head, token):
        control.observe(changed, names="value")
    for control in (row, column):
        control.observe(slid, names="value")
    draw()
    controls = w.VBox([picture, layer, head, token, row, column])
    return w.VBox([w.HBox([controls, w.VBox([w.HTML("<b>click a patch</b>"), board])]), view])
