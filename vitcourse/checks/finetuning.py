"""Visible checks and questions of lesson 07."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse.checking import CheckFailed, close, differs, normal, raises, require, shape, visible_check
from vitcourse.probes import scramble as _scramble
from vitcourse.quiz import question

question(
    "finetuning.worth",
    right="c",
    why="The features for birds and ships help with balls and shoes. The runs are further down, with five seeds each.",
    wrong={
        "a": "The head is useless, and is replaced. What the layers below it see (edges, colours, shapes) serves both.",
        "b": "It does make a difference: the hundred pictures then only have to adapt features, not to invent them.",
        "d": "The source is small and its classes are others. Features help; they do not replace pictures of your own.",
    },
)
question(
    "finetuning.prefix",
    right=0,
    why="No name agrees, so nothing is loaded, and strict=False is content with that. The model trains from scratch.",
    wrong={
        "56": "That is what everyone believes who forgets the prefix. Not one name agrees.",
        "54": "Head aside, you thought? But no name agrees at all, with `module.` in front of each.",
    },
    otherwise="Compare `blocks.0.norm1.weight` with `module.blocks.0.norm1.weight`: does any name agree?",
)
question(
    "finetuning.first_loss",
    right=2.3,
    why="Equal logits give each class 1/10, and −ln(1/10) = ln 10 ≈ 2.30. A much larger first loss is a warning.",
    wrong={
        "1": "Base 10 gives 1; cross-entropy uses the natural logarithm.",
        "1.0": "Base 10 gives 1; cross-entropy uses the natural logarithm.",
        "3.32": "That is in bits, log₂ 10. Cross-entropy uses the natural logarithm.",
        "0.1": "That is the probability of each class. The loss is its negative logarithm.",
        "2.48": "That is ln 12, for the source's classes. The new head has 10.",
    },
    otherwise="Each class gets probability 1/10. The loss is −ln of the right class's probability.",
)
question(
    "finetuning.attribute",
    right="b",
    why="A module has no switch of that name: Python just makes an attribute. Every parameter still moves.",
    wrong={
        "a": "A probe moves the head alone. Here every parameter still has requires_grad = True.",
        "c": "Even truly frozen blocks pass gradients on to what lies before them; here they are not frozen.",
        "d": "Python allows new attributes on any module, so nothing complains. `requires_grad_()` is the method.",
    },
)
question(
    "finetuning.lowest_rate",
    right=3.7,
    why="0.001 · 0.65¹³ ≈ 3.7·10⁻⁶: the patches move some 270 times more slowly than the head.",
    wrong={
        "5.7": "That is 0.65¹², one layer too few: from layer 0 to layer L + 1 = 13 there are thirteen steps.",
        "2.4": "That is 0.65¹⁴, one layer too many: the head itself is not slowed down.",
        "650": "That is one step of decay; the patches lie thirteen steps below the head.",
    },
    otherwise="The patch embedding is layer 0. Raise 0.65 to the power L + 1 − 0 = 13, times 1000 millionths.",
)
question(
    "finetuning.fashion",
    right="b",
    why="The features were made for emojis. Frozen, they tell little about grey clothes, and 100 pictures tell as much.",
    wrong={
        "a": "On Emoji-10 source and target are alike. Here they are not, and frozen features cannot adapt.",
        "c": "Even features made for another purpose keep edges and shapes: enough to draw level.",
    },
)
question(
    "finetuning.overfit",
    right="b",
    why="Fewer or slower moving layers leave less room to memorise 50 pictures. The probe is the far end of that road.",
    wrong={
        "a": "It is already memorising; a larger rate destroys the good features faster.",
        "c": "They are few and hold information; decay on them damages without regularising much.",
        "d": "A larger model from new weights memorises 50 pictures even more easily, and knows nothing.",
    },
)
question(
    "finetuning.new_rows",
    right=49,
    why="64/8 = 8 rows and 48/8 = 6 columns of patches make 48, and the class token adds one.",
    wrong={
        "48": "That counts the patches. The class token has a position too.",
        "17": "That is what the checkpoint has: 4·4 + 1.",
        "3073": "Count patches, not pixels.",
        "3072": "Count patches, not pixels.",
        "50": "Two tokens in front is a distilled model; this one has the class token alone.",
    },
    otherwise="Patches down times patches across, and one for the class token.",
)
question(
    "finetuning.adamw_memory",
    right=1.4,
    why="86.6 million · 16 bytes = 1.39 GB. This part does not depend on the batch.",
    wrong={
        "0.3": "That is the weights alone, 4 bytes each. Gradient and AdamW's two means come on top.",
        "0.7": "That is weights and gradients, 8 bytes. AdamW keeps two more numbers per parameter.",
        "1.0": "That is 12 bytes per parameter: AdamW keeps two running means, not one.",
    },
    otherwise="86.6 million times 16 bytes, divided by 10⁹.",
)
question(
    "finetuning.batch_of_one",
    right="a",
    why="A batch of 1 cannot be cut further. The other three make that one picture cheaper.",
    wrong={
        "b": "It helps: one block's inside is held at a time, also for a single picture.",
        "c": "It helps: half the bytes for much of what is kept.",
        "d": "It helps a lot: the number of tokens falls with the square of the side.",
    },
)

_NORMAL = "The healthy line shows what the network should receive: mean near 0. Compare this line's input."
_INPUT = "The input's mean and spread are as in the healthy line: normalisation is done."
_ALL = "All five parts equal the file, so no weights are wrong. The fault lies in how they are used."
_NONE = "Here not one part equals the file; your answer would leave most of them equal."
question(
    "finetuning.patient_a",
    right="a",
    why="The weights are all right, but what comes in lies between 0 and 1 and is not centred.",
    wrong={"b": _ALL, "c": _ALL, "e": _ALL, "d": "That would leave the input alone. " + _NORMAL},
)
question(
    "finetuning.patient_b",
    right="b",
    why="Only `pos_embed` differs from the file. The drop shows what positions are worth here, and it is easily missed.",
    wrong={
        "a": _INPUT,
        "c": "Four of the five parts did arrive.",
        "d": "Then every part would equal the file. Which is missing from the list?",
        "e": "`patch_embed` equals the file. Which part does not?",
    },
)
question(
    "finetuning.patient_c",
    right="c",
    why="No part equals the file, and the accuracy is chance. The loader said nothing.",
    wrong={"a": _INPUT, "b": _NONE, "d": _NONE, "e": _NONE},
)
question(
    "finetuning.patient_d",
    right="d",
    why="Weights and input are right, so it must be the order: each patch got its neighbour's position, and the head read "
    "a patch's token.",
    wrong={"a": _INPUT, "b": _ALL, "c": _ALL, "e": _ALL},
)
question(
    "finetuning.patient_e",
    right="e",
    why="Only `patch_embed` differs: with random patch vectors the rest of the model sees noise.",
    wrong={
        "a": _INPUT,
        "b": "`pos_embed` equals the file. Which part does not?",
        "c": "Four of the five parts did arrive.",
        "d": "Then every part would equal the file. Which is missing from the list?",
    },
)


class _Patches(nn.Module):
    """P×P patches to tokens, as `PatchEmbed` of lesson 02."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _Layer(nn.Module):
    """A stand-in for an encoder block: tokens hear their mean, then think alone."""

    def __init__(self, dim: int, drop: float) -> None:
        super().__init__()
        self.norm1, self.mix, self.norm2, self.fc1 = (
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
        )
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.mix(self.norm1(x).mean(1, keepdim=True)))
        return x + self.drop(self.fc1(self.norm2(x)).tanh())


