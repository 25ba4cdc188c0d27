"""Visible checks and questions of lesson 08."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse.checking import close, differs, normal, raises, require, scramble, shape, visible_check
from vitcourse.quiz import question

question(
    "dense_prediction.scores",
    right="64x64",
    why="Segmentation gives every pixel its own class scores.",
    wrong={
        "8x8": "That is one answer per patch. It is what the tokens offer, not what the task wants.",
        "1x1": "That is classification: one answer for the whole picture.",
    },
)
question(
    "dense_prediction.cls",
    right="b",
    why="The class token belongs to no place in the picture, so a map has no cell for it.",
    wrong={
        "a": "It holds a lot: the classifier of lesson 4 read nothing else.",
        "c": "Its gradient is fine. In lesson 4 it trained the whole model.",
    },
)
question(
    "dense_prediction.accuracy",
    right="c",
    why="Three quarters of the pixels are background, and all of them are right. mIoU asks each class alone.",
    wrong={
        "a": "That would need three quarters of the other classes to be right too.",
        "b": "Pixel accuracy counts pixels, not classes, and background pixels are many.",
    },
)
question(
    "dense_prediction.upsampling",
    right="a",
    why="Interpolation blends the scores of neighbouring patches. What a patch did not tell its token is lost.",
    wrong={
        "b": "The scores between two patches are blends of the two. No new evidence comes in.",
        "c": "The map has 64 cells for 4,096 pixels: most pixels have no cell of their own.",
    },
)
question(
    "dense_prediction.iou",
    right=0.5,
    why="Intersection 20; union 30 + 30 − 20 = 40; 20/40.",
    wrong={
        "0.667": "20 of 30 is the recall. The union also holds pixels that were called a cat and are none.",
        "0.33": "20/60 counts the intersection twice in the union: 30 + 30 − 20 = 40.",
        "0.333": "20/60 counts the intersection twice in the union: 30 + 30 − 20 = 40.",
    },
    otherwise="Intersection over union: the 20 shared pixels over all pixels that are or were called a cat.",
)
question(
    "dense_prediction.pyramid_cells",
    right=336,
    why="16·16 + 8·8 + 4·4 = 256 + 64 + 16.",
    wrong={
        "256": "That is the finest level alone.",
        "768": "The levels are not equally large: each has a quarter of the cells before.",
    },
    otherwise="Add the cells of the three levels: 64/4 = 16 on a side, then 8, then 4.",
)
question(
    "dense_prediction.coarse",
    right="b",
    why="Coarse cells have seen the most of the picture and tell what; fine cells tell where.",
    wrong={
        "a": "The finest level is the sharpest. Coarse levels are blurred.",
        "c": "They have the fewest cells, but cost is not why their content helps.",
    },
)
question(
    "dense_prediction.absent",
    right="c",
    why="0/0 says nothing. A class that is neither there nor predicted is left out of the mean.",
    wrong={
        "a": "The model made no mistake about this class: a 0 would punish it for the choice of pictures.",
        "b": "The model showed nothing about this class: a 1 would reward it for the choice of pictures.",
    },
)


@visible_check("dense_prediction.tokens_to_grid")
def tokens_to_grid(answer: Callable[..., Tensor]) -> None:
    patches = normal(2, 6, 5)  # a 2 × 3 grid of 5 numbers each
    tokens = torch.cat([torch.full((2, 1, 5), 99.0), patches], dim=1)
    got = answer(tokens, (2, 3))
    require(not (isinstance(got, Tensor) and tuple(got.shape) == (2, 2, 3, 5)), "the channels stand last: convolutions take (B, D, h, w)",
            hint=2, mistake="channels_last")  # fmt: skip
    got = shape(got, (2, 5, 2, 3), "a map has the axes (B, D, h, w)", hint=1)
    require(
        not bool((got == 99.0).any()),
        "the class token is in the map; it belongs to no place",
        hint=1,
        mistake="prefix_at_end",
    )
    differs(got, patches.reshape(2, 5, 2, 3), "this is a plain reshape: the numbers of one patch are spread over the map",
            hint=2, see="My map looks like noise", mistake="plain_reshape")  # fmt: skip
    by_column = patches.view(2, 3, 2, 5).permute(0, 3, 2, 1)
    differs(
        got, by_column, "the patches stand column by column; they come row by row", hint=3, mistake="column_by_column"
    )
    close(got[:, :, 0, 2], patches[:, 2], "patch 2 of a 2 × 3 grid stands at the end of the first row", hint=3)
    close(got[:, :, 1, 0], patches[:, 3], "patch 3 of a 2 × 3 grid starts the second row", hint=3)
    two = answer(torch.cat([tokens[:, :1], tokens], dim=1), (2, 3), num_prefix_tokens=2)
    close(two, got, "with num_prefix_tokens=2 the first two tokens are left out", mistake="always_one")
    close(answer(patches, (2, 3), num_prefix_tokens=0), got, "with num_prefix_tokens=0 every token is a patch")
    for wrong in ((3, 3), (1, 3)):
        raises(ValueError, partial(answer, tokens, wrong), f"7 tokens cannot be 1 + {wrong[0]}·{wrong[1]}: raise ValueError",
               hint=3, mistake="cut_in_silence")  # fmt: skip


@visible_check("dense_prediction.LinearHead")
def linear_head(answer: Callable[..., nn.Module]) -> None:
    head: Any = scramble(answer(5, 3)).eval()  # a module whose parts we know by name
    names = {name: tuple(p.shape) for name, p in head.named_parameters()}
    require(
        names == {"classify.weight": (3, 5, 1, 1), "classify.bias": (3,)},
        "keep `__init__` as it is given: grading loads `classify`",
    )
    features = normal(2, 5, 4, 6)
    weight, bias = head.classify.weight, head.classify.bias
    scores = torch.einsum("bdhw,kd->bkhw", features, weight[:, :, 0, 0]) + bias[:, None, None]
    got: Any = head(features, (13, 17))
    require(
        tuple(got.shape) != (2, 3, 4, 6),
        "one score per patch is not one per pixel: upsample to `size`",
        hint=2,
        mistake="not_upsampled",
    )
    require(tuple(got.shape) != (2, 3, 17, 13), "height and width of `size` are swapped", mistake="size_swapped")
    got = shape(got, (2, 3, 13, 17), "logits are (B, classes, height, width)", hint=1)

    def up(x: Tensor, mode: str, **options: Any) -> Tensor:
        return F.interpolate(x, size=(13, 17), mode=mode, **options)

    differs(got, up(scores, "bilinear", align_corners=True), "this has align_corners=True; the task says False", hint=3,
            mistake="aligned_corners")  # fmt: skip
    differs(
        got,
        up(scores, "nearest"),
        "this is nearest upsampling: each patch is one flat block",
        hint=3,
        mistake="nearest",
    )
    differs(got, up(scores, "bicubic"), "this is bicubic upsampling; the task says bilinear", hint=3, mistake="bicubic")
    differs(got, up(scores - bias[:, None, None], "bilinear"), "the bias of `classify` is missing", mistake="no_bias")
    differs(got, up(scores, "bilinear").softmax(1), "these are probabilities; return the logits", mistake="softmaxed")
    close(got, up(scores, "bilinear"), "the sizes are right, the scores are not")
    close(head(features, (4, 6)), scores, "at the map's own size nothing is left to upsample")


@visible_check("dense_prediction.simple_pyramid")
def simple_pyramid(answer: Callable[..., Any]) -> None:
    features = normal(2, 3, 9, 14)
    got = answer(features, 3)
    require(isinstance(got, (list, tuple)), "return a list of maps, one per level", hint=1)
    require(len(got) == 3, f"three levels were asked for, you returned {len(got)}", hint=1)
    require(tuple(got[0].shape) != (2, 3, 2, 3), "the finest map comes first", mistake="coarsest_first")
    require(tuple(got[0].shape) != (2, 3, 4, 7), "level 0 is the map itself", hint=2, mistake="starts_at_half")
    close(got[0], features, "level 0 is the map itself", hint=2)
    require(
        tuple(got[1].shape) != (2, 3, 8, 13),
        "the squares overlap: the stride must be the side",
        hint=3,
        mistake="overlapping",
    )
    shape(got[1], (2, 3, 4, 7), "each level halves the sides, rounding down", hint=3)
    corner = features[:, :, :2, :2].flatten(2)
    differs(
        got[1][:, :, 0, 0],
        corner.max(-1).values,
        "this is the largest of the four values, not their mean",
        mistake="max_pooled",
    )
    differs(got[1][:, :, 0, 0], corner[..., 0], "this picks one of four values; take their mean", mistake="picked")
    close(got[1][:, :, 0, 0], corner.mean(-1), "a cell of level 1 is the mean of four cells of level 0", hint=3)
    require(
        tuple(got[2].shape) != (2, 3, 3, 4),
        "the sides of the squares are 1, 2, 4: they double",
        hint=3,
        mistake="linear_sides",
    )
    shape(got[2], (2, 3, 2, 3), "each level halves the sides, rounding down", hint=3)
    close(
        got[2][:, :, 1, 2],
        features[:, :, 4:8, 8:12].mean((-2, -1)),
        "a cell of level 2 is the mean of 4 × 4 cells of level 0",
        hint=3,
    )
    require(len(answer(features, 2)) == 2, "`levels` says how many maps there are", mistake="always_three")


@visible_check("dense_prediction.FPNHead")
def fpn_head(answer: Callable[..., nn.Module]) -> None:
    head: Any = scramble(answer([4, 6, 5], 7, 3)).eval()  # a module whose parts we know by name
    expected = {f"{part}.{i}.{leaf}" for part in ("lateral", "smooth") for i in range(3) for leaf in ("weight", "bias")}
    names = {name for name, _ in head.named_parameters()}
    require(
        names == expected | {"classify.weight", "classify.bias"},
        "keep `__init__` as it is given: grading loads its parameters by name",
    )
    pyramid = [normal(2, 4, 8, 12), normal(2, 6, 4, 6, seed=1), normal(2, 5, 2, 3, seed=2)]
    got = shape(head(list(pyramid), (21, 33)), (2, 3, 21, 33), "logits are (B, classes, height, width)", hint=1)

    def resize(x: Tensor, size: tuple[int, int], corners: bool = False) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=corners)

    def by_hand(down: bool = True, mode: str = "nearest", relu: bool = True, corners: bool = False, keep: int = 3,
                share: float = 1.0) -> Tensor:  # fmt: skip
        with torch.no_grad():
            a, b, c = (F.conv2d(x, m.weight, m.bias) for x, m in zip(pyramid, head.lateral, strict=True))
            if down:
                b = b + F.interpolate(c, size=(4, 6), mode=mode)
                a = a + F.interpolate(b, size=(8, 12), mode=mode)
            maps = [F.conv2d(x, m.weight, m.bias, padding=1) for x, m in zip((a, b, c), head.smooth, strict=True)]
            maps = [m.clamp(min=0) if relu else m for m in maps]
            total = sum((resize(m, (8, 12), corners) for m in maps[1:keep]), maps[0]) * share
            return resize(F.conv2d(total, head.classify.weight, head.classify.bias), (21, 33), corners)

    for name, words, options in (
        (
            "no_top_down",
            "there is no top-down path: step 2 adds each coarse level to the next finer one",
            {"down": False},
        ),
        ("bilinear_path", "the top-down path upsamples bilinearly; step 2 says nearest", {"mode": "bilinear"}),
        ("no_relu", "there is no ReLU after the smoothing convolutions (step 3)", {"relu": False}),
        ("corners_aligned", "the upsampling has align_corners=True; the task says False", {"corners": True}),
        ("finest_only", "only the finest level is classified; step 3 sums all of them", {"keep": 1}),
        ("averaged", "the levels are averaged; step 3 sums them", {"share": 1 / 3}),
    ):
        differs(got, by_hand(**options), words, atol=1e-4, mistake=name, hint=3 if name == "no_top_down" else 2)  # type: ignore[arg-type]
    given = [x.clone() for x in pyramid]
    close(got, by_hand(), "the shape is right, the scores are not: go through the four steps, one line each", atol=1e-4, hint=3,
          see="My pyramid gives other numbers")  # fmt: skip
    head(pyramid, (21, 33))
    require(
        all(torch.equal(a, b) for a, b in zip(given, pyramid, strict=True)),
        "the maps you were given changed: add without `+=`",
    )


@visible_check("dense_prediction.confusion_matrix")
def confusion_matrix(answer: Callable[..., Tensor]) -> None:
    target = torch.tensor([[[0, 0, 1], [1, 2, 255]]])
    prediction = torch.tensor([[[0, 1, 1], [1, 0, 2]]])
    right = torch.tensor([[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    got = answer(prediction, target, 4)
    require(
        tuple(got.shape) != (3, 3),
        "class 3 does not occur and still has its row and column",
        hint=2,
        mistake="only_present",
    )
    got = shape(got, (4, 4), "four classes give a 4 × 4 matrix", hint=1)
    as_zero = right + torch.tensor([[0, 0, 1, 0], [0] * 4, [0] * 4, [0] * 4])
    differs(got, as_zero, "the ignored pixel was counted as class 0", hint=3, mistake="ignored_as_zero")
    require(int(got[2, 2]) != 1, "the ignored pixel was counted as right", hint=3, mistake="ignored_as_right")
    differs(got, right.T, "rows and columns are swapped: rows are the true classes", hint=1, mistake="transposed")
    shares = right / right.sum(1, keepdim=True).clamp(min=1)
    differs(got, shares, "these are shares; the task asks for counts", mistake="normalised")
    close(got, right, "count the pixels of each pair (true class, predicted class)", hint=2)
    marked = torch.where(target == 255, 9, target)
    close(answer(prediction, marked, 4, ignore_index=9), right, "`ignore_index=9` marks the pixels that do not count", hint=3,
          mistake="always_255")  # fmt: skip
    big = (torch.arange(2 * 4 * 5).view(2, 4, 5) % 3, torch.arange(2 * 4 * 5).view(2, 4, 5) % 2)
    require(int(answer(*big, 3).sum()) == 40, "every pixel of every image counts once")


@visible_check("dense_prediction.mean_iou")
def mean_iou(answer: Callable[..., float]) -> None:
    confusion = torch.tensor([[50, 2, 8], [4, 10, 0], [6, 0, 20]])
    ious = [50 / 70, 10 / 16, 20 / 34]  # by hand: the diagonal over row + column − diagonal
    got = float(answer(confusion))
    differs(got, 80 / 100, "this is pixel accuracy, 80 of 100: ask each class alone", hint=1, mistake="pixel_accuracy")
    differs(
        got,
        80 / 120,
        "the classes were added up before dividing: divide first, then take the mean",
        hint=2,
        mistake="pooled",
    )
    differs(
        got,
        sum((50 / 60, 10 / 14, 20 / 26)) / 3,
        "this is the mean recall: wrongly called pixels cost nothing",
        hint=1,
        mistake="mean_recall",
    )
    twice = sum((50 / 120, 10 / 26, 20 / 54)) / 3
    differs(got, twice, "the union holds the intersection twice: subtract it once", hint=2, mistake="counted_twice")
    differs(
        got,
        2 * twice,
        "this is the Dice score; IoU has the intersection once above and the union below",
        hint=2,
        mistake="dice",
    )
    differs(
        got,
        sum(ious[1:]) / 2,
        "the first class is left out; every class that occurs counts",
        mistake="without_background",
    )
    close(got, sum(ious) / 3, "the mean of 50/70, 10/16 and 20/34 is 0.643", hint=2)
    wider = torch.zeros(5, 5, dtype=torch.long)
    wider[:3, :3] = confusion
    got = float(answer(wider))
    differs(
        got,
        sum(ious) / 5,
        "classes 3 and 4 occur nowhere and count as 0; leave them out",
        hint=3,
        mistake="absent_as_zero",
    )
    differs(
        got,
        (sum(ious) + 2) / 5,
        "classes 3 and 4 occur nowhere and count as 1; leave them out",
        hint=3,
        mistake="absent_as_one",
    )
    close(got, sum(ious) / 3, "classes that occur nowhere are left out of the mean", hint=3)
    invented = torch.tensor([[4, 0, 4], [0, 2, 0], [0, 0, 0]])
    close(
        answer(invented),
        (0.5 + 1 + 0) / 3,
        "a class that is predicted and never there has the IoU 0, and counts",
        hint=3,
    )
