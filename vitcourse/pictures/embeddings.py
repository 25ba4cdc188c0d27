"""The figures of lesson 02, and the experiment's helpers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitcourse.data import ASSETS, ImageData, photo
from vitcourse.plots import bars, show, show_images, side_by_side, style

INK, WARM = "#333333", "#D55E00"


# --------------------------------------------------------------------------- moving patches


def permute_patches(images: Tensor, order: Tensor, patch_size: int) -> Tensor:
    """Pictures (B, C, H, W) with their patches in another order.

    order: (N,) for all pictures or (B, N) for each its own; place i of the result holds patch order[i].
    """
    height = images.shape[-2] // patch_size
    patches = rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)
    order = order.expand(len(images), -1).to(images.device)
    patches = patches.gather(1, order[:, :, None].expand_as(patches))
    return rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=height, p=patch_size, q=patch_size)


def random_orders(count: int, patches: int, seed: int = 0) -> Tensor:
    """`count` random orders of `patches` patches, (count, patches)."""
    return torch.rand(count, patches, generator=torch.Generator().manual_seed(seed)).argsort(dim=1)


def shuffle_each(data: ImageData, patch_size: int, seed: int = 1) -> ImageData:
    """The same labelled pictures, the patches of each in a random order of its own."""
    count = data.images[0, 0].numel() // patch_size**2
    return ImageData(
        permute_patches(data.images, random_orders(len(data), count, seed), patch_size), data.labels, data.class_names
    )


def resized(data: ImageData, size: tuple[int, int]) -> ImageData:
    """The same labelled pictures at another size (H, W)."""
    images = F.interpolate(data.images, size=size, mode="bilinear", align_corners=False).clamp(0, 1)
    return ImageData(images, data.labels, data.class_names)


# --------------------------------------------------------------------------- from patches to tokens


@style()
def overview() -> None:
    """The lesson in one picture: patches, their tokens, the class token, positions, and the sum."""
    import matplotlib.pyplot as plt

    image = photo("chelsea", (96, 144))
    patches = rearrange(image, "c (h p) (w q) -> (h w) p q c", p=48, q=48)
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(48 * 48 * 3, 12, generator=generator) / 40
    tokens = patches.permute(0, 3, 1, 2).flatten(1) @ matrix
    tokens = torch.cat([torch.randn(1, 12, generator=generator), (tokens - tokens.mean()) / tokens.std()])
    places = torch.randn(7, 12, generator=generator) * 0.6
    rows = (("patches\nN × (P²C)", None), ("tokens\nN × D, and [CLS]", tokens), ("positions\n(N + 1) × D", places),
            ("z₀\n(N + 1) × D", tokens + places))  # fmt: skip
    figure, axes = plt.subplots(4, 8, figsize=(7.5, 3.9), width_ratios=[1.9] + [1] * 7, height_ratios=[1.5, 1, 1, 1])
    for line, (name, values) in enumerate(rows):
        for column, place in enumerate(axes[line]):
            place.set_xticks([])
            place.set_yticks([])
            for spine in place.spines.values():
                spine.set_visible(False)
            if column == 0:
                place.text(0.98, 0.5, name, ha="right", va="center", fontsize=10, transform=place.transAxes)
            elif values is not None:
                place.imshow(values[column - 1].view(3, 4).numpy(), cmap="viridis", vmin=-2, vmax=2)
            elif column > 1:
                place.imshow(patches[column - 2].numpy())
                place.set_title(f"patch {column - 1}", fontsize=9)
            if line == 0 and column == 1:
                place.text(
                    0.5, 0.5, "[CLS]\nno pixels", ha="center", va="center", fontsize=9, transform=place.transAxes
                )
    for line, sign in ((1, "↓ · E + b"), (2, "+"), (3, "=")):
        axes[line, 0].text(0.98, 1.12, sign, ha="right", va="center", fontsize=13, color=WARM, fontweight="bold",
                           transform=axes[line, 0].transAxes)  # fmt: skip
    show(figure, "Six patches of a cat in a row. Under each its token, a small block of colours; in front of them a "
         "seventh token, [CLS], that has no pixels. A row of positions is added, one for each token, and gives z0.",
         "What stands between the picture and the first encoder block. Each block of colours is one vector of D = 12 "
         "numbers.")  # fmt: skip


def three_filters(patch: int = 8) -> tuple[Tensor, Tensor]:
    """A projection E (P·P, 3) for grey pictures and its bias: brightness, right − left, bottom − top."""
    step = torch.where(torch.arange(patch) < patch // 2, -1.0, 1.0)
    brightness = torch.ones(patch, patch)
    filters = torch.stack([brightness, step.expand(patch, patch), step[:, None].expand(patch, patch)])
    return filters.flatten(1).T / patch**2, torch.zeros(3)


def tokens_of_photo(embed_patches: Callable[..., Tensor]) -> None:
    """Three channels of the learner's tokens as pictures, over the same from a convolution."""
    grey = photo("astronaut", 224).mean(0)[None, None]
    E, bias = three_filters(8)
    yours = rearrange(embed_patches(grey, E, bias, 8), "1 (h w) d -> d h w", h=28)
    target = F.conv2d(grey, E.T.reshape(3, 1, 8, 8), stride=8)[0]
    names = ("brightness", "right − left", "bottom − top")
    pictures, titles = [grey[0]], ["picture"]
    for who, maps in (("yours", yours), ("target", target)):
        if who == "target":
            pictures.append(torch.ones_like(grey[0]))
            titles.append("")
        for name, channel in zip(names, maps, strict=True):
            low, high = target[names.index(name)].min(), target[names.index(name)].max()
            pictures.append(((channel - low) / (high - low))[None])
            titles.append(f"{who}: {name}")
    show_images(pictures, titles, columns=4, alt="The photograph of an astronaut, and three small maps of 28 × 28 tokens: "
                "brightness, vertical edges and horizontal edges. The same three maps from a convolution stand below.",
                caption="Each map shows one channel of the 784 tokens, laid out as the patches lie in the picture.")  # fmt: skip


