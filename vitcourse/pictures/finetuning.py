"""The figures of lesson 07."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitcourse.data import ASSETS, ImageData
from vitcourse.plots import PALETTE, WIDTH, _draw_picture, _new_figure, bars, curves, show, style

NAMES = {
    "scratch": "from scratch",
    "probe": "linear probe",
    "full": "full fine-tuning",
    "layerwise": "layer-wise rates",
}


def results() -> dict[str, Any]:
    """What experiments/finetuning.py measured."""
    return json.loads((ASSETS / "finetuning_results.json").read_text(encoding="utf-8"))


@style()
def source_and_target(source: ImageData, target: ImageData) -> None:
    """Emoji-12, which the checkpoint was trained on, above Emoji-10, which it has never seen."""
    figure, axes = _new_figure(2, 10, (WIDTH, 2.2))
    for row, (data, what) in enumerate(((source, "source"), (target, "target"))):
        for column in range(10):
            place = axes[10 * row + column]
            at = int((data.labels == column).nonzero()[0])
            _draw_picture(place, data.images[at], data.class_names[column])
            place.set_title(data.class_names[column], fontsize=7.5)
        axes[10 * row].set_ylabel(what, fontsize=10, fontweight="bold")
    show(figure, "Two rows of pictures. Source, Emoji-12: airplane, automobile, bird, cat and so on. Target, Emoji-10: "
         "ball, clothing, shoe, instrument and so on. All are emojis on crops of photographs.",
         caption="Ten of the twelve classes of the source, and the ten of the target. No class is in both.")  # fmt: skip


@style()
def ways(depth: int = 4, decay: float = 0.65) -> None:
    """Four ways to fine-tune: which layers move, and how fast."""
    layers = ["patches, positions", *(f"block {i}" for i in range(depth)), "norm", "head"]
    rates = {
        "linear probe": [0.0] * (depth + 2) + [1.0],
        "last 2 blocks": [0.0] * (depth - 1) + [1.0] * 4,
        "full": [1.0] * (depth + 3),
        "layer-wise": [decay ** (depth + 1 - i) for i in range(depth + 1)] + [1.0, 1.0],
    }
    from matplotlib import colormaps
    from matplotlib.patches import FancyBboxPatch

    figure, (axes,) = _new_figure(1, 1, (WIDTH, 3.9))
    for column, (name, row) in enumerate(rates.items()):
        for layer, rate in enumerate(row):
            new = layer == len(row) - 1
            colour = "#E8E8E8" if rate == 0 else colormaps["YlOrRd"](0.08 + 0.4 * rate)
            edge: dict[str, Any] = (
                {"edgecolor": "#111111", "linewidth": 2.2} if new else {"edgecolor": "#999999", "linewidth": 0.8}
            )
            box = FancyBboxPatch((column * 1.25, layer), 1.0, 0.72, boxstyle="round,pad=0.02", facecolor=colour, **edge)
            axes.add_patch(box)
            text = "frozen" if rate == 0 else "lr" if rate == 1 else f"{rate:.2f} · lr"
            axes.text(column * 1.25 + 0.5, layer + 0.36, text, ha="center", va="center", fontsize=9,
                      color="#666666" if rate == 0 else "#111111")  # fmt: skip
        axes.text(column * 1.25 + 0.5, len(row) + 0.1, name, ha="center", fontsize=10, fontweight="bold")
    for layer, name in enumerate(layers):
        axes.text(-0.12, layer + 0.36, name, ha="right", va="center", fontsize=9)
    axes.text(-0.12, len(layers) + 0.1, "↑ output", ha="right", fontsize=9)
    axes.set_xlim(-1.25, 4.85)
    axes.set_ylim(-0.2, len(layers) + 0.6)
    axes.axis("off")
    show(figure, "Four columns of boxes, one box per layer, the head on top. Linear probe: all frozen but the head. Last "
         "two blocks: blocks 2 and 3, norm and head move. Full: all move at the same rate. Layer-wise: the rate falls "
         "from 1 at the head by the factor 0.65 with each layer to 0.12 at the patches.",
         caption="Which layers move, and how fast. The head (thick frame) is new in all four.")  # fmt: skip


@style()
def feature_map(features: Tensor, data: ImageData) -> None:
    """t-SNE of raw pixels and of features, coloured by class."""
    from sklearn.manifold import TSNE

    figure, axes = _new_figure(1, 2, (WIDTH, 3.9))
    marks = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
    for place, values, title in zip(
        axes, (data.images.flatten(1), features), ("raw pixels", "class token of the checkpoint"), strict=True
    ):
        flat = TSNE(perplexity=20, random_state=0, init="pca").fit_transform(values.double().numpy())
        for number, name in enumerate(data.class_names):
            rows = (data.labels == number).numpy()
            place.scatter(flat[rows, 0], flat[rows, 1], s=16, marker=marks[number], color=PALETTE[number % 6],
                          alpha=0.8, linewidths=0, label=name)  # fmt: skip
        place.set_title(title)
        place.set_xticks([])
        place.set_yticks([])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    show(figure, "Two clouds of 400 points, one per picture of Emoji-10, marked by class. Over raw pixels the classes lie "
         "mixed. Over the checkpoint's features some classes gather in loose groups, others stay mixed.",
         caption="400 pictures of classes the checkpoint has never seen (t-SNE).")  # fmt: skip


def rates_by_layer(groups: Sequence[Mapping[str, Any]], model: nn.Module) -> None:
    """The learning rate of each layer in these groups."""
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    rows: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        layer = ".".join(name.split(".")[:2]) if name.startswith("blocks") else name.split(".")[0]
        rows[layer] = rate.get(id(parameter), 0.0)
    bars(dict(reversed(rows.items())), form="{:.1e}", xlabel="learning rate",
         alt="Bars, one per layer: the learning rate falls by the same factor from the head down to the patches.")  # fmt: skip


def _spread(values: Sequence[float]) -> tuple[float, float]:
    row = torch.tensor(values, dtype=torch.float64)
    return float(row.mean()), float(row.std()) if len(row) > 1 else 0.0


def few_shot(found: Mapping[str, Any]) -> None:
    """Test accuracy against pictures per class, mean and standard deviation over seeds."""
    shots = sorted(found["few_shot"], key=int)
    lines: dict[str, Any] = {}
    for way, name in NAMES.items():
        stats = [_spread(found["few_shot"][k][way]) for k in shots]
        lines[name] = ([m for m, _ in stats], [m - s for m, s in stats], [m + s for m, s in stats])
    seeds = len(found["few_shot"][shots[0]]["full"])
    curves(lines, x=[int(k) for k in shots], logx=True, xlabel="pictures per class", ylabel="test accuracy",
           title=f"Emoji-10, {seeds} seeds: mean ± standard deviation",
           alt="Accuracy on Emoji-10 against pictures per class, 5 to 100, for four ways of training. All rise; training "
           "from scratch stays below the three that start from the checkpoint.")  # fmt: skip


def fashion(found: Mapping[str, Any], pictures: str) -> None:
    """Fashion-MNIST: mean ± standard deviation over seeds, for 10 or 1000 pictures a class."""
    rows = found["fashion"][pictures]
    seeds = len(next(iter(rows.values())))
    total = 10 * int(pictures)
    bars({NAMES[way]: _spread(rows[way]) for way in NAMES if way in rows}, form="{:.1%}", xlim=(0, 1),
         title=f"Fashion-MNIST, {total} pictures, {seeds} seeds", xlabel="test accuracy",
         alt=f"Bars of test accuracy on Fashion-MNIST with {total} training pictures: " + ", ".join(
             f"{NAMES[way]} {_spread(rows[way])[0]:.0%}" for way in NAMES if way in rows))  # fmt: skip


@style()
def stretched_positions(before: Tensor, old: tuple[int, int], after: Tensor, new: tuple[int, int]) -> None:
    """Three channels of the positions as pictures, on the old grid and on the new one. Both (1, 1 + N, D)."""
    chosen = before[0, 1:].std(0).topk(3).indices.tolist()
    figure, axes = _new_figure(2, 3, (WIDTH, 4.6))
    for column, channel in enumerate(chosen):
        low, high = before[0, 1:, channel].min().item(), before[0, 1:, channel].max().item()
        for row, (positions, grid, what) in enumerate(((before, old, "trained"), (after, new, "interpolated"))):
            place = axes[3 * row + column]
            image = positions[0, 1:, channel].detach().reshape(grid)
            place.imshow(image.numpy(), cmap="viridis", vmin=low, vmax=high)
            place.set_title(f"channel {channel}, {what}, {grid[0]} × {grid[1]}", fontsize=9)
            place.set_xticks([])
            place.set_yticks([])
    show(figure, f"Three channels of the learned positions as small pictures of {old[0]} by {old[1]} squares, and below "
         f"the same pictures stretched to {new[0]} by {new[1]}.",
         caption="Interpolation treats each of the D channels as a picture of the grid, and stretches it.")  # fmt: skip


def saved_megabytes(call: Callable[[], Tensor]) -> float:
    """Megabytes of tensors that autograd keeps after the forward pass `call`, each storage counted once."""
    kept: dict[int, int] = {}
    inside = []

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        inside.append(call())
    return sum(kept.values()) / 1e6


# --------------------------------------------------------------------------- the clinic


class _Patient(nn.Module):
    """A model that somebody set up, with the way they prepare pictures."""

    def __init__(self, model: nn.Module, prepare: Callable[[Tensor], Tensor], cls_last: bool = False) -> None:
        super().__init__()
        self.model, self.prepare, self.cls_last = model, prepare, cls_last

    def forward(self, images: Tensor) -> Tensor:
        x, model = self.prepare(images), self.model
        if not self.cls_last:
            return model(x)
        x = model.patch_embed(x)  # type: ignore[operator]
        x = torch.cat([x, model.cls_token.expand(len(x), -1, -1)], 1) + model.pos_embed  # type: ignore[operator]
        return model.head(model.norm(model.blocks(x))[:, 0])  # type: ignore[operator]


def patients(healthy: Callable[[], nn.Module], fresh: Callable[[], nn.Module], prepare: Callable[[Tensor], Tensor]
             ) -> dict[str, nn.Module]:  # fmt: skip
    """Five broken set-ups of one checkpoint. healthy() and fresh() make a model with published and with new weights."""
    ward: dict[str, nn.Module] = {"healthy": _Patient(healthy(), prepare)}
    unplaced, patched = healthy(), healthy()
    unplaced.load_state_dict({"pos_embed": fresh().state_dict()["pos_embed"]}, strict=False)
    new = {k: v for k, v in fresh().state_dict().items() if k.startswith("patch_embed")}
    patched.load_state_dict(new, strict=False)
    ward["A"] = _Patient(healthy(), lambda images: images)
    ward["B"] = _Patient(unplaced, prepare)
    ward["C"] = _Patient(fresh(), prepare)
    ward["D"] = _Patient(healthy(), prepare, cls_last=True)
    ward["E"] = _Patient(patched, prepare)
    return ward


def examine(ward: Mapping[str, nn.Module], weights: Mapping[str, Tensor], data: ImageData) -> None:
    """Print one line per patient: accuracy, what its network receives, and which parts equal the file."""
    from vitcourse.training import accuracy

    parts = ("patch_embed", "cls_token", "pos_embed", "blocks", "norm")
    print(f"{'':8} {'accuracy':>8} {'input mean ± std':>17}   parts that equal the file")
    for name, patient in ward.items():
        model, x = patient.model, patient.prepare(data.images[:64])  # type: ignore[operator]
        state = model.state_dict()  # type: ignore[operator, union-attr]
        same = [part for part in parts
                if all(torch.equal(state[n], v) for n, v in weights.items() if n.split(".")[0] == part)]  # fmt: skip
        equal = "all five" if len(same) == len(parts) else ", ".join(same) or "none"
        print(f"{name:8} {accuracy(patient, data):8.1%} {x.mean():8.2f} ± {x.std():5.2f}     {equal}")
