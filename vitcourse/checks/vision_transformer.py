"""Visible checks and questions of lesson 04."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse.checking import close, differs, gradients_reach, normal, require, scramble, shape, visible_check
from vitcourse.quiz import question

NO_BRANCH = "A block that hardly changes anything"
EXTRA_LN = "Almost right, off in the fourth digit"


# ------------------------------------------------------------------------------------------------------------- Mlp


@visible_check("vision_transformer.Mlp")
def mlp(answer: Any) -> None:
    layer: Any = scramble(answer(3, 5)).eval()
    x = 2 * normal(2, 7, 3)  # two pictures, seven tokens
    hidden = F.linear(x, layer.fc1.weight, layer.fc1.bias)

    def through(activation: Any) -> Tensor:
        return F.linear(activation(hidden), layer.fc2.weight, layer.fc2.bias).detach()

    y = shape(layer(x), (2, 7, 3), "every token keeps its width: D → hidden → D")
    differs(y, through(lambda t: t), "there is no activation between the layers, so two linear layers act as one",
            hint=1, mistake="no_activation")  # fmt: skip
    differs(y, through(F.relu), "this is ReLU: the task asks for GELU", hint=2, mistake="relu")
    differs(y, through(lambda t: F.gelu(t, approximate="tanh")),
            "this is the tanh approximation of GELU: close, but a model trained with the exact one gives other numbers",
            atol=2e-6, hint=3, see=EXTRA_LN, mistake="tanh_gelu")  # fmt: skip
    differs(y, through(lambda t: t * torch.sigmoid(1.702 * t)), "this is the sigmoid approximation of GELU",
            hint=3, mistake="sigmoid_gelu")  # fmt: skip
    differs(y, F.gelu(through(F.gelu)), "a second GELU after `fc2` cuts off what a token may write: end with `fc2`",
            hint=1, mistake="gelu_at_the_end")  # fmt: skip
    differs(y, through(F.silu), "this is SiLU, x·sigmoid(x): the task asks for GELU", hint=2, mistake="silu")
    before = F.linear(F.linear(F.gelu(x), layer.fc1.weight, layer.fc1.bias), layer.fc2.weight, layer.fc2.bias)
    differs(y, before, "the GELU comes before `fc1`: it belongs between the two layers", hint=1, mistake="gelu_first")
    close(y, through(F.gelu), "the numbers are not fc2(GELU(fc1(x)))", hint=2)
    close(layer(x[:, :1]), y[:, :1], "a token's result must not depend on the other tokens")
    gradients_reach(layer, layer(x), "both layers must take part")


# -------------------------------------------------------------------------------------------------------- DropPath


@visible_check("vision_transformer.DropPath")
def drop_path(answer: Any) -> None:
    x = normal(5, 3, 2)
    close(answer(0.4).eval()(x), x, "in evaluation nothing is dropped: look at `self.training`", hint=1,
          see="Test accuracy changes from run to run", mistake="active_in_eval")  # fmt: skip
    close(answer(0.0).train()(x), x, "with drop_prob 0 the branch comes back as it is")
    rate, calls, count = 0.2, 30, 200
    layer = answer(rate).train()
    ones = torch.ones(count, 3, 2)
    shape(layer(ones), (count, 3, 2), "the shape does not change")
    y = torch.stack([layer(ones).detach() for _ in range(calls)])  # (calls, samples, tokens, width)
    gone = y == 0
    require(gone.any(), "with drop_prob 0.2 nothing was dropped in 30 batches", hint=2)
    alike = gone.flatten(1).all(1) | ~gone.flatten(1).any(1)
    require(not alike.all(), "all samples of a batch are dropped or kept together: toss a coin for each sample", hint=2,
            mistake="per_batch")  # fmt: skip
    whole = (gone.flatten(2).all(2) | ~gone.flatten(2).any(2)).all()
    tokenwise = (gone.all(3) | ~gone.any(3)).all()
    require(whole or not tokenwise, "single tokens are dropped: one coin decides for all tokens of a sample", hint=2,
            mistake="per_token")  # fmt: skip
    channelwise = (gone.all(2) | ~gone.any(2)).all()
    require(whole or channelwise, "single numbers are dropped, as in dropout: one coin decides for a whole sample", hint=2,
            mistake="per_element")  # fmt: skip
    require(whole, "samples lose a part of their numbers: one coin decides for a whole sample", hint=2)
    share = 1 - gone.double().mean().item()
    require(abs(share - rate) > 0.05, f"{share:.0%} of the samples are kept: drop_prob 0.2 drops 20 % of them, it does "
            "not keep 20 %", hint=3, mistake="keeps_with_p")  # fmt: skip
    require(abs(share - (1 - rate)) < 0.05, f"{share:.0%} of the samples are kept, expected about 80 %", hint=3)
    factor = y.max().item()
    require(abs(factor - 1) > 1e-4, "the kept samples are not divided by 1 − drop_prob, so the mean shrinks in training",
            hint=3, mistake="no_rescaling")  # fmt: skip
    require(abs(factor - 1 / rate) > 1e-4, "the kept samples are divided by drop_prob: divide by the probability to be "
            "kept", hint=3, mistake="divides_by_p")  # fmt: skip
    require(abs(factor - 1 / (1 - rate)) < 1e-4, "kept samples must be divided by 1 − drop_prob = 0.8, so a 1 becomes "
            f"1.25; yours becomes {factor:.3g}", hint=3)  # fmt: skip
    shape(layer(normal(4, 6)), (4, 6), "it must work for any number of axes")
    shape(layer(normal(4, 2, 3, 5)), (4, 2, 3, 5), "it must work for any number of axes")


# ----------------------------------------------------------------------------------------------------------- Block


class _Scale(nn.Module):
    """Stands in for DropPath, without chance."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def _make_block(answer: Any, dim: int, heads: int, branch: float = 1.0) -> Any:
    """The learner's block with an MLP and branches of our own, so that this exercise depends on no other."""
    block = answer(dim, heads)
    layers = OrderedDict(fc1=nn.Linear(dim, 4 * dim), act=nn.GELU(), fc2=nn.Linear(4 * dim, dim))
    block.mlp, block.drop_path1, block.drop_path2 = nn.Sequential(layers), _Scale(branch), _Scale(branch)
    return scramble(block).eval()


