"""Lesson 07: start from weights that somebody else trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from solutions.embeddings import interpolate_positions
from solutions.vision_transformer import VisionTransformer, from_torchvision
from vitcourse.data import ASSETS

CHECKPOINT = ASSETS / "checkpoints" / "emoji12_vit.safetensors"
TOKENS = ("cls_token", "dist_token", "pos_embed")  # learned vectors without a layer of their own


def load_backbone(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy published weights into a model, all but the head, and refuse anything that does not fit.

    Head means every name that starts with "head". The model keeps its own head, whatever the file holds under such
    names: its classes are other classes. `state_dict` is left as it was.

    Args:
        model: filled in place.
        state_dict: name → tensor.

    Raises:
        ValueError: outside the head, a name is missing in the file, or the model does not know one, or a shape differs.
            The message lists the names.
    """
    ### BEGIN SOLUTION
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith("head")}
    given = {name: value for name, value in state_dict.items() if not name.startswith("head")}
    wrong = [f"missing: {name}" for name in wanted if name not in given]
    wrong += [f"unexpected: {name}" for name in given if name not in wanted]
    wrong += [f"shape: {name}" for name in given if name in wanted and given[name].shape != wanted[name].shape]
    if wrong:
        raise ValueError("the weights do not fit the model; " + ", ".join(wrong))
    model.load_state_dict(given, strict=False)  # only the head can be missing now
    ### END SOLUTION


