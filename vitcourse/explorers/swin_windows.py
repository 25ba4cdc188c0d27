"""Step through shift and mask: choose window, shift, step, and a query token, and see where it may look."""

from __future__ import annotations

from vitcourse.pictures.swin_windows import (
    _bare,
    _borders,
    _cell,
    _marks,
    draw_step,
    region_numbers,
    shift_steps,
)
from vitcourse.plots import PALETTE, WIDTH, _in_ipython, _new_figure, figure_html, style

STEPS = ("1 regular windows", "2 shifted borders", "3 cyclic shift", "4 mask")


@style()
def picture(step: int, window: int = 4, shift: int = 2, query: int = 0, across: int = 2) -> str:
    """One state of the explorer as HTML.

    Args:
        step: 0 to 3, as in `STEPS`.
        window: M; the map has `across` windows on each side.
        shift: s along both sides, 0 to M − 1.
        query: number of the token that looks, row by row in the picture of this step.
        across: windows on each side.
    """
    size = window * across
    query = min(query, size * size - 1)
    figure, axes = _new_figure(1, 2, (WIDTH, WIDTH / 2 + 0.35))
    draw_step(axes[0], step, size, size, window, (shift, shift))
    pieces = region_numbers(size, size, window, (shift, shift))
    moved = shift if step >= 2 else 0
    pieces = pieces.roll((-moved, -moved), (0, 1))
    i, j = divmod(query, size)
    first = shift if step == 1 else 0
    seen = 0
    _bare(axes[1], size, size)
    for r in range(size):
        for c in range(size):
            if step == 1:
                near = bool(pieces[r, c] == pieces[i, j])
            else:
                near = (r // window, c // window) == (i // window, j // window)
            allowed = near and (step != 3 or bool(pieces[r, c] == pieces[i, j]))
            seen += allowed
            colour = PALETTE[1] if (r, c) == (i, j) else PALETTE[4] if allowed else "#eeeeee"
            _cell(axes[1], r, c, colour, str(int(pieces[r, c])) if step else "", size=8)
    _borders(axes[1], _marks(size, window, first), _marks(size, window, first), size, size)
    axes[1].set_title(f"orange looks at {seen} token{'s' if seen != 1 else ''}", fontsize=10)
    alt = f"{STEPS[step]}: a map of {size} by {size} tokens, windows of side {window}, shift {shift}. The token at row {i}, column {j} may look at {seen} tokens."
    return figure_html(figure, alt)


def explore() -> None:
    """The explorer with its sliders; where widgets are not available, all four steps as one picture."""
    try:
        import ipywidgets as widgets
        from IPython.display import display
    except ImportError:
        shift_steps()
        return
    if not _in_ipython():
        shift_steps()
        return
    wide = {"description_width": "90px"}
    step = widgets.ToggleButtons(options=[(name, i) for i, name in enumerate(STEPS)], value=3)
    window = widgets.IntSlider(value=4, min=2, max=5, description="window M", style=wide)
    shift = widgets.IntSlider(value=2, min=0, max=3, description="shift s", style=wide)
    query = widgets.IntSlider(value=63, min=0, max=63, description="looking token", style=wide, continuous_update=False)
    page = widgets.HTML()

    def draw(_: object = None) -> None:
        shift.max = window.value - 1
        query.max = (2 * window.value) ** 2 - 1
        page.value = picture(step.value, window.value, shift.value, query.value)

    for control in (step, window, shift, query):
        control.observe(draw, names="value")
    draw()
    display(widgets.VBox([step, widgets.HBox([window, shift, query]), page]))