class _SmallViT(nn.Module):
    """A Vision Transformer in miniature, with timm's names."""

    def __init__(self, size: tuple[int, int] = (4, 6), patch: int = 2, dim: int = 5, depth: int = 3, classes: int = 4,
                 dist: bool = False, drop: float = 0.0) -> None:  # fmt: skip
        super().__init__()
        self.patch_embed = _Patches(patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        if dist:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, dim))
        tokens = (size[0] // patch) * (size[1] // patch) + (2 if dist else 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.blocks = nn.Sequential(*(_Layer(dim, drop) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)
        if dist:
            self.head_dist = nn.Linear(dim, classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        prefix = [self.cls_token.expand(len(x), -1, -1)]
        if hasattr(self, "dist_token"):
            prefix.append(self.dist_token.expand(len(x), -1, -1))
        return self.norm(self.blocks(torch.cat([*prefix, x], 1) + self.pos_embed))

    def forward(self, x: Tensor) -> Tensor:
        x = self.forward_features(x)
        logits = self.head(x[:, 0])
        return (logits + self.head_dist(x[:, 1])) / 2 if hasattr(self, "head_dist") else logits


class _PublishedViT(nn.Module):
    """A model whose head has torchvision's name, `heads.head`."""

    def __init__(self, dim: int = 5, classes: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(24, dim))
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(dim, classes)))

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(self.encoder(x))


