"""Lesson 07: the answers against torch, torchvision and by hand; the checkpoint that ships with the course."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors import safe_open
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionViT

from solutions import finetuning
from solutions.finetuning import (
    CHECKPOINT,
    accumulated_step,
    layer_lr_groups,
    load_backbone,
    prepare_training,
    pretrained,
    probe_features,
    published_weights,
    replace_head,
    resize_positions,
)
from solutions.vision_transformer import VisionTransformer, from_torchvision
from vitcourse.data import ASSETS, emoji
from vitcourse.pictures.finetuning import saved_megabytes
from vitcourse.probes import scramble
from vitcourse.training import accuracy, decay_groups


def small(**changes: int) -> VisionTransformer:
    return VisionTransformer(
        **{"img_size": 16, "patch_size": 8, "num_classes": 5, "embed_dim": 8, "depth": 3, "num_heads": 2, **changes}
    )


def torchvision_vit(classes: int = 7) -> TorchvisionViT:
    return TorchvisionViT(
        image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=128, num_classes=classes
    )


def test_checkpoint_is_small_and_as_good_as_its_file_says() -> None:
    assert CHECKPOINT.stat().st_size <= 2_000_000
    weights, about = published_weights("course")
    model = VisionTransformer(**about["config"])
    model.load_state_dict(weights)
    data = emoji("emoji12", "test", n=600)
    data = replace(data, images=(data.images - about["mean"]) / about["std"])
    assert abs(accuracy(model, data) - about["test_accuracy"]) < 0.06
    with safe_open(str(CHECKPOINT), framework="pt") as file:
        assert set(file.keys()) == set(model.state_dict())


def test_results_for_the_notebook_are_small_and_complete() -> None:
    file = ASSETS / "finetuning_results.json"
    assert file.stat().st_size <= 100_000
    found = json.loads(file.read_text())
    for ways in found["few_shot"].values():
        assert set(ways) == {"scratch", "probe", "full", "layerwise"}
        assert all(len(values) >= 5 for values in ways.values())


def test_load_backbone_takes_torchvisions_weights_and_the_logits_agree() -> None:
    theirs = scramble(torchvision_vit()).eval()
    mine = VisionTransformer(32, 8, 3, num_classes=7, embed_dim=32, depth=3, num_heads=4).eval()
    renamed = from_torchvision(theirs.state_dict())
    load_backbone(mine, renamed)
    mine.head.load_state_dict({name: renamed[f"head.{name}"] for name in ("weight", "bias")})
    x = torch.randn(3, 3, 32, 32)
    assert torch.allclose(mine(x), theirs(x), atol=5e-5)


def test_load_backbone_lists_what_does_not_fit_and_changes_nothing() -> None:
    model = scramble(small())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"missing: norm.weight.*unexpected: module.norm.weight"):
        load_backbone(model, {name.replace("norm.w", "module.norm.w"): v for name, v in before.items()
                              if not name.startswith("blocks")}
                      | {n: v for n, v in before.items() if n.startswith("blocks")})  # fmt: skip
    with pytest.raises(ValueError, match="shape: pos_embed"):
        load_backbone(model, small(img_size=24).state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_replace_head_of_torchvision_keeps_the_features() -> None:
    model = scramble(torchvision_vit()).eval()
    features = {}
    model.encoder.register_forward_hook(lambda m, i, o: features.setdefault(len(features), o))
    x = torch.randn(2, 3, 32, 32)
    model(x)
    assert replace_head(model, 3) is model
    assert model(x).shape == (2, 3)
    assert torch.equal(features[0], features[1])
    with pytest.raises(ValueError, match="no head"):
        replace_head(nn.Linear(2, 2), 3)


def test_probe_features_equal_the_class_token() -> None:
    model = scramble(small(drop_path=0.5)).train()
    x = torch.randn(4, 3, 16, 16)
    first = probe_features(model, x)
    assert model.training
    assert torch.equal(first, probe_features(model, x))
    assert torch.allclose(first, model.eval().forward_features(x)[:, 0])


@pytest.mark.parametrize(("last", "moving"), [(0, 0), (1, 1), (3, 3), (9, 3)])
def test_prepare_training_moves_what_it_says(last: int, moving: int) -> None:
    model = scramble(small()).requires_grad_(False)
    head = nn.Linear(8, 4)
    optimizer = prepare_training(model, head, last, lr=0.1)
    free = {".".join(n.split(".")[:2]) for n, p in model.named_parameters() if p.requires_grad and n.startswith("bl")}
    assert len(free) == moving
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert id(head.weight) in held


def test_layer_lr_groups_without_layer_decay_equal_the_courses_groups() -> None:
    model = small()
    mine = {id(p): g["weight_decay"] for g in layer_lr_groups(model, 1.0, 1.0, 0.05) for p in g["params"]}
    theirs = {id(p): g["weight_decay"] for g in decay_groups(model, 0.05) for p in g["params"]}
    assert mine == theirs
    assert {g["lr"] for g in layer_lr_groups(model, 1.0, 1.0, 0.05)} == {1.0}


def test_layer_lr_groups_agree_with_timm() -> None:
    from timm.models import create_model
    from timm.optim import param_groups_layer_decay

    theirs = create_model("vit_tiny_patch16_224", pretrained=False, depth=3)
    found = param_groups_layer_decay(theirs, weight_decay=0.05, layer_decay=0.5, no_weight_decay_list=["cls_token", "pos_embed"])  # fmt: skip
    names = {id(p): n for n, p in theirs.named_parameters()}
    expected = {names[id(p)]: (g["lr_scale"], g["weight_decay"]) for g in found for p in g["params"]}
    mine = VisionTransformer(224, 16, 3, embed_dim=192, depth=3, num_heads=3)
    names = {id(p): n for n, p in mine.named_parameters()}
    actual = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in layer_lr_groups(mine, 1.0, 0.5, 0.05) for p in g["params"]}  # fmt: skip
    for name in (
        "norm.weight",
        "norm.bias",
    ):  # timm counts the final norm with the last block, BEiT and MAE with the head
        assert (actual.pop(name), expected.pop(name)) == ((1.0, 0.0), (0.5, 0.0))
    assert actual == expected


def test_resize_positions_runs_at_the_new_size_and_leaves_cls_alone() -> None:
    model = scramble(small())
    cls = model.pos_embed[:, 0].clone()
    resize_positions(model, (16, 16), (24, 40))
    assert model(torch.randn(1, 3, 24, 40)).shape == (1, 5)
    assert torch.equal(model.pos_embed[:, 0], cls)
    assert isinstance(model.pos_embed, nn.Parameter)
    with pytest.raises(ValueError, match="do not divide"):
        resize_positions(model, (24, 40), (25, 40))


@pytest.mark.parametrize("micro", [1, 3, 7, 50])
def test_accumulated_step_equals_one_big_step(micro: int) -> None:
    x, y = torch.randn(7, 3, 16, 16), torch.randint(5, (7,))
    one, other = scramble(small()), scramble(small())
    big = torch.optim.SGD(one.parameters(), lr=0.1)
    loss = F.cross_entropy(one(x), y)
    loss.backward()
    big.step()
    assert accumulated_step(other, x, y, torch.optim.SGD(other.parameters(), lr=0.1), micro) == pytest.approx(
        loss.item(), abs=1e-5
    )
    for name, value in one.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], atol=1e-6), name


def test_one_code_path_for_both_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = scramble(torchvision_vit(1000))
    monkeypatch.setattr(torchvision.models, "vit_b_16", lambda weights: theirs)
    for source in ("course", "torchvision"):
        model, prepare = pretrained(source, num_classes=10)
        x = prepare(torch.rand(2, 3, 48, 40))
        assert x.shape == (2, 3, 32, 32)
        assert model(x).shape == (2, 10)
    model, _ = finetuning.pretrained("torchvision", 3)
    assert torch.equal(model.cls_token, theirs.class_token)


def test_checkpointing_keeps_less() -> None:
    from torch.utils.checkpoint import checkpoint

    model, x = small(depth=6), torch.randn(8, 3, 16, 16)

    def frugal() -> torch.Tensor:
        tokens = model.patch_embed(x)
        for block in model.blocks:
            tokens = checkpoint(block, tokens, use_reentrant=False)
        return tokens.sum()

    assert saved_megabytes(frugal) < 0.5 * saved_megabytes(lambda: model(x).sum())
