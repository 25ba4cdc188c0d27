"""The catalogue of lesson 05."""

import torch
import torch.nn.functional as F
from einops import repeat
from torch import nn

from grader.mistakes import alternative, mistake
from solutions.deit_distillation import DistilledVisionTransformer

SMOOTH = "deit_distillation.smooth_labels"
MIXUP = "deit_distillation.mixup"
ASK = "deit_distillation.ask_teacher"
SOFT = "deit_distillation.soft_distillation_loss"
HARD = "deit_distillation.hard_distillation_loss"
MODEL = "deit_distillation.DistilledVisionTransformer"

# --------------------------------------------------------------------------- label smoothing


@mistake(SMOOTH, "ε has no effect: the targets are one-hot.")
def no_smoothing(labels, num_classes, epsilon=0.1):
    return F.one_hot(labels, num_classes).float()


@mistake(SMOOTH, "ε is shared over the K − 1 wrong classes; the task shares it over all K, the true class included.")
def shared_over_wrong_classes(labels, num_classes, epsilon=0.1):
    one_hot = F.one_hot(labels, num_classes)
    return one_hot * (1 - epsilon) + (1 - one_hot) * epsilon / (num_classes - 1)


@mistake(SMOOTH, "The true class keeps 1 − ε without its own part ε/K, so a row sums to less than 1.")
def true_class_without_its_part(labels, num_classes, epsilon=0.1):
    one_hot = F.one_hot(labels, num_classes)
    return one_hot * (1 - epsilon) + (1 - one_hot) * epsilon / num_classes


@mistake(SMOOTH, "ε and 1 − ε are swapped: the true class keeps only ε of its own.")
def epsilon_swapped(labels, num_classes, epsilon=0.1):
    return F.one_hot(labels, num_classes) * epsilon + (1 - epsilon) / num_classes


@mistake(SMOOTH, "ε/K is added but the true class gives nothing up, so a row sums to 1 + ε.")
def nothing_given_up(labels, num_classes, epsilon=0.1):
    return F.one_hot(labels, num_classes) + epsilon / num_classes


@mistake(SMOOTH, "Every class gets the whole ε instead of ε/K.")
def whole_epsilon_everywhere(labels, num_classes, epsilon=0.1):
    return F.one_hot(labels, num_classes) * (1 - epsilon) + epsilon


@mistake(SMOOTH, "ε is divided by the batch size; it is shared among the K classes.")
def shared_over_the_batch(labels, num_classes, epsilon=0.1):
    return F.one_hot(labels, num_classes) * (1 - epsilon) + epsilon / len(labels)


@alternative(SMOOTH, "fill, then scatter")
def filled(labels, num_classes, epsilon=0.1):
    out = torch.full((len(labels), num_classes), epsilon / num_classes)
    return out.scatter(1, labels[:, None], 1 - epsilon + epsilon / num_classes)


@alternative(SMOOTH, "row of an identity matrix, blended with the uniform distribution")
def identity_row(labels, num_classes, epsilon=0.1):
    return torch.lerp(torch.eye(num_classes)[labels], torch.full((num_classes,), 1 / num_classes), epsilon)


@alternative(SMOOTH, "a Python loop")
def looped(labels, num_classes, epsilon=0.1):
    rows = []
    for label in labels.tolist():
        rows.append([epsilon / num_classes + (1 - epsilon if k == label else 0.0) for k in range(num_classes)])
    return torch.tensor(rows)


@alternative(SMOOTH, "comparison with class numbers")
def compared(labels, num_classes, epsilon=0.1):
    hit = labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device)
    return torch.where(hit, 1 - epsilon + epsilon / num_classes, epsilon / num_classes)


# --------------------------------------------------------------------------- Mixup


@mistake(MIXUP, "λ and 1 − λ are swapped: λ is the share of the picture itself.")
def lam_swapped(images, targets, lam, permutation):
    return (1 - lam) * images + lam * images[permutation], (1 - lam) * targets + lam * targets[permutation]


@mistake(MIXUP, "The images are blended but the targets are not: the network is told that a blend is one class.")
def targets_not_blended(images, targets, lam, permutation):
    return lam * images + (1 - lam) * images[permutation], targets


