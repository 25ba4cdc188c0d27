"""The catalogue of lesson 04."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from grader.mistakes import alternative, mistake
from solutions import vision_transformer as ref

MLP = "vision_transformer.Mlp"
DROP = "vision_transformer.DropPath"

# --------------------------------------------------------------------------------------------------------------- Mlp


@mistake(MLP, "There is no activation between the two layers, so together they are one linear map.")
class no_activation(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(self.fc1(x))


@mistake(MLP, "The activation is ReLU. ViT uses GELU, which lets a little of the negative side through.")
class relu(ref.Mlp):  # noqa: N801
    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


@mistake(MLP, "This is the tanh approximation of GELU. Published ViT weights were trained with the exact one; logits shift in the fourth digit.")
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


@mistake(DROP, "The kept samples are not divided by 1 − drop_prob, so the branch is weaker in training than in evaluation.")
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
        return torch.stack([s / (1 - self.drop_prob) if k else torch.zeros_like(s) for s, k in zip(x, kept, strict=True)])
