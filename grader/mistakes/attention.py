"""The catalogue of lesson 03."""

from grader.mistakes import alternative, mistake

SDPA = "attention.scaled_dot_product_attention"


@mistake(SDPA, "The scores are not divided by √d, so the softmax saturates as d grows.")
def no_scale(q, k, v):
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return weights @ v, weights


@mistake(SDPA, "The softmax runs over the queries, so a query's weights do not sum to 1.")
def softmax_over_queries(q, k, v):
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-2)
    return weights @ v, weights


@alternative(SDPA, "scale shared between q and k")
def fourth_roots(q, k, v):
    root = q.shape[-1] ** -0.25
    weights = ((q * root) @ (k * root).transpose(-2, -1)).softmax(-1)
    return weights @ v, weights
