"""The catalogue of lesson 06."""

import itertools
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from torchvision.models.swin_transformer import PatchMerging as TorchvisionMerging

from grader.mistakes import alternative, mistake
from solutions import swin_windows as right

PARTITION = "swin_windows.window_partition"
SHIFT = "swin_windows.cyclic_shift"
MASK = "swin_windows.shift_mask"
INDEX = "swin_windows.relative_position_index"
ATTENTION = "swin_windows.WindowAttention"
MERGING = "swin_windows.PatchMerging"
BLOCK = "swin_windows.SwinBlock"


def together(name, **objects):
    """Several objects under one name, as a learner's notebook holds them."""
    return SimpleNamespace(__name__=name, **objects)


# ------------------------------------------------------------------------------------------------- windows and back


def checked(x, window):
    if x.shape[1] % window or x.shape[2] % window:
        raise ValueError("windows do not fill the map")


def flat_partition(x, window):
    checked(x, window)
    return x.reshape(-1, window, window, x.shape[-1])


def dilated_partition(x, window):
    checked(x, window)
    return rearrange(x, "b (r h) (c w) d -> (b h w) r c d", r=window, c=window)


def cropping_partition(x, window):
    height, width = x.shape[1] // window * window, x.shape[2] // window * window
    return right.window_partition(x[:, :height, :width], window)


def viewing_partition(x, window):
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)  # RuntimeError where windows do not fit
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window, window, c)


mistake(PARTITION, "The windows are cut by a plain reshape: a window holds tokens that lie behind each other, not a square.")(
    together("plain_reshape", window_partition=flat_partition,
             window_reverse=lambda windows, window, height, width: windows.reshape(-1, height, width, windows.shape[-1])))  # fmt: skip

