"""Hidden cases of lesson 04."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vitcourse.probes import case, raised

# --------------------------------------------------------------------------------------------------------------- Mlp


@case("vision_transformer.Mlp", points=1, about="a batch of tokens, hidden width not four times the width")
def mlp_tokens(answer, draw):
    b, n, d, hidden = draw.sizes(4, low=2, high=9)
    return draw.scramble(answer(d, hidden)).eval()(2 * draw.normal(b, n, d))


@case("vision_transformer.Mlp", points=1, about="one picture, one token, many hidden units")
def mlp_single(answer, draw):
    return draw.scramble(answer(6, 48)).eval()(2 * draw.normal(1, 1, 6))


# ---------------------------------------------------------------------------------------------------------- DropPath


def _dropping(values):
    """What a random mask must have in common with every other: [share kept, factor, samples neither whole nor gone]."""
    y = torch.as_tensor(values).double().flatten(1)
    whole = y.amin(dim=1) == y.amax(dim=1)
    kept = y.amax(dim=1) != 0
    return [kept.double().mean(), y.max(), (~whole).double().mean(), torch.tensor(float(y.ndim))]


@case("vision_transformer.DropPath", points=1, about="evaluation leaves the branch alone")
def in_evaluation(answer, draw):
    return answer(0.3 + 0.1 * draw.integer(0, 4)).eval()(draw.normal(6, 3, 4))


@case("vision_transformer.DropPath", points=1, about="no dropping at probability 0, in training")
def zero_probability(answer, draw):
    return answer(0.0).train()(draw.normal(4, 3, 2)), raised(lambda: answer(1.0))


@case(
    "vision_transformer.DropPath",
    points=1,
    about="tokens: share kept, factor, whole samples",
    atol=0.06,
    after=_dropping,
)
def tokens_dropped(answer, draw):
    return answer(draw.choice([0.2, 0.3])).train()(torch.ones(4000, 2, 3))


@case(
    "vision_transformer.DropPath",
    points=1,
    about="any number of axes, and the usual rate 0.1",
    atol=0.06,
    after=lambda v: [_dropping(p) for p in v],
)
def any_rank(answer, draw):
    layer, usual = answer(draw.choice([0.25, 0.35])).train(), answer(0.1).train()
    return [layer(torch.ones(4000, 3)), layer(torch.ones(4000, 2, 3, 2)), usual(torch.ones(4000, 2))]


# ------------------------------------------------------------------------------------------------------------- Block


class _Scale(torch.nn.Module):
    """Stands in for DropPath, without chance."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def _block(answer, draw, dim, heads, branch=1.0):
    """The learner's block with an MLP and branches of our own, so that this exercise depends on no other."""
    block = answer(dim, heads)
    layers = {"fc1": torch.nn.Linear(dim, 4 * dim), "act": torch.nn.GELU(), "fc2": torch.nn.Linear(4 * dim, dim)}
    block.mlp, block.drop_path1, block.drop_path2 = (
        torch.nn.Sequential(OrderedDict(layers)),
        _Scale(branch),
        _Scale(branch),
    )
    return draw.scramble(block).eval()


@case("vision_transformer.Block", points=2, about="several pictures, heads and tokens")
def block_tokens(answer, draw):
    b, n, d, h = draw.sizes(4, low=2, high=6)
    return _block(answer, draw, d * h, h)(draw.normal(b, n, d * h))


@case("vision_transformer.Block", points=1, about="small inputs, where the eps of the norms counts")
def block_small(answer, draw):
    return _block(answer, draw, 12, 3)(draw.normal(2, 5, 12, std=0.01))


@case("vision_transformer.Block", points=1, about="the drop paths act on the branches")
def block_drop_path(answer, draw):
    return _block(answer, draw, 10, 2, branch=draw.choice([0.5, 0.25, 2.0]))(draw.normal(3, 4, 10))


@case("vision_transformer.Block", points=1, about="one picture; another MLP ratio keeps its shapes")
def block_single(answer, draw):
    widths = {name: list(p.shape) for name, p in answer(8, 2, mlp_ratio=2.0).named_parameters() if "mlp" in name}
    return _block(answer, draw, 8, 4)(draw.normal(1, 6, 8)), widths


# ------------------------------------------------------------------------------------------------- VisionTransformer