def scramble(module: nn.Module, seed: int = 0) -> Any:
    """A module with numbers in every parameter, typed loosely: the checks reach into it by name."""
    return _scramble(module, seed)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _file(**kind: Any) -> dict[str, Tensor]:
    """Weights of another model."""
    return _weights(scramble(_SmallViT(**kind), seed=1))


def _change(model: nn.Module, before: dict[str, Tensor], name: str) -> float:
    return float((model.state_dict()[name] - before[name]).abs().max())


# --------------------------------------------------------------------------- load_backbone

UNLOADED = "Fine-tuned accuracy is no better than from scratch"


@visible_check("finetuning.load_backbone")
def load_backbone(answer: Callable[..., Any]) -> None:
    def fits(call: Callable[[], Any], message: str, mistake: str | None = None) -> None:
        try:
            call()
        except NotImplementedError:
            raise
        except (ValueError, RuntimeError) as error:
            raise CheckFailed(f"{message} (it raised {type(error).__name__})", 1, None, mistake) from None

    model = scramble(_SmallViT(classes=7))
    head, file = model.head.weight.detach().clone(), _file(classes=4)
    names = set(file)
    fits(lambda: answer(model, file), "These weights fit everywhere but in the head, and the head does not count.",
         "head_must_fit")  # fmt: skip
    for name in ("patch_embed.proj.weight", "pos_embed", "blocks.2.fc1.weight", "norm.bias"):
        close(model.state_dict()[name], file[name], f"`{name}` did not arrive in the model", hint=2)
    close(model.head.weight, head, "the model's own head changed")
    same = scramble(_SmallViT(classes=4))
    own = same.head.weight.detach().clone()
    answer(same, file)
    require(set(file) == names, "your function removed entries from the caller's `state_dict`: work on a copy",
            mistake="file_changed")  # fmt: skip
    close(same.head.weight, own,
          "the file's head was loaded because its shape fits: as many classes, but other ones", hint=1,
          mistake="head_comes_along")  # fmt: skip
    renamed = {f"module.{name}": value for name, value in file.items()}
    fewer = {name: value for name, value in file.items() if not name.startswith("blocks.1.")}
    more = {**file, "blocks.7.fc1.weight": file["norm.weight"]}

    def refused(weights: dict[str, Tensor]) -> bool:
        try:
            answer(scramble(_SmallViT()), weights)
        except ValueError:
            return True
        except RuntimeError:
            return False
        return False

    require(refused(fewer) or refused(more),
            "neither missing nor unknown names are refused with ValueError: with a wrong prefix nothing would be loaded, "
            "and nobody would notice", hint=2, see=UNLOADED)  # fmt: skip
    raises(ValueError, lambda: answer(scramble(_SmallViT()), fewer),
           "a file without `blocks.1` was accepted: that block keeps random weights", hint=2, see=UNLOADED,
           mistake="missing_ignored")  # fmt: skip
    raises(ValueError, lambda: answer(scramble(_SmallViT()), more),
           "a file with a block the model does not have was accepted", hint=2, mistake="unexpected_ignored")  # fmt: skip
    raises(ValueError, lambda: answer(scramble(_SmallViT()), renamed), "names with the prefix `module.` were accepted")
    raises(ValueError, lambda: answer(scramble(_SmallViT(size=(4, 8))), file),
           "positions of another grid must be refused with ValueError, not dropped", hint=3)  # fmt: skip


# --------------------------------------------------------------------------- replace_head


