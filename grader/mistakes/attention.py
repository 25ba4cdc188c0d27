"""The catalogue of lesson 03."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce
from torch import nn

from grader.mistakes import alternative, mistake
from solutions.attention import Attention

SDPA = "attention.scaled_dot_product_attention"
SPLIT = "attention.split_heads"
MERGE = "attention.merge_heads"
MODULE = "attention.Attention"
MASKED = "attention.masked_attention_weights"
DISTANCE = "attention.attention_distance"
ROLLOUT = "attention.attention_rollout"


# ------------------------------------------------------------------------------------- scaled_dot_product_attention


@mistake(SDPA, "The scores are not divided by √d, so the softmax saturates as d grows.")
def no_scale(q, k, v):
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return weights @ v, weights


@mistake(
    SDPA, "The scores are divided by d, not by √d (or by √d twice): the weights are too even, and more so as d grows."
)
def scale_by_d(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1]).softmax(-1)
    return weights @ v, weights


@mistake(SDPA, "The scores are divided by the root of the number of keys: the scale belongs to the length d of a query, not to the length of the sequence.")  # fmt: skip
def scale_by_length(q, k, v):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(k.shape[-2])).softmax(-1)
    return weights @ v, weights


@mistake(SDPA, "The scores are divided by √(h·d), the root of the width of all heads: each dot product adds up d terms only.")  # fmt: skip
def scale_by_width(q, k, v):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1] * q.shape[1])).softmax(-1)
    return weights @ v, weights


@mistake(SDPA, "The scores are multiplied by √d where they should be divided by it: the softmax saturates at once.")
def scale_upside_down(q, k, v):
    weights = (q @ k.transpose(-2, -1) * math.sqrt(q.shape[-1])).softmax(-1)
    return weights @ v, weights


@mistake(SDPA, "The weights are divided by √d after the softmax: rows no longer sum to 1, and the softmax has already saturated.")  # fmt: skip
def scale_after_softmax(q, k, v):
    weights = (q @ k.transpose(-2, -1)).softmax(-1) / math.sqrt(q.shape[-1])
    return weights @ v, weights


@mistake(SDPA, "The softmax runs over the queries, so a query's weights do not sum to 1.")
def softmax_over_queries(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-2)
    return weights @ v, weights


@mistake(SDPA, "One softmax runs over the whole table of scores: all weights together sum to 1, not each row.")
def softmax_over_table(q, k, v):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    weights = scores.flatten(-2).softmax(-1).view_as(scores)
    return weights @ v, weights


@mistake(SDPA, "There is no softmax: scores can be negative and rows do not sum to 1.")
def no_softmax(q, k, v):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores @ v, scores


@mistake(SDPA, "The mix averages the keys, not the values.")
def mixes_keys(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return weights @ k, weights


@mistake(SDPA, "The second result is the table of scores from before the softmax, not the weights.")
def returns_scores(q, k, v):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v, scores


@mistake(SDPA, "The two results come back in the wrong order: first the mixed values, then the weights.")
def swapped_results(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return weights, weights @ v


@mistake(SDPA, "The softmax overflows: e to the power of a large score is infinite. Subtract each row's largest score first, or use torch's softmax.")  # fmt: skip
def overflows(q, k, v):
    e = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).exp()
    weights = e / e.sum(-1, keepdim=True)
    return weights @ v, weights


@mistake(SDPA, "Dropout is always active, so the same input gives another result each time.")
def dropout_always(q, k, v):
    weights = F.dropout((q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1), 0.3)
    return weights @ v, weights


@alternative(SDPA, "scale shared between q and k")
def fourth_roots(q, k, v):
    root = q.shape[-1] ** -0.25
    weights = ((q * root) @ (k * root).transpose(-2, -1)).softmax(-1)
    return weights @ v, weights


@alternative(SDPA, "scale on q, einsum")
def scaled_queries(q, k, v):
    scores = einsum(q * q.shape[-1] ** -0.5, k, "b h n d, b h m d -> b h n m")
    weights = F.softmax(scores, dim=3)
    return einsum(weights, v, "b h n m, b h m d -> b h n d"), weights


@alternative(SDPA, "softmax by hand, numerically stable, in place")
def stable_by_hand(q, k, v):
    scores = torch.matmul(q, k.mT) / q.size(-1) ** 0.5
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    e = e / e.sum(-1, keepdim=True)
    return [e @ v, e]


@alternative(SDPA, "torch's own function, the weights by mixing one-hot values")
def builtin(q, k, v):
    one_hot = torch.eye(k.shape[-2], dtype=q.dtype, device=q.device).expand(*k.shape[:2], -1, -1)
    return F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, one_hot)


@alternative(SDPA, "loops over pictures and heads, with one more optional argument")
def loops(q, k, v, scale=None):
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    weights = torch.stack([torch.stack([torch.softmax(scale * a @ b.T, 1) for a, b in zip(c, e)]) for c, e in zip(q, k)])  # fmt: skip  # noqa: B905
    return torch.stack([torch.stack([w @ x for w, x in zip(a, b)]) for a, b in zip(weights, v)]), weights  # noqa: B905


# ---------------------------------------------------------------------------------------- split_heads, merge_heads


@mistake(SPLIT, "A plain reshape to (B, h, N, d) deals the numbers out in memory order: a head then holds pieces of a few tokens instead of a piece of every token.")  # fmt: skip
def reshape_without_transpose(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("indivisible")
    return x.reshape(x.shape[0], num_heads, x.shape[1], -1)


@mistake(
    SPLIT, "The heads take turns: head 0 gets numbers 0, h, 2h, … of a token. It should get the first d in one piece."
)
def interleaved(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("indivisible")
    return rearrange(x, "b n (d h) -> b h n d", h=num_heads)


@mistake(SPLIT, "The result is (B, N, h, d): the heads must stand before the tokens, or attention mixes the heads of one token.")  # fmt: skip
def heads_after_tokens(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("indivisible")
    return rearrange(x, "b n (h d) -> b n h d", h=num_heads)


@mistake(SPLIT, "The result is (h, B, N, d): the pictures must stay on the first axis.")
def heads_before_pictures(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("indivisible")
    return rearrange(x, "b n (h d) -> h b n d", h=num_heads)


@mistake(SPLIT, "The result is (B, h, d, N): tokens and channels have changed places.")
def tokens_last(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("indivisible")
    return rearrange(x, "b n (h d) -> b h d n", h=num_heads)


@mistake(SPLIT, "h is taken for the width of a head: the result has D/h heads of width h.")
def heads_for_width(x, num_heads):
    if x.shape[-1] % num_heads:
        raise ValueError("indivisible")
    return rearrange(x, "b n (h d) -> b h n d", d=num_heads)


@mistake(SPLIT, "A width that the heads do not divide is cut off silently; it should raise ValueError.")
def cropped(x, num_heads):
    d = x.shape[-1] // num_heads
    return rearrange(x[..., : d * num_heads], "b n (h d) -> b h n d", h=num_heads)


@mistake(SPLIT, "A width that the heads do not divide stops with another error than ValueError: test for it first, and say what is wrong.")  # fmt: skip
def not_checked(x, num_heads):
    b, n, width = x.shape
    return x.view(b, n, num_heads, width // num_heads).transpose(1, 2)


@alternative(SPLIT, "view and transpose")
def view_transpose(x, num_heads):
    b, n, width = x.shape
    if width % num_heads != 0:
        raise ValueError("heads must divide the width")
    return x.view(b, n, num_heads, width // num_heads).transpose(1, 2)


@alternative(SPLIT, "reshape and permute, unflatten")
def unflatten_permute(x, num_heads):
    if x.size(2) % num_heads:
        raise ValueError
    return x.unflatten(-1, (num_heads, -1)).permute(0, 2, 1, 3).contiguous()


@alternative(SPLIT, "slices stacked")
def stacked_chunks(x, num_heads):
    d, rest = divmod(x.shape[-1], num_heads)
    if rest:
        raise ValueError(rest)
    return torch.stack([x[:, :, i * d : (i + 1) * d] for i in range(num_heads)], dim=1)


@alternative(SPLIT, "einops' own error is not a ValueError, so it is turned into one")
def einops_error(x, num_heads):
    try:
        return rearrange(x, "b n (h d) -> b h n d", h=num_heads)
    except Exception as error:
        raise ValueError("heads do not divide the width") from error


@mistake(MERGE, "A plain reshape to (B, N, D) without swapping heads and tokens first: one token gets numbers of several tokens.")  # fmt: skip
def merged_without_transpose(x):
    b, h, n, d = x.shape
    return x.reshape(b, n, h * d)


@mistake(MERGE, "The heads are interleaved number by number; each head's d numbers must stay together.")
def merged_interleaved(x):
    return rearrange(x, "b h n d -> b n (d h)")


@mistake(MERGE, "The heads are averaged; they must stand side by side, so that D = h·d numbers remain.")
def merged_mean(x):
    return x.mean(1)


@mistake(MERGE, "The heads are added up; they must stand side by side, so that D = h·d numbers remain.")
def merged_sum(x):
    return x.sum(1)


@mistake(MERGE, "Heads and tokens are swapped, but the two last axes are not joined: the result still has four axes.")
def not_joined(x):
    return x.transpose(1, 2)


@mistake(MERGE, "`view` refuses a tensor whose axes were swapped. Use `reshape`, or `contiguous` before it.")
def view_after_transpose(x):
    b, h, n, d = x.shape
    return x.transpose(1, 2).view(b, n, h * d)


@mistake(MERGE, "The heads are put one after another along the tokens; they must stand side by side in each token.")
def merged_along_tokens(x):
    return x.flatten(1, 2)


@alternative(MERGE, "transpose and flatten")
def transpose_flatten(x):
    return x.transpose(1, 2).flatten(2)


@alternative(MERGE, "permute, contiguous, view")
def permute_view(x):
    b, h, n, d = x.shape
    return x.permute(0, 2, 1, 3).contiguous().view(b, n, h * d)


@alternative(MERGE, "heads concatenated")
def concatenated(x):
    return torch.cat(list(x.unbind(1)), dim=-1)


@alternative(MERGE, "a tensor filled head by head")
def filled(x):
    b, h, n, d = x.shape
    out = x.new_empty(b, n, h * d)
    for i in range(h):
        out[:, :, i * d : (i + 1) * d] = x[:, i]
    return out


# -------------------------------------------------------------------------------------------------------- Attention


class _Explicit(Attention):
    """Attention in steps, so that a mistake can change one of them."""

    def heads(self, x):
        return rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)

    def scores(self, q, k):
        return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])

    def soft(self, scores):
        return scores.softmax(-1)

    def merge(self, mixed):
        return rearrange(mixed, "b h n d -> b n (h d)")

    def attention_weights(self, x):
        q, k, _ = self.heads(x)
        return self.soft(self.scores(q, k))

    def forward(self, x):
        return self.proj(self.merge(self.attention_weights(x) @ self.heads(x)[2]))


@mistake(MODULE, "The scores are not divided by √d.")
class UnscaledAttention(_Explicit):
    def scores(self, q, k):
        return q @ k.transpose(-2, -1)


@mistake(MODULE, "The scores are divided twice: q is scaled, and `F.scaled_dot_product_attention` scales again. (Dividing by d instead of √d gives the same.)")  # fmt: skip
class TwiceScaledAttention(_Explicit):
    def scores(self, q, k):
        return q @ k.transpose(-2, -1) / q.shape[-1]


@mistake(MODULE, "The scores are divided by √D, the root of the whole width. Each head works with d = D/h numbers: divide by √d.")  # fmt: skip
class WidthScaledAttention(_Explicit):
    def scores(self, q, k):
        return q @ k.transpose(-2, -1) / math.sqrt(self.proj.in_features)


@mistake(MODULE, "The softmax runs over the queries, so a query's weights do not sum to 1.")
class SoftmaxOverQueriesAttention(_Explicit):
    def soft(self, scores):
        return scores.softmax(-2)


@mistake(MODULE, "The heads are split by a plain reshape: a head then holds whole tokens cut to pieces instead of a slice of every token.")  # fmt: skip
class ReshapedHeadsAttention(_Explicit):
    def heads(self, x):
        b, n, _ = x.shape
        return [t.reshape(b, self.num_heads, n, -1) for t in self.qkv(x).chunk(3, -1)]


@mistake(MODULE, "The heads are merged by a plain reshape, without putting the tokens before the heads: tokens get mixed up.")  # fmt: skip
class ReshapedMergeAttention(_Explicit):
    def merge(self, mixed):
        b, h, n, d = mixed.shape
        return mixed.reshape(b, n, h * d)


@mistake(MODULE, "The outputs of `qkv` are read as (h, 3, d). Their order is (3, h, d): all queries, then all keys, then all values.")  # fmt: skip
class HeadsFirstAttention(_Explicit):
    def heads(self, x):
        return rearrange(self.qkv(x), "b n (h three d) -> three b h n d", three=3, h=self.num_heads)


@mistake(
    MODULE, "The outputs of `qkv` are read as (3, d, h): the heads take turns. Each head's d numbers stand together."
)
class InterleavedAttention(_Explicit):
    def heads(self, x):
        return rearrange(self.qkv(x), "b n (three d h) -> three b h n d", three=3, h=self.num_heads)

    def merge(self, mixed):
        return rearrange(mixed, "b h n d -> b n (d h)")


@mistake(MODULE, "The output projection `proj` is missing, so the heads never exchange what they found.")
class UnprojectedAttention(_Explicit):
    def forward(self, x):
        return self.merge(self.attention_weights(x) @ self.heads(x)[2])


@mistake(MODULE, "The bias of `qkv` is dropped: only its weight is used.")
class NoBiasAttention(_Explicit):
    def heads(self, x):
        return rearrange(x @ self.qkv.weight.T, "b n (three h d) -> three b h n d", three=3, h=self.num_heads)


@mistake(MODULE, "The weights average the tokens x themselves, not the values.")
class MixesTokensAttention(_Explicit):
    def forward(self, x):
        return self.proj(self.merge(self.attention_weights(x) @ rearrange(x, "b n (h d) -> b h n d", h=self.num_heads)))


@mistake(MODULE, "Queries and keys have changed places: `qkv` gives queries first, then keys, then values.")
class SwappedAttention(_Explicit):
    def heads(self, x):
        q, k, v = super().heads(x)
        return k, q, v


@mistake(MODULE, "There is one head over the whole width instead of h heads.")
class SingleHeadAttention(_Explicit):
    def heads(self, x):
        return [t[:, None] for t in self.qkv(x).chunk(3, -1)]

    def attention_weights(self, x):
        return super().attention_weights(x).expand(-1, self.num_heads, -1, -1)

    def forward(self, x):
        return self.proj(self.merge(super().attention_weights(x)[:, :1] @ self.heads(x)[2]))


@mistake(MODULE, "`nn.MultiheadAttention` without `batch_first=True` takes the pictures for the sequence: a token looks at other pictures, not at other patches.")  # fmt: skip
class SequenceFirstAttention(_Explicit):
    def forward(self, x):
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


@mistake(MODULE, "Dropout is active in evaluation mode: `dropout_p` of `F.scaled_dot_product_attention` does not know about `eval()`.")  # fmt: skip
class DropoutAttention(Attention):
    def forward(self, x):
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3)
        return self.proj(rearrange(mixed, "b h n d -> b n (h d)"))


@mistake(MODULE, "Heads that do not divide the width are not refused with a ValueError.")
class UncheckedAttention(Attention):
    def __init__(self, dim, num_heads=8, qkv_bias=True):
        nn.Module.__init__(self)
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)


@mistake(MODULE, "`attention_weights` averages over the heads; it should keep them apart, (B, h, N, N).")
class AveragedWeightsAttention(Attention):
    def attention_weights(self, x):
        return super().attention_weights(x).mean(1)


@mistake(MODULE, "`attention_weights` returns the scores from before the softmax.")
class ScoresAttention(_Explicit):
    def attention_weights(self, x):
        q, k, _ = self.heads(x)
        return self.scores(q, k)

    def forward(self, x):
        return Attention.forward(self, x)


@mistake(
    MODULE, "The input is added to the output. The residual connection belongs to the encoder block, not to attention."
)
class ResidualAttention(Attention):
    def forward(self, x):
        return x + super().forward(x)


@alternative(MODULE, "explicit scores, view and permute")
class PermuteAttention(Attention):
    def _qkv(self, x):
        b, n, c = x.shape
        return self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)

    def attention_weights(self, x):
        q, k, _ = self._qkv(x)
        q = q * q.shape[-1] ** -0.5
        return (q @ k.transpose(-2, -1)).softmax(dim=-1)

    def forward(self, x):
        b, n, c = x.shape
        return self.proj((self.attention_weights(x) @ self._qkv(x)[2]).transpose(1, 2).reshape(b, n, c))


@alternative(MODULE, "separate projections by slicing the weight, einsum")
class SlicedAttention(Attention):
    def _heads(self, x, i):
        d = x.shape[-1]
        rows = slice(i * d, (i + 1) * d)
        bias = None if self.qkv.bias is None else self.qkv.bias[rows]
        return F.linear(x, self.qkv.weight[rows], bias).unflatten(-1, (self.num_heads, -1))

    def attention_weights(self, x):
        q, k = self._heads(x, 0), self._heads(x, 1)
        return torch.einsum("bnhd,bmhd->bhnm", q, k).div(q.shape[-1] ** 0.5).softmax(3)

    def forward(self, x):
        return self.proj(torch.einsum("bhnm,bmhd->bnhd", self.attention_weights(x), self._heads(x, 2)).flatten(2))


@alternative(MODULE, "torch's multi-head function, sequence first")
class FunctionalAttention(Attention):
    def _call(self, x):
        y = x.transpose(0, 1)
        bias = self.qkv.bias
        return F.multi_head_attention_forward(
            y, y, y, x.shape[-1], self.num_heads, self.qkv.weight, torch.zeros_like(self.qkv.weight[:, 0]) if bias is None else bias,
            None, None, False, 0.0, self.proj.weight, self.proj.bias, training=self.training, need_weights=True,
            average_attn_weights=False,
        )  # fmt: skip

    def attention_weights(self, x):
        return self._call(x)[1]

    def forward(self, x):
        return self._call(x)[0].transpose(0, 1)


@alternative(MODULE, "nn.MultiheadAttention, batch first, filled from the parameters")
class TorchModuleAttention(Attention):
    def _run(self, x):
        theirs = nn.MultiheadAttention(x.shape[-1], self.num_heads, batch_first=True).to(x)
        own = {"in_proj_weight": self.qkv.weight, "out_proj.weight": self.proj.weight, "out_proj.bias": self.proj.bias,
               "in_proj_bias": self.qkv.weight.new_zeros(3 * x.shape[-1]) if self.qkv.bias is None else self.qkv.bias}  # fmt: skip
        return torch.func.functional_call(theirs, own, (x, x, x), {"average_attn_weights": False})

    def attention_weights(self, x):
        return self._run(x)[1]

    def forward(self, x):
        return self._run(x)[0]


@alternative(MODULE, "a loop over heads, more attributes, an optional argument")
class LoopAttention(Attention):
    def __init__(self, dim, num_heads=8, qkv_bias=True, attn_drop=0.0):
        super().__init__(dim, num_heads, qkv_bias)
        self.head_dim, self.scale = dim // num_heads, (dim // num_heads) ** -0.5
        self.attn_drop = nn.Dropout(attn_drop)

    def _each(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        for a, b, c in zip(*(t.split(self.head_dim, -1) for t in (q, k, v)), strict=True):
            yield self.attn_drop((self.scale * a @ b.mT).softmax(-1)), c

    def attention_weights(self, x):
        return torch.stack([w for w, _ in self._each(x)], 1)

    def forward(self, x, return_weights=False):
        out = self.proj(torch.cat([w @ c for w, c in self._each(x)], -1))
        return (out, self.attention_weights(x)) if return_weights else out


# ------------------------------------------------------------------------------------------ masked_attention_weights


@mistake(MASKED, "The mask is read the wrong way round: here True means that the query may look.")
def mask_inverted(scores, allowed):
    return scores.masked_fill(allowed, float("-inf")).softmax(-1).nan_to_num()


@mistake(MASKED, "The weights are set to zero after the softmax: the rows no longer sum to 1.")
def mask_after_softmax(scores, allowed):
    return scores.softmax(-1) * allowed


@mistake(MASKED, "Forbidden scores are set to 0. A score of 0 still gets weight: e⁰ = 1.")
def mask_with_zero(scores, allowed):
    return (scores * allowed).softmax(-1)


@mistake(MASKED, "Forbidden scores end up only 1 lower than the others (−1 added, or True and False added as 1 and 0), which leaves them about a third of their weight: use −∞ or a very negative number.")  # fmt: skip
def mask_minus_one(scores, allowed):
    return (scores - (~allowed).to(scores)).softmax(-1)


@mistake(MASKED, "The softmax runs over the queries, so a query's weights do not sum to 1.")
def masked_over_queries(scores, allowed):
    return scores.masked_fill(~allowed, float("-inf")).softmax(-2).nan_to_num()


@mistake(MASKED, "The mask is not used at all.")
def mask_ignored(scores, allowed):
    return scores.softmax(-1)


@mistake(
    MASKED, "A very negative number is written to the weights after the softmax; it belongs into the scores before it."
)
def mask_fills_weights(scores, allowed):
    return scores.softmax(-1).masked_fill(~allowed, -1e9)


@mistake(MASKED, "The score 0 times −∞ is not a number: add a mask of 0 and −∞, do not multiply by it.")
def mask_times_infinity(scores, allowed):
    return (scores + (~allowed).to(scores) * float("-inf")).softmax(-1)


@alternative(MASKED, "minus one hundred, as Swin does")
def minus_hundred(scores, allowed):
    return (scores + torch.where(allowed, 0.0, -100.0).to(scores)).softmax(-1)


@alternative(MASKED, "a large negative number")
def minus_billion(scores, allowed):
    return torch.where(allowed, scores, torch.full_like(scores, -1e9)).softmax(-1)


@alternative(MASKED, "softmax, zero, renormalise")
def renormalised(scores, allowed):
    weights = scores.softmax(-1) * allowed
    return weights / weights.sum(-1, keepdim=True)


@alternative(MASKED, "exponentials by hand")
def exponentials(scores, allowed):
    e = (scores - scores.amax(-1, keepdim=True)).exp() * allowed.to(scores.dtype)
    return e / e.sum(dim=-1, keepdim=True)


@alternative(MASKED, "in place on a copy, the mask expanded")
def in_place(scores, allowed):
    scores = scores.clone()
    scores[~allowed.expand_as(scores)] = -math.inf
    return F.softmax(scores, dim=-1)


# ------------------------------------------------------------------------------------------------ attention_distance


def _places(grid, weights):
    rows, columns = grid
    if weights.shape[-1] != rows * columns:
        raise ValueError("the weights do not fill the grid")
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(weights)


def _far(weights, grid):
    places = _places(grid, weights)
    return torch.cdist(places, places)


@mistake(
    DISTANCE, "Rows and columns of the grid have changed places: patch i lies in row i // columns, column i % columns."
)
def grid_swapped(weights, grid):
    return (weights * _far(weights, grid[::-1])).sum(-1).mean((0, 2))


@mistake(DISTANCE, "The distances are squared: the root is missing.")
def squared(weights, grid):
    return (weights * _far(weights, grid) ** 2).sum(-1).mean((0, 2))


@mistake(DISTANCE, "The distance is counted in steps along rows and columns; the straight line is asked for.")
def city_block(weights, grid):
    places = _places(grid, weights)
    return (weights * (places[:, None] - places).abs().sum(-1)).sum(-1).mean((0, 2))


@mistake(DISTANCE, "The distance is counted in places of the sequence, |i − j|. Patches one below the other are near in the picture.")  # fmt: skip
def along_the_sequence(weights, grid):
    _places(grid, weights)
    i = torch.arange(weights.shape[-1]).to(weights)
    return (weights * (i[:, None] - i).abs()).sum(-1).mean((0, 2))


@mistake(DISTANCE, "Only the key with the largest weight counts; every key counts, by its weight.")
def strongest_only(weights, grid):
    far = _far(weights, grid).expand_as(weights)
    return far.gather(-1, weights.argmax(-1, keepdim=True)).mean((0, 2, 3))


@mistake(
    DISTANCE, "The mean over keys is taken again after weighting: the weights already sum to 1, so add up over keys."
)
def averaged_over_keys(weights, grid):
    return (weights * _far(weights, grid)).mean((0, 2, 3))


@mistake(DISTANCE, "The distances of all queries are added up, not averaged.")
def summed_over_queries(weights, grid):
    return (weights * _far(weights, grid)).sum((-1, -2)).mean(0)


@mistake(DISTANCE, "The heads are averaged too; each head should get its own number.")
def heads_averaged(weights, grid):
    return (weights * _far(weights, grid)).sum(-1).mean()


@mistake(DISTANCE, "The pictures are kept apart, (B, h); the mean over pictures is asked for, (h,).")
def pictures_apart(weights, grid):
    return (weights * _far(weights, grid)).sum(-1).mean(-1)


@mistake(DISTANCE, "Weights that do not fill the grid (the class token left in) are not refused with a ValueError.")
def class_token_dropped(weights, grid):
    n = grid[0] * grid[1]
    return (weights[..., -n:, -n:] * _far(weights[..., -n:, -n:], grid)).sum(-1).mean((0, 2))


@alternative(DISTANCE, "a table of distances by broadcasting")
def broadcast(weights, grid):
    rows, columns = grid
    if rows * columns != weights.shape[-1]:
        raise ValueError
    i = torch.arange(rows * columns, device=weights.device)
    dy, dx = (i // columns)[:, None] - (i // columns), (i % columns)[:, None] - (i % columns)
    return reduce(weights * (dy**2 + dx**2).to(weights).sqrt(), "b h n m -> h", "sum") / weights[:, 0, :, 0].numel()


@alternative(DISTANCE, "loops")
def looped(weights, grid):
    _, h, n, m = weights.shape
    if m != grid[0] * grid[1]:
        raise ValueError(f"{m} keys")
    total = weights.new_zeros(h)
    for i in range(n):
        for j in range(m):
            way = math.hypot(i // grid[1] - j // grid[1], i % grid[1] - j % grid[1])
            total += way * weights[:, :, i, j].mean(0)
    return total / n


@alternative(DISTANCE, "complex numbers and einsum")
def complex_places(weights, grid):
    rows, columns = grid
    if weights.shape[-1] != rows * columns:
        raise ValueError("no fit")
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    place = torch.complex(x.flatten().to(torch.float64), y.flatten().to(torch.float64)).to(weights.device)
    far = (place[:, None] - place[None]).abs().to(weights.dtype)
    return torch.einsum("bhnm,nm->bhn", weights, far).mean(-1).mean(0)


# ------------------------------------------------------------------------------------------------- attention_rollout


def _mixing(layer):
    a = layer.mean(1) + torch.eye(layer.shape[-1]).to(layer)
    return a / a.sum(-1, keepdim=True)


def _product(mixings):
    out = mixings[0]
    for a in mixings[1:]:
        out = a @ out
    return out


@mistake(ROLLOUT, "The identity is missing: the residual connection, by which half of each token stays where it is, is left out.")  # fmt: skip
def no_identity(weights):
    return _product([w.mean(1) for w in weights])


@mistake(
    ROLLOUT, "The matrices are multiplied in the wrong order: the first layer acts first, so it stands on the right."
)
def wrong_order(weights):
    return _product([_mixing(w) for w in weights][::-1])


@mistake(ROLLOUT, "The rows are not renormalised after adding the identity: they sum to 2 per layer.")
def not_renormalised(weights):
    return _product([w.mean(1) + torch.eye(w.shape[-1]).to(w) for w in weights])


@mistake(ROLLOUT, "The columns are normalised, not the rows.")
def columns_normalised(weights):
    mixed = [w.mean(1) + torch.eye(w.shape[-1]).to(w) for w in weights]
    return _product([m / m.sum(-2, keepdim=True) for m in mixed])


@mistake(ROLLOUT, "The heads are combined by their maximum; the mean is asked for.")
def maximum_over_heads(weights):
    return _product([_mixing(w.amax(1, keepdim=True)) for w in weights])


@mistake(ROLLOUT, "The heads are added up, not averaged: the identity counts too little then.")
def sum_over_heads(weights):
    return _product([_mixing(w.sum(1, keepdim=True)) for w in weights])


@mistake(ROLLOUT, "Only the last layer is used.")
def last_layer_only(weights):
    return _mixing(weights[-1])


@mistake(ROLLOUT, "The layers are averaged; they must be multiplied, since each layer mixes what the layer before has mixed.")  # fmt: skip
def mean_over_layers(weights):
    return torch.stack([_mixing(w) for w in weights]).mean(0)


@mistake(ROLLOUT, "The matrices are multiplied number by number (`*`); the matrix product (`@`) is meant.")
def elementwise(weights):
    out = _mixing(weights[0])
    for w in weights[1:]:
        out = out * _mixing(w)
    return out


@mistake(ROLLOUT, "The identity is added once at the end; each layer has its own residual connection.")
def identity_once(weights):
    product = _product([w.mean(1) for w in weights])
    return _mixing(product[:, None])


@alternative(ROLLOUT, "half attention, half identity")
def halves(weights):
    out = None
    for w in weights:
        a = 0.5 * w.mean(dim=1) + 0.5 * torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
        out = a if out is None else torch.bmm(a, out)
    return out


@alternative(ROLLOUT, "identity added to each head before the mean")
def identity_per_head(weights):
    out = torch.eye(weights[0].shape[-1]).to(weights[0])
    for w in weights:
        a = (w + torch.eye(w.shape[-1]).to(w)).mean(1)
        out = a / a.sum(dim=-1, keepdim=True) @ out
    return out


@alternative(ROLLOUT, "from the last layer to the first")
def from_the_end(weights):
    out = _mixing(weights[-1])
    for w in reversed(list(weights)[:-1]):
        out = torch.einsum("bij,bjk->bik", out, _mixing(w))
    return out


@alternative(ROLLOUT, "half stays, half is mixed, step by step")
def step_by_step(weights):
    b, _, n, _ = weights[0].shape
    out = torch.eye(n).to(weights[0]).repeat(b, 1, 1)
    for w in weights:
        out = (out + w.mean(1) @ out) / 2
    return out
