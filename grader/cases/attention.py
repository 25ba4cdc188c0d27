"""Hidden cases of lesson 03."""

import torch

from vitcourse.probes import case, raised

SDPA = "attention.scaled_dot_product_attention"
SPLIT = "attention.split_heads"
MERGE = "attention.merge_heads"
MODULE = "attention.Attention"
MASKED = "attention.masked_attention_weights"
DISTANCE = "attention.attention_distance"
ROLLOUT = "attention.attention_rollout"


@case(SDPA, points=2, about="different numbers of queries and keys")
def cross_lengths(answer, draw):
    b, h, n, m, d = draw.sizes(5, low=2, high=9)
    return answer(draw.normal(b, h, n, d), draw.normal(b, h, m, d), draw.normal(b, h, m, d))


@case(SDPA, points=1, about="large scores stay finite")
def large_scores(answer, draw):
    q = 1e3 * draw.normal(2, 2, 3, 8)
    return answer(q, q, q)


@case(SDPA, points=1, about="gradients of queries, keys and values", atol=1e-4)
def gradients(answer, draw):
    n, m, d = draw.sizes(3, low=3, high=7)
    leaves = [draw.normal(1, 2, rows, d).requires_grad_() for rows in (n, m, m)]
    mixed = answer(*leaves)[0]
    return list(torch.autograd.grad((mixed * draw.normal(1, 2, n, d)).sum(), leaves))


@case(SPLIT, points=1, about="tokens of several pictures, sizes all different")
def split_sizes(answer, draw):
    b, n, h, d = draw.sizes(4, low=2, high=6)
    return answer(draw.normal(b, n, h * d), h)


@case(SPLIT, points=0.5, about="one picture, one head")
def split_one(answer, draw):
    n, d = draw.sizes(2, low=2, high=7)
    return [answer(draw.normal(1, n, d), 1), answer(draw.normal(1, n, 2 * d), num_heads=2)]


@case(SPLIT, points=0.5, about="a width that the heads do not divide")
def split_error(answer, draw):
    n, d, h = draw.integer(2, 5), draw.integer(2, 4), draw.integer(3, 4)
    return [raised(lambda: answer(draw.normal(2, n, h * d + 1), h)), answer(draw.normal(2, n, h * d), h).shape]


@case(MERGE, points=1, about="heads of several pictures, sizes all different")
def merge_sizes(answer, draw):
    return answer(draw.normal(*draw.sizes(4, low=2, high=6)))


@case(MERGE, points=0.5, about="one picture")
def merge_one(answer, draw):
    h, n, d = draw.sizes(3, low=2, high=6)
    return answer(draw.normal(1, h, n, d))


@case(MERGE, points=0.5, about="input that does not lie contiguously in memory")
def merge_strided(answer, draw):
    b, h, n, d = draw.sizes(4, low=2, high=6)
    return answer(draw.normal(b, n, h, d).transpose(1, 2))


def _module(answer, draw, dim, heads, **options):
    return draw.scramble(answer(dim, num_heads=heads, **options)).eval()


@case(MODULE, points=2, about="the output, for sizes all different", atol=2e-5)
def module_output(answer, draw):
    b, n, h, d = draw.sizes(4, low=2, high=7)
    return _module(answer, draw, h * d, h)(draw.normal(b, n, h * d))


@case(MODULE, points=1, about="one picture, no bias in qkv", atol=2e-5)
def module_one(answer, draw):
    n, h, d = draw.sizes(3, low=2, high=7)
    return _module(answer, draw, h * d, h, qkv_bias=False)(draw.normal(1, n, h * d))


@case(MODULE, points=2, about="the attention weights of every head", atol=2e-5)
def module_weights(answer, draw):
    b, n, h, d = draw.sizes(4, low=2, high=7)
    module = _module(answer, draw, h * d, h)
    return module.attention_weights(draw.normal(b, n, h * d))


@case(MODULE, points=1, about="gradients, and heads that do not divide the width", atol=1e-4)
def module_gradients(answer, draw):
    h, n, d = draw.sizes(3, low=2, high=5)
    module, x = _module(answer, draw, h * d, h), draw.normal(2, n, h * d).requires_grad_()
    (module(x) * draw.normal(2, n, h * d)).sum().backward()
    found = [x.grad, *(p.grad for _, p in sorted(module.named_parameters()))]
    return [raised(lambda: answer(h * d + 1, h)), [torch.zeros(()) if g is None else g for g in found]]


@case(MASKED, points=1, about="a random mask, another for each picture")
def random_mask(answer, draw):
    b, h, n, m = draw.sizes(4, low=2, high=8)
    allowed = draw.uniform(b, 1, n, m) < 0.5
    allowed[..., 0] = True
    return answer(draw.normal(b, h, n, m), allowed)


@case(MASKED, points=1, about="padding: each picture has its own number of keys")
def padding_mask(answer, draw):
    b, h, n, m = draw.sizes(4, low=3, high=7)
    allowed = torch.arange(m, device=draw.device) < draw.integers(b, 1, 1, 1, low=1, high=m - 1)
    return answer(draw.normal(b, h, n, m) - 3, allowed)


@case(MASKED, points=1, about="one picture, each token sees itself and what stands before it")
def causal_mask(answer, draw):
    n = draw.integer(4, 9)
    return answer(draw.normal(1, 2, n, n), torch.ones(n, n, dtype=torch.bool, device=draw.device).tril())


def _weights(draw, *shape):
    return (2 * draw.normal(*shape)).softmax(-1)


@case(DISTANCE, points=1, about="a grid that is not square")
def distance_grid(answer, draw):
    b, h, rows, columns = draw.sizes(4, low=2, high=6)
    return answer(_weights(draw, b, h, rows * columns, rows * columns), (rows, columns))


@case(DISTANCE, points=1, about="one picture, a single row of patches")
def distance_row(answer, draw):
    n = draw.integer(3, 8)
    return [answer(_weights(draw, 1, 2, n, n), (1, n)), answer(_weights(draw, 1, 2, n, n), (n, 1))]


@case(DISTANCE, points=1, about="the class token left in", beside=True)
def distance_error(answer, draw):
    rows, columns = draw.sizes(2, low=2, high=4)
    wrong, right = rows * columns + 1, rows * columns
    weights = _weights(draw, 2, 3, right, right)
    return [
        raised(lambda: answer(_weights(draw, 2, 3, wrong, wrong), (rows, columns))), answer(weights, (rows, columns)).shape
    ]  # fmt: skip


@case(ROLLOUT, points=2, about="several layers and heads")
def rollout_layers(answer, draw):
    b, h, n, layers = draw.sizes(4, low=2, high=6)
    return answer([_weights(draw, b, h, n, n) for _ in range(layers)])


@case(ROLLOUT, points=1, about="one layer, one picture")
def rollout_one(answer, draw):
    h, n = draw.sizes(2, low=2, high=7)
    return answer([_weights(draw, 1, h, n, n)])


@case(ROLLOUT, points=1, about="sharp attention: the order of the layers shows")
def rollout_order(answer, draw):
    n = draw.integer(4, 8)
    return answer([(9 * draw.normal(2, 2, n, n)).softmax(-1) for _ in range(3)])
