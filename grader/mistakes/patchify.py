"""The catalogue of lesson 01."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat

from grader.mistakes import alternative, mistake

GRID = "patchify.patch_grid"
PATCHIFY = "patchify.patchify"
UNPATCHIFY = "patchify.unpatchify"
EINOPS = "patchify.patchify_einops"
UNFOLD = "patchify.patchify_unfold"
KERNEL = "patchify.patch_kernel"
PAIRS = "patchify.attention_pairs"


def _grid(height, width, patch_size):
    if min(height, width, patch_size) < 1 or height % patch_size or width % patch_size:
        raise ValueError("the image does not divide into patches")
    return height // patch_size, width // patch_size


def _grid_of(images, patch_size):
    return _grid(images.shape[-2], images.shape[-1], patch_size)


# ------------------------------------------------------------------------------------------------------- patch_grid


@mistake(GRID, "The grid is (cols, rows): height and width are swapped.")
def grid_swapped(height, width, patch_size):
    rows, cols = _grid(height, width, patch_size)
    return cols, rows


@mistake(GRID, "An image that does not divide is rounded down without a word: its last pixels would be lost.")
def grid_rounds_down(height, width, patch_size):
    if min(height, width, patch_size) < 1:
        raise ValueError
    return height // patch_size, width // patch_size


@mistake(GRID, "An image that does not divide is rounded up: the last patches would reach beyond the image.")
def grid_rounds_up(height, width, patch_size):
    if min(height, width, patch_size) < 1:
        raise ValueError
    return -(-height // patch_size), -(-width // patch_size)


@mistake(GRID, "Only the height is tested for division, so a width that does not divide passes.")
def only_height_tested(height, width, patch_size):
    if min(height, width, patch_size) < 1 or height % patch_size:
        raise ValueError
    return height // patch_size, width // patch_size


@mistake(GRID, "Only the area is tested for division: 4×9 has 36 pixels, yet no patch of side 6 fits.")
def only_area_tested(height, width, patch_size):
    if min(height, width, patch_size) < 1 or (height * width) % patch_size**2:
        raise ValueError
    return height // patch_size, width // patch_size


@mistake(GRID, "The grid raises ValueError only where both sides fail to divide (`and` where `or` is meant).")
def both_must_fail(height, width, patch_size):
    if min(height, width, patch_size) < 1 or (height % patch_size and width % patch_size):
        raise ValueError
    return height // patch_size, width // patch_size


@mistake(GRID, "Sizes that are not positive are not refused: zero divides, and so do two negative numbers.")
def not_positive_passes(height, width, patch_size):
    if height % patch_size or width % patch_size:
        raise ValueError
    return height // patch_size, width // patch_size


@mistake(GRID, "Bad sizes end in an assertion; callers are promised a ValueError.")
def grid_asserts(height, width, patch_size):
    assert min(height, width, patch_size) > 0
    assert height % patch_size == 0
    assert width % patch_size == 0
    return height // patch_size, width // patch_size


@mistake(GRID, "The counts are floats, because `/` divides; a shape needs whole numbers (`//`).")
def grid_of_floats(height, width, patch_size):
    rows, cols = _grid(height, width, patch_size)
    return float(rows), float(cols)


@alternative(GRID, "divmod")
def with_divmod(height, width, patch_size):
    if not (height > 0 and width > 0 and patch_size > 0):
        raise ValueError("not positive")
    (rows, a), (cols, b) = divmod(height, patch_size), divmod(width, patch_size)
    if a or b:
        raise ValueError("does not divide")
    return rows, cols


@alternative(GRID, "a list, from a loop over the sides")
def with_loop(height, width, patch_size):
    counts = []
    for side in (height, width):
        if patch_size <= 0 or side <= 0 or side // patch_size * patch_size != side:
            raise ValueError(f"{side} is not a positive multiple of {patch_size}")
        counts.append(int(side / patch_size))
    return counts


@alternative(GRID, "a subclass of ValueError, torch.Size, another order of tests")
def with_own_error(height, width, patch_size):
    class PatchError(ValueError):
        pass

    if patch_size < 1 or width % patch_size or height % patch_size or height < 1 or width < 1:
        raise PatchError
    return torch.Size([height // patch_size, width // patch_size])


@alternative(GRID, "counts steps of a range")
def with_range(height, width, patch_size):
    if min(height, width, patch_size) < 1 or math.gcd(height, width, patch_size) != patch_size:
        raise ValueError
    return len(range(0, height, patch_size)), len(range(0, width, patch_size))


# --------------------------------------------------------------------------------------- patchify, and three more ways

RAW = "A plain reshape: it never moves a number, so each “patch” is a stripe of neighbouring rows, not a square."
LATE_CHANNELS = (
    "The channel axis is still in front of the grid when everything is flattened, so channels mix up the patches."
)
COLUMN_MAJOR = "The patches stand column by column; they must stand in reading order, row by row."
CHANNELS_LAST = (
    "Inside a patch the numbers stand as (P, P, C); this course, like a convolution's weight, uses (C, P, P)."
)
TRANSPOSED = "Each patch is transposed: its rows and columns are swapped."
DILATED = "Every “patch” takes pixels from all over the image, a grid apart, in place of neighbours: the two factors of H, or of W, are swapped."
BATCH_MERGED = "The batch is merged into the sequence: the patches of all images follow each other in one long list."


@mistake(PATCHIFY, RAW)
def raw_reshape(images, patch_size):
    b, c, h, w = images.shape
    rows, cols = _grid(h, w, patch_size)
    return images.reshape(b, rows * cols, c * patch_size**2)


@mistake(PATCHIFY, LATE_CHANNELS)
def double_unfold_without_moving_channels(images, patch_size):
    b, c, h, w = images.shape
    _grid(h, w, patch_size)
    windows = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    return windows.reshape(b, -1, c * patch_size**2)


@mistake(PATCHIFY, COLUMN_MAJOR)
def column_major(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (h p) (w q) -> b (w h) (c p q)", p=patch_size, q=patch_size)


@mistake(PATCHIFY, CHANNELS_LAST)
def channels_last(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch_size, q=patch_size)


@mistake(PATCHIFY, TRANSPOSED)
def transposed_patches(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (h p) (w q) -> b (h w) (c q p)", p=patch_size, q=patch_size)


@mistake(PATCHIFY, DILATED)
def dilated(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (p h) (q w) -> b (h w) (c p q)", p=patch_size, q=patch_size)


@mistake(PATCHIFY, "`F.unfold` gives (B, C·P·P, N): it must be transposed, not reshaped, to (B, N, C·P·P).")
def unfold_reshaped(images, patch_size):
    rows, cols = _grid_of(images, patch_size)
    return F.unfold(images, patch_size, stride=patch_size).reshape(len(images), rows * cols, -1)


@mistake(PATCHIFY, "The result is (B, C·P·P, N): one column per patch where one row per patch is wanted.")
def features_first(images, patch_size):
    _grid_of(images, patch_size)
    return F.unfold(images, patch_size, stride=patch_size)


@mistake(PATCHIFY, "An image that does not divide is cropped without a word, so its last rows or columns are lost.")
def cropped(images, patch_size):
    rows, cols = images.shape[-2] // patch_size, images.shape[-1] // patch_size
    whole = images[..., : rows * patch_size, : cols * patch_size]
    return rearrange(whole, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)


@mistake(
    PATCHIFY, "An image that does not divide is padded without a word, so some tokens hold pixels that do not exist."
)
def padded(images, patch_size):
    h, w = images.shape[-2:]
    whole = F.pad(images, (0, -w % patch_size, 0, -h % patch_size))
    return rearrange(whole, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)


@mistake(PATCHIFY, "The patches overlap: the window must move by P, not by one pixel.")
def overlapping(images, patch_size):
    _grid_of(images, patch_size)
    return F.unfold(images, patch_size).transpose(1, 2)


@mistake(PATCHIFY, BATCH_MERGED)
def batch_merged(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (h p) (w q) -> (b h w) (c p q)", p=patch_size, q=patch_size)


@mistake(PATCHIFY, "The channels are separate tokens: one patch of all C channels must be one vector.")
def channels_as_tokens(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (h p) (w q) -> b (c h w) (p q)", p=patch_size, q=patch_size)


@alternative(PATCHIFY, "einops")
def by_einops(images, patch_size):
    _grid_of(images, patch_size)
    return rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", p=patch_size, q=patch_size)


@alternative(PATCHIFY, "F.unfold")
def by_unfold(images, patch_size):
    _grid_of(images, patch_size)
    return F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)


@alternative(PATCHIFY, "tensor.unfold twice, channels moved behind the grid")
def by_double_unfold(images, patch_size):
    _grid_of(images, patch_size)
    windows = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)  # (B, C, rows, cols, P, P)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


@alternative(PATCHIFY, "a strided convolution with an identity weight, flattened and transposed")
def by_convolution(images, patch_size):
    _grid_of(images, patch_size)
    length = images.shape[1] * patch_size**2
    weight = torch.eye(length, dtype=images.dtype).view(length, images.shape[1], patch_size, patch_size)
    return F.conv2d(images, weight, stride=patch_size).flatten(2).transpose(1, 2)


@alternative(PATCHIFY, "Python loops")
def by_loops(images, patch_size):
    _, _, height, width = images.shape
    if height % patch_size != 0 or width % patch_size != 0:
        raise ValueError("indivisible")
    patches = []
    for top in range(0, height, patch_size):
        for left in range(0, width, patch_size):
            patches.append(images[:, :, top : top + patch_size, left : left + patch_size].flatten(1))
    return torch.stack(patches, dim=1)


@alternative(PATCHIFY, "split and stack, written into an allocated tensor")
def by_split(images, patch_size):
    b, c, h, w = images.shape
    rows, cols = _grid(h, w, patch_size)
    out = images.new_empty(b, rows * cols, c * patch_size**2)
    n = 0
    for band in images.split(patch_size, dim=2):
        for block in band.split(patch_size, dim=3):
            out[:, n] = block.reshape(b, -1)
            n += 1
    return out


# ------------------------------------------------------------------------------------------------------- unpatchify


def _checked(patches, grid):
    if grid[0] * grid[1] != patches.shape[1]:
        raise ValueError("the patches do not fill the grid")
    return grid


def _back(pattern, patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    return rearrange(patches, pattern, h=rows, w=cols, p=patch_size, q=patch_size)


@mistake(UNPATCHIFY, "A plain reshape: it never moves a number, so the patches are smeared out into stripes.")
def back_by_reshape(patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    return patches.reshape(len(patches), -1, rows * patch_size, cols * patch_size)


@mistake(
    UNPATCHIFY, "The axes are not interleaved before the last reshape: rows, cols, P, P in place of rows, P, cols, P."
)
def not_interleaved(patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    x = patches.reshape(len(patches), rows, cols, -1, patch_size, patch_size).permute(0, 3, 1, 2, 4, 5)
    return x.reshape(len(patches), -1, rows * patch_size, cols * patch_size)


@mistake(UNPATCHIFY, "The grid is read as (cols, rows), so the image has the wrong height and width.")
def grid_read_swapped(patches, patch_size, grid):
    return _back("b (h w) (c p q) -> b c (h p) (w q)", patches, patch_size, _checked(patches, grid)[::-1])


@mistake(UNPATCHIFY, "The grid is taken to be square, √N on each side, whatever `grid` says.")
def grid_taken_square(patches, patch_size, grid):
    _checked(patches, grid)
    side = math.isqrt(patches.shape[1])
    return _back("b (h w) (c p q) -> b c (h p) (w q)", patches[:, : side * side], patch_size, (side, side))


@mistake(UNPATCHIFY, "The patches are put back column by column; they come in reading order, row by row.")
def back_column_major(patches, patch_size, grid):
    return _back("b (w h) (c p q) -> b c (h p) (w q)", patches, patch_size, grid)


@mistake(UNPATCHIFY, "The patch vectors are read as (P, P, C); they are (C, P, P).")
def back_channels_last(patches, patch_size, grid):
    return _back("b (h w) (p q c) -> b c (h p) (w q)", patches, patch_size, grid)


@mistake(UNPATCHIFY, "Each patch is put back transposed: its rows and columns are swapped.")
def back_transposed(patches, patch_size, grid):
    return _back("b (h w) (c q p) -> b c (h p) (w q)", patches, patch_size, grid)


@mistake(
    UNPATCHIFY, "The pixels of a patch are spread over the whole image, a grid apart, in place of standing together."
)
def back_dilated(patches, patch_size, grid):
    return _back("b (h w) (c p q) -> b c (p h) (q w)", patches, patch_size, grid)


@mistake(UNPATCHIFY, "Three channels are taken for granted; the patch length C·P·P says how many there are.")
def three_channels_assumed(patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    return rearrange(patches, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, w=cols, c=3, p=patch_size, q=patch_size)


@mistake(UNPATCHIFY, "A grid that does not hold the patches is not refused with ValueError.")
def no_error_for_the_grid(patches, patch_size, grid):
    rows, cols = grid
    x = patches.reshape(len(patches), rows, cols, -1, patch_size, patch_size).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(len(patches), -1, rows * patch_size, cols * patch_size)


@alternative(UNPATCHIFY, "einops")
def back_by_einops(patches, patch_size, grid):
    return _back("b (h w) (c p q) -> b c (h p) (w q)", patches, patch_size, grid)


@alternative(UNPATCHIFY, "F.fold")
def back_by_fold(patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    size = (rows * patch_size, cols * patch_size)
    return F.fold(patches.transpose(1, 2), size, kernel_size=patch_size, stride=patch_size)


@alternative(UNPATCHIFY, "Python loops that write into an allocated image")
def back_by_loops(patches, patch_size, grid):
    rows, cols = grid
    if patches.size(1) != rows * cols:
        raise ValueError("wrong grid")
    c = patches.shape[-1] // patch_size**2
    image = patches.new_zeros(len(patches), c, rows * patch_size, cols * patch_size)
    for n in range(rows * cols):
        top, left = n // cols * patch_size, n % cols * patch_size
        block = patches[:, n].reshape(len(patches), c, patch_size, patch_size)
        image[:, :, top : top + patch_size, left : left + patch_size] = block
    return image


@alternative(UNPATCHIFY, "concatenate patches to bands, and bands to the image")
def back_by_cat(patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    blocks = patches.view(len(patches), rows, cols, -1, patch_size, patch_size)
    bands = [torch.cat([blocks[:, r, c] for c in range(cols)], dim=-1) for r in range(rows)]
    return torch.cat(bands, dim=-2)


@alternative(UNPATCHIFY, "F.pixel_shuffle")
def back_by_pixel_shuffle(patches, patch_size, grid):
    rows, cols = _checked(patches, grid)
    maps = patches.transpose(1, 2).reshape(len(patches), -1, rows, cols)  # (B, C·P·P, rows, cols)
    return F.pixel_shuffle(maps, patch_size)


# ---------------------------------------------------------------------------------------------------- patchify_einops


def _pattern(pattern):
    return lambda images, patch_size: rearrange(images, pattern, p=patch_size, q=patch_size)


@mistake(EINOPS, DILATED)
def einops_dilated(images, patch_size):
    return _pattern("b c (p h) (q w) -> b (h w) (c p q)")(images, patch_size)


@mistake(EINOPS, CHANNELS_LAST)
def einops_channels_last(images, patch_size):
    return _pattern("b c (h p) (w q) -> b (h w) (p q c)")(images, patch_size)


@mistake(EINOPS, COLUMN_MAJOR)
def einops_column_major(images, patch_size):
    return _pattern("b c (h p) (w q) -> b (w h) (c p q)")(images, patch_size)


@mistake(EINOPS, TRANSPOSED)
def einops_transposed(images, patch_size):
    return _pattern("b c (h p) (w q) -> b (h w) (c q p)")(images, patch_size)


@mistake(EINOPS, BATCH_MERGED)
def einops_batch_merged(images, patch_size):
    return _pattern("b c (h p) (w q) -> (b h w) (c p q)")(images, patch_size)


@mistake(EINOPS, "The vectors stand as (B, C·P·P, N): the sequence axis must come second.")
def einops_features_first(images, patch_size):
    return _pattern("b c (h p) (w q) -> b (c p q) (h w)")(images, patch_size)


@mistake(EINOPS, "The grid still has two axes, (B, rows, cols, C·P·P): put both into one bracket.")
def einops_grid_kept(images, patch_size):
    return _pattern("b c (h p) (w q) -> b h w (c p q)")(images, patch_size)


@mistake(EINOPS, "P is used as the number of patches on each side; it is the number of pixels on each side of a patch.")
def einops_counts_for_sizes(images, patch_size):
    return rearrange(images, "b c (h p) (w q) -> b (h w) (c p q)", h=patch_size, w=patch_size)


@alternative(EINOPS, "other names, sizes of the grid given")
def einops_named(images, patch_size):
    return rearrange(images, "batch chan (row y) (col x) -> batch (row col) (chan y x)",
                     row=images.shape[2] // patch_size, col=images.shape[3] // patch_size)  # fmt: skip


@alternative(EINOPS, "two steps")
def einops_two_steps(images, patch_size):
    x = rearrange(images, "b c (h p) (w q) -> b h w c p q", p=patch_size, q=patch_size)
    return rearrange(x, "b h w c p q -> b (h w) (c p q)")


@alternative(EINOPS, "einsum-like: einops.einsum with nothing to sum, then flatten")
def einops_repeat(images, patch_size):
    x = repeat(images, "b c (h p) (w q) -> b h w c p q", p=patch_size, q=patch_size)
    return x.flatten(3).flatten(1, 2)


@alternative(EINOPS, "no einops at all: the result counts")
def einops_not_used(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size).mT


# ---------------------------------------------------------------------------------------------------- patchify_unfold


@mistake(UNFOLD, "The result of `F.unfold` is (B, C·P·P, N); the last two axes must still be swapped.")
def unfold_without_transpose(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size)


@mistake(
    UNFOLD,
    "The result of `F.unfold` is reshaped to (B, N, C·P·P) where it must be transposed: the numbers get mixed up.",
)
def unfold_then_reshape(images, patch_size):
    x = F.unfold(images, patch_size, stride=patch_size)
    return x.reshape(x.shape[0], x.shape[2], x.shape[1])


@mistake(UNFOLD, "The windows overlap: without `stride=` the window moves by one pixel.")
def unfold_stride_one(images, patch_size):
    return F.unfold(images, patch_size).transpose(1, 2)


@mistake(UNFOLD, "All axes are reversed, so the batch is last: swap only the last two.")
def unfold_all_axes_reversed(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size).permute(2, 1, 0)


@mistake(UNFOLD, "The batch axis is swapped with the features: swap axes 1 and 2.")
def unfold_wrong_axes(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size).transpose(0, 1)


@mistake(UNFOLD, "Padding adds a border of zeros, so the windows no longer lie on the grid.")
def unfold_padded(images, patch_size):
    return F.unfold(images, patch_size, stride=patch_size, padding=patch_size // 2).transpose(1, 2)


@mistake(
    UNFOLD, "`tensor.unfold` twice leaves the channels in front of the grid; the flattening then mixes up the patches."
)
def tensor_unfold_without_moving_channels(images, patch_size):
    windows = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    return windows.reshape(images.shape[0], -1, images.shape[1] * patch_size**2)


@alternative(UNFOLD, "einops in place of the transpose")
def unfold_rearranged(images, patch_size):
    return rearrange(F.unfold(images, (patch_size, patch_size), stride=patch_size), "b k n -> b n k")


@alternative(UNFOLD, "nn.Unfold")
def unfold_module(images, patch_size):
    return torch.nn.Unfold(patch_size, stride=patch_size)(images).swapaxes(-1, -2).contiguous()


@alternative(UNFOLD, "tensor.unfold twice")
def unfold_tensor_method(images, patch_size):
    windows = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    return rearrange(windows, "b c h w p q -> b (h w) (c p q)")


@alternative(UNFOLD, "one image at a time")
def unfold_one_by_one(images, patch_size):
    return torch.stack([F.unfold(image, patch_size, stride=patch_size).T for image in images])


# ------------------------------------------------------------------------------------------------------- patch_kernel


def _eye(channels, patch_size):
    length = channels * patch_size**2
    return torch.eye(length).reshape(length, channels, patch_size, patch_size)


@mistake(KERNEL, "The vector comes out in the order (P, P, C); it must be (C, P, P).")
def kernel_channels_last(channels, patch_size):
    return rearrange(_eye(channels, patch_size), "(c p q) d r s -> (p q c) d r s", c=channels, p=patch_size)


@mistake(
    KERNEL, "The weight is turned by half a turn. torch's convolution does not flip its weight, so no turn is needed."
)
def kernel_flipped(channels, patch_size):
    return _eye(channels, patch_size).flip(-1, -2)


@mistake(KERNEL, "Height and width are swapped in the weight, so each patch comes out transposed.")
def kernel_transposed(channels, patch_size):
    return _eye(channels, patch_size).transpose(2, 3)


@mistake(KERNEL, "Each output adds up all channels; it must pick one number of one channel.")
def kernel_sums_channels(channels, patch_size):
    plane = torch.eye(patch_size**2).reshape(patch_size**2, 1, patch_size, patch_size)
    return plane.repeat(channels, channels, 1, 1)


@mistake(KERNEL, "The weight is full of ones, so every output is the sum of the patch.")
def kernel_of_ones(channels, patch_size):
    return torch.ones(channels * patch_size**2, channels, patch_size, patch_size)


@mistake(KERNEL, "The weight averages: an output must be one number of the patch, unchanged, not divided by its size.")
def kernel_averages(channels, patch_size):
    return _eye(channels, patch_size) / patch_size**2


@mistake(
    KERNEL,
    "The weight has one input channel; a convolution over C channels needs C (or `groups`, which is another order).",
)
def kernel_one_channel(channels, patch_size):
    plane = torch.eye(patch_size**2).reshape(patch_size**2, 1, patch_size, patch_size)
    return plane.repeat(channels, 1, 1, 1)


@mistake(KERNEL, "The weight is the matrix (C·P·P, C·P·P); a convolution wants its second axis split into (C, P, P).")
def kernel_as_matrix(channels, patch_size):
    return torch.eye(channels * patch_size**2)


@alternative(KERNEL, "loops that set one 1 per output channel")
def kernel_by_loops(channels, patch_size):
    weight = torch.zeros(channels * patch_size**2, channels, patch_size, patch_size)
    k = 0
    for c in range(channels):
        for i in range(patch_size):
            for j in range(patch_size):
                weight[k, c, i, j] = 1
                k += 1
    return weight


@alternative(KERNEL, "unflatten")
def kernel_unflattened(channels, patch_size):
    return torch.eye(channels * patch_size * patch_size).unflatten(1, (channels, patch_size, patch_size))


@alternative(KERNEL, "nn.init.dirac_ on a 1×1 weight, einops")
def kernel_by_dirac(channels, patch_size):
    length = channels * patch_size**2
    weight = torch.nn.init.dirac_(torch.empty(length, length, 1, 1))
    return rearrange(weight, "k (c p q) 1 1 -> k c p q", c=channels, p=patch_size)


@alternative(KERNEL, "fill a diagonal")
def kernel_by_diagonal(channels, patch_size):
    length = channels * patch_size**2
    weight = torch.zeros(length, length)
    weight.diagonal().fill_(1.0)
    return weight.view(-1, channels, patch_size, patch_size)


@alternative(KERNEL, "one-hot integers, made float")
def kernel_one_hot(channels, patch_size):
    length = channels * patch_size**2
    hot = F.one_hot(torch.arange(length), length).to(torch.get_default_dtype())
    return hot.reshape(length, channels, patch_size, patch_size)


# ---------------------------------------------------------------------------------------------------- attention_pairs


@mistake(PAIRS, "A token also looks at itself: there are N² pairs, not N·(N − 1).")
def pairs_without_self(height, width, patch_size):
    n = math.prod(_grid(height, width, patch_size))
    return n, n * (n - 1)


@mistake(PAIRS, "Attention has a direction: i looking at j and j looking at i are two pairs, so N², not N·(N + 1)/2.")
def pairs_without_direction(height, width, patch_size):
    n = math.prod(_grid(height, width, patch_size))
    return n, n * (n + 1) // 2


@mistake(PAIRS, "The image is taken to be square: N is (H/P)·(W/P), not (H/P)².")
def square_assumed(height, width, patch_size):
    rows, _ = _grid(height, width, patch_size)
    return rows**2, rows**4


@mistake(PAIRS, "N is divided by P once; a patch is P pixels wide and P pixels high, so it holds P² of them.")
def divided_once(height, width, patch_size):
    _grid(height, width, patch_size)
    n = height * width // patch_size
    return n, n**2


@mistake(PAIRS, "N is rows + cols; a grid holds rows · cols patches.")
def grid_added(height, width, patch_size):
    n = sum(_grid(height, width, patch_size))
    return n, n**2


@mistake(PAIRS, "An image that does not divide is rounded down without a word; it must raise ValueError.")
def pairs_round_down(height, width, patch_size):
    n = (height // patch_size) * (width // patch_size)
    return n, n**2


@mistake(PAIRS, "The pairs are 2N; every one of N tokens meets N tokens, which is N².")
def pairs_doubled(height, width, patch_size):
    n = math.prod(_grid(height, width, patch_size))
    return n, 2 * n


@mistake(PAIRS, "A [CLS] token is counted; here only the patches count.")
def pairs_with_cls(height, width, patch_size):
    n = math.prod(_grid(height, width, patch_size)) + 1
    return n, n**2


@mistake(PAIRS, "The two numbers are swapped: first the tokens, then the pairs.")
def pairs_swapped(height, width, patch_size):
    n = math.prod(_grid(height, width, patch_size))
    return n**2, n


@alternative(PAIRS, "from the area")
def pairs_from_area(height, width, patch_size):
    if height % patch_size or width % patch_size:
        raise ValueError("indivisible")
    tokens = height * width // patch_size**2
    return tokens, tokens * tokens


@alternative(PAIRS, "a list of floats that are whole")
def pairs_as_floats(height, width, patch_size):
    rows, cols = _grid(height, width, patch_size)
    return [float(rows * cols), float(rows * cols) ** 2]


@alternative(PAIRS, "counted on a tensor")
def pairs_counted(height, width, patch_size):
    rows, cols = _grid(height, width, patch_size)
    tokens = torch.zeros(rows, cols).flatten()
    return tokens.numel(), tokens.numel() ** 2


@alternative(PAIRS, "powers, and a loop over the sides")
def pairs_by_sides(height, width, patch_size):
    n = 1
    for side in (height, width):
        if side % patch_size != 0:
            raise ValueError(f"{patch_size} does not divide {side}")
        n *= side // patch_size
    return n, pow(n, 2)
