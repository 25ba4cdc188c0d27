"""Unit tests of lesson 02's answers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solutions.embeddings import (
    Embeddings,
    PatchEmbed,
    conv_from_linear,
    embed_patches,
    interpolate_positions,
    prepend_cls,
    sincos_1d,
    sincos_positions,
)
from solutions.patchify import patchify
from vitcourse.checks.embeddings import _stretched
from vitcourse.pictures.embeddings import permute_patches, random_orders
from vitcourse.probes import scramble


def test_embed_patches_by_hand():
    image = torch.tensor([[[[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]]]])
    E = torch.tensor([[0.25, -1.0], [0.25, 1.0], [0.25, -1.0], [0.25, 1.0]])
    assert embed_patches(image, E, torch.zeros(2), 2).tolist() == [[[2.5, 2.0], [6.5, 2.0]]]


def test_linear_and_convolution_agree():
    linear, embed = nn.Linear(3 * 16, 7), PatchEmbed(4, 3, 7)
    with torch.no_grad():
        embed.proj.weight.copy_(conv_from_linear(linear.weight, 4))
        embed.proj.bias.copy_(linear.bias)
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(embed(x), linear(patchify(x, 4)))
    torch.testing.assert_close(embed(x), embed_patches(x, linear.weight.T, linear.bias, 4))


def test_conv_from_linear_refuses_rows_without_whole_squares():
    with pytest.raises(ValueError, match="10"):
        conv_from_linear(torch.zeros(4, 10), 3)


@pytest.mark.parametrize("size", [(30, 32), (32, 30), (3, 3)])
def test_patch_embed_refuses_indivisible(size):
    with pytest.raises(ValueError, match="does not divide"):
        PatchEmbed(4, 1, 8)(torch.zeros(1, 1, *size))


def test_patch_embed_equals_timm():
    timm_layers = pytest.importorskip("timm.layers")
    theirs = scramble(timm_layers.PatchEmbed(img_size=(8, 12), patch_size=4, in_chans=3, embed_dim=6))
    ours = PatchEmbed(4, 3, 6)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(ours(x), theirs(x))


def test_prepend_cls_adds_up_gradients():
    cls = torch.zeros(1, 1, 3, requires_grad=True)
    out = prepend_cls(torch.randn(4, 2, 3), cls)
    assert out.shape == (4, 3, 3)
    out[:, 0].sum().backward()
    assert cls.grad is not None
    assert cls.grad.tolist() == [[[4.0, 4.0, 4.0]]]


def test_embeddings_equal_torchvision():
    vit = pytest.importorskip("torchvision.models.vision_transformer")
    theirs = scramble(vit.VisionTransformer(32, 8, 1, 2, 16, 32))
    ours = Embeddings(PatchEmbed(8, 3, 16), 16, 16)
    with torch.no_grad():
        ours.patch_embed.proj.load_state_dict(theirs.conv_proj.state_dict())
        ours.cls_token.copy_(theirs.class_token)
        ours.pos_embed.copy_(theirs.encoder.pos_embedding)
    x, seen = torch.randn(2, 3, 32, 32), []
    theirs.encoder.dropout.register_forward_hook(lambda module, args, out: seen.append(out))
    theirs.eval()(x)
    torch.testing.assert_close(ours(x), seen[0])


def test_embeddings_start():
    module = Embeddings(nn.Identity(), 400, 64)
    assert 0.019 < module.pos_embed.std().item() < 0.021
    assert not module.cls_token.any()
    assert {"cls_token", "pos_embed"} <= dict(module.named_parameters()).keys()


def test_sincos_1d():
    table = sincos_1d(torch.tensor([0, 1]), 4, temperature=100.0)
    torch.testing.assert_close(table, torch.tensor([[0, 0, 1, 1], [0.841471, 0.099833, 0.540302, 0.995004]]))


def test_sincos_positions_layout():
    table = sincos_positions((2, 3), 8)
    torch.testing.assert_close(table[4], torch.cat([sincos_1d(torch.tensor([1]), 4)[0]] * 2))
    torch.testing.assert_close(table[2, :4], sincos_1d(torch.tensor([0]), 4)[0])
    torch.testing.assert_close(table[2, 4:], sincos_1d(torch.tensor([2]), 4)[0])
    with pytest.raises(ValueError, match="10"):
        sincos_positions((2, 3), 10)


def test_interpolation_equals_timm():
    timm_layers = pytest.importorskip("timm.layers")
    pos = torch.randn(1, 1 + 14 * 14, 8)
    theirs = timm_layers.resample_abs_pos_embed(pos, (24, 17), (14, 14), antialias=False)
    torch.testing.assert_close(interpolate_positions(pos, (14, 14), (24, 17)), theirs, atol=1e-5, rtol=1e-5)


def test_interpolation_equals_torchvision():
    vit = pytest.importorskip("torchvision.models.vision_transformer")
    pos = torch.randn(1, 1 + 4 * 4, 8)
    theirs = vit.interpolate_embeddings(48, 8, {"encoder.pos_embedding": pos}, interpolation_mode="bicubic")
    expected = interpolate_positions(pos, (4, 4), (6, 6))
    pinned = _stretched(pos, (4, 4), (6, 6), align_corners=True)  # torchvision chose align_corners=True
    torch.testing.assert_close(theirs["encoder.pos_embedding"], pinned, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, pinned, atol=1e-2)


@pytest.mark.parametrize(("old", "new"), [((3, 4), (5, 6)), ((6, 5), (3, 9)), ((11, 2), (15, 2)), ((2, 6), (3, 4))])
def test_interpolation_equals_the_definition(old, new):
    pos = torch.randn(1, 2 + old[0] * old[1], 4)
    out = interpolate_positions(pos, old, new, num_prefix_tokens=2)
    torch.testing.assert_close(out, _stretched(pos, old, new, 2), atol=1e-5, rtol=1e-5)
    assert torch.equal(out[:, :2], pos[:, :2])


def test_interpolation_keeps_type_and_equal_grids():
    pos = torch.randn(1, 7, 4).half()
    assert interpolate_positions(pos, (2, 3), (4, 4)).dtype == torch.float16
    assert torch.equal(interpolate_positions(pos, (2, 3), (2, 3)), pos)
    with pytest.raises(ValueError, match="positions"):
        interpolate_positions(pos, (3, 3), (4, 4))
    shape = F.interpolate(torch.zeros(1, 1, 11, 2), scale_factor=(15 / 11, 1)).shape
    assert shape[2] == 14  # the trap that the lesson warns of


def test_permute_patches_inverts():
    images, orders = torch.rand(3, 1, 8, 12), random_orders(3, 6)
    there = permute_patches(images, orders, 4)
    assert torch.equal(permute_patches(there, orders.argsort(dim=1), 4), images)
