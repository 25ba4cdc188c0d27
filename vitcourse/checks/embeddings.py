"""Visible checks and questions of lesson 02."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse.checking import close, differs, normal, raises, require, scramble, shape, visible_check
from vitcourse.quiz import question

ORDER = "shapes are right, numbers are not"
CAT = "RuntimeError: Sizes of tensors must match"
CROP = "the right or lower border of the image is ignored"
STILL = "positions do not change in training"
SQUARES = "it works on square images only"
RESOLUTION = "accuracy collapses at another resolution"
SHORT = "one position too few"
COPIED = "copied patch weights give nonsense"


def _unlike(result: Tensor, *known: tuple[str, Tensor, str, str | None]) -> None:
    """The result equals none of the known wrong ones: (name of the mistake, what it gives, words, symptom)."""
    for name, wrong, words, see in known:
        differs(result, wrong, words, see=see, mistake=name)


# ------------------------------------------------------------------------------------------- patches to tokens


def _vectors(images: Tensor, patch: int) -> Tensor:
    """Patch vectors (B, N, C·P·P) in the order (C, P, P), by torch's own unfold."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


def _pixels_last(images: Tensor, patch: int) -> Tensor:
    """Patch vectors in the order (P, P, C), the wrong one here."""
    batch, channels = images.shape[:2]
    return _vectors(images, patch).unflatten(2, (channels, -1)).transpose(2, 3).reshape(batch, -1, channels * patch**2)


def _by_columns(tokens: Tensor, h: int, w: int) -> Tensor:
    """Tokens (B, h·w, D) read column by column."""
    return tokens.unflatten(1, (h, w)).transpose(1, 2).flatten(1, 2)


@visible_check("embeddings.embed_patches")
def embed_patches(answer: Callable[..., Tensor]) -> None:
    images, E, bias = normal(2, 3, 4, 6), normal(12, 5), normal(5)
    tokens = shape(
        answer(images, E, bias, 2), (2, 6, 5), "2 pictures of 2 × 3 patches, each a token of width 5", hint=1
    )
    right, swapped = _vectors(images, 2) @ E, _pixels_last(images, 2) @ E + bias
    _unlike(
        tokens,
        ("no_bias", right, "the bias is missing: every token gets it once", None),
        ("pixels_then_channels", swapped, "the patch vectors stand in the order (P, P, C), the rows of E in the order "
         "(C, P, P)", COPIED),
        ("columns_first", _by_columns(right + bias, 2, 3), "the patches are taken column by column; the sequence goes "
         "row by row", ORDER),
        ("raw_reshape", images.reshape(2, 6, 12) @ E + bias, "a plain reshape cuts the picture into strips of pixels, "
         "not into patches: use patchify", ORDER),
        ("matrix_reread", _vectors(images, 2) @ E.reshape(5, 12).T + bias, "E has the shape (C·P·P, D) already; "
         "reshaping it mixes its numbers", ORDER),
        ("nonlinear", (right + bias).relu(), "the embedding is linear: no activation function follows it", None),
    )  # fmt: skip
    close(tokens, right + bias, "the tokens are not patch · E + bias", hint=2)
    close(answer(images[:1], E, bias, 2), (right + bias)[:1], "one picture alone must give the same tokens")
    grey = normal(1, 1, 9, 6)
    close(answer(grey, normal(9, 4), normal(4), 3), _vectors(grey, 3) @ normal(9, 4) + normal(4),
          "a grey picture with patches of 3 goes wrong: is a number of channels or a patch size written into the code?")  # fmt: skip


