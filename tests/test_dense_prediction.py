"""Unit tests of lesson 08's solutions, log and pictures."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score
from torchvision.ops import FeaturePyramidNetwork

from solutions import dense_prediction as dense
from solutions.patchify import patchify, unpatchify
from solutions.swin_windows import SwinTransformer
from solutions.vision_transformer import VisionTransformer
from vitcourse.data import emoji_masks
from vitcourse.pictures import dense_prediction as pictures


def noise(*sizes, seed=0):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_a_cell_holds_its_token(prefix):
    tokens = noise(2, prefix + 15, 4)
    grid = dense.tokens_to_grid(tokens, (3, 5), prefix)
    assert grid.shape == (2, 4, 3, 5)
    for row in range(3):
        for column in range(5):
            assert torch.equal(grid[:, :, row, column], tokens[:, prefix + 5 * row + column])


def test_tokens_to_grid_undoes_flattening():
    features = noise(1, 6, 4, 7)
    assert torch.equal(dense.tokens_to_grid(features.flatten(2).transpose(1, 2), (4, 7), 0), features)


@pytest.mark.parametrize("grid", [(3, 5), (4, 5), (1, 1)])
def test_tokens_that_do_not_fit_are_refused(grid):
    with pytest.raises(ValueError, match="17 tokens"):
        dense.tokens_to_grid(noise(1, 17, 4), grid)


def test_a_patch_of_one_pixel_is_a_picture():
    image = noise(2, 3, 5, 8)
    assert torch.equal(dense.tokens_to_grid(patchify(image, 1), (5, 8), 0), unpatchify(patchify(image, 1), 1, (5, 8)))


def test_linear_head_is_a_matrix_per_cell():
    head = dense.LinearHead(5, 3)
    features = noise(2, 5, 4, 6)
    by_cell = F.linear(features.permute(0, 2, 3, 1), head.classify.weight[:, :, 0, 0], head.classify.bias)
    torch.testing.assert_close(head(features, (4, 6)), by_cell.permute(0, 3, 1, 2))


def test_linear_head_blends_between_cells():
    head = dense.LinearHead(1, 1)
    with torch.no_grad():
        head.classify.weight.fill_(1.0)
        head.classify.bias.zero_()
    features = torch.tensor([[[[0.0, 1.0]]]])  # two cells; the centres of 8 pixels lie at 1/8 - 1/4, 3/8 - 1/4, ...
    expected = torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    torch.testing.assert_close(head(features, (1, 8))[0, 0, 0], expected)


def test_top_down_path_is_torchvisions():
    """With unit smoothing and classification the head sums torchvision's FPN levels, ReLU and upsampling between."""
    dims, dim = [4, 6, 5], 7
    head, twin = dense.FPNHead(dims, dim, 3).eval(), FeaturePyramidNetwork(dims, dim).eval()
    with torch.no_grad():
        for i in range(3):
            twin.inner_blocks[i][0].load_state_dict(head.lateral[i].state_dict())
            twin.layer_blocks[i][0].load_state_dict(head.smooth[i].state_dict())
    maps = [noise(2, 4, 8, 12), noise(2, 6, 4, 6), noise(2, 5, 2, 3)]
    levels = twin({str(i): x for i, x in enumerate(maps)}).values()
    joined = sum(F.interpolate(x.relu(), size=(8, 12), mode="bilinear") for x in levels)
    expected = F.interpolate(head.classify(joined), size=(30, 50), mode="bilinear")
    torch.testing.assert_close(head(maps, (30, 50)), expected)


def test_fpn_head_leaves_its_maps_and_reaches_every_parameter():
    head = dense.FPNHead([2, 3], 8, 4)
    maps = [noise(1, 2, 7, 9).requires_grad_(), noise(1, 3, 3, 4).requires_grad_()]
    before = [x.detach().clone() for x in maps]
    head(maps, (14, 18)).square().sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in [*maps, *head.parameters()])


