"""A small trained Vision Transformer to look into: `trained_vit()`.

The weights were trained by `experiments/attention_maps.py` (its log says how, how long and how good) and are stored under
timm's names. The blocks here are torch's own `nn.TransformerEncoderLayer`, so that any attention module can be put to the
test on real tokens: `attention_inputs` gives what reaches the attention of each block, `attention_state` its weights.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

from vitcourse.data import ASSETS, DataUnavailable

FILE = "attention_vit.safetensors"


class TrainedViT(nn.Module):
    """A Vision Transformer with a class token, pre-norm blocks and learned positions, made of torch's own layers.

    Args:
        img_size: side of the square pictures in pixels.
        patch_size: P.
        embed_dim: D.
        depth: L.
        num_heads: h.
        class_names: the names of the classes.
    """

    def __init__(
        self, img_size: int, patch_size: int, embed_dim: int, depth: int, num_heads: int, class_names: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.img_size, self.patch_size, self.class_names = img_size, patch_size, class_names
        self.embed_dim, self.depth, self.num_heads = embed_dim, depth, num_heads
        side = img_size // patch_size
        self.grid = (side, side)
        self.patches = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, embed_dim))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                embed_dim, num_heads, 4 * embed_dim, dropout=0.0, activation="gelu", layer_norm_eps=1e-6,
                batch_first=True, norm_first=True,
            )
            for _ in range(depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, len(class_names))

    def load_timm(self, state: dict[str, Tensor]) -> TrainedViT:
        """Load weights stored under timm's names. Raises `RuntimeError` where a name or a shape does not fit."""
        renamed = {
            "patch_embed.proj.": "patches.", "blocks.": "layers.", ".attn.qkv.weight": ".self_attn.in_proj_weight",
            ".attn.qkv.bias": ".self_attn.in_proj_bias", ".attn.proj.": ".self_attn.out_proj.",
            ".mlp.fc1.": ".linear1.", ".mlp.fc2.": ".linear2.",
        }  # fmt: skip
        own = {}
        for name, value in state.items():
            for theirs, ours in renamed.items():
                name = name.replace(theirs, ours)
            own[name] = value.float()
        self.load_state_dict(own)
        return self.eval()

    def _embed(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)  # (B, N, D)
        return torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], 1) + self.pos_embed

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) to logits (B, classes)."""
        x = self._embed(images)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])

    @torch.no_grad()
    def attention_inputs(self, images: Tensor) -> list[Tensor]:
        """For each block, the tokens that reach its attention, (B, 1 + N, D), the class token first."""
        x, inputs = self._embed(images), []
        layer: Any
        for layer in self.layers:
            inputs.append(layer.norm1(x))
            x = layer(x)
        return inputs

    def attention_state(self, block: int) -> dict[str, Tensor]:
        """The weights of the attention in block 0, 1, ..., under timm's names: qkv.weight, qkv.bias, proj.weight, proj.bias."""
        theirs: Any = self.layers[block].self_attn
        return {
            "qkv.weight": theirs.in_proj_weight.detach().clone(),
            "qkv.bias": theirs.in_proj_bias.detach().clone(),
            "proj.weight": theirs.out_proj.weight.detach().clone(),
            "proj.bias": theirs.out_proj.bias.detach().clone(),
        }


@functools.cache
def _stored() -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    path = ASSETS / FILE
    repair = "Restore it with `git checkout -- vitcourse/assets`, or install the course package again."
    if not path.is_file():
        raise DataUnavailable(f"The course file {path} is missing. {repair}")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            state = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except SafetensorError as error:
        raise DataUnavailable(f"The course file {path} is damaged ({error}). {repair}") from error
    if digest(state) != about.get("sha256"):
        raise DataUnavailable(f"The course file {path} is damaged (its checksum differs). {repair}")
    return state, about


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 over the names and the numbers of a state dict."""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def trained_vit() -> TrainedViT:
    """The course's small Vision Transformer trained on Emoji-12, in evaluation mode on the CPU.

    Raises:
        DataUnavailable: the course's file of weights is missing or damaged; the message says what to do.
    """
    state, about = _stored()
    config = json.loads(about["config"])
    return TrainedViT(**config | {"class_names": tuple(config["class_names"])}).load_timm(state)


def how_it_was_trained() -> str:
    """One line about the stored weights: data, epochs, seed, accuracy, time."""
    return _stored()[1]["summary"]