@visible_check("embeddings.conv_from_linear")
def conv_from_linear(answer: Callable[..., Tensor]) -> None:
    weight = normal(5, 12)
    D, C, P = 5, 3, 2
    kernel = answer(weight, P)
    require(not (isinstance(kernel, Tensor) and tuple(kernel.shape) == (D, P, P, C)),
            "the channels come last; Conv2d wants (D, C, P, P)", hint=1, see=COPIED, mistake="channels_last")  # fmt: skip
    kernel = shape(kernel, (D, C, P, P), "Conv2d wants (output channels, input channels, height, width)", hint=1)
    right = torch.stack([row.unflatten(0, (C, P, P)) for row in weight])
    _unlike(
        kernel,
        ("pixels_then_channels", weight.reshape(D, P, P, C).permute(0, 3, 1, 2), "the rows are read in the order "
         "(P, P, C); here they stand in the order (C, P, P)", COPIED),
        ("transposed_first", weight.T.reshape(D, C, P, P), "the weight is transposed first; nn.Linear stores it as (D, C·P·P) "
         "already", COPIED),
        ("rows_and_columns_swapped", right.transpose(2, 3), "each filter is mirrored at its diagonal: the height of the "
         "patch comes before its width", COPIED),
        ("flipped", right.flip(2, 3), "the filters are turned by 180°. Conv2d does not flip its kernel, so neither "
         "should you", COPIED),
    )  # fmt: skip
    images = normal(2, 3, 4, 6)
    tokens = F.conv2d(images, kernel, stride=P).flatten(2).transpose(1, 2)
    close(tokens, F.linear(_vectors(images, P), weight), "the convolution does not give the tokens of the linear layer",
          hint=2, see=COPIED)  # fmt: skip
    grey = normal(4, 9)
    close(answer(grey, 3), grey.unflatten(1, (1, 3, 3)), "one channel and patches of 3 go wrong: compute C from the "
          "length of a row", hint=1)  # fmt: skip
    raises(ValueError, lambda: answer(normal(4, 10), 3), "rows of 10 numbers hold no whole 3 × 3 squares: raise a "
           "ValueError", hint=3)  # fmt: skip


@visible_check("embeddings.PatchEmbed")
def patch_embed(answer: Callable[..., Any]) -> None:
    module: Any = scramble(answer(2, 3, 5))
    images = normal(2, 3, 4, 6)
    tokens = module(images)
    require(not (isinstance(tokens, Tensor) and tuple(tokens.shape) == (2, 5, 6)),
            "the tokens have the shape (B, D, N): one move is missing", hint=2, see=ORDER, mistake="no_transpose")  # fmt: skip
    require(not (isinstance(tokens, Tensor) and tuple(tokens.shape) == (12, 5)),
            "the batch is merged into the tokens: the result has three axes, (B, N, D)", hint=2, mistake="batch_merged")  # fmt: skip
    tokens = shape(tokens, (2, 6, 5), "2 pictures of 2 × 3 patches, each a token of width 5", hint=1)
    proj = module.proj
    matrix, bias = proj.weight.detach().flatten(1), proj.bias.detach()
    right = F.linear(_vectors(images, 2), matrix, bias)
    maps = F.conv2d(images, proj.weight.detach(), bias, stride=2)
    _unlike(
        tokens,
        ("reshaped", maps.reshape(2, 6, 5), "a reshape to (B, N, D) changes the shape, not the order of the numbers: "
         "they stand in the order (B, D, N)", ORDER),
        ("columns_first", _by_columns(right, 2, 3), "the tokens stand column by column; the sequence goes row by row",
         ORDER),
        ("no_bias", right - bias, "the bias of proj is missing", None),
        ("pixels_then_channels", F.linear(_pixels_last(images, 2), matrix, bias), "the patch vectors stand in the order "
         "(P, P, C), the weight of proj in the order (C, P, P)", COPIED),
    )  # fmt: skip
    close(tokens, right, "the tokens are not those of the linear layer with the weights of proj", hint=2)
    close(module(images[:1]), right[:1], "one picture alone must give the same tokens")
    raises(ValueError, lambda: module(normal(1, 3, 5, 6)), "an image 5 pixels high does not divide into patches of 2: "
           "raise a ValueError. The convolution alone drops the last row and says nothing", hint=3, see=CROP)  # fmt: skip
    raises(ValueError, lambda: module(normal(1, 3, 4, 7)), "an image 7 pixels wide does not divide into patches of 2: "
           "raise a ValueError here too", hint=3, see=CROP)  # fmt: skip


# ------------------------------------------------------------------------------------------- class token, positions