def test_fpn_head_refuses_another_number_of_levels():
    with pytest.raises(ValueError, match="zip"):
        dense.FPNHead([2, 3], 8, 4)([noise(1, 2, 4, 4)], (8, 8))


def test_simple_pyramid_is_block_means():
    features = noise(2, 3, 9, 14)
    levels = dense.simple_pyramid(features, 4)
    assert [tuple(x.shape[-2:]) for x in levels] == [(9, 14), (4, 7), (2, 3), (1, 1)]
    for i, level in enumerate(levels):
        side = 2**i
        rows, columns = 9 // side, 14 // side
        blocks = features[..., : rows * side, : columns * side].reshape(2, 3, rows, side, columns, side)
        torch.testing.assert_close(level, blocks.mean((3, 5)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_confusion_and_iou_are_sklearns(dtype):
    generator = torch.Generator().manual_seed(3)
    target, prediction = (torch.randint(0, 4, (2, 9, 7), generator=generator) for _ in range(2))
    target[target == 2] = 1  # class 2 is only invented
    counts = dense.confusion_matrix(prediction.to(dtype), target.to(dtype), 5)
    y, p = target.flatten().numpy(), prediction.flatten().numpy()
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), sklearn_confusion(y, p, labels=range(5)))
    assert dense.mean_iou(counts) == pytest.approx(jaccard_score(y, p, labels=range(4), average="macro"))


def test_ignored_pixels_do_not_count():
    target = torch.tensor([[[0, 1, 255]]])
    assert dense.confusion_matrix(torch.tensor([[[0, 0, 1]]]), target, 2).tolist() == [[1, 0], [1, 0]]


def test_mean_iou_of_nothing_is_nan_and_of_everything_one():
    assert math.isnan(dense.mean_iou(torch.zeros(3, 3, dtype=torch.long)))
    assert dense.mean_iou(torch.diag(torch.tensor([5, 0, 2]))) == 1.0


@pytest.mark.parametrize("pyramid_dim", [None, 8])
@pytest.mark.parametrize("size", [(64, 64), (32, 64)])
def test_vit_segmenter(pyramid_dim, size):
    model = dense.ViTSegmenter(VisionTransformer(size, 8, 3, 1, 32, 2, 2), 13, pyramid_dim)
    logits = model(noise(2, 3, *size))
    assert logits.shape == (2, 13, *size)
    F.cross_entropy(logits, torch.zeros(2, *size, dtype=torch.long)).backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert unused == {"backbone.head.weight", "backbone.head.bias"}  # the classifier of lesson 04 is not asked


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (50, 70)])
def test_swin_segmenter(size):
    model = dense.SwinSegmenter(SwinTransformer(4, 3, 1, 8, (2, 2, 2), (1, 2, 4), 4, 0.0), 13, 8)
    logits = model(noise(1, 3, *size))
    assert logits.shape == (1, 13, *size)
    logits.square().mean().backward()
    unused = {n for n, p in model.named_parameters() if p.grad is None}
    assert unused == {"backbone.norm.weight", "backbone.norm.bias", "backbone.head.weight", "backbone.head.bias"}


def test_log_holds_each_model_and_seed_once():
    runs = pictures.log()
    assert set(runs) == {"ViT, linear head", "ViT, pyramid head", "Swin, pyramid head"}
    for found in runs.values():
        assert len({r["seed"] for r in found}) == len(found)
        assert len({(r["gflops"], r["parameters"], r["epochs"], r["pictures"]) for r in found}) == 1
        assert all(0 < r[split] < 1 for r in found for split in ("test", "heldout"))


def test_names_of_a_mask():
    data = emoji_masks("emoji12", "test", 4, 64)
    assert pictures.names_in(torch.zeros(4, 4, dtype=torch.long), data.class_names) == "background only"
    assert pictures.names_in(data.labels[0], data.class_names).split(", ")[0] in data.class_names