@visible_check("vision_transformer.Block")
@torch.no_grad()
def block(answer: Any) -> None:
    one = _make_block(answer, 6, 2)
    x = normal(2, 5, 6)

    def norm1(t: Tensor) -> Tensor:
        return F.layer_norm(t, (6,), one.norm1.weight, one.norm1.bias, 1e-6)

    def norm2(t: Tensor) -> Tensor:
        return F.layer_norm(t, (6,), one.norm2.weight, one.norm2.bias, 1e-6)

    def attention(t: Tensor) -> Tensor:  # torch's own, with the block's weights
        moved, a = t.transpose(0, 1), one.attn
        return F.multi_head_attention_forward(
            moved, moved, moved, 6, 2, a.qkv.weight, a.qkv.bias, None, None, False, 0.0, a.proj.weight, a.proj.bias
        )[0].transpose(0, 1)

    def mlp(t: Tensor) -> Tensor:
        return one.mlp(t)

    y = shape(one(x), (2, 5, 6), "tokens (B, N, D) in, tokens (B, N, D) out")
    first = x + attention(norm1(x))
    right = first + mlp(norm2(first))
    post = norm1(x + attention(x))
    differs(y, norm2(post + mlp(post)), "this is post-norm, as in the first Transformer: ViT norms the input of each "
            "branch and leaves the sum alone", hint=2, see="Training needs a long warm-up or diverges",
            mistake="post_norm")  # fmt: skip
    alone = attention(norm1(x))
    differs(y, alone + mlp(norm2(alone)), "the residual around the attention is missing: x + …", hint=1,
            see=NO_BRANCH, mistake="no_attention_residual")  # fmt: skip
    differs(y, mlp(norm2(first)), "the residual around the MLP is missing: x + …", hint=1, see=NO_BRANCH,
            mistake="no_mlp_residual")  # fmt: skip
    differs(y, alone * 0 + mlp(norm2(alone)), "both residuals are missing: each branch is added to its input", hint=1,
            see=NO_BRANCH, mistake="no_residuals")  # fmt: skip
    differs(y, first + mlp(norm1(first)), "`norm1` serves both branches: the MLP has a norm of its own, `norm2`",
            hint=2, mistake="one_norm")  # fmt: skip
    differs(y, x + attention(norm1(x)) + mlp(norm2(x)), "the MLP reads the block's input: it must read what the "
            "attention has already changed", hint=3, mistake="parallel")  # fmt: skip
    normed = norm1(x) + attention(norm1(x))
    differs(y, norm2(normed) + mlp(norm2(normed)), "the branch is added to the normed tokens: add it to the tokens "
            "as they were before the norm", hint=2, mistake="residual_from_norm")  # fmt: skip
    swapped = x + mlp(norm2(x))
    differs(y, swapped + attention(norm1(swapped)), "the MLP comes before the attention: the order is attention, then "
            "MLP", hint=3, mistake="mlp_first")  # fmt: skip
    differs(y, first + mlp(first), "the MLP reads tokens that were not normed: `norm2` is missing", hint=2,
            mistake="no_second_norm")  # fmt: skip

    def built_with(own: Callable[[Tensor], Tensor]) -> Tensor:
        """The block with another idea of what a norm is."""
        middle = x + attention(own(x) * one.norm1.weight + one.norm1.bias)
        return middle + mlp(own(middle) * one.norm2.weight + one.norm2.bias)

    differs(y, built_with(lambda t: F.layer_norm(t, t.shape[1:])), "the norm averages over tokens and width together: it "
            "looks at one token at a time", hint=2, mistake="norm_over_tokens", atol=1e-4)  # fmt: skip
    differs(y, built_with(lambda t: (t - t.mean(-1, keepdim=True)) / t.std(-1, keepdim=True)), "the norm divides by the "
            "unbiased standard deviation: LayerNorm uses the biased one (correction=0)", see=EXTRA_LN, atol=1e-4,
            mistake="unbiased_std")  # fmt: skip
    close(y, right, "the numbers are not those of a pre-norm block", hint=3)
    tiny = 0.01 * x  # where eps is no longer small beside the variance
    first = tiny + attention(norm1(tiny))
    close(one(tiny), first + mlp(norm2(first)), "right for large inputs, wrong for small ones: the norms must be "
          "`nn.LayerNorm(dim, eps=1e-6)` with eps under the root", see=EXTRA_LN, mistake="eps")  # fmt: skip
    one = _make_block(answer, 6, 2, branch=0.5)
    y, first = one(x), x + 0.5 * attention(norm1(x))
    differs(
        y, right, "`drop_path1` and `drop_path2` are not used: each wraps one branch", hint=3, mistake="no_drop_path"
    )
    stream = 0.5 * (x + attention(norm1(x)))
    differs(y, 0.5 * (stream + mlp(norm2(stream))), "stochastic depth acts on the sum: a dropped sample would be lost "
            "altogether. Wrap the branch only", hint=3, mistake="drops_the_stream")  # fmt: skip
    close(y, first + 0.5 * mlp(norm2(first)), "each of the two branches passes through its drop path once, before it is "
          "added", hint=3)  # fmt: skip


