"""Explorer of lesson 05: what temperature and λ do to a teacher's answer and to the student's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vitcourse.plots import PALETTE, WIDTH, _in_ipython, _new_figure, figure_html, show, style


def soft_terms(teacher: Tensor, student: Tensor, label: int, temperature: float, lam: float) -> dict[str, float]:
    """The parts of the soft loss for one picture: cross-entropy with the label, KL with the teacher, T² KL, and the loss.

    teacher, student: logits (K,). The student's two heads are taken to give the same logits.
    """
    p, q = (teacher.double() / temperature).softmax(-1), (student.double() / temperature).softmax(-1)
    divergence = float((p * (p.log() - q.log())).nan_to_num().sum())
    cross_entropy = float(-student.double().log_softmax(-1)[label])
    scaled = temperature**2 * divergence
    return {"ce": cross_entropy, "kl": divergence, "scaled": scaled, "loss": (1 - lam) * cross_entropy + lam * scaled}


@style()
def _figure(
    teacher: Tensor, student: Tensor, label: int, names: Sequence[str], settings: Sequence[tuple[float, float]]
) -> Any:
    """One panel for each (T, λ): teacher's and student's softened distributions and the loss in numbers."""
    figure, axes = _new_figure(1, len(settings), (WIDTH, 3.5))
    for index, (place, (temperature, lam)) in enumerate(zip(axes, settings, strict=True)):
        p, q = ((z.double() / temperature).softmax(-1).tolist() for z in (teacher, student))
        places = torch.arange(len(names)).double()
        place.barh((places - 0.2).tolist(), p, height=0.38, color=PALETTE[2], label="teacher")
        place.barh((places + 0.2).tolist(), q, height=0.38, color=PALETTE[1], hatch="//", edgecolor="white", linewidth=0,
                   label="student")  # fmt: skip
        marked = [f"▸ {name}" if k == label else name for k, name in enumerate(names)]
        place.set_yticks(range(len(names)), marked if index == 0 else [""] * len(names), fontsize=8.5)
        place.invert_yaxis()
        terms = soft_terms(teacher, student, label, temperature, lam)
        place.set_title(f"T = {temperature:g}, λ = {lam:g}", fontsize=10)
        place.set(xlim=(0, 1), xticks=[0, 0.5, 1])
        place.set_xlabel(
            f"KL {terms['kl']:.3f} · T² KL {terms['scaled']:.2f}\nCE {terms['ce']:.2f} · loss {terms['loss']:.2f}"
        )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _words(names: Sequence[str], teacher: Tensor, temperature: float) -> str:
    p = (teacher / temperature).softmax(-1)
    best = p.argsort(descending=True)[:3].tolist()
    return f"At T = {temperature:g} the teacher says " + ", ".join(f"{names[k]} {p[k]:.0%}" for k in best) + "."


def explore_temperature(
    teacher: Tensor, student: Tensor, label: int, names: Sequence[str], *, interactive: bool | None = None
) -> None:
    """Teacher's and student's answer to one picture at T = 1, 3 and 10; and, where widgets work, sliders for T and λ.

    Args:
        teacher: the teacher's logits, (K,).
        student: the student's logits, (K,).
        label: the number of the true class, marked with ▸.
        names: the K class names.
        interactive: False leaves the sliders out; default: in notebooks that have ipywidgets.
    """
    teacher, student = teacher.detach().float().cpu(), student.detach().float().cpu()
    settings = [(1.0, 0.5), (3.0, 0.5), (10.0, 0.5)]
    alt = "Bars of the softened probabilities of teacher and student at T = 1, 3 and 10. "
    alt += " ".join(_words(names, teacher, t) for t, _ in settings)
    show(_figure(teacher, student, label, names, settings), alt,
         "The same two answers at three temperatures. Order never changes; the small shares grow with T.")  # fmt: skip
    if interactive is False or not _in_ipython():
        return
    try:
        import ipywidgets as widgets
        from IPython.display import display
    except ImportError:
        return
    heat = widgets.FloatLogSlider(value=3, base=10, min=-0.5, max=1.3, step=0.02, description="T", readout_format=".2f")
    share = widgets.FloatSlider(value=0.3, min=0, max=1, step=0.05, description="λ")
    picture = widgets.HTML()

    def draw(_: Any = None) -> None:
        t = round(heat.value, 2)
        figure = _figure(teacher, student, label, names, [(t, share.value)])
        picture.value = figure_html(figure, _words(names, teacher, t))

    for slider in (heat, share):
        slider.observe(draw, names="value")
    draw()
    display(widgets.VBox([widgets.HBox([heat, share]), picture]))
