"""The catalogue of lesson 04."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import nn

from grader.mistakes import alternative, mistake
from solutions import vision_transformer as ref

MLP = "vision_transformer.Mlp"
DROP = "vision_transformer.DropPath"
BLOCK = "vision_transformer.Block"
VIT = "vision_transformer.VisionTransformer"
COUNT = "vision_transformer.count_parameters"
STEM = "vision_transformer.ConvStem"

# --------------------------------------------------------------------------------------------------------------- Mlp


@mistake(MLP, "There is no activation between the two layers, so together they are one linear map.")
class no_activation(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(self.fc1(x))


@mistake(MLP, "The activation is ReLU. ViT uses GELU, which lets a little of the negative side through.")
class relu(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


@mistake(
    MLP,
    "This is the tanh approximation of GELU. Published ViT weights were trained with the exact one; logits shift in the fourth digit.",
)
class tanh_gelu(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


@mistake(MLP, "This is x·sigmoid(1.702x), a rough approximation of GELU; the task asks for the exact one.")
class sigmoid_gelu(ref.Mlp):  # noqa: N801
    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


@mistake(MLP, "The activation is SiLU, x·sigmoid(x), instead of GELU.")
class silu(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(F.silu(self.fc1(x)))


@mistake(MLP, "A second GELU follows the last layer, so a token can hardly be pushed in a negative direction.")
class gelu_at_the_end(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return F.gelu(self.fc2(F.gelu(self.fc1(x))))


@mistake(MLP, "The GELU stands before the first layer instead of between the two.")
class gelu_first(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(self.fc1(F.gelu(x)))


@alternative(MLP, "nn.GELU as a module")
class gelu_module(ref.Mlp):  # noqa: N801
    def __init__(self, dim, hidden_dim):
        super().__init__(dim, hidden_dim)
        self.act = nn.GELU()

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


@alternative(MLP, "the error function by hand")
class erf_by_hand(ref.Mlp):  # noqa: N801
    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * 0.5 * (1 + torch.erf(x / 2**0.5)))


@alternative(MLP, "the normal distribution function, and matrix products")
class ndtr(ref.Mlp):  # noqa: N801
    def forward(self, x):
        x = x @ self.fc1.weight.T + self.fc1.bias
        return (x * torch.special.ndtr(x)) @ self.fc2.weight.T + self.fc2.bias


@alternative(MLP, "nn.Sequential over the same layers")
class sequential(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return nn.Sequential(self.fc1, nn.GELU(), self.fc2)(x)


# ---------------------------------------------------------------------------------------------------------- DropPath


@mistake(DROP, "Branches are dropped in evaluation too, so the same picture gets another answer each time.")
class active_in_eval(ref.DropPath):  # noqa: N801
    def forward(self, x):
        keep = 1 - self.drop_prob
        return x * torch.rand(x.shape[0], *[1] * (x.ndim - 1)).lt(keep).to(x) / keep


class _Masked(ref.DropPath):
    """Training: x · mask / keep; the mistakes below change one of the three."""

    def mask(self, x, keep):
        return torch.rand(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype).lt(keep).to(x)

    def scale(self, keep):
        return 1 / keep

    def forward(self, x):
        if not self.training or self.drop_prob == 0:
            return x
        keep = 1 - self.drop_prob
        return x * self.mask(x, keep) * self.scale(keep)


@mistake(
    DROP, "The kept samples are not divided by 1 − drop_prob, so the branch is weaker in training than in evaluation."
)
class no_rescaling(_Masked):  # noqa: N801
    def scale(self, keep):
        return 1


@mistake(DROP, "Samples are kept with probability drop_prob and dropped with 1 − drop_prob: the two are swapped.")
class keeps_with_p(_Masked):  # noqa: N801
    def mask(self, x, keep):
        return super().mask(x, 1 - keep)


@mistake(DROP, "Every number has its own coin, which is dropout. Stochastic depth drops a sample's whole branch.")
class per_element(_Masked):  # noqa: N801
    def mask(self, x, keep):
        return torch.rand_like(x).lt(keep).to(x)


@mistake(DROP, "Every token has its own coin. Stochastic depth drops a sample's whole branch.")
class per_token(_Masked):  # noqa: N801
    def mask(self, x, keep):
        return torch.rand(*x.shape[:-1], 1).lt(keep).to(x)


@mistake(DROP, "One coin decides for the whole batch: all samples lose the branch together.")
class per_batch(_Masked):  # noqa: N801
    def mask(self, x, keep):
        return torch.rand(()).lt(keep).to(x)


@mistake(DROP, "The kept samples are divided by drop_prob instead of 1 − drop_prob.")
class divides_by_p(_Masked):  # noqa: N801
    def scale(self, keep):
        return 1 / (1 - keep)


@alternative(DROP, "bernoulli on a tensor of probabilities")
class bernoulli(_Masked):  # noqa: N801
    def mask(self, x, keep):
        return torch.bernoulli(torch.full((x.shape[0], *[1] * (x.ndim - 1)), keep)).to(x)


@alternative(DROP, "torchvision's stochastic_depth in row mode")
class torchvision_row(ref.DropPath):  # noqa: N801
    def forward(self, x):
        from torchvision.ops import stochastic_depth

        return stochastic_depth(x, self.drop_prob, "row", self.training)


@alternative(DROP, "dropout of one number per sample")
class dropout_of_ones(ref.DropPath):  # noqa: N801
    def forward(self, x):
        ones = torch.ones(x.shape[0], *[1] * (x.ndim - 1)).to(x)
        return x * F.dropout(ones, self.drop_prob, self.training)


@alternative(DROP, "a loop over the samples")
class loop(ref.DropPath):  # noqa: N801
    def forward(self, x):
        if not self.training:
            return x
        kept = torch.rand(len(x)) >= self.drop_prob
        return torch.stack(
            [s / (1 - self.drop_prob) if k else torch.zeros_like(s) for s, k in zip(x, kept, strict=True)]
        )


# ------------------------------------------------------------------------------------------------------------- Block


@mistake(BLOCK, "This is post-norm: the norms follow the sums. ViT is pre-norm: each norm sits inside its branch.")
class post_norm(ref.Block):  # noqa: N801
    def forward(self, x):
        x = self.norm1(x + self.drop_path1(self.attn(x)))
        return self.norm2(x + self.drop_path2(self.mlp(x)))


@mistake(BLOCK, "The attention has no residual connection: its output replaces the tokens.")
class no_attention_residual(ref.Block):  # noqa: N801
    def forward(self, x):
        x = self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


@mistake(BLOCK, "The MLP has no residual connection: its output replaces the tokens.")
class no_mlp_residual(ref.Block):  # noqa: N801
    def forward(self, x):
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return self.drop_path2(self.mlp(self.norm2(x)))


@mistake(BLOCK, "Neither branch has a residual connection, so gradients fade and the tokens are lost.")
class no_residuals(ref.Block):  # noqa: N801
    def forward(self, x):
        return self.drop_path2(self.mlp(self.norm2(self.drop_path1(self.attn(self.norm1(x))))))


@mistake(BLOCK, "The first norm serves both branches. The MLP has a norm of its own.")
class one_norm(ref.Block):  # noqa: N801
    def forward(self, x):
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm1(x)))


@mistake(BLOCK, "The MLP reads the tokens as they entered the block. It must read them after the attention.")
class parallel(ref.Block):  # noqa: N801
    def forward(self, x):
        return x + self.drop_path1(self.attn(self.norm1(x))) + self.drop_path2(self.mlp(self.norm2(x)))


@mistake(BLOCK, "The branch is added to the normed tokens, so what earlier blocks wrote is rescaled every time.")
class residual_from_norm(ref.Block):  # noqa: N801
    def forward(self, x):
        x = self.norm1(x)
        x = x + self.drop_path1(self.attn(x))
        x = self.norm2(x)
        return x + self.drop_path2(self.mlp(x))


@mistake(BLOCK, "The MLP runs before the attention.")
class mlp_first(ref.Block):  # noqa: N801
    def forward(self, x):
        x = x + self.drop_path2(self.mlp(self.norm2(x)))
        return x + self.drop_path1(self.attn(self.norm1(x)))


@mistake(BLOCK, "The MLP reads tokens that were not normed.")
class no_second_norm(ref.Block):  # noqa: N801
    def forward(self, x):
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(x))


@mistake(BLOCK, "The norms use another eps than 1e-6: small activations come out wrong.")
class eps(ref.Block):  # noqa: N801
    def __init__(self, dim, num_heads, mlp_ratio=4.0, drop_path=0.0):
        super().__init__(dim, num_heads, mlp_ratio, drop_path)
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-5), nn.LayerNorm(dim, eps=1e-5)


@mistake(BLOCK, "The drop paths are not used, so stochastic depth does nothing.")
class no_drop_path(ref.Block):  # noqa: N801
    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@mistake(BLOCK, "Stochastic depth acts on the sum, so a dropped sample loses its tokens, not just one branch.")
class drops_the_stream(ref.Block):  # noqa: N801
    def forward(self, x):
        x = self.drop_path1(x + self.attn(self.norm1(x)))
        return self.drop_path2(x + self.mlp(self.norm2(x)))


class _OwnNorm(ref.Block):
    def own(self, norm, x):
        raise NotImplementedError

    def forward(self, x):
        x = x + self.drop_path1(self.attn(self.own(self.norm1, x)))
        return x + self.drop_path2(self.mlp(self.own(self.norm2, x)))


@mistake(BLOCK, "The norm averages over tokens and width together. LayerNorm looks at one token at a time.")
class norm_over_tokens(_OwnNorm):  # noqa: N801
    def own(self, norm, x):
        return F.layer_norm(x, x.shape[1:], eps=1e-6) * norm.weight + norm.bias


@mistake(BLOCK, "The norm divides by the unbiased standard deviation (N − 1). LayerNorm uses the biased one.")
class unbiased_std(_OwnNorm):  # noqa: N801
    def own(self, norm, x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


@mistake(BLOCK, "The eps of the norm stands outside the root, so small activations come out wrong.")
class eps_outside(_OwnNorm):  # noqa: N801
    def own(self, norm, x):
        std = x.std(-1, keepdim=True, correction=0)
        return (x - x.mean(-1, keepdim=True)) / (std + 1e-3) * norm.weight + norm.bias


@alternative(BLOCK, "LayerNorm by hand, with the biased variance")
class norm_by_hand(_OwnNorm):  # noqa: N801
    def own(self, norm, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


@alternative(BLOCK, "functional LayerNorm")
class functional_norm(_OwnNorm):  # noqa: N801
    def own(self, norm, x):
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, 1e-6)


@alternative(BLOCK, "step by step, with named intermediate results")
class step_by_step(ref.Block):  # noqa: N801
    def forward(self, x):
        shortcut = x
        x = self.norm1(x)
        x = self.attn(x)
        x = shortcut + self.drop_path1(x)
        shortcut = x
        x = self.norm2(x)
        x = self.mlp(x)
        return shortcut + self.drop_path2(x)


@alternative(BLOCK, "a loop over the two branches")
class loop_over_branches(ref.Block):  # noqa: N801
    def forward(self, x):
        for norm, branch, drop in ((self.norm1, self.attn, self.drop_path1), (self.norm2, self.mlp, self.drop_path2)):
            x = torch.add(drop(branch(norm(x))), x)
        return x


@alternative(BLOCK, "torch's nn.MultiheadAttention (batch_first) with the block's weights")
class torch_attention(ref.Block):  # noqa: N801
    def forward(self, x):
        mha: Any = nn.MultiheadAttention(x.shape[-1], self.attn.num_heads, batch_first=True).to(x)
        mha.in_proj_weight, mha.in_proj_bias = self.attn.qkv.weight, self.attn.qkv.bias
        mha.out_proj.weight, mha.out_proj.bias = self.attn.proj.weight, self.attn.proj.bias
        y = self.norm1(x)
        x = x + self.drop_path1(mha(y, y, y, need_weights=False)[0])
        return x + self.drop_path2(self.mlp(self.norm2(x)))


# ------------------------------------------------------------------------------------------------- VisionTransformer


@mistake(VIT, "The final norm is missing: the head reads tokens whose scale grows with depth.")
class no_final_norm(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.blocks(x)


@mistake(VIT, "The norm comes before the blocks instead of after them.")
class norm_before_blocks(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.blocks(self.norm(x))


@mistake(VIT, "No positions are added, so the model cannot tell where a patch was.")
class no_positions(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = self.patch_embed(x)
        return self.norm(self.blocks(torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)))


@mistake(VIT, "The class token stands last. Positions and read-out expect it first.")
class cls_last(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = self.patch_embed(x)
        x = torch.cat([x, self.cls_token.expand(x.shape[0], -1, -1)], 1) + self.pos_embed
        return self.norm(self.blocks(x))


@mistake(VIT, "The class token gets no position, though row 0 of the positions is meant for it.")
class cls_without_position(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = self.patch_embed(x) + self.pos_embed[:, 1:]
        return self.norm(self.blocks(torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)))


@mistake(VIT, "The class token is not repeated for every picture, so a batch of more than one fails.")
class not_expanded(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = torch.cat([self.cls_token, self.patch_embed(x)], 1) + self.pos_embed
        return self.norm(self.blocks(x))


@mistake(VIT, "Dropout acts in evaluation too: `F.dropout` does so unless it is told `training=self.training`.")
class dropout_in_eval(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(F.dropout(x, 0.1)))


@mistake(VIT, "The head reads token 1, which is the first patch. The class token is token 0.")
class reads_token_one(ref.VisionTransformer):  # noqa: N801
    def forward(self, x):
        x = self.forward_features(x)
        return self.head(x[:, 1:].mean(1) if self.global_pool == "avg" else x[:, 1])


@mistake(VIT, "The mean includes the class token. Mean-pool averages the patch tokens only.")
class mean_with_cls(ref.VisionTransformer):  # noqa: N801
    def forward(self, x):
        x = self.forward_features(x)
        return self.head(x.mean(1) if self.global_pool == "avg" else x[:, 0])


@mistake(VIT, "The model always reads the class token, whatever `global_pool` says.")
class ignores_global_pool(ref.VisionTransformer):  # noqa: N801
    def forward(self, x):
        return self.head(self.forward_features(x)[:, 0])


@mistake(VIT, "The model returns probabilities. Cross-entropy takes the softmax itself; twice flattens the gradient.")
class softmax_in_forward(ref.VisionTransformer):  # noqa: N801
    def forward(self, x):
        return super().forward(x).softmax(-1)


class _Rates(ref.VisionTransformer):
    """Blocks made by `make(dim, heads, rates)`."""

    def __init__(self, img_size=224, patch_size=16, in_chans=3, num_classes=1000, embed_dim=768, depth=12, num_heads=12,
                 drop_path=0.0):  # fmt: skip
        super().__init__(img_size, patch_size, in_chans, num_classes, embed_dim, depth, num_heads, drop_path)
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        del self.blocks
        self.blocks = self.make(embed_dim, num_heads, rates)

    def make(self, dim, heads, rates):
        raise NotImplementedError


@mistake(VIT, "All blocks are one and the same object: depth costs time but adds no parameters.")
class shared_blocks(_Rates):  # noqa: N801
    def make(self, dim, heads, rates):
        return nn.Sequential(*[ref.Block(dim, heads, drop_path=max(rates, default=0.0))] * len(rates))


@mistake(VIT, "The blocks are in a Python list: `parameters()` does not see them, so they are never trained or saved.")
class python_list(_Rates):  # noqa: N801
    def make(self, dim, heads, rates):
        return [ref.Block(dim, heads, drop_path=rate) for rate in rates]

    def forward_features(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


@mistake(VIT, "Every block has the same probability of stochastic depth. It grows linearly from 0 to the last block's.")
class same_rate(_Rates):  # noqa: N801
    def make(self, dim, heads, rates):
        return nn.Sequential(*(ref.Block(dim, heads, drop_path=max(rates)) for _ in rates))


@mistake(VIT, "The blocks never get their probability of stochastic depth, so `drop_path` does nothing.")
class rates_unused(_Rates):  # noqa: N801
    def make(self, dim, heads, rates):
        return nn.Sequential(*(ref.Block(dim, heads) for _ in rates))


@alternative(VIT, "ModuleList and a loop; the class token by repeat; mean by AdaptiveAvgPool")
class module_list(_Rates):  # noqa: N801
    def make(self, dim, heads, rates):
        return nn.ModuleList([ref.Block(dim, heads, drop_path=rate) for rate in rates])

    def forward_features(self, x):
        x = torch.cat((self.cls_token.repeat(len(x), 1, 1), self.patch_embed(x)), dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, x):
        x = self.forward_features(x)
        mean = nn.AdaptiveAvgPool1d(1)(x[:, 1:].transpose(1, 2)).flatten(1)
        return self.head(mean if self.global_pool == "avg" else x[:, 0])


@alternative(VIT, "positions first, the class token with its own; tokens written into an allocated tensor")
class allocated(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        patches = self.patch_embed(x)
        tokens = patches.new_empty(patches.shape[0], patches.shape[1] + 1, patches.shape[2])
        tokens[:, 1:] = patches + self.pos_embed[:, 1:]
        tokens[:, 0] = self.cls_token[:, 0] + self.pos_embed[:, 0]
        return self.norm(self.blocks(tokens))


@alternative(VIT, "einops for the class token and the mean")
class with_einops(ref.VisionTransformer):  # noqa: N801
    def forward_features(self, x):
        cls = repeat(self.cls_token, "1 1 d -> b 1 d", b=x.shape[0])
        return self.norm(self.blocks(torch.hstack([cls, self.patch_embed(x)]) + self.pos_embed))

    def forward(self, x):
        cls, patches = self.forward_features(x).split_with_sizes([1, self.pos_embed.shape[1] - 1], dim=1)
        return self.head(reduce(patches, "b n d -> b d", "mean") if self.global_pool == "avg" else cls.squeeze(1))


@alternative(VIT, "an extra argument, and the head applied to all tokens before choosing")
class head_first(ref.VisionTransformer):  # noqa: N801
    def __init__(self, *args, extra=None, **settings):
        super().__init__(*args, **settings)
        self.extra = extra

    def forward(self, x):
        logits = self.head(self.forward_features(x))  # the head is linear: the mean may come after it
        return logits[:, 1:].mean(1) if self.global_pool == "avg" else logits[:, 0]


# -------------------------------------------------------------------------------------------------- count_parameters


def _count(config, *, vectors=0, final=2, heads=1, qkv_bias=1, bias=1, norms=2, proj=1, head_bias=1, chans=None, patches=None):  # fmt: skip
    """The formula with one term changed."""
    d, p, c = config.embed_dim, config.patch_size, chans or config.in_chans
    n = patches if patches is not None else (config.img_size // p) ** 2
    block = heads * (12 * d * d - (1 - proj) * (d * d + d)) + bias * (9 - 3 * (1 - qkv_bias)) * d
    block += norms * 2 * d
    return ((p * p * c + bias) * d + (n + 2 + vectors) * d + config.depth * block + final * d
            + (d + bias * head_bias) * config.num_classes)  # fmt: skip


@mistake(COUNT, "One vector of D numbers is missing: the class token, its position or the bias of the patch embedding.")
def one_vector_missing(config):
    return _count(config, vectors=-1)


@mistake(COUNT, "Two vectors of D numbers are missing: the final norm, or the class token and its position.")
def final_norm_missing(config):
    return _count(config, final=0)


@mistake(COUNT, "The biases of the linear layers are not counted.")
def no_biases(config):
    return _count(config, bias=0)


@mistake(COUNT, "The bias of qkv, 3D numbers in every block, is not counted.")
def no_qkv_bias(config):
    return _count(config, qkv_bias=0)


@mistake(COUNT, "Every block has two norms; one is counted.")
def one_norm_counted(config):
    return _count(config, norms=1)


@mistake(COUNT, "The norms of the blocks are not counted.")
def no_block_norms(config):
    return _count(config, norms=0)


@mistake(COUNT, "The attention's output projection is not counted.")
def no_projection(config):
    return _count(config, proj=0)


@mistake(COUNT, "The bias of the head is not counted.")
def no_head_bias(config):
    return _count(config, head_bias=0)


@mistake(COUNT, "The count grows with the number of heads. Heads share the width D: they cost no parameters.")
def counts_heads(config):
    return _count(config, heads=config.num_heads / 2)


@mistake(COUNT, "Only one row of patches has positions. There are (image side / patch side)² patches.")
def one_row_of_patches(config):
    return _count(config, patches=config.img_size // config.patch_size)


@mistake(COUNT, "A patch is counted as P² numbers. It holds P² numbers per channel.")
def one_channel(config):
    return _count(config, chans=1)


@alternative(COUNT, "built without memory on the meta device and counted")
def on_meta(config):
    with torch.device("meta"):
        return sum(p.numel() for p in ref.VisionTransformer(**asdict(config)).parameters())


@alternative(COUNT, "one polynomial")
def polynomial(config):
    D, n = config.embed_dim, (config.img_size // config.patch_size) ** 2
    each = 12 * D**2 + 13 * D
    pixels = config.in_chans * config.patch_size**2
    return config.depth * each + D * (pixels + n + 5) + config.num_classes * (D + 1)


@alternative(COUNT, "layer by layer, with helpers")
def layer_by_layer(config):
    def linear(a, b):
        return a * b + b

    d, total = config.embed_dim, 0
    total += linear(config.patch_size * config.patch_size * config.in_chans, d)
    total += d + d * (1 + config.img_size // config.patch_size * (config.img_size // config.patch_size))
    for _ in range(config.depth):
        total += 2 * d + linear(d, 3 * d) + linear(d, d) + 2 * d + linear(d, 4 * d) + linear(4 * d, d)
    return total + 2 * d + linear(d, config.num_classes)


# ---------------------------------------------------------------------------------------------------------- ConvStem


class _Stem(ref.ConvStem):
    """The reference in parts, so that each mistake changes one."""

    def stage(self, conv, norm, x):
        return norm(conv(x)).relu()

    def tokens(self, x):
        return x.flatten(2).transpose(1, 2)

    def last(self, x):
        return self.proj(x)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.stage(conv, norm, x)
        return self.tokens(self.last(x))


@mistake(STEM, "There is no ReLU between the convolutions, so in evaluation they act as one linear map.")
class no_relu(_Stem):  # noqa: N801
    def stage(self, conv, norm, x):
        return norm(conv(x))


@mistake(STEM, "The batch norms are not used.")
class no_norm(_Stem):  # noqa: N801
    def stage(self, conv, norm, x):
        return conv(x).relu()


@mistake(STEM, "The ReLU comes before the norm. The order is convolution, norm, ReLU.")
class relu_then_norm(_Stem):  # noqa: N801
    def stage(self, conv, norm, x):
        return norm(conv(x).relu())


@mistake(STEM, "A ReLU follows the last layer, so no token has a negative number in it.")
class relu_at_the_end(_Stem):  # noqa: N801
    def last(self, x):
        return self.proj(x).relu()


@mistake(STEM, "The result is a feature map. The blocks want tokens (B, N, D).")
class feature_map(_Stem):  # noqa: N801
    def tokens(self, x):
        return x


@mistake(STEM, "The axes are (B, D, N): the width must come last.")
class not_transposed(_Stem):  # noqa: N801
    def tokens(self, x):
        return x.flatten(2)


@mistake(STEM, "A reshape only relabels the numbers: every token mixes values of several places.")
class reshaped(_Stem):  # noqa: N801
    def tokens(self, x):
        return x.reshape(x.shape[0], -1, x.shape[1])


@mistake(STEM, "The tokens run down the columns, so they get each other's positions.")
class column_major(_Stem):  # noqa: N801
    def tokens(self, x):
        return x.permute(0, 3, 2, 1).flatten(1, 2)


@alternative(STEM, "flatten and transpose, ReLU as a function")
class flattened(_Stem):  # noqa: N801
    def stage(self, conv, norm, x):
        return F.relu(norm(conv(x)))


@alternative(STEM, "permute and reshape")
class permuted(_Stem):  # noqa: N801
    def tokens(self, x):
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])


@alternative(STEM, "the 1×1 convolution as a linear layer on tokens")
class linear_at_the_end(_Stem):  # noqa: N801
    def last(self, x):
        return x

    def tokens(self, x):
        return F.linear(super().tokens(x), self.proj.weight.flatten(1), self.proj.bias)


@alternative(STEM, "nn.Sequential over the stages")
class stages_in_sequence(ref.ConvStem):  # noqa: N801
    def forward(self, x):
        stages = [nn.Sequential(c, n, nn.ReLU()) for c, n in zip(self.convs, self.norms, strict=True)]
        return rearrange(nn.Sequential(*stages, self.proj)(x), "b d h w -> b (h w) d")
