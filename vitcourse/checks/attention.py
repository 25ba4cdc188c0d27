"""Visible checks and questions of lesson 03."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

from vitcourse.checking import (
    close,
    differs,
    gradients_reach,
    normal,
    raises,
    require,
    scramble,
    shape,
    visible_check,
)  # fmt: skip
from vitcourse.quiz import question

SATURATED = "Attention picks one token only"
NOT_ONE = "Rows of weights do not sum to 1"
MIXED = "Tokens or heads get mixed up"
WRONG_NUMBERS = "Shapes are right, numbers differ from torch"
RANDOM = "The same input gives different outputs"


# --------------------------------------------------------------------------------------------------------- questions

question(
    "attention.scores_shape",
    right="2x3",
    why="One row per query, one column per key.",
    wrong={"3x2": "That is keys × queries. Queries come first: each row is one query's view of all keys."},
    otherwise="Count: how many queries, how many keys? The width of the vectors disappears in the dot product.",
)
question(
    "attention.row_sum",
    right="1",
    why="The softmax makes each row a set of shares. The scores before it may sum to anything.",
    wrong={
        "0": "Scores can be negative and sum to 0, but e to the power of them is positive.",
        "3": "Three keys share one query's attention; the shares of one row add up to a whole.",
        "2": "Two queries: two rows. Each row is normalised alone.",
    },
    otherwise="The softmax divides by a sum. By which one?",
)
question(
    "attention.saturation",
    right="B",
    why="A dot product of d terms has standard deviation √d. At d = 1024 that is 32: the largest score leads by many "
    "units, and the softmax turns a lead of 5 into a factor of 150.",
    wrong={
        "A": "The softmax looks at differences of scores, and these grow: each dot product adds up d random terms.",
        "C": "The terms have mean 0, so they partly cancel, but only partly: the spread of the sum grows like √d.",
    },
)
question(
    "attention.shuffled",
    right="A",
    why="Every step treats the tokens alike: the projections act on each token alone, and a weighted sum has no order.",
    wrong={
        "B": "Nothing in attention knows which place a token has: no index and no position enters the formula.",
        "C": "The values stay the same, but each output belongs to its own query, so the outputs move with the tokens.",
    },
)
question(
    "attention.local",
    right="C",
    why="Every patch has a direct path to every other patch in every layer. Whether it uses it is learned, and you measure it below.",
    wrong={
        "A": "Neighbours have no special role: nothing in QKᵀ knows which patches lie next to each other.",
        "B": "That is how stacked 3×3 convolutions grow their view. Attention has no window to grow.",
    },
)
question(
    "attention.four_times",
    right="16",
    why="Twice the side means 4 times the patches, and every patch looks at every patch: 4² = 16.",
    wrong={
        "2": "The side doubles, but both sides do, and then every patch looks at every patch.",
        "4": "That is how many more patches there are. The table has N rows and N columns.",
        "8": "N grows by 2² = 4; the table is N × N.",
    },
    otherwise="How many times more patches, and what is that squared?",
)
question(
    "attention.quiz_scale",
    right="8",
    why="d = D/h = 768/12 = 64, and √64 = 8.",
    wrong={
        "27.7": "That is √768. Each head works with its own d = D/h numbers.",
        "27.71": "That is √768. Each head works with its own d = D/h numbers.",
        "64": "That is d. The scores are divided by its root.",
        "3.46": "That is √12, the root of the number of heads.",
        "14": "That is √196, the root of the number of patches. The scale has nothing to do with N.",
    },
    otherwise="First the width of one head, d = D/h, then its square root.",
)
question(
    "attention.quiz_entries",
    right="465708",
    why="12 heads · 197 · 197 tokens, the class token included: 465,708 numbers.",
    wrong={
        "38809": "That is one head. ViT-B/16 has 12, each with its own table.",
        "460992": "That is 12 · 196²: the class token looks and is looked at too, so N + 1 = 197.",
        "2364": "That is 12 · 197. Each query has one weight for each key: 197².",
        "38416": "That is 196². Count the class token and the 12 heads.",
    },
    otherwise="Tokens with the class token: 14 · 14 + 1. Then tokens × tokens × heads.",
)
question(
    "attention.quiz_heads",
    right="B",
    why="The heads cut D into h slices. The four D × D matrices stay as they are: W_q, W_k, W_v (together `qkv`) and `proj`.",
    wrong={
        "A": "Each head has D·d numbers for q, k and v each, and d = D/h: more heads, but narrower ones.",
        "C": "The projection joins all heads and has D × D numbers, whatever h is.",
        "D": "The heads do not share weights: each owns its d rows of W_q, W_k and W_v.",
    },
)
question(
    "attention.quiz_reshape",
    right="C",
    why="A reshape keeps the order in memory: token by token. Only `transpose` (or a pattern in einops) brings together what belongs to one head.",
    wrong={
        "A": "The shapes are equal, which is why no error warns you. The numbers stand in other places.",
        "B": "A reshape may copy, but it never reorders. The transpose is what reorders.",
        "D": "The numbers are all still there, but a head now gets pieces of some tokens instead of a slice of each.",
    },
)
question(
    "attention.quiz_order",
    right="B",
    why="Attention alone cannot tell two arrangements of the same patches apart. That is what the positions of lesson 02 are for.",
    wrong={
        "A": "The scale only keeps the softmax from saturating.",
        "C": "More heads mean more ways to match contents. None of them sees an order.",
        "D": "The projection acts on each token alone, wherever it stands.",
    },
)
question(
    "attention.quiz_flash",
    right="A",
    why="It computes the table in blocks and keeps none of it, so memory grows with N. Every score is still computed once.",
    wrong={
        "B": "It computes the same N² dot products. It saves memory traffic, not arithmetic.",
        "C": "It is exact, up to rounding. You compared it with your own version.",
        "D": "The weights are never stored as a whole, so it cannot return them. For maps, use the explicit version.",
    },
)
question(
    "attention.quiz_map",
    right="D",
    why="A map shows where values were taken from in one step. What those values hold and what later layers do with them, it does not show.",
    wrong={
        "A": "Other maps can give nearly the same output (Jain and Wallace 2019): weight is not the same as cause.",
        "B": "Rollout follows mixing through the layers but ignores the values, the MLPs and which class was predicted.",
        "C": "The residual connection and the other heads carry information past a key of weight 0.",
    },
)
question(
    "attention.quiz_mask",
    right="B",
    why="`F.scaled_dot_product_attention` reads True as “may look”; `key_padding_mask` and `attn_mask` of `nn.MultiheadAttention` read True as “ignore”.",
    wrong={
        "A": "They mean opposite things. Swapping one for the other without inverting the mask shows each token the padding only.",
        "C": "Both take bool masks. A float mask is added to the scores in both.",
        "D": "It is the other way round. Look it up each time; many bugs in published code are exactly this.",
    },
)


# ------------------------------------------------------------------------------------------------------------ checks


def _pair(result: Any) -> tuple[Any, Any]:
    require(
        isinstance(result, (tuple, list)) and len(result) == 2,
        "return two things: the mixed values and the weights, `return mixed, weights`",
    )
    return result[0], result[1]


@visible_check("attention.scaled_dot_product_attention")
def scaled_dot_product_attention(answer: Callable[..., tuple[Tensor, Tensor]]) -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 4, seed=2)  # five queries, seven keys
    mixed, weights = _pair(answer(q, k, v))
    require(
        getattr(weights, "shape", None) != (2, 3, 5, 4) or getattr(mixed, "shape", None) != (2, 3, 5, 7),
        "the two results come in the wrong order: first the mixed values, then the weights",
        mistake="swapped_results",
    )
    weights = shape(weights, (2, 3, 5, 7), "the weights have one row per query and one column per key", hint=1)
    mixed = shape(mixed, (2, 3, 5, 4), "the mix has one row per query, as wide as a value", hint=1)
    again = _pair(answer(q, k, v))[1]
    close(
        again, weights, "the same input gives another result each time: is dropout active?", see=RANDOM, atol=0, rtol=0,
        mistake="dropout_always",
    )  # fmt: skip

    def one_hot(scale: float) -> Tensor:  # the weights of torch's own attention, with this scale
        return sdpa(q, k, torch.eye(7).to(q).expand(2, 3, 7, 7), scale=scale)

    right = sdpa(q, k, v)
    if mixed.allclose(right, atol=1e-5):
        scores = weights.exp() / weights.exp().sum(-1, keepdim=True)
        differs(scores, one_hot(0.5), "the mix is right, but the second result is the table of scores: return what comes out of the softmax", mistake="returns_scores")  # fmt: skip
    sums = weights.sum(-1)
    require(
        bool((sums - 1).abs().max() < 1e-4) or not bool((weights.sum(-2) - 1).abs().max() < 1e-4),
        "each key's column sums to 1, but each query's row must: over which axis does the softmax run?",
        see=NOT_ONE, mistake="softmax_over_queries",
    )  # fmt: skip
    require(
        bool((sums - 1).abs().max() < 1e-4) or not bool((weights.sum((-1, -2)) - 1).abs().max() < 1e-4),
        "the whole table sums to 1, but each row must: give the softmax one axis only",
        see=NOT_ONE, mistake="softmax_over_table",
    )  # fmt: skip
    differs(weights * 2, one_hot(1.0), "each row sums to 1/√d: the scale comes before the softmax, not after it", see=NOT_ONE, mistake="scale_after_softmax")  # fmt: skip
    close(sums, 1.0, "each query's weights must sum to 1: did the softmax run over the keys?", atol=1e-4, see=NOT_ONE)
    for scale, message, name in (
        (1.0, "this equals attention without the scale: divide the scores by √d", "no_scale"),
        (1 / 4, "the scores are divided by d (or twice by √d): once by √d is enough", "scale_by_d"),
        (2.0, "the scores are multiplied by √d: divide them", "scale_upside_down"),
        (7**-0.5, "the scores are divided by the root of the number of keys: the scale is √d, d the width of a query", "scale_by_length"),
        (12**-0.5, "the scores are divided by √(h·d): each head's dot product has d terms only", "scale_by_width"),
    ):  # fmt: skip
        differs(weights, one_hot(scale), message, hint=3, see=SATURATED, mistake=name)
    close(weights, one_hot(0.5), "each row sums to 1, but the weights are not softmax(q kᵀ / √d)", hint=3)
    differs(mixed, sdpa(q, k, k), "the mix averages the keys: average the values", mistake="mixes_keys")
    close(mixed, right, "the weights are right, the mix is not: which tensor do they average?")
    large = 1e3 * normal(1, 2, 3, 4, seed=3)
    require(
        torch.as_tensor(_pair(answer(large, large, large))[1]).isfinite().all(),
        "large scores give nan or infinity: e to a large power overflows; subtract each row's maximum first, or use softmax of torch",
        mistake="overflows",
    )


@visible_check("attention.split_heads")
def split_heads(answer: Callable[..., Tensor]) -> None:
    x = torch.arange(2 * 5 * 12, dtype=torch.get_default_dtype()).view(2, 5, 12)  # 5 tokens, 3 heads of width 4
    heads = answer(x, 3)
    found = tuple(getattr(heads, "shape", ()))
    for wrong, message, name in (
        ((2, 5, 3, 4), "the heads must stand before the tokens: (B, h, N, d)", "heads_after_tokens"),
        ((3, 2, 5, 4), "the pictures must stay on the first axis: (B, h, N, d)", "heads_before_pictures"),
        ((2, 3, 4, 5), "tokens and numbers of a head have changed places: (B, h, N, d)", "tokens_last"),
        ((2, 4, 5, 3), "there should be 3 heads of width 4, not 4 heads of width 3", "heads_for_width"),
    ):
        require(found != wrong, message, hint=1, mistake=name)
    heads = shape(heads, (2, 3, 5, 4), "one sequence of N tokens for each head: (B, h, N, d)", hint=1)
    differs(heads, x.reshape(2, 3, 5, 4), "a plain reshape deals out the numbers in memory order: a head must get a slice of every token", hint=2, see=MIXED, mistake="reshape_without_transpose")  # fmt: skip
    close(heads[0, :, 0].sort(0).values.sum(-1).sum(), x[0, 0].sum(), "token 0 must be spread over the heads, nothing else", see=MIXED)  # fmt: skip
    differs(heads[0, 1, 0], x[0, 0, 1::3], "the heads take turns number by number: head 1 should get numbers 4 to 7 of each token", hint=3, mistake="interleaved")  # fmt: skip
    for head in range(3):
        close(
            heads[:, head], x[..., 4 * head : 4 * head + 4],
            f"head {head} should hold numbers {4 * head} to {4 * head + 3} of every token", hint=3, see=MIXED,
        )  # fmt: skip
    try:
        answer(normal(2, 5, 10), 3)
    except ValueError:
        pass
    except NotImplementedError:
        raise
    except Exception as error:
        require(
            False, f"10 numbers do not split into 3 heads: raise a ValueError (yours raised {type(error).__name__})",
            mistake="not_checked" if isinstance(error, RuntimeError) else None,
        )  # fmt: skip
    raises(ValueError, lambda: answer(normal(2, 5, 10), 3), "10 numbers do not split into 3 heads: raise a ValueError",
           mistake="cropped")  # fmt: skip


@visible_check("attention.merge_heads")
def merge_heads(answer: Callable[..., Tensor]) -> None:
    x = torch.arange(2 * 3 * 5 * 4, dtype=torch.get_default_dtype()).view(2, 3, 5, 4)  # 3 heads, 5 tokens, d = 4
    try:
        tokens = answer(x)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        require(
            "view size is not compatible" not in str(error),
            "`view` refuses a tensor whose axes were swapped: it only relabels memory. `reshape` copies where it must",
            see=MIXED, mistake="view_after_transpose",
        )  # fmt: skip
        raise
    found = tuple(getattr(tokens, "shape", ()))
    require(
        found != (2, 5, 3, 4), "heads and tokens are swapped; now join the two last axes", hint=2, mistake="not_joined"
    )
    require(found != (2, 15, 4), "the heads stand one after another as more tokens: put them side by side in each token", hint=1, mistake="merged_along_tokens")  # fmt: skip
    if found == (2, 5, 4):
        differs(tokens, x.mean(1), "the heads are averaged: put them side by side", hint=1, mistake="merged_mean")
        differs(tokens, x.sum(1), "the heads are added up: put them side by side", hint=1, mistake="merged_sum")
    tokens = shape(tokens, (2, 5, 12), "tokens with all heads side by side: (B, N, D), D = 3 · 4", hint=1)
    differs(tokens, x.reshape(2, 5, 12), "a plain reshape mixes tokens: swap heads and tokens first", hint=2, see=MIXED, mistake="merged_without_transpose")  # fmt: skip
    differs(tokens[..., :3], x[:, :, :, 0].transpose(1, 2), "the heads are interleaved: the first 4 numbers of a token all come from head 0", hint=3, mistake="merged_interleaved")  # fmt: skip
    for head in range(3):
        close(tokens[..., 4 * head : 4 * head + 4], x[:, head], f"numbers {4 * head} to {4 * head + 3} of each token come from head {head}", see=MIXED)  # fmt: skip


def _torchs(module: Any, x: Tensor, *, batch_first: bool = True, heads: int | None = None,
            change: Callable[[dict[str, Tensor]], None] | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """torch's own multi-head attention with a module's weights, after a change to them: (output, weights per head)."""
    width = x.shape[-1]
    qkv, proj = module.qkv, module.proj
    weights = {
        "in_proj_weight": qkv.weight.detach().clone(),
        "in_proj_bias": torch.zeros(3 * width).to(x) if qkv.bias is None else qkv.bias.detach().clone(),
        "out_proj.weight": proj.weight.detach().clone(),
        "out_proj.bias": proj.bias.detach().clone(),
    }
    if change is not None:
        change(weights)
    theirs = nn.MultiheadAttention(width, heads or 3, batch_first=batch_first).to(x)
    theirs.load_state_dict(weights)
    out, found = theirs(x, x, x, average_attn_weights=False)
    return out.detach(), found.detach()


def _times(factor: float) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        for name in ("in_proj_weight", "in_proj_bias"):
            weights[name][: len(weights[name]) // 3] *= factor  # the queries

    return change


def _reordered(axes: tuple[int, int, int], shape: tuple[int, int, int]) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        for name in ("in_proj_weight", "in_proj_bias"):
            rows = weights[name]
            weights[name] = rows.unflatten(0, shape).permute(*axes, *range(3, rows.ndim + 2)).flatten(0, 2)

    return change


def _no_bias(weights: dict[str, Tensor]) -> None:
    weights["in_proj_bias"].zero_()


def _no_projection(weights: dict[str, Tensor]) -> None:
    weights["out_proj.weight"] = torch.eye(12).to(weights["out_proj.weight"])
    weights["out_proj.bias"].zero_()


def _values_are_tokens(weights: dict[str, Tensor]) -> None:
    weights["in_proj_weight"][24:] = torch.eye(12)
    weights["in_proj_bias"][24:] = 0


def _queries_for_keys(weights: dict[str, Tensor]) -> None:
    for name in ("in_proj_weight", "in_proj_bias"):
        q, k, v = weights[name].chunk(3)
        weights[name] = torch.cat([k, q, v])


@visible_check("attention.Attention")
def attention(answer: Callable[..., nn.Module]) -> None:
    raises(ValueError, lambda: answer(10, 3), "10 numbers do not split into 3 heads: keep the ValueError of `__init__`",
           mistake="UncheckedAttention")  # fmt: skip
    module = scramble(answer(12, num_heads=3)).eval()  # D = 12, h = 3, d = 4
    names = {name for name, _ in module.named_parameters()}
    require(
        {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias"} <= names,
        "keep the names of `__init__`, `qkv` and `proj`: weights are loaded by name",
    )
    x = normal(2, 5, 12)
    out = shape(module(x), (2, 5, 12), "tokens in, tokens out: (B, N, D)", hint=1)
    close(module(x), out, "the same input gives another output each time, in evaluation mode: is dropout active?", atol=0,
          rtol=0, see=RANDOM, mistake="DropoutAttention")  # fmt: skip
    variants: tuple[tuple[dict[str, Any], str, str, str, int | None], ...] = (
        ({"change": _times(2.0)}, "this equals attention without the scale: divide the scores by √d", "UnscaledAttention", SATURATED, 2),
        ({"change": _times(0.5)}, "the scores are scaled twice: `F.scaled_dot_product_attention` already divides by √d", "TwiceScaledAttention", WRONG_NUMBERS, 2),
        ({"change": _times(3**-0.5)}, "the scores are divided by √D: each head works with d = D/h numbers, so divide by √d", "WidthScaledAttention", WRONG_NUMBERS, 2),
        ({"change": _reordered((1, 0, 2), (3, 3, 4))}, "the outputs of `qkv` are read as (h, 3, d): they are ordered (3, h, d)", "HeadsFirstAttention", WRONG_NUMBERS, 1),
        ({"change": _no_bias}, "the bias of `qkv` is lost: call `self.qkv(x)` instead of using its weight", "NoBiasAttention", WRONG_NUMBERS, 1),
        ({"change": _no_projection}, "the heads are merged but `self.proj` is never applied", "UnprojectedAttention", WRONG_NUMBERS, 3),
        ({"change": _values_are_tokens}, "the weights average the tokens x: they should average the values", "MixesTokensAttention", WRONG_NUMBERS, 1),
        ({"change": _queries_for_keys}, "queries and keys have changed places: `qkv` gives queries first", "SwappedAttention", WRONG_NUMBERS, 1),
        ({"heads": 1}, "this is attention with one head over all 12 numbers: split q, k and v into 3 heads", "SingleHeadAttention", WRONG_NUMBERS, 1),
        ({"batch_first": False}, "tokens look at other pictures instead of other patches: `nn.MultiheadAttention` needs `batch_first=True`", "SequenceFirstAttention", MIXED, None),
    )  # fmt: skip
    for options, message, name, see, hint in variants:
        differs(out, _torchs(module, x, **options)[0], message, hint=hint, see=see, mistake=name)
    right, weights = _torchs(module, x)
    differs(out, right + x, "the input is added to the output: the residual connection comes in lesson 04, outside of attention", see=WRONG_NUMBERS, mistake="ResidualAttention")  # fmt: skip
    order = [3, 0, 4, 1, 2]
    close(
        module(x[:, order]), out[:, order],
        "when the tokens change places, the outputs must change places in the same way, and they do not: split or merge "
        "of the heads mixes up tokens", see=MIXED,
    )  # fmt: skip
    mine: Any = module
    found = mine.attention_weights(x)
    if found.shape == weights.shape:
        columns = (found.sum(-2) - 1).abs().max() < 1e-4 < (found.sum(-1) - 1).abs().max()
        require(not columns, "each key's column of weights sums to 1, but each query's row must: which axis is last?", see=NOT_ONE, mistake="SoftmaxOverQueriesAttention")  # fmt: skip
    close(
        out, right, "the output differs from `nn.MultiheadAttention` with the same weights; qkv is ordered (3, h, d), "
        "and the heads stand side by side before `proj`", see=WRONG_NUMBERS, hint=1,
    )  # fmt: skip
    require(tuple(found.shape) != (2, 5, 5), "`attention_weights` averages over the heads: keep them, (B, h, N, N)",
            mistake="AveragedWeightsAttention")  # fmt: skip
    found = shape(found, (2, 3, 5, 5), "`attention_weights` gives one table per head, (B, h, N, N)")
    differs(found.softmax(-1), weights, "`attention_weights` gives the scores: apply the softmax", see=NOT_ONE, mistake="ScoresAttention")  # fmt: skip
    close(found, weights, "`forward` is right; `attention_weights` gives other weights than the ones it uses", see=WRONG_NUMBERS)  # fmt: skip
    gradients_reach(module, module(normal(2, 5, 12)), "the output must depend on every parameter")
    plain = scramble(answer(12, 3, qkv_bias=False)).eval()
    close(plain(x), _torchs(plain, x)[0], "with qkv_bias=False there is no bias to add", see=WRONG_NUMBERS)


@visible_check("attention.masked_attention_weights")
def masked_attention_weights(answer: Callable[..., Tensor]) -> None:
    scores = normal(2, 3, 4, 6)
    allowed = normal(2, 1, 4, 6, seed=1) > 0
    allowed[..., 0] = True
    weights = shape(answer(scores, allowed), (2, 3, 4, 6), "one weight for each score")

    def torchs(mask: Tensor, dim: int = -1) -> Tensor:  # torch's attention, with the scores as queries and one-hot keys
        return (scores + mask).softmax(dim)

    everywhere = allowed.expand_as(scores)
    bare = torchs(torch.zeros(()))
    never = torch.where(everywhere, 0.0, -math.inf).to(scores)
    require(not bool(weights.isnan().any()), "some weights are not a number: 0 · ∞ is nan. Put −∞ in place, do not multiply by it",
            hint=2, see=NOT_ONE, mistake="mask_times_infinity")  # fmt: skip
    differs(weights, bare, "the mask changes nothing: use `allowed`", hint=1, mistake="mask_ignored")
    differs(weights, torchs(-(~allowed).to(scores)), "forbidden scores are only 1 lower than the others (did you add True and False as 1 and 0?): that is not enough, use −∞", hint=2, mistake="mask_minus_one")  # fmt: skip
    differs(weights, (scores * allowed).softmax(-1), "forbidden scores are set to 0, and e⁰ = 1 still gets weight", hint=2, mistake="mask_with_zero")  # fmt: skip
    differs(weights, bare * allowed, "the mask comes after the softmax: rows no longer sum to 1", hint=3, see=NOT_ONE, mistake="mask_after_softmax")  # fmt: skip
    differs(weights, torch.where(everywhere, bare, -1e9), "the large negative number stands in the weights: it belongs into the scores, before the softmax", hint=3, see=NOT_ONE, mistake="mask_fills_weights")  # fmt: skip
    differs(weights, torchs(never, -2).nan_to_num(), "the softmax runs over the queries: each row must sum to 1", see=NOT_ONE, mistake="masked_over_queries")  # fmt: skip
    flipped = torch.where(everywhere, -math.inf, 0.0).to(scores)
    differs(weights, torchs(flipped).nan_to_num(), "the mask is the wrong way round: True means “may look”", hint=1, mistake="mask_inverted")  # fmt: skip
    require(bool((weights[~everywhere].abs() < 1e-6).all()), "a forbidden key still gets weight", hint=2)
    close(weights.sum(-1), 1.0, "each row must sum to 1", see=NOT_ONE)
    close(weights, torchs(never), "forbidden keys get nothing; the others share as their scores say", hint=3)
    close(answer(scores, allowed[:1, :, :, :]).shape[0], 2, "one mask may serve all pictures: let it broadcast")


@visible_check("attention.attention_distance")
def attention_distance(answer: Callable[..., Tensor]) -> None:
    grid = (2, 3)
    weights = (2 * normal(2, 4, 6, 6)).softmax(-1)
    row, column = torch.arange(6) // 3, torch.arange(6) % 3
    down, across = (row[:, None] - row).to(weights), (column[:, None] - column).to(weights)
    distance = (down**2 + across**2).sqrt()

    def mean(of: Tensor) -> Tensor:
        return (weights * of).sum(-1).mean((0, 2))

    found = answer(weights, grid)
    size = tuple(getattr(found, "shape", ()))
    require(size != (), "one number per head, (h,): the heads are averaged too", hint=3, mistake="heads_averaged")
    require(
        size != (2, 4), "the pictures are kept apart: average over them too, (h,)", hint=3, mistake="pictures_apart"
    )
    found = shape(found, (4,), "one number per head", hint=3)
    wide_row, wide_column = torch.arange(6) // 2, torch.arange(6) % 2
    wide = ((wide_row[:, None] - wide_row) ** 2 + (wide_column[:, None] - wide_column) ** 2).to(weights).sqrt()
    places = torch.arange(6)
    for wrong, message, name in (
        (mean(wide), "rows and columns of the grid have changed places: patch i lies in row i // columns", "grid_swapped"),
        (mean(distance**2), "the distances are squared: take the root", "squared"),
        (mean(down.abs() + across.abs()), "the distance is counted along rows and columns: take the straight line", "city_block"),
        (mean((places[:, None] - places).abs().to(weights)), "the distance is |i − j|, counted along the sequence: use rows and columns of the picture", "along_the_sequence"),
        (mean(distance) / 6, "the weights already sum to 1 over the keys: add up, do not average over them", "averaged_over_keys"),
        (mean(distance) * 6, "the distances of the queries are added up: average over queries", "summed_over_queries"),
        (distance.expand_as(weights).gather(-1, weights.argmax(-1, keepdim=True)).mean((0, 2, 3)), "only the strongest key counts: weigh all of them", "strongest_only"),
    ):  # fmt: skip
        differs(found, wrong, message, mistake=name)
    close(
        found, mean(distance), "compare with the worked example: weights times distances, added over the keys", hint=2
    )
    close(answer(torch.eye(6).expand(1, 2, 6, 6), (3, 2)), 0.0, "patches that look at themselves look 0 far")
    crossed = torch.ones(2, 4, 7, 7) / 7
    raises(ValueError, lambda: answer(crossed, grid), "7 tokens do not fill 2 × 3 places (is it the class token?): raise a ValueError",
           mistake="class_token_dropped")  # fmt: skip


@visible_check("attention.attention_rollout")
def attention_rollout(answer: Callable[..., Tensor]) -> None:
    layers = [(2 * normal(2, 3, 5, 5, seed=i)).softmax(-1) for i in range(3)]
    eye = torch.eye(5).to(layers[0])

    def chain(mixing: list[Tensor]) -> Tensor:
        return mixing[2] @ (mixing[1] @ mixing[0])

    half = [(layer.mean(1) + eye) / 2 for layer in layers]
    bare = [layer.mean(1) for layer in layers]
    summed = [(layer.sum(1) + eye) / 4 for layer in layers]
    columns = [2 * m / (2 * m).sum(-2, keepdim=True) for m in half]
    top = [layer.amax(1) + eye for layer in layers]
    found = shape(answer(layers), (2, 5, 5), "one table of tokens by tokens for each picture, (B, N, N)", hint=1)
    for wrong, message, name in (
        (chain(bare), "the identity is missing: the residual connection lets each token keep itself", "no_identity"),
        (chain(half[::-1]), "the order is reversed: the first layer acts first, so it stands on the right", "wrong_order"),
        (8 * chain(half), "the rows sum to 8: renormalise after adding the identity", "not_renormalised"),
        (chain(columns), "the columns are normalised: each row must sum to 1", "columns_normalised"),
        (chain([t / t.sum(-1, keepdim=True) for t in top]), "the heads are combined by their maximum: take the mean", "maximum_over_heads"),
        (chain(summed), "the heads are added up: take the mean, or the identity counts too little", "sum_over_heads"),
        (half[2], "this is the last layer alone: multiply the layers", "last_layer_only"),
        (sum(half) / 3, "the layers are averaged: multiply them", "mean_over_layers"),
        (half[0] * half[1] * half[2], "the layers are multiplied number by number: use the matrix product @", "elementwise"),
        ((chain(bare) + eye) / 2, "the identity is added once: each layer has its own residual connection", "identity_once"),
    ):  # fmt: skip
        differs(found, wrong, message, hint=2 if name == "wrong_order" else None, mistake=name)
    close(found.sum(-1), 1.0, "each row must sum to 1: a token is made of shares of input tokens", see=NOT_ONE)
    close(
        found,
        chain(half),
        "compare with the three steps: mean over heads, add the identity and renormalise, multiply",
        hint=3,
    )
    close(answer([eye.expand(1, 2, 5, 5)] * 4)[0], eye, "tokens that look at themselves only stay what they are")