@mistake(MIXUP, "Images and targets use different shares: the target names the weaker picture as the stronger one.")
def targets_with_the_other_share(images, targets, lam, permutation):
    return lam * images + (1 - lam) * images[permutation], (1 - lam) * targets + lam * targets[permutation]


@mistake(MIXUP, "The permutation is applied backwards: picture permutation[i] takes part of picture i.")
def inverse_permutation(images, targets, lam, permutation):
    back = permutation.argsort()
    return lam * images + (1 - lam) * images[back], lam * targets + (1 - lam) * targets[back]


@mistake(MIXUP, "The partners are the batch in reverse order; `permutation` says who they are.")
def reversed_batch(images, targets, lam, permutation):
    return lam * images + (1 - lam) * images.flip(0), lam * targets + (1 - lam) * targets.flip(0)


@mistake(MIXUP, "The inputs are changed in place: pictures that come later are blended with already blended partners.")
def changes_its_inputs(images, targets, lam, permutation):
    images *= lam
    images += (1 - lam) / lam * images[permutation] if lam else images[permutation]
    targets *= lam
    targets += (1 - lam) / lam * targets[permutation] if lam else targets[permutation]
    return images, targets


@mistake(
    MIXUP, "The targets are blended with other partners than the images: they name a picture that is not in the blend."
)
def targets_of_other_partners(images, targets, lam, permutation):
    return lam * images + (1 - lam) * images[permutation], lam * targets + (1 - lam) * targets[permutation.argsort()]


@alternative(MIXUP, "torch.lerp")
def lerp(images, targets, lam, permutation):
    return images[permutation].lerp(images, lam), targets[permutation].lerp(targets, lam)


@alternative(MIXUP, "one loop over pictures")
def picture_by_picture(images, targets, lam, permutation):
    mixed, blended = torch.empty_like(images), torch.empty_like(targets)
    for i, j in enumerate(permutation.tolist()):
        mixed[i] = lam * images[i] + (1 - lam) * images[j]
        blended[i] = lam * targets[i] + (1 - lam) * targets[j]
    return mixed, blended


@alternative(MIXUP, "a mixing matrix")
def mixing_matrix(images, targets, lam, permutation):
    eye = torch.eye(len(images), dtype=images.dtype, device=images.device)
    matrix = lam * eye + (1 - lam) * eye[permutation]
    return torch.einsum("ij,jchw->ichw", matrix, images), matrix @ targets


@alternative(MIXUP, "index_select on clones, in place")
def clones(images, targets, lam, permutation):
    out, t = images.clone().mul_(lam), targets.clone().mul_(lam)
    out += images.index_select(0, permutation) * (1 - lam)
    t += targets.index_select(0, permutation) * (1 - lam)
    return [out, t]


# --------------------------------------------------------------------------- asking the teacher


@mistake(
    ASK, "The teacher stays in training mode: dropout answers at random and batch norm overwrites what it learned."
)
def teacher_in_training_mode(teacher, images):
    with torch.no_grad():
        return teacher(images)


@mistake(ASK, "A gradient is recorded through the teacher: it costs memory and time, and the teacher would be trained.")
def gradients_into_the_teacher(teacher, images):
    teacher.eval()
    return teacher(images)


@mistake(
    ASK, "The teacher is in training mode and a gradient is recorded: it would be trained together with the student."
)
def teacher_trained_along(teacher, images):
    return teacher.train()(images)


@mistake(
    ASK, "`training = False` on the teacher alone does not reach its layers: batch norm still trains. `eval()` does."
)
def flag_on_the_outside_only(teacher, images):
    teacher.training = False
    with torch.no_grad():
        return teacher(images)


@mistake(ASK, "The teacher's answers are probabilities; the losses want its raw logits.")
def probabilities(teacher, images):
    teacher.eval()
    with torch.no_grad():
        return teacher(images).softmax(-1)


@mistake(ASK, "The teacher's answers are decisions (argmax); the logits are asked for, the soft loss needs them.")
def decisions(teacher, images):
    teacher.eval()
    with torch.no_grad():
        return teacher(images).argmax(-1)


@mistake(ASK, "The teacher is put in evaluation mode only after it has answered.")
def mode_set_too_late(teacher, images):
    logits = teacher(images)
    teacher.eval()
    return logits