@visible_check("embeddings.prepend_cls")
def prepend_cls(answer: Callable[..., Tensor]) -> None:
    x, cls = normal(3, 4, 5), normal(1, 1, 5)
    try:
        out = answer(x, cls)
    except RuntimeError as error:
        require("Sizes of tensors must match" not in str(error), "one class token, three pictures: torch.cat does not "
                "broadcast. Give every picture its view of the token first", hint=2, see=CAT, mistake="no_expand")  # fmt: skip
        raise
    got = tuple(out.shape) if isinstance(out, Tensor) else ()
    require(got != (3, 4, 5) or not torch.allclose(out, x + cls), "the token is added to every patch; it should be one "
            "token more", hint=1, mistake="added")  # fmt: skip
    require(got != (3, 4, 5) or not torch.allclose(out[:, 1:], x[:, 1:]), "the class token takes the place of the first "
            "patch; nothing should be lost", hint=1, mistake="first_patch_lost")  # fmt: skip
    require(got != (4, 4, 5), "the token became one more picture: join along the tokens, not along the batch", hint=1,
            mistake="joined_along_batch")  # fmt: skip
    require(got != (3, 4, 10), "the token became more channels: join along the tokens", hint=1,
            mistake="joined_along_width")  # fmt: skip
    out = shape(out, (3, 5, 5), "3 pictures of 4 + 1 tokens", hint=1)
    every = cls.expand(3, 1, 5)
    first = torch.cat([torch.cat([cls, torch.zeros(2, 1, 5)]), x], dim=1)
    _unlike(
        out,
        ("appended", torch.cat([x, every], dim=1), "the class token stands last; it belongs at position 0", ORDER),
        ("zeros", torch.cat([torch.zeros(3, 1, 5), x], dim=1), "position 0 holds zeros, not the token you were given",
         STILL),
        ("only_first_picture", first, "only the first picture got the class token", None),
    )  # fmt: skip
    close(out[:, 0], cls[0].expand(3, 5), "position 0 of every picture must hold cls_token", hint=1)
    close(out[:, 1:], x, "the patches must follow unchanged, in their order")
    close(answer(x[:1], cls), torch.cat([cls, x[:1]], dim=1), "one picture alone goes wrong")
    learned = cls.clone().requires_grad_()
    result = answer(x, learned)
    reached = result.requires_grad and torch.autograd.grad(result.sum(), learned, allow_unused=True)[0] is not None
    require(reached, "no gradient reaches cls_token, so it would never learn: do not detach or rebuild it", hint=3,
            see=STILL, mistake="detached")  # fmt: skip
    x_before = x.clone()
    answer(x, cls)
    close(x, x_before, "the function changes the tokens it was given")


