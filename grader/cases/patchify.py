"""Hidden cases of lesson 01."""

import functools

import torch
import torch.nn.functional as F

from vitcourse.probes import case, raised


def _picture(draw, batch=None, channels=None):
    """Images with H ≠ W, and P and the grid: batch, channels, rows, columns and P all differ unless given."""
    rows, cols, patch, some, more = draw.sizes(5, low=2, high=6)
    return draw.normal(batch or some, channels or more, rows * patch, cols * patch), patch, (rows, cols)


def _refused(call):
    """Which exception a call raises, and what it returned where it raised none."""
    returned = []
    return [raised(lambda: returned.append(call())), *returned]


# ---- patch_grid


@case("patchify.patch_grid", points=1, about="rows and columns of non-square images, as whole numbers")
def grids(answer, draw):
    wanted = [(1, draw.integer(2, 9), 1), (draw.integer(2, 9), 1, 1)]  # sides of one pixel, patches of one pixel
    for _ in range(4):
        rows, cols = draw.sizes(2, low=1, high=20)
        patch = draw.integer(2, 16)
        wanted.append((rows * patch, cols * patch, patch))
    return [list(torch.zeros(tuple(answer(*sizes))).shape) for sizes in wanted]


@case("patchify.patch_grid", points=0.5, about="images that do not divide raise ValueError", beside=True)
def indivisible(answer, draw):
    rows, cols = draw.sizes(2, low=2, high=9)
    patch = draw.integer(3, 9)
    extra = draw.integer(1, patch - 1)
    return [
        _refused(lambda: answer(rows * patch + extra, cols * patch, patch)),
        _refused(lambda: answer(rows * patch, cols * patch + extra, patch)),
        _refused(lambda: answer(7, 9, 4)),
        _refused(lambda: answer(4, 9, 6)),  # the area is a multiple of P², the sides are not
        raised(lambda: answer(patch, patch, patch)),  # one patch is fine
    ]


@case("patchify.patch_grid", points=0.5, about="sizes that are not positive raise ValueError", beside=True)
def not_positive(answer, draw):
    size = 4 * draw.integer(1, 9)
    bad = [(0, size, 4), (size, 0, 4), (size, size, 0), (size, size, -4), (-size, size, 4), (-size, -size, -4)]
    return [raised(functools.partial(answer, *sizes)) for sizes in bad]


# ---- patchify


@case("patchify.patchify", points=2, about="non-square images, several channels, a batch")
def batch_of_pictures(answer, draw):
    images, patch, _ = _picture(draw)
    return answer(images, patch)


@case("patchify.patchify", points=1, about="one grey image, taller than wide, that is not contiguous in memory")
def one_grey_picture(answer, draw):
    cols, rows = sorted(draw.sizes(2, low=2, high=6))
    patch = draw.integer(2, 3)
    return answer(draw.normal(1, 1, cols * patch, rows * patch).transpose(2, 3), patch)


@case("patchify.patchify", points=0.5, about="the smallest and the largest patch")
def extremes(answer, draw):
    images = draw.normal(2, 3, 4, 4)
    return [answer(images, 1), answer(images, 4)]


@case("patchify.patchify", points=0.5, about="images that do not divide raise ValueError")
def indivisible_pictures(answer, draw):
    images, patch, _ = _picture(draw)
    return [
        answer(images, patch).shape,
        _refused(lambda: answer(F.pad(images, (0, 1)), patch)),
        _refused(lambda: answer(F.pad(images, (0, 0, 0, 1)), patch)),
    ]


# ---- unpatchify


@case("patchify.unpatchify", points=1.5, about="non-square grids, several channels, a batch")
def back_to_pictures(answer, draw):
    rows, cols, patch, batch, channels = draw.sizes(5, low=2, high=6)
    return answer(draw.normal(batch, rows * cols, channels * patch**2), patch, (rows, cols))


@case("patchify.unpatchify", points=1, about="the same patches on other grids, one image, one channel")
def other_grids(answer, draw):
    patches = draw.normal(1, 12, 4)
    return [answer(patches, 2, grid) for grid in ((2, 6), (6, 2), (3, 4), (12, 1))]


@case("patchify.unpatchify", points=0.5, about="a grid that does not hold the patches raises ValueError", beside=True)
def wrong_grid(answer, draw):
    patches = draw.normal(2, 12, 27)
    return [answer(patches, 3, (3, 4)).shape, raised(lambda: answer(patches, 3, (3, 5))),
            raised(lambda: answer(patches, 3, (3, 3)))]  # fmt: skip


# ---- the other three ways


@case("patchify.patchify_einops", points=1.5, about="non-square images, several channels, a batch")
def einops_batch(answer, draw):
    images, patch, _ = _picture(draw)
    return answer(images, patch)


@case("patchify.patchify_einops", points=0.5, about="one grey image")
def einops_one(answer, draw):
    images, patch, _ = _picture(draw, batch=1, channels=1)
    return answer(images, patch)


@case("patchify.patchify_unfold", points=1.5, about="non-square images, several channels, a batch")
def unfold_batch(answer, draw):
    images, patch, _ = _picture(draw)
    return answer(images, patch)


@case("patchify.patchify_unfold", points=0.5, about="one grey image")
def unfold_one(answer, draw):
    images, patch, _ = _picture(draw, batch=1, channels=1)
    return answer(images, patch)


@case("patchify.patch_kernel", points=1.5, about="the convolution with this weight gives the patch vectors")
def kernel_as_convolution(answer, draw):
    images, patch, _ = _picture(draw)
    weight = answer(images.shape[1], patch).to(images)
    return F.conv2d(images, weight, stride=patch).flatten(2).transpose(1, 2)


@case("patchify.patch_kernel", points=1, about="the weight itself")
def kernel_itself(answer, draw):
    return answer(draw.choice([2, 3]), draw.integer(2, 4))


@case("patchify.patch_kernel", points=0.5, about="one channel, and patches of one pixel")
def small_kernels(answer, draw):
    return [answer(1, draw.integer(2, 5)), answer(draw.integer(2, 5), 1)]


# ---- cost


@case("patchify.attention_pairs", points=1.5, about="tokens and pairs of square and non-square images")
def counts(answer, draw):
    rows, cols = draw.sizes(2, low=2, high=30)
    patch = draw.choice([4, 7, 8, 14, 16, 32])
    return [answer(rows * patch, cols * patch, patch), answer(rows * patch, rows * patch, patch)]


@case("patchify.attention_pairs", points=0.5, about="images that do not divide raise ValueError")
def indivisible_counts(answer, draw):
    rows, cols = draw.sizes(2, low=2, high=9)
    patch = draw.integer(3, 9)
    return [
        answer(rows * patch, cols * patch, patch),
        _refused(lambda: answer(rows * patch + 1, cols * patch, patch)),
        _refused(lambda: answer(rows * patch, cols * patch + 1, patch)),
    ]
