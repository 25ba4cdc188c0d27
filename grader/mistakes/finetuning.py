"""The catalogue of lesson 07."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from grader.mistakes import alternative, mistake
from solutions.embeddings import interpolate_positions

LOAD = "finetuning.load_backbone"
HEAD = "finetuning.replace_head"
FEATURES = "finetuning.probe_features"
PREPARE = "finetuning.prepare_training"
GROUPS = "finetuning.layer_lr_groups"
RESIZE = "finetuning.resize_positions"
ACCUMULATE = "finetuning.accumulated_step"
TOKENS = ("cls_token", "dist_token", "pos_embed")


def body(weights):
    return {name: value for name, value in weights.items() if not name.startswith("head")}


def compare(model, state_dict):
    """Names that are missing, unexpected, and of another shape."""
    own, given = body(model.state_dict()), body(state_dict)
    return ([n for n in own if n not in given], [n for n in given if n not in own],
            [n for n in given if n in own and given[n].shape != own[n].shape])  # fmt: skip


# --------------------------------------------------------------------------- load_backbone


@mistake(LOAD, "strict=False takes weights under other names without a word: with a wrong prefix nothing is loaded.")
def not_strict(model, state_dict):
    if compare(model, state_dict)[2]:
        raise ValueError("shapes")
    model.load_state_dict(body(state_dict), strict=False)


@mistake(LOAD, "The head must fit too here, so a file with a head for other classes, or without one, is refused.")
def head_must_fit(model, state_dict):
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise ValueError("no fit") from error


@mistake(LOAD, "The file's head is loaded where its shape fits: a head for other classes that happen to be as many.")
def head_comes_along(model, state_dict):
    own = model.state_dict()
    given = {n: v for n, v in state_dict.items() if not n.startswith("head") or (n in own and own[n].shape == v.shape)}
    if any(compare(model, state_dict)):
        raise ValueError("no fit")
    model.load_state_dict(given, strict=False)


@mistake(LOAD, "Names the model does not know are ignored; what they held is lost.")
def unexpected_ignored(model, state_dict):
    missing, _, shapes = compare(model, state_dict)
    if missing or shapes:
        raise ValueError("no fit")
    model.load_state_dict(body(state_dict), strict=False)


@mistake(LOAD, "Names missing in the file are ignored; those layers keep their random weights.")
def missing_ignored(model, state_dict):
    _, unexpected, shapes = compare(model, state_dict)
    if unexpected or shapes:
        raise ValueError("no fit")
    model.load_state_dict(body(state_dict), strict=False)


@mistake(LOAD, "Entries of another shape are dropped silently: positions of another grid stay random.")
def shapes_dropped(model, state_dict):
    missing, unexpected, shapes = compare(model, state_dict)
    if missing or unexpected:
        raise ValueError("no fit")
    model.load_state_dict({n: v for n, v in body(state_dict).items() if n not in shapes}, strict=False)


@mistake(LOAD, "The caller's state dict loses its head entries: the next model cannot use it.")
def file_changed(model, state_dict):
    if any(compare(model, state_dict)):
        raise ValueError("no fit")
    for name in [n for n in state_dict if n.startswith("head")]:
        del state_dict[name]
    model.load_state_dict(state_dict, strict=False)


@mistake(LOAD, "What does not fit raises load_state_dict's RuntimeError; the task says ValueError.")
def runtime_error(model, state_dict):
    own = {n: v for n, v in model.state_dict().items() if n.startswith("head")}
    model.load_state_dict({**body(state_dict), **own})


@alternative(LOAD, "the model's own head completes the file, then strict loading")
def completed(model, state_dict):
    own = {n: v for n, v in model.state_dict().items() if n.startswith("head")}
    try:
        model.load_state_dict({**body(state_dict), **own}, strict=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


@alternative(LOAD, "what load_state_dict reports back, with the head filtered out of it")
def reported(model, state_dict):
    try:
        found = model.load_state_dict(body(state_dict), strict=False)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    missing = [n for n in found.missing_keys if not n.startswith("head")]
    if missing or found.unexpected_keys:
        raise ValueError(f"{missing} {found.unexpected_keys}")
    return model


@alternative(LOAD, "parameter by parameter with copy_")
def by_hand(model, state_dict):
    own = body(dict(model.named_parameters()))
    if set(own) != set(body(state_dict)):
        raise ValueError("names")
    for name, parameter in own.items():
        if parameter.shape != state_dict[name].shape:
            raise ValueError(name)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state_dict[name])


@alternative(LOAD, "a subclass of ValueError")
def own_error(model, state_dict):
    class DoesNotFit(ValueError):
        pass

    if any(compare(model, state_dict)):
        raise DoesNotFit("no fit")
    model.load_state_dict(body(state_dict), strict=False)


# --------------------------------------------------------------------------- replace_head


def heads_of(model):
    found = [name for name in ("head", "head_dist", "heads.head") if name in dict(model.named_modules())]
    if not found:
        raise ValueError("no head")
    return found


def put(model, name, module):
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def fresh(old, num_classes):
    return nn.Linear(old.in_features, num_classes).to(old.weight)


@mistake(HEAD, "`out_features` is only a label: the weights keep their old number of rows.")
def label_only(model, num_classes):
    for name in heads_of(model):
        model.get_submodule(name).out_features = num_classes
    return model


@mistake(HEAD, "`model.fc` is a ResNet's name. Here it makes a new layer that no forward pass uses.")
def resnet_name(model, num_classes):
    model.fc = fresh(model.get_submodule(heads_of(model)[0]), num_classes)
    return model


@mistake(HEAD, "The new layer stands on top of the old head: it reads the old classes' logits and has another name.")
def stacked(model, num_classes):
    for name in heads_of(model):
        old = model.get_submodule(name)
        put(model, name, nn.Sequential(old, nn.Linear(old.out_features, num_classes).to(old.weight)))
    return model


@mistake(HEAD, "`head_dist` still has the old classes: the mean of the two heads fails or mixes classes.")
def dist_forgotten(model, num_classes):
    name = heads_of(model)[0]
    put(model, name, fresh(model.get_submodule(name), num_classes))
    return model


@mistake(HEAD, "The new head keeps rows of the old one: weights for other classes.")
def rows_kept(model, num_classes):
    for name in heads_of(model):
        old = model.get_submodule(name)
        new = fresh(old, num_classes)
        rows = min(num_classes, old.out_features)
        with torch.no_grad():
            new.weight[:rows] = old.weight[:rows]
            new.bias[:rows] = old.bias[:rows]
        put(model, name, new)
    return model


@mistake(HEAD, "In torchvision's model `heads` is a container; replacing it whole changes the name of the weights.")
def container_replaced(model, num_classes):
    for name in heads_of(model):
        old = model.get_submodule(name)
        setattr(model, name.split(".")[0], fresh(old, num_classes))
    return model


@mistake(HEAD, "The new head has the default dtype (and device), not the old head's.")
def default_dtype(model, num_classes):
    for name in heads_of(model):
        put(model, name, nn.Linear(model.get_submodule(name).in_features, num_classes))
    return model


@mistake(HEAD, "The model that was given is unchanged: the new head sits in a copy.")
def on_a_copy(model, num_classes):
    model = copy.deepcopy(model)
    for name in heads_of(model):
        put(model, name, fresh(model.get_submodule(name), num_classes))
    return model


@mistake(HEAD, "A model without a head passes silently; it must raise ValueError.")
def silent_without_head(model, num_classes):
    for name in ("head", "head_dist", "heads.head"):
        if name in dict(model.named_modules()):
            put(model, name, fresh(model.get_submodule(name), num_classes))
    return model


@alternative(HEAD, "if and elif")
def branches(model, num_classes):
    def new(old):
        return nn.Linear(old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype)

    if hasattr(model, "heads"):
        model.heads.head = new(model.heads.head)
    elif hasattr(model, "head"):
        model.head = new(model.head)
        if hasattr(model, "head_dist"):
            model.head_dist = new(model.head_dist)
    else:
        raise ValueError("no head")
    return model


@alternative(HEAD, "zero weights, as torchvision starts its own head")
def zeros(model, num_classes):
    for name in heads_of(model):
        new = fresh(model.get_submodule(name), num_classes)
        nn.init.zeros_(new.weight)
        nn.init.zeros_(new.bias)
        put(model, name, new)
    return model


@alternative(HEAD, "truncated normal weights of small size")
def truncated(model, num_classes):
    for name in heads_of(model):
        new = fresh(model.get_submodule(name), num_classes)
        nn.init.trunc_normal_(new.weight, std=0.02)
        put(model, name, new)
    return model


@alternative(HEAD, "the same layer objects with new parameters in them")
def new_parameters(model, num_classes):
    for name in heads_of(model):
        layer, new = model.get_submodule(name), fresh(model.get_submodule(name), num_classes)
        layer.weight, layer.bias, layer.out_features = new.weight, new.bias, num_classes
    return model


# --------------------------------------------------------------------------- probe_features


def quiet(model, call):
    """Run `call` in evaluation mode without a graph; the mode comes back."""
    mode = model.training
    model.eval()
    with torch.no_grad():
        result = call()
    model.train(mode)
    return result


@mistake(
    FEATURES, "The backbone stays in training mode: dropout and stochastic depth change the features at every call."
)
def in_training_mode(model, images):
    with torch.no_grad():
        return model.forward_features(images)[:, 0]


@mistake(FEATURES, "The model is left in evaluation mode: training after it runs without dropout.")
def mode_not_restored(model, images):
    model.eval()
    with torch.no_grad():
        return model.forward_features(images)[:, 0]


@mistake(FEATURES, "The model is put in training mode afterwards, also where it was in evaluation mode.")
def always_trains(model, images):
    model.eval()
    with torch.no_grad():
        features = model.forward_features(images)[:, 0]
    model.train()
    return features


@mistake(FEATURES, "The features carry the backbone's graph: memory for every layer, and gradients into the backbone.")
def with_graph(model, images):
    mode = model.training
    model.eval()
    features = model.forward_features(images)[:, 0]
    model.train(mode)
    return features


@mistake(FEATURES, "These are the old head's logits, not the features in front of it.")
def logits(model, images):
    return quiet(model, lambda: model(images))


@mistake(FEATURES, "This is the first patch's token. The class token stands at position 0.")
def first_patch(model, images):
    return quiet(model, lambda: model.forward_features(images)[:, 1])


@mistake(
    FEATURES, "This is the mean over all tokens, the class token included. The head was trained on the class token."
)
def mean_token(model, images):
    return quiet(model, lambda: model.forward_features(images).mean(1))


@mistake(FEATURES, "Tensors made in inference mode cannot be used to train the probe: autograd refuses them.")
def inference_tensors(model, images):
    mode = model.training
    model.eval()
    with torch.inference_mode():
        features = model.forward_features(images)[:, 0]
    model.train(mode)
    return features


@alternative(FEATURES, "detach at the end")
def detached(model, images):
    mode = model.training
    features = model.eval().forward_features(images)[:, 0].detach()
    model.train(mode)
    return features


@alternative(FEATURES, "no_grad as a decorator, and every module's own mode remembered")
@torch.no_grad()
def every_mode(model, images):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    features = model.forward_features(images).select(1, 0)
    for module, mode in modes.items():
        module.training = mode
    return features


@alternative(FEATURES, "one picture at a time")
def one_by_one(model, images):
    return quiet(model, lambda: torch.cat([model.forward_features(x[None])[:, 0] for x in images]))


@alternative(FEATURES, "a copy of the model in evaluation mode")
def in_a_copy(model, images):
    with torch.no_grad():
        return copy.deepcopy(model).eval().forward_features(images)[:, 0].clone()


# --------------------------------------------------------------------------- prepare_training


def optimizer_of(parameters, lr, weight_decay=0.0):
    return torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=lr, weight_decay=weight_decay)


def thaw(model, modules):
    model.requires_grad_(False)
    for module in modules:
        module.requires_grad_(True)


def moving(model, last_blocks):
    first = max(len(model.blocks) - last_blocks, 0)
    return [model.head] if last_blocks == 0 else [*model.blocks[first:], model.norm, model.head]


@mistake(PREPARE, "`module.requires_grad = False` sets an attribute that nobody reads: every parameter still moves.")
def module_attribute(model, head, last_blocks, lr):
    model.head = head
    for module in model.modules():
        module.requires_grad = False
    for module in moving(model, last_blocks):
        module.requires_grad = True
    return optimizer_of(model.parameters(), lr)


@mistake(
    PREPARE, "The optimizer was built before the head was swapped: it moves the old head, and the new one stands still."
)
def optimizer_first(model, head, last_blocks, lr):
    thaw(model, moving(model, last_blocks))
    optimizer = optimizer_of(model.parameters(), lr)
    model.head = head
    return optimizer


@mistake(PREPARE, "A model that arrives frozen stays frozen: what should move was never thawed.")
def never_thawed(model, head, last_blocks, lr):
    model.head = head
    keep = {id(p) for m in moving(model, last_blocks) for p in m.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in keep:
            parameter.requires_grad_(False)
    return optimizer_of(model.parameters(), lr)


@mistake(PREPARE, "The final norm stays frozen while blocks before it move.")
def norm_frozen(model, head, last_blocks, lr):
    model.head = head
    thaw(model, [m for m in moving(model, last_blocks) if m is not model.norm])
    return optimizer_of(model.parameters(), lr)


@mistake(PREPARE, "The final norm moves in a linear probe too: only the head may.")
def norm_in_probe(model, head, last_blocks, lr):
    model.head = head
    thaw(model, {*moving(model, last_blocks), model.norm})
    return optimizer_of(model.parameters(), lr)


@mistake(PREPARE, "The first blocks move. Fine-tuning starts at the other end, next to the head.")
def first_blocks(model, head, last_blocks, lr):
    model.head = head
    thaw(model, [*model.blocks[:last_blocks], *([model.norm] if last_blocks else []), model.head])
    return optimizer_of(model.parameters(), lr)


@mistake(PREPARE, "`blocks[-0:]` is every block: a linear probe that trains the whole encoder.")
def minus_zero(model, head, last_blocks, lr):
    model.head = head
    norm = [model.norm] if last_blocks else []
    thaw(model, [*list(model.blocks)[-last_blocks:], *norm, model.head])
    return optimizer_of(model.parameters(), lr)


@mistake(
    PREPARE, "With all blocks free the embeddings move too: patch embedding, class token and positions should stay."
)
def embeddings_move(model, head, last_blocks, lr):
    model.head = head
    if last_blocks >= len(model.blocks):
        model.requires_grad_(True)
    else:
        thaw(model, moving(model, last_blocks))
    return optimizer_of(model.parameters(), lr)


@mistake(PREPARE, "AdamW's own weight decay of 0.01 is still on.")
def default_decay(model, head, last_blocks, lr):
    model.head = head
    thaw(model, moving(model, last_blocks))
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


@mistake(PREPARE, "The learning rate given is not used.")
def own_rate(model, head, last_blocks, lr):
    model.head = head
    thaw(model, moving(model, last_blocks))
    return optimizer_of(model.parameters(), 1e-3)


@alternative(PREPARE, "nothing frozen; the optimizer simply holds no more than what moves")
def by_optimizer(model, head, last_blocks, lr):
    model.head = head
    chosen = [p for m in moving(model, last_blocks) for p in m.parameters()]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return torch.optim.AdamW(chosen, lr=lr, weight_decay=0.0)


@alternative(PREPARE, "by names, parameter by parameter")
def by_names(model, head, last_blocks, lr):
    model.head = head
    depth = len(model.blocks)
    prefixes = ["head."] + (["norm."] if last_blocks else [])
    prefixes += [f"blocks.{i}." for i in range(max(depth - last_blocks, 0), depth)]
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(tuple(prefixes))
    return torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=lr, weight_decay=0)


@alternative(PREPARE, "all parameters in the optimizer, the frozen ones without gradients")
def everything_listed(model, head, last_blocks, lr):
    model.head = head
    thaw(model, moving(model, last_blocks))
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)


@alternative(PREPARE, "one group per module")
def grouped(model, head, last_blocks, lr):
    model.head = head
    thaw(model, moving(model, last_blocks))
    groups = [{"params": list(m.parameters()), "lr": lr} for m in moving(model, last_blocks)]
    return torch.optim.AdamW(groups, weight_decay=0.0)


# --------------------------------------------------------------------------- layer_lr_groups


def layer_of(name, depth):
    top = name.split(".")[0]
    if top == "blocks":
        return int(name.split(".")[1]) + 1
    return 0 if top in ("patch_embed", *TOKENS) else depth + 1


def each_alone(model, lr, decay, weight_decay, *, layer=layer_of, exempt=None, power=None, frozen=False):
    """One group per parameter, with one thing changed."""
    exempt = exempt or (lambda name, p: p.ndim <= 1 or name in TOKENS)
    power = power or (lambda depth, number: depth + 1 - number)
    depth = len(model.blocks)
    return [
        {"params": [p], "lr": lr * decay ** power(depth, layer(name, depth)),
         "weight_decay": 0.0 if exempt(name, p) else weight_decay}
        for name, p in model.named_parameters() if p.requires_grad or frozen
    ]  # fmt: skip


@mistake(GROUPS, "The rates fall the wrong way: the patches learn fastest and the head slowest.")
def reversed_decay(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, power=lambda depth, number: number)


@mistake(GROUPS, "The exponent is one too small: the last block has the head's rate.")
def exponent_short(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, power=lambda depth, number: max(depth - number, 0))


@mistake(GROUPS, "The exponent is one too large: the head itself is slowed down.")
def head_slowed(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, power=lambda depth, number: depth + 2 - number)


@mistake(GROUPS, "The rate falls by a constant step, not by a factor.")
def linear_fall(model, lr, decay, weight_decay):
    groups = each_alone(model, 1.0, decay, weight_decay, power=lambda depth, number: depth + 1 - number)
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    for name, group in zip(names, groups, strict=True):
        away = len(model.blocks) + 1 - layer_of(name, len(model.blocks))
        group["lr"] = lr * max(0.0, 1 - away * (1 - decay))
    return groups


@mistake(
    GROUPS, "Weight decay pulls positions and tokens to zero: they have more than one dimension but are no matrices."
)
def decay_on_tokens(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, exempt=lambda name, p: p.ndim <= 1)


@mistake(GROUPS, "Weight decay falls on biases and norms: it pulls a norm's scale from 1 to 0.")
def decay_on_vectors(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, exempt=lambda name, p: name in TOKENS)


@mistake(GROUPS, "Weight decay falls on the norms; only biases and tokens were left out.")
def decay_on_norms(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, exempt=lambda name, p: name.endswith("bias") or name in TOKENS)


@mistake(GROUPS, "Only one digit of the block's number is read: blocks 10 and 11 get the rate of block 1.")
def one_digit(model, lr, decay, weight_decay):
    def layer(name, depth):
        return int(name[7]) + 1 if name.startswith("blocks.") else layer_of(name, depth)

    return each_alone(model, lr, decay, weight_decay, layer=layer)


@mistake(GROUPS, "Tokens and positions get the head's rate. They belong to layer 0, with the patch embedding.")
def tokens_on_top(model, lr, decay, weight_decay):
    def layer(name, depth):
        return depth + 1 if name in TOKENS else layer_of(name, depth)

    return each_alone(model, lr, decay, weight_decay, layer=layer)


@mistake(GROUPS, "The final norm counts as layer 0 here. It stands behind the last block, with the head.")
def norm_at_the_bottom(model, lr, decay, weight_decay):
    def layer(name, depth):
        return 0 if name.startswith("norm.") else layer_of(name, depth)

    return each_alone(model, lr, decay, weight_decay, layer=layer)


@mistake(GROUPS, "Frozen parameters stand in the groups as well.")
def frozen_listed(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay, frozen=True)


@alternative(GROUPS, "one group per parameter")
def one_each(model, lr, decay, weight_decay):
    return each_alone(model, lr, decay, weight_decay)


@alternative(GROUPS, "walking over modules from the head down")
def walking(model, lr, decay, weight_decay):
    rest = {id(p) for p in model.parameters()}
    layers = []
    for module in reversed(model.blocks):
        layers.append(list(module.parameters()))
    first = [*model.patch_embed.parameters(), *(getattr(model, t) for t in TOKENS if hasattr(model, t))]
    layers.append(first)
    taken = {id(p) for layer in layers for p in layer}
    layers.insert(0, [p for p in model.parameters() if id(p) in rest - taken])
    special = {id(getattr(model, t)) for t in TOKENS if hasattr(model, t)}
    groups = []
    for away, layer in enumerate(layers):
        free = [p for p in layer if p.requires_grad]
        matrices = [p for p in free if p.ndim > 1 and id(p) not in special]
        others = [p for p in free if p.ndim <= 1 or id(p) in special]
        groups.append({"params": matrices, "lr": lr * decay**away, "weight_decay": weight_decay})
        groups.append({"params": others, "lr": lr * decay**away, "weight_decay": 0.0})
    return groups


@alternative(GROUPS, "a regular expression and extra entries in each group")
def with_names(model, lr, decay, weight_decay):
    import re

    groups = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            block = re.match(r"blocks\.(\d+)\.", name)
            low = re.match("patch_embed|cls_token|dist_token|pos_embed", name)
            away = len(model.blocks) - int(block[1]) if block else len(model.blocks) + 1 if low else 0
            none = p.dim() < 2 or bool(re.fullmatch("cls_token|dist_token|pos_embed", name))
            groups.append({"params": [p], "lr": lr * decay**away, "weight_decay": weight_decay * (not none),
                           "name": name})  # fmt: skip
    return groups


# --------------------------------------------------------------------------- resize_positions


def grids(model, *sizes):
    P = model.patch_embed.patch_size
    for height, width in sizes:
        if height % P or width % P:
            raise ValueError("the patch size does not divide the image")
    return [(height // P, width // P) for height, width in sizes]


def front(model):
    return 2 if hasattr(model, "dist_token") else 1


def with_positions(model, positions):
    model.pos_embed = nn.Parameter(positions)
    return model


def stretched(positions, old, new, prefix, **options):
    """Interpolate by hand, with the options given."""
    head, patches = positions[:, :prefix], positions[:, prefix:]
    image = patches.unflatten(1, old).permute(0, 3, 1, 2)
    options = {"size": tuple(new), "mode": "bicubic", "align_corners": False, **options}
    image = F.interpolate(image, **{k: v for k, v in options.items() if v is not None})
    return torch.cat([head, image.flatten(2).transpose(1, 2)], 1)


@mistake(RESIZE, "The class token's position is stretched along with the grid; it has no place in the picture.")
def class_token_too(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    if old == new:
        return with_positions(model, model.pos_embed.detach())
    rows, wanted = model.pos_embed.detach().transpose(1, 2), front(model) + new[0] * new[1]
    return with_positions(model, F.interpolate(rows, size=wanted, mode="linear").transpose(1, 2))


@mistake(RESIZE, "The positions are read as (D, h, w) without a permute: channels and places are mixed.")
def no_permute(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    positions, prefix = model.pos_embed.detach(), front(model)
    if old == new:
        return with_positions(model, positions)
    image = positions[:, prefix:].reshape(1, positions.shape[2], *old)
    image = F.interpolate(image, size=new, mode="bicubic").flatten(2).transpose(1, 2)
    return with_positions(model, torch.cat([positions[:, :prefix], image], 1))


@mistake(RESIZE, "Height and width of the grid are swapped.")
def sides_swapped(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    return with_positions(model, interpolate_positions(model.pos_embed.detach(), old[::-1], new[::-1], front(model)))


@mistake(RESIZE, "As many patches as before, so nothing is done: but the grid has another shape.")
def same_count_unchanged(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    if old[0] * old[1] == new[0] * new[1]:
        return with_positions(model, model.pos_embed.detach())
    return with_positions(model, interpolate_positions(model.pos_embed.detach(), old, new, front(model)))


@mistake(RESIZE, "`align_corners=True` pins the outermost positions to the corners and shifts all between them.")
def corners_aligned(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    return with_positions(model, stretched(model.pos_embed.detach(), old, new, front(model), align_corners=True))


@mistake(RESIZE, "Bilinear interpolation; the task and the published models use bicubic.")
def bilinear(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    return with_positions(model, stretched(model.pos_embed.detach(), old, new, front(model), mode="bilinear"))


@mistake(RESIZE, "`scale_factor` rounds down: at some sizes the grid comes out one row short. Pass `size`.")
def by_scale_factor(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    factor = (new[0] / old[0], new[1] / old[1])
    return with_positions(
        model, stretched(model.pos_embed.detach(), old, new, front(model), size=None, scale_factor=factor)
    )


@mistake(
    RESIZE, "The positions are a plain tensor now: the optimizer, `state_dict` and `.to(device)` no longer see them."
)
def plain_tensor(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    positions = interpolate_positions(model.pos_embed.detach(), old, new, front(model))
    del model.pos_embed
    model.pos_embed = positions
    return model


@mistake(RESIZE, "A size the patch does not divide passes silently: the last pixels have no positions.")
def size_not_checked(model, old_size, new_size):
    P = model.patch_embed.patch_size
    old, new = ((height // P, width // P) for height, width in (old_size, new_size))
    return with_positions(model, interpolate_positions(model.pos_embed.detach(), old, new, front(model)))


@mistake(RESIZE, "A distilled model has two tokens in front of the patches, not one.")
def one_token_in_front(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    return with_positions(model, interpolate_positions(model.pos_embed.detach(), old, new, 1))


@mistake(RESIZE, "The grid is taken to be square, √N on each side.")
def square_grid(model, old_size, new_size):
    _, new = grids(model, old_size, new_size)
    side = int((model.pos_embed.shape[1] - front(model)) ** 0.5)
    return with_positions(model, interpolate_positions(model.pos_embed.detach(), (side, side), new, front(model)))


@alternative(RESIZE, "interpolated by hand")
def without_lesson_two(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    return with_positions(model, stretched(model.pos_embed.detach(), old, new, front(model)))


@alternative(RESIZE, "through the parameter's data")
def through_data(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    model.pos_embed.data = interpolate_positions(model.pos_embed.data, old, new, num_prefix_tokens=front(model))
    return model


@alternative(RESIZE, "under no_grad, the prefix counted from the number of positions")
def counted(model, old_size, new_size):
    old, new = grids(model, old_size, new_size)
    prefix = model.pos_embed.shape[1] - old[0] * old[1]
    with torch.no_grad():
        model.register_parameter("pos_embed", nn.Parameter(interpolate_positions(model.pos_embed, old, new, prefix)))
    return model


# --------------------------------------------------------------------------- accumulated_step


def pieces(images, labels, micro_batch):
    return list(zip(images.split(micro_batch), labels.split(micro_batch), strict=True))


@mistake(
    ACCUMULATE,
    "Each piece's mean is added without dividing: the gradient is as many times too large as there are pieces.",
)
def not_divided(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    total = 0.0
    for x, y in pieces(images, labels, micro_batch):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


@mistake(ACCUMULATE, "Each piece counts the same, also a smaller last one: its pictures weigh too much.")
def mean_of_means(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    total, parts = 0.0, pieces(images, labels, micro_batch)
    for x, y in parts:
        loss = F.cross_entropy(model(x), y) / len(parts)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


@mistake(ACCUMULATE, "zero_grad inside the loop throws away every piece's gradient but the last.")
def zeroed_in_loop(model, images, labels, optimizer, micro_batch):
    total = 0.0
    for x, y in pieces(images, labels, micro_batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y, reduction="sum") / len(images)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


@mistake(ACCUMULATE, "A step after each piece: many small steps in place of one.")
def step_in_loop(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    total = 0.0
    for x, y in pieces(images, labels, micro_batch):
        loss = F.cross_entropy(model(x), y, reduction="sum") / len(images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item()
    return total


@mistake(ACCUMULATE, "Old gradients are still there when the first piece comes in.")
def old_gradients_kept(model, images, labels, optimizer, micro_batch):
    total = 0.0
    for x, y in pieces(images, labels, micro_batch):
        loss = F.cross_entropy(model(x), y, reduction="sum") / len(images)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


@mistake(ACCUMULATE, "All graphs are kept until one backward at the end: the right gradient, and no memory saved.")
def one_backward(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    losses = [
        F.cross_entropy(model(x), y, reduction="sum") / len(images) for x, y in pieces(images, labels, micro_batch)
    ]
    loss = torch.stack(losses).sum()
    loss.backward()
    optimizer.step()
    return loss.item()


@mistake(ACCUMULATE, "The whole batch goes through at once: the right gradient, and no memory saved.")
def not_split(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@mistake(ACCUMULATE, "The pictures of a smaller last piece are left out.")
def remainder_dropped(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    total = 0.0
    for i in range(max(len(images) // micro_batch, 1)):
        rows = slice(i * micro_batch, (i + 1) * micro_batch)
        loss = F.cross_entropy(model(images[rows]), labels[rows], reduction="sum") / len(images)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


@mistake(ACCUMULATE, "The loss returned is the last piece's, not the batch's.")
def last_loss(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    loss = torch.zeros(())
    for x, y in pieces(images, labels, micro_batch):
        loss = F.cross_entropy(model(x), y)
        (loss * len(x) / len(images)).backward()
    optimizer.step()
    return loss.item()


@alternative(ACCUMULATE, "means weighted by the piece's share")
def weighted(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad()
    total = torch.zeros(())
    for start in range(0, len(images), micro_batch):
        x, y = images[start : start + micro_batch], labels[start : start + micro_batch]
        loss = F.cross_entropy(model(x), y) * (len(x) / len(images))
        loss.backward()
        total = total + loss.detach()
    optimizer.step()
    return total


@alternative(ACCUMULATE, "pieces of nearly equal size, none larger than allowed")
def balanced(model, images, labels, optimizer, micro_batch):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None
    count, total = -(-len(images) // micro_batch), 0.0
    for x, y in zip(images.tensor_split(count), labels.tensor_split(count), strict=True):
        loss = F.nll_loss(model(x).log_softmax(-1), y, reduction="sum").div(labels.numel())
        loss.backward()
        total += float(loss.detach())
    optimizer.step()
    return total


@alternative(ACCUMULATE, "sums first, gradients divided before the step")
def divided_at_the_end(model, images, labels, optimizer, micro_batch):
    optimizer.zero_grad(set_to_none=False)
    total = 0.0
    for x, y in pieces(images, labels, micro_batch):
        loss = F.cross_entropy(model(x), y, reduction="sum")
        loss.backward()
        total += loss.item()
    for p in model.parameters():
        p.grad /= len(images)
    optimizer.step()
    return total / len(images)