# ----------------------------------------------------------------------------------------------- VisionTransformer


def _empty(answer: Any, **changes: Any) -> Any:
    """The learner's model without blocks: what stands before and after them is tested alone."""
    settings = {"img_size": (8, 12), "patch_size": 4, "in_chans": 2, "num_classes": 3, "embed_dim": 6, "depth": 0,
                "num_heads": 2} | changes  # fmt: skip
    return scramble(answer(**settings)).eval()


def _mixers() -> nn.Module:
    """Two encoder blocks by torch, to stand in for the learner's."""
    layers = (nn.TransformerEncoderLayer(6, 2, 24, 0.0, F.gelu, 1e-6, True, True) for _ in range(2))
    return scramble(nn.Sequential(*layers), seed=3).eval()


@visible_check("vision_transformer.VisionTransformer")
def vision_transformer(answer: Any) -> None:
    with torch.no_grad():
        _tokens(answer)
        _read_out(answer)
    _blocks(answer)


def _tokens(answer: Any) -> None:
    model = _empty(answer)
    x = normal(2, 2, 8, 12)

    def norm(t: Tensor) -> Tensor:
        return F.layer_norm(t, (6,), model.norm.weight, model.norm.bias, 1e-6)

    patches = F.conv2d(x, model.patch_embed.proj.weight, model.patch_embed.proj.bias, stride=4).flatten(2)
    patches = patches.transpose(1, 2)  # (2, 6, 6)
    cls, positions = model.cls_token.expand(2, 1, 6), model.pos_embed
    one = model.forward_features(x[:1])
    shape(one, (1, 7, 6), "one class token and six patch tokens", hint=1)
    try:
        y = model.forward_features(x)
    except RuntimeError:
        require(False, "one picture works, two do not: the class token is (1, 1, D) and must be repeated for every "
                "picture of the batch", hint=1, see="Sizes of tensors must match except in dimension 1",
                mistake="not_expanded")  # fmt: skip
    y = shape(y, (2, 7, 6), "one class token and six patch tokens", hint=1)
    together = torch.cat([cls, patches], 1)
    unnormed = together + positions
    differs(y, unnormed, "the final norm is missing: `self.norm` comes after the blocks", hint=2,
            see="The loss starts huge or logits differ from timm", mistake="no_final_norm")  # fmt: skip
    differs(y, norm(together), "the positions are missing: attention cannot tell where a patch was", hint=1,
            see="Shuffled patches get the same answer", mistake="no_positions")  # fmt: skip
    differs(y, norm(torch.cat([patches, cls], 1) + positions), "the class token stands last: it comes first, and so "
            "does its position", hint=1, mistake="cls_last")  # fmt: skip
    differs(y, norm(torch.cat([cls, patches + positions[:, 1:]], 1)), "the class token gets no position: "
            "`pos_embed` has a row for it, row 0", hint=1, mistake="cls_without_position")  # fmt: skip
    differs(y, norm(unnormed + positions), "the positions are added twice", hint=1)
    require((y == model.forward_features(x)).all(), "the same picture gives other tokens each time: something random, such "
            "as dropout, is active in evaluation", see="Test accuracy changes from run to run",
            mistake="dropout_in_eval")  # fmt: skip
    close(y, norm(unnormed), "the tokens that enter the blocks, normed, are not [class, patches] + positions", hint=1)
    model.blocks = _mixers()
    y = model.forward_features(x)
    differs(y, norm(unnormed), "the blocks are not used", hint=2)
    differs(y, model.blocks(norm(unnormed)), "the norm comes before the blocks: it must come after them", hint=2,
            mistake="norm_before_blocks")  # fmt: skip
    differs(y, model.blocks(unnormed), "the final norm is missing: `self.norm` comes after the blocks", hint=2)
    close(y, norm(model.blocks(unnormed)), "the blocks must run one after the other, then the norm once", hint=2)


