"""Lesson 05: the solutions against torch, timm and numbers worked out by hand; the explorer; the log."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from solutions.deit_distillation import (
    DistilledVisionTransformer,
    ask_teacher,
    conv_teacher,
    hard_distillation_loss,
    mixup,
    smooth_labels,
    soft_distillation_loss,
    strong_augment,
)
from vitcourse.explorers.deit_distillation import explore_temperature, soft_terms
from vitcourse.pictures import deit_distillation as draw
from vitcourse.probes import scramble

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_smoothing_is_torchs(epsilon):
    labels, logits = torch.randint(0, 7, (5,)), torch.randn(5, 7)
    ours = F.cross_entropy(logits, smooth_labels(labels, 7, epsilon))
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=epsilon))


def test_mixup_is_torchvisions_up_to_the_partner():
    images, labels = torch.rand(4, 3, 5, 6), torch.tensor([0, 1, 2, 1])
    targets = F.one_hot(labels, 3).float()
    theirs, their_targets = v2.MixUp(alpha=1.0, num_classes=3)(images, labels)  # its partner is the previous picture
    partner = torch.arange(4).roll(1)
    lam = float(their_targets[0, 0])  # labels 0 and its partner 1 differ
    mixed, blended = mixup(images, targets, lam, partner)
    torch.testing.assert_close(mixed, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(blended, their_targets, atol=1e-5, rtol=1e-5)


def test_mixup_example_of_the_text():
    images = torch.tensor([10.0, 20.0, 40.0]).view(3, 1, 1, 1)
    mixed, _ = mixup(images, torch.eye(3), 0.75, torch.tensor([1, 2, 0]))
    assert mixed.flatten().tolist() == [12.5, 25.0, 32.5]


def test_the_teacher_is_only_asked():
    teacher = conv_teacher(5, width=4).train()
    before = {name: b.clone() for name, b in teacher.named_buffers()}
    logits = ask_teacher(teacher, torch.rand(3, 3, 16, 24))
    assert logits.shape == (3, 5)
    assert not logits.requires_grad
    assert all(torch.equal(b, before[name]) for name, b in teacher.named_buffers())


def test_soft_loss_examples_of_the_text():
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    loss = soft_distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), teacher, torch.tensor([0]), 2.0, 0.5)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(loss) == pytest.approx(0.5 * math.log(2) + 0.5 * 4 * kl, abs=1e-6)


def test_soft_loss_is_deits_times_the_number_of_classes():
    """DeiT's code: kl_div(sum, log_target) * T² / numel, with numel = B · K."""
    cls, dist, teacher, labels = torch.randn(4, 6), torch.randn(4, 6), torch.randn(4, 6), torch.randint(0, 6, (4,))
    t = 3.0
    deit = F.kl_div(F.log_softmax(dist / t, 1), F.log_softmax(teacher / t, 1), reduction="sum", log_target=True)
    deit = deit * (t * t) / dist.numel()
    ours = soft_distillation_loss(cls, dist, teacher, labels, t, 0.3)
    torch.testing.assert_close(ours, 0.7 * F.cross_entropy(cls, labels) + 0.3 * 6 * deit)


def test_soft_loss_of_a_student_that_agrees_is_the_labels_part():
    cls, teacher, labels = torch.randn(4, 6), torch.randn(4, 6), torch.randint(0, 6, (4,))
    loss = soft_distillation_loss(cls, teacher, teacher, labels, 3.0, 0.3)
    torch.testing.assert_close(loss, 0.7 * F.cross_entropy(cls, labels))


def test_hard_loss_example_of_the_text():
    cls, dist = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
    loss = hard_distillation_loss(cls, dist, torch.tensor([[1.0, 5.0]]), torch.tensor([0]))
    assert float(loss) == pytest.approx(0.5 * math.log(2) - 0.5 * math.log(0.75), abs=1e-6)


def test_agrees_with_timm_on_the_same_weights():
    timm = pytest.importorskip("timm")
    theirs = scramble(timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False)).eval()
    ours = DistilledVisionTransformer(embed_dim=192, depth=12, num_heads=3).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=5e-5, rtol=1e-5)
        theirs.set_distilled_training(True)
        for mine, their in zip(ours.train()(x), theirs.train()(x), strict=True):
            torch.testing.assert_close(mine, their, atol=5e-5, rtol=1e-5)


def test_the_two_faces_of_the_model():
    model = DistilledVisionTransformer(
        img_size=(8, 12), patch_size=4, num_classes=5, embed_dim=12, depth=1, num_heads=3
    )
    x = torch.randn(2, 3, 8, 12)
    cls, dist = model.train()(x)
    torch.testing.assert_close(model.eval()(x), (cls + dist) / 2)
    with pytest.raises(ValueError):  # noqa: PT011
        model(torch.randn(1, 3, 9, 12))


def test_the_recipe_keeps_shape_and_range():
    images = torch.rand(20, 3, 32, 32)
    augmented = strong_augment(images)
    assert augmented.shape == images.shape
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert not torch.equal(augmented, images)


def test_explorer_uses_the_loss_of_the_lesson():
    teacher, student = torch.randn(6), torch.randn(6)
    terms = soft_terms(teacher, student, 2, 3.0, 0.3)
    loss = soft_distillation_loss(student[None], student[None], teacher[None], torch.tensor([2]), 3.0, 0.3)
    assert terms["loss"] == pytest.approx(float(loss), abs=1e-5)


def test_explorer_has_a_text_fallback(capsys):
    explore_temperature(torch.tensor([6.0, 3.0, -1.0]), torch.zeros(3), 0, ("cat", "dog", "cup"))
    assert "At T = 3 the teacher says cat" in capsys.readouterr().out


def test_the_log_is_the_experiments():
    log = draw.read_log()
    assert log == json.loads((ROOT / "experiments/logs/deit_distillation.json").read_text(encoding="utf-8"))
    assert draw.LOG.stat().st_size < 300_000
    assert all(0 <= accuracy <= 1 for accuracy in draw.scores(log, "basic", "hard", "test"))


def test_conv_teacher_takes_other_sizes():
    teacher: nn.Module = conv_teacher(7, width=4).eval()
    assert teacher(torch.rand(1, 3, 40, 24)).shape == (1, 7)
