"""The catalogue of lesson 02."""

# Entries are named after the mistake, and exercises share mistakes.
# ruff: noqa: N801, F811
# mypy: ignore-errors

import math

import einops
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from grader.mistakes import alternative, mistake
from solutions import embeddings as right
from solutions.patchify import patchify

EMBED = "embeddings.embed_patches"
KERNEL = "embeddings.conv_from_linear"
PATCH = "embeddings.PatchEmbed"
CLS = "embeddings.prepend_cls"
MODULE = "embeddings.Embeddings"
SINCOS = "embeddings.sincos_positions"
STRETCH = "embeddings.interpolate_positions"


# ------------------------------------------------------------------------------------------- embed_patches


@mistake(EMBED, "The bias is missing.")
def no_bias(images, E, bias, patch_size):
    return patchify(images, patch_size) @ E


@mistake(EMBED, "The patch vectors stand in the order (P, P, C), but the rows of E in the order (C, P, P): every weight "
         "meets the wrong pixel.")  # fmt: skip
def pixels_then_channels(images, E, bias, patch_size):
    p = patch_size
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p) @ E + bias


@mistake(EMBED, "The patches are taken column by column, so tokens stand at the wrong places of the sequence.")
def columns_first(images, E, bias, patch_size):
    p = patch_size
    return rearrange(images, "b c (h p) (w q) -> b (w h) (c p q)", p=p, q=p) @ E + bias


@mistake(
    EMBED, "The image is reshaped without moving axes, so a “patch” is a strip of neighbouring pixels of one channel."
)
def raw_reshape(images, E, bias, patch_size):
    return images.reshape(images.shape[0], -1, E.shape[0]) @ E + bias


@mistake(EMBED, "E is reshaped where it should be used as it is (or transposed), which mixes its numbers.")
def matrix_reread(images, E, bias, patch_size):
    return F.linear(patchify(images, patch_size), E.reshape(E.shape[1], E.shape[0]), bias)


@mistake(EMBED, "An activation function follows the projection; the patch embedding is linear.")
def nonlinear(images, E, bias, patch_size):
    return F.relu(patchify(images, patch_size) @ E + bias)


@mistake(EMBED, "The batch is merged into the tokens: the result has two axes instead of (B, N, D).")
def batch_merged(images, E, bias, patch_size):
    return patchify(images, patch_size).flatten(0, 1) @ E + bias


@alternative(EMBED, "F.linear with the transposed matrix")
def with_linear(images, E, bias, patch_size):
    return F.linear(patchify(images, patch_size), E.T, bias)


@alternative(EMBED, "a strided convolution")
def with_conv(images, E, bias, patch_size):
    kernel = E.T.reshape(E.shape[1], images.shape[1], patch_size, patch_size)
    return F.conv2d(images, kernel, bias, stride=patch_size).flatten(2).transpose(1, 2)


@alternative(EMBED, "F.unfold and einsum")
def with_unfold(images, E, bias, patch_size):
    columns = F.unfold(images, patch_size, stride=patch_size)
    return torch.einsum("bkn, kd -> bnd", columns, E) + bias


@alternative(EMBED, "Python loops over patches")
def with_loops(images, E, bias, patch_size):
    p, tokens = patch_size, []
    for top in range(0, images.shape[2], p):
        for left in range(0, images.shape[3], p):
            tokens.append(images[:, :, top : top + p, left : left + p].reshape(len(images), -1) @ E + bias)
    return torch.stack(tokens, dim=1)


# ------------------------------------------------------------------------------------------- conv_from_linear


def _squares(weight, patch_size):
    if weight.shape[1] % patch_size**2:
        raise ValueError("no whole squares")
    return weight.shape[1] // patch_size**2


@mistake(KERNEL, "The channels stand last; Conv2d wants (D, C, P, P).")
def channels_last(weight, patch_size):
    return weight.reshape(-1, patch_size, patch_size, _squares(weight, patch_size))


@mistake(KERNEL, "The rows are read in the order (P, P, C), but they stand in the order (C, P, P).")
def pixels_then_channels(weight, patch_size):
    c = _squares(weight, patch_size)
    return rearrange(weight, "d (p q c) -> d c p q", c=c, p=patch_size)


@mistake(KERNEL, "The weight is transposed first. nn.Linear stores Eᵀ, one row per output channel, so the rows are the "
         "filters already.")  # fmt: skip
