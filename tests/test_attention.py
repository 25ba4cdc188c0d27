"""Lesson 03: the answers agree with torch and timm, and the parts around them work."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions.attention import (
    Attention,
    attention_distance,
    attention_rollout,
    masked_attention_weights,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)
from vitcourse.explorers.attention import explore, selected, words
from vitcourse.inspector import how_it_was_trained, trained_vit
from vitcourse.probes import scramble


def test_scaled_dot_product_attention_equals_torch_in_output_and_gradients() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, n, 8, dtype=torch.float64, requires_grad=True) for n in (4, 6, 6)]
    mixed, weights = scaled_dot_product_attention(*inputs)
    fused = F.scaled_dot_product_attention(*inputs)
    pull = torch.randn_like(mixed)
    torch.testing.assert_close(mixed, fused)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4, dtype=torch.float64))
    for a, b in zip(*(torch.autograd.grad((o * pull).sum(), inputs) for o in (mixed, fused)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("bias", [True, False])
def test_the_fused_forward_equals_the_explicit_steps(bias: bool) -> None:
    module = scramble(Attention(12, 3, qkv_bias=bias)).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    q, k, v = (split_heads(t, 3) for t in module.qkv(x).chunk(3, dim=-1))
    mixed, weights = scaled_dot_product_attention(q, k, v)
    explicit, fast = module.proj(merge_heads(mixed)), module(x)
    torch.testing.assert_close(explicit, fast)
    torch.testing.assert_close(weights, module.attention_weights(x))
    leaves = [x, *module.parameters()]
    for a, b in zip(*(torch.autograd.grad(o.square().sum(), leaves) for o in (explicit, fast)), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_loads_timm_and_torch_weights() -> None:
    timm = pytest.importorskip("timm.layers")
    mine = scramble(Attention(24, 4)).eval()
    x = torch.randn(3, 7, 24)
    theirs = timm.Attention(24, 4, qkv_bias=True).eval()
    theirs.load_state_dict(mine.state_dict())
    torch.testing.assert_close(mine(x), theirs(x))
    torchs = nn.MultiheadAttention(24, 4, batch_first=True).eval()
    torchs.load_state_dict(
        {"in_proj_weight": mine.qkv.weight, "in_proj_bias": mine.qkv.bias}
        | {"out_proj.weight": mine.proj.weight, "out_proj.bias": mine.proj.bias}
    )
    out, weights = torchs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(mine(x), out)
    torch.testing.assert_close(mine.attention_weights(x), weights)


def test_attention_is_permutation_equivariant() -> None:
    module, x, order = scramble(Attention(12, 3)), torch.randn(2, 6, 12), torch.randperm(6)
    torch.testing.assert_close(module(x)[:, order], module(x[:, order]))


def test_heads_split_and_merge() -> None:
    x = torch.arange(24.0).view(2, 2, 6)
    assert split_heads(x, 2)[0].tolist() == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]
    assert torch.equal(merge_heads(split_heads(x, 3)), x)
    with pytest.raises(ValueError, match="4 heads"):
        split_heads(x, 4)
    with pytest.raises(ValueError, match="4 heads"):
        Attention(6, 4)


def test_masks_equal_torch() -> None:
    scores, allowed = torch.randn(2, 3, 4, 5), torch.rand(2, 1, 4, 5) < 0.5
    allowed[..., 0] = True
    q = scores / 5**-0.5  # with one-hot keys and values, torch's function gives the softmax of these scores
    eye = torch.eye(5).expand(2, 3, 5, 5)
    expected = F.scaled_dot_product_attention(q, eye, eye, attn_mask=allowed)
    torch.testing.assert_close(masked_attention_weights(scores, allowed), expected)


def test_distance_and_rollout_on_worked_examples() -> None:
    row = torch.tensor([[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]])
    assert attention_distance(row[None, None], (1, 3)).item() == pytest.approx(0.25)
    assert attention_distance(torch.eye(6).flip(0)[None, None], (2, 3)).tolist() == pytest.approx(
        [(4 * 5**0.5 + 2) / 6]
    )
    with pytest.raises(ValueError, match="grid"):
        attention_distance(torch.eye(7)[None, None], (2, 3))
    swap = torch.tensor([[0.0, 1], [1, 0]])[None, None]
    assert attention_rollout([swap])[0].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    first, second = (torch.randn(2, 3, 4, 4).softmax(-1) for _ in range(2))
    eye = torch.eye(4)
    expected = (second.mean(1) + eye) / 2 @ ((first.mean(1) + eye) / 2)
    torch.testing.assert_close(attention_rollout([first, second]), expected)


def test_the_trained_model_and_its_attention() -> None:
    vit = trained_vit()
    images = torch.rand(2, 3, vit.img_size, vit.img_size)
    for block, tokens in enumerate(vit.attention_inputs(images)):
        module = Attention(vit.embed_dim, vit.num_heads)
        module.load_state_dict(vit.attention_state(block))
        with torch.no_grad():
            torch.testing.assert_close(
                module(tokens),
                vit.layers[block].self_attn(tokens, tokens, tokens, need_weights=False)[0],
                atol=1e-4,
                rtol=1e-4,
            )
    assert "one seed" in how_it_was_trained()


def test_the_trained_model_equals_the_courses_vision_transformer() -> None:
    from solutions.vision_transformer import VisionTransformer
    from vitcourse.inspector import _stored

    vit, state = trained_vit(), _stored()[0]
    ours = VisionTransformer(
        img_size=vit.img_size, patch_size=vit.patch_size, num_classes=len(vit.class_names), embed_dim=vit.embed_dim,
        depth=vit.depth, num_heads=vit.num_heads,
    ).eval()  # fmt: skip
    ours.load_state_dict({name: value.float() for name, value in state.items()})
    images = torch.rand(2, 3, vit.img_size, vit.img_size)
    with torch.no_grad():
        torch.testing.assert_close(vit(images), ours(images), atol=1e-4, rtol=1e-4)


def test_explorer_selects_and_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    weights = [torch.randn(2, 3, 7, 7).softmax(-1) for _ in range(2)]
    row, on_class = selected(weights, picture=1, layer=0, head=2, query=4)
    assert torch.equal(row, weights[0][1, 2, 5, 1:])
    assert on_class == pytest.approx(weights[0][1, 2, 5, 0].item())
    row, _ = selected(weights, picture=0, layer=1, head=None, query=None)
    torch.testing.assert_close(row, weights[1][0].mean(0)[0, 1:])
    assert "row 2, column 1" in words(torch.tensor([0.0, 0.1, 0.1, 0.6, 0.0, 0.0]), 0.2, (2, 3), "It")
    explore(torch.rand(2, 3, 8, 12), weights, (2, 3), query=1)  # no notebook: the static picture
    assert "row 1, column 2" in capsys.readouterr().out
    with pytest.raises(ValueError, match="do not fit"):
        explore(torch.rand(2, 3, 8, 12), weights, (3, 3))


def test_explorer_widget_follows_clicks_and_sliders() -> None:
    widgets = pytest.importorskip("ipywidgets")
    from vitcourse.explorers.attention import _widget

    weights = [torch.randn(2, 3, 7, 7).softmax(-1) for _ in range(2)]
    box = _widget(widgets, torch.rand(2, 3, 8, 12), weights, (2, 3), torch.rand(2, 7, 7).softmax(-1), None)
    controls, right = box.children[0].children
    picture, layer, head, token, row, column = controls.children
    board, view = right.children[1], box.children[1]
    assert "The class token looks" in view.value
    board.children[5].click()
    assert (token.value, row.value, column.value) == (False, 2, 3)
    assert [i for i, button in enumerate(board.children) if button.description == "●"] == [5]
    assert all(button.description for button in board.children)
    assert "row 2, column 3 looks" in view.value
    column.value = 1
    assert "row 2, column 1 looks" in view.value
    token.value = True
    assert "The class token looks" in view.value
    layer.value = 2
    assert head.disabled
    picture.value = 1
    row.value = 1
    assert token.value is False