@alternative(ASK, "inference mode")
def inference_mode(teacher, images):
    with torch.inference_mode():
        return teacher.eval()(images)


@alternative(ASK, "detach, and the mode put back")
def detached(teacher, images):
    was = teacher.training
    teacher.eval()
    logits = teacher(images).detach()
    teacher.train(was)
    return logits


@alternative(ASK, "no_grad as a decorator")
@torch.no_grad()
def decorated(teacher, images):
    teacher.train(False)
    return teacher(images)


@alternative(ASK, "a frozen teacher")
def frozen(teacher, images):
    return teacher.eval().requires_grad_(False)(images)


# --------------------------------------------------------------------------- the soft loss


def _soft(cls, dist, teacher, labels, t, lam, divergence, factor=None):
    return (1 - lam) * F.cross_entropy(cls, labels) + lam * (t * t if factor is None else factor) * divergence


def _kl(student, teacher, dim=-1, reduction="batchmean"):
    return F.kl_div(student.log_softmax(dim), teacher.detach().log_softmax(dim), reduction=reduction, log_target=True)


@mistake(SOFT, "The factor T² is missing: the teacher's gradient shrinks with T², and at T = 3 it hardly counts.")
def no_temperature_squared(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits / temperature)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl, 1)


@mistake(SOFT, "The factor is T instead of T²: the teacher's gradient still shrinks as T grows.")
def temperature_once(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits / temperature)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl, temperature)


@mistake(
    SOFT, "Only the student's logits are divided by T: it is asked to match a sharp distribution with a softened one."
)
def temperature_on_student_only(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(
    SOFT, "Only the teacher's logits are divided by T: the student learns to be as unsure as the softened teacher."
)
def temperature_on_teacher_only(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits, teacher_logits / temperature)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "The labels' cross-entropy is softened by T too; the labels are met at temperature 1.")
def temperature_on_the_labels_too(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits / temperature)
    return _soft(class_logits / temperature, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "The divergence is taken the wrong way round, KL(student ‖ teacher): F.kl_div takes the student first.")
def arguments_swapped(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    p, q = (teacher_logits.detach() / temperature).log_softmax(-1), (dist_logits / temperature).log_softmax(-1)
    kl = F.kl_div(p, q, reduction="batchmean", log_target=True)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(
    SOFT, "F.kl_div gets the student's probabilities where it expects log-probabilities: the result is no divergence."
)
def probabilities_for_log_probabilities(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    q, p = (dist_logits / temperature).softmax(-1), (teacher_logits.detach() / temperature).softmax(-1)
    kl = F.kl_div(q, p, reduction="batchmean")
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "F.kl_div gets log-probabilities as its target without log_target=True: the result is no divergence.")
def log_target_not_said(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    q, p = (dist_logits / temperature).log_softmax(-1), (teacher_logits.detach() / temperature).log_softmax(-1)
    kl = F.kl_div(q, p, reduction="none").sum() / len(q)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, 'The divergence is averaged over batch and classes (reduction="mean"): K times too small.')
def mean_over_classes_too(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    q, p = (dist_logits / temperature).log_softmax(-1), (teacher_logits.detach() / temperature).log_softmax(-1)
    kl = F.kl_div(q, p, reduction="none", log_target=True).mean()
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(
    SOFT, 'The divergence is summed over the batch (reduction="sum"): the teacher\'s weight grows with the batch size.'
)
def sum_over_the_batch(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits / temperature, reduction="sum")
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "λ and 1 − λ are swapped: λ is the teacher's weight.")
def lam_swapped_in_soft(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits / temperature)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, 1 - lam, kl)


@mistake(SOFT, "The teacher meets the class logits; it is the distillation token's logits that learn from the teacher.")
def class_logits_distilled(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(class_logits / temperature, teacher_logits / temperature)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "The two heads are swapped: the class logits meet the labels, the distillation logits meet the teacher.")
def heads_swapped(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(class_logits / temperature, teacher_logits / temperature)
    return _soft(dist_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "The softmax runs over the batch: pictures compete with each other instead of classes.")
def softmax_over_the_batch(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / temperature, teacher_logits / temperature, dim=0)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "A gradient flows into the teacher's logits: the teacher would be pulled towards the student.")
def gradients_into_teacher(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    q, p = (dist_logits / temperature).log_softmax(-1), (teacher_logits / temperature).log_softmax(-1)
    kl = F.kl_div(q, p, reduction="batchmean", log_target=True)
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, kl)


