"""Hidden cases of lesson 05. Losses are asked at T = 3 and λ = 0.3: at T = 1, λ = 0.5 several wrong ones agree."""

from typing import Any

import torch
from torch import nn

from vitcourse.probes import case

SMOOTH = "deit_distillation.smooth_labels"
MIXUP = "deit_distillation.mixup"
ASK = "deit_distillation.ask_teacher"
SOFT = "deit_distillation.soft_distillation_loss"
HARD = "deit_distillation.hard_distillation_loss"
MODEL = "deit_distillation.DistilledVisionTransformer"

# --------------------------------------------------------------------------- label smoothing, Mixup


@case(SMOOTH, points=1, about="targets of a batch, B ≠ K")
def batch(answer, draw):
    b, k = draw.sizes(2, low=3, high=9)
    return answer(draw.integers(b, low=0, high=k - 1), k, 0.1 + 0.3 * draw.uniform(1).item())


@case(SMOOTH, points=0.5, about="one picture, two classes")
def one_picture(answer, draw):
    return answer(draw.integers(1, low=0, high=1), 2, 0.3)


@case(SMOOTH, points=0.5, about="the ends ε = 0 and ε = 1")
def ends(answer, draw):
    labels = draw.integers(3, low=0, high=4)
    return [answer(labels, 5, 0.0), answer(labels, 5, 1.0)]


def _cycle(draw, b):
    """A permutation whose inverse is another one: a cycle through all b ≥ 3 pictures in random order."""
    order = torch.randperm(b, generator=draw.generator)
    partners = torch.empty_like(order)
    partners[order] = order.roll(-1)
    return partners.to(draw.device)


@case(MIXUP, points=1, about="images and targets of a batch")
def blend(answer, draw):
    b, c, h, w, k = draw.sizes(5, low=3, high=8)
    lam = 0.2 + 0.2 * draw.uniform(1).item()
    mixed, targets = answer(draw.normal(b, c, h, w), draw.normal(b, k).softmax(-1), lam, _cycle(draw, b))
    return [mixed, targets]


@case(MIXUP, points=0.5, about="the inputs stay as they were")
def inputs_kept(answer, draw):
    images, targets = draw.normal(4, 2, 3, 5), draw.normal(4, 6).softmax(-1)
    mixed, blended = answer(images, targets, 0.3, _cycle(draw, 4))
    return [mixed, blended, images, targets]


@case(MIXUP, points=0.5, about="one picture, and the ends λ = 0 and λ = 1")
def edges(answer, draw):
    images, targets, partners = draw.normal(3, 1, 4, 2), draw.normal(3, 4).softmax(-1), _cycle(draw, 3)
    alone = answer(images[:1].clone(), targets[:1].clone(), 0.3, partners[:1] * 0)
    return [list(answer(images.clone(), targets.clone(), lam, partners)) for lam in (0.0, 1.0)] + [list(alone)]


# --------------------------------------------------------------------------- the teacher


