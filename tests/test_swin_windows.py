"""Unit tests of lesson 06's solutions, pictures and explorer."""

import pytest
import torch
import torchvision

from solutions import swin_windows as swin
from vitcourse.explorers.swin_windows import explore, picture
from vitcourse.probes import scramble


@pytest.fixture(scope="module")
def theirs():
    return scramble(torchvision.models.swin_t()).eval()


@pytest.fixture(scope="module")
def ours(theirs):
    model = swin.SwinTransformer().eval()
    model.load_state_dict(swin.from_torchvision(theirs.state_dict()))
    return model


@pytest.mark.parametrize("size", [(224, 224), (256, 256), (192, 320), (230, 310), (32, 32)])
def test_same_logits_as_torchvision(ours, theirs, size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert (ours(x) - theirs(x)).abs().max() <= 5e-5


def test_same_logits_as_timm_where_windows_fit(ours):
    timm = pytest.importorskip("timm")
    twin = timm.create_model("swin_tiny_patch4_window7_224").eval()
    twin.load_state_dict({k.replace("head.", "head.fc."): v for k, v in ours.state_dict().items()})
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert (ours(x) - twin(x)).abs().max() <= 5e-5


@pytest.mark.parametrize(("name", "millions"), [("swin_t", 28.288), ("swin_s", 49.606), ("swin_b", 87.768)])
def test_parameter_counts(name, millions):
    with torch.device("meta"):
        model = swin.swin(name)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)
    assert swin.from_torchvision(getattr(torchvision.models, name)().state_dict()).keys() == model.state_dict().keys()


def test_feature_maps_halve_and_double():
    model = swin.SwinTransformer(2, 1, 10, 8, (2, 1), (2, 4), 4, 0.1)
    maps = model.feature_maps(torch.randn(2, 1, 20, 26))
    assert [tuple(m.shape) for m in maps] == [(2, 10, 13, 8), (2, 5, 7, 16)]
    assert model(torch.randn(2, 1, 20, 26)).shape == (2, 10)


def test_a_mask_made_in_inference_serves_training():
    swin.cached_mask.cache_clear()
    block = swin.SwinBlock(8, 2, 4, shifted=True)
    x = torch.randn(1, 8, 12, 8)
    with torch.inference_mode():
        block(x)
    block(x).sum().backward()
    assert block.attn.relative_position_bias_table.grad.abs().sum() > 0


def test_masks_are_kept_by_size_and_function():
    swin.cached_mask.cache_clear()
    cpu = torch.device("cpu")
    a = swin.cached_mask(swin.shift_mask, 8, 12, 4, (2, 2), cpu)
    assert swin.cached_mask(swin.shift_mask, 8, 12, 4, (2, 2), cpu) is a
    assert not torch.equal(swin.cached_mask(swin.shift_mask, 12, 8, 4, (2, 2), cpu), a)
    assert swin.cached_mask(lambda *sides: swin.shift_mask(*sides) == 0, 8, 12, 4, (2, 2), cpu).equal(a)
    assert swin.cached_mask(swin.shift_mask, 8, 12, 4, (0, 0), cpu) is None


@pytest.mark.parametrize("mask", [False, True])
def test_both_ways_of_attention_agree(mask):
    module = scramble(swin.WindowAttention(8, (2, 3), 2))
    x = torch.randn(8, 6, 8)
    table = swin.shift_mask(4, 6, 2, (1, 1))[:4, :, :].new_zeros(4, 6, 6).masked_fill(torch.rand(4, 6, 6) > 0.7, -1e9)
    added = table if mask else torch.zeros(4, 6, 6)
    q, k, v = module.qkv(x).view(2, 4, 6, 3, 2, 4).permute(3, 0, 1, 4, 2, 5)
    bias = module.relative_position_bias_table[module.relative_position_index].permute(2, 0, 1)
    slow = module.proj(swin.attention_by_hand(q, k, v, bias, added).transpose(2, 3).reshape(8, 6, 8))
    torch.testing.assert_close(module(x, table if mask else None), slow, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(4, 5), (5, 4)])
def test_windows_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="do not fill"):
        swin.window_partition(torch.zeros(1, *size, 2), 2)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="do not divide"):
        swin.WindowAttention(10, (2, 2), 3)


@pytest.mark.parametrize("step", range(4))
def test_explorer_draws_every_step(step):
    assert "look at" in picture(step, window=3, shift=1, query=7)


def test_explorer_falls_back_to_a_picture(capsys):
    explore()
    assert "four steps" in capsys.readouterr().out
