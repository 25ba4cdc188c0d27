"""Hidden cases of lesson 07."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from vitcourse.probes import case, raised


class Patches(nn.Module):
    """P×P patches to tokens, as `PatchEmbed` of lesson 02."""

    def __init__(self, patch_size, dim):
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, patch_size, patch_size)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Layer(nn.Module):
    """A stand-in for an encoder block: tokens hear their mean, then think alone."""

    def __init__(self, dim, drop):
        super().__init__()
        self.norm1, self.mix, self.norm2, self.fc1 = (
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
        )
        self.drop = nn.Dropout(drop)

    def forward(self, x):
        x = x + self.drop(self.mix(self.norm1(x).mean(1, keepdim=True)))
        return x + self.drop(self.fc1(self.norm2(x)).tanh())


class SmallViT(nn.Module):
    """A Vision Transformer in miniature, with timm's names."""

    def __init__(self, size=(4, 6), patch=2, dim=5, depth=3, classes=4, dist=False, drop=0.0):
        super().__init__()
        self.patch_embed = Patches(patch, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        if dist:
            self.dist_token = nn.Parameter(torch.zeros(1, 1, dim))
        tokens = (size[0] // patch) * (size[1] // patch) + (2 if dist else 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.blocks = nn.Sequential(*(Layer(dim, drop) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)
        if dist:
            self.head_dist = nn.Linear(dim, classes)

    def forward_features(self, x):
        x = self.patch_embed(x)
        prefix = [self.cls_token.expand(len(x), -1, -1)]
        if hasattr(self, "dist_token"):
            prefix.append(self.dist_token.expand(len(x), -1, -1))
        return self.norm(self.blocks(torch.cat([*prefix, x], 1) + self.pos_embed))

    def forward(self, x):
        x = self.forward_features(x)
        logits = self.head(x[:, 0])
        return (logits + self.head_dist(x[:, 1])) / 2 if hasattr(self, "head_dist") else logits


class PublishedViT(nn.Module):
    """A model whose head has torchvision's name, `heads.head`."""

    def __init__(self, dim=5, classes=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(24, dim))
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(dim, classes)))

    def forward(self, x):
        return self.heads(self.encoder(x))


def values(module):
    """Every parameter by name."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def weights(module):
    """A state dict of its own."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def pair(draw, own=None, other=None):
    """A scrambled model, and another's weights."""
    model = draw.scramble(SmallViT(**(own or {})))
    file = weights(draw.scramble(SmallViT(**(other or {}))))
    return model, {name: 2 * value + 1 for name, value in file.items()}


# --------------------------------------------------------------------------- load_backbone

LOAD = "finetuning.load_backbone"


@case(LOAD, points=1, about="a file with a head for other classes, and one without a head")
def other_classes(answer, draw):
    own, other = draw.sizes(2, low=2, high=9)
    model, file = pair(draw, {"classes": own}, {"classes": other})
    answer(model, file)
    second, _ = pair(draw, {"classes": own})
    answer(second, {name: value for name, value in file.items() if not name.startswith("head")})
    return [values(model), values(second)]


@case(LOAD, points=1, about="the model keeps its own head, the file keeps its entries")
def head_stays(answer, draw):
    model, file = pair(draw, {"dist": True}, {"dist": True})
    answer(model, file)
    return [values(model), sorted(file)]


@case(LOAD, points=1, about="refuses missing names, unknown names and a wrong prefix", beside=True)
def names(answer, draw):
    model, file = pair(draw)
    fewer = {name: value for name, value in file.items() if not name.startswith("blocks.1.")}
    renamed = {f"module.{name}": value for name, value in file.items()}
    return [
        raised(lambda: answer(model, fewer)),
        raised(lambda: answer(model, {**file, "blocks.7.fc1.weight": file["norm.weight"]})),
        raised(lambda: answer(model, renamed)),
        raised(lambda: answer(*pair(draw))),
    ]


@case(LOAD, points=1, about="refuses positions of another grid", beside=True)
def shapes(answer, draw):
    model, file = pair(draw, {"size": (4, 6)}, {"size": (4, 8)})
    return raised(lambda: answer(model, file))


# --------------------------------------------------------------------------- replace_head

HEAD = "finetuning.replace_head"


def as_facts(result):
    """New weights are random: keep their shape and whether they are the old ones."""
    if isinstance(result, dict) and "old" in result:
        facts = {k: v for k, v in result.items() if k not in ("old", "new")}
        rows = min(len(result["old"]), len(result["new"]))
        facts["shape"] = list(result["new"].shape)
        facts["kept"] = bool(torch.allclose(result["old"][:rows].double(), result["new"][:rows].double()))
        return facts
    return [as_facts(r) for r in result] if isinstance(result, list) else result


