"""Hidden cases of lesson 02."""

import torch
from torch import nn

from vitcourse.probes import case, raised

EMBED = "embeddings.embed_patches"
KERNEL = "embeddings.conv_from_linear"
PATCH = "embeddings.PatchEmbed"
CLS = "embeddings.prepend_cls"
MODULE = "embeddings.Embeddings"
SINCOS = "embeddings.sincos_positions"
STRETCH = "embeddings.interpolate_positions"


# ------------------------------------------------------------------------------------------- embed_patches


@case(EMBED, points=1, about="colour pictures that are not square")
def colour(answer, draw):
    b, h, w, p, d = draw.sizes(5, low=2, high=6)
    return answer(draw.normal(b, 3, h * p, w * p), draw.normal(3 * p * p, d), draw.normal(d), p)


@case(EMBED, points=0.5, about="two channels, patches of 3")
def two_channels(answer, draw):
    return answer(draw.normal(2, 2, 6, 12), draw.normal(18, 5), draw.normal(5), 3)


@case(EMBED, points=0.5, about="one picture of one patch")
def one_picture(answer, draw):
    return answer(draw.normal(1, 3, 4, 4), draw.normal(48, 5), draw.normal(5), 4)


# ------------------------------------------------------------------------------------------- conv_from_linear


@case(KERNEL, points=1, about="the same numbers in the order of Conv2d")
def kernel(answer, draw):
    d, c, p = draw.sizes(3, low=2, high=6)
    return answer(draw.normal(d, c * p * p), p)


@case(KERNEL, points=0.5, about="one channel")
def grey_kernel(answer, draw):
    return answer(draw.normal(4, 25), 5)


@case(KERNEL, points=0.5, about="rows that hold no whole squares are refused")
def no_squares(answer, draw):
    return [answer(draw.normal(2, 12), 2), raised(lambda: answer(draw.normal(4, 3 * 9 + 2), 3))]


# ------------------------------------------------------------------------------------------- PatchEmbed


@case(PATCH, points=1, about="pictures that are not square")
def tokens(answer, draw):
    b, h, w, p, d = draw.sizes(5, low=2, high=6)
    return draw.scramble(answer(p, 3, d))(draw.normal(b, 3, h * p, w * p))


@case(PATCH, points=1, about="one picture, two channels, patches of 4, arguments by name")
def one_tall(answer, draw):
    module = draw.scramble(answer(patch_size=4, in_chans=2, embed_dim=7))
    return module(draw.normal(1, 2, 12, 8))


@case(PATCH, points=1, about="sizes that the patch side does not divide are refused")
def indivisible(answer, draw):
    module = draw.scramble(answer(3, 2, 5))
    good = module(draw.normal(2, 2, 6, 9))
    return [
        good,
        raised(lambda: module(draw.normal(1, 2, 7, 9))),
        raised(lambda: module(draw.normal(1, 2, 6, 11))),
    ]


# ------------------------------------------------------------------------------------------- prepend_cls


@case(CLS, points=1, about="several pictures")
def several(answer, draw):
    b, n, d = draw.sizes(3, low=2, high=8)
    return answer(draw.normal(b, n, d), draw.normal(1, 1, d))


@case(CLS, points=0.5, about="one picture")
def single(answer, draw):
    return answer(draw.normal(1, 4, 6), draw.normal(1, 1, 6))


@case(CLS, points=0.5, about="the gradient of the class token sums over the pictures")
def cls_gradient(answer, draw):
    cls = draw.normal(1, 1, 6).requires_grad_()
    out = answer(draw.normal(3, 4, 6), cls)
    weights = draw.normal(3, 5, 6)
    if not out.requires_grad:
        return "no gradient"
    return torch.autograd.grad((out * weights).sum(), cls, allow_unused=True)[0]


# ------------------------------------------------------------------------------------------- Embeddings


class _Patches(nn.Module):
    """Pictures (B, C, H, W) to tokens (B, N, D)."""

    def __init__(self, patch, channels, width):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


@case(MODULE, points=1, about="tokens of several pictures that are not square")
def all_tokens(answer, draw):
    b, h, w, d = draw.sizes(4, low=2, high=6)
    module = draw.scramble(answer(_Patches(2, 3, d), h * w, d)).eval()
    x = draw.normal(b, 3, 2 * h, 2 * w)
    return [module(x), module(x)]