def _model(answer, draw, mixers=0):
    """The learner's model, with torch's encoder layers for blocks, so that this exercise depends on no other."""
    p, c, k, d = draw.sizes(4, low=2, high=6)
    rows, columns = draw.sizes(2, low=2, high=4)
    model = answer(img_size=(rows * p, columns * p), patch_size=p, in_chans=c, num_classes=k, embed_dim=2 * d, depth=0,
                   num_heads=2)  # fmt: skip
    layers = [torch.nn.TransformerEncoderLayer(2 * d, 2, 8 * d, 0.0, F.gelu, 1e-6, True, True) for _ in range(mixers)]
    model.blocks = torch.nn.Sequential(*layers)
    return draw.scramble(model).eval(), (c, rows * p, columns * p)


@case("vision_transformer.VisionTransformer", points=2, about="tokens: class token, positions, norm; images not square")
def vit_tokens(answer, draw):
    model, size = _model(answer, draw)
    with torch.no_grad():
        return model.forward_features(draw.normal(3, *size))


@case("vision_transformer.VisionTransformer", points=1, about="tokens through two blocks, one picture", atol=5e-5)
def vit_blocks(answer, draw):
    model, size = _model(answer, draw, mixers=2)
    with torch.no_grad():
        return model.forward_features(draw.normal(1, *size))


@case("vision_transformer.VisionTransformer", points=2, about="logits read from the class token", atol=5e-5)
def vit_logits(answer, draw):
    model, size = _model(answer, draw, mixers=1)
    with torch.no_grad():
        return model(draw.normal(4, *size))


@case("vision_transformer.VisionTransformer", points=1, about="logits read from the mean of the patches", atol=5e-5)
def vit_mean_pool(answer, draw):
    model, size = _model(answer, draw, mixers=1)
    model.global_pool = "avg"
    with torch.no_grad():
        return model(draw.normal(2, *size))


@case(
    "vision_transformer.VisionTransformer", points=1, about="names and shapes of all parameters at depth 3", beside=True
)
def vit_parameters(answer, draw):
    model = answer(img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=6, depth=3, num_heads=2)
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}


@case("vision_transformer.VisionTransformer", points=1, about="stochastic depth grows from block to block")
def vit_rates(answer, draw):
    last = draw.choice([0.1, 0.2, 0.3])
    model = answer(
        img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=6, depth=4, num_heads=2, drop_path=last
    )
    return [float(block.drop_path1.drop_prob) for block in model.blocks]


# -------------------------------------------------------------------------------------------------- count_parameters


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


def _drawn(draw, **fixed):
    grid, p, c, k, d = draw.sizes(5, low=2, high=9)
    return _Config(**{"img_size": grid * p, "patch_size": p, "in_chans": c, "num_classes": 10 + k, "embed_dim": 6 * d,
                      "depth": draw.integer(2, 5), "num_heads": draw.choice([2, 3, 6])} | fixed)  # fmt: skip


@case("vision_transformer.count_parameters", points=2, about="small models")
def count_small(answer, draw):
    return [int(answer(_drawn(draw))) for _ in range(4)]


@case("vision_transformer.count_parameters", points=1, about="grey pictures, one block")
def count_grey(answer, draw):
    return int(answer(_drawn(draw, in_chans=1, depth=1)))


@case("vision_transformer.count_parameters", points=1, about="the sizes of ViT-L and ViT-H at another resolution")
def count_large(answer, draw):
    side = 14 * draw.integer(16, 37)
    return [int(answer(_Config(img_size=side, patch_size=14, embed_dim=d, depth=L, num_heads=16)))
            for d, L in ((1024, 24), (1280, 32))]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- ConvStem


@case("vision_transformer.ConvStem", points=1, about="pictures that are not square")
def stem_tokens(answer, draw):
    b, c, h, w = draw.sizes(4, low=2, high=5)
    with torch.no_grad():
        return draw.scramble(answer(c, 16)).eval()(draw.normal(b, c, 8 * h, 8 * w))


@case("vision_transformer.ConvStem", points=1, about="one picture whose sides 8 does not divide")
def stem_odd(answer, draw):
    with torch.no_grad():
        return draw.scramble(answer(1, 12)).eval()(draw.normal(1, 1, 28, draw.choice([35, 37, 44])))


@case("vision_transformer.ConvStem", points=1, about="training mode, with the batch's own statistics")
def stem_training(answer, draw):
    with torch.no_grad():
        return draw.scramble(answer(3, 8)).train()(draw.normal(4, 3, 24, 40))
