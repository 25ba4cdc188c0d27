"""Lesson 01: the answers, their tests, and the patch explorer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from grader.grading import grade_here
from grader.mistakes import entries_of
from solutions.patchify import (
    attention_pairs,
    patch_grid,
    patch_kernel,
    patchify,
    patchify_einops,
    patchify_unfold,
    unpatchify,
)
from vitcourse.explorers import patchify as explorer
from vitcourse.pictures.patchify import cut, tiles

EXERCISES = (
    "patch_grid",
    "patchify",
    "unpatchify",
    "patchify_einops",
    "patchify_unfold",
    "patch_kernel",
    "attention_pairs",
)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 1, 9, 6), (3, 2, 8, 8)])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_four_ways_agree_and_invert(shape: tuple[int, ...], patch_size: int) -> None:
    if shape[2] % patch_size or shape[3] % patch_size:
        pytest.skip("does not divide")
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    patches = patchify(images, patch_size)
    rows, cols = patch_grid(shape[2], shape[3], patch_size)
    assert patches.shape == (shape[0], rows * cols, shape[1] * patch_size**2)
    assert torch.equal(patches, patchify_einops(images, patch_size))
    assert torch.equal(patches, patchify_unfold(images, patch_size))
    maps = F.conv2d(images, patch_kernel(shape[1], patch_size), stride=patch_size)
    torch.testing.assert_close(patches, maps.flatten(2).transpose(1, 2))
    assert torch.equal(unpatchify(patches, patch_size, (rows, cols)), images)
    assert torch.equal(patches[0].view(-1, shape[1], patch_size, patch_size), torch.stack(cut(images[0], patch_size)))


def test_worked_numbers() -> None:
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    assert patchify(picture, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    two_channels = torch.tensor([[[[0.0, 1], [2, 3]], [[10, 11], [12, 13]]]])
    assert patchify(two_channels, 2).flatten().tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert attention_pairs(224, 224, 16) == (196, 38416)
    assert attention_pairs(32, 32, 8) == (16, 256)
    assert attention_pairs(256, 384, 32)[0] == 96


def test_patch_order_is_that_of_timm() -> None:
    timm = pytest.importorskip("timm")
    embed = timm.layers.PatchEmbed(img_size=(32, 48), patch_size=8, in_chans=3, embed_dim=20)
    images = torch.randn(2, 3, 32, 48)
    linear = F.linear(patchify(images, 8), embed.proj.weight.flatten(1), embed.proj.bias)
    torch.testing.assert_close(linear, embed(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "sizes", [(30, 48, 16), (32, 50, 16), (4, 9, 6), (0, 16, 16), (16, 0, 16), (16, 16, 0), (-16, -16, -16)]
)
def test_sizes_that_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="×"):
        patch_grid(*sizes)
    with pytest.raises(ValueError, match="×"):
        attention_pairs(*sizes)


def test_images_and_grids_that_are_refused() -> None:
    with pytest.raises(ValueError, match="divide"):
        patchify(torch.zeros(1, 3, 5, 6), 2)
    with pytest.raises(ValueError, match="12 patches"):
        unpatchify(torch.zeros(1, 12, 4), 2, (3, 5))


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hidden_cases_hold_for_any_seed(name: str, dtype: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        for entry in entries_of(f"patchify.{name}"):
            for seed in (0, 3, 5):
                result = grade_here(entry.exercise, entry.answer, seed)
                assert (result.points == result.max_points) != entry.wrong, (entry.name, seed, result)
                if entry.wrong:
                    assert result.mistake == entry.name, (entry.name, seed, result)
    finally:
        torch.set_default_dtype(before)


def test_tiles_leave_gaps() -> None:
    sheet = tiles(torch.zeros(6, 12), (2, 3), gap=1)
    assert sheet.shape == (3, 5, 8)
    assert sheet[0, 2].eq(1).all()
    assert sheet[0, 0, 0] == 0
    with pytest.raises(ValueError, match="not a square patch"):
        tiles(torch.zeros(6, 13), (2, 3))


def test_explorer_offers_only_what_divides() -> None:
    for height, width in explorer.SHAPES.values():
        sides = explorer.sides_for(height, width)
        assert sides
        assert all(patch_grid(height, width, p) for p in sides)
    assert "N = 196 tokens of 768 numbers" in explorer.facts(224, 224, 16)
    assert set(explorer.sides_for(256, 384)) - set(explorer.sides_for(224, 224)) == {64}


def test_explorer_without_widgets_is_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    explorer.explore()
    assert "under four grids" in capsys.readouterr().out


def test_explorer_widget_follows_its_controls() -> None:
    pytest.importorskip("ipywidgets")
    choices, side, words, view, hide = explorer.widget().children
    picture, shape = choices.children
    assert "P = 16" in words.value
    assert 'alt="A picture of 224×224' in view.value
    side.value = 32
    assert "N = 49 tokens" in words.value
    before = view.value
    picture.value = "coffee"
    assert view.value != before
    for label, (height, width) in explorer.SHAPES.items():
        shape.value = label
        assert f"A picture of {height}×{width}" in view.value
        assert height % side.value == 0
        assert width % side.value == 0
    assert explorer.FALLBACK in hide.value
