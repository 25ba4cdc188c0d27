"""One training loop for every lesson: AdamW, warm-up then cosine decay, mixed precision on a GPU, a progress bar."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse import devices
from vitcourse.data import ImageData

Augment = Callable[[Tensor, torch.Generator], Tensor]
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]

NO_DECAY_NAMES = ("pos_embed", "cls_token", "dist_token", "relative_position_bias_table")


@dataclass
class History:
    """What :func:`fit` measured.

    loss: mean training loss of each epoch. test_accuracy: accuracy on the test set after each epoch, 0..1 (empty when
    no test set was given). seconds: wall-clock time of the whole training.
    """

    loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def final(self) -> float:
        """Test accuracy after the last epoch, 0..1; nan when there was no test set."""
        return self.test_accuracy[-1] if self.test_accuracy else math.nan


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: weight decay on matrices only.

    Biases, normalisation weights (one dimension or none), position embeddings and tokens get none, as in DeiT
    (Touvron et al. 2021, arXiv 2012.12877). Parameters that need no gradient are left out.
    """
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim <= 1 or name.rsplit(".", 1)[-1] in NO_DECAY_NAMES
            (plain if exempt else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def adamw(model: nn.Module, lr: float = 1e-3, weight_decay: float = 0.05) -> torch.optim.AdamW:
    """AdamW over :func:`decay_groups`, fused where torch can (3 to 4 times faster a step)."""
    groups = decay_groups(model, weight_decay)
    if not groups:
        raise ValueError("the model has no parameter that requires a gradient: nothing to train")
    kinds = {p.device.type for group in groups for p in group["params"]}
    return torch.optim.AdamW(groups, lr=lr, fused=kinds <= {"cpu", "cuda"})


def lr_factor(step: int, total: int, warmup: float) -> float:
    """Multiplier of the learning rate at `step` of `total`: linear rise over the fraction `warmup`, then half a cosine.

    lr_factor(0, 100, 0.1) = 0.1, lr_factor(9, 100, 0.1) = 1.0, and the last step comes close to 0.
    """
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


@contextmanager
def _progress_bar(total: int, shown: bool) -> Iterator[Any]:
    """A text bar on standard output, None when not shown.

    Text rather than tqdm's widget: its last state stays in a saved or exported notebook, it needs no ipywidgets, and
    nothing goes to stderr.
    """
    if not shown:
        yield None
        return
    from tqdm import tqdm

    bar = tqdm(total=total, file=sys.stdout, mininterval=0.5, unit="step", dynamic_ncols=True)
    try:
        yield bar
    finally:
        bar.close()


def fit(
    model: nn.Module,
    train: ImageData,
    test: ImageData | None = None,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    augment: Augment | None = None,
    loss: Loss | None = None,
    label_smoothing: float = 0.0,
    optimizer: torch.optim.Optimizer | None = None,
    clip: float | None = 1.0,
    device: torch.device | str | None = None,
    progress: bool = True,
    seed: int = 0,
) -> History:
    """Train `model` in place on `train` and return the History; after it the model is in evaluation mode.

    augment: (images (b, C, H, W), generator) -> images, applied to each batch. The generator lives on the CPU.
    loss: (model, images, labels) -> scalar; by default cross-entropy of model(images), with `label_smoothing`.
    optimizer: replaces fused AdamW with `lr` and `weight_decay`; the schedule then multiplies its own learning rates.
    warmup: fraction of all steps in which the learning rate rises. clip: largest norm of the gradient, or None.
    device: default devices.device(); the model is moved there. On CUDA the forward pass runs in bf16 (or scaled fp16).
    seed: decides batch order, augmentation and dropout; the random state outside is left as it was.
    Raises ValueError for an impossible setting and FloatingPointError when the loss stops being a number.
    """
    if epochs < 1 or batch_size < 1 or len(train) == 0:
        raise ValueError(
            f"need epochs >= 1, batch_size >= 1 and pictures to train on, got epochs={epochs}, "
            f"batch_size={batch_size}, {len(train)} pictures"
        )
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup is a fraction of the training, 0..1, got {warmup}")
    where = torch.device(device) if device is not None else devices.device()
    model.to(where)
    optimizer = adamw(model, lr, weight_decay) if optimizer is None else optimizer
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    on_cuda = where.type == "cuda"
    half = torch.bfloat16 if on_cuda and torch.cuda.is_bf16_supported() else torch.float16
    scaler = torch.amp.GradScaler("cuda", enabled=on_cuda and half is torch.float16)

    images, labels = train.images.to(where), train.labels.to(where)
    batches = math.ceil(len(train) / batch_size)  # of nearly equal size, so that none is tiny
    total = epochs * batches
    history = History()
    start = time.perf_counter()
    cuda_devices = list(range(torch.cuda.device_count())) if on_cuda else []
    with torch.random.fork_rng(devices=cuda_devices), _progress_bar(total, progress) as bar:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        for epoch in range(epochs):
            model.train()
            summed = torch.zeros((), device=where)
            order = torch.randperm(len(train), generator=generator)
            for number, chosen in enumerate(order.tensor_split(batches)):
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * lr_factor(epoch * batches + number, total, warmup)
                index = chosen.to(where)
                x, y = images[index], labels[index]
                if augment is not None:
                    x = augment(x, generator)
                with torch.autocast(where.type, dtype=half, enabled=on_cuda):
                    if loss is None:
                        value = F.cross_entropy(model(x), y, label_smoothing=label_smoothing)
                    else:
                        value = loss(model, x, y)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(value).backward()
                if clip is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(trainable, clip)
                scaler.step(optimizer)
                scaler.update()
                summed += value.detach().float() * len(index)
                if bar is not None:
                    if number % 20 == 0:
                        bar.set_postfix_str(_status(epoch, epochs, float(value.detach()), history), refresh=False)
                    bar.update()
            mean = summed.item() / len(train)
            if not math.isfinite(mean):
                raise FloatingPointError(
                    f"the training loss became {mean} in epoch {epoch + 1}: try a smaller learning rate "
                    f"(now {lr:g}), more warm-up, or look for a division by zero or a missing scale in the model"
                )
            history.loss.append(mean)
            if test is not None:
                history.test_accuracy.append(accuracy(model, test))
            if bar is not None:
                bar.set_postfix_str(_status(epoch, epochs, mean, history), refresh=epoch + 1 == epochs)
    model.eval()
    history.seconds = time.perf_counter() - start
    return history


def _status(epoch: int, epochs: int, loss: float, history: History) -> str:
    text = f"epoch {epoch + 1}/{epochs}, loss {loss:.3f}"
    return f"{text}, test accuracy {history.final:.1%}" if history.test_accuracy else text


def predict(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Logits of `model` for images (B, C, H, W), on the CPU: (B, classes), or what the model returns per image.

    Runs in evaluation mode without gradients on the device the model is on, then gives every module back the mode it
    had.
    """
    modes = {module: module.training for module in model.modules()}
    first = next(model.parameters(), None)
    where = first.device if first is not None else torch.device("cpu")
    model.eval()
    try:
        with torch.inference_mode():
            parts = [model(batch.to(where)).float().cpu() for batch in images.split(batch_size)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.cat(parts)  # outside inference mode: an ordinary tensor, usable in a distillation loss


def accuracy(model: nn.Module, data: ImageData, batch_size: int = 500) -> float:
    """Share of correct predictions, 0..1: of pictures, or of pixels when the labels are (B, H, W)."""
    if len(data) == 0:
        raise ValueError("no pictures to measure accuracy on")
    correct = 0
    for start in range(0, len(data), batch_size):
        rows = slice(start, start + batch_size)
        best = predict(model, data.images[rows], batch_size).argmax(dim=1)
        correct += int((best == data.labels[rows].cpu()).sum())
    return correct / data.labels.numel()


def parameter_count(model: nn.Module, trainable_only: bool = False) -> int:
    """How many numbers the model learns (shared parameters count once)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


# --------------------------------------------------------------------------- augmentation of whole batches


def random_shift_flip(images: Tensor, generator: torch.Generator, shift: int = 2, flip: bool = True) -> Tensor:
    """Move each picture by up to `shift` pixels in both directions (black comes in) and mirror half of them.

    images (B, C, H, W) -> the same shape. `generator` lives on the CPU. For digits and text use flip=False.
    """
    n, channels, height, width = images.shape
    if shift < 0:
        raise ValueError(f"shift must not be negative, got {shift}")
    moves = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=generator)
    mirror = torch.rand(n, 1, generator=generator) < (0.5 if flip else 0.0)
    rows = torch.arange(height) + moves[0]  # (B, H) in the padded picture
    columns = torch.arange(width)
    columns = torch.where(mirror, width - 1 - columns, columns) + moves[1]  # (B, W)
    padded = F.pad(images, (shift, shift, shift, shift))
    picture = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    rows, columns = rows.to(images.device), columns.to(images.device)
    return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_crop_flip(
    images: Tensor, generator: torch.Generator, scale: tuple[float, float] = (0.6, 1.0), flip: bool = True
) -> Tensor:
    """Cut a random rectangle out of each picture, stretch it back to full size, and mirror half of them.

    images (B, C, H, W) -> the same shape. scale: least and greatest area of the rectangle as a share of the picture;
    its aspect ratio varies from 3/4 to 4/3. `generator` lives on the CPU.
    """
    low, high = scale
    if not 0 < low <= high <= 1:
        raise ValueError(f"scale must satisfy 0 < low <= high <= 1, got {scale}")
    n = len(images)
    area = torch.empty(n).uniform_(low, high, generator=generator)
    ratio = torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator).exp()
    size = torch.stack(((area * ratio).sqrt(), (area / ratio).sqrt()), dim=1).clamp(max=1)  # (B, 2): width, height
    centre = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - size)
    mirror = torch.where(torch.rand(n, generator=generator) < (0.5 if flip else 0.0), -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = size[:, 0] * mirror, size[:, 1], centre
    grid = F.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
