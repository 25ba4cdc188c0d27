"""Visible checks and questions of lesson 01."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitcourse.checking import close, differs, images, normal, raises, require, shape, visible_check
from vitcourse.quiz import question

Patchify = Callable[[Tensor, int], Tensor]

STRIPES = "My patches are stripes"
ORDER = "The shape is right, the numbers are not"
COLOURS = "The colours are wrong, or there are three small grey pictures"
SPARSE = "Every patch looks like the whole picture, very small"
DIVIDE = "The last rows or columns of the picture are gone"
BATCH = "It works for one picture and fails for a batch"
SKEWED = "The picture comes back with the wrong height and width"
BLOCKS = "The patches come back in the wrong places"
UNFOLDED = "F.unfold gives (B, 768, 196) and I want (B, 196, 768)"
CONVOLVED = "The convolution gives other numbers than patchify"


def _is_whole(number: Any) -> bool:
    """Usable as a size: int, numpy integer, integer tensor; not a float."""
    try:
        operator.index(number)
    except TypeError:
        return False
    return True


def _same(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and bool(torch.allclose(a.detach().to(b), b))


def _outcome(call: Callable[[], Any]) -> str:
    """What a call returns, or which exception it raises, as text."""
    try:
        return str(tuple(int(n) for n in call()))
    except NotImplementedError:
        raise
    except Exception as error:
        return type(error).__name__


def _refuses(call: Callable[[], Any], message: str, mistake: str, *, hint: int, see: str | None = None) -> None:
    """The call raises ValueError; where it raises nothing at all, that is `mistake`."""
    try:
        call()
    except NotImplementedError:
        raise
    except Exception:
        silent = False
    else:
        silent = True
    raises(ValueError, call, message, hint=hint, see=see, mistake=mistake if silent else None)


# ----------------------------------------------------------------------------------------------------------- patch_grid


@visible_check("patchify.patch_grid")
def patch_grid(answer: Callable[[int, int, int], tuple[int, int]]) -> None:
    found = answer(32, 48, 16)
    require(
        found is not None and len(found) == 2, "two numbers are expected, (rows, cols): does the function return both?"
    )
    require(
        tuple(found) != (3, 2),
        "32×48 with P = 16 gave (3, 2): an image is height × width, so the grid is (rows, cols) = (2, 3)",
        hint=1,
        mistake="grid_swapped",
    )
    require(tuple(found) == (2, 3), f"32×48 with P = 16 has 2 rows and 3 columns of patches, you have {tuple(found)}")
    require(
        all(_is_whole(n) for n in found),
        "the counts must be whole numbers (`int`), because they become a shape: divide with `//`",
        hint=1,
        mistake="grid_of_floats",
    )
    require(tuple(answer(224, 224, 16)) == (14, 14), "224×224 with P = 16 is a grid of 14×14")
    require(tuple(answer(7, 21, 7)) == (1, 3), "7×21 with P = 7 is a grid of 1×3")
    see = DIVIDE
    tall = [_outcome(lambda h=h, w=w: answer(h, w, 16)) for h, w in ((30, 48), (32, 50), (30, 50))]  # type: ignore[misc]
    guess = {
        ("(1, 3)", "(2, 3)", "(1, 3)"): "grid_rounds_down", ("(2, 3)", "(2, 4)", "(2, 4)"): "grid_rounds_up",
        ("ValueError", "(2, 3)", "ValueError"): "only_height_tested", ("(1, 3)", "(2, 3)", "ValueError"): "both_must_fail",
        ("AssertionError",) * 3: "grid_asserts",
    }.get((tall[0], tall[1], tall[2]))  # fmt: skip
    raises(ValueError, lambda: answer(30, 48, 16), "a height of 30 does not divide by 16: raise ValueError", hint=2, see=see,
           mistake=guess)  # fmt: skip
    raises(ValueError, lambda: answer(32, 50, 16), "a width of 50 does not divide by 16: raise ValueError", hint=2, see=see,
           mistake=guess)  # fmt: skip
    _refuses(
        lambda: answer(4, 9, 6),
        "4×9 has 36 pixels, and a patch of side 6 too, but it does not fit: test each side, not the area",
        "only_area_tested",
        hint=2,
    )
    for sizes in ((0, 48, 16), (32, 0, 16), (32, 48, -16), (-32, -48, -16), (32, 48, 0)):
        _refuses(
            lambda sizes=sizes: answer(*sizes),  # type: ignore[misc]
            f"sizes {sizes} are not all positive: raise ValueError before you divide",
            "not_positive_passes",
            hint=3,
        )


# ------------------------------------------------------------------------------------ patchify, and its three other ways


def _slices(pictures: Tensor, patch_size: int) -> Tensor:
    """Every patch, cut out by slices: (B, rows, cols, C, P, P)."""
    p = patch_size
    return torch.stack([
        torch.stack([
            pictures[:, :, top : top + p, left : left + p] for left in range(0, pictures.shape[3], p)
        ], dim=1)
        for top in range(0, pictures.shape[2], p)
    ], dim=1)  # fmt: skip


NAMES = {
    "patchify": {
        "raw": "raw_reshape", "channels": "double_unfold_without_moving_channels", "columns": "column_major",
        "last": "channels_last", "transposed": "transposed_patches", "dilated": "dilated", "unfold": "unfold_reshaped",
        "first": "features_first", "overlap": "overlapping", "batch": "batch_merged", "split": "channels_as_tokens",
    },
    "patchify_einops": {
        "columns": "einops_column_major", "last": "einops_channels_last", "transposed": "einops_transposed",
        "dilated": "einops_dilated", "first": "einops_features_first", "batch": "einops_batch_merged",
        "grid": "einops_grid_kept", "counts": "einops_counts_for_sizes",
    },
    "patchify_unfold": {
        "unfold": "unfold_then_reshape", "first": "unfold_without_transpose", "overlap": "unfold_stride_one",
        "reversed": "unfold_all_axes_reversed", "axes": "unfold_wrong_axes", "padded": "unfold_padded",
        "channels": "tensor_unfold_without_moving_channels",
    },
}  # fmt: skip


def _patches(answer: Patchify, exercise: str) -> None:
    """Two images of 3 channels, 4×6 pixels, patches of side 2: N = 6 patches of 12 numbers. Every number is another."""
    name = NAMES[exercise]
    pictures = images(2, 3, 4, 6)
    cut = _slices(pictures, 2)  # (B, rows, cols, C, P, P)
    right = cut.flatten(3).flatten(1, 2)  # (2, 6, 12)
    got = answer(pictures, 2)

    if isinstance(got, Tensor):  # wrong shapes that say which mistake they are
        is_shape = tuple(got.shape).__eq__
        require(
            not is_shape((2, 12, 6)),
            "this is (B, C·P·P, N), one column per patch: swap the last two axes so that each row is a patch",
            hint=3, see=UNFOLDED, mistake=name.get("first") if _same(got, right.mT) else None,
        )  # fmt: skip
        require(
            not is_shape((12, 12)),
            "the batch has become part of the sequence: each image keeps a sequence of its own, (2, 6, 12)",
            hint=2, see=BATCH, mistake=name.get("batch") if _same(got, right.flatten(0, 1)) else None,
        )  # fmt: skip
        require(
            not is_shape((2, 18, 4)),
            "each channel is a token of its own here: the three channels of a patch belong in one vector",
            hint=2, see=COLOURS, mistake=name.get("split"),
        )  # fmt: skip
        require(
            not is_shape((2, 15, 12)),
            "there are 15 patches where 6 fit: your windows overlap, they must move by P (`stride`)",
            hint=2, see=ORDER, mistake=name.get("overlap"),
        )  # fmt: skip
        require(not is_shape((6, 12, 2)), "the batch is the last axis: swap only the last two axes", hint=3,
                mistake=name.get("reversed"))  # fmt: skip
        require(not is_shape((12, 2, 6)), "the batch is the second axis: swap axes 1 and 2, leave axis 0", hint=3,
                mistake=name.get("axes"))  # fmt: skip
        require(
            not is_shape((2, 12, 12)),
            "there are 12 patches where 6 fit: a border was added, so the windows miss the grid; leave padding at 0",
            hint=2, mistake=name.get("padded"),
        )  # fmt: skip
        require(not is_shape((2, 2, 3, 12)), "the grid still has two axes: put rows and cols into one axis of length N",
                hint=3, mistake=name.get("grid") if _same(got, cut.flatten(3)) else None)  # fmt: skip
        require(
            not is_shape((2, 4, 18)),
            "4 patches of 2×3 pixels: P is the side of a patch in pixels, not the number of patches on a side",
            hint=2, mistake=name.get("counts"),
        )  # fmt: skip
    got = shape(got, (2, 6, 12), "2 images of 4×6 pixels, P = 2: each has N = 6 patches of C·P·P = 12 numbers", hint=1)

    swapped = pictures.unflatten(3, (2, 3)).unflatten(
        2, (2, 2)
    )  # H and W split in the wrong order: (P, rows), (P, cols)
    wrong = {
        "raw": (pictures.reshape(2, 6, 12), STRIPES,
                "this is a plain reshape: the first “patch” is the first 12 pixels of the top rows, not a square"),
        "unfold": (F.unfold(pictures, 2, stride=2).reshape(2, 6, 12), UNFOLDED,
                   "`F.unfold` gives (B, C·P·P, N): a reshape to (B, N, C·P·P) mixes the numbers, swap the axes instead"),
        "channels": (cut.movedim(3, 1).reshape(2, 6, 12), COLOURS,
                     "the squares are right but the channels stand before the grid: move C behind rows and cols"),
        "columns": (cut.transpose(1, 2).flatten(3).flatten(1, 2), BLOCKS,
                    "the patches are right, their order is column by column: reading order goes row by row"),
        "last": (cut.movedim(3, -1).flatten(3).flatten(1, 2), COLOURS,
                 "the patches are right, but each vector is in the order (P, P, C): it should be (C, P, P)"),
        "transposed": (cut.transpose(-1, -2).flatten(3).flatten(1, 2), ORDER,
                       "each patch is transposed: inside a patch, the row comes before the column"),
        "dilated": (swapped.permute(0, 3, 5, 1, 2, 4).reshape(2, 6, 12), SPARSE,
                    "each “patch” takes every second or third pixel from the whole image: split H into rows × P, not P × rows"),
    }  # fmt: skip
    for kind, (numbers_, see, message) in wrong.items():
        differs(got, numbers_, message, hint=2, see=see, mistake=name.get(kind))
    close(got, right, f"the first patch of the first image must be {right[0, 0].int().tolist()}", hint=2, see=ORDER)

    one = normal(1, 1, 9, 6).transpose(2, 3)  # one grey image, 6×9, not contiguous
    close(
        answer(one, 3),
        _slices(one, 3).flatten(3).flatten(1, 2),
        "one grey image of 6×9 with P = 3 comes out wrong",
        see=ORDER,
    )
    whole = normal(2, 2, 4, 4)
    close(answer(whole, 4), whole.reshape(2, 1, 32), "a patch as large as the image is one patch: N = 1")


@visible_check("patchify.patchify")
def patchify(answer: Patchify) -> None:
    _patches(answer, "patchify")
    for size, which in (((5, 6), "height"), ((4, 7), "width")):
        picture = normal(1, 3, *size)
        try:
            got = answer(picture, 2)
        except Exception:
            got = None
        if isinstance(got, Tensor) and got.ndim == 3:
            cropped, padded = (size[0] // 2) * (size[1] // 2), -(-size[0] // 2) * -(-size[1] // 2)
            require(got.shape[1] != cropped, f"a {which} that P does not divide was cropped without a word: raise ValueError",
                    hint=1, see=DIVIDE, mistake="cropped")  # fmt: skip
            require(got.shape[1] != padded, f"a {which} that P does not divide was padded without a word: raise ValueError",
                    hint=1, see=DIVIDE, mistake="padded")  # fmt: skip
        raises(ValueError, lambda picture=picture: answer(picture, 2),  # type: ignore[misc]
               f"P does not divide this {which}: raise ValueError (your `patch_grid` does)", hint=1, see=DIVIDE)  # fmt: skip


@visible_check("patchify.patchify_einops")
def patchify_einops(answer: Patchify) -> None:
    _patches(answer, "patchify_einops")


@visible_check("patchify.patchify_unfold")
def patchify_unfold(answer: Patchify) -> None:
    _patches(answer, "patchify_unfold")


# ----------------------------------------------------------------------------------------------------------- unpatchify


@visible_check("patchify.unpatchify")
def unpatchify(answer: Callable[[Tensor, int, tuple[int, int]], Tensor]) -> None:
    pictures = images(2, 3, 4, 6)
    cut = _slices(pictures, 2)  # (B, rows, cols, C, P, P), rows = 2, cols = 3
    patches = cut.flatten(3).flatten(1, 2)  # (2, 6, 12)
    got = answer(patches, 2, (2, 3))
    if isinstance(got, Tensor):
        require(tuple(got.shape) != (2, 3, 6, 4), "the image came back 6×4, it was 4×6: grid is (rows, cols)", hint=1,
                see=SKEWED, mistake="grid_read_swapped")  # fmt: skip
        require(tuple(got.shape) != (2, 3, 4, 4), "the grid is not always square: 6 patches fill 2×3, take `grid` as it is",
                hint=1, see=SKEWED, mistake="grid_taken_square")  # fmt: skip
    got = shape(got, (2, 3, 4, 6), "2 images of 3 channels, 4×6 pixels should come back", hint=1, see=SKEWED)

    def misread(x: Tensor) -> Tensor:  # what a wrong reading (B, rows, cols, C, P, P) looks like as an image
        return x.permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 4, 6)

    wrong = {
        "back_by_reshape": (patches.reshape(2, 3, 4, 6), STRIPES,
                            "this is a plain reshape of the patches: it moves no number, so squares become stripes"),
        "not_interleaved": (cut.permute(0, 3, 1, 2, 4, 5).reshape(2, 3, 4, 6), STRIPES,
                            "rows and P must stand side by side before the last reshape, and so must cols and P"),
        "back_column_major": (misread(patches.reshape(2, 3, 2, 3, 2, 2).transpose(1, 2)), BLOCKS,
                              "the patches were put back column by column: the sequence is in reading order"),
        "back_channels_last": (misread(patches.reshape(2, 2, 3, 2, 2, 3).movedim(-1, 3)), COLOURS,
                               "the vectors were read as (P, P, C): they are (C, P, P)"),
        "back_transposed": (misread(cut.transpose(-1, -2)), ORDER,
                            "each patch came back transposed: inside a patch, the row comes before the column"),
        "back_dilated": (cut.permute(0, 3, 4, 1, 5, 2).reshape(2, 3, 4, 6), SPARSE,
                         "a patch's pixels were spread over the image: H is rows × P in this order, not P × rows"),
    }  # fmt: skip
    for mistake, (numbers_, see, message) in wrong.items():
        differs(got, numbers_, message, hint=2, see=see, mistake=mistake)
    close(got, pictures, "every pixel must return to its place: unpatchify(patchify(x)) = x", hint=2, see=BLOCKS)

    grey = normal(1, 12, 4)
    three = "12 grey patches of 2×2 should give one channel: C is the patch length divided by P², not always 3"
    try:
        one = answer(grey, 2, (3, 4))
    except NotImplementedError:
        raise
    except Exception:  # four numbers do not make three channels
        require(False, three, hint=1, see=COLOURS, mistake="three_channels_assumed")
    shape(one, (1, 1, 6, 8), three, hint=1, see=COLOURS)
    for grid in ((6, 2), (3, 4)):
        size = (grid[0] * 2, grid[1] * 2)
        expected = F.fold(grey.transpose(1, 2), size, kernel_size=2, stride=2)
        close(
            answer(grey, 2, grid), expected, f"12 patches on a grid of {grid[0]}×{grid[1]} come back wrong", see=SKEWED
        )
    raises(ValueError, lambda: answer(grey, 2, (3, 5)), "12 patches do not fill a grid of 3×5: raise ValueError", hint=3,
           mistake="no_error_for_the_grid" if _outcome(lambda: answer(grey, 2, (3, 5))) == "RuntimeError" else None)  # fmt: skip
    raises(ValueError, lambda: answer(grey, 2, (2, 5)), "12 patches do not fit a grid of 2×5: raise ValueError", hint=3)


# --------------------------------------------------------------------------------------------------------- patch_kernel


@visible_check("patchify.patch_kernel")
def patch_kernel(answer: Callable[[int, int], Tensor]) -> None:
    weight = answer(3, 2)
    if isinstance(weight, Tensor):
        require(tuple(weight.shape) != (12, 12), "the matrix is right; now split its second axis into (C, P, P)", hint=3,
                mistake="kernel_as_matrix" if _same(weight, torch.eye(12)) else None)  # fmt: skip
        require(tuple(weight.shape) != (12, 1, 2, 2), "the second axis is the input channels: here 3, not 1", hint=1,
                mistake="kernel_one_channel")  # fmt: skip
    weight = shape(
        weight, (12, 3, 2, 2), "12 outputs, one per number of the patch, each with a weight of 3×2×2", hint=1
    )
    pictures = images(2, 3, 4, 6)
    cut = _slices(pictures, 2)
    right = cut.flatten(3).flatten(1, 2)
    got = F.conv2d(pictures, weight.to(pictures), stride=2).flatten(2).transpose(1, 2)  # (2, 6, 12)
    see = CONVOLVED
    wrong = {
        "kernel_channels_last": (cut.movedim(3, -1), "the outputs stand in the order (P, P, C): channel first, then row, then column"),
        "kernel_transposed": (cut.transpose(-1, -2), "each patch comes out transposed: the last two axes are height, then width"),
        "kernel_flipped": (cut.flip(-1, -2), "each patch comes out turned by half a turn: torch's conv2d does not flip its weight"),
        "kernel_of_ones": (cut.sum((3, 4, 5), keepdim=True).expand_as(cut), "every output is the sum of the patch: an output picks one number"),
        "kernel_sums_channels": (cut.sum(3, keepdim=True).expand_as(cut), "every output adds up the channels: it picks one number of one channel"),
        "kernel_averages": (cut / 4, "the outputs are divided by P²: an output is one number of the patch, unchanged"),
    }  # fmt: skip
    for mistake, (numbers_, message) in wrong.items():
        differs(got, numbers_.flatten(3).flatten(1, 2), message, hint=2, see=see, mistake=mistake)
    close(got, right, "output k of the convolution must be number k of the patch vector", hint=2, see=see)
    close(weight.flatten(1).sum(1), 1.0, "each output picks a single number: one 1, all else 0", hint=2, see=see)
    shape(answer(1, 5), (25, 1, 5, 5), "one channel, P = 5")
    close(answer(4, 1)[:, :, 0, 0], torch.eye(4), "patches of one pixel: each output picks one channel", see=see)


# ------------------------------------------------------------------------------------------------------ attention_pairs


@visible_check("patchify.attention_pairs")
def attention_pairs(answer: Callable[[int, int, int], tuple[int, int]]) -> None:
    found = answer(32, 48, 8)
    require(found is not None and len(found) == 2, "two numbers are expected: (tokens, pairs)")
    tokens, pairs = (int(n) for n in found)
    named = {
        (576, 24): ("the two numbers are swapped: tokens first, then pairs", "pairs_swapped"),
        (16, 256): ("4 rows and 6 columns make 24 tokens: the image need not be square", "square_assumed"),
        (36, 1296): ("4 rows and 6 columns make 24 tokens: the image need not be square", None),
        (192, 36864): ("a patch of side 8 holds 64 pixels: divide the pixels by P², not by P", "divided_once"),
        (10, 100): ("a grid of 4×6 holds 4 · 6 patches, not 4 + 6", "grid_added"),
        (25, 625): ("a [CLS] token comes in lesson 2; here only patches count", "pairs_with_cls"),
        (24, 24 * 23): ("every token also looks at itself: N², not N·(N − 1)", "pairs_without_self"),
        (24, 24 * 25 // 2): ("attention has a direction, i to j and j to i are two: N²", "pairs_without_direction"),
        (24, 24 * 23 // 2): ("attention has a direction, and a token also looks at itself: N²", None),
        (24, 48): ("each of 24 tokens looks at 24 tokens: that is N², not 2N", "pairs_doubled"),
    }
    for numbers_, (message, mistake) in named.items():
        require((tokens, pairs) != numbers_, f"32×48 with P = 8: {message}", hint=2, mistake=mistake)
    require(
        (tokens, pairs) == (24, 576),
        f"32×48 with P = 8 has 24 tokens and 576 pairs, you have {(tokens, pairs)}",
        hint=1,
    )
    for sizes, expected in (((224, 224, 16), (196, 38416)), ((32, 32, 8), (16, 256)), ((7, 21, 7), (3, 9))):
        h, w, p = sizes
        require(
            tuple(answer(*sizes)) == expected,
            f"{h}×{w} with P = {p} has {expected[0]} tokens and {expected[1]} pairs",
            hint=1,
        )
    for sizes in ((30, 48, 8), (32, 50, 8)):
        _refuses(lambda sizes=sizes: answer(*sizes),  # type: ignore[misc]
                 f"{sizes[0]}×{sizes[1]} does not divide into patches of side 8: raise ValueError", "pairs_round_down",
                 hint=3, see=DIVIDE)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ questions

question(
    "patchify.pixels_as_tokens",
    right="C",
    why="224 · 224 = 50,176 tokens, and 50,176² = 2,517,630,976 scores: in float32 about 10 GB, for one picture, in one "
    "head of one layer.",
    wrong={
        "A": "50,176 is the number of pixels, so of tokens. The table has one entry for every pair of them.",
        "B": "2.5 million would be 50 entries per pixel. Every pixel meets all 50,176 pixels.",
    },
)
question(
    "patchify.reshape",
    right="B",
    why="A reshape never moves a number. It cuts the memory, which runs along the rows of the picture, into equal lengths.",
    wrong={
        "A": "The shape fits, and that is all. The pixels of a square do not lie side by side in memory.",
        "C": "torch does not complain: B·N·C·P² equals B·C·H·W, and that is all a reshape asks for. This is why the mistake "
        "is so common.",
    },
)
question(
    "patchify.halve",
    right="16",
    why="Half the side means 2 · 2 = 4 times as many patches, and 4² = 16 times as many pairs.",
    wrong={
        "2": "The side is halved in both directions: already the number of tokens grows by more than 2.",
        "4": "4 is the factor for the tokens. The pairs are their square.",
        "8": "The tokens grow by 2 · 2 = 4. What is the square of that?",
        "256": "That would be a P four times as small: 4² = 16 times the tokens.",
    },
    otherwise="Try it: 224/16 gives 14 patches on a side, 224/8 gives 28. Count the tokens, then square both.",
)
question(
    "patchify.tokens",
    right="96",
    why="256/32 = 8 rows and 384/32 = 12 columns: 8 · 12 = 96.",
    wrong={
        "20": "8 + 12. A grid holds rows times columns.",
        "64": "That is a square grid of 8×8. This picture is wider than high.",
        "144": "That is a square grid of 12×12. This picture is less high than wide.",
        "3072": "That is the length of one patch vector, 3 · 32², or the pixels over P once. Count patches: HW/P².",
        "97": "One more than the patches: the [CLS] token of lesson 2 would make it 97. Here we count patches.",
    },
    otherwise="Rows are 256/32, columns are 384/32. How many patches is that together?",
)
question(
    "patchify.length",
    right="588",
    why="3 channels · 14 · 14 pixels = 588 numbers. (DINOv2, for one, uses P = 14.)",
    wrong={
        "196": "14 · 14 pixels, but each pixel has 3 numbers.",
        "256": "That is N for 224×224 with P = 14: the number of tokens, not the length of one.",
        "42": "3 · 14: a patch has 14 rows of 14 pixels.",
        "768": "That is P = 16: 3 · 16 · 16.",
        "150528": "That is the whole picture, 3 · 224 · 224.",
    },
    otherwise="A patch has P rows of P pixels, and every pixel has C numbers.",
)
question(
    "patchify.order",
    right="B",
    why="The next step is a learned linear map. It has one column of weights for every number and does not care in which "
    "order they come. The order matters as soon as weights travel between two codes.",
    wrong={
        "A": "The linear map that follows learns one weight per number of the vector. Another fixed order only permutes its rows.",
        "C": "Nothing in the Transformer looks at neighbours inside a patch vector; a convolution over the vector would.",
    },
)
question(
    "patchify.convolution",
    right="C",
    why="Kernel and stride are both P, so windows never overlap and each patch is treated alone: a linear layer per patch, "
    "written as a convolution because that is fast and short.",
    wrong={
        "A": "A CNN gets its power from overlapping windows in many layers, which mix neighbours. Here no pixel of one patch "
        "ever reaches another's vector.",
        "B": "There is a Conv2d in the code of almost every ViT. The question is what it computes.",
    },
)
question(
    "patchify.larger",
    right="B",
    why="Each sign is smaller than one patch. All that the model can ever know of it has to pass through a single token.",
    wrong={
        "A": "One object that fills the picture still covers many tokens at P = 32. Here large patches cost least.",
        "C": "Fewer tokens are what makes this one cheap, and the sky and the fields have little detail to lose.",
    },
)
question(
    "patchify.words",
    right="A",
    why="BERT's 30,522 word pieces can be looked up in a table. A 16×16 patch of bytes has 256^768 possible values, so "
    "its vector is computed from its pixels (lesson 2).",
    wrong={
        "B": "Both do: word i of the sentence, patch n in reading order.",
        "C": "Self-attention compares tokens in pairs in both, and costs N² in both.",
    },
)
question(
    "patchify.map",
    right="A",
    why="t-SNE is asked to keep near neighbours near. Nothing holds it to the distances between islands.",
    wrong={
        "B": "That would be so if far distances were kept. t-SNE spends all its care on the near ones.",
        "C": "It sees 3,072 numbers for each patch and nothing else. Grey brick and grey grass end up together.",
    },
)
