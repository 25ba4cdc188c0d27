"""Lesson 04's solutions against torchvision, timm and published numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from solutions.vision_transformer import (
    PRESETS,
    Block,
    ConvStem,
    DropPath,
    Mlp,
    VisionTransformer,
    count_parameters,
    create,
    from_torchvision,
    read_out_only,
)
from vitcourse.probes import scramble
from vitcourse.training import parameter_count


def torchvision_b16() -> nn.Module:
    from torchvision.models import vit_b_16

    model = scramble(vit_b_16()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("in_proj_weight"):  # scramble knows it as a token; bring the scores near 1
                parameter /= math.sqrt(parameter.shape[1])
    return model


def test_equals_torchvision() -> None:
    theirs = torchvision_b16()
    ours = create("B/16").eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = theirs(images), ours(images)
        assert expected.std() > 0.5
        torch.testing.assert_close(got, expected, atol=5e-5, rtol=0)
        torch.testing.assert_close(read_out_only(ours, images), got, atol=2e-5, rtol=0)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_equals_timm(pool: str) -> None:
    timm = pytest.importorskip("timm")
    theirs = scramble(timm.create_model("vit_tiny_patch16_224", global_pool=pool, fc_norm=False)).eval()
    ours = create("Ti/16").eval()
    ours.load_state_dict(theirs.state_dict())
    ours.global_pool = pool
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "published"),
    [("Ti/16", 5_717_416), ("S/16", 22_050_664), ("B/16", 86_567_656), ("L/16", 304_326_632), ("H/14", 632_045_800)],
)
def test_parameter_counts(name: str, published: int) -> None:
    assert count_parameters(PRESETS[name]) == published
    with torch.device("meta"):
        assert parameter_count(create(name)) == published


def test_encoder_layer_of_torch_agrees_with_the_block() -> None:
    block = scramble(Block(12, 3)).eval()
    layer = nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    names = {"norm1": "norm1", "norm2": "norm2", "attn.proj": "self_attn.out_proj", "mlp.fc1": "linear1",
             "mlp.fc2": "linear2", "attn.qkv.weight": "self_attn.in_proj_weight",
             "attn.qkv.bias": "self_attn.in_proj_bias"}  # fmt: skip
    state = {}
    for name, value in block.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = value
    layer.load_state_dict(state)
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(block(x), layer(x))


def test_image_need_not_be_square_and_must_divide() -> None:
    model = VisionTransformer((8, 12), 4, 1, 3, 8, 1, 2)
    assert model(torch.randn(2, 1, 8, 12)).shape == (2, 3)
    with pytest.raises(ValueError, match="divide"):
        model(torch.randn(2, 1, 8, 13))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="divide"):
        Block(10, 3)


@pytest.mark.parametrize("bad", [-0.1, 1.0, 1.5])
def test_drop_prob_out_of_range(bad: float) -> None:
    with pytest.raises(ValueError, match="drop_prob"):
        DropPath(bad)


def test_drop_path_keeps_the_mean_and_whole_samples() -> None:
    torch.manual_seed(0)
    y = DropPath(0.3).train()(torch.ones(20_000, 2, 2)).flatten(1)
    assert ((y == y[:, :1]).all(1)).all()
    assert abs(y.mean().item() - 1) < 0.02


def test_drop_rates_grow_linearly() -> None:
    model = VisionTransformer(8, 4, 1, 2, 4, 3, 2, drop_path=0.2)
    rates = [block.drop_path2.drop_prob for block in model.blocks]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor([0.0, 0.1, 0.2]))


def test_stem_gives_as_many_tokens_as_patches_of_seven() -> None:
    model = VisionTransformer(28, 7, 1, 10, 16, 1, 2)
    model.patch_embed = ConvStem(1, 16)  # type: ignore[assignment]
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert ConvStem(3, 8)(torch.randn(1, 3, 25, 33)).shape == (1, 4 * 5, 8)


def test_mlp_uses_the_exact_gelu() -> None:
    layer = Mlp(1, 1).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(1.0 if p.ndim == 2 else 0.0)
    assert abs(layer(torch.ones(1, 1, 1, dtype=torch.float64)).item() - 0.8413447460685429) < 1e-12