@case(MODULE, points=1, about="one picture, given by name")
def one_image(answer, draw):
    module = draw.scramble(answer(patch_embed=_Patches(3, 1, 8), num_patches=6, embed_dim=8)).eval()
    return module(draw.normal(1, 1, 6, 9))


def _start(data):
    if not isinstance(data, dict):
        return data
    return {**data, "spread": [0.016 < float(data["spread"][0]) < 0.024, float(data["spread"][1]) < 0.1]}


@case(MODULE, points=1, about="names, shapes and first values of the parameters", after=_start)
def parameters(answer, draw):
    n, d = draw.integer(60, 80), draw.integer(60, 80)
    module = answer(nn.Identity(), n, d)
    named = dict(module.named_parameters())
    shapes = {name: list(named[name].shape) if name in named else None for name in ("cls_token", "pos_embed")}
    spread = [float(module.pos_embed.detach().std()), float(module.cls_token.detach().abs().mean())]
    return {**shapes, "spread": spread, "zero": bool((module.pos_embed == 0).all())}


@case(MODULE, points=1, about="gradients of class token and positions")
def gradients(answer, draw):
    module = draw.scramble(answer(_Patches(2, 2, 6), 6, 6))
    (module(draw.normal(3, 2, 4, 6)) * draw.normal(3, 7, 6)).sum().backward()
    named = dict(module.named_parameters())
    return [named[name].grad if name in named else None for name in ("cls_token", "pos_embed")]


# ------------------------------------------------------------------------------------------- sincos_positions


@case(SINCOS, points=1, about="a grid that is not square")
def wide_grid(answer, draw):
    h, w = draw.sizes(2, low=2, high=9)
    return answer((h, w), 4 * draw.integer(3, 6))


@case(SINCOS, points=1, about="another temperature, by name, and few channels")
def warm(answer, draw):
    h, w = draw.sizes(2, low=2, high=7)
    return [answer((h, w), 12, temperature=50.0), answer(grid=(w, h), dim=4)]


@case(SINCOS, points=1, about="one row, one column, and channels that do not split")
def edges(answer, draw):
    width = 4 * draw.integer(2, 5)
    return [answer((1, 4), width), answer((5, 1), width), raised(lambda: answer((2, 3), width + 2))]


# ------------------------------------------------------------------------------------------- interpolate_positions


@case(STRETCH, points=1, about="growing and shrinking grids that are not square", atol=1e-4)
def other_grid(answer, draw):
    h, w, d = draw.sizes(3, low=3, high=7)
    up, down = (h + draw.integer(2, 5), w + draw.integer(6, 9)), (h - 1, w + 1)
    pos = draw.normal(1, 1 + h * w, d)
    return [answer(pos, (h, w), up), answer(pos, (h, w), down)]


@case(STRETCH, points=1, about="as many patches in another grid, and the same grid", atol=1e-4)
def same_count(answer, draw):
    h, w = draw.choice([(2, 6), (3, 4), (2, 9), (3, 8), (4, 6)])
    pos = draw.normal(1, 1 + h * w, 7)
    return [answer(pos, (h, w), (w, h)), answer(pos, (h, w), (h, w))]


@case(STRETCH, points=1, about="sizes that a scale factor misses by one, arguments by name", atol=1e-4)
def missed_by_one(answer, draw):
    old, new = draw.choice([(11, 15), (13, 15), (22, 15), (23, 13)])
    pos = draw.normal(1, 1 + 3 * old, 5)
    return answer(pos_embed=pos, old_grid=(3, old), new_grid=(4, new))


@case(STRETCH, points=1, about="other tokens in front, half precision, and a wrong grid", atol=0.05)
def prefix_and_type(answer, draw):
    half = answer(draw.normal(1, 14, 8).bfloat16(), (3, 4), (4, 6), num_prefix_tokens=2)
    none = answer(draw.normal(1, 12, 8), (3, 4), (5, 3), num_prefix_tokens=0)
    return [str(half.dtype), half.float(), none, raised(lambda: answer(draw.normal(1, 13, 8), (4, 4), (5, 5)))]