def swapped(answer, model, name, num_classes, images):
    """What a call changed, for one head."""
    old = model.get_submodule(name).weight.detach().clone()
    returned = answer(model, num_classes)
    inner = {n: p for n, p in values(model).items() if not n.startswith("head")}
    shapes = [[n, list(p.shape), str(p.dtype)] for n, p in model.named_parameters() if n.startswith("head")]
    return {
        "same model": returned is model, "heads": sorted(shapes), "rest": inner,
        "logits": list(model(images).shape), "old": old, "new": model.get_submodule(name).weight,
    }  # fmt: skip


@case(HEAD, points=1, about="our model: name, shape, dtype, the rest untouched", after=as_facts)
def own_head(answer, draw):
    dim, few, many = draw.sizes(3, low=3, high=9)
    found = []
    for classes in (min(few, many), max(few, many)):
        model = draw.scramble(SmallViT(dim=dim, classes=max(few, many)))
        found.append(swapped(answer, model, "head", classes, draw.normal(2, 3, 4, 6)))
    other = torch.float64 if torch.get_default_dtype() == torch.float32 else torch.float32
    model = draw.scramble(SmallViT(dim=dim)).to(other)
    return [*found, swapped(answer, model, "head", few, draw.normal(1, 3, 4, 6).to(other))]


@case(HEAD, points=1, about="torchvision's names, and a model without a head", after=as_facts)
def published_head(answer, draw):
    dim, classes = draw.sizes(2, low=5, high=9)
    model = draw.scramble(PublishedViT(dim))
    refused = raised(lambda: answer(nn.Sequential(nn.Linear(3, 4)), 5))
    return [swapped(answer, model, "heads.head", classes, draw.normal(2, 1, 4, 6)), refused]


@case(HEAD, points=1, about="a distilled model has two heads", after=as_facts)
def two_heads(answer, draw):
    classes = draw.integer(5, 9)
    model = draw.scramble(SmallViT(dist=True))
    return swapped(answer, model, "head", classes, draw.normal(2, 3, 4, 6))


# --------------------------------------------------------------------------- probe_features

FEATURES = "finetuning.probe_features"


@case(FEATURES, points=1, about="a model in training mode with dropout: features, graph and mode afterwards")
def training_mode(answer, draw):
    batch, dim = draw.sizes(2, low=3, high=7)
    model = draw.scramble(SmallViT(dim=dim, drop=0.5)).train()
    features = answer(model, draw.normal(batch, 3, 4, 6))
    return [features, features.requires_grad, [m.training for m in model.modules()]]


@case(FEATURES, points=1, about="evaluation mode, one picture; a layer can be trained on the features")
def usable(answer, draw):
    model = draw.scramble(SmallViT(drop=0.5)).eval()
    features = answer(model, draw.normal(1, 3, 4, 6))
    head = draw.scramble(nn.Linear(5, 4))
    head(features).square().sum().backward()
    silent = [p.grad is None for p in model.parameters()]
    return [head.weight.grad, silent, model.training]


# --------------------------------------------------------------------------- prepare_training

PREPARE = "finetuning.prepare_training"


def one_step(answer, draw, last_blocks, frozen=(), classes=3, lr=0.1, **kind):
    """Parameters after one optimizer step."""
    model = draw.scramble(SmallViT(**kind))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen) if frozen else True)
    head = draw.scramble(nn.Linear(model.head.in_features, classes))
    optimizer = answer(model, head, last_blocks, lr)
    F.cross_entropy(model(draw.normal(6, 3, 4, 6)), draw.integers(6, low=0, high=classes - 1)).backward()
    optimizer.step()
    return [values(model), model.head is head]


@case(PREPARE, points=1, about="a linear probe: only the new head moves")
def probe(answer, draw):
    return one_step(answer, draw, 0)


@case(PREPARE, points=1, about="some last blocks, the norm and the head move")
def some_blocks(answer, draw):
    return [one_step(answer, draw, last, depth=4) for last in (1, 3)]


@case(PREPARE, points=1, about="a model that arrives frozen")
def thawed(answer, draw):
    return one_step(answer, draw, 2, frozen=("",))


@case(PREPARE, points=1, about="all blocks and more; the embeddings stay")
def all_blocks(answer, draw):
    return [one_step(answer, draw, last, depth=2, lr=0.03) for last in (2, 5)]


# --------------------------------------------------------------------------- layer_lr_groups

GROUPS = "finetuning.layer_lr_groups"


def settings(answer, model, *arguments):
    """For each parameter: how often it stands in a group, and with which rate and decay."""
    found = {name: [0, 0.0, 0.0] for name, _ in model.named_parameters()}
    known = {id(p): name for name, p in model.named_parameters()}
    for group in answer(model, *arguments):
        for parameter in group["params"]:
            row = found[known[id(parameter)]]
            row[0] += 1
            row[1], row[2] = float(group["lr"]), float(group["weight_decay"])
    return found


def rates(draw):
    return (float(draw.uniform(low=1.0, high=3.0)), float(draw.uniform(low=0.5, high=0.8)),
            float(draw.uniform(low=0.1, high=0.3)))  # fmt: skip


