"""Visible checks and questions of lesson 05."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitcourse.checking import close, differs, gradients_reach, normal, require, scramble, shape, visible_check
from vitcourse.quiz import question

# --------------------------------------------------------------------------- questions

question(
    "deit_distillation.who_wins",
    right="cnn",
    why="With few pictures its built-in taste for neighbourhoods is worth more than the ViT's freedom. You will measure it.",
    wrong={
        "vit": "With millions of pictures perhaps. With 4000, the ViT must first find out that neighbouring pixels matter.",
        "equal": "The two differ in what they know before the first picture, and with few pictures that decides.",
    },
)
question(
    "deit_distillation.temperature",
    right="flatter",
    why="Dividing by T brings all logits closer together, so the softmax gets flatter. Their order stays.",
    wrong={
        "sharper": "That is T below 1: it moves the logits apart. T above 1 moves them together.",
        "another order": "Dividing all logits by the same positive number never changes which one is larger.",
        "anotherorder": "Dividing all logits by the same positive number never changes which one is larger.",
    },
)
question(
    "deit_distillation.gradient_with_temperature",
    right="about 100 times smaller",
    why="One factor 1/T comes from the chain rule, a second from the distributions, which become alike. T² undoes both.",
    wrong={
        "the same": "The logits are divided by T before they are compared; at least the chain rule's 1/T must remain.",
        "about 10 times smaller": "That is the chain rule's 1/T alone. The two softened distributions also move closer together.",
    },
)
question(
    "deit_distillation.tokens",
    right=198,
    why="(224 / 16)² = 196 patches, one class token, one distillation token.",
    wrong={
        "196": "These are the patches. Two more tokens travel with them.",
        "197": "That is a plain ViT: patches and class token. The distilled one has one token more.",
    },
    otherwise="Count the patches along one side, 224 / 16, square that, and add the extra tokens.",
)
question(
    "deit_distillation.factor",
    right=0.9,
    why="λ T² = 0.1 · 9.",
    wrong={
        "0.1": "That is λ alone. The divergence also gets T².",
        "0.3": "That is λ T. The factor is λ T².",
        "9": "That is T². The teacher's weight λ multiplies it.",
        "8.1": "That is (1 − λ) T². The labels have 1 − λ, the teacher has λ.",
    },
    otherwise="Look at what stands before KL in the equation: λ T².",
)
question(
    "deit_distillation.smoothed",
    right=0.91,
    why="1 − ε + ε/K = 0.9 + 0.01.",
    wrong={
        "0.9": "The true class also gets its part ε/K of what is shared: 0.9 + 0.01.",
        "0.01": "That is the target of a wrong class.",
        "0.1": "That is ε. The true class gives it up, and gets ε/K back.",
    },
    otherwise="The true class keeps 1 − ε and gets ε/K.",
)
question(
    "deit_distillation.meets",
    right="c",
    why="Hard distillation treats the teacher's decision, argmax Z_t, as a second label, and only for this head.",
    wrong={
        "a": "The label belongs to the class token's head. With labels for both, the second token learns nothing new.",
        "b": "That is soft distillation: softened probabilities, and a KL divergence.",
        "d": "The two targets are never mixed: each head has its own cross-entropy, with weight ½.",
    },
)
question(
    "deit_distillation.negative",
    right="b",
    why="A divergence of two distributions is never below 0. Something that is no log-probability went in.",
    wrong={
        "a": "λ only weighs two terms, and both are at least 0.",
        "c": "Without T² the term is too small, but still positive.",
        "d": "The loss knows nothing of better or worse: KL and cross-entropy are never negative.",
    },
)
question(
    "deit_distillation.evidence",
    right="c",
    why="Half a point is within what two seeds differ by, and the plain ViT had less compute: the teacher's was not counted.",
    wrong={
        "a": "One run each: the same network with another seed could differ as much.",
        "b": "The number is a difference of two single runs. Without a spread it has no meaning.",
        "d": "One run each says as little against distillation as for it.",
    },
)
question(
    "deit_distillation.extra_parameters",
    right=193384,
    why="192 (token) + 192 (position) + 192 · 1000 + 1000 (head) = 193384. Almost all of it is the head.",
    wrong={
        "193000": "That is the head. The token and its position have 192 numbers each.",
        "193192": "The token needs a position of its own, too: 192 more.",
        "192384": "The head's bias is missing: 1000 more.",
        "384": "That is token and position. The second head is by far the largest part.",
    },
    otherwise="Add up: D for the token, D for its position, and (D + 1) · K for the head with bias.",
)

# --------------------------------------------------------------------------- exercises

WEAK = "the teacher changes nothing"
NEGATIVE = "the loss is negative"
FORGETS = "the teacher gets worse while the student trains"
STALLS = "the loss stalls as soon as Mixup is on"
HEADS = "both heads give the same answers"
LOAD = "published weights do not load"


@visible_check("deit_distillation.smooth_labels")
def smooth_labels(answer: Callable[..., Tensor]) -> None:
    labels = torch.tensor([2, 0, 4, 3])
    soft = shape(answer(labels, 5, 0.2), (4, 5), "one row per picture, one column per class", hint=1)
    differs(
        soft, F.one_hot(labels, 5), "these are one-hot targets: ε has no effect yet", hint=2, mistake="no_smoothing"
    )
    over_wrong, no_top_up = torch.full((4, 5), 0.2 / 4), torch.full((4, 5), 0.2 / 5)
    over_wrong[range(4), labels] = no_top_up[range(4), labels] = 0.8
    differs(
        soft,
        over_wrong,
        "you share ε over the K − 1 wrong classes; the task shares it over all K",
        hint=3,
        mistake="shared_over_wrong_classes",
    )
    differs(
        soft,
        no_top_up,
        "the true class needs its own part of ε too: 1 − ε + ε/K",
        hint=3,
        mistake="true_class_without_its_part",
    )
    differs(
        soft,
        0.2 * F.one_hot(labels, 5) + 0.8 / 5,
        "the true class gives ε up, it does not keep it: ε and 1 − ε are swapped",
        mistake="epsilon_swapped",
    )
    sums = soft.sum(-1)
    differs(sums, torch.full((4,), 1.2), "each row sums to 1 + ε: the true class must give ε up", hint=2,
            mistake="nothing_given_up")  # fmt: skip
    differs(sums, torch.full((4,), 1.8), "every class gets the whole ε: it is shared, ε/K each", hint=2,
            mistake="whole_epsilon_everywhere")  # fmt: skip
    close(sums, 1.0, "each row is a distribution: it must sum to 1", hint=2)
    right = torch.tensor([[1.0 - 0.2 + 0.04 if k == label else 0.04 for k in range(5)] for label in labels.tolist()])
    close(soft, right, "with K = 5 and ε = 0.2 the true class gets 0.84, every other class 0.04")
    logits = normal(4, 5)
    close(
        F.cross_entropy(logits, soft.to(logits)),
        F.cross_entropy(logits, labels, label_smoothing=0.2),
        "cross-entropy with these targets must equal F.cross_entropy(..., label_smoothing=ε)",
    )
    close(answer(labels[:1], 7, 0.0), F.one_hot(labels[:1], 7), "with ε = 0 the targets must be one-hot")


@visible_check("deit_distillation.mixup")
def mixup(answer: Callable[..., tuple[Tensor, Tensor]]) -> None:
    images, targets = normal(4, 3, 2, 5), normal(4, 6, seed=1).softmax(-1)
    partners, lam = torch.tensor([1, 2, 3, 0]), 0.3  # a cycle: its inverse is another permutation
    kept = images.clone(), targets.clone()
    mixed, blended = answer(images, targets, lam, partners)
    mixed = shape(mixed, (4, 3, 2, 5), "the blended images keep their shape", hint=1)
    blended = shape(blended, (4, 6), "the blended targets keep their shape", hint=1)
    require(
        torch.equal(images, kept[0]) and torch.equal(targets, kept[1]),
        "the inputs were changed: make new tensors, the partners still need the old ones",
        mistake="changes_its_inputs",
    )

    def blend(own: float, who: Any = partners) -> Tensor:
        return own * images + (1 - own) * images[who]

    differs(mixed, blend(1 - lam), "the picture's own share is λ and its partner's 1 − λ: they are swapped", hint=2,
            mistake="lam_swapped")  # fmt: skip
    differs(
        mixed,
        blend(lam, partners.argsort()),
        "picture i takes part of picture permutation[i]; here permutation[i] takes part of picture i",
        hint=1,
        mistake="inverse_permutation",
    )
    differs(
        mixed,
        images.flip(0) * (1 - lam) + lam * images,
        "these partners are the batch in reverse: use `permutation`",
        mistake="reversed_batch",
    )
    close(mixed, blend(lam), "the images are not λ · own + (1 − λ) · partner", hint=2)
    differs(blended, targets, "the images are blended but the targets are not", hint=3, see=STALLS,
            mistake="targets_not_blended")  # fmt: skip
    differs(
        blended,
        (1 - lam) * targets + lam * targets[partners],
        "images and targets use different shares: give both the same λ",
        hint=3,
        see=STALLS,
        mistake="targets_with_the_other_share",
    )
    differs(blended, lam * targets + (1 - lam) * targets[partners.argsort()],
            "the targets are blended with other partners than the images", hint=3, see=STALLS,
            mistake="targets_of_other_partners")  # fmt: skip
    close(blended, lam * targets + (1 - lam) * targets[partners], "the targets need the blend of the images", hint=3)
    close(answer(images, targets, 1.0, partners)[0], images, "with λ = 1 every picture must stay as it was")


def _noisy_teacher() -> nn.Sequential:
    teacher = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    scramble(teacher)
    norm: Any = teacher[1]
    norm.running_mean.copy_(normal(6, seed=3))
    norm.running_var.copy_(1 + normal(6, seed=4).abs())
    return teacher


@visible_check("deit_distillation.ask_teacher")
def ask_teacher(answer: Callable[..., Tensor]) -> None:
    images = normal(5, 3, 4, 7)
    teacher = _noisy_teacher().eval()
    expected = teacher(images).detach()
    teacher.train()
    norm: Any = teacher[1]
    before = norm.running_mean.clone()
    logits = answer(teacher, images)
    require(
        torch.equal(norm.running_mean, before),
        "asking the teacher changed its batch-norm statistics: it was still in training mode",
        hint=1,
        see=FORGETS,
    )
    differs(logits, expected.argmax(-1), "these are decisions; the losses want the raw logits", mistake="decisions")
    found = shape(logits, (5, 4), "one row of K logits per picture")
    differs(found, expected.softmax(-1), "these are probabilities; the losses want the raw logits",
            mistake="probabilities")  # fmt: skip
    close(found, expected, "the teacher answers differently than in evaluation mode: batch norm or dropout still "
          "behave as in training", hint=1, see=FORGETS)  # fmt: skip
    require(
        not logits.requires_grad,
        "a gradient would flow into the teacher: its answer must not record one",
        hint=2,
        see=FORGETS,
        mistake="gradients_into_the_teacher",
    )
    close(
        answer(_noisy_teacher().eval(), images), expected, "a teacher that arrives in evaluation mode must answer too"
    )


@visible_check("deit_distillation.soft_distillation_loss")
def soft_distillation_loss(answer: Callable[..., Tensor]) -> None:
    batch, classes, t, lam = 4, 6, 3.0, 0.3
    cls, dist, teacher = (2 * normal(batch, classes, seed=s) for s in (1, 2, 3))
    labels = torch.tensor([5, 0, 2, 2])
    loss = shape(answer(cls, dist, teacher, labels, t, lam), (), "the loss is one number")

    def kl(student: Tensor, target: Tensor, dim: int = -1) -> float:
        """Sum over classes, mean over the batch, from the definition Σ p (log p − log q)."""
        p, q = target.softmax(dim), student.softmax(dim)
        return float((p * (p.log() - q.log())).sum() / batch)

    def total(label_part: float, teacher_part: float, share: float = lam) -> float:
        return (1 - share) * label_part + share * teacher_part

    ce = float(F.cross_entropy(cls, labels))
    soft = kl(dist / t, teacher / t)
    log_q, log_p = (dist / t).log_softmax(-1), (teacher / t).log_softmax(-1)
    weak, negative = {"hint": 3, "see": WEAK}, {"hint": 2, "see": NEGATIVE}
    known: list[tuple[str, float, str, dict[str, Any]]] = [
        ("no_temperature_squared", total(ce, soft), "the factor T² is missing", weak),
        ("temperature_once", total(ce, t * soft), "the factor is T², not T", weak),
        ("temperature_on_student_only", total(ce, t * t * kl(dist / t, teacher)),
         "only the student's logits are divided by T: both sides are", {"hint": 1}),
        ("temperature_on_teacher_only", total(ce, t * t * kl(dist, teacher / t)),
         "only the teacher's logits are divided by T: both sides are", {"hint": 1}),
        ("temperature_on_the_labels_too", total(float(F.cross_entropy(cls / t, labels)), t * t * soft),
         "the labels' cross-entropy works at temperature 1: do not divide the class logits by T", {"hint": 1}),
        ("lam_swapped_in_soft", total(ce, t * t * soft, 1 - lam), "the teacher's weight is λ and the labels' 1 − λ: they are swapped", {}),
        ("class_logits_distilled", total(ce, t * t * kl(cls / t, teacher / t)),
         "the teacher's part is computed from the class logits: the distillation token's logits meet the teacher", {"see": HEADS}),
        ("heads_swapped", total(float(F.cross_entropy(dist, labels)), t * t * kl(cls / t, teacher / t)),
         "the two heads are swapped: class logits meet the labels, distillation logits meet the teacher", {"see": HEADS}),
        ("mean_over_classes_too", total(ce, t * t * soft / classes),
         "this averages over batch and classes (`reduction=\"mean\"`): sum over the classes, average over the batch", weak),
        ("sum_over_the_batch", total(ce, t * t * soft * batch),
         "this sums over the batch: average over it, or the loss grows with the batch size", {"hint": 2}),
        ("arguments_swapped", total(ce, t * t * kl(teacher / t, dist / t)),
         "the divergence is the wrong way round: F.kl_div takes the student first, the teacher as target", {"hint": 2}),
        ("softmax_over_the_batch", total(ce, t * t * kl(dist / t, teacher / t, 0)),
         "the softmax runs over the batch: each picture's classes must sum to 1", {"hint": 1}),
        ("probabilities_for_log_probabilities", total(ce, t * t * float(F.kl_div(log_q.exp(), log_p.exp(), reduction="batchmean"))),
         "F.kl_div got the student's probabilities: it wants log-probabilities first", negative),
        ("log_target_not_said", total(ce, t * t * float(F.kl_div(log_q, log_p, reduction="batchmean"))),
         "F.kl_div got log-probabilities as target but was not told (log_target)", negative),
        ("cross_entropy_for_divergence", total(ce, t * t * float(F.cross_entropy(dist / t, log_p.exp()))),
         "this is the cross-entropy with the teacher; the divergence subtracts the teacher's own entropy", {"hint": 2}),
    ]  # fmt: skip
    for name, value, words, pointers in known:
        differs(loss, torch.tensor(value), words, mistake=name, **pointers)
    close(loss, total(ce, t * t * soft), "the loss is not (1 − λ) CE + λ T² KL (T = 3, λ = 0.3)", hint=3)
    close(
        answer(cls, dist, teacher, labels, 1.5, 0.0),
        ce,
        "with λ = 0 only the labels' cross-entropy is left: is a value fixed that should be an argument?",
    )
    students = cls.clone().requires_grad_(), dist.clone().requires_grad_()
    asked = teacher.clone().requires_grad_()
    answer(*students, asked, labels, t, lam).backward()
    require(asked.grad is None or not asked.grad.any(), "a gradient flows into the teacher's logits", see=FORGETS,
            mistake="gradients_into_teacher")  # fmt: skip
    require(
        all(s.grad is not None and s.grad.any() for s in students), "no gradient reaches one of the student's heads"
    )
    mixed = normal(batch, classes, seed=5).softmax(-1)
    close(
        answer(cls, dist, teacher, mixed, t, lam),
        total(float(-(mixed * cls.log_softmax(-1)).sum(-1).mean()), t * t * soft),
        "labels may also be probabilities (B, K), as Mixup makes them",
    )


@visible_check("deit_distillation.hard_distillation_loss")
def hard_distillation_loss(answer: Callable[..., Tensor]) -> None:
    batch, classes = 5, 4
    cls, dist, teacher = (2 * normal(batch, classes, seed=s) for s in (1, 2, 3))
    decided = teacher.argmax(-1)
    labels = (decided + torch.tensor([1, 0, 2, 3, 1])) % classes  # the teacher disagrees on four of five
    loss = shape(answer(cls, dist, teacher, labels), (), "the loss is one number")

    def ce(logits: Tensor, truth: Tensor) -> Tensor:
        return -logits.log_softmax(-1)[torch.arange(batch), truth].mean()

    right = 0.5 * ce(cls, labels) + 0.5 * ce(dist, decided)
    known = [
        ("labels_for_the_teacher", 0.5 * ce(cls, labels) + 0.5 * ce(dist, labels),
         "both heads meet the true labels: the distillation head must meet the teacher's decisions"),
        ("no_halves", 2 * right, "both terms have weight ½"),
        ("heads_swapped_in_hard", 0.5 * ce(cls, decided) + 0.5 * ce(dist, labels),
         "the two heads are swapped: class logits meet the labels, distillation logits meet the teacher"),
        ("class_logits_distilled_in_hard", 0.5 * ce(cls, labels) + 0.5 * ce(cls, decided),
         "the teacher's decisions meet the class logits: they belong to the distillation head"),
        ("soft_teacher", 0.5 * ce(cls, labels) + 0.5 * F.cross_entropy(dist, teacher.softmax(-1)),
         "the teacher's probabilities are used as targets: hard distillation wants its decisions (argmax)"),
        ("mean_logits", 0.5 * ce((cls + dist) / 2, labels) + 0.5 * ce((cls + dist) / 2, decided),
         "the two heads are averaged before the loss: in training each head meets its own target"),
        ("summed_over_the_batch", batch * right, "this sums over the batch: average over it"),
    ]  # fmt: skip
    for name, value, words in known:
        see = HEADS if "head" in words else None
        differs(loss, value, words, mistake=name, see=see)
    close(
        loss,
        right,
        "the loss is not ½ CE(class logits, labels) + ½ CE(distillation logits, teacher's decisions)",
        hint=2,
    )
    mixed = normal(batch, classes, seed=5).softmax(-1)
    close(
        answer(cls, dist, teacher, mixed),
        0.5 * -(mixed * cls.log_softmax(-1)).sum(-1).mean() + 0.5 * ce(dist, decided),
        "labels may also be probabilities (B, K), as Mixup makes them",
        hint=3,
    )


@visible_check("deit_distillation.DistilledVisionTransformer")
def distilled_vision_transformer(answer: Callable[..., Any]) -> None:
    model: Any = scramble(answer(img_size=(8, 12), patch_size=4, num_classes=5, embed_dim=12, depth=2, num_heads=3))
    x = normal(2, 3, 8, 12)
    model.eval()
    patches = model.patch_embed(x)
    two = torch.cat([model.cls_token, model.dist_token], dim=1).repeat(2, 1, 1)  # class, distillation

    def features(tokens: Tensor) -> Tensor:
        return model.norm(model.blocks(tokens))

    right = features(torch.cat([two, patches], dim=1) + model.pos_embed).detach()
    tokens = shape(model.forward_features(x), (2, 8, 12), "2 extra tokens and 2 × 3 patches of width D", hint=1)
    swapped = features(torch.cat([two.flip(1), patches], dim=1) + model.pos_embed)
    differs(tokens, swapped, "the distillation token stands before the class token: the class token comes first",
            hint=1, see=LOAD, mistake="distillation_token_first")  # fmt: skip
    last = features(torch.cat([two[:, :1], patches, two[:, 1:]], dim=1) + model.pos_embed)
    differs(tokens, last, "the distillation token stands at the end: it belongs at position 1, after the class token",
            hint=1, see=LOAD, mistake="distillation_token_last")  # fmt: skip
    twice = features(torch.cat([two[:, :1], two[:, :1], patches], dim=1) + model.pos_embed)
    differs(tokens, twice, "the class token is used twice: the second token is `dist_token`",
            mistake="class_token_twice")  # fmt: skip
    bare = features(torch.cat([two, patches + model.pos_embed[:, 2:]], dim=1))
    differs(tokens, bare, "the two extra tokens got no position: add `pos_embed` after joining the tokens", hint=2,
            mistake="extra_tokens_without_positions")  # fmt: skip
    close(tokens, right, "the tokens are not [class, distillation, patches] plus positions", hint=1)

    class_logits = F.linear(right[:, 0], model.head.weight, model.head.bias).detach()
    dist_logits = F.linear(right[:, 1], model.head_dist.weight, model.head_dist.bias).detach()
    out = model(x)
    if isinstance(out, (tuple, list)):
        require(False, "in evaluation mode the model must return one tensor, the mean of the two logits", hint=3,
                mistake="pair_in_evaluation_too")  # fmt: skip
    out = shape(out, (2, 5), "one row of logits per picture")
    differs(out, class_logits, "in evaluation mode only the class head answers: average both heads' logits", hint=3,
            mistake="class_head_only")  # fmt: skip
    differs(out, dist_logits, "in evaluation mode only the distillation head answers: average both", hint=3,
            mistake="distillation_head_only")  # fmt: skip
    differs(out, class_logits + dist_logits, "the two logits are added: their mean is half of that", hint=3,
            mistake="sum_for_mean")  # fmt: skip
    probabilities = (class_logits.softmax(-1) + dist_logits.softmax(-1)) / 2
    for wrong in (probabilities, probabilities.log()):
        differs(out, wrong, "the probabilities are averaged: here the logits are", hint=3,
                mistake="mean_of_probabilities")  # fmt: skip
    model.train()
    pair = model(x)
    require(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        "in training mode the model must return a pair, class logits and distillation logits",
        hint=3,
        mistake="mean_in_training_too",
    )
    one_head = F.linear(right[:, 1], model.head.weight, model.head.bias)
    differs(pair[1], one_head, "`head` reads both tokens: the distillation token has its own head, `head_dist`",
            see=HEADS, mistake="one_head_for_both")  # fmt: skip
    same = F.linear(right[:, 0], model.head_dist.weight, model.head_dist.bias)
    differs(pair[1], same, "`head_dist` reads the class token: it belongs to token 1", see=HEADS,
            mistake="both_heads_read_the_class_token")  # fmt: skip
    differs(pair[0], dist_logits, "the pair is in the wrong order: class logits first", mistake="pair_swapped")
    close(pair[0], class_logits, "the class logits are not `head` of token 0")
    close(pair[1], dist_logits, "the distillation logits are not `head_dist` of token 1")
    close(
        out, (class_logits + dist_logits) / 2, "in evaluation mode the answer is the mean of both heads' logits", hint=3
    )
    gradients_reach(model, torch.cat([pair[0], pair[1]]), "a parameter has no influence on the two logits")


question(
    "deit_distillation.cutmix",
    right=0.625,
    why="The share follows the area: 1 − 16 · 24 / (32 · 32) = 1 − 384 / 1024.",
    wrong={
        "0.375": "That is the partner's share: 384 of 1024 pixels.",
        "0.5": "Half of the height, but three quarters of the width: count the area.",
        "0.25": "One side alone does not tell. Count the area: 384 of 1024 pixels are the partner's.",
        "1": "Then the target would deny what was pasted in.",
        "62.5": "Right as a percentage. As a share it is 0.625.",
    },
    otherwise="Count the pixels that stay: 1024 − 16 · 24. Which share of 1024 is that?",
)
question(
    "deit_distillation.adamw",
    right="b",
    why="It shrinks every weight by the same factor, apart from the gradient step. That is what *decoupled* means.",
    wrong={
        "a": "There the decay is divided by the size of the gradient with everything else: the second weight hardly decays.",
        "c": "Look at the four curves again: under Adam + L2 they part, under AdamW they lie on each other.",
        "d": "Under AdamW the two curves lie on each other.",
    },
)
question(
    "deit_distillation.teacher",
    right="c",
    why="In DeiT's table 2 a Transformer teacher of similar strength taught less than a CNN. One paper's result, not a law.",
    wrong={
        "a": "The student never sees the teacher's tokens, only its answers. And in DeiT's runs the Transformer taught less.",
        "b": "In DeiT's runs teachers of similar accuracy taught differently well: what kind of network it is counts, too.",
        "d": "DeiT's CNN of 80.0 % taught a student of 82.7 %. A teacher need not be better than its student.",
    },
)
