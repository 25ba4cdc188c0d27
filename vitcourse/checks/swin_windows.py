"""Visible checks and questions of lesson 06."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa
from torchvision.models import swin_transformer as peer

from vitcourse.checking import (
    CheckFailed,
    close,
    differs,
    gradients_reach,
    normal,
    raises,
    require,
    scramble,
    shape,
    visible_check,
)
from vitcourse.quiz import question

question(
    "swin_windows.growth",
    right="16",
    why="Twice the side is four times the tokens, and the table of scores has one entry for each pair of tokens: 4² = 16.",
    wrong={
        "2": "The side doubles. The tokens fill an area, and the scores are counted by pairs of tokens.",
        "4": "That is how the number of tokens N grows. The table of scores has N² entries.",
        "8": "Twice the side is four times the tokens, not 2√2 times; then square it.",
    },
    otherwise="Count the tokens first, N = HW/P². The table of scores has N² entries.",
)
question(
    "swin_windows.stuck",
    right="16",
    why="Its own window, for ever. Nothing ever crosses a border, however deep the network is.",
    wrong={
        "144": "A deep network sees everything only if some layer lets information cross a border. Here none does.",
        "64": "For that, some block would have to reach into the windows beside it. These blocks all use the same borders.",
    },
    otherwise="Follow one token through two blocks: from which tokens can information have come?",
)
question(
    "swin_windows.pieces",
    right="9",
    why="Three bands of rows times three bands of columns. Eight of the nine pieces touch the edge and are smaller than a window.",
    wrong={
        "4": "Four windows before the shift. The shifted borders leave narrow bands along all four edges.",
        "5": "The bands along the edges are cut by the borders too, the corners become pieces of their own.",
        "16": "Each side is cut at two places, so into three bands, not four.",
    },
    otherwise="Draw the two shifted borders of each side: how many bands of rows, how many of columns?",
)
question(
    "swin_windows.numbers",
    right="4",
    why="Within one window only two things matter: came around from the top or not, came around from the left or not. 2 · 2 = 4.",
    wrong={
        "9": "Nine pieces exist, but pieces that never share a window may share a number; torchvision uses nine all the same.",
        "2": "In the last window pieces from the top, from the left, from both and from neither meet.",
        "3": "The piece from the top and the piece from the left meet in the last window: they need different numbers.",
    },
    otherwise="Look at window 3 of the picture: how many pieces must be told apart there? Do the other windows need new numbers?",
)
question(
    "swin_windows.table_rows",
    right="169",
    why="Offsets run from −6 to 6 along each side: 13 · 13 = 169, each with one number per head.",
    wrong={
        "49": "That is the number of tokens in a window. Offsets between them also go up and to the left.",
        "2401": "That is the number of pairs, 49². Pairs at the same offset share one row.",
        "196": "Offsets run from −6 to 6: that is 13 values, not 14.",
        "25": "Offsets −2 to 2 belong to a window of side 3.",
    },
    otherwise="How many different offsets are there along one side of a window of 7 tokens? Square that.",
)
question(
    "swin_windows.window_scores",
    right="153664",
    why="3136 queries with 49 keys each. Global attention has 3136² = 9,834,496, 64 times as many.",
    wrong={
        "9834496": "That is global attention, 3136². In windows each query has 49 keys.",
        "2401": "That is one window, 49². The map holds 64 of them.",
        "3136": "That counts the queries. Each has 49 keys.",
        "614656": "That is 64 · 98²; a window has 7² = 49 tokens.",
    },
    otherwise="Each of the 56 · 56 tokens is a query. How many keys does it have?",
)
question(
    "swin_windows.merged_shape",
    right="14x14x384",
    why="Half the height, half the width; 4C = 768 channels go through `reduction`, which leaves 2C = 384.",
    wrong={
        "14x14x768": "768 = 4C is the width before `reduction`. It halves that.",
        "14x14x192": "The width doubles while the sides halve.",
        "28x28x384": "Four tokens become one: the sides halve.",
        "56x56x96": "That is the map of the stage before.",
        "7x7x384": "Each side halves once: 28 → 14.",
    },
    otherwise="Sides halve, width doubles. Write it as HxWxC.",
)
question(
    "swin_windows.why_mask",
    right="b",
    why="The roll is a way to compute uneven windows in even boxes. The mask undoes the neighbourhood that the roll invented.",
    wrong={
        "a": "Padding is another matter: in torchvision's Swin padded tokens are not masked at all.",
        "c": "Nothing comes later in a picture; that is the causal mask of a language model such as GPT.",
        "d": "The mask saves no work: blocked scores are computed and then thrown away.",
    },
)
question(
    "swin_windows.choose",
    right="c",
    why="A dense task on large pictures: maps at several scales, and cost that grows with the number of pixels only.",
    wrong={
        "a": "A published ViT is the simpler choice at 224 pixels: 196 tokens are cheap, and there is a large choice of weights.",
        "b": "With few pictures and no pretrained weights, a CNN's built-in locality and translation help most.",
        "d": "Text has no second axis and no scale to merge; sliding windows exist there too, but not patch merging.",
    },
)
question(
    "swin_windows.linear",
    right="b",
    why="4HWC² + 2M²HWC: both terms are HW times a constant, as long as M stays the same.",
    wrong={
        "a": "That is global attention: its second term 2(HW)²C grows with the square.",
        "c": "The windows stay 7×7; there are more of them, in proportion to HW.",
        "d": "Every token still has a query, a key and a value to compute: more tokens, more work.",
    },
)


# ------------------------------------------------------------------------------------------------- windows and back


def _tokens(batch: int, height: int, width: int, channels: int = 1) -> Tensor:
    """Maps (B, H, W, C) whose every number is its own: a moved token or channel shows."""
    count = batch * height * width * channels
    return torch.arange(count, dtype=torch.get_default_dtype()).view(batch, height, width, channels)


@visible_check("swin_windows.window_partition")
def window_partition(answer: SimpleNamespace) -> None:
    x = _tokens(2, 4, 6, 3)  # two maps of 4×6 tokens make 2 · 6 windows of side 2
    windows = shape(answer.window_partition(x, 2), (12, 2, 2, 3), "B·nW windows, each M×M tokens of C channels", hint=1)
    differs(
        windows, x.reshape(12, 2, 2, 3),
        "your windows are four tokens that lie behind each other in memory, not a square of neighbours", hint=2,
        see="The picture looks like torn stripes", mistake="plain_reshape",
    )  # fmt: skip
    close(
        windows - windows[..., :1], torch.arange(3.0).expand(12, 2, 2, 3), "the channels of a token must stay together"
    )
    blocks = {
        frozenset(x[b, i : i + 2, j : j + 2, 0].flatten().tolist()) for b in range(2) for i in (0, 2) for j in (0, 2, 4)
    }
    dilated = {frozenset(x[b, i::2, j::3, 0].flatten().tolist()) for b in range(2) for i in range(2) for j in range(3)}
    yours = [frozenset(w.flatten().tolist()) for w in windows[..., 0]]
    require(
        set(yours) != dilated, "a window must hold neighbours; yours holds tokens from all over the map, at equal distances",
        hint=2, mistake="dilated",
    )  # fmt: skip
    require(
        set(yours) == blocks,
        "each window must hold the M×M tokens of one square of one map, and each square once",
        hint=2,
    )

    back = answer.window_reverse(windows, 2, 4, 6)
    if isinstance(back, Tensor) and tuple(back.shape) == (2, 6, 4, 3):
        shape(back, (2, 4, 6, 3), "`window_reverse` has taken height for width", mistake="reverse_swapped")
    back = shape(back, (2, 4, 6, 3), "`window_reverse` gives back maps (B, H, W, C)")
    differs(
        back, windows.reshape(2, 4, 6, 3),
        "`window_reverse` only reshapes: the rows of one window land behind each other instead of below each other", hint=3,
        see="The picture looks like torn stripes", mistake="reverse_without_permute",
    )  # fmt: skip
    close(back, x, "`window_reverse` must undo window_partition; try it on a map with H ≠ W", hint=3)
    close(answer.window_reverse(windows + 1, 2, 4, 6), x + 1, "`window_reverse` must put back the windows it is given")
    one = _tokens(1, 6, 3)
    close(
        answer.window_reverse(answer.window_partition(one, 3), 3, 6, 3),
        one,
        "one map of 6×3, M = 3, must survive the round trip",
    )
    for size in ((4, 5), (5, 4)):
        raises(
            ValueError, partial(answer.window_partition, _tokens(1, *size), 2),
            f"windows of side 2 do not fill a map of {size[0]}×{size[1]}; refuse it with ValueError",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- shift


@visible_check("swin_windows.cyclic_shift")
def cyclic_shift(answer: SimpleNamespace) -> None:
    x = _tokens(2, 4, 5, 3)
    rows, columns = torch.arange(4), torch.arange(5)

    def moved(down: int, across: int) -> Tensor:
        return x[:, (rows + down) % 4][:, :, (columns + across) % 5]

    shifted = shape(answer.cyclic_shift(x, (1, 2)), x.shape, "a shift keeps the shape")
    differs(shifted, moved(-1, -2), "this moves down and to the right; the shift goes up and to the left", hint=1,
            mistake="sign_flipped")  # fmt: skip
    differs(
        shifted,
        moved(2, 1),
        "rows and columns are swapped: s_h counts rows, s_w columns",
        hint=2,
        mistake="axes_swapped",
    )
    close(
        shifted[:, :-1, :-2],
        x[:, 1:, 2:],
        "with shift (1, 2) the token at row 0, column 0 is the one that was at row 1, column 2",
        hint=2,
    )
    close(
        shifted,
        moved(1, 2),
        "what leaves at the top comes in again at the bottom, what leaves at the left at the right",
        hint=3,
    )
    close(answer.cyclic_shift(x, (0, 3)), moved(0, 3), "with shift (0, 3) only columns move")
    close(answer.cyclic_shift(x, (2, 0)), moved(2, 0), "with shift (2, 0) only rows move")
    back = shape(answer.reverse_shift(x, (1, 2)), x.shape, "`reverse_shift` keeps the shape")
    differs(back, x, "`reverse_shift` does nothing", mistake="reverse_does_nothing")
    differs(back, moved(1, 2), "`reverse_shift` moves on in the same direction", mistake="reverse_goes_on")
    close(back, moved(-1, -2), "`reverse_shift` must undo cyclic_shift")


def _wrapped(index: int, size: int, shift: int) -> bool:
    """Whether the token at this place of the shifted map came around the edge."""
    return index + shift >= size


def _both(top: bool, left: bool) -> tuple[bool, bool]:
    return top, left


def _mask(
    height: int, width: int, window: int, shift: tuple[int, int], together: Callable[..., Any] | None = None
) -> Tensor:
    """Where a query may look, bool (nW, M², M²), pair by pair. `together(top, left)` says what two tokens must share."""
    share: Callable[..., Any] = together or _both
    tables = []
    for i in range(0, height, window):
        for j in range(0, width, window):
            signs = [
                share(_wrapped(i + r, height, shift[0]), _wrapped(j + c, width, shift[1]))
                for r in range(window)
                for c in range(window)
            ]
            tables.append([[a == b for b in signs] for a in signs])
    return torch.tensor(tables)


def _weights(mask: Tensor) -> Tensor:
    """What the softmax makes of a mask on some scores: −100, −1e9, −inf and bool all give the same."""
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    scores = normal(*mask.shape[-2:], seed=3)
    return (scores + mask.to(scores)).softmax(-1)


@visible_check("swin_windows.shift_mask")
def shift_mask(answer: Callable[..., Tensor]) -> None:
    sides = (6, 9, 3, (1, 2))  # a map of 6×9 in six windows of side 3, moved up by 1 and left by 2
    mask = shape(answer(*sides), (6, 9, 9), "one table of M²×M² for each window", hint=1)
    weights = _weights(mask)
    right = _weights(_mask(*sides))
    differs(weights, _weights(torch.zeros(6, 9, 9)), "nothing is masked: tokens from opposite edges see each other", hint=2,
            see="Objects at one edge change the features at the opposite edge", mistake="no_mask")  # fmt: skip
    if not weights.isfinite().all():
        if mask.dtype == torch.bool:
            require(
                not torch.equal(~mask, _mask(*sides)),
                "True must mean: may look. Yours is the other way round",
                mistake="inverted",
            )
        require(False, "a query of yours may look nowhere at all, not even at itself: its softmax is nan")
    known: dict[str, tuple[Tensor, str]] = {
        "rows_only": (_mask(*sides, lambda top, left: top), "what came around from the left still sees its new neighbours: mask columns too"),
        "columns_only": (_mask(*sides, lambda top, left: left), "what came around from the top still sees its new neighbours: mask rows too"),
        "same_number": (
            _mask(*sides, lambda top, left: int(top) + int(left)),
            "the piece from the top and the piece from the left got the same number, so they see each other; number four regions apart",
        ),
        "wrong_end": (
            _mask(6, 9, 3, (5, 7)), "the regions are marked at the top and left; after the shift, what came around lies at the bottom and right",
        ),
        "by_columns": (
            _mask(*sides).unflatten(0, (2, 3)).transpose(0, 1).flatten(0, 1), "the windows are counted column by column; count them row by row",
        ),
        "swapped": (_mask(6, 9, 3, (2, 1)), "rows and columns of the shift are swapped: the first counts rows"),
        "off_by_one": (_mask(6, 9, 3, (2, 3)), "the borders lie one token off: exactly s_h rows came around from the top, s_w columns from the left"),
    }  # fmt: skip
    for name, (wrong, words) in known.items():
        differs(weights, _weights(wrong), words, hint=3, see="Objects at one edge change the features at the opposite edge",
                mistake=name)  # fmt: skip
    if mask.dtype != torch.bool:
        differs(weights, _weights(torch.where(_mask(*sides), 0.0, -1.0)),
                "−1 only lowers a weight to about a third; a mask must bring it to 0", hint=2, mistake="minus_one")  # fmt: skip
    close(
        weights[:2],
        right[:2],
        "no token of the windows that touch neither the bottom nor the right edge came around: leave them open",
        hint=3,
    )
    close(
        weights, right, "some pairs are open or closed that should not be; look at the numbered regions again", hint=3
    )
    for height, width, window, shift in ((4, 6, 2, (0, 1)), (6, 4, 2, (1, 0)), (4, 4, 2, (0, 0)), (7, 14, 7, (0, 3))):
        sides = (height, width, window, shift)
        close(_weights(shape(answer(*sides), _mask(*sides).shape, "one table for each window")), _weights(_mask(*sides)),
              f"for a map of {height}×{width}, M = {window}, shift {shift}: a side with shift 0 needs no mask")  # fmt: skip


# ------------------------------------------------------------------------------------------------- relative positions


@visible_check("swin_windows.relative_position_index")
def relative_position_index(answer: Callable[..., Tensor]) -> None:
    tall, wide = 3, 2
    index = shape(answer((tall, wide)), (6, 6), "one row per query, one column per key, Wh·Ww tokens each", hint=1)
    require(
        not index.dtype.is_floating_point and index.dtype != torch.bool,
        "an index must be of integers",
        mistake="floats",
    )
    place = [(i, j) for i in range(tall) for j in range(wide)]

    def numbered(number: Callable[[int, int], int]) -> Tensor:
        return torch.tensor([[number(i - k, j - l) for k, l in place] for i, j in place])

    right = numbered(lambda a, b: (a + tall - 1) * (2 * wide - 1) + b + wide - 1)
    differs(index, right.T, "rows and columns are swapped: a row belongs to a query, and the offset is query minus key", hint=2,
            mistake="transposed")  # fmt: skip
    differs(index, numbered(lambda a, b: a * (2 * wide - 1) + b),
            "offsets can be negative; move them so that they start at 0", hint=2, mistake="no_offset")  # fmt: skip
    differs(index, numbered(lambda a, b: (a + tall - 1) * (2 * tall - 1) + b + wide - 1),
            "a row of offsets holds 2·Ww − 1 numbers, not 2·Wh − 1; a square window hides this", hint=3, mistake="tall_factor")  # fmt: skip
    differs(index, numbered(lambda a, b: (a + tall - 1) * wide + b + wide - 1),
            "different offsets got the same number: a row of offsets is 2·Ww − 1 long", hint=3, mistake="short_rows")  # fmt: skip
    differs(index, numbered(lambda a, b: a + tall - 1 + b + wide - 1),
            "different offsets got the same number: one down and one across are not the same", hint=3, mistake="sum_only")  # fmt: skip
    differs(index, numbered(lambda a, b: abs(a) * (2 * wide - 1) + abs(b)), "left and right of a token are different offsets: keep the sign",
            mistake="distances")  # fmt: skip
    differs(index, numbered(lambda a, b: (b + wide - 1) * (2 * tall - 1) + a + tall - 1),
            "the offsets are numbered column by column; number them row by row", hint=3, mistake="by_columns_numbered")  # fmt: skip
    require(int(index.min()) >= 0, "an index must not be negative", hint=2)
    close(index, right, "an offset has the wrong number; work the 2×2 example by hand", hint=3)
    for window in ((2, 3), (1, 4), (7, 7)):
        wanted = peer.ShiftedWindowAttention(4, list(window), [0, 0], 1).relative_position_index
        close(answer(window), wanted.view(window[0] * window[1], -1), f"wrong for a window of {window[0]}×{window[1]}")  # type: ignore[operator]


# ---------------------------------------------------------------------------------------------------------- attention


@torch.no_grad()
def _attend(module: Any, x: Tensor, window: tuple[int, int], heads: int, mask: Tensor | None, *, bias: float = 1.0,
            scale: float | None = None, interleave: bool = False, proj: bool = True, by_position: bool = True) -> Tensor:  # fmt: skip
    """Window attention, window by window and head by head; the keywords make known mistakes."""
    index = peer.ShiftedWindowAttention(heads, list(window), [0, 0], heads).relative_position_index
    tokens, dim = x.shape[1:]
    q, k, v = module.qkv(x).split(dim, dim=-1)
    chosen = module.relative_position_bias_table[index]
    table = chosen.view(tokens, tokens, heads).permute(2, 0, 1) if by_position else chosen.view(heads, tokens, tokens)
    out = []
    for w in range(len(x)):
        added = bias * table
        if mask is not None:
            added = added + mask[w // (len(x) // len(mask)) if interleave else w % len(mask)]
        parts = [t[w].view(tokens, heads, -1).transpose(0, 1) for t in (q, k, v)]
        q_, k_, v_ = parts
        out.append(sdpa(q_, k_, v_, attn_mask=added, scale=scale).transpose(0, 1).reshape(tokens, dim))
    mixed = torch.stack(out)
    return module.proj(mixed) if proj else mixed


@visible_check("swin_windows.WindowAttention")
def window_attention(answer: Callable[..., nn.Module]) -> None:
    window, heads, dim = (2, 3), 2, 8
    module = scramble(answer(dim, window, heads)).eval()
    x = normal(6, 6, dim)  # two maps, three windows each, 2·3 tokens in each window
    names = {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "relative_position_bias_table"}
    have = {name for name, _ in module.named_parameters()}
    if "relative_position_bias_table" not in have:
        require(False, "the bias table is not among the parameters, so it is never learned", see="The bias table never changes",
                mistake="bias_not_a_parameter")  # fmt: skip
    require(have == names, f"keep the parameters that __init__ gives: {', '.join(sorted(names))}")

    def wrong(mask: Tensor | None, **keywords: Any) -> Tensor:
        return _attend(module, x, window, heads, mask, **keywords)

    plain = shape(module(x), x.shape, "attention keeps the shape (B·nW, N, C)", hint=1)
    differs(
        plain,
        wrong(None, scale=1.0),
        "this equals attention without the scale: divide the scores by √d, d = C/h",
        hint=1,
        mistake="no_scale",
    )
    differs(
        plain,
        wrong(None, scale=dim**-0.5),
        "the scale is 1/√C; each head has d = C/h channels, so it must be 1/√d",
        hint=1,
        mistake="scale_by_width",
    )
    differs(
        plain,
        wrong(None, bias=0.0),
        "the relative position bias is missing",
        hint=2,
        see="The bias table never changes",
        mistake="no_bias",
    )
    differs(plain, wrong(None, proj=False), "the output projection `proj` is missing", mistake="no_proj")
    differs(plain, wrong(None, by_position=False),
            "the bias has the right shape but the wrong order: table[index] is (N, N, h); move the heads first with permute, not view",
            hint=2, mistake="bias_viewed")  # fmt: skip
    close(plain, wrong(None), "without a mask the result is not softmax(q kᵀ/√d + bias) v", hint=2)
    mask = torch.where(normal(3, 6, 6, seed=5) > 0.2, -torch.inf, 0.0)
    mask[:, range(6), range(6)] = 0.0
    masked = shape(module(x, mask), x.shape, "attention keeps the shape (B·nW, N, C)")
    differs(masked, plain, "the mask changes nothing", hint=3, mistake="mask_ignored")
    differs(masked, wrong(mask, interleave=True),
            "the masks meet the wrong windows: x holds all windows of the first map, then all of the second", hint=3,
            mistake="mask_interleaved")  # fmt: skip
    require(
        masked.isfinite().all(),
        "with a mask of −inf some results are not finite: add the mask to the scores before the softmax",
    )
    close(masked, wrong(mask), "with a mask the result is not softmax(q kᵀ/√d + bias + mask) v", hint=3)
    close(module(x[:3], mask), wrong(mask)[:3], "one map alone (B = 1) must give what it gives in a batch")
    silent = "the bias table gets no gradient, so it is never learned"
    module.zero_grad()
    (module(x, mask) * normal(*x.shape, seed=7)).sum().backward()
    table = module.relative_position_bias_table
    require(isinstance(table, Tensor) and table.grad is not None and bool(table.grad.abs().sum() > 0), silent,
            see="The bias table never changes", mistake="bias_detached")  # fmt: skip
    gradients_reach(module, module(x, mask), "every parameter must learn")


# ------------------------------------------------------------------------------------------------------------ merging


@visible_check("swin_windows.PatchMerging")
@torch.no_grad()
def patch_merging(answer: Callable[..., nn.Module]) -> None:
    module = scramble(answer(3)).eval()
    state = module.state_dict()
    if state.get("norm.weight", torch.empty(12)).shape == (6,):
        require(
            False,
            "`norm` works on the 4C numbers before the reduction, not on 2C after it",
            hint=3,
            mistake="norm_after",
        )
    twin = peer.PatchMerging(3).eval()
    wanted = {name: tuple(value.shape) for name, value in twin.state_dict().items()}
    require(
        {n: tuple(v.shape) for n, v in state.items()} == wanted, f"keep the parameters that __init__ gives: {wanted}"
    )
    twin.load_state_dict(state)
    x = normal(2, 4, 6, 3)
    merged = shape(module(x), (2, 2, 3, 6), "half the height, half the width, twice the channels", hint=1)
    corners = {"tl": x[:, ::2, ::2], "bl": x[:, 1::2, ::2], "tr": x[:, ::2, 1::2], "br": x[:, 1::2, 1::2]}

    def joined(order: Iterable[str], norm: bool = True) -> Tensor:
        four = torch.cat([corners[name] for name in order], -1)
        return twin.reduction(twin.norm(four) if norm else four)

    differs(merged, joined(("tl", "tr", "bl", "br")),
            "the neighbours are joined row by row; torchvision's and timm's weights expect top left, bottom left, top right, bottom right",
            hint=2, see="Published weights load, but the accuracy is poor", mistake="rows_first")  # fmt: skip
    differs(
        merged,
        joined(corners, norm=False),
        "the norm is missing: `norm` works on the 4C numbers",
        hint=3,
        mistake="no_norm",
    )
    differs(merged, twin.reduction(twin.norm(x.reshape(2, 2, 3, 12))),
            "these four tokens lie behind each other in memory; they are no 2×2 square", hint=1, mistake="merged_by_reshape")  # fmt: skip
    interleaved = torch.stack(list(corners.values()), -1).flatten(-2)
    differs(merged, twin.reduction(twin.norm(interleaved)),
            "the four tokens are interleaved channel by channel; each keeps its C channels together", hint=2, mistake="channels_first")  # fmt: skip
    close(merged, twin(x), "wrong order of the four neighbours, of norm and reduction, or wrong neighbours", hint=2)
    close(
        module(x * 0.01),
        twin(x * 0.01),
        "for small numbers the result is off: is the norm's eps 1e-5?",
        mistake="merging_eps",
    )
    odd = normal(1, 5, 3, 3)
    bigger = shape(
        module(odd),
        (1, 3, 2, 6),
        "5×3 becomes ⌈5/2⌉×⌈3/2⌉ = 3×2: add zeros at the bottom and right, lose nothing",
        hint=3,
    )
    close(bigger, twin(odd), "where H or W is odd, the zeros belong at the bottom and right, before the norm", hint=3)


# -------------------------------------------------------------------------------------------------------------- block


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, 1e-5)


def _block(block: Any, x: Tensor, window: int, heads: int, shift: tuple[int, int], *, masked: bool = True,
           roll_back: bool = True, pad_first: bool = False, pad_normed: bool = True) -> Tensor:  # fmt: skip
    """A Swin block without a roll: all pairs of tokens, of which only those stay that share a window and did not meet
    around an edge. The keywords make known mistakes."""
    B, H, W, C = x.shape
    tall, wide = -(-H // window) * window, -(-W // window) * window
    top, left = (tall - H, wide - W) if pad_first else (0, 0)
    pad = (0, 0, left, wide - W - left, top, tall - H - top)
    y = nn.functional.pad(_norm(block.norm1, x), pad) if pad_normed else _norm(block.norm1, nn.functional.pad(x, pad))
    i, j = (t.flatten() for t in torch.meshgrid(torch.arange(tall), torch.arange(wide), indexing="ij"))
    a, b = (i - shift[0]) % tall, (j - shift[1]) % wide  # where a token stands after the roll
    key = torch.stack((a // window, b // window, (i < shift[0]) & masked, (j < shift[1]) & masked), -1)
    may = (key[:, None] == key[None]).all(-1)  # (N, N)
    down = (a % window)[:, None] - (a % window)[None] + window - 1
    across = (b % window)[:, None] - (b % window)[None] + window - 1
    table = block.attn.relative_position_bias_table
    added = table[down * (2 * window - 1) + across].permute(2, 0, 1).masked_fill(~may, -torch.inf)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in block.attn.qkv(y.flatten(1, 2)).split(C, -1))
    mixed = block.attn.proj(sdpa(q, k, v, attn_mask=added).transpose(1, 2).reshape(B, tall, wide, C))
    if not roll_back:
        mixed = mixed[:, (torch.arange(tall) + shift[0]) % tall][:, :, (torch.arange(wide) + shift[1]) % wide]
    x = x + mixed[:, top : top + H, left : left + W]
    return x + block.mlp(_norm(block.norm2, x))


@visible_check("swin_windows.SwinBlock")
def swin_block(answer: SimpleNamespace) -> None:
    window, heads, dim = 4, 2, 8
    x = normal(2, 8, 12, dim)
    regular = scramble(answer.SwinBlock(dim, heads, window, shifted=False)).eval()
    shifted = scramble(answer.SwinBlock(dim, heads, window, shifted=True)).eval()

    def target(value: Tensor, shift: tuple[int, int], **keywords: Any) -> Tensor:
        return _block(shifted, value, window, heads, shift, **keywords)

    with torch.no_grad():
        plain = shape(regular(x), x.shape, "a block keeps the shape of the map", hint=1)
        small = 0.005 * x
        differs(plain, _block(regular, x, window, heads, (2, 2)), "a block that is not shifted must leave the windows where they are",
                hint=2, mistake="always_shifts")  # fmt: skip
        close(plain, _block(regular, x, window, heads, (0, 0)),
              "the regular block is wrong: x + attention(norm1(x)), then x + mlp(norm2(x))", hint=1, atol=1e-4)  # fmt: skip
        moved = shape(shifted(x), x.shape, "a block keeps the shape of the map")
        edge = "Objects at one edge change the features at the opposite edge"
        differs(
            moved,
            target(x, (0, 0)),
            "the shifted block does not shift",
            hint=2,
            see="Windows leave seams",
            mistake="never_shifts",
        )
        differs(
            moved,
            target(x, (2, 2), masked=False),
            "the shifted block has no mask: opposite edges see each other",
            hint=3,
            see=edge,
            mistake="no_mask_in_block",
        )
        differs(moved, target(x, (2, 2), roll_back=False), "the map is not rolled back: what attention found lands M//2 tokens off",
                hint=2, see="The picture drifts up and to the left", mistake="no_reverse_roll")  # fmt: skip
        close(moved, target(x, (2, 2)), "the shifted block is wrong; regular windows were right, so look at shift, mask and their reverse",
              hint=2, atol=1e-4)  # fmt: skip
        close(regular(small), _block(regular, small, window, heads, (0, 0)), "for small numbers the result is off: is the norms' eps 1e-5?",
              atol=1e-4, mistake="block_eps")  # fmt: skip
        other = normal(2, 12, 8, dim, seed=2)  # six windows again, in another arrangement
        close(shifted(other), target(other, (2, 2)), "a second map, 12×8 after 8×12, comes out wrong: is a mask of the first size still in use?",
              hint=3, see="The first size is right, the next is wrong", mistake="first_mask_for_all", atol=1e-4)  # fmt: skip
        rest = normal(2, 6, 9, dim, seed=3)
        odd = shape(shifted(rest), rest.shape, "a map of 6×9 must come out as 6×9: pad to 8×12, cut off again")
        differs(odd, target(rest, (2, 2), pad_first=True), "the zeros stand at the top and left; they belong at the bottom and right",
                hint=3, mistake="pad_top_left")  # fmt: skip
        differs(odd, target(rest, (2, 2), pad_normed=False), "the zeros went in before norm1, which turns them into its bias; pad the normed map",
                hint=3, mistake="pad_before_norm")  # fmt: skip
        close(odd, target(rest, (2, 2)), "a map that windows do not fill comes out wrong: pad, shift by the padded size, undo in reverse order",
              hint=3, atol=1e-4)  # fmt: skip
        low = normal(1, 3, 9, dim, seed=4)
        flat = shape(shifted(low), low.shape, "a map lower than a window keeps its shape")
        differs(flat, target(low, (2, 2)), "one window covers the whole height here: nothing to shift along it", hint=2,
                mistake="shifts_covered_side")  # fmt: skip
        close(flat, target(low, (0, 2)), "a map lower than a window comes out wrong", hint=2, atol=1e-4)
    gradients_reach(shifted, shifted(x), "every parameter must learn")

    stage = answer.make_blocks(dim, 3, heads, window)
    if not isinstance(stage, nn.Module):
        raise CheckFailed("make_blocks must return an nn.Sequential of blocks.")
    blocks = list(stage._modules.values())
    require(len(blocks) == 3, "`make_blocks(dim, depth=3, …)` makes three blocks")
    require(len({id(p) for p in stage.parameters()}) == 3 * len(list(regular.parameters())),
            "the blocks share their weights: make a new block each time", mistake="shared_weights")  # fmt: skip
    scramble(stage).eval()

    def chain(*shifts: int) -> Tensor:
        out = x
        for part, shift in zip(blocks, shifts, strict=True):
            out = _block(
                part,
                out,
                window,
                heads,
                (shift, shift),
            )
        return out

    with torch.no_grad():
        out = stage(x)
        differs(out, chain(0, 0, 0), "no block of yours is shifted", see="Windows leave seams", mistake="shift_in_none")
        differs(
            out,
            chain(2, 2, 2),
            "every block of yours is shifted; regular and shifted take turns",
            mistake="shift_in_every",
        )
        differs(out, chain(2, 0, 2), "the first block must be regular, the second shifted", mistake="shifted_first")
        close(out, chain(0, 2, 0), "regular, shifted, regular: the blocks of a stage take turns", atol=1e-4)
    rates = [
        m.drop_prob for m in answer.make_blocks(dim, 2, heads, window, (0.1, 0.3)).modules() if hasattr(m, "drop_prob")
    ]
    require(
        not rates or set(rates) == {0.1, 0.3},
        "each block gets its own rate of stochastic depth",
        mistake="rates_ignored",
    )
