"""Hidden cases of lesson 06."""

import torch

from vitcourse.probes import case, raised

# ------------------------------------------------------------------------------------------------- windows and back


def any_order(data):
    """Windows and their tokens in a fixed order: any order that its own reverse undoes is right."""
    windows = torch.stack([w[w[:, 0].argsort()] for w in data.flatten(1, 2)])
    return [list(data.shape), windows[windows[:, 0, 0].argsort()]]


@case("swin_windows.window_partition", points=1, about="every window holds a square of neighbours", after=any_order)
def squares(answer, draw):
    m, rows, columns, channels = draw.sizes(4, low=2, high=6)
    return answer.window_partition(draw.normal(2, m * rows, m * columns, channels), m)


@case("swin_windows.window_partition", points=1, about="windows go back to their places")
def round_trip(answer, draw):
    m, rows, columns, channels = draw.sizes(4, low=2, high=6)
    x = draw.normal(3, m * rows, m * columns, channels)
    windows = answer.window_partition(x, m)
    return [answer.window_reverse(windows, m, m * rows, m * columns),
            answer.window_reverse(windows**2, m, m * rows, m * columns)]  # fmt: skip


@case(
    "swin_windows.window_partition",
    points=1,
    about="one map, one row of windows",
    after=lambda data: [any_order(data[0]), data[1]],
)
def one_map(answer, draw):
    m, columns, channels = draw.sizes(3, low=2, high=6)
    x = draw.normal(1, m, m * columns, channels)
    windows = answer.window_partition(x, m)
    return [windows, answer.window_reverse(windows, m, m, m * columns)]


@case("swin_windows.window_partition", points=1, about="a map that windows do not fill is refused")
def refused(answer, draw):
    m, rows, columns = draw.sizes(3, low=2, high=5)
    good, high, wide = (
        draw.normal(2, m * rows, m * columns, 3),
        draw.normal(1, m * rows + 1, m, 3),
        draw.normal(1, m, m * columns + 1, 3),
    )
    return [list(answer.window_partition(good, m).shape), raised(lambda: answer.window_partition(high, m)),
            raised(lambda: answer.window_partition(wide, m))]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- shift


@case("swin_windows.cyclic_shift", points=1, about="rows and columns move by different amounts")
def moved(answer, draw):
    b, h, w, c = draw.sizes(4, low=5, high=9)
    return answer.cyclic_shift(draw.normal(b, h, w, c), (1, draw.integer(2, 3)))


@case("swin_windows.cyclic_shift", points=1, about="the reverse undoes a shift")
def undone(answer, draw):
    h, w, c = draw.sizes(3, low=5, high=9)
    x, shift = draw.normal(2, h, w, c), (draw.integer(1, 2), 3)
    return [answer.reverse_shift(answer.cyclic_shift(x, shift), shift), answer.reverse_shift(x, shift)]


@case("swin_windows.cyclic_shift", points=1, about="one map, a shift along one side only")
def one_side(answer, draw):
    h, w = draw.sizes(2, low=4, high=8)
    x = draw.normal(1, h, w, 2)
    return [answer.cyclic_shift(x, (2, 0)), answer.cyclic_shift(x, (0, 1)), answer.reverse_shift(x, (0, 1)),
            answer.cyclic_shift(x, (0, 0))]  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- mask


def as_weights(mask):
    """What the softmax makes of a mask: −100, −1e9, −inf and bool (True: may look) are the same."""
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
    n = mask.shape[-1]
    scores = torch.sin(torch.arange(n * n, dtype=torch.float64)).view(n, n)
    return [list(mask.shape), (scores + mask.double()).softmax(-1).nan_to_num(-1.0)]


@case("swin_windows.shift_mask", points=2, about="rows and columns shifted by different amounts", after=as_weights)
def mask(answer, draw):
    rows, columns = draw.sizes(2, low=2, high=4)
    m = draw.integer(4, 5)
    return answer(m * rows, m * columns, m, (draw.choice((1, 3)), 2))


@case("swin_windows.shift_mask", points=1, about="windows of seven, shifted by three", after=as_weights, beside=True)
def seven(answer, draw):
    return answer(14, 21, 7, (3, 3))


@case("swin_windows.shift_mask", points=1, about="a side without a shift needs no mask",
      after=lambda data: [as_weights(part) for part in data])  # fmt: skip
def one_side_only(answer, draw):
    m = draw.integer(3, 4)
    return [answer(m, 3 * m, m, (0, 2)), answer(2 * m, m, m, (1, 0))]


@case(
    "swin_windows.shift_mask",
    points=1,
    about="without a shift every token of a window may look at every other",
    after=as_weights,
)
def no_shift(answer, draw):
    m = draw.integer(2, 3)
    return answer(2 * m, 3 * m, m, (0, 0))


# ------------------------------------------------------------------------------------------------- relative positions


@case("swin_windows.relative_position_index", points=2, about="a window wider or higher than it is long")
def oblong(answer, draw):
    tall, wide = draw.sizes(2, low=2, high=6)
    return answer((tall, wide))


@case("swin_windows.relative_position_index", points=1, about="the index chooses rows of a table")
def chooses(answer, draw):
    tall, wide = draw.sizes(2, low=2, high=5)
    return draw.normal((2 * tall - 1) * (2 * wide - 1), 3)[answer((tall, wide))]


@case("swin_windows.relative_position_index", points=1, about="square windows, and windows of one row or column")
def thin(answer, draw):
    n = draw.integer(3, 6)
    return [answer((n, n)), answer((1, n)), answer((n, 1)), answer((1, 1))]


