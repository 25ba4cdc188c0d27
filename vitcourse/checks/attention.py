"""Visible checks and questions of lesson 03."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from vitcourse.checking import close, differs, normal, shape, visible_check
from vitcourse.quiz import question

question(
    "attention.scores_shape",
    right="2x3",
    why="One row per query, one column per key.",
    wrong={"3x2": "That is keys × queries. Queries come first: each row is one query's view of all keys."},
)


@visible_check("attention.scaled_dot_product_attention")
def scaled_dot_product_attention(answer: Callable[..., tuple[Tensor, Tensor]]) -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 4, seed=2)  # five queries, seven keys
    mixed, weights = answer(q, k, v)
    weights = shape(weights, (2, 3, 5, 7), "the weights have one row per query and one column per key", hint=1)
    close(
        weights.sum(-1),
        1.0,
        "each query's weights must sum to 1: which axis holds the keys?",
        mistake="softmax_over_queries",
    )
    differs(
        mixed,
        sdpa(q, k, v, scale=1.0),
        "this equals attention without the scale: divide the scores by √d",
        hint=3,
        mistake="no_scale",
    )
    close(mixed, sdpa(q, k, v), "the weights are right, the mix is not: which tensor do they average?")