class _Flat(nn.Module):
    """A stand-in for PatchEmbed: pictures (B, 1, H, W), patches of one row each."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x[:, 0])


@visible_check("embeddings.Embeddings")
def embeddings(answer: Callable[..., Any]) -> None:
    module = answer(_Flat(), 4, 5)
    named = dict(module.named_parameters())
    for name, size in (("cls_token", (1, 1, 5)), ("pos_embed", (1, 5, 5))):
        require(isinstance(getattr(module, name, None), Tensor), f"the module has no tensor `{name}`", hint=1)
        require(name in named, f"`{name}` is not a parameter, so no optimizer will ever change it: wrap it in "
                "nn.Parameter", hint=1, see=STILL, mistake="not_learned" if name == "pos_embed" else None)  # fmt: skip
        one_each = tuple(named[name].shape[1:]) == size[1:] and named[name].shape[0] > 1
        require(not one_each, f"`{name}` holds one for each picture of a batch; all pictures share one, whatever the "
                "batch", hint=1, mistake="one_per_picture")  # fmt: skip
        shape(named[name], size, f"`{name}` has the wrong shape (4 patches, width 5)", hint=1)
    wide = answer(nn.Identity(), 99, 64).pos_embed.detach()
    spread = float(wide.std())
    require(spread < 0.5, f"the positions start with a standard deviation of {spread:.2g}; they should start with 0.02",
            hint=1, mistake="starts_at_one" if 0.97 < spread < 1.03 else None)  # fmt: skip
    require(spread > 0, "the positions all start at zero; draw them with a standard deviation of 0.02", hint=1,
            mistake="starts_at_zero")  # fmt: skip
    require(
        0.016 < spread < 0.024, f"the positions start with a standard deviation of {spread:.2g} instead of 0.02", hint=1
    )

    scramble(module)
    images = normal(3, 1, 4, 6)
    out = shape(module(images), (3, 5, 5), "3 pictures of 1 + 4 tokens", hint=2)
    with torch.no_grad():
        tokens, cls, pos = module.patch_embed(images), module.cls_token.expand(3, 1, 5), module.pos_embed
        joined = torch.cat([cls, tokens], dim=1)
        _unlike(
            out,
            ("no_positions", joined, "the positions are never added", None),
            ("cls_last", torch.cat([tokens, cls], dim=1) + pos, "the class token stands last; position 0 is its own", ORDER),
            ("cls_without_position", torch.cat([cls, tokens + pos[:, 1:]], dim=1), "the class token got no position; "
             "row 0 of pos_embed is its own", ORDER),
            ("off_by_one", torch.cat([cls + pos[:, -1:], tokens + pos[:, :-1]], dim=1), "the positions are shifted by "
             "one: row 0 belongs to the class token, row 1 to the first patch", ORDER),
            ("added_twice", joined + 2 * pos, "the positions are added twice", None),
            ("multiplied", joined * pos, "the positions are multiplied; eq. 1 adds them", None),
        )  # fmt: skip
        require(torch.equal(module(images), module(images)), "the same picture gives other tokens the second time: the "
                "positions are drawn anew in forward", hint=3, see=STILL, mistake="redrawn")  # fmt: skip
        close(out, joined + pos, "the tokens are not [cls; patches] + pos_embed", hint=2)
        close(module(images[:1]), (joined + pos)[:1], "one picture alone must give the same tokens")
    module.zero_grad()
    (module(images) * normal(3, 5, 5)).sum().backward()
    for name in ("cls_token", "pos_embed"):
        gradient = getattr(module, name).grad
        require(gradient is not None and bool(gradient.any()), f"no gradient reaches `{name}`: use the parameter itself "
                "in forward", hint=3, see=STILL)  # fmt: skip


# ------------------------------------------------------------------------------------------- sines and cosines


def _waves(p: float, width: int, temperature: float = 1e4, cos_first: bool = False) -> list[float]:
    """One number as `width` numbers: sines, then cosines, by Python's own math."""
    half = width // 2
    angles = [p / temperature ** (k / half) for k in range(half)]
    parts = [[math.sin(a) for a in angles], [math.cos(a) for a in angles]]
    return [*parts[cos_first], *parts[not cos_first]]