def _read_out(answer: Any) -> None:
    model = _empty(answer)
    model.blocks = _mixers()
    x = normal(3, 2, 8, 12)
    tokens = model.forward_features(x)

    def head(t: Tensor) -> Tensor:
        return F.linear(t, model.head.weight, model.head.bias)

    y = shape(model(x), (3, 3), "one row of logits per picture, one column per class", hint=3)
    differs(y, head(tokens[:, 0]).softmax(-1), "these are probabilities: return logits, the loss takes the softmax "
            "itself", see="The loss stalls near 1.5 with ten classes", mistake="softmax_in_forward")  # fmt: skip
    differs(y, head(tokens[:, 1]), "the head reads token 1, the first patch: the class token is token 0", hint=3,
            mistake="reads_token_one")  # fmt: skip
    differs(y, head(tokens.mean(1)), 'this is the mean: with global_pool = "token" the head reads the class token',
            hint=3)  # fmt: skip
    close(y, head(tokens[:, 0]), "the head must read the class token of the normed tokens", hint=3)
    model.global_pool = "avg"
    y = model(x)
    differs(y, head(tokens[:, 0]), 'with `global_pool = "avg"` the model still reads the class token', hint=3,
            mistake="ignores_global_pool")  # fmt: skip
    differs(y, head(tokens.mean(1)), "the mean includes the class token: average the patch tokens only", hint=3,
            mistake="mean_with_cls")  # fmt: skip
    close(y, head(tokens[:, 1:].mean(1)), 'with `global_pool = "avg"` the head reads the mean of the normed patch '
          "tokens", hint=3)  # fmt: skip