def transposed_first(weight, patch_size):
    return weight.T.reshape(weight.shape[0], _squares(weight, patch_size), patch_size, patch_size)


@mistake(KERNEL, "Height and width of the patch are swapped, so each filter is mirrored at its diagonal.")
def rows_and_columns_swapped(weight, patch_size):
    return rearrange(weight, "d (c p q) -> d c q p", c=_squares(weight, patch_size), p=patch_size)


@mistake(KERNEL, "The filters are turned by 180°. The convolution of deep learning does not flip its kernel.")
def flipped(weight, patch_size):
    return right.conv_from_linear(weight, patch_size).flip(2, 3)


@mistake(KERNEL, "Three channels are written into the code, so other pictures fail.")
def three_channels(weight, patch_size):
    _squares(weight, patch_size)
    return weight.reshape(weight.shape[0], 3, patch_size, patch_size)


@mistake(KERNEL, "Rows that hold no whole P × P squares are cut off instead of refused with a ValueError.")
def cut_off(weight, patch_size):
    c = weight.shape[1] // patch_size**2
    return weight[:, : c * patch_size**2].reshape(-1, c, patch_size, patch_size)


@mistake(KERNEL, "Rows that hold no whole P × P squares end in an error of reshape; raise a ValueError that says what is "
         "wrong.")  # fmt: skip
def unchecked(weight, patch_size):
    return weight.reshape(weight.shape[0], -1, patch_size, patch_size)


@alternative(KERNEL, "reshape with computed channels")
def reshape(weight, patch_size):
    return weight.reshape(-1, _squares(weight, patch_size), patch_size, patch_size)


@alternative(KERNEL, "unflatten twice")
def unflattened(weight, patch_size):
    c = _squares(weight, patch_size)
    return weight.unflatten(1, (c, -1)).unflatten(2, (patch_size, patch_size))


@alternative(KERNEL, "Python loops that fill an empty tensor")
def filled(weight, patch_size):
    c = _squares(weight, patch_size)
    kernel = weight.new_empty(weight.shape[0], c, patch_size, patch_size)
    for channel in range(c):
        for row in range(patch_size):
            start = (channel * patch_size + row) * patch_size
            kernel[:, channel, row] = weight[:, start : start + patch_size]
    return kernel


@alternative(KERNEL, "as_strided on the contiguous weight")
def strided(weight, patch_size):
    c, p = _squares(weight, patch_size), patch_size
    return weight.contiguous().as_strided((weight.shape[0], c, p, p), (c * p * p, p * p, p, 1))


# ------------------------------------------------------------------------------------------- PatchEmbed


def _refuse(module, x):
    if x.shape[-2] % module.patch_size or x.shape[-1] % module.patch_size:
        raise ValueError("does not divide")