def filters_of(kernel: Tensor, columns: int = 8) -> None:
    """The first filters of a patch embedding (D, C, P, P) as little pictures."""
    shown = kernel.detach()[: 2 * columns].float().cpu()
    low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
    show_images(list((shown - low) / (high - low)), columns=columns, alt=f"{len(shown)} filters of {shown.shape[-1]} × "
                f"{shown.shape[-1]} pixels.")  # fmt: skip


# --------------------------------------------------------------------------- positions


def shuffled_pictures(data: ImageData, patch_size: int, count: int = 5) -> None:
    """Some pictures, and the same with their patches in random order."""
    chosen = data.take(count)
    both = torch.cat([chosen.images, shuffle_each(chosen, patch_size).images])
    names = [chosen.class_names[int(i)] for i in chosen.labels]
    show_images(both, [*names, *(["shuffled"] * count)], columns=count, size=1.2,
                alt=f"{count} pictures of clothes, and below the same with their {patch_size} × {patch_size} patches in "
                "random order: the outline is gone, the textures remain.")  # fmt: skip


def stored() -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """What `experiments/embeddings_positions.py` measured: learned positions, and one entry for each training."""
    from safetensors import safe_open

    with safe_open(ASSETS / "embeddings_positions.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["runs"])  # noqa: SIM118


def kinds_compared(runs: Sequence[dict[str, Any]]) -> None:
    """Test accuracy of each kind of positions: mean and half the range over the seeds."""
    values: dict[str, float | tuple[float, float]] = {}
    for kind in dict.fromkeys(r["kind"] for r in runs):
        scores = [r["test"] for r in runs if r["kind"] == kind]
        values[kind] = (sum(scores) / len(scores), (max(scores) - min(scores)) / 2)
    said = ", ".join(f"{kind} {value[0]:.1%}" for kind, value in values.items() if isinstance(value, tuple))
    bars(values, alt=f"Test accuracy by kind of positions: {said}.", xlabel="test accuracy on Fashion-MNIST",
         form="{:.1%}", reference=("chance", 0.1),
         caption=f"Mean of {len({r['seed'] for r in runs})} seeds; the whisker is half the range between best and worst.")  # fmt: skip


@style()
def waves(table: Tensor, chosen: Sequence[int] = (0, 2, 5)) -> None:
    """1-D positions (M, D) as a heat map, and some of their channels as curves."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.9))
    drawn = left.imshow(table.T.numpy(), cmap="viridis", aspect="auto", vmin=-1, vmax=1, interpolation="nearest")
    half = table.shape[1] // 2
    left.axhline(half - 0.5, color="white", linewidth=2)
    left.set(xlabel="position p", ylabel="channel", title="sines above, cosines below")
    figure.colorbar(drawn, ax=left, shrink=0.9)
    for channel, line in zip(chosen, ("-", "--", "-."), strict=False):
        right.plot(table[:, channel].numpy(), linestyle=line, linewidth=1.8, label=f"channel {channel}")
    right.set(xlabel="position p", title="three of the sines")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize=8)
    show(figure, "Left: a table of positions and channels; the top channels change fast with the position, the lower "
         "ones slowly. Right: three sines of falling frequency.")  # fmt: skip


def similarity(pos: Tensor) -> Tensor:
    """Cosine similarity of each position with each other, (N, N), after taking away what all have in common."""
    centred = pos - pos.mean(0)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit @ unit.T


def near_and_far(pos: Tensor, grid: tuple[int, int], apart: float = 4.0) -> tuple[float, float]:
    """Mean similarity of positions (N, D) of direct neighbours, and of patches at least `apart` patches from each other."""
    table = similarity(pos.detach().float().cpu())
    rows, columns = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
    places = torch.stack([rows, columns], dim=1).float()
    distance = torch.cdist(places, places)
    return float(table[distance == 1].mean()), float(table[distance >= apart].mean())


@style()
def similarity_maps(pos: Tensor, grid: tuple[int, int], *, alt: str, caption: str | None = None) -> None:
    """For each patch of the grid a small map: how similar its position is to every other. pos: (N, D) without [CLS]."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    maps = similarity(pos.detach().float().cpu()).reshape(-1, *grid)
    side = 5.2 / max(grid)
    figure, axes = plt.subplots(*grid, figsize=(side * grid[1] + 0.9, side * grid[0]), squeeze=False)
    shown: Any = None
    for number, place in enumerate(axes.ravel()):
        shown = place.imshow(maps[number].numpy(), cmap="viridis", vmin=-1, vmax=1, interpolation="nearest")
        row, column = divmod(number, grid[1])
        place.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=WARM, linewidth=1.6))
        place.set_xticks([])
        place.set_yticks([])
    figure.colorbar(shown, ax=axes, shrink=0.6, label="cosine similarity")
    show(figure, alt, caption)