def _blocks(answer: Any) -> None:
    model = answer(
        img_size=8, patch_size=4, in_chans=1, num_classes=2, embed_dim=4, depth=3, num_heads=2, drop_path=0.2
    )
    names = {name.split(".")[1] for name, _ in model.named_parameters() if name.startswith("blocks.")}
    blocks = list(model.blocks)
    require(len(blocks) == 3, f"depth=3 gives {len(blocks)} blocks", hint=2)
    require(names != {"0"}, "all blocks are one and the same: they share their weights. Make a new `Block` for each",
            hint=2, see="Three times the depth, the same number of parameters", mistake="shared_blocks")  # fmt: skip
    require(names, "no parameter of the blocks is known to the model: a Python list hides them from it", hint=2,
            see="Three times the depth, the same number of parameters", mistake="python_list")  # fmt: skip
    require(names == {"0", "1", "2"}, "the parameters of the blocks must be called blocks.0…, blocks.1…, blocks.2…")
    rates = torch.tensor([b.drop_path1.drop_prob for b in blocks])
    differs(rates, torch.full((3,), 0.2), "every block drops with the same probability: use `rates`", hint=2,
            mistake="same_rate")  # fmt: skip
    differs(
        rates, torch.zeros(3), "no block drops anything: hand `rates` to the blocks", hint=2, mistake="rates_unused"
    )
    close(
        rates, torch.tensor([0.0, 0.1, 0.2]), "the probabilities of stochastic depth must be those in `rates`", hint=2
    )


# ------------------------------------------------------------------------------------------------ count_parameters


@dataclass(frozen=True)
class _Config:
    """The fields of the notebook's ViTConfig."""

    img_size: int = 224
    patch_size: int = 16
    in_chans: int = 3
    num_classes: int = 1000
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    drop_path: float = 0.0


@visible_check("vision_transformer.count_parameters")
def count_parameters(answer: Any) -> None:
    D, P, C, K, L, N = 6, 5, 2, 11, 3, 25
    small = _Config(25, P, C, K, D, L, 2)
    with torch.device("meta"):  # shapes without numbers
        layer = sum(p.numel() for p in nn.TransformerEncoderLayer(D, 2, 4 * D).parameters())
        patch = sum(p.numel() for p in nn.Conv2d(C, D, P).parameters())
        head = sum(p.numel() for p in nn.Linear(D, K).parameters())
    right = patch + D + (N + 1) * D + L * layer + 2 * D + head
    given = answer(small)
    require(isinstance(given, (int, float)) and given == int(given), f"a whole number is expected, got {given!r}")
    missing = right - int(given)
    said = f"for a tiny model of {right:,} parameters you count {int(given):,}"
    require(missing != L * 3 * D, f"{said}: the bias of qkv is missing in every block", hint=2, mistake="no_qkv_bias")
    require(missing != L * 4 * D, f"{said}: the two norms of every block are missing", hint=2, mistake="no_block_norms")
    require(
        missing != L * 2 * D, f"{said}: every block has two norms, you count one", hint=2, mistake="one_norm_counted"
    )
    require(missing != L * (D + 1) * D, f"{said}: the output projection of the attention is missing", hint=2,
            mistake="no_projection")  # fmt: skip
    require(missing != D, f"{said}. One vector of D numbers is missing: the class token, its position or the bias of the "
            "patch embedding", hint=1, mistake="one_vector_missing")  # fmt: skip
    require(missing != 2 * D, f"{said}. Two vectors of D numbers are missing: the final norm, or the class token and its "
            "position", hint=3, mistake="final_norm_missing")  # fmt: skip
    require(missing != (N - 5) * D, f"{said}: the number of patches is (image side / patch side)², you count one row of "
            "them", hint=1, mistake="one_row_of_patches")  # fmt: skip
    require(missing != P * P * (C - 1) * D, f"{said}: a patch holds C values per pixel, you count one", hint=1,
            mistake="one_channel")  # fmt: skip
    require(missing != K, f"{said}: the bias of the head is missing", hint=3, mistake="no_head_bias")
    biases = D + L * 9 * D + K
    require(missing != biases, f"{said}: the biases of the linear layers are missing", hint=2, mistake="no_biases")
    require(missing == 0, said, hint=2)
    require(answer(_Config(25, P, C, K, D, L, 3)) == right, "the count must not depend on the number of heads: they share "
            "the width D", hint=2, mistake="counts_heads")  # fmt: skip
    for name, config, published in (
        ("ViT-B/16", _Config(), 86_567_656),
        ("ViT-L/16", _Config(embed_dim=1024, depth=24, num_heads=16), 304_326_632),
        ("ViT-H/14", _Config(patch_size=14, embed_dim=1280, depth=32, num_heads=16), 632_045_800),
    ):
        got = int(answer(config))
        require(got == published, f"torchvision's {name} has {published:,} parameters, you count {got:,}")