@case(GROUPS, points=2, about="every layer's rate and every parameter's decay")
def each_layer(answer, draw):
    return settings(answer, SmallViT(depth=draw.integer(2, 5)), *rates(draw))


@case(GROUPS, points=1, about="twelve blocks, a distillation token and its head")
def twelve_blocks(answer, draw):
    return settings(answer, SmallViT(depth=12, dist=True), *rates(draw))


@case(GROUPS, points=1, about="frozen parameters are left out; no layer decay")
def frozen(answer, draw):
    model = SmallViT(depth=3)
    model.patch_embed.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    lr, _, weight_decay = rates(draw)
    return settings(answer, model, lr, 1.0, weight_decay)


# --------------------------------------------------------------------------- resize_positions

RESIZE = "finetuning.resize_positions"


def resized(answer, draw, old, new, patch=2, **kind):
    """Positions, their place among the parameters, and what the model answers at the new size."""
    model = draw.scramble(SmallViT(size=old, patch=patch, **kind))
    returned = answer(model, old, new)
    names = sorted(name for name, _ in model.named_parameters())
    return [model.pos_embed, names, returned is model, model(draw.normal(2, 3, *new))]


@case(RESIZE, points=1, about="a larger and a smaller grid, neither square")
def non_square(answer, draw):
    height, width = draw.sizes(2, low=3, high=6)
    tall, wide = draw.sizes(2, low=7, high=9)
    old, new = (2 * height, 2 * width), (2 * tall, 2 * wide)
    return [resized(answer, draw, old, new), resized(answer, draw, new, old)]


@case(RESIZE, points=1, about="as many patches in another grid, and the same grid")
def same_count(answer, draw):
    height, width = draw.sizes(2, low=2, high=5)
    old = (3 * height, 3 * width)
    return [resized(answer, draw, old, (3 * width, 3 * height), patch=3), resized(answer, draw, old, old, patch=3)]


@case(RESIZE, points=1, about="two tokens before the patches")
def distilled(answer, draw):
    return resized(answer, draw, (4, 6), (8, 10), dist=True)


@case(RESIZE, points=1, about="refuses sizes the patch does not divide; ratios that round down")
def awkward(answer, draw):
    model = draw.scramble(SmallViT(size=(8, 12), patch=4))
    refused = [raised(lambda: answer(model, (8, 12), (10, 12))), raised(lambda: answer(model, (8, 12), (8, 13)))]
    awkward_rows = ((11, 15), (13, 30))  # int(11 * (15 / 11)) is 14
    return [refused, [resized(answer, draw, (2 * a, 6), (2 * b, 10)) for a, b in awkward_rows]]


# --------------------------------------------------------------------------- accumulated_step

ACCUMULATE = "finetuning.accumulated_step"


class Diary(torch.autograd.Function):
    """The identity, which notes when it is passed forward and backward."""

    @staticmethod
    def forward(ctx, x, notes):
        ctx.notes = notes
        notes.append("forward")
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.notes.append("backward")
        return gradient, None


class Noting(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.layer = nn.Linear(dim, classes)
        self.notes = []
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return Diary.apply(self.layer(x.flatten(1)), self.notes)


def step(answer, draw, batch, micro, old_gradient=True):
    model = draw.scramble(Noting(12, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    if old_gradient:
        for parameter in model.parameters():
            parameter.grad = draw.normal(*parameter.shape)
    x, y = draw.normal(batch, 3, 2, 2), draw.integers(batch, low=0, high=4)
    loss = answer(model, x, y, optimizer, micro)
    return [values(model), float(loss), model.sizes, model.notes, micro]


@case(ACCUMULATE, points=1, about="pieces of equal size")
def equal_pieces(answer, draw):
    micro = draw.integer(2, 4)
    return step(answer, draw, 3 * micro, micro, old_gradient=False)[:2]


@case(ACCUMULATE, points=1, about="a smaller last piece")
def uneven(answer, draw):
    micro = draw.integer(3, 5)
    return step(answer, draw, 2 * micro + 1, micro, old_gradient=False)[:2]


@case(ACCUMULATE, points=1, about="old gradients do not count; one picture; pieces larger than the batch")
def old_gradients(answer, draw):
    return [step(answer, draw, 6, 3)[:2], step(answer, draw, 1, 4)[:2], step(answer, draw, 3, 8)[:2]]


def in_turn(result):
    """Whether no piece is too large, and each goes back before the next comes in: however the batch was cut."""
    sizes, notes, micro = result
    return [max(sizes) <= micro, sum(sizes), notes == ["forward", "backward"] * (len(notes) // 2)]


@case(ACCUMULATE, points=1, about="each piece goes back before the next comes in", after=in_turn, beside=True)
def one_graph_at_a_time(answer, draw):
    return step(answer, draw, 8, 3)[2:]
