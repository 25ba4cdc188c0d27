"""Visible checks and questions of lesson 04."""

from __future__ import annotations

import types
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse.checking import close, differs, gradients_reach, images, normal, require, scramble, shape, visible_check

NO_BRANCH = "A block that hardly changes anything"
EXTRA_LN = "Almost right, off in the fourth digit"


# ------------------------------------------------------------------------------------------------------------- Mlp


@visible_check("vision_transformer.Mlp")
def mlp(answer: Any) -> None:
    layer = scramble(answer(3, 5)).eval()
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
    count, rate = 4000, 0.2
    layer = answer(rate).train()
    ones = torch.ones(count, 3, 2)
    y = shape(layer(ones), (count, 3, 2), "the shape does not change").flatten(1)
    require((y == 0).any(), "with drop_prob 0.2 not one of 4000 samples was dropped", hint=2)
    kept = y.amax(dim=1) > 0
    require(kept.any(), "with drop_prob 0.2 all of 4000 samples were dropped at once: toss a coin for each sample", hint=2,
            mistake="per_batch")  # fmt: skip
    require(not kept.all() or ((y == 0).any(dim=0) == (y == 0).all(dim=0)).all(),
            "samples lose some of their numbers, not the whole branch: one coin decides for a whole sample", hint=2)  # fmt: skip
    whole = (y.amin(dim=1) == y.amax(dim=1)).all()
    tokenwise = (ones[:, :, :1] * y.view(count, 3, 2)).std(dim=2).amax() == 0
    require(whole or not tokenwise, "single tokens are dropped: one coin decides for all tokens of a sample", hint=2,
            mistake="per_token")  # fmt: skip
    require(whole, "single numbers are dropped, as in dropout: one coin decides for a whole sample", hint=2,
            mistake="per_element")  # fmt: skip
    share = kept.double().mean().item()
    require(abs(share - rate) > 0.05, f"{share:.0%} of the samples are kept: drop_prob 0.2 drops 20 % of them, it does "
            "not keep 20 %", hint=3, mistake="keeps_with_p")  # fmt: skip
    require(abs(share - (1 - rate)) < 0.05, f"{share:.0%} of the samples are kept, expected about 80 %", hint=3)
    largest = y.max().item()
    require(abs(largest - 1) > 1e-4, "the kept samples are not divided by 1 − drop_prob, so the mean shrinks in training",
            hint=3, mistake="no_rescaling")  # fmt: skip
    require(abs(largest - 1 / (1 - rate)) < 1e-4, "kept samples must be divided by 1 − drop_prob = 0.8, so a 1 becomes "
            f"1.25; yours becomes {largest:.3g}", hint=3)  # fmt: skip
    shape(layer(normal(4, 6)), (4, 6), "it must work for any number of axes")
    shape(layer(normal(4, 2, 3, 5)), (4, 2, 3, 5), "it must work for any number of axes")