@visible_check("finetuning.replace_head")
def replace_head(answer: Callable[..., Any]) -> None:
    model = scramble(_SmallViT())
    old, before, pictures = model.head.weight.detach().clone(), _weights(model), normal(2, 3, 4, 6)
    returned = answer(model, 9)
    if returned is None:
        raise CheckFailed("Your function returned None: does it end with `return model`?")
    require(returned is model, "the model you return is another one: change the one that was given",
            mistake="on_a_copy")  # fmt: skip
    require(not hasattr(model, "fc"), "there is a new layer `fc`, which no forward pass uses; the head is called `head`",
            hint=1, mistake="resnet_name")  # fmt: skip
    require(not isinstance(model.head, nn.Sequential), "the old head is still there, with the new layer on top of it",
            hint=1, mistake="stacked")  # fmt: skip
    require("head.weight" in dict(model.named_parameters()), "the new layer must be called `head`, as the old one was",
            hint=2)  # fmt: skip
    require(not (getattr(model.head, "out_features", 0) == 9 and model.head.weight.shape[0] == 4),
            "`out_features` says 9, the weights still have 4 rows: it is only a label", hint=1, mistake="label_only")  # fmt: skip
    shape(model(pictures), (2, 9), "one logit per new class", hint=1)
    require(not torch.allclose(model.head.weight[:4], old), "the new head holds rows of the old one: other classes' weights",
            mistake="rows_kept")  # fmt: skip
    for name, value in before.items():
        if not name.startswith("head"):
            close(model.state_dict()[name], value, f"`{name}` changed, which is not part of the head")
    other = torch.float64 if torch.get_default_dtype() == torch.float32 else torch.float32
    narrow = scramble(_SmallViT()).to(other)
    answer(narrow, 3)
    require(narrow.head.weight.dtype == other, f"the old head was {other}, the new one is {narrow.head.weight.dtype}",
            hint=3, mistake="default_dtype")  # fmt: skip

    published = scramble(_PublishedViT())
    answer(published, 6)
    require(hasattr(published.heads, "head"), "torchvision's head is `model.heads.head`; the container `heads` must stay",
            hint=2, mistake="container_replaced")  # fmt: skip
    shape(published(normal(2, 1, 4, 6)), (2, 6), "torchvision's head is `model.heads.head`: one logit per new class")
    two = scramble(_SmallViT(dist=True))
    answer(two, 6)
    require(two.head_dist.weight.shape[0] == 6, "`head_dist` of a distilled model still has the old classes", hint=2,
            mistake="dist_forgotten")  # fmt: skip
    raises(ValueError, lambda: answer(nn.Sequential(nn.Linear(3, 4)), 5), "a model without any head must be refused",
           mistake="silent_without_head")  # fmt: skip


# --------------------------------------------------------------------------- probe_features


@visible_check("finetuning.probe_features")
def probe_features(answer: Callable[..., Any]) -> None:
    model, pictures = scramble(_SmallViT(drop=0.5)).eval(), normal(3, 3, 4, 6)
    with torch.no_grad():
        tokens, logits = model.forward_features(pictures), model(pictures)  # (3, 7, 5)
    features = answer(model, pictures)
    differs(features, logits, "these are the head's logits; a probe wants what stands in front of the head", hint=1,
            mistake="logits")  # fmt: skip
    features_ = shape(features, (3, 5), "one vector of D numbers per picture", hint=1)
    differs(features_, tokens[:, 1], "this is the first patch's token; the class token stands at position 0",
            mistake="first_patch")  # fmt: skip
    differs(features_, tokens.mean(1), "this is the mean over all tokens; take the class token", mistake="mean_token")
    close(features_, tokens[:, 0], "this is not the class token after the last norm", hint=1)
    require(not features.requires_grad, "the features still carry the backbone's graph", hint=2, mistake="with_graph")
    require(not features.is_inference(), "a tensor from inference mode cannot be used to train the probe", hint=2,
            mistake="inference_tensors")  # fmt: skip
    require(not model.training, "the model came in evaluation mode and is in training mode now", hint=3,
            mistake="always_trains")  # fmt: skip
    model.train()
    again = answer(model, pictures)
    close(again, tokens[:, 0], "with the model in training mode the features change: dropout is on", hint=2,
          see="The linear probe gives another accuracy every time", mistake="in_training_mode")  # fmt: skip
    require(model.training, "the model came in training mode and was left in evaluation mode", hint=3,
            mistake="mode_not_restored")  # fmt: skip


# --------------------------------------------------------------------------- prepare_training

STILL = "The loss stays at log(number of classes)"


