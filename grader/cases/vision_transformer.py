"""Hidden cases of lesson 04."""

from __future__ import annotations

import torch

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


@case("vision_transformer.DropPath", points=1, about="tokens: share kept, factor, whole samples", atol=0.06, after=_dropping)
def tokens_dropped(answer, draw):
    return answer(draw.choice([0.2, 0.3])).train()(torch.ones(4000, 2, 3))


@case("vision_transformer.DropPath", points=1, about="any number of axes", atol=0.06, after=lambda v: [_dropping(p) for p in v])
def any_rank(answer, draw):
    layer = answer(draw.choice([0.25, 0.35])).train()
    return [layer(torch.ones(4000, 3)), layer(torch.ones(4000, 2, 3, 2))]