mistake(PARTITION, "A window takes tokens at equal distances from all over the map instead of neighbours.")(
    together("dilated", window_partition=dilated_partition,
             window_reverse=lambda windows, window, height, width: rearrange(
                 windows, "(b h w) r c d -> b (r h) (c w) d", h=height // window, w=width // window)))  # fmt: skip

mistake(PARTITION, "The reverse only reshapes, without moving the axes, so the rows of a window end up behind each other.")(
    together("reverse_without_permute", window_partition=right.window_partition,
             window_reverse=lambda windows, window, height, width: windows.reshape(-1, height, width, windows.shape[-1])))  # fmt: skip

mistake(PARTITION, "The reverse takes height for width, which only square maps forgive.")(
    together("reverse_swapped", window_partition=right.window_partition,
             window_reverse=lambda windows, window, height, width: right.window_reverse(windows, window, width, height)))  # fmt: skip

mistake(PARTITION, "A map that windows do not fill is cut without a word instead of being refused.")(
    together("cropped", window_partition=cropping_partition, window_reverse=right.window_reverse))  # fmt: skip

mistake(PARTITION, "A map that windows do not fill is not refused with ValueError.")(
    together("no_value_error", window_partition=viewing_partition, window_reverse=right.window_reverse))  # fmt: skip

mistake(PARTITION, "The reverse gives back the rows of each window as columns.")(
    together("windows_transposed", window_partition=right.window_partition,
             window_reverse=lambda windows, window, height, width: right.window_reverse(
                 windows.transpose(1, 2), window, height, width)))  # fmt: skip

mistake(PARTITION, "The reverse counts the windows column by column, the partition row by row.")(
    together("reverse_by_columns", window_partition=right.window_partition,
             window_reverse=lambda windows, window, height, width: rearrange(
                 windows, "(b w h) r c d -> b (h r) (w c) d", h=height // window, w=width // window)))  # fmt: skip


def permuting_reverse(windows, window, height, width):
    b = windows.shape[0] * window * window // (height * width)
    x = windows.view(b, height // window, width // window, window, window, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, height, width, -1)


def permuting_partition(x, window):
    checked(x, window)
    return viewing_partition(x, window)


alternative(PARTITION, "view and permute, as in the paper's code")(
    together("view_and_permute", window_partition=permuting_partition, window_reverse=permuting_reverse))  # fmt: skip


def looping_partition(x, window):
    checked(x, window)
    return torch.stack([
        x[b, i : i + window, j : j + window]
        for b in range(x.shape[0]) for i in range(0, x.shape[1], window) for j in range(0, x.shape[2], window)
    ])  # fmt: skip


def looping_reverse(windows, window, height, width):
    down, across = height // window, width // window
    out = windows.new_empty(len(windows) // (down * across), height, width, windows.shape[-1])
    for n, one in enumerate(windows):
        b, i, j = n // (down * across), n // across % down, n % across
        out[b, i * window : (i + 1) * window, j * window : (j + 1) * window] = one
    return out


alternative(PARTITION, "Python loops")(
    together("loops", window_partition=looping_partition, window_reverse=looping_reverse))  # fmt: skip


def column_partition(x, window):
    checked(x, window)
    return rearrange(x, "b (h r) (w c) d -> (w h b) c r d", r=window, c=window)


alternative(PARTITION, "windows column by column, transposed, the map last; undone by its own reverse")(
    together("own_order", window_partition=column_partition,
             window_reverse=lambda windows, window, height, width: rearrange(
                 windows, "(w h b) c r d -> b (h r) (w c) d", h=height // window, w=width // window)))  # fmt: skip


def unfold_partition(x, window):
    checked(x, window)
    pieces = x.unfold(1, window, window).unfold(2, window, window)  # (B, H/M, W/M, C, M, M)
    return pieces.permute(0, 1, 2, 4, 5, 3).flatten(0, 2)


def concatenating_reverse(windows, window, height, width):
    rows = torch.cat(windows.unflatten(0, (-1, width // window)).unbind(1), dim=2)  # (B·H/M, M, W, C)
    return torch.cat(rows.unflatten(0, (-1, height // window)).unbind(1), dim=1)


alternative(PARTITION, "tensor.unfold twice, and cat for the way back")(
    together("unfold", window_partition=unfold_partition, window_reverse=concatenating_reverse))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- shift


def shifts(cyclic=right.cyclic_shift, reverse=right.reverse_shift):
    return {"cyclic_shift": cyclic, "reverse_shift": reverse}


mistake(SHIFT, "The map moves down and to the right instead of up and to the left.")(
    together("sign_flipped", **shifts(lambda x, s: torch.roll(x, s, (1, 2)), lambda x, s: torch.roll(x, (-s[0], -s[1]), (1, 2)))))  # fmt: skip

mistake(SHIFT, "s_h moves columns and s_w rows; the first number counts rows.")(
    together("axes_swapped", **shifts(lambda x, s: torch.roll(x, (-s[0], -s[1]), (2, 1)), lambda x, s: torch.roll(x, s, (2, 1)))))  # fmt: skip

mistake(SHIFT, "The reverse shift does nothing, so the map stays where the shift left it.")(
    together("reverse_does_nothing", **shifts(reverse=lambda x, s: x))
)

mistake(SHIFT, "The reverse shift moves on in the same direction instead of back.")(
    together("reverse_goes_on", **shifts(reverse=right.cyclic_shift))
)

mistake(SHIFT, "The wrong axes are rolled: maps (B, H, W, C) have rows in axis 1 and columns in axis 2.")(
    together("channels_first_axes", **shifts(lambda x, s: torch.roll(x, (-s[0], -s[1]), (2, 3)), lambda x, s: torch.roll(x, s, (2, 3)))))  # fmt: skip


def zero_filled(x, s):
    out = torch.zeros_like(x)
    out[:, : x.shape[1] - s[0], : x.shape[2] - s[1]] = x[:, s[0] :, s[1] :]
    return out


mistake(SHIFT, "What leaves the map at the top and left is lost; it must come in again at the other side.")(
    together("zero_filled", **shifts(zero_filled))
)

mistake(SHIFT, "Only rows are moved, columns stay.")(
    together("rows_only", **shifts(lambda x, s: torch.roll(x, -s[0], 1), lambda x, s: torch.roll(x, s[0], 1)))
)


def unrolled(x, s):
    flat = x.flatten(1, 2)
    return torch.roll(flat, -(s[0] * x.shape[2] + s[1]), 1).view_as(x)


def rerolled(x, s):
    flat = x.flatten(1, 2)
    return torch.roll(flat, s[0] * x.shape[2] + s[1], 1).reshape(x.shape)


mistake(SHIFT, "The tokens are rolled as one long row, so what leaves at the left comes in at the right one row off.")(
    together("rolled_flat", **shifts(unrolled, rerolled))
)


def slices(x, s):
    x = torch.cat([x[:, s[0] :], x[:, : s[0]]], dim=1)
    return torch.cat([x[:, :, s[1] :], x[:, :, : s[1]]], dim=2)


def slices_back(x, s):
    return slices(x, (x.shape[1] - s[0], x.shape[2] - s[1]))


alternative(SHIFT, "slices and cat")(together("slice_and_cat", **shifts(slices, slices_back)))
alternative(SHIFT, "one roll after the other")(
    together("two_rolls", **shifts(lambda x, s: x.roll(-s[1], 2).roll(-s[0], 1), lambda x, s: x.roll(s[0], 1).roll(s[1], 2))))  # fmt: skip


def indexed(x, s):
    rows = (torch.arange(x.shape[1]) + s[0]) % x.shape[1]
    columns = (torch.arange(x.shape[2]) + s[1]) % x.shape[2]
    return x[:, rows[:, None], columns]


alternative(SHIFT, "by indexing")(together("by_index", **shifts(indexed, lambda x, s: indexed(x, (-s[0], -s[1])))))


# -------------------------------------------------------------------------------------------------------------- mask


def mask_of(regions, window, value=float("-inf")):
    regions = rearrange(regions, "(h r) (w c) -> (h w) (r c)", r=window, c=window)
    same = regions[:, :, None] == regions[:, None, :]
    return torch.zeros(same.shape).masked_fill(~same, value)


def bands(size, shift):
    return (torch.arange(size) >= size - shift).int()


@mistake(MASK, "Nothing is masked: tokens from opposite edges of the map attend to each other.")
def no_mask(height, width, window, shift):
    return torch.zeros(height * width // window**2, window**2, window**2)


@mistake(MASK, "Only rows are masked: what came around from the left edge attends to its new neighbours.")
def rows_only(height, width, window, shift):
    return mask_of(bands(height, shift[0])[:, None].expand(height, width), window)


@mistake(MASK, "Only columns are masked: what came around from the top edge attends to its new neighbours.")
def columns_only(height, width, window, shift):
    return mask_of(bands(width, shift[1])[None].expand(height, width), window)


@mistake(MASK, "The borders of the regions lie one token off.")
def off_by_one(height, width, window, shift):
    one_more = [s + 1 if s else 0 for s in shift]
    return mask_of(2 * bands(height, one_more[0])[:, None] + bands(width, one_more[1]), window)


@mistake(MASK, "−1 is too weak to mask: the softmax still gives such a key about a third of its weight.")
def minus_one(height, width, window, shift):
    return mask_of(2 * bands(height, shift[0])[:, None] + bands(width, shift[1]), window, -1.0)


@mistake(MASK, "True marks the pairs that may not look at each other; it must mark those that may.")
def inverted(height, width, window, shift):
    return right.shift_mask(height, width, window, shift) != 0


@mistake(MASK, "The piece from the top and the piece from the left have the same number, so they attend to each other.")
def same_number(height, width, window, shift):
    return mask_of(bands(height, shift[0])[:, None] + bands(width, shift[1]), window)


@mistake(MASK, "s_h and s_w are swapped in the mask.")
def swapped(height, width, window, shift):
    return mask_of(2 * bands(height, shift[1])[:, None] + bands(width, shift[0]), window)


@mistake(
    MASK,
    "The regions are marked at the top and left; after the shift the pieces that came around lie at the bottom and right.",
)
def wrong_end(height, width, window, shift):
    rows, columns = (torch.arange(n) < s for n, s in zip((height, width), shift, strict=True))
    return mask_of(2 * rows[:, None].int() + columns, window)


@mistake(MASK, "The windows are counted column by column; the mask must go row by row.")
def by_columns(height, width, window, shift):
    mask = right.shift_mask(height, width, window, shift)
    return rearrange(mask, "(h w) n m -> (w h) n m", h=height // window)


@mistake(MASK, "Only the last window is masked; every window of the last row and of the last column needs it.")
def corner_only(height, width, window, shift):
    mask = right.shift_mask(height, width, window, shift)
    mask[:-1] = 0
    return mask


@alternative(MASK, "three slices per side and −100, as in the paper's code")
def three_slices(height, width, window, shift):
    image = torch.zeros(height, width)
    count = 0
    for rows in (slice(0, -window), slice(-window, -shift[0]), slice(-shift[0], None)):
        for columns in (slice(0, -window), slice(-window, -shift[1]), slice(-shift[1], None)):
            image[rows, columns] = count
            count += 1
    windows = image.view(height // window, window, width // window, window).transpose(1, 2).reshape(-1, window**2)
    gap = windows.unsqueeze(1) - windows.unsqueeze(2)
    return gap.masked_fill(gap != 0, -100.0).masked_fill(gap == 0, 0.0)


@alternative(MASK, "bool, True where the query may look")
def as_bool(height, width, window, shift):
    return right.shift_mask(height, width, window, shift) == 0


@alternative(MASK, "a rolled image of numbers, −1e9")
def rolled_numbers(height, width, window, shift):
    rows, columns = torch.arange(height).roll(-shift[0]), torch.arange(width).roll(-shift[1])
    return mask_of(2 * (rows < shift[0])[:, None].int() + (columns < shift[1]), window, -1e9)


@alternative(MASK, "rows and columns masked one after the other, and added")
def added(height, width, window, shift):
    return rows_only(height, width, window, shift).clamp(min=-1e4) + columns_only(height, width, window, shift).clamp(
        min=-1e4
    )


@alternative(MASK, "pair by pair, in loops")
def pairs(height, width, window, shift):
    out = []
    for top in range(0, height, window):
        for left in range(0, width, window):
            spots = [
                (top + r >= height - shift[0], left + c >= width - shift[1])
                for r in range(window)
                for c in range(window)
            ]
            out.append([[0.0 if a == b else -100.0 for b in spots] for a in spots])
    return torch.tensor(out)


# ------------------------------------------------------------------------------------------------- relative positions


def offsets(window):
    tall, wide = window
    rows, columns = torch.meshgrid(torch.arange(tall), torch.arange(wide), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    return rows[:, None] - rows[None], columns[:, None] - columns[None]


@mistake(INDEX, "A row of offsets is 2·Ww − 1 long, not 2·Wh − 1; only square windows forgive it.")
def tall_factor(window):
    down, across = offsets(window)
    return (down + window[0] - 1) * (2 * window[0] - 1) + across + window[1] - 1


@mistake(INDEX, "Offsets are not moved to start at 0, so some numbers are negative and count from the table's end.")
def no_offset(window):
    down, across = offsets(window)
    return down * (2 * window[1] - 1) + across


@mistake(INDEX, "Query and key are swapped: the table of numbers is transposed.")
def transposed(window):
    return right.relative_position_index(window).T


@mistake(INDEX, "A row of offsets is taken to be Ww long, so different offsets share a number.")
def short_rows(window):
    down, across = offsets(window)
    return (down + window[0] - 1) * window[1] + across + window[1] - 1


@mistake(INDEX, "Rows and columns are added without a factor, so one down and one across share a number.")
def sum_only(window):
    down, across = offsets(window)
    return down + window[0] - 1 + across + window[1] - 1


@mistake(INDEX, "The sign of the offset is lost, so left and right of a token share a number.")
def distances(window):
    down, across = offsets(window)
    return down.abs() * (2 * window[1] - 1) + across.abs()


@mistake(INDEX, "Offsets are numbered column by column instead of row by row, so published tables do not fit.")
def by_columns_numbered(window):
    down, across = offsets(window)
    return (across + window[1] - 1) * (2 * window[0] - 1) + down + window[0] - 1


@mistake(INDEX, "The index is not made of integers, so it cannot choose rows of a table.")
def floats(window):
    return right.relative_position_index(window).float()


@alternative(INDEX, "as in the paper's code: stack, meshgrid, flatten")
def stacked(window):
    grid = torch.stack(torch.meshgrid(torch.arange(window[0]), torch.arange(window[1]), indexing="ij")).flatten(1)
    relative = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0).contiguous()
    relative[..., 0] += window[0] - 1
    relative[..., 1] += window[1] - 1
    relative[..., 0] *= 2 * window[1] - 1
    return relative.sum(-1)


@alternative(INDEX, "four loops")
def loops(window):
    tall, wide = window
    places = [(i, j) for i in range(tall) for j in range(wide)]
    return torch.tensor(
        [[(i - k + tall - 1) * (2 * wide - 1) + j - l + wide - 1 for k, l in places] for i, j in places]
    )


@alternative(INDEX, "numbers looked up in a table of offsets")
def looked_up(window):
    tall, wide = window
    numbers = torch.arange((2 * tall - 1) * (2 * wide - 1)).view(2 * tall - 1, 2 * wide - 1)
    down, across = offsets(window)
    return numbers[down + tall - 1, across + wide - 1]


@alternative(INDEX, "differences of one number per token")
def by_difference(window):
    tall, wide = window
    token = torch.arange(tall * wide)
    number = token // wide * (2 * wide - 1) + token % wide
    return number[:, None] - number[None] + (tall - 1) * (2 * wide - 1) + wide - 1


# ---------------------------------------------------------------------------------------------------------- attention


class Explicit(right.WindowAttention):
    """Window attention by hand, in steps that can be replaced one at a time."""

    def split(self, qkv):
        return rearrange(qkv, "w n (three h d) -> three w h n d", three=3, h=self.num_heads)

    def scale(self, dim):
        return (dim // self.num_heads) ** -0.5

    def bias(self):
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def spread(self, mask, windows):
        return mask.repeat(windows // len(mask), 1, 1)

    def weigh(self, scores, mask):
        return (scores if mask is None else scores + mask[:, None]).softmax(-1)

    def merge(self, mixed):
        return self.proj(rearrange(mixed, "w h n d -> w n (h d)"))

    def forward(self, x, mask=None):
        q, k, v = self.split(self.qkv(x))
        scores = q @ k.transpose(-2, -1) * self.scale(x.shape[-1]) + self.bias()
        return self.merge(self.weigh(scores, None if mask is None else self.spread(mask, len(x))) @ v)


alternative(ATTENTION, "scores, bias, mask and softmax written out")(Explicit)


@mistake(ATTENTION, "The scores are not divided by √d, so the softmax saturates.")
class no_scale(Explicit):  # noqa: N801
    def scale(self, dim):
        return 1.0


@mistake(ATTENTION, "The scores are divided by √C; with several heads each has d = C/h channels, so it must be √d.")
class scale_by_width(Explicit):  # noqa: N801
    def scale(self, dim):
        return dim**-0.5


@mistake(
    ATTENTION, "The relative position bias is missing, so attention does not know where in the window a token stands."
)
class no_bias(Explicit):  # noqa: N801
    def bias(self):
        return 0.0


@mistake(ATTENTION, "The bias is cut off from its table by detach, so the table is never learned.")
class bias_detached(Explicit):  # noqa: N801
    def bias(self):
        return super().bias().detach()


@mistake(ATTENTION, "The bias table is a buffer, not a parameter, so it is never learned.")
class bias_not_a_parameter(Explicit):  # noqa: N801
    def __init__(self, dim, window_size, num_heads):
        super().__init__(dim, window_size, num_heads)
        table = self.relative_position_bias_table.detach()
        del self.relative_position_bias_table
        self.register_buffer("relative_position_bias_table", table)


@mistake(
    ATTENTION, "The bias is brought into shape (h, N, N) by view, which mixes heads and tokens; the axes must be moved."
)
class bias_viewed(Explicit):  # noqa: N801
    def bias(self):
        chosen = self.relative_position_bias_table[self.relative_position_index]
        return chosen.reshape(self.num_heads, *chosen.shape[:2])


@mistake(ATTENTION, "The mask is ignored.")
class mask_ignored(Explicit):  # noqa: N801
    def weigh(self, scores, mask):
        return scores.softmax(-1)


@mistake(ATTENTION, "The masks meet the wrong windows: with several maps, window i of every map needs mask i.")
class mask_interleaved(Explicit):  # noqa: N801
    def spread(self, mask, windows):
        return mask.repeat_interleave(windows // len(mask), 0)


@mistake(ATTENTION, "The mask is added after the softmax, so blocked keys keep or even change the sum of the weights.")
class mask_after_softmax(Explicit):  # noqa: N801
    def weigh(self, scores, mask):
        return scores.softmax(-1) if mask is None else scores.softmax(-1) + mask[:, None]


@mistake(ATTENTION, "The softmax runs over the queries, so a query's weights do not sum to 1.")
class softmax_over_queries(Explicit):  # noqa: N801
    def weigh(self, scores, mask):
        return (scores if mask is None else scores + mask[:, None]).softmax(-2)


@mistake(ATTENTION, "The output of qkv is read head by head; it holds all of q, then all of k, then all of v.")
class heads_first(Explicit):  # noqa: N801
    def split(self, qkv):
        return rearrange(qkv, "w n (h three d) -> three w h n d", three=3, h=self.num_heads)


@mistake(ATTENTION, "The heads are merged without moving the axes, which mixes tokens and heads.")
class merged_without_transpose(Explicit):  # noqa: N801
    def merge(self, mixed):
        return self.proj(mixed.reshape(mixed.shape[0], mixed.shape[2], -1))


@mistake(ATTENTION, "The output projection is missing.")
class no_proj(Explicit):  # noqa: N801
    def merge(self, mixed):
        return rearrange(mixed, "w h n d -> w n (h d)")


@alternative(ATTENTION, "scaled_dot_product_attention with the mask repeated for every map")
class repeated_mask(right.WindowAttention):  # noqa: N801
    def forward(self, x, mask=None):
        w, n, c = x.shape
        q, k, v = self.qkv(x).view(w, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        added = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            added = added + mask.unsqueeze(1).repeat(w // mask.shape[0], 1, 1, 1)
        return self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=added).transpose(1, 2).reshape(w, n, c))


@alternative(ATTENTION, "loops over windows and heads, the index computed anew")
class window_by_window(right.WindowAttention):  # noqa: N801
    def __init__(self, dim, window_size, num_heads):
        super().__init__(dim, window_size, num_heads)
        del self.relative_position_index
        self.window_size = window_size

    def forward(self, x, mask=None):
        bias = self.relative_position_bias_table[right.relative_position_index(self.window_size)]
        out = []
        for number, tokens in enumerate(x):
            q, k, v = self.qkv(tokens).chunk(3, -1)
            heads = []
            for h, (a, b, c) in enumerate(zip(*(t.chunk(self.num_heads, -1) for t in (q, k, v)), strict=True)):
                scores = a @ b.T / a.shape[-1] ** 0.5 + bias[..., h]
                heads.append((scores if mask is None else scores + mask[number % len(mask)]).softmax(-1) @ c)
            out.append(self.proj(torch.cat(heads, -1)))
        return torch.stack(out)


@alternative(ATTENTION, "einsum, q scaled first, the mask folded out by view")
class einsums(right.WindowAttention):  # noqa: N801
    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        scores = torch.einsum("wqhd,wkhd->whqk", q * q.shape[-1] ** -0.5, k)
        scores = scores + torch.einsum("qkh->hqk", self.relative_position_bias_table[self.relative_position_index])
        if mask is not None:
            scores = (scores.unflatten(0, (-1, len(mask))) + mask[None, :, None]).flatten(0, 1)
        return self.proj(torch.einsum("whqk,wkhd->wqhd", scores.softmax(-1), v).flatten(2))


# ------------------------------------------------------------------------------------------------------------ merging


class Merging(right.PatchMerging):
    """Patch merging in steps that can be replaced one at a time."""

    def pad(self, x):
        return F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))

    def join(self, x):
        return rearrange(x, "b (h r) (w c) d -> b h w (c r d)", r=2, c=2)

    def forward(self, x):
        return self.reduction(self.norm(self.join(self.pad(x))))


@mistake(
    MERGING, "The four neighbours are joined row by row; the order is top left, bottom left, top right, bottom right."
)
class rows_first(Merging):  # noqa: N801
    def join(self, x):
        return rearrange(x, "b (h r) (w c) d -> b h w (r c d)", r=2, c=2)


@mistake(MERGING, "The four neighbours are interleaved channel by channel; each must keep its C channels together.")
class channels_first(Merging):  # noqa: N801
    def join(self, x):
        return rearrange(x, "b (h r) (w c) d -> b h w (d c r)", r=2, c=2)


@mistake(MERGING, "Four tokens that lie behind each other are joined; they are no 2×2 square.")
class merged_by_reshape(Merging):  # noqa: N801
    def join(self, x):
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, w // 2, 4 * c)


@mistake(MERGING, "The norm comes after the reduction and works on 2C numbers; it belongs before it, on 4C.")
class norm_after(Merging):  # noqa: N801
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.LayerNorm(2 * dim, eps=1e-5)

    def forward(self, x):
        return self.norm(self.reduction(self.join(self.pad(x))))


@mistake(MERGING, "The norm is missing.")
class no_norm(Merging):  # noqa: N801
    def forward(self, x):
        return self.reduction(self.join(self.pad(x)))


@mistake(MERGING, "The last row or column of an odd map is dropped; zeros must be added instead.")
class odd_cropped(Merging):  # noqa: N801
    def pad(self, x):
        return x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]


@mistake(MERGING, "The zeros of an odd map stand at the top and left; they belong at the bottom and right.")
class padded_top_left(Merging):  # noqa: N801
    def pad(self, x):
        return F.pad(x, (0, 0, x.shape[2] % 2, 0, x.shape[1] % 2, 0))


@mistake(MERGING, "The norm's eps is 1e-6 as in ViT; Swin uses 1e-5.")
class merging_eps(Merging):  # noqa: N801
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.LayerNorm(4 * dim, eps=1e-6)


@alternative(MERGING, "four strided slices and cat, as in the paper's code")
class slices_and_cat(Merging):  # noqa: N801
    def join(self, x):
        return torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)


@alternative(MERGING, "reshape and permute, F.layer_norm")
class reshaped(Merging):  # noqa: N801
    def forward(self, x):
        x = self.pad(x)
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return F.linear(F.layer_norm(x, (4 * c,), self.norm.weight, self.norm.bias, 1e-5), self.reduction.weight)


@alternative(MERGING, "two loops over the offsets, zeros by cat")
class looped(Merging):  # noqa: N801
    def forward(self, x):
        if x.shape[1] % 2:
            x = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        if x.shape[2] % 2:
            x = torch.cat([x, torch.zeros_like(x[:, :, :1])], 2)
        parts = [x[:, r::2, c::2] for c in range(2) for r in range(2)]
        return self.reduction(self.norm(torch.cat(parts, -1)))


@alternative(MERGING, "torchvision's class")
class torchvision_merging(TorchvisionMerging):  # noqa: N801
    pass


# -------------------------------------------------------------------------------------------------------------- block


class Block(right.SwinBlock):
    """A Swin block in steps that can be replaced one at a time."""

    def pad(self, x, down, across):
        return F.pad(self.norm1(x), (0, 0, 0, across, 0, down))

    def crop(self, y, height, width):
        return y[:, :height, :width]

    def mask(self, height, width, shift, device):
        return right.cached_mask(right.shift_mask, height, width, self.window_size, shift, device)

    def back(self, y, shift):
        return right.reverse_shift(y, shift)

    def attend(self, x):
        m, (height, width) = self.window_size, x.shape[1:3]
        y = self.pad(x, -height % m, -width % m)
        tall, wide = y.shape[1:3]
        shift = self.shift(tall, wide)
        windows = right.window_partition(right.cyclic_shift(y, shift), m).flatten(1, 2)
        windows = self.attn(windows, self.mask(tall, wide, shift, x.device))
        y = right.window_reverse(windows.unflatten(1, (m, m)), m, tall, wide)
        return self.crop(self.back(y, shift), height, width)

    def forward(self, x):
        x = x + self.drop_path1(self.attend(x))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


def pair(block, make_blocks=None, name=None):
    """A block and the stages made of it."""

    def stage(dim, depth, num_heads, window_size=7, drop_path=None):
        rates = drop_path or (0.0,) * depth
        return nn.Sequential(
            *(block(dim, num_heads, window_size, shifted=i % 2 == 1, drop_path=rates[i]) for i in range(depth))
        )

    return together(name or block.__name__, SwinBlock=block, make_blocks=make_blocks or stage)


def wrong_block(sentence):
    def register(block):
        mistake(BLOCK, sentence)(pair(block))
        return block

    return register


def right_block(style):
    def register(block):
        alternative(BLOCK, style)(pair(block))
        return block

    return register


right_block("a method for attention, residuals in forward")(Block)


@wrong_block("The shifted block uses no mask, so tokens from opposite edges of the map attend to each other.")
class no_mask_in_block(Block):  # noqa: N801
    def mask(self, height, width, shift, device):
        return None


@wrong_block("The map is not rolled back, so what attention found lands M // 2 tokens up and to the left.")
class no_reverse_roll(Block):  # noqa: N801
    def back(self, y, shift):
        return y


@wrong_block("The mask of the first map is kept for all later ones, whatever their size.")
class first_mask_for_all(Block):  # noqa: N801
    kept = None

    def mask(self, height, width, shift, device):
        if self.kept is None and shift != (0, 0):
            self.kept = super().mask(height, width, shift, device)
        return self.kept if shift != (0, 0) else None


@wrong_block("The zeros are added at the top and left; they belong at the bottom and right.")
class pad_top_left(Block):  # noqa: N801
    def pad(self, x, down, across):
        return F.pad(self.norm1(x), (0, 0, across, 0, down, 0))

    def crop(self, y, height, width):
        return y[:, y.shape[1] - height :, y.shape[2] - width :]


@wrong_block("The zeros are added before norm1, which turns them into its bias.")
class pad_before_norm(Block):  # noqa: N801
    def pad(self, x, down, across):
        return self.norm1(F.pad(x, (0, 0, 0, across, 0, down)))


@wrong_block("The block shifts along a side that a single window covers; there is nothing to connect there.")
class shifts_covered_side(Block):  # noqa: N801
    def shift(self, height, width):
        return (self.window_size // 2, self.window_size // 2) if self.shifted else (0, 0)


@wrong_block("The block shifts though it was made with shifted=False.")
class always_shifts(Block):  # noqa: N801
    def shift(self, height, width):
        self.shifted = True
        return super().shift(height, width)


@wrong_block("The block never shifts, so windows never exchange anything.")
class never_shifts(Block):  # noqa: N801
    def shift(self, height, width):
        return (0, 0)


@wrong_block("The residual connection around attention is missing.")
class no_first_residual(Block):  # noqa: N801
    def forward(self, x):
        x = self.attend(x)
        return x + self.mlp(self.norm2(x))


@wrong_block("The residual connection around the MLP is missing.")
class no_second_residual(Block):  # noqa: N801
    def forward(self, x):
        return self.mlp(self.norm2(x + self.attend(x)))


@wrong_block("norm2 is not used: the MLP sees the tokens as they are.")
class no_second_norm(Block):  # noqa: N801
    def forward(self, x):
        x = x + self.attend(x)
        return x + self.mlp(x)


@wrong_block("The norms' eps is 1e-6 as in ViT; Swin uses 1e-5.")
class block_eps(Block):  # noqa: N801
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.norm1.eps = self.norm2.eps = 1e-6


def stages(shifted, shared=False, use_rates=True):
    def make_blocks(dim, depth, num_heads, window_size=7, drop_path=None):
        rates = drop_path if drop_path and use_rates else (0.0,) * depth
        made = [
            right.SwinBlock(dim, num_heads, window_size, shifted=shifted(i), drop_path=rates[i]) for i in range(depth)
        ]
        return nn.Sequential(*(made[i % 2] if shared else made[i] for i in range(depth)))

    return make_blocks


mistake(BLOCK, "Every block of a stage is shifted; regular and shifted blocks must take turns.")(
    pair(right.SwinBlock, stages(lambda i: True), "shift_in_every")
)
mistake(BLOCK, "No block of a stage is shifted, so windows never exchange anything.")(
    pair(right.SwinBlock, stages(lambda i: False), "shift_in_none")
)
mistake(BLOCK, "A stage begins with a shifted block; the first one must be regular.")(
    pair(right.SwinBlock, stages(lambda i: i % 2 == 0), "shifted_first")
)
mistake(BLOCK, "Blocks of a stage share their weights.")(
    pair(right.SwinBlock, stages(lambda i: i % 2 == 1, shared=True), "shared_weights")
)
mistake(BLOCK, "The blocks do not get their rates of stochastic depth.")(
    pair(right.SwinBlock, stages(lambda i: i % 2 == 1, use_rates=False), "rates_ignored")
)


def listed(dim, depth, num_heads, window_size=7, drop_path=None):
    blocks = []
    for number in range(depth):
        rate = drop_path[number] if drop_path else 0.0
        blocks.append(right.SwinBlock(dim, num_heads, window_size, bool(number & 1), drop_path=rate))
    return nn.Sequential(*blocks)


alternative(BLOCK, "a loop and a list")(pair(right.SwinBlock, listed, "loop_and_list"))


@right_block("the mask made anew in every call, nothing cached; zeros by cat")
class uncached(Block):  # noqa: N801
    def mask(self, height, width, shift, device):
        return right.shift_mask(height, width, self.window_size, shift).to(device) if any(shift) else None

    def pad(self, x, down, across):
        y = self.norm1(x)
        y = torch.cat([y, y.new_zeros(y.shape[0], down, *y.shape[2:])], 1)
        return torch.cat([y, y.new_zeros(*y.shape[:2], across, y.shape[3])], 2)


@right_block("masks kept in a dictionary by size")
class dictionary(Block):  # noqa: N801
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.masks = {}

    def mask(self, height, width, shift, device):
        if (height, width) not in self.masks:
            self.masks[height, width] = right.shift_mask(height, width, self.window_size, shift).to(device)
        return self.masks[height, width]


@right_block("no roll: plain attention in the uneven windows that the shifted borders cut")
class uneven_windows(Block):  # noqa: N801
    def attend(self, x):
        m, (height, width) = self.window_size, x.shape[1:3]
        y = self.pad(x, -height % m, -width % m)
        tall, wide = y.shape[1:3]
        down, across = self.shift(tall, wide)
        rows, columns = sorted({0, *range(down, tall + 1, m), tall}), sorted({0, *range(across, wide + 1, m), wide})
        out = torch.empty_like(y)
        for top, bottom in itertools.pairwise(rows):
            for left, edge in itertools.pairwise(columns):
                out[:, top:bottom, left:edge] = self.piece(y[:, top:bottom, left:edge])
        return self.crop(out, height, width)

    def piece(self, y):
        h, w = y.shape[1:3]
        q, k, v = rearrange(self.attn.qkv(y), "b r c (three h d) -> three b h (r c) d", three=3, h=self.attn.num_heads)
        m = self.window_size
        index = right.relative_position_index((m, m)).view(m, m, m, m)[:h, :w, :h, :w].reshape(h * w, h * w)
        bias = self.attn.relative_position_bias_table[index].permute(2, 0, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        return self.attn.proj(rearrange(mixed, "b h (r c) d -> b r c (h d)", r=h))