# -------------------------------------------------------------------------------------------------------- ConvStem


@visible_check("vision_transformer.ConvStem")
@torch.no_grad()
def conv_stem(answer: Any) -> None:
    stem: Any = scramble(answer(2, 8)).eval()
    x = normal(2, 2, 28, 40)

    def stages(order: str) -> Tensor:
        t = x
        for conv, norm in zip(stem.convs, stem.norms, strict=True):
            t = F.conv2d(t, conv.weight, conv.bias, stride=2, padding=1)
            for step in order:
                t = norm(t) if step == "n" else t.relu()
        return F.conv2d(t, stem.proj.weight, stem.proj.bias)  # (2, 8, 4, 5)

    def tokens(t: Tensor) -> Tensor:
        return t.flatten(2).transpose(1, 2)

    y, right = stem(x), stages("nr")
    require(tuple(y.shape) != (2, 8, 4, 5), "this is still a feature map (B, D, h, w): blocks want tokens (B, N, D)",
            hint=3, mistake="feature_map")  # fmt: skip
    require(tuple(y.shape) != (2, 8, 20), "tokens and width are swapped, (B, D, N): move D to the end", hint=3,
            mistake="not_transposed")  # fmt: skip
    y = shape(y, (2, 20, 8), "28×40 pixels become 4×5 = 20 tokens of width 8", hint=1)
    differs(y, right.reshape(2, 20, 8), "the numbers are only relabelled: a reshape does not move D to the end", hint=3,
            mistake="reshaped")  # fmt: skip
    differs(y, right.permute(0, 3, 2, 1).reshape(2, 20, 8), "the tokens run down the columns: reading order is row by row",
            hint=3, mistake="column_major")  # fmt: skip
    differs(y, tokens(stages("n")), "there is no ReLU, so the three convolutions act as one linear map", hint=2,
            mistake="no_relu")  # fmt: skip
    differs(y, tokens(stages("r")), "the batch norms are not used", hint=2, mistake="no_norm")
    differs(
        y, tokens(stages("rn")), "the order within a stage is convolution, norm, ReLU", hint=2, mistake="relu_then_norm"
    )
    differs(y, tokens(right.relu()), "a ReLU after `proj` makes every token non-negative: end with `proj`", hint=2,
            mistake="relu_at_the_end")  # fmt: skip
    close(y, tokens(right), "three times convolution, norm, ReLU; then `proj`; then tokens in reading order", hint=2)


# ------------------------------------------------------------------------------------------------------- questions