# ---------------------------------------------------------------------------------------------------------- attention


def attention(answer, draw, heads=3, d=4, window=None):
    window = tuple(draw.sizes(2, low=2, high=4)) if window is None else window
    return draw.scramble(answer(heads * d, window, heads)).eval(), window[0] * window[1], heads * d


def some_mask(draw, windows, tokens):
    mask = torch.where(draw.normal(windows, tokens, tokens) > 0.3, -100.0, 0.0)
    mask[:, range(tokens), range(tokens)] = 0.0
    return mask.to(torch.get_default_dtype())


@case("swin_windows.WindowAttention", points=1, about="attention with bias, without a mask", atol=3e-5)
def unmasked(answer, draw):
    module, n, c = attention(answer, draw)
    return module(draw.normal(5, n, c))


@case("swin_windows.WindowAttention", points=2, about="several maps, a mask for each window", atol=3e-5)
def masked(answer, draw):
    module, n, c = attention(answer, draw, heads=2)
    x = draw.normal(8, n, c)
    return module(x, some_mask(draw, 4, n))


@case("swin_windows.WindowAttention", points=1, about="one map, one window, the mask passed by name", atol=3e-5)
def single(answer, draw):
    module, n, c = attention(answer, draw, heads=2, d=3, window=(1, 5))
    return module(draw.normal(1, n, c), mask=some_mask(draw, 1, n))


@case("swin_windows.WindowAttention", points=1, about="the bias table is learned", atol=1e-4)
def learned(answer, draw):
    module, n, c = attention(answer, draw)
    (module(draw.normal(4, n, c), some_mask(draw, 2, n)) * draw.normal(4, n, c)).sum().backward()
    parameters = dict(module.named_parameters())
    table = parameters.get("relative_position_bias_table")
    return [sorted(parameters), None if table is None else table.grad]


# ------------------------------------------------------------------------------------------------------------ merging


@case("swin_windows.PatchMerging", points=1, about="a map with even sides")
def even(answer, draw):
    rows, columns, c = draw.sizes(3, low=2, high=6)
    return draw.scramble(answer(c)).eval()(draw.normal(2, 2 * rows, 2 * columns, c))


@case("swin_windows.PatchMerging", points=1, about="odd sides get zeros at the bottom and right")
def odd(answer, draw):
    rows, columns, c = draw.sizes(3, low=2, high=6)
    module = draw.scramble(answer(c)).eval()
    return [module(draw.normal(1, 2 * rows + 1, 2 * columns, c)), module(draw.normal(2, 2 * rows, 2 * columns + 1, c)),
            module(draw.normal(1, 3, 1, c))]  # fmt: skip


@case("swin_windows.PatchMerging", points=1, about="small numbers: the norm's eps is 1e-5")
def small(answer, draw):
    module = draw.scramble(answer(4)).eval()
    return [
        module(draw.normal(2, 4, 6, 4, std=0.005)),
        sorted(f"{n} {tuple(p.shape)}" for n, p in module.named_parameters()),
    ]


# -------------------------------------------------------------------------------------------------------------- block


def block(answer, draw, shifted, window=4, heads=2, dim=8):
    return draw.scramble(answer.SwinBlock(dim, heads, window, shifted=shifted)).eval()


@case("swin_windows.SwinBlock", points=1, about="regular windows; drop path takes branches away in training", atol=5e-5)
def regular(answer, draw):
    m = draw.integer(3, 4)
    x = draw.normal(2, 2 * m, 3 * m, 8)
    alone = draw.scramble(answer.SwinBlock(8, 2, m, drop_path=1 - 1e-7)).train()  # both branches as good as always gone
    return [block(answer, draw, False, m)(x), alone(x)]


@case(
    "swin_windows.SwinBlock",
    points=2,
    about="shifted windows, then a map of another size through the same block",
    atol=5e-5,
)
def two_sizes(answer, draw):
    m = draw.integer(3, 5)
    module = block(answer, draw, True, m)
    return [module(draw.normal(2, 2 * m, 3 * m, 8)), module(draw.normal(1, 3 * m, 2 * m, 8))]


@case(
    "swin_windows.SwinBlock",
    points=1,
    about="maps that windows do not fill, and maps that one window covers",
    atol=5e-5,
)
def any_size(answer, draw):
    module = block(answer, draw, True)
    return [module(draw.normal(2, 6, 9, 8)), module(draw.normal(1, 3, 10, 8)), module(draw.normal(1, 8, 4, 8)),
            module(draw.normal(1, 2, 3, 8))]  # fmt: skip


@case("swin_windows.SwinBlock", points=1, about="small numbers: the norms' eps is 1e-5", atol=5e-5)
def small_numbers(answer, draw):
    module = block(answer, draw, True)
    x = draw.normal(2, 8, 8, 8, std=0.005)
    return [module(x), sum(p.numel() for p in module.parameters())]


@case(
    "swin_windows.SwinBlock",
    points=1,
    about="a stage: regular and shifted take turns, each with its own weights",
    atol=1e-4,
)
def stage(answer, draw):
    blocks = draw.scramble(answer.make_blocks(8, 4, 2, 4, (0.0, 0.125, 0.1875, 0.25))).eval()
    rates = [m.drop_prob for m in blocks.modules() if isinstance(getattr(m, "drop_prob", None), float)]
    return [blocks(draw.normal(2, 8, 12, 8)), sum(p.numel() for p in blocks.parameters()), max(rates, default=0.25)]