def positions_beside_target(yours: Tensor, grid: tuple[int, int], dim: int) -> None:
    """The learner's 2-D positions as a table, beside the target made with Python's own sines."""
    quarter = dim // 4
    y, x = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
    parts = [(place[:, None] / 10000 ** (torch.arange(quarter) / quarter)) for place in (y, x)]
    target = torch.cat([wave(part) for part in parts for wave in (torch.sin, torch.cos)], dim=1)
    side_by_side(yours, target, alt=f"Your table of {grid[0] * grid[1]} positions and {dim} channels beside the target.",
                 caption="Down: patches, row by row of the grid. Across: sines and cosines of the row, then of the column.")  # fmt: skip


@style()
def channels_of(pos: Tensor, grid: tuple[int, int], channels: Sequence[int], names: Sequence[str]) -> None:
    """Some channels of positions (N, D) laid out on the grid."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(channels), figsize=(7.5, 7.5 / len(channels) * grid[0] / grid[1] + 0.7))
    for place, channel, name in zip(axes, channels, names, strict=True):
        drawn = place.imshow(
            pos[:, channel].reshape(grid).numpy(), cmap="viridis", vmin=-1, vmax=1, interpolation="nearest"
        )
        place.set_title(name, fontsize=9)
        place.set_xticks([])
        place.set_yticks([])
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    show(figure, "Channels of the 2-D positions on the grid: " + ", ".join(names) + ". The first change from row to row "
         "only, the others from column to column only.")  # fmt: skip


def stretched_beside_target(answer: Callable[..., Tensor], pos: Tensor, old: tuple[int, int], new: tuple[int, int],
                            channel: int = 0) -> None:  # fmt: skip
    """One channel of positions (1, 1 + N, D) before, after the learner's function, and after a bicubic resampling."""
    yours = answer(pos, old, new)[0, 1:, channel].detach().reshape(new)
    image = pos[0, 1:, channel].detach().reshape(1, 1, *old)
    rows = (torch.arange(new[0]) + 0.5) * 2 / new[0] - 1
    columns = (torch.arange(new[1]) + 0.5) * 2 / new[1] - 1
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None]
    target = F.grid_sample(image, places, mode="bicubic", padding_mode="border", align_corners=False)[0, 0]
    side_by_side(yours, target, alt=f"One channel of positions stretched from {old[0]} × {old[1]} to {new[0]} × {new[1]}: "
                 "yours and the target.", caption=f"Channel {channel} on the new grid.")  # fmt: skip


def before_and_after(pos: Tensor, old: tuple[int, int], after: Tensor, new: tuple[int, int], channel: int = 0) -> None:
    """One channel of positions (N, D) on the old grid and on the new one."""
    side_by_side(pos[:, channel].detach().reshape(old), after[:, channel].detach().reshape(new),
                 titles=(f"learned, {old[0]} × {old[1]}", f"interpolated, {new[0]} × {new[1]}"),
                 alt=f"A channel of learned positions on {old[0]} × {old[1]} patches, and the same pattern on "
                 f"{new[0]} × {new[1]}.")  # fmt: skip
