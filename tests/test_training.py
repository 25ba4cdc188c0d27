"""The training loop: that it learns, keeps its promises about schedule, decay, seeds and modes, and stays off stderr."""

import itertools
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitcourse import data, devices, training
from vitcourse.data import ImageData

CPU = {"device": "cpu", "progress": False}


def toy(n=200, seed=0):
    """Pictures whose class is the brighter half: learnable by a linear model."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=g)
    images = torch.rand(n, 1, 8, 8, generator=g) * 0.5
    images[:, :, :, :4] += 0.4 * (labels == 0).float()[:, None, None, None]
    images[:, :, :, 4:] += 0.4 * (labels == 1).float()[:, None, None, None]
    return ImageData(images, labels, ("left", "right"))


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def test_a_small_cnn_learns_fashion_mnist():
    def block(a, b):
        return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]

    torch.manual_seed(0)
    model = nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * 49, 10))
    history = training.fit(
        model, data.fashion_mnist(), data.fashion_mnist("test").take(1000), epochs=2, lr=5e-3, progress=False
    )
    assert history.final >= 0.80
    assert len(history.loss) == len(history.test_accuracy) == 2
    assert history.loss[1] < history.loss[0]
    assert 0 < history.seconds < 60


def test_fit_learns_and_reports():
    model = linear()
    history = training.fit(model, toy(), toy(seed=1), epochs=15, lr=1e-2, **CPU)
    assert history.final > 0.95
    assert history.final == history.test_accuracy[-1]
    assert history.final == training.accuracy(model, toy(seed=1))
    assert not model.training


def test_final_is_nan_without_a_test_set():
    history = training.fit(linear(), toy(), epochs=1, **CPU)
    assert history.test_accuracy == []
    assert history.final != history.final


def test_same_seed_same_weights_and_the_outer_random_state_is_untouched():
    def train(seed):
        model = nn.Sequential(linear(), nn.Dropout(0.1))
        training.fit(model, toy(), epochs=2, seed=seed, augment=training.random_shift_flip, **CPU)
        return model[0][1].weight.detach()

    torch.manual_seed(7)
    expected = torch.rand(3)
    assert torch.equal(train(1), train(1))
    assert not torch.equal(train(1), train(2))
    torch.manual_seed(7)
    model = linear()
    torch.manual_seed(7)
    training.fit(model, toy(), epochs=1, **CPU)
    assert torch.equal(torch.rand(3), expected)


def test_every_picture_is_seen_once_an_epoch_in_batches_of_nearly_equal_size():
    seen, sizes = [], []

    def spy(model, images, labels):
        seen.extend(images[:, 0, 0, 0].tolist())
        sizes.append(len(images))
        return F.cross_entropy(model(images), labels)

    d = toy(101)
    d.images[:, 0, 0, 0] = torch.arange(101.0)
    training.fit(linear(), d, epochs=1, batch_size=25, loss=spy, lr=1e-6, **CPU)
    assert sorted(seen) == [float(i) for i in range(101)]
    assert seen != sorted(seen)
    assert len(sizes) == 5
    assert max(sizes) <= 25
    assert max(sizes) - min(sizes) <= 1


def test_schedule_rises_then_falls():
    factors = [training.lr_factor(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(factors[9:]))
    assert training.lr_factor(0, 10, 0.0) == 1.0
    assert training.lr_factor(9, 10, 1.0) == 1.0


def test_own_optimizer_keeps_its_learning_rate_under_the_schedule():
    model = linear()
    optimizer = torch.optim.SGD(
        [{"params": [model[1].weight], "lr": 0.5}, {"params": [model[1].bias], "lr": 0.0}], lr=1
    )
    bias = model[1].bias.detach().clone()
    rates = []

    def spy(m, images, labels):
        rates.append(optimizer.param_groups[0]["lr"])
        return F.cross_entropy(m(images), labels)

    training.fit(model, toy(), epochs=5, batch_size=50, optimizer=optimizer, loss=spy, warmup=0.2, **CPU)
    assert max(rates) == 0.5
    assert rates[0] == pytest.approx(0.125)
    assert rates[-1] < 0.05
    assert torch.equal(model[1].bias, bias)


class _Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.ones(1, 4, 8))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 8))
        self.proj = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)


def test_only_matrices_decay():
    model = _Named()
    decay, plain = training.decay_groups(model, 0.3)
    assert decay["weight_decay"] == 0.3
    assert [id(p) for p in decay["params"]] == [id(model.proj.weight)]
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 5
    assert training.parameter_count(model) == 32 + 8 + 72 + 16 + 72
    assert training.parameter_count(model, trainable_only=True) == 32 + 8 + 72 + 16
    assert training.adamw(model).defaults["fused"] is True


def test_clip_bounds_the_step():
    def moved(clip):
        model = linear()
        before = model[1].weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        training.fit(
            model, toy(), epochs=1, batch_size=200, optimizer=optimizer, warmup=0.0, clip=clip,
            loss=lambda m, x, y: 100 * F.cross_entropy(m(x), y), **CPU,
        )  # fmt: skip
        return (model[1].weight - before).norm().item()

    assert moved(0.1) <= 0.1 + 1e-6 < 1 < moved(None)


def test_label_smoothing_and_augmentation_are_used():
    calls = []

    def augment(images, generator):
        calls.append(images.shape)
        return images

    plain = training.fit(linear(), toy(), epochs=1, lr=1e-9, **CPU)
    smooth = training.fit(linear(), toy(), epochs=1, lr=1e-9, label_smoothing=0.5, augment=augment, **CPU)
    assert calls == [(100, 1, 8, 8), (100, 1, 8, 8)]
    logits = training.predict(linear(), toy().images)
    assert plain.loss[0] == pytest.approx(F.cross_entropy(logits, toy().labels).item(), abs=1e-4)
    assert smooth.loss[0] == pytest.approx(F.cross_entropy(logits, toy().labels, label_smoothing=0.5).item(), abs=1e-4)


def test_segmentation_labels_work():
    d = toy(60)
    masks = (d.images[:, 0] > 0.5).long()
    d = ImageData(d.images, masks, ("dark", "light"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    history = training.fit(model, d, d, epochs=40, batch_size=20, lr=3e-2, **CPU)
    assert history.final > 0.9


def test_a_diverging_loss_is_named():
    with pytest.raises(FloatingPointError, match="learning rate"):
        training.fit(linear(), toy(), epochs=1, loss=lambda m, x, y: m(x).sum() * float("nan"), clip=None, **CPU)


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"epochs": 1, "batch_size": 0}, {"epochs": 1, "warmup": 2.0}])
def test_impossible_settings(bad):
    with pytest.raises(ValueError, match=r"epochs|batch_size|warmup"):
        training.fit(linear(), toy(), **bad, **CPU)


def test_a_frozen_model_is_named():
    with pytest.raises(ValueError, match="requires a gradient"):
        training.fit(linear().requires_grad_(False), toy(), epochs=1, **CPU)


def test_predict_restores_each_modules_mode_and_gives_ordinary_tensors():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 2), nn.BatchNorm1d(2))
    model.train()
    model[3].eval()  # a frozen batch norm inside a model in training
    d = toy(7)
    logits = training.predict(model, d.images, batch_size=3)
    assert logits.shape == (7, 2)
    assert [m.training for m in model] == [True, True, True, False]
    assert model.training
    assert torch.equal(logits, training.predict(model, d.images, batch_size=3))
    w = torch.ones(2, requires_grad=True)
    (logits * w).sum().backward()  # tensors made in inference mode would refuse this
    assert w.grad is not None


def test_modes_come_back_even_after_an_error():
    model = linear().train()
    with pytest.raises(RuntimeError):
        training.predict(model, torch.zeros(2, 1, 5, 5))
    assert model.training


def test_progress_goes_to_stdout_only():
    code = (
        "import torch; from torch import nn; from vitcourse import training; from vitcourse.data import ImageData\n"
        "d = ImageData(torch.rand(40, 1, 8, 8), torch.arange(40) % 2, ('a', 'b'))\n"
        "training.fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), d, d, epochs=2, batch_size=8, device='cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, encoding="utf-8")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "10/10" in done.stdout
    assert "loss" in done.stdout
    assert "test accuracy" in done.stdout


def test_shift_flip_only_moves_and_mirrors():
    g = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, 6, 7)
    moved = training.random_shift_flip(images, g, shift=2)
    assert moved.shape == images.shape
    padded = F.pad(images, (2, 2, 2, 2))
    found = set()
    for before, after in zip(padded, moved, strict=True):
        options = [
            (dy, dx, mirrored)
            for dy in range(5)
            for dx in range(5)
            for mirrored in (False, True)
            if torch.equal(
                after,
                (lambda crop, m: crop.flip(-1) if m else crop)(before[:, dy : dy + 6, dx : dx + 7], mirrored),
            )
        ]
        assert options
        found.add(options[0])
    assert len(found) > 20
    assert {m for _, _, m in found} == {False, True}
    assert torch.equal(training.random_shift_flip(images, g, shift=0, flip=False), images)


def test_crop_flip_keeps_range_and_can_be_the_identity():
    g = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 16).expand(32, 1, 16, 16)
    out = training.random_crop_flip(ramp, g)
    assert out.shape == ramp.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(out, ramp)
    slopes = (out[:, 0, 8, 12] - out[:, 0, 8, 4]).sign()
    assert {-1.0, 1.0} == set(slopes.tolist())  # some mirrored, some not
    again = training.random_crop_flip(ramp, torch.Generator().manual_seed(0))
    assert torch.equal(out, again)
    with pytest.raises(ValueError, match="scale"):
        training.random_crop_flip(ramp, g, scale=(0.0, 1.0))


def test_devices(monkeypatch):
    sentence = devices.describe_device()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    monkeypatch.setattr(devices, "device", lambda: torch.device("cpu"))
    assert not devices.on_gpu()
    assert devices.scale(cpu=4, gpu=30) == 4
    monkeypatch.setattr(devices, "device", lambda: torch.device("cuda"))
    assert devices.on_gpu()
    assert devices.scale(cpu=4, gpu=30) == 30
    devices.seed_everything(3)
    first = torch.rand(2)
    devices.seed_everything(3)
    assert torch.equal(first, torch.rand(2))
