"""Hidden cases of lesson 03."""

from vitcourse.probes import case


@case("attention.scaled_dot_product_attention", points=3, about="different numbers of queries and keys")
def cross_lengths(answer, draw):
    b, h, n, m, d = draw.sizes(5, low=2, high=9)
    return answer(draw.normal(b, h, n, d), draw.normal(b, h, m, d), draw.normal(b, h, m, d))


@case("attention.scaled_dot_product_attention", points=1, about="large scores stay finite")
def large_scores(answer, draw):
    q = 1e3 * draw.normal(2, 2, 3, 8)
    return answer(q, q, q)