@mistake(SOFT, "This is the cross-entropy with the teacher, which has the same gradient but not the asked value: the "
         "divergence subtracts the teacher's own entropy.")  # fmt: skip
def cross_entropy_for_divergence(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    ce = F.cross_entropy(dist_logits / temperature, (teacher_logits.detach() / temperature).softmax(-1))
    return _soft(class_logits, dist_logits, teacher_logits, labels, temperature, lam, ce)


@mistake(SOFT, "`temperature` and `lam` are ignored: values are fixed that should be arguments.")
def fixed_settings(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    kl = _kl(dist_logits / 3, teacher_logits / 3)
    return _soft(class_logits, dist_logits, teacher_logits, labels, 3.0, 0.1, kl)


@alternative(SOFT, "probabilities as target, batchmean")
def probability_target(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    with torch.no_grad():
        p = F.softmax(teacher_logits / temperature, dim=1)
    kl = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(dist_logits / temperature, dim=1), p)
    return F.cross_entropy(class_logits, labels) * (1 - lam) + kl * lam * temperature**2


@alternative(SOFT, "sum divided by the batch size")
def sum_over_batch_size(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    q, p = (dist_logits / temperature).log_softmax(-1), (teacher_logits.detach() / temperature).log_softmax(-1)
    kl = F.kl_div(q, p, reduction="sum", log_target=True) / q.shape[0]
    return torch.lerp(nn.CrossEntropyLoss()(class_logits, labels), temperature**2 * kl, lam)


@alternative(SOFT, "the divergence by hand")
def by_hand(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    p = torch.softmax(teacher_logits.detach() / temperature, -1)
    log_ratio = p.log() - torch.log_softmax(dist_logits / temperature, -1)
    return (1 - lam) * F.cross_entropy(class_logits, labels) + lam * temperature**2 * (p * log_ratio).sum(-1).mean()


@alternative(SOFT, "cross-entropy minus the teacher's entropy")
def cross_entropy_minus_entropy(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    p = (teacher_logits.detach() / temperature).softmax(-1)
    entropy = torch.distributions.Categorical(probs=p).entropy().mean()
    kl = F.cross_entropy(dist_logits / temperature, p) - entropy
    return (1 - lam) * F.cross_entropy(class_logits, labels) + lam * temperature * temperature * kl


@alternative(SOFT, "torch.distributions")
def distributions(class_logits, dist_logits, teacher_logits, labels, temperature=3.0, lam=0.1):
    teacher = torch.distributions.Categorical(logits=teacher_logits.detach() / temperature)
    student = torch.distributions.Categorical(logits=dist_logits / temperature)
    kl = torch.distributions.kl_divergence(teacher, student).mean()
    return (1 - lam) * F.cross_entropy(class_logits, labels) + lam * temperature**2 * kl


# --------------------------------------------------------------------------- the hard loss


@mistake(HARD, "Both heads meet the true labels: the teacher has no say at all.")
def labels_for_the_teacher(class_logits, dist_logits, teacher_logits, labels):
    return 0.5 * F.cross_entropy(class_logits, labels) + 0.5 * F.cross_entropy(dist_logits, labels)


@mistake(HARD, "The two terms are added without their weights ½: the loss and its gradient are twice too large.")
def no_halves(class_logits, dist_logits, teacher_logits, labels):
    return F.cross_entropy(class_logits, labels) + F.cross_entropy(dist_logits, teacher_logits.argmax(-1))


@mistake(HARD, "The two heads are swapped: the class logits meet the labels, the distillation logits meet the teacher.")
def heads_swapped_in_hard(class_logits, dist_logits, teacher_logits, labels):
    return 0.5 * F.cross_entropy(dist_logits, labels) + 0.5 * F.cross_entropy(class_logits, teacher_logits.argmax(-1))


@mistake(HARD, "The teacher's decisions meet the class logits; they belong to the distillation token's head.")
def class_logits_distilled_in_hard(class_logits, dist_logits, teacher_logits, labels):
    return 0.5 * F.cross_entropy(class_logits, labels) + 0.5 * F.cross_entropy(class_logits, teacher_logits.argmax(-1))


@mistake(HARD, "The teacher's probabilities are the targets; hard distillation uses its decisions, the argmax.")
def soft_teacher(class_logits, dist_logits, teacher_logits, labels):
    soft = teacher_logits.detach().softmax(-1)
    return 0.5 * F.cross_entropy(class_logits, labels) + 0.5 * F.cross_entropy(dist_logits, soft)


@mistake(HARD, "The two heads are averaged before the loss; in training each head meets its own target.")
def mean_logits(class_logits, dist_logits, teacher_logits, labels):
    mean = (class_logits + dist_logits) / 2
    return 0.5 * F.cross_entropy(mean, labels) + 0.5 * F.cross_entropy(mean, teacher_logits.argmax(-1))


@mistake(HARD, "The loss is summed over the batch instead of averaged.")
def summed_over_the_batch(class_logits, dist_logits, teacher_logits, labels):
    parts = ((class_logits, labels), (dist_logits, teacher_logits.argmax(-1)))
    return sum(0.5 * F.cross_entropy(z, y, reduction="sum") for z, y in parts)


@mistake(HARD, "The argmax runs over the batch: it finds a picture for each class instead of a class for each picture.")
def argmax_over_the_batch(class_logits, dist_logits, teacher_logits, labels):
    found = teacher_logits.argmax(0)
    return 0.5 * F.cross_entropy(class_logits, labels) + 0.5 * F.cross_entropy(dist_logits, found)


@alternative(HARD, "the teacher's decisions one-hot")
def one_hot_decisions(class_logits, dist_logits, teacher_logits, labels):
    hard = F.one_hot(teacher_logits.argmax(-1), teacher_logits.shape[-1]).to(dist_logits)
    return (F.cross_entropy(class_logits, labels) + F.cross_entropy(dist_logits, hard)) / 2


@alternative(HARD, "decisions from probabilities, weights by lerp")
def from_probabilities(class_logits, dist_logits, teacher_logits, labels):
    with torch.no_grad():
        decided = teacher_logits.softmax(1).max(1).indices
    criterion = nn.CrossEntropyLoss()
    return torch.lerp(criterion(class_logits, labels), criterion(dist_logits, decided), 0.5)


@alternative(HARD, "negative log-likelihood by hand")
def nll_by_hand(class_logits, dist_logits, teacher_logits, labels):
    decided = teacher_logits.topk(1, dim=-1).indices  # (B, 1)
    taught = -dist_logits.log_softmax(-1).gather(-1, decided).mean()
    log_q = class_logits.log_softmax(-1)
    told = F.nll_loss(log_q, labels) if labels.ndim == 1 else -(labels * log_q).sum(-1).mean()
    return 0.5 * told + 0.5 * taught


# --------------------------------------------------------------------------- the model


class _Tokens(DistilledVisionTransformer):
    """The reference with another way to assemble the tokens."""

    def assemble(self, cls, dist, patches):
        return torch.cat([cls, dist, patches], dim=1) + self.pos_embed

    def forward_features(self, x):
        patches = self.patch_embed(x)
        cls, dist = (token.expand(len(x), -1, -1) for token in (self.cls_token, self.dist_token))
        return self.norm(self.blocks(self.assemble(cls, dist, patches)))


class _Heads(DistilledVisionTransformer):
    """The reference with another way to read the tokens."""

    def logits(self, x):
        return self.head(x[:, 0]), self.head_dist(x[:, 1])

    def fuse(self, cls, dist):
        return (cls + dist) / 2

    def forward(self, x):
        cls, dist = self.logits(self.forward_features(x))
        return (cls, dist) if self.training else self.fuse(cls, dist)


@mistake(MODEL, "In evaluation mode only the class head answers: what the distillation token learned is thrown away.")
class class_head_only(_Heads):  # noqa: N801
    def fuse(self, cls, dist):
        return cls


@mistake(MODEL, "In evaluation mode only the distillation head answers; the mean of both heads is asked for.")
class distillation_head_only(_Heads):  # noqa: N801
    def fuse(self, cls, dist):
        return dist


@mistake(MODEL, "The heads' probabilities are averaged; here, as in DeiT's code and timm, the logits are.")
class mean_of_probabilities(_Heads):  # noqa: N801
    def fuse(self, cls, dist):
        return (cls.softmax(-1) + dist.softmax(-1)) / 2


@mistake(MODEL, "The two logits are added without dividing by two: the same decisions, but twice too confident.")
class sum_for_mean(_Heads):  # noqa: N801
    def fuse(self, cls, dist):
        return cls + dist


@mistake(
    MODEL, "One head reads both tokens: labels and teacher then pull at the same weights; `head_dist` never learns."
)
class one_head_for_both(_Heads):  # noqa: N801
    def logits(self, x):
        return self.head(x[:, 0]), self.head(x[:, 1])


@mistake(MODEL, "Both heads read the class token: the distillation token is carried along and never read.")
class both_heads_read_the_class_token(_Heads):  # noqa: N801
    def logits(self, x):
        return self.head(x[:, 0]), self.head_dist(x[:, 0])


@mistake(MODEL, "The pair is in the wrong order: distillation logits come first, so each meets the other's loss.")
class pair_swapped(_Heads):  # noqa: N801
    def logits(self, x):
        return self.head_dist(x[:, 1]), self.head(x[:, 0])


@mistake(MODEL, "The mean is returned in training too: the two heads can no longer meet different losses.")
class mean_in_training_too(_Heads):  # noqa: N801
    def forward(self, x):
        return self.fuse(*self.logits(self.forward_features(x)))


@mistake(MODEL, "The pair is returned in evaluation mode too: whoever uses the model gets a tuple for logits.")
class pair_in_evaluation_too(_Heads):  # noqa: N801
    def forward(self, x):
        return self.logits(self.forward_features(x))


@mistake(MODEL, "The distillation token stands before the class token, so published weights meet the wrong positions.")
class distillation_token_first(_Tokens):  # noqa: N801
    def assemble(self, cls, dist, patches):
        return torch.cat([dist, cls, patches], dim=1) + self.pos_embed


@mistake(
    MODEL,
    "The distillation token stands at the end: every patch gets its neighbour's position, and token 1 is a patch.",
)
class distillation_token_last(_Tokens):  # noqa: N801
    def assemble(self, cls, dist, patches):
        return torch.cat([cls, patches, dist], dim=1) + self.pos_embed


@mistake(MODEL, "The two extra tokens get no position: `pos_embed` is added to the patches alone.")
class extra_tokens_without_positions(_Tokens):  # noqa: N801
    def assemble(self, cls, dist, patches):
        return torch.cat([cls, dist, patches + self.pos_embed[:, 2:]], dim=1)


@mistake(MODEL, "The class token is used twice and `dist_token` never: the model has no distillation token.")
class class_token_twice(_Tokens):  # noqa: N801
    def assemble(self, cls, dist, patches):
        return torch.cat([cls, cls, patches], dim=1) + self.pos_embed


@alternative(MODEL, "positions first, each token with its own")
class positions_first(_Tokens):  # noqa: N801
    def assemble(self, cls, dist, patches):
        cls_pos, dist_pos, patch_pos = self.pos_embed.split([1, 1, self.pos_embed.shape[1] - 2], dim=1)
        return torch.cat([cls + cls_pos, dist + dist_pos, patches + patch_pos], dim=1)


@alternative(MODEL, "tokens by einops, written into an allocated tensor")
class allocated(_Tokens):  # noqa: N801
    def assemble(self, cls, dist, patches):
        b, n, d = patches.shape
        out = patches.new_empty(b, n + 2, d)
        out[:, 0] = self.cls_token[:, 0]
        out[:, 1:2] = repeat(self.dist_token, "1 1 d -> b 1 d", b=b)
        out[:, 2:] = patches
        return out + self.pos_embed


@alternative(MODEL, "mean of a stack")
class stacked(_Heads):  # noqa: N801
    def fuse(self, cls, dist):
        return torch.stack([cls, dist]).mean(0)


@alternative(MODEL, "unbind, and a list in training")
class unbound(DistilledVisionTransformer):  # noqa: N801
    def forward(self, x):
        cls, dist, *_ = self.forward_features(x).unbind(dim=1)
        logits = [self.head(cls), self.head_dist(dist)]
        return logits if self.training else 0.5 * logits[0] + 0.5 * logits[1]