@visible_check("finetuning.prepare_training")
def prepare_training(answer: Callable[..., Any]) -> None:
    def moved(last_blocks: int, frozen: bool, lr: float = 0.1, depth: int = 3) -> set[str]:
        """The parts that a step moves."""
        model = scramble(_SmallViT(depth=depth)).requires_grad_(not frozen)
        head = scramble(nn.Linear(5, 4), seed=3)
        optimizer = answer(model, head, last_blocks, lr)
        require(isinstance(optimizer, torch.optim.Optimizer), "return the optimizer")
        require(model.head is head, "`model.head` is not the new head")
        before = _weights(model)
        F.cross_entropy(model(normal(6, 3, 4, 6)), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
        optimizer.step()
        names = [n for n, p in model.named_parameters() if _change(model, before, n) > 1e-7 * (1 + lr)]
        return {".".join(n.split(".")[:2]) if n.startswith("blocks") else n.split(".")[0] for n in names}

    embeddings = {"patch_embed", "cls_token", "pos_embed"}
    everything = embeddings | {"norm", "head"} | {f"blocks.{i}" for i in range(3)}
    got = moved(0, frozen=False)
    require(got != everything, "a step of the linear probe moves every parameter: `requires_grad` belongs to parameters; "
            "a module has `requires_grad_()`, with an underscore", hint=2, mistake="module_attribute")  # fmt: skip
    require("head" in got, "the new head does not move: was the optimizer built before the swap?", hint=1, see=STILL,
            mistake="optimizer_first")  # fmt: skip
    require(got != {f"blocks.{i}" for i in range(3)} | {"head"},
            "with `last_blocks` = 0 every block moves: `blocks[-0:]` is all of them", hint=3, mistake="minus_zero")  # fmt: skip
    require(got != {"norm", "head"}, "in a linear probe the final norm moves too; only the head may",
            mistake="norm_in_probe")  # fmt: skip
    require(got == {"head"}, f"in a linear probe only the head moves; here these do: {', '.join(sorted(got))}", hint=2)
    got = moved(1, frozen=False)
    require(got != {"blocks.0", "norm", "head"}, "the first block moves; it should be the last", hint=3,
            mistake="first_blocks")  # fmt: skip
    require(got != {"blocks.2", "head"}, "the final norm stands still beside a block that moves", hint=2,
            mistake="norm_frozen")  # fmt: skip
    require(got == {"blocks.2", "norm", "head"},
            f"with `last_blocks` = 1 block 2, norm and head move; here these do: {', '.join(sorted(got))}", hint=3)  # fmt: skip
    got = moved(3, frozen=False)
    require(not got & embeddings, f"with all blocks free these move too and should not: {', '.join(sorted(got & embeddings))}",
            hint=2)  # fmt: skip
    require(got == everything - embeddings, "with all blocks free, all blocks, norm and head move", hint=3)
    got = moved(2, frozen=True)
    require(got == {"blocks.1", "blocks.2", "norm", "head"},
            "a model that arrived frozen: what should move must be thawed", hint=2, mistake="never_thawed")  # fmt: skip

    model, head = scramble(_SmallViT()), scramble(nn.Linear(5, 4), seed=3)
    start = head.weight.detach().clone()
    optimizer = answer(model, head, 0, 0.02)
    head.weight.grad, head.bias.grad = torch.ones_like(head.weight), torch.ones_like(head.bias)
    optimizer.step()
    step = start - head.weight.detach()  # Adam's first step is lr against the sign, before weight decay
    close(step.mean(), 0.02, "the first step has not the size of `lr`", atol=5e-4, mistake="own_rate")
    close(step, 0.02, "the step depends on the weight: weight decay is on (AdamW's default is 0.01)", atol=1e-6, rtol=1e-4,
          mistake="default_decay")  # fmt: skip


# --------------------------------------------------------------------------- layer_lr_groups

SLOW = "A layer-wise run learns no faster than the linear probe"


@visible_check("finetuning.layer_lr_groups")
def layer_lr_groups(answer: Callable[..., Any]) -> None:
    def settings(model: nn.Module, *arguments: float) -> dict[str, list[float]]:
        known = {id(p): name for name, p in model.named_parameters()}
        found: dict[str, list[float]] = {name: [] for name in known.values()}
        for group in answer(model, *arguments):
            for parameter in group["params"]:
                require(id(parameter) in known, "a group holds a tensor that is no parameter of the model")
                found[known[id(parameter)]] += [float(group["lr"]), float(group["weight_decay"])]
        return found

    found = settings(_SmallViT(depth=3, dist=True), 1.0, 0.5, 0.1)
    for name, row in found.items():
        require(len(row) == 2, f"`{name}` stands in {len(row) // 2} groups; it should stand in one", hint=1)
    top, last, first = found["head.weight"][0], found["blocks.2.fc1.weight"][0], found["blocks.0.fc1.weight"][0]
    low = found["patch_embed.proj.weight"][0]
    require(not low > top, "the patches learn faster than the head: the exponent counts from the wrong end", hint=2,
            mistake="reversed_decay")  # fmt: skip
    require(not (abs(top - 0.5) < 1e-6 and abs(last - 0.25) < 1e-6), "the head gets lr · decay; it should get lr", hint=2,
            see=SLOW, mistake="head_slowed")  # fmt: skip
    close(top, 1.0, "the head should get the full rate", hint=2)
    require(not abs(last - 1.0) < 1e-6, "the last block has the head's rate; it is one layer below", hint=2,
            mistake="exponent_short")  # fmt: skip
    close(last, 0.5, "the last of three blocks should get lr · decay", hint=2)
    require(not abs(first) < 1e-6, "the rate falls by a constant step; it should fall by a factor", hint=2,
            mistake="linear_fall")  # fmt: skip
    close(first, 0.125, "the first of three blocks should get lr · decay³", hint=2)
    close(low, 0.0625, "the patch embedding should get lr · decay⁴", hint=2)
    for name in ("cls_token", "dist_token", "pos_embed"):
        require(found[name][0] != 1.0, f"`{name}` gets the head's rate; it belongs to layer 0", hint=1,
                mistake="tokens_on_top")  # fmt: skip
        close(found[name][0], 0.0625, f"`{name}` belongs to layer 0, with the patch embedding", hint=1)
    require(found["norm.weight"][0] != 0.0625, "the final norm counts as layer 0; it stands behind the last block", hint=1,
            mistake="norm_at_the_bottom")  # fmt: skip
    for name in ("norm.weight", "norm.bias", "head_dist.weight", "head_dist.bias", "head.bias"):
        close(found[name][0], 1.0, f"`{name}` belongs to the top layer", hint=1)
    for i in range(3):
        for name in (n for n in found if n.startswith(f"blocks.{i}.")):
            close(found[name][0], 0.5 ** (3 - i), f"`{name}` should have the rate of its block", hint=1)
    for name in ("cls_token", "dist_token", "pos_embed"):
        close(
            found[name][1], 0.0, f"weight decay falls on `{name}`; it is no matrix", hint=3, mistake="decay_on_tokens"
        )
    require(not (found["norm.weight"][1] > 0 and found["norm.bias"][1] == 0), "weight decay falls on `norm.weight`", hint=3,
            mistake="decay_on_norms")  # fmt: skip
    for name in (n for n in found if n.endswith("bias") or "norm" in n):
        close(found[name][1], 0.0, f"weight decay falls on `{name}`, which has one dimension", hint=3,
              mistake="decay_on_vectors" if found["norm.bias"][1] > 0 and found["norm.weight"][1] > 0 else None)  # fmt: skip
    for name in ("head.weight", "patch_embed.proj.weight", "blocks.1.mix.weight"):
        close(found[name][1], 0.1, f"`{name}` should have weight decay", hint=3)
    many = settings(_SmallViT(depth=12), 1.0, 0.5, 0.1)
    close(many["blocks.11.fc1.weight"][0], 0.5, "in a model of twelve blocks, block 11 should get lr · decay: is the "
          "whole number read, not only its first digit?", mistake="one_digit")  # fmt: skip
    frozen = _SmallViT()
    frozen.blocks[0].requires_grad_(False)
    rows = settings(frozen, 1.0, 1.0, 0.1)
    require(not rows["blocks.0.fc1.weight"], "a frozen parameter stands in a group", hint=1, mistake="frozen_listed")
    require(len(rows["blocks.1.fc1.weight"]) == 2, "a parameter that learns is missing", hint=1)


# --------------------------------------------------------------------------- resize_positions

POSITIONS = "Accuracy falls at another resolution"


def _stretched(positions: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int, mode: str = "bicubic",
               corners: bool = False) -> Tensor:  # fmt: skip
    """What the positions should become, channel by channel."""
    rows = [positions[0, :prefix]]
    image = positions[0, prefix:].T.reshape(1, -1, *old)
    image = F.interpolate(image, size=new, mode=mode, align_corners=corners)
    rows.append(image.reshape(image.shape[1], -1).T)
    return torch.cat(rows)[None]


@visible_check("finetuning.resize_positions")
def resize_positions(answer: Callable[..., Any]) -> None:
    model = scramble(_SmallViT(size=(4, 6)))  # a grid of 2 × 3
    before = model.pos_embed.detach().clone()
    returned = answer(model, (4, 6), (8, 10))  # 4 × 5
    require(returned is model, "return the model that was given")
    require("pos_embed" in dict(model.named_parameters()),
            "`pos_embed` is no parameter any more: the optimizer and `state_dict` do not see a plain tensor", hint=3,
            mistake="plain_tensor")  # fmt: skip
    got = shape(model.pos_embed, (1, 21, 5), "the class token and 4 × 5 patches: count patches, not pixels", hint=1)
    wanted = _stretched(before, (2, 3), (4, 5), 1)
    close(got[:, 0], before[:, 0], "the class token's position changed; it has no place in the picture",
          hint=2, see=POSITIONS)  # fmt: skip
    differs(got, _stretched(before, (2, 3), (4, 5), 1, corners=True), "this equals `align_corners=True`",
            mistake="corners_aligned")  # fmt: skip
    differs(got, _stretched(before, (2, 3), (4, 5), 1, "bilinear"), "this is bilinear; bicubic is asked for",
            mistake="bilinear")  # fmt: skip
    image = before[:, 1:].reshape(1, 5, 2, 3)
    mixed = F.interpolate(image, size=(4, 5), mode="bicubic").flatten(2).transpose(1, 2)
    differs(got[:, 1:], mixed, "the positions were read as (D, h, w) without a permute", hint=2, mistake="no_permute")
    swapped = _stretched(before, (3, 2), (5, 4), 1)
    differs(got, swapped, "height and width are swapped", hint=1, mistake="sides_swapped")
    close(got, wanted, "the positions are not the bicubic interpolation of the old grid", hint=2, see=POSITIONS)
    shape(model(normal(2, 3, 8, 10)), (2, 4), "the model runs at the new size")

    turned = scramble(_SmallViT(size=(4, 6)))
    answer(turned, (4, 6), (6, 4))
    differs(turned.pos_embed, before, "2 × 3 and 3 × 2 patches are as many, but not the same grid: they must change too",
            mistake="same_count_unchanged")  # fmt: skip
    close(turned.pos_embed, _stretched(before, (2, 3), (3, 2), 1), "the grid of 3 × 2 is wrong", hint=2)
    two = scramble(_SmallViT(size=(4, 6), dist=True))
    prefix = two.pos_embed.detach().clone()
    try:
        answer(two, (4, 6), (6, 8))
    except ValueError as error:
        raise CheckFailed(
            f"A distilled model has two tokens in front of the patches, and your function stumbles over it: {error}", 3,
            None, "one_token_in_front") from None  # fmt: skip
    close(
        two.pos_embed, _stretched(prefix, (2, 3), (3, 4), 2), "with two tokens in front the positions are wrong", hint=3
    )
    odd = "a size that the patch does not divide must be refused"
    raises(ValueError, lambda: answer(scramble(_SmallViT()), (4, 6), (9, 10)), odd, mistake="size_not_checked")
    raises(ValueError, lambda: answer(scramble(_SmallViT()), (4, 6), (8, 9)), odd)
    tall = scramble(_SmallViT(size=(22, 4)))
    rows = tall.pos_embed.detach().clone()
    answer(tall, (22, 4), (30, 4))
    shape(tall.pos_embed, (1, 31, 5), "11 rows of patches should become 15; `scale_factor` rounds down, `size` does not",
          mistake="by_scale_factor")  # fmt: skip
    close(tall.pos_embed, _stretched(rows, (11, 2), (15, 2), 1), "the grid of 15 × 2 is wrong")


# --------------------------------------------------------------------------- accumulated_step

TOO_BIG = "The gradient grows with the number of pieces"


class _Diary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, notes: list[str]) -> Tensor:
        ctx.notes = notes
        notes.append("forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        ctx.notes.append("backward")
        return gradient, None


class _Noting(nn.Module):
    """A linear classifier that notes how it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.notes: list[str] = []
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return _Diary.apply(self.layer(x.flatten(1)), self.notes)


@visible_check("finetuning.accumulated_step")
def accumulated_step(answer: Callable[..., Any]) -> None:
    x, y = normal(7, 1, 2, 3), torch.tensor([0, 2, 1, 1, 0, 2, 2])

    def run(micro: int, rows: int = 7, old: float | None = None) -> tuple[Tensor, Any, Tensor, Tensor, _Noting]:
        """The gradient the step used, the loss returned; the true gradient and loss; the model."""
        model = scramble(_Noting())
        true_loss = F.cross_entropy(model(x[:rows]), y[:rows])
        (true,) = torch.autograd.grad(true_loss, [model.layer.weight])
        model.notes.clear(), model.sizes.clear()
        start = model.layer.weight.detach().clone()
        if old is not None:
            for p in model.parameters():
                p.grad = torch.full_like(p, old)
        loss = answer(model, x[:rows], y[:rows], torch.optim.SGD(model.parameters(), lr=1.0), micro)
        return start - model.layer.weight.detach(), loss, true, true_loss, model

    got, loss, true, true_loss, model = run(3, rows=6)
    if loss is None:
        raise CheckFailed("Your function returned None: return the mean loss over the batch.")
    require(model.notes, "the model was never called")
    differs(got, torch.zeros_like(got), "the weights did not move: where is the step?")
    differs(got, 2 * true, "with two pieces the gradient is twice as large as it should be", hint=1, see=TOO_BIG,
            mistake="not_divided")  # fmt: skip
    reference = scramble(_Noting())
    second = F.cross_entropy(reference(x[3:6]), y[3:6])
    (half,) = torch.autograd.grad(second / 2, [reference.layer.weight])
    differs(got, half, "only the last piece's gradient is left: where does `zero_grad` stand?", hint=2,
            mistake="zeroed_in_loop")  # fmt: skip
    first = scramble(_Noting())
    sgd = torch.optim.SGD(first.parameters(), lr=1.0)
    begin = first.layer.weight.detach().clone()
    for part in (slice(0, 3), slice(3, 6)):
        sgd.zero_grad()
        (F.cross_entropy(first(x[part]), y[part]) / 2).backward()
        sgd.step()
    differs(got, begin - first.layer.weight.detach(), "there was one step per piece; there should be one in all", hint=2,
            mistake="step_in_loop")  # fmt: skip
    close(got, true, "with two equal pieces the gradient is not that of the whole batch", hint=1)
    got, loss, true, true_loss, _ = run(3)
    model = scramble(_Noting())
    means = [F.cross_entropy(model(x[a:b]), y[a:b]) for a, b in ((0, 3), (3, 6), (6, 7))]
    (uneven,) = torch.autograd.grad(sum(means, torch.zeros(())) / 3, [model.layer.weight])
    differs(got, uneven, "7 pictures in pieces of 3, 3 and 1: the last picture weighs as much as three others", hint=1,
            mistake="mean_of_means")  # fmt: skip
    (six,) = torch.autograd.grad(F.cross_entropy(model(x[:6]), y[:6]) * 6 / 7, [model.layer.weight])
    differs(got, six, "7 pictures in pieces of 3: the last one was left out", mistake="remainder_dropped")
    close(got, true, "with pieces of 3, 3 and 1 the gradient is not that of the whole batch", hint=1)
    last = F.cross_entropy(scramble(_Noting())(x[6:]), y[6:])
    differs(loss, last, "the loss returned is the last piece's", mistake="last_loss")
    close(loss, true_loss.detach(), "the loss returned is not the mean over the batch", hint=1)
    got, _, true, _, model = run(3, old=5.0)
    differs(got, true + 5.0, "old gradients are still there when the first piece comes in", hint=2,
            mistake="old_gradients_kept")  # fmt: skip
    close(got, true, "with old gradients present the result changes", hint=2)
    require(max(model.sizes) < 7, "the whole batch went through the model at once: no memory is saved",
            mistake="not_split")  # fmt: skip
    require(max(model.sizes) <= 3, f"a piece of {max(model.sizes)} pictures is larger than `micro_batch` = 3")
    require(model.notes[:2] == ["forward", "backward"],
            "the second piece goes forward before the first went backward: both graphs are in memory", hint=3,
            mistake="one_backward")  # fmt: skip
    require(
        model.notes == ["forward", "backward"] * 3, "each piece should go backward before the next goes forward", hint=3
    )
    close(run(20)[0], true, "a piece larger than the batch must work too")