def published_weights(source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights under timm's names, and what one must know to use them: the model's numbers and the normalisation.

    Args:
        source: "course" reads the course's own checkpoint, a small ViT trained on Emoji-12. "torchvision" loads
            `vit_b_16(weights=DEFAULT)`, trained on ImageNet; the first time this downloads 330 MB.

    Returns:
        (name → tensor, {"config": arguments of `VisionTransformer`, "mean": ..., "std": ...}).
    """
    if source == "course":
        with safe_open(str(CHECKPOINT), framework="pt") as file:
            about = json.loads(file.metadata()["about"])
        return load_file(str(CHECKPOINT)), about
    from torchvision.models import ViT_B_16_Weights, vit_b_16

    theirs, transforms = vit_b_16(weights=ViT_B_16_Weights.DEFAULT), ViT_B_16_Weights.DEFAULT.transforms()
    config = {"img_size": theirs.image_size, "patch_size": theirs.patch_size, "embed_dim": theirs.hidden_dim,
              "num_classes": theirs.num_classes, "depth": len(theirs.encoder.layers),
              "num_heads": theirs.encoder.layers[0].num_heads}  # fmt: skip
    about = {"config": config, "mean": transforms.mean, "std": transforms.std}
    return from_torchvision(theirs.state_dict()), about


def pretrained(source: str, num_classes: int) -> tuple[VisionTransformer, Callable[[Tensor], Tensor]]:
    """A ViT with published weights and a new head, and the function that prepares pictures as it saw them in training.

    Args:
        source: as for `published_weights`.
        num_classes: outputs of the new head.

    Returns:
        The model, and images (B, C, H, W) with values in 0..1 to what the model expects: its size, its normalisation.
    """
    weights, about = published_weights(source)
    model = VisionTransformer(**{**about["config"], "num_classes": num_classes})
    load_backbone(model, weights)
    mean, std = (torch.tensor(about[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    side = about["config"]["img_size"]

    def prepare(images: Tensor) -> Tensor:
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        return (images - mean) / std

    return model, prepare


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Put a new, freshly initialised linear layer in place of each head, for other classes.

    The head of the course's and timm's ViTs is `model.head`, a distilled one (lesson 05) has `model.head_dist` as
    well, and torchvision's is `model.heads.head`. Each new layer takes the old one's name, number of inputs, dtype and
    device. Nothing else changes.

    Args:
        model: changed in place.
        num_classes: outputs of the new layers.

    Returns:
        The same model.

    Raises:
        ValueError: the model has none of the three.
    """
    ### BEGIN SOLUTION
    found = [name for name in ("head", "head_dist", "heads.head") if name in dict(model.named_modules())]
    if not found:
        raise ValueError("the model has no head, head_dist or heads.head to replace")
    for name in found:
        parent, _, leaf = name.rpartition(".")
        old: Any = model.get_submodule(name)
        new = nn.Linear(old.in_features, num_classes).to(old.weight)  # same dtype and device
        setattr(model.get_submodule(parent), leaf, new)
    return model
    ### END SOLUTION


def probe_features(model: VisionTransformer, images: Tensor) -> Tensor:
    """What a linear probe sees: the class token after the last norm, from a model that does not learn.

    The model runs in evaluation mode (no dropout, no stochastic depth) and without a graph, and has its old mode again
    afterwards. A probe computes these once and trains a linear layer on them.

    Args:
        model: its `forward_features` gives normed tokens (B, 1 + N, D), the class token first.
        images: (B, C, H, W).

    Returns:
        (B, D), not attached to a graph.
    """
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    with torch.no_grad():
        features = model.forward_features(images)[:, 0]  # (B, 1 + N, D) → (B, D)
    model.train(was_training)
    return features
    ### END SOLUTION


def prepare_training(model: VisionTransformer, head: nn.Linear, last_blocks: int, lr: float) -> torch.optim.Optimizer:
    """Swap the head, decide what may move, and build the optimizer: everything before the first step.

    What moves: the new head; with `last_blocks` > 0 also `model.norm` and the last that many of `model.blocks`. With
    `last_blocks` = L (or more) all blocks move, but never the patch embedding, the class token or the positions.
    The model may come with any parameters frozen or free.

    Args:
        model: with timm's names (`blocks`, `norm`, `head`), changed in place.
        head: the new head.
        last_blocks: 0 for a linear probe.
        lr: learning rate.

    Returns:
        `torch.optim.AdamW` with this learning rate and no weight decay, over what moves.
    """
    ### BEGIN SOLUTION
    model.head = head
    model.requires_grad_(False)
    first = max(len(model.blocks) - last_blocks, 0)
    moving = [model.head] if last_blocks == 0 else [*model.blocks[first:], model.norm, model.head]
    for module in moving:
        module.requires_grad_(True)
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    ### END SOLUTION


def layer_lr_groups(model: VisionTransformer, lr: float, decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups with a learning rate that falls from the head to the patches (BEiT, MAE).

    With L blocks, a parameter of layer ℓ gets lr · decay^(L + 1 − ℓ). Layer 0 is the patch embedding, the class (and
    distillation) token and the positions; layer i + 1 is `blocks.i`; layer L + 1 is all the rest: final norm and head
    (timm counts the final norm with the last block; BEiT and MAE, and we, with the head).

    Weight decay falls on matrices and convolution kernels alone: none on parameters with one dimension (biases,
    norms), none on tokens and positions (the names in `TOKENS`).

    Args:
        model: with timm's names.
        lr: learning rate of the head.
        decay: in (0, 1]; 1 gives every layer the same rate.
        weight_decay: for the parameters that get any.

    Returns:
        Groups for an optimizer, each {"params": [...], "lr": ..., "weight_decay": ...}, in any order and grouping.
        Each parameter that requires a gradient stands in exactly one; the others in none.
    """
    ### BEGIN SOLUTION
    last = len(model.blocks) + 1
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        top = name.split(".")[0]
        layer = int(name.split(".")[1]) + 1 if top == "blocks" else 0 if top in ("patch_embed", *TOKENS) else last
        exempt = parameter.ndim <= 1 or name in TOKENS
        new = {"params": [], "lr": lr * decay ** (last - layer), "weight_decay": 0.0 if exempt else weight_decay}
        groups.setdefault((layer, exempt), new)["params"].append(parameter)
    return list(groups.values())
    ### END SOLUTION


def resize_positions(
    model: VisionTransformer, old_size: tuple[int, int], new_size: tuple[int, int]
) -> VisionTransformer:
    """Make a ViT fit for images of another size by interpolating its positions (Dosovitskiy et al. 2021, section 3.2).

    `model.pos_embed` becomes a parameter of shape (1, K + h'w', D). K is the number of tokens in front of the patches:
    1, or 2 where the model has a `dist_token`. Use `interpolate_positions` of lesson 02.

    Args:
        model: has `pos_embed` and `patch_embed.patch_size`, changed in place.
        old_size: (H, W) in pixels, that the positions were made for.
        new_size: (H', W') in pixels.

    Returns:
        The same model.

    Raises:
        ValueError: the patch size does not divide `new_size`.
    """
    ### BEGIN SOLUTION
    P = model.patch_embed.patch_size
    if new_size[0] % P or new_size[1] % P:
        raise ValueError(f"{new_size[0]}×{new_size[1]} pixels do not divide into patches of {P}")
    old_grid, new_grid = (old_size[0] // P, old_size[1] // P), (new_size[0] // P, new_size[1] // P)
    prefix = 2 if hasattr(model, "dist_token") else 1
    model.pos_embed = nn.Parameter(interpolate_positions(model.pos_embed.detach(), old_grid, new_grid, prefix))
    return model
    ### END SOLUTION


def accumulated_step(
    model: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, micro_batch: int
) -> float:
    """One optimizer step on a large batch that passes through the model in pieces.

    The gradient equals the one of `F.cross_entropy(model(images), labels)` on the whole batch, also where the last
    piece is smaller. Memory holds the graph of one piece at a time.

    Args:
        model: images (b, C, H, W) to logits (b, classes).
        images: (B, C, H, W).
        labels: (B,).
        optimizer: may hold old gradients, which do not count.
        micro_batch: most pictures in a piece.

    Returns:
        The mean loss over the whole batch.
    """
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    total = 0.0
    for x, y in zip(images.split(micro_batch), labels.split(micro_batch), strict=True):
        loss = F.cross_entropy(model(x), y, reduction="sum") / len(images)
        loss.backward()  # adds to .grad and frees this piece's graph
        total += loss.item()
    optimizer.step()
    return total
    ### END SOLUTION
