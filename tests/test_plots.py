"""The figures: text alternative, display bundle, no leaking styles or open figures, helpful errors."""

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from vitcourse import plots

DRAW = {
    "images": lambda **k: plots.show_images(torch.rand(5, 3, 8, 8), list("abcde"), columns=3, **k),
    "grey list": lambda **k: plots.show_images([torch.rand(1, 8, 8), np.random.rand(6, 8)], **k),
    "one image": lambda **k: plots.show_images(torch.rand(3, 8, 12), **k),
    "side by side": lambda **k: plots.side_by_side(torch.rand(3, 8, 12), torch.rand(3, 8, 12), **k),
    "other shapes": lambda **k: plots.side_by_side(torch.rand(3, 8, 8), torch.rand(3, 8, 12), **k),
    "matrices": lambda **k: plots.side_by_side(torch.randn(4, 4), torch.randn(4, 4), **k),
    "grid": lambda **k: plots.show_grid_on(torch.rand(3, 32, 48), 16, **k),
    "attention": lambda **k: plots.attention_over(torch.rand(3, 32, 48), torch.rand(6), (2, 3), query=4, **k),
    "heat map": lambda **k: plots.heatmap(torch.randn(3, 4), xticks=["first", "b", "c", "d"], title="t", **k),
    "curves": lambda **k: plots.curves({"a": [1, 2, 3], "b": torch.tensor([2.0, 3, 4])}, xlabel="epoch", **k),
    "bands": lambda **k: plots.curves({"a": ([1, 2], [0, 1], [2, 3])}, x=[10, 100], logx=True, logy=True, **k),
    "bars": lambda **k: plots.bars({"a": 0.5, "b": (0.7, 0.1)}, form="{:.0%}", reference=("chance", 0.1), **k),
}


@pytest.fixture
def shown(monkeypatch):
    """Collects (figure, html) of what is shown, as in a notebook."""
    seen = []
    real = plots.figure_html

    def keep(fig, alt, caption=None):
        page = real(fig, alt, caption)
        seen.append((fig, page))
        return page

    monkeypatch.setattr(plots, "figure_html", keep)
    return seen


def picture(page):
    from PIL import Image

    raw = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", page)[1])
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))


@pytest.mark.parametrize("name", DRAW)
def test_every_figure_has_alt_text_fits_the_column_and_is_a_light_card(name, shown, capsys):
    DRAW[name](alt='what <it> "shows"', caption="a & b")
    ((_, page),) = shown
    assert 'alt="what &lt;it&gt; &quot;shows&quot;"' in page
    assert "<figcaption>a &amp; b</figcaption>" in page
    assert "max-width:100%" in page
    assert "background:#fff" in page
    pixels = picture(page)
    assert 150 < pixels.shape[1] <= 9.2 * plots.DPI
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()  # white margin
    assert pixels.std() > 5  # something is drawn
    out, err = capsys.readouterr()
    assert out == 'what <it> "shows"\n'
    assert err == ""


@pytest.mark.parametrize("name", DRAW)
def test_empty_alt_text_is_refused(name):
    with pytest.raises(ValueError, match="alt"):
        DRAW[name](alt=" ")


def test_a_dark_style_set_by_the_reader_does_not_leak_in(shown):
    import matplotlib.style

    plots.bars({"a": 1.0}, alt="x")
    with matplotlib.style.context(["dark_background", {"font.family": "serif", "xtick.direction": "in"}]):
        plots.bars({"a": 1.0}, alt="x")
    assert shown[0][1] == shown[1][1]


def test_style_context_is_undone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with plots.style():
        assert mpl.rcParams["axes.spines.top"] is False
    assert dict(mpl.rcParams) == before


def test_show_displays_both_formats_and_closes_the_figure(monkeypatch):
    import IPython.display
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    sent = []
    monkeypatch.setattr(plots, "_in_ipython", lambda: True)
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: sent.append((bundle, raw)))
    fig, _ = plt.subplots()
    plots.show(fig, "two axes")
    ((bundle, raw),) = sent
    assert raw
    assert bundle["text/plain"] == "two axes"
    assert bundle["text/html"].startswith("<figure")
    assert plt.get_fignums() == []


def test_side_by_side_shows_a_difference_only_when_shapes_agree(shown):
    a, b = torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)
    b[:, 2, 2] = 0.5
    plots.side_by_side(a, b, alt="x")
    plots.side_by_side(a, a, alt="x")
    plots.side_by_side(a, torch.zeros(3, 8, 9), alt="x")
    titles = [[axes.get_title() for axes in fig.axes if axes.get_title()] for fig, _ in shown]
    assert titles[0][2] == "difference\nlargest 0.5"
    assert titles[1][2] == "difference\nno difference"
    assert titles[2] == ["yours\nshape (3, 8, 8)", "target\nshape (3, 8, 9)"]


def test_patches_are_numbered_when_few(shown):
    plots.show_grid_on(torch.rand(3, 32, 48), (16, 8), alt="x")
    plots.show_grid_on(torch.rand(3, 64, 64), 2, alt="x")
    numbers = [[text.get_text() for text in fig.axes[0].texts] for fig, _ in shown]
    assert numbers[0] == [str(i) for i in range(12)]
    assert numbers[1] == []


def test_heatmap_writes_numbers_into_small_matrices_only(shown):
    plots.heatmap([[0.25, 1.0]], alt="x")
    plots.heatmap(torch.rand(30, 30), alt="x")
    plots.heatmap(torch.tensor([[1, 2]]), alt="x", annotate=True)
    texts = [[text.get_text() for text in fig.axes[0].texts] for fig, _ in shown]
    assert texts == [["0.25", "1.00"], [], ["1", "2"]]


def test_curves_differ_in_more_than_colour(shown):
    plots.curves({str(i): [i, i + 1.0] for i in range(7)}, alt="x")
    lines = shown[0][0].axes[0].get_lines()
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 7


def test_colour_masks():
    labels = torch.tensor([[[0, 1], [12, 13]]])
    rgb = plots.colour_masks(labels)
    assert rgb.shape == (1, 3, 2, 2)
    assert rgb[0, :, 0, 0].tolist() == [0, 0, 0]
    assert torch.equal(rgb[0, :, 0, 1], rgb[0, :, 1, 1])  # 13 starts again
    assert len({tuple(c) for c in plots.colour_masks(torch.arange(13)[None]).flatten(1).T.tolist()}) == 13
    assert plots.colour_masks(labels[0]).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.show_images([], alt="x"), "no picture"),
        (lambda: plots.show_images(torch.rand(2, 3, 4, 4), ["a"], alt="x"), "2 pictures but 1 titles"),
        (lambda: plots.show_images(torch.rand(2, 4, 4, 4), alt="x"), r"\(4, 4, 4\)"),
        (lambda: plots.show_grid_on(torch.rand(3, 8, 8), 0, alt="x"), "at least one pixel"),
        (lambda: plots.attention_over(torch.rand(3, 8, 8), torch.rand(5), (2, 2), alt="x"), "CLS"),
        (lambda: plots.heatmap(torch.rand(3), alt="x"), "matrix"),
        (lambda: plots.curves({}, alt="x"), "no line"),
        (lambda: plots.curves({"a": [1, 2, 3]}, x=[1, 2], alt="x"), "3 values but x has 2"),
        (lambda: plots.bars({}, alt="x"), "no bar"),
    ],
)
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_importing_is_light():
    code = (
        "import sys; import vitcourse.data, vitcourse.devices, vitcourse.plots, vitcourse.training\n"
        "print([m for m in ('matplotlib', 'torchvision', 'PIL', 'IPython', 'solutions', 'grader')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
