"""Hidden cases of lesson 08."""

import torch

from vitcourse.probes import case, raised

GRID = "dense_prediction.tokens_to_grid"
LINEAR = "dense_prediction.LinearHead"
PYRAMID = "dense_prediction.simple_pyramid"
FPN = "dense_prediction.FPNHead"
CONFUSION = "dense_prediction.confusion_matrix"
MIOU = "dense_prediction.mean_iou"


def _tokens(draw, prefix, batch=None):
    b, h, w, d = draw.sizes(4, low=2, high=7)
    b = batch or b
    return draw.normal(b, prefix + h * w, d), (h, w)


@case(GRID, points=1, about="one class token, grids that are not square")
def class_token(answer, draw):
    tokens, grid = _tokens(draw, 1)
    return answer(tokens, grid)


@case(GRID, points=0.5, about="no prefix token or two of them, a batch of one")
def other_prefixes(answer, draw):
    none, grid = _tokens(draw, 0, batch=1)
    two, other = _tokens(draw, 2)
    return answer(none, grid, num_prefix_tokens=0), answer(two, other, num_prefix_tokens=2)


@case(GRID, points=0.5, about="a number of tokens that does not fit the grid is refused")
def wrong_count(answer, draw):
    tokens, (h, w) = _tokens(draw, 1)
    few, many = raised(lambda: answer(tokens[:, :-1], (h, w))), raised(lambda: answer(tokens, (h, w - 1)))
    return few, many, answer(tokens, (h, w))


def _linear(answer, draw, batch=None):
    b, d, k = draw.sizes(3, low=2, high=8)
    module = draw.scramble(answer(d, k)).eval()
    h, w = draw.sizes(2, low=3, high=6)
    return module, draw.normal(batch or b, d, h, w)


@case(LINEAR, points=1, about="logits at a larger size that is no multiple of the map")
def up(answer, draw):
    module, features = _linear(answer, draw)
    size = draw.sizes(2, low=13, high=23)
    return module(features, tuple(size))


@case(LINEAR, points=0.5, about="a batch of one, the size of the map itself")
def same_size(answer, draw):
    module, features = _linear(answer, draw, batch=1)
    return module(features, tuple(features.shape[-2:]))


@case(LINEAR, points=0.5, about="gradients reach the weights and the features")
def gradients(answer, draw):
    module, features = _linear(answer, draw)
    features.requires_grad_()
    (module(features, (17, 11)) ** 2).sum().backward()
    return [features.grad, *(p.grad for _, p in sorted(module.named_parameters()))]


@case(PYRAMID, points=1, about="three levels, sides that do not halve evenly")
def three_levels(answer, draw):
    b, d = draw.sizes(2, low=2, high=5)
    h, w = draw.sizes(2, low=8, high=15)
    return answer(draw.normal(b, d, h, w), 3)


@case(PYRAMID, points=1, about="one, two and four levels, a batch of one")
def other_levels(answer, draw):
    h, w = draw.sizes(2, low=16, high=25)
    features = draw.normal(1, draw.integer(2, 5), h, w)
    return answer(features, 1), answer(features, 2), answer(features, levels=4)


def _fpn(answer, draw, levels, batch=None):
    dims = draw.sizes(levels, low=2, high=9)
    dim, classes = draw.sizes(2, low=3, high=7)
    module = draw.scramble(answer(dims, dim, classes)).eval()
    b, (h, w) = batch or draw.integer(2, 3), draw.sizes(2, low=3, high=5)
    sizes = [(h * 2**i, w * 2**i) for i in reversed(range(levels))]
    return module, [draw.normal(b, c, *size) for c, size in zip(dims, sizes, strict=True)]


@case(FPN, points=2, about="three levels, maps that are not square, a size that is no multiple")
def three(answer, draw):
    module, pyramid = _fpn(answer, draw, 3)
    return module(pyramid, tuple(draw.sizes(2, low=29, high=43)))


@case(FPN, points=1, about="two levels whose sides are not doubles of each other")
def odd_sides(answer, draw):
    module, (fine, coarse) = _fpn(answer, draw, 2)
    return module([fine[..., :-1, :-1], coarse], (19, 31))


@case(FPN, points=1, about="one level, a batch of one")
def single(answer, draw):
    module, pyramid = _fpn(answer, draw, 1, batch=1)
    return module(pyramid, (14, 9))


@case(FPN, points=1, about="the pyramid it is given stays unchanged, gradients reach every level", atol=1e-4)
def untouched(answer, draw):
    module, pyramid = _fpn(answer, draw, 3)
    leaves = [x.requires_grad_() for x in pyramid]
    given = list(leaves)
    (module(given, (23, 17)) ** 2).mean().backward()
    kept = [torch.equal(a, b) for a, b in zip(given, leaves, strict=True)]
    return [x.grad for x in leaves], kept


def _labels(draw, classes, batch=None, ignore=None):
    b, h, w = draw.sizes(3, low=3, high=8)
    shape = (batch or b, h, w)
    prediction, target = draw.integers(*shape, high=classes - 1), draw.integers(*shape, high=classes - 1)
    if ignore is not None:
        target[draw.uniform(*shape) < 0.3] = ignore
    return prediction, target


@case(CONFUSION, points=1, about="rows are true classes, columns predicted ones")
def counts(answer, draw):
    classes = draw.integer(3, 6)
    prediction, target = _labels(draw, classes)
    return answer(prediction, target, classes)


@case(CONFUSION, points=1, about="pixels to ignore do not count, whatever their mark")
def ignored(answer, draw):
    first, second = _labels(draw, 4, ignore=255), _labels(draw, 5, ignore=77)
    return answer(*first, 4), answer(*second, 5, ignore_index=77)


@case(CONFUSION, points=1, about="classes that do not occur still have their row and column, a batch of one")
def absent(answer, draw):
    prediction, target = _labels(draw, 2, batch=1)
    nothing = torch.full_like(target, 255)
    return answer(prediction, target, 6), answer(prediction, nothing, 3)


@case(MIOU, points=1, about="all classes occur")
def all_occur(answer, draw):
    classes = draw.integer(3, 7)
    return float(answer(draw.integers(classes, classes, low=1, high=50)))


@case(MIOU, points=1, about="classes that occur nowhere do not count")
def some_absent(answer, draw):
    confusion = draw.integers(6, 6, low=1, high=50)
    for gone in (1, 4):
        confusion[gone], confusion[:, gone] = 0, 0
    return float(answer(confusion))


@case(MIOU, points=1, about="a class that occurs but is never found counts as 0, and so does one that is only invented")
def never_found(answer, draw):
    confusion = draw.integers(5, 5, low=1, high=50)
    confusion[:, 2] = 0  # class 2 is there and never predicted
    confusion[3] = 0  # class 3 is predicted and never there
    one_pixel = torch.tensor([[draw.integer(1, 9), 1], [0, 0]])  # class 1 is invented at a single pixel
    exact = torch.diag(draw.integers(4, low=1, high=9))
    return float(answer(confusion)), float(answer(exact)), float(answer(one_pixel))