def _table(places: Iterable[tuple[float, float]], dim: int, temperature: float = 1e4, **options: bool) -> Tensor:
    """One row of channels for each (first, second) number."""
    rows = [
        _waves(a, dim // 2, temperature, **options) + _waves(b, dim // 2, temperature, **options) for a, b in places
    ]
    return torch.tensor(rows, dtype=torch.get_default_dtype())


@visible_check("embeddings.sincos_positions")
def sincos_positions(answer: Callable[..., Tensor]) -> None:
    h, w, dim = 3, 5, 16
    out = answer((h, w), dim)
    require(not (isinstance(out, Tensor) and out.ndim == 3), "the grid is still a grid: return (h·w, D)", hint=2)
    out = shape(out, (h * w, dim), "3 × 5 patches, 16 channels, no class token", hint=2)
    places = [(y, x) for y in range(h) for x in range(w)]
    right = _table(places, dim)
    flat = torch.tensor([_waves(p, dim) for p in range(h * w)]).to(right)
    half, quarter = dim // 2, dim // 4
    woven = torch.cat(
        [right[:, s : s + half].unflatten(1, (2, quarter)).transpose(1, 2).flatten(1) for s in (0, half)], 1
    )
    _unlike(
        out,
        ("axes_swapped", _table([(x, y) for y, x in places], dim), "the first half encodes the column; it should encode "
         "the row", SQUARES),
        ("meshgrid_xy", _table([(y, x) for x in range(w) for y in range(h)], dim), "the patches stand column by column: "
         "meshgrid with indexing=\"xy\" gives a (w, h) table here", SQUARES),
        ("cosines_first", _table(places, dim, cos_first=True), "the cosines stand before the sines", None),
        ("interleaved", woven, "sines and cosines alternate, as in Vaswani et al.; here all sines come first", None),
        ("one_axis", flat, "this numbers the patches 0 … N − 1 along one axis; encode row and column apart", None),
        ("counts_from_one", _table([(y + 1, x + 1) for y, x in places], dim), "rows and columns count from 0", None),
        ("scaled_to_one", _table([(y / (h - 1), x / (w - 1)) for y, x in places], dim), "rows and columns are used as "
         "they are, not divided by the size of the grid", None),
    )  # fmt: skip
    differs(out[:, : quarter], torch.stack([(torch.tensor([y / 1e4 ** (k / half) for k in range(quarter)])).sin()
            for y, _ in places]), "the frequencies fall too slowly: each axis has D/4 of them, so ω_k = T^(−k / (D/4))",
            hint=3, mistake="slow_frequencies")  # fmt: skip
    close(out, right, "the channels are not sin(y·ω), cos(y·ω), sin(x·ω), cos(x·ω)", hint=3)
    small = [(y, x) for y in range(2) for x in range(3)]
    warm = answer((2, 3), 8, temperature=100.0)
    differs(warm, _table(small, 8), "the temperature changes nothing: is 10000 written into the code?",
            mistake="temperature_ignored")  # fmt: skip
    close(warm, _table(small, 8, 100.0), "with temperature 100 the channels are not those of the formula", hint=3)
    close(answer((1, 2), 4), _table([(0, 0), (0, 1)], 4), "a grid of one row goes wrong")
    raises(ValueError, lambda: answer((2, 3), 6), "6 channels do not split into four equal parts: raise a ValueError")


# ------------------------------------------------------------------------------------------- interpolation


def _keys(t: float, a: float = -0.75) -> float:
    """The cubic kernel of Keys (1981), with torch's a = −0.75."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def _resample(old: int, new: int, align_corners: bool = False, linear: bool = False) -> Tensor:
    """The matrix (new, old) that resamples `old` values to `new`, written out from the definition."""
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        place = i * (old - 1) / max(new - 1, 1) if align_corners else (i + 0.5) * old / new - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            share = max(0.0, 1 - abs(place - j)) if linear else _keys(place - j)
            matrix[i, min(max(j, 0), old - 1)] += share
    return matrix


def _stretched(pos: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 1, **options: bool) -> Tensor:
    """Positions (1, K + h·w, D) on another grid, by two matrices."""
    patches = pos[0, prefix:].double().unflatten(0, old)
    down, across = _resample(old[0], new[0], **options), _resample(old[1], new[1], **options)
    grid = torch.einsum("yh, xw, hwd -> yxd", down, across, patches).flatten(0, 1)
    return torch.cat([pos[0, :prefix].double(), grid])[None].to(pos.dtype)


@visible_check("embeddings.interpolate_positions")
def interpolate_positions(answer: Callable[..., Tensor]) -> None:
    old, new = (3, 4), (5, 6)
    pos = normal(1, 13, 8)
    out = answer(pos, old, new)
    require(not (isinstance(out, Tensor) and tuple(out.shape) == (1, 30, 8)), "the class token lost its position: put it "
            "back in front", hint=1, mistake="cls_dropped")  # fmt: skip
    out = shape(out, (1, 31, 8), "1 class token and 5 × 6 patches, width 8", hint=1)
    one_line = F.interpolate(pos.transpose(1, 2), size=31, mode="linear").transpose(1, 2)

    def stretch(image: Tensor, **options: Any) -> Tensor:
        return F.interpolate(image, size=new, mode="bicubic", **options)

    image = pos[:, 1:].transpose(1, 2).unflatten(2, old)
    mixed = stretch(pos[:, 1:].reshape(1, 8, 3, 4)).flatten(2).transpose(1, 2)
    turned = pos[:, 1:].unflatten(1, (4, 3)).permute(0, 3, 1, 2)
    smooth = stretch(image, antialias=True).flatten(2).transpose(1, 2)
    unmoved = stretch(image).reshape(1, 30, 8)
    cls = pos[:, :1]
    _unlike(
        out,
        ("cls_interpolated", one_line, "the class token is stretched together with the patches; it has no place in the "
         "grid, so keep it aside", RESOLUTION),
        ("no_permute", torch.cat([cls, mixed], 1), "the positions are reshaped to (D, h, w) without moving the axes, so "
         "channels and places mix", ORDER),
        ("no_permute_back", torch.cat([cls, unmoved], 1), "on the way back the axes are not moved: (D, h', w') is "
         "reshaped to (h'·w', D)", ORDER),
        ("old_grid_turned", torch.cat([cls, stretch(turned).flatten(2).transpose(1, 2)], 1), "the old grid is read as "
         "(w, h)", SQUARES),
        ("new_grid_turned", _stretched(pos, old, (6, 5)), "the new grid is made as (w', h')", SQUARES),
        ("align_corners", _stretched(pos, old, new, align_corners=True), "this is align_corners=True; patches are areas, "
         "not points at the corners", RESOLUTION),
        ("bilinear", _stretched(pos, old, new, linear=True), "this is bilinear interpolation; the task says bicubic",
         RESOLUTION),
        ("antialias", torch.cat([cls, smooth], 1), "this is antialias=True, which changes the numbers even when the grid "
         "grows", RESOLUTION),
    )  # fmt: skip
    close(out[:, 0], pos[:, 0], "the class token's position must stay as it is", hint=1)
    close(out, _stretched(pos, old, new), "the patches' positions are not the bicubic ones", atol=1e-4, hint=2)
    shorter = normal(1, 67, 4)
    other = answer(shorter, (11, 6), (15, 4))
    require(tuple(other.shape) != (1, 57, 4), "a grid of 14 × 4 came out where 15 × 4 was asked for: a scale factor is "
            "rounded down, a size is not", hint=3, see=SHORT, mistake="scale_factor")  # fmt: skip
    close(other, _stretched(shorter, (11, 6), (15, 4)), "from 11 × 6 to 15 × 4 goes wrong", atol=1e-4)
    same = answer(pos, old, (2, 6))
    differs(same, pos, "12 patches before and 12 after, but 3 × 4 is not 2 × 6: compare the grids, not the counts",
            hint=3, see=SQUARES, mistake="count_compared")  # fmt: skip
    close(same, _stretched(pos, old, (2, 6)), "from 3 × 4 to 2 × 6 goes wrong", atol=1e-4)
    close(answer(pos, old, old), pos, "equal grids: the positions must come back as they are")
    require(tuple(answer(pos[:, 1:], old, new, num_prefix_tokens=0).shape) == (1, 30, 8), "num_prefix_tokens=0 goes "
            "wrong: is the 1 written into the code?", hint=1)  # fmt: skip
    two = normal(1, 14, 8)
    close(answer(two, old, new, num_prefix_tokens=2), _stretched(two, old, new, 2), "two tokens in front (as in DeiT) go "
          "wrong: is the 1 written into the code?", atol=1e-4, hint=1)  # fmt: skip
    brief = answer(pos.bfloat16(), old, new)
    require(brief.dtype == torch.bfloat16, f"positions in bfloat16 came back as {brief.dtype}: cast back at the end", hint=3,
            mistake="dtype_lost" if brief.dtype == torch.float32 else None)  # fmt: skip
    raises(ValueError, lambda: answer(pos, (4, 4), new), "13 positions are not 1 + 4 × 4: raise a ValueError", hint=1)


# ------------------------------------------------------------------------------------------- questions

question(
    "embeddings.patch_numbers",
    right=768,
    why="16 · 16 · 3 = 768. ViT-B also uses D = 768, but that is a coincidence: ViT-S turns the same 768 numbers into 384.",
    wrong={
        "256": "That is one channel. A colour patch has three.",
        "196": "That is how many patches a 224 × 224 picture has, not how many numbers one patch holds.",
        "48": "That is 16 · 3: one row of the patch.",
    },
    otherwise="Count the pixels of one patch, then the numbers of one pixel.",
)
question(
    "embeddings.convolution_inside",
    right="b",
    why="Kernel and stride are both P, so each pixel is read once, and only by its own patch. It is a matrix product.",
    wrong={
        "a": "A kernel of P with a stride of P moves by a whole patch. Nothing overlaps, so no patch sees its neighbour.",
        "c": "There is no activation function in it, and no pooling: one linear map, the same for each patch.",
    },
)
question(
    "embeddings.cat_shapes",
    right="b",
    why="torch.cat joins; it never broadcasts. All axes but the joined one must agree, and 1 is not 8.",
    wrong={
        "a": "Broadcasting belongs to arithmetic like +. torch.cat does not do it.",
        "c": "It would be nice, but a batch axis of 1 is joined to nothing silently: torch.cat refuses.",
    },
)
question(
    "embeddings.shuffle_without_positions",
    right="a",
    why="Each part of the model treats all tokens alike, so a sum over them does not care about their order. You measure "
    "it below.",
    wrong={
        "b": "Nothing in the model knows the order. Attention compares contents; which token came third is written nowhere.",
        "c": "It does not become wrong either: the model's answer is the same number, up to rounding.",
    },
)
question(
    "embeddings.ones_at_zero",
    right=4,
    why="At p = 0 every angle is 0. sin 0 = 0 fills the first half, cos 0 = 1 the second.",
    wrong={
        "0": "cos 0 = 1, whatever the frequency.",
        "1": "All frequencies give the angle 0 at p = 0, so all four cosines are 1.",
        "8": "Half of the channels are sines, and sin 0 = 0.",
    },
    otherwise="Half of the channels are sines, half cosines. What are sin 0 and cos 0?",
)
question(
    "embeddings.rows_at_384",
    right=577,
    why="384 / 16 = 24, 24 · 24 = 576 patches, and one class token.",
    wrong={
        "576": "Do not forget the class token: it has a position too.",
        "197": "That is the count at 224 pixels: 14 · 14 + 1.",
        "25": "24 patches on each side, but the grid has two sides.",
        "578": "That is DeiT with its distillation token. A plain ViT has one extra token.",
    },
    otherwise="How many patches fit on one side? Square it, then think of [CLS].",
)
question(
    "embeddings.quiz_parameters",
    right=590592,
    why="E has 768 · 768 = 589,824 numbers, the bias 768 more.",
    wrong={
        "589824": "The bias is missing: D = 768 more.",
        "196608": "That is 16 · 16 · 768: one channel only, and no bias.",
        "197376": "That is one channel. A colour patch has 3 · 16 · 16 numbers.",
        "1536": "That is the number of inputs plus outputs. Each input meets each output.",
    },
    otherwise="(numbers in a patch) × D, plus D for the bias.",
)
question(
    "embeddings.quiz_parameter",
    right="c",
    why="Only what is registered as nn.Parameter reaches the optimizer, `state_dict` and `.to(device)`.",
    wrong={
        "a": "A plain tensor computes just as fast. It is simply never trained.",
        "b": "A parameter may have any shape; (1, N + 1, D) only makes broadcasting over the batch visible.",
        "d": "A plain tensor can hold gradients, but `model.parameters()` does not know of it.",
    },
)
question(
    "embeddings.quiz_wide",
    right=961,
    why="384 / 16 = 24 rows, 640 / 16 = 40 columns, 24 · 40 = 960, plus [CLS].",
    wrong={
        "960": "Plus the class token.",
        "1601": "That is 40 · 40 + 1. The picture is not square.",
        "577": "That is 24 · 24 + 1. The picture is not square.",
    },
    otherwise="Rows × columns + 1.",
)
question(
    "embeddings.quiz_same_count",
    right="b",
    why="Patch 12 (counted from 0) was the first of the second row. In the new grid it lies inside the first row.",
    wrong={
        "a": "The count agrees, the places do not: row 0 now ends after patch 17, not after patch 11.",
        "c": "Interpolation works between any two grids, square or not.",
        "d": "The class token is the one position that stays as it is.",
    },
)
question(
    "embeddings.quiz_order",
    right="a",
    why="The convolution flattens its kernel as (C, P, P). Patch vectors in (P, P, C) meet the wrong weights, with no error.",
    wrong={
        "b": "The shapes agree: P · P · C = C · P · P. That is why nothing complains.",
        "c": "A trained E has learned which pixel is which; it cannot know that you moved them.",
        "d": "Each patch is still cut at the right place. Only the numbers inside its vector are in another order.",
    },
)
question(
    "embeddings.quiz_myth",
    right="c",
    why="Learned positions get one free vector per index. Under a fixed shuffle they learn the shuffled neighbours instead.",
    wrong={
        "a": "Nothing two-dimensional is built in: pos_embed is a list of N + 1 vectors.",
        "b": "The positions start as small noise, the same for neighbours and for strangers.",
        "d": "One fixed order is harmless, as the bars show. A new order for each picture is what destroys the layout.",
    },
)