@mistake(
    PATCH, "The tokens have the shape (B, D, N): after flattening the grid, channels and tokens must change places."
)
class no_transpose(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return self.proj(x).flatten(2)


@mistake(PATCH, "(B, D, N) is reshaped to (B, N, D). That changes the shape but leaves the numbers where they are, so each "
         "token mixes the channels of several patches.")  # fmt: skip
class reshaped(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return self.proj(x).reshape(x.shape[0], -1, self.proj.out_channels)


@mistake(PATCH, "The tokens stand column by column; the sequence goes row by row.")
class columns_first(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return rearrange(self.proj(x), "b d h w -> b (w h) d")


@mistake(PATCH, "The bias of proj is left out.")
class no_bias(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return F.conv2d(x, self.proj.weight, stride=self.patch_size).flatten(2).transpose(1, 2)


@mistake(PATCH, "Images that P does not divide are cropped without a word: the convolution ignores the border. They must be "
         "refused with a ValueError.")  # fmt: skip
class silent_crop(right.PatchEmbed):
    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


@mistake(PATCH, "Only the height is checked; an image whose width P does not divide is cropped without a word.")
class height_only(right.PatchEmbed):
    def forward(self, x):
        if x.shape[-2] % self.patch_size:
            raise ValueError("does not divide")
        return self.proj(x).flatten(2).transpose(1, 2)


@mistake(PATCH, "The stride is smaller than the patch, so patches overlap and there are too many tokens.")
class overlapping(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return F.conv2d(x, self.proj.weight, self.proj.bias, stride=1).flatten(2).transpose(1, 2)


@mistake(PATCH, "The patch vectors stand in the order (P, P, C), the weight of proj in the order (C, P, P).")
class pixels_then_channels(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        p = self.patch_size
        vectors = rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)
        return F.linear(vectors, self.proj.weight.flatten(1), self.proj.bias)


@mistake(PATCH, "The batch is merged into the tokens: the result has two axes instead of (B, N, D).")
class batch_merged(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return rearrange(self.proj(x), "b d h w -> (b h w) d")


@alternative(PATCH, "einops on the feature map")
class with_einops(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return rearrange(self.proj(x), "b d h w -> b (h w) d")


@alternative(PATCH, "permute, then flatten")
class permuted(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return self.proj(x).permute(0, 2, 3, 1).flatten(1, 2)


@alternative(PATCH, "patchify and a linear layer with the same weights")
class linear_on_patches(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        return F.linear(patchify(x, self.patch_size), self.proj.weight.flatten(1), self.proj.bias)


@alternative(PATCH, "tensor.unfold twice")
class unfolded_twice(right.PatchEmbed):
    def forward(self, x):
        _refuse(self, x)
        p = self.patch_size
        windows = x.unfold(2, p, p).unfold(3, p, p)  # (B, C, h, w, P, P)
        vectors = windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return vectors @ self.proj.weight.flatten(1).T + self.proj.bias


# ------------------------------------------------------------------------------------------- prepend_cls


@mistake(CLS, "The class token stands last; every later step looks for it at position 0.")
def appended(x, cls_token):
    return torch.cat([x, cls_token.expand(len(x), -1, -1)], dim=1)


@mistake(CLS, "The class token is not repeated for the batch. torch.cat does not broadcast, so every batch of more than one "
         "picture fails.")  # fmt: skip
def no_expand(x, cls_token):
    return torch.cat([cls_token, x], dim=1)


@mistake(CLS, "The class token takes the place of the first patch, which is lost.")
def first_patch_lost(x, cls_token):
    return torch.cat([cls_token.expand(len(x), -1, -1), x[:, 1:]], dim=1)


@mistake(CLS, "Position 0 holds zeros instead of the token that was given, so nothing can be learned there.")
def zeros(x, cls_token):
    return torch.cat([x.new_zeros(len(x), 1, x.shape[2]), x], dim=1)


@mistake(CLS, "The token is detached: no gradient reaches it and it never learns.")
def detached(x, cls_token):
    return torch.cat([cls_token.detach().expand(len(x), -1, -1), x], dim=1)


@mistake(CLS, "The token is added to every patch instead of standing in front of them.")
def added(x, cls_token):
    return x + cls_token


@mistake(CLS, "The token is joined along the batch: it became one more picture.")
def joined_along_batch(x, cls_token):
    return torch.cat([cls_token.expand(1, x.shape[1], -1), x], dim=0)


@mistake(CLS, "The token is joined along the width: it became more channels.")
def joined_along_width(x, cls_token):
    return torch.cat([cls_token.expand(len(x), x.shape[1], -1), x], dim=2)


@mistake(CLS, "Only the first picture of the batch gets the class token.")
def only_first_picture(x, cls_token):
    cls = torch.cat([cls_token, x.new_zeros(len(x) - 1, 1, x.shape[2])])
    return torch.cat([cls, x], dim=1)


@alternative(CLS, "repeat")
def with_repeat(x, cls_token):
    return torch.cat((cls_token.repeat(x.size(0), 1, 1), x), 1)


@alternative(CLS, "einops.repeat")
def with_einops_repeat(x, cls_token):
    return torch.cat([einops.repeat(cls_token, "1 1 d -> b 1 d", b=len(x)), x], dim=1)


@alternative(CLS, "writing into an allocated tensor")
def written_in(x, cls_token):
    out = x.new_empty(x.shape[0], x.shape[1] + 1, x.shape[2])
    out[:, :1] = cls_token
    out[:, 1:] = x
    return out


@alternative(CLS, "a loop over pictures")
def looped(x, cls_token):
    return torch.stack([torch.cat([cls_token[0], picture]) for picture in x])


@alternative(CLS, "einops.pack")
def packed(x, cls_token):
    return einops.pack([cls_token.expand_as(x[:, :1]), x], "b * d")[0]


# ------------------------------------------------------------------------------------------- Embeddings


@mistake(MODULE, "The class token stands last while row 0 of the positions is still meant for it: every patch has its "
         "neighbour's position.")  # fmt: skip
class cls_last(right.Embeddings):
    def forward(self, x):
        x = self.patch_embed(x)
        return torch.cat([x, self.cls_token.expand(len(x), -1, -1)], dim=1) + self.pos_embed


@mistake(MODULE, "The class token gets no position; row 0 of pos_embed is never used.")
class cls_without_position(right.Embeddings):
    def forward(self, x):
        return right.prepend_cls(self.patch_embed(x) + self.pos_embed[:, 1:], self.cls_token)


@mistake(MODULE, "The slices are off by one: the first patch gets the class token's position, and so on.")
class off_by_one(right.Embeddings):
    def forward(self, x):
        x = self.patch_embed(x) + self.pos_embed[:, :-1]
        return right.prepend_cls(x, self.cls_token + self.pos_embed[:, -1:])


@mistake(MODULE, "The positions are added twice.")
class added_twice(right.Embeddings):
    def forward(self, x):
        return super().forward(x) + self.pos_embed


@mistake(MODULE, "The positions are a plain tensor, not a parameter: the optimizer never sees them, they stay random.")
class not_learned(right.Embeddings):
    def __init__(self, patch_embed, num_patches, embed_dim):
        super().__init__(patch_embed, num_patches, embed_dim)
        del self.pos_embed
        self.pos_embed = torch.randn(1, num_patches + 1, embed_dim) * 0.02


@mistake(
    MODULE, "The positions are drawn anew in forward: they are noise, different for each batch, and never learned."
)
class redrawn(right.Embeddings):
    def forward(self, x):
        return right.prepend_cls(self.patch_embed(x), self.cls_token) + torch.randn_like(self.pos_embed) * 0.02


@mistake(
    MODULE, "The parameters have a batch dimension: each picture of a batch has its own, and other batches do not fit."
)
class one_per_picture(right.Embeddings):
    def __init__(self, patch_embed, num_patches, embed_dim):
        super().__init__(patch_embed, num_patches, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(8, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.randn(8, num_patches + 1, embed_dim) * 0.02)

    def forward(self, x):
        x = self.patch_embed(x)
        return torch.cat([self.cls_token[: len(x)], x], dim=1) + self.pos_embed[: len(x)]


@mistake(MODULE, "The positions start with standard deviation 1 instead of 0.02, so at first they drown the patches.")
class starts_at_one(right.Embeddings):
    def __init__(self, patch_embed, num_patches, embed_dim):
        super().__init__(patch_embed, num_patches, embed_dim)
        self.pos_embed = nn.Parameter(torch.randn(1, num_patches + 1, embed_dim))


@mistake(MODULE, "The positions start at zero; the task asks for a standard deviation of 0.02.")
class starts_at_zero(right.Embeddings):
    def __init__(self, patch_embed, num_patches, embed_dim):
        super().__init__(patch_embed, num_patches, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches + 1, embed_dim))


@mistake(MODULE, "The positions are never added.")
class no_positions(right.Embeddings):
    def forward(self, x):
        return right.prepend_cls(self.patch_embed(x), self.cls_token)


@mistake(MODULE, "The positions are multiplied instead of added.")
class multiplied(right.Embeddings):
    def forward(self, x):
        return right.prepend_cls(self.patch_embed(x), self.cls_token) * self.pos_embed


@alternative(MODULE, "positions first, then the class token with its own")
class positions_first(right.Embeddings):
    def forward(self, x):
        x = self.patch_embed(x) + self.pos_embed[:, 1:]
        cls = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([cls.expand(x.shape[0], -1, -1), x], dim=1)


@alternative(MODULE, "trunc_normal_ and an allocated tensor")
class allocated(nn.Module):
    def __init__(self, patch_embed, num_patches, embed_dim):
        super().__init__()
        self.patch_embed = patch_embed
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + num_patches, embed_dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x):
        x = self.patch_embed(x)
        out = x.new_empty(x.shape[0], x.shape[1] + 1, x.shape[2])
        out[:, :1], out[:, 1:] = self.cls_token, x
        return out + self.pos_embed


@alternative(MODULE, "a class token with small random values, repeated, and an extra dropout of 0")
class with_dropout(right.Embeddings):
    def __init__(self, patch_embed, num_patches, embed_dim, drop=0.0):
        super().__init__(patch_embed, num_patches, embed_dim)
        nn.init.normal_(self.cls_token, std=1e-6)
        self.pos_drop = nn.Dropout(drop)

    def forward(self, x):
        x = self.patch_embed(x)
        return self.pos_drop(torch.cat((self.cls_token.repeat(len(x), 1, 1), x), dim=1) + self.pos_embed)


@alternative(MODULE, "positions expanded by hand, added out of place")
class expanded(right.Embeddings):
    def forward(self, x):
        cls = einops.repeat(self.cls_token, "1 1 d -> b 1 d", b=len(x))
        tokens = einops.pack([cls, self.patch_embed(x)], "b * d")[0]
        return torch.add(tokens, self.pos_embed.expand_as(tokens))


# ------------------------------------------------------------------------------------------- sincos_positions


def _split(dim):
    if dim % 4:
        raise ValueError("not a multiple of 4")
    return dim // 2


def _places(grid, indexing="ij"):
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing=indexing)
    return rows.flatten(), columns.flatten()


def _both(rows, columns, half, temperature):
    return torch.cat([right.sincos_1d(rows, half, temperature), right.sincos_1d(columns, half, temperature)], dim=1)


@mistake(SINCOS, "Rows and columns are swapped: the first half of the channels encodes the column.")
def axes_swapped(grid, dim, temperature=10000.0):
    half = _split(dim)
    rows, columns = _places(grid)
    return _both(columns, rows, half, temperature)


@mistake(SINCOS, 'meshgrid with indexing="xy" makes a (w, h) table, so the patches stand column by column.')
def meshgrid_xy(grid, dim, temperature=10000.0):
    half = _split(dim)
    return _both(*_places(grid, "xy"), half, temperature)


@mistake(SINCOS, "The cosines stand before the sines.")
def cosines_first(grid, dim, temperature=10000.0):
    quarter = _split(dim) // 2
    a, b, c, d = right.sincos_positions(grid, dim, temperature).split(quarter, dim=1)
    return torch.cat([b, a, d, c], dim=1)


@mistake(
    SINCOS,
    "Sines and cosines alternate, as in Vaswani et al.; the task asks for all sines of an axis, then its cosines.",
)
def interleaved(grid, dim, temperature=10000.0):
    _split(dim)
    return rearrange(right.sincos_positions(grid, dim, temperature), "n (a f k) -> n (a k f)", a=2, f=2)


@mistake(SINCOS, "The patches are numbered along one axis, so a step down looks like w steps to the right.")
def one_axis(grid, dim, temperature=10000.0):
    _split(dim)
    return right.sincos_1d(torch.arange(grid[0] * grid[1]), dim, temperature)


@mistake(SINCOS, "Rows and columns count from 1 instead of 0.")
def counts_from_one(grid, dim, temperature=10000.0):
    half = _split(dim)
    rows, columns = _places(grid)
    return _both(rows + 1, columns + 1, half, temperature)


@mistake(SINCOS, "Rows and columns are divided by the size of the grid, so all waves become nearly flat.")
def scaled_to_one(grid, dim, temperature=10000.0):
    half = _split(dim)
    rows, columns = _places(grid)
    return _both(rows / max(grid[0] - 1, 1), columns / max(grid[1] - 1, 1), half, temperature)


@mistake(SINCOS, "The exponent is divided by D/2 instead of D/4 (the number of frequencies of one axis), so the frequencies "
         "fall too slowly.")  # fmt: skip
def slow_frequencies(grid, dim, temperature=10000.0):
    half = _split(dim)
    return _both(*_places(grid), half, math.sqrt(temperature))


@mistake(SINCOS, "The temperature is written into the code; the argument does nothing.")
def temperature_ignored(grid, dim, temperature=10000.0):
    return right.sincos_positions(grid, dim)


@mistake(SINCOS, "A width that is not a multiple of 4 is rounded down instead of refused with a ValueError.")
def rounded_down(grid, dim, temperature=10000.0):
    return _both(*_places(grid), dim // 2, temperature)


@alternative(SINCOS, "Python loops and math.sin")
def with_math(grid, dim, temperature=10000.0):
    if dim % 4:
        raise ValueError("not a multiple of 4")
    quarter, rows = dim // 4, []
    for y in range(grid[0]):
        for x in range(grid[1]):
            a = [y / temperature ** (k / quarter) for k in range(quarter)]
            b = [x / temperature ** (k / quarter) for k in range(quarter)]
            rows.append([*map(math.sin, a), *map(math.cos, a), *map(math.sin, b), *map(math.cos, b)])
    return torch.tensor(rows)


@alternative(SINCOS, "outer products on repeated rows and columns, in float32")
def with_outer(grid, dim, temperature=10000.0):
    if dim % 4 != 0:
        raise ValueError("not a multiple of 4")
    h, w = grid
    omega = torch.exp(-math.log(temperature) * torch.arange(dim // 4, dtype=torch.float32) / (dim // 4))
    y = torch.outer(torch.arange(h, dtype=torch.float32).repeat_interleave(w), omega)
    x = torch.outer(torch.arange(w, dtype=torch.float32).repeat(h), omega)
    return torch.hstack([torch.sin(y), torch.cos(y), torch.sin(x), torch.cos(x)])


@alternative(SINCOS, "two small tables broadcast into a grid")
def broadcast(grid, dim, temperature=10000.0):
    half = _split(dim)
    h, w = grid
    table = torch.empty(h, w, dim)
    table[..., :half] = right.sincos_1d(torch.arange(h), half, temperature)[:, None]
    table[..., half:] = right.sincos_1d(torch.arange(w), half, temperature)
    return table.reshape(h * w, dim)


@alternative(SINCOS, 'meshgrid "xy" with the arguments in its own order')
def careful_xy(grid, dim, temperature=10000.0):
    half = _split(dim)
    columns, rows = torch.meshgrid(torch.arange(grid[1]), torch.arange(grid[0]), indexing="xy")
    return _both(rows.reshape(-1), columns.reshape(-1), half, temperature)


# ------------------------------------------------------------------------------------------- interpolate_positions


def _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, turn_old=False, turn_new=False, **options):
    """The reference with one thing changed."""
    if pos_embed.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise ValueError("another grid")
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    prefix, patches = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    h, w = old_grid[::-1] if turn_old else old_grid
    image = patches.reshape(1, h, w, -1).permute(0, 3, 1, 2).float()
    options = {"mode": "bicubic", "align_corners": False, "antialias": False} | options
    if "scale_factor" not in options:
        options["size"] = tuple(new_grid[::-1] if turn_new else new_grid)
    image = F.interpolate(image, **options)
    return torch.cat([prefix, image.flatten(2).transpose(1, 2).to(pos_embed.dtype)], dim=1)


@mistake(STRETCH, "The class token is interpolated together with the grid, along one axis. It has no place in the picture, "
         "and rows run into each other.")  # fmt: skip
def cls_interpolated(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    if pos_embed.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise ValueError("another grid")
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    size = num_prefix_tokens + new_grid[0] * new_grid[1]
    line = F.interpolate(pos_embed.float().transpose(1, 2), size=size, mode="linear")
    return line.transpose(1, 2).to(pos_embed.dtype)


@mistake(
    STRETCH, "The positions are reshaped to (D, h, w) without moving the axes first, so channels and places are mixed."
)
def no_permute(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    if pos_embed.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise ValueError("another grid")
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    prefix, patches = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    image = patches.reshape(1, -1, *old_grid).float()
    image = F.interpolate(image, size=tuple(new_grid), mode="bicubic")
    return torch.cat([prefix, image.flatten(2).transpose(1, 2).to(pos_embed.dtype)], dim=1)


@mistake(STRETCH, "On the way back (D, h', w') is reshaped to (h'·w', D) without moving the axes, so channels and places are "
         "mixed.")  # fmt: skip
def no_permute_back(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    out = right.interpolate_positions(pos_embed, old_grid, new_grid, num_prefix_tokens)
    if tuple(old_grid) == tuple(new_grid):
        return out
    patches = out[:, num_prefix_tokens:]
    mixed = patches.transpose(1, 2).reshape(patches.shape)
    return torch.cat([out[:, :num_prefix_tokens], mixed], dim=1)


@mistake(STRETCH, "A scale factor is passed instead of the size. It is rounded down, so at some sizes the grid comes one "
         "short.")  # fmt: skip
def scale_factor(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    factor = (new_grid[0] / old_grid[0], new_grid[1] / old_grid[1])
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, scale_factor=factor)


@mistake(STRETCH, "align_corners=True pins the centres of the corner patches; patches are areas, so the grid must be stretched "
         "from edge to edge.")  # fmt: skip
def align_corners(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, align_corners=True)


@mistake(STRETCH, "This is bilinear interpolation; the task says bicubic.")
def bilinear(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, mode="bilinear")


@mistake(STRETCH, "antialias=True changes the numbers, even when the grid grows; the task says False.")
def antialias(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, antialias=True)


@mistake(STRETCH, "The number of patches is compared instead of the grid, so another grid with as many patches comes back "
         "unchanged.")  # fmt: skip
def count_compared(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    if pos_embed.shape[1] == num_prefix_tokens + new_grid[0] * new_grid[1]:
        if pos_embed.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
            raise ValueError("another grid")
        return pos_embed
    return right.interpolate_positions(pos_embed, old_grid, new_grid, num_prefix_tokens)


@mistake(STRETCH, "The old grid is read as (w, h): on grids that are not square the rows fall apart.")
def old_grid_turned(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, turn_old=True)


@mistake(STRETCH, "The new grid is made as (w', h'): its rows and columns are swapped.")
def new_grid_turned(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens, turn_new=True)


@mistake(STRETCH, "The position of the class token is lost.")
def cls_dropped(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return right.interpolate_positions(pos_embed, old_grid, new_grid, num_prefix_tokens)[:, num_prefix_tokens:]


@mistake(STRETCH, "One token in front of the grid is written into the code; num_prefix_tokens does nothing.")
def one_prefix(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return right.interpolate_positions(pos_embed, old_grid, new_grid)


@mistake(STRETCH, "The result stays in float32 instead of coming back in the type of pos_embed.")
def dtype_lost(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return right.interpolate_positions(pos_embed.float(), old_grid, new_grid, num_prefix_tokens)


@mistake(STRETCH, "Positions that do not fit the old grid end in an error of reshape; raise a ValueError that says what is "
         "wrong.")  # fmt: skip
def unchecked(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    prefix, patches = pos_embed[:, :num_prefix_tokens], pos_embed[:, num_prefix_tokens:]
    image = patches.transpose(1, 2).reshape(1, -1, *old_grid).float()
    image = F.interpolate(image, size=tuple(new_grid), mode="bicubic")
    return torch.cat([prefix, image.flatten(2).transpose(1, 2).to(pos_embed.dtype)], dim=1)


@alternative(STRETCH, "permute and flatten")
def permuted(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    return _stretch(pos_embed, old_grid, new_grid, num_prefix_tokens)


@alternative(STRETCH, "no shortcut for equal grids, computed in float64")
def always(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    h, w = old_grid
    if pos_embed.size(1) - num_prefix_tokens != h * w:
        raise ValueError("another grid")
    head, body = pos_embed.split([num_prefix_tokens, h * w], dim=1)
    body = body.double().transpose(1, 2).unflatten(2, (h, w))
    body = F.interpolate(body, size=list(new_grid), mode="bicubic").flatten(2).mT
    return torch.cat((head, body.to(pos_embed.dtype)), dim=1)


@alternative(STRETCH, "the result written into an allocated tensor")
def written_in(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    k = num_prefix_tokens
    full = right.interpolate_positions(pos_embed, old_grid, new_grid, k)
    out = pos_embed.new_empty(1, k + new_grid[0] * new_grid[1], pos_embed.shape[2])
    out[:, :k] = pos_embed[:, :k]
    out[:, k:] = full[:, k:]
    return out


@alternative(STRETCH, "each channel by itself")
def by_channel(pos_embed, old_grid, new_grid, num_prefix_tokens=1):
    if pos_embed.shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise ValueError("another grid")
    patches = pos_embed[0, num_prefix_tokens:].float()
    pictures = [patches[:, d].reshape(1, 1, *old_grid) for d in range(patches.shape[1])]
    pictures = [F.interpolate(p, size=tuple(new_grid), mode="bicubic").flatten() for p in pictures]
    grid = torch.stack(pictures, dim=1)[None].to(pos_embed.dtype)
    return torch.cat([pos_embed[:, :num_prefix_tokens], grid], dim=1)