question(
    "vision_transformer.where",
    right="c",
    why="Each block has 8D² weights in its MLP and 4D² in its attention: the MLPs hold about two thirds.",
    wrong={
        "a": "The embedding of 16×16×3 = 768 numbers to 768 costs 0.6 million, the positions 0.15 million: under 1 %.",
        "b": "Attention has four D×D matrices a block (q, k, v, proj). The MLP has eight times D².",
        "d": "The head has 769 · 1000 = 0.77 million, about 1 %.",
    },
)
question(
    "vision_transformer.scale",
    right="b",
    why="Every branch adds something, and nothing on the stream scales it back.",
    wrong={
        "a": "Each norm sits inside a branch. The stream itself is a sum of 25 terms by then.",
        "c": "Branches add, they do not average.",
    },
)
question(
    "vision_transformer.duel",
    right="b",
    why="With 10 000 pictures the CNN's built-in locality is worth more than the ViT's freedom. Look at the numbers below.",
    wrong={
        "a": "The ViT must learn from the data that neighbouring pixels belong together. 10 000 small pictures are not many.",
        "c": "They are close, but not that close: the CNN starts with knowledge about pictures that the ViT must learn.",
    },
)
question(
    "vision_transformer.tokens",
    right=577,
    why="(384 / 16)² = 24² = 576 patches, and the class token.",
    wrong={"576": "These are the patches. One more token enters the blocks.", "197": "That is for 224×224 pictures.",
           "196": "That is the number of patches for 224×224 pictures.", "25": "24 is one row of patches: count both directions.",
           "24": "24 is one row of patches: count both directions, then the class token."},
    otherwise="Patches per side: 384 / 16. Square it, then think of the token that is no patch.",
)  # fmt: skip
question(
    "vision_transformer.mlp_weights",
    right=4.7,
    why="2 · 768 · 3072 = 8 · 768² = 4.7 million.",
    wrong={"2.4": "That is one of the two layers: 768 · 3072.", "2.36": "That is one of the two layers: 768 · 3072.",
           "1.2": "The hidden layer is 4D wide, not D.", "7.1": "That is the whole block, attention included: 12D².",
           "4.72": "Right; with one decimal it is 4.7.", "56.6": "That is all twelve blocks. One block is asked for."},
    otherwise="Two matrices: D × 4D and 4D × D.",
)  # fmt: skip
question(
    "vision_transformer.heads",
    right="b",
    why="Heads share the width: each gets d = D / h numbers. The matrices stay D × 3D and D × D.",
    wrong={
        "a": "Twice as many heads, each half as wide.",
        "c": "No layer changes its shape: qkv stays D × 3D.",
        "d": "No layer changes its shape: qkv stays D × 3D. Only the width of each head halves.",
    },
)
question(
    "vision_transformer.smaller_patches",
    right=16,
    why="N grows by 4 (twice as many in each direction), and the weights form an N × N table.",
    wrong={"4": "That is the number of tokens. Each of them looks at each.", "2": "Twice as many patches in each of two "
           "directions, and then every token looks at every token.", "8": "N grows by 4, and the table is N × N: 4²."},
    otherwise="First find how N grows, then square it.",
)  # fmt: skip
question(
    "vision_transformer.final_norm",
    right="c",
    why="Each norm of a pre-norm block sits in a branch. The stream itself reaches the end as a raw sum.",
    wrong={
        "a": "That is the softmax, and the loss takes it.",
        "b": "A linear layer takes numbers of any sign, and layer norm gives both.",
        "d": "DropPath divides by 1 − p itself, and does nothing in evaluation.",
    },
)
question(
    "vision_transformer.kept",
    right=8,
    why="6 / (1 − 0.25) = 8. With the zeros of the dropped ones the mean is 0.75 · 8 = 6.",
    wrong={"6": "Then the mean would shrink to 4.5 in training.", "24": "That divides by p. Divide by the probability to be kept.",
           "4.5": "That multiplies by 0.75; the mean would shrink even more.", "7.5": "Divide by 0.75, do not multiply by 1.25."},
    otherwise="Divide by the probability to be kept.",
)  # fmt: skip
question(
    "vision_transformer.choose",
    right="c",
    why="Small data, no pretraining: built-in locality helps most. With pretrained weights the answer would change.",
    wrong={
        "a": "304 million parameters and no prior knowledge: it will learn the 3 000 pictures by heart.",
        "b": "Large patches make it cheaper, not less hungry for data, and they throw away fine detail.",
        "d": "Without positions the model cannot tell where a patch was; that costs accuracy.",
    },
)
question(
    "vision_transformer.ablation",
    right="c",
    why="Taking positions away costs accuracy with both seeds. Changing who is read costs nothing that two seeds could show.",
    wrong={
        "a": "The log says the reverse: without positions it is worse, with another token read it is not.",
        "b": "Its lead is no larger than what two seeds of one model differ by. Two seeds cannot rank read-outs.",
        "d": "It fell with both seeds. That a set of patches still says a lot does not make the loss go away.",
    },
)
question(
    "vision_transformer.bert",
    right="d",
    why="BERT norms after each sum (post-norm), ViT before each branch (pre-norm). The rest of the encoder is the same.",
    wrong={
        "a": "BERT puts [CLS] in front of every sentence, and ViT copies it.",
        "b": "BERT learns one vector for each place in the sentence and adds it. ViT does so for each place in the grid.",
        "c": "The attention is the same in both. Only what the tokens stand for has changed.",
    },
)