class _Teacher(nn.Sequential):
    """A convnet with batch norm in its layers and dropout of its own: it shows which modules are in training mode."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.4, self.training))


def _teacher(draw, channels, classes):
    norm: Any = nn.BatchNorm2d(6)
    layers = (nn.Conv2d(channels, 6, 3, padding=1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    teacher = draw.scramble(_Teacher(*layers, nn.Linear(6, classes)))
    norm.running_mean.copy_(draw.normal(6))
    norm.running_var.copy_(draw.uniform(6, low=0.5, high=2))
    return teacher


@case(ASK, points=1, about="a teacher left in training mode: logits and batch-norm statistics")
def from_training_mode(answer, draw):
    b, c, k, h, w = draw.sizes(5, low=3, high=9)
    teacher = _teacher(draw, c, k).train()
    logits = answer(teacher, draw.normal(b, c, h, w))
    return [logits, teacher[1].running_mean, teacher[1].running_var, teacher[1].num_batches_tracked]


@case(ASK, points=0.5, about="no gradient is recorded")
def no_gradient(answer, draw):
    logits = answer(_teacher(draw, 2, 5).eval(), draw.normal(3, 2, 4, 6))
    return [logits, logits.requires_grad]


@case(ASK, points=0.5, about="one picture")
def single(answer, draw):
    return answer(_teacher(draw, 3, 4).train(), draw.normal(1, 3, 5, 4))


# --------------------------------------------------------------------------- the losses


def _logits(draw, low=4, high=9):
    b, k = draw.sizes(2, low=low, high=high)
    return b, k, [draw.normal(b, k, std=2) for _ in range(3)]


def _shifted(draw, teacher):
    """Labels on which the teacher is wrong for every picture."""
    b, k = teacher.shape
    return (teacher.argmax(-1) + draw.integers(b, low=1, high=k - 1)) % k


@case(SOFT, points=2, about="T = 3, λ = 0.3")
def soft_loss(answer, draw):
    _, _, (cls, dist, teacher) = _logits(draw)
    return answer(cls, dist, teacher, _shifted(draw, teacher), 3.0, 0.3)


@case(SOFT, points=1, about="gradients: to both heads, none to the teacher")
def soft_gradients(answer, draw):
    _, _, logits = _logits(draw)
    labels = _shifted(draw, logits[2])
    leaves = [x.requires_grad_() for x in logits]
    answer(*leaves, labels, 3.0, 0.3).backward()
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]


@case(SOFT, points=1, about="other T and λ, by keyword; one picture")
def soft_settings(answer, draw):
    _, _, (cls, dist, teacher) = _logits(draw)
    labels = _shifted(draw, teacher)
    other = answer(cls, dist, teacher, labels, temperature=1.7, lam=0.8)
    return [other, answer(cls[:1], dist[:1], teacher[:1], labels[:1], 3.0, 0.3)]


@case(SOFT, points=1, about="probabilities as labels, as Mixup makes them")
def soft_mixed_labels(answer, draw):
    b, k, (cls, dist, teacher) = _logits(draw)
    return answer(cls, dist, teacher, draw.normal(b, k).softmax(-1), 3.0, 0.3)


@case(HARD, points=1, about="the teacher disagrees with the labels")
def hard_loss(answer, draw):
    _, _, (cls, dist, teacher) = _logits(draw)
    return answer(cls, dist, teacher, _shifted(draw, teacher))


@case(HARD, points=1, about="gradients: to both heads, none to the teacher; one picture")
def hard_gradients(answer, draw):
    _, _, logits = _logits(draw)
    labels = _shifted(draw, logits[2])
    leaves = [x.requires_grad_() for x in logits]
    loss = answer(*leaves, labels)
    loss.backward()
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]
    return [*grads, answer(*[x.detach()[:1] for x in leaves], labels[:1])]


@case(HARD, points=1, about="probabilities as labels, as Mixup makes them")
def hard_mixed_labels(answer, draw):
    b, k, (cls, dist, teacher) = _logits(draw)
    return answer(cls, dist, teacher, draw.normal(b, k).softmax(-1))


# --------------------------------------------------------------------------- the model


def _model(answer, draw, classes=5):
    rows, columns = draw.sizes(2, low=2, high=4)  # H ≠ W
    size = (4 * rows, 4 * columns)
    model = answer(img_size=size, patch_size=4, in_chans=2, num_classes=classes, embed_dim=12, depth=2, num_heads=3)
    return draw.scramble(model).eval(), draw.normal(3, 2, *size)


@case(MODEL, points=2, about="the tokens: class, distillation, patches, with positions", atol=5e-5)
def tokens(answer, draw):
    model, x = _model(answer, draw)
    return model.forward_features(x)


@case(MODEL, points=1, about="training mode: the pair of logits", atol=5e-5)
def pair(answer, draw):
    model, x = _model(answer, draw)
    out = model.train()(x)
    return list(out) if isinstance(out, (tuple, list)) else out


@case(MODEL, points=2, about="evaluation mode: the mean of both logits; one picture", atol=5e-5)
def mean(answer, draw):
    model, x = _model(answer, draw)
    outs = [model(x), model(x[:1])]
    return [list(out) if isinstance(out, (tuple, list)) else out for out in outs]


@case(
    MODEL, points=1, about="gradients of each loss: which parameters does a head's logit move?", atol=5e-5, beside=True
)
def who_learns(answer, draw):
    model, x = _model(answer, draw)
    pair = model.train()(x)
    found = []
    for logits in pair:
        model.zero_grad()
        logits.square().sum().backward(retain_graph=True)
        for p in (model.cls_token, model.dist_token, model.head.weight, model.head_dist.weight):
            size = 0.0 if p.grad is None else float(p.grad.abs().sum())
            found.append(size > 0)
    return found
