"""The catalogue of lesson 08."""

from __future__ import annotations

from itertools import pairwise

import einops
import torch
import torch.nn.functional as F
from torch import nn

from grader.mistakes import alternative, mistake
from solutions import dense_prediction as ref

GRID = "dense_prediction.tokens_to_grid"
LINEAR = "dense_prediction.LinearHead"
PYRAMID = "dense_prediction.simple_pyramid"
FPN = "dense_prediction.FPNHead"
CONFUSION = "dense_prediction.confusion_matrix"
MIOU = "dense_prediction.mean_iou"


def _checked(tokens, grid, k):
    if tokens.shape[1] != k + grid[0] * grid[1]:
        raise ValueError("the tokens do not fit the grid")
    return tokens[:, k:]


# ------------------------------------------------------------------------------------------------------ tokens_to_grid


@mistake(
    GRID, "The tokens were reshaped to (D, h, w) without moving D to the front, so channels and places are mixed up."
)
def plain_reshape(tokens, grid, num_prefix_tokens=1):
    patches = _checked(tokens, grid, num_prefix_tokens)
    return patches.reshape(patches.shape[0], patches.shape[2], *grid)


@mistake(GRID, "Height and width of the grid are swapped: on a grid that is not square, rows break in the wrong place.")
def sides_swapped(tokens, grid, num_prefix_tokens=1):
    patches = _checked(tokens, grid, num_prefix_tokens)
    return einops.rearrange(patches, "b (h w) d -> b d h w", h=grid[1], w=grid[0])


@mistake(GRID, "The patches were laid out column by column; they come in reading order, row by row.")
def column_by_column(tokens, grid, num_prefix_tokens=1):
    patches = _checked(tokens, grid, num_prefix_tokens)
    return einops.rearrange(patches, "b (w h) d -> b d h w", h=grid[0], w=grid[1])


@mistake(GRID, "The prefix tokens were dropped from the end. They stand in front, so every patch moved by one place.")
def prefix_at_end(tokens, grid, num_prefix_tokens=1):
    _checked(tokens, grid, num_prefix_tokens)
    return einops.rearrange(tokens[:, : grid[0] * grid[1]], "b (h w) d -> b d h w", h=grid[0], w=grid[1])


@mistake(GRID, "Exactly one token is always dropped; `num_prefix_tokens` says how many there are.")
def always_one(tokens, grid, num_prefix_tokens=1):
    _checked(tokens, grid, num_prefix_tokens)
    patches = tokens[:, 1 : 1 + grid[0] * grid[1]]
    return einops.rearrange(patches, "b (h w) d -> b d h w", h=grid[0], w=grid[1])


@mistake(GRID, "The channels stand last, (B, h, w, D). Convolutions take (B, D, h, w).")
def channels_last(tokens, grid, num_prefix_tokens=1):
    patches = _checked(tokens, grid, num_prefix_tokens)
    return patches.reshape(patches.shape[0], *grid, -1)


@mistake(GRID, "A number of tokens that does not fit the grid is cut to size in silence; it should raise ValueError.")
def cut_in_silence(tokens, grid, num_prefix_tokens=1):
    patches = tokens[:, num_prefix_tokens:][:, : grid[0] * grid[1]]
    patches = F.pad(patches, (0, 0, 0, grid[0] * grid[1] - patches.shape[1]))
    return einops.rearrange(patches, "b (h w) d -> b d h w", h=grid[0], w=grid[1])


@alternative(GRID, "transpose, then unflatten")
def by_unflatten(tokens, grid, num_prefix_tokens=1):
    return _checked(tokens, grid, num_prefix_tokens).transpose(1, 2).unflatten(2, grid)


@alternative(GRID, "reshape, then permute")
def by_permute(tokens, grid, num_prefix_tokens=1):
    patches = _checked(tokens, grid, num_prefix_tokens)
    return patches.reshape(patches.shape[0], grid[0], grid[1], -1).permute(0, 3, 1, 2)


@alternative(GRID, "a loop over places")
def by_loop(tokens, grid, num_prefix_tokens=1):
    patches = _checked(tokens, grid, num_prefix_tokens)
    out = patches.new_zeros(patches.shape[0], patches.shape[2], *grid)
    for n in range(patches.shape[1]):
        out[:, :, n // grid[1], n % grid[1]] = patches[:, n]
    return out


# ---------------------------------------------------------------------------------------------------------- LinearHead


@mistake(LINEAR, "The map was upsampled with align_corners=True, which stretches it so that corner points meet.")
class aligned_corners(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return F.interpolate(self.classify(features), size=size, mode="bilinear", align_corners=True)


@mistake(LINEAR, "The upsampling is nearest, so every patch gets one flat block; bilinear blends between them.")
class nearest(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return F.interpolate(self.classify(features), size=size, mode="nearest")


@mistake(LINEAR, "The upsampling is bicubic where the task asks for bilinear: it overshoots at edges.")
class bicubic(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return F.interpolate(self.classify(features), size=size, mode="bicubic", align_corners=False)


@mistake(LINEAR, "The logits went through a softmax. The loss expects logits and takes its own.")
class softmaxed(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return super().forward(features, size).softmax(1)


@mistake(LINEAR, "The logits were not upsampled: one score per patch is not one per pixel.")
class not_upsampled(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return self.classify(features)


@mistake(LINEAR, "Height and width of the wanted size are swapped.")
class size_swapped(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return super().forward(features, (size[1], size[0]))


@mistake(LINEAR, "The bias of `classify` is not used, so a class cannot be likely by itself.")
class no_bias(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        logits = F.conv2d(features, self.classify.weight)
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@alternative(LINEAR, "upsample first, then classify: both are linear and act on different axes")
class upsample_first(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return self.classify(F.interpolate(features, size=tuple(size), mode="bilinear"))


@alternative(LINEAR, "the 1×1 convolution written as einsum")
class by_einsum(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        weight = self.classify.weight[:, :, 0, 0]
        logits = torch.einsum("bdhw,kd->bkhw", features, weight) + self.classify.bias[:, None, None]
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@alternative(LINEAR, "nn.Upsample")
class by_upsample(ref.LinearHead):  # noqa: N801
    def forward(self, features, size):
        return nn.Upsample(size=size, mode="bilinear", align_corners=False)(self.classify(features))


# ------------------------------------------------------------------------------------------------------ simple_pyramid


@mistake(PYRAMID, "The maps were max-pooled; the task asks for the average.")
def max_pooled(features, levels=3):
    return [F.max_pool2d(features, 2**i) for i in range(levels)]


@mistake(PYRAMID, "The coarsest level comes first; level 0 must be the finest.")
def coarsest_first(features, levels=3):
    return ref.simple_pyramid(features, levels)[::-1]


@mistake(PYRAMID, "The pyramid begins one level too low: level 0 must be the map itself.")
def starts_at_half(features, levels=3):
    return [F.avg_pool2d(features, 2 ** (i + 1)) for i in range(levels)]


@mistake(PYRAMID, "The side of a square grows as 1, 2, 3 instead of 1, 2, 4, so levels do not halve.")
def linear_sides(features, levels=3):
    return [F.avg_pool2d(features, i + 1) for i in range(levels)]


@mistake(PYRAMID, "Every second value was picked instead of averaging: three quarters of the map are thrown away.")
def picked(features, levels=3):
    return [features[..., : features.shape[-2] // 2**i * 2**i : 2**i, : features.shape[-1] // 2**i * 2**i : 2**i]
            for i in range(levels)]  # fmt: skip


@mistake(PYRAMID, "The squares overlap: with stride 1 the map keeps its size instead of halving.")
def overlapping(features, levels=3):
    return [F.avg_pool2d(features, 2**i, stride=1) for i in range(levels)]


@mistake(PYRAMID, "`levels` is ignored: there are always three maps.")
def always_three(features, levels=3):
    return ref.simple_pyramid(features, 3)


@alternative(PYRAMID, "averages taken by einops")
def by_einops(features, levels=3):
    out = []
    for i in range(levels):
        side = 2**i
        h, w = features.shape[-2] // side, features.shape[-1] // side
        cut = features[..., : h * side, : w * side]
        out.append(einops.reduce(cut, "b d (h p) (w q) -> b d h w", "mean", p=side, q=side))
    return out


@alternative(PYRAMID, "a tuple, each level halving the one before where sides are even")
def as_tuple(features, levels=3):
    return tuple(nn.AvgPool2d(2**i)(features) for i in range(levels))


@alternative(PYRAMID, "a depthwise convolution with equal weights")
def by_convolution(features, levels=3):
    out = []
    for i in range(levels):
        side, channels = 2**i, features.shape[1]
        weight = features.new_full((channels, 1, side, side), 1 / side**2)
        out.append(F.conv2d(features, weight, stride=side, groups=channels))
    return out


# ------------------------------------------------------------------------------------------------------------- FPNHead


class _FPN(ref.FPNHead):
    """The reference in steps that mistakes replace one at a time."""

    top_down_mode = "nearest"

    def down(self, levels):
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + self.raise_(levels[i], levels[i - 1].shape[-2:])
        return levels

    def raise_(self, x, size):
        return F.interpolate(x, size=size, mode=self.top_down_mode)

    def activate(self, x):
        return x.relu()

    def join(self, maps):
        return sum(maps)

    def resize(self, x, size):
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)

    def forward(self, pyramid, size):
        levels = self.down([lateral(x) for lateral, x in zip(self.lateral, pyramid, strict=True)])
        smoothed = [self.activate(smooth(x)) for smooth, x in zip(self.smooth, levels, strict=True)]
        joined = self.join([self.resize(x, levels[0].shape[-2:]) for x in smoothed])
        return self.resize(self.classify(joined), size)


@mistake(
    FPN, "There is no top-down path: what the coarse levels know never reaches the fine ones before they are smoothed."
)
class no_top_down(_FPN):  # noqa: N801
    def down(self, levels):
        return levels


@mistake(
    FPN,
    "The top-down path adds the coarse levels as they were, not as joined: the coarsest one reaches only its neighbour.",
)
class one_step_only(_FPN):  # noqa: N801
    def down(self, levels):
        raised = [self.raise_(c, f.shape[-2:]) for f, c in pairwise(levels)]
        return [f + c for f, c in zip(levels, raised, strict=False)] + levels[-1:]


@mistake(FPN, "The path runs from fine to coarse; it should carry the coarse levels down to the fine ones.")
class bottom_up(_FPN):  # noqa: N801
    def down(self, levels):
        for i in range(len(levels) - 1):
            levels[i + 1] = levels[i + 1] + self.raise_(levels[i], levels[i + 1].shape[-2:])
        return levels


@mistake(FPN, "The levels of the top-down path were replaced, not added: the finer levels' own maps are lost.")
class replaced(_FPN):  # noqa: N801
    def down(self, levels):
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = self.raise_(levels[i], levels[i - 1].shape[-2:])
        return levels


@mistake(FPN, "There is no ReLU after the smoothing convolutions.")
class no_relu(_FPN):  # noqa: N801
    def activate(self, x):
        return x


@mistake(FPN, "The levels were averaged; the task asks for their sum.")
class averaged(_FPN):  # noqa: N801
    def join(self, maps):
        return sum(maps) / len(maps)


@mistake(FPN, "Only the finest level is classified; the smoothed coarser levels are not used.")
class finest_only(_FPN):  # noqa: N801
    def join(self, maps):
        return maps[0]


@mistake(FPN, "The upsampling has align_corners=True, which shifts the levels against each other.")
class corners_aligned(_FPN):  # noqa: N801
    def resize(self, x, size):
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


@mistake(FPN, "The top-down path upsamples bilinearly where the task says nearest.")
class bilinear_path(_FPN):  # noqa: N801
    top_down_mode = "bilinear"


@alternative(FPN, "levels joined in a recursive generator")
class recursive(_FPN):  # noqa: N801
    def down(self, levels):
        if len(levels) == 1:
            return levels
        below = self.down(levels[1:])
        return [levels[0] + self.raise_(below[0], levels[0].shape[-2:]), *below]


@alternative(FPN, "stack and sum, nn.Upsample")
class stacked(_FPN):  # noqa: N801
    def join(self, maps):
        return torch.stack(maps, dim=-1).sum(-1)

    def raise_(self, x, size):
        return nn.Upsample(size=size)(x)


@alternative(FPN, "each level classified before the sum, the bias added once")
class classify_first(_FPN):  # noqa: N801
    def forward(self, pyramid, size):
        levels = self.down([lateral(x) for lateral, x in zip(self.lateral, pyramid, strict=True)])
        scores = 0.0
        for smooth, x in zip(self.smooth, levels, strict=True):
            one = F.conv2d(F.relu(smooth(x)), self.classify.weight)
            scores = scores + self.resize(one, levels[0].shape[-2:])
        return self.resize(scores + self.classify.bias[:, None, None], size)


# ---------------------------------------------------------------------------------------------------- confusion_matrix


@mistake(CONFUSION, "Rows and columns are swapped: rows must be the true classes.")
def transposed(prediction, target, num_classes, ignore_index=255):
    return ref.confusion_matrix(prediction, target, num_classes, ignore_index).T.contiguous()


@mistake(CONFUSION, "Pixels to ignore were counted as class 0.")
def ignored_as_zero(prediction, target, num_classes, ignore_index=255):
    target = torch.where(target == ignore_index, 0, target)
    return ref.confusion_matrix(prediction, target, num_classes, -1)


@mistake(CONFUSION, "Pixels to ignore were counted as right.")
def ignored_as_right(prediction, target, num_classes, ignore_index=255):
    target = torch.where(target == ignore_index, prediction, target)
    return ref.confusion_matrix(prediction, target, num_classes, -1)


@mistake(CONFUSION, "The mark 255 is built in; `ignore_index` may be another number.")
def always_255(prediction, target, num_classes, ignore_index=255):
    target = torch.where(target >= num_classes, torch.where(target == 255, 255, num_classes - 1), target)
    return ref.confusion_matrix(prediction, target, num_classes, 255)


@mistake(CONFUSION, "Each row was divided by its sum; the task asks for counts.")
def normalised(prediction, target, num_classes, ignore_index=255):
    counts = ref.confusion_matrix(prediction, target, num_classes, ignore_index).double()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


@mistake(CONFUSION, "The matrix has only the classes that occur; it must be K × K, whatever occurs.")
def only_present(prediction, target, num_classes, ignore_index=255):
    counts = ref.confusion_matrix(prediction, target, num_classes, ignore_index)
    present = (counts.sum(0) + counts.sum(1)) > 0
    return counts[present][:, present]


@mistake(CONFUSION, "The last row of every image was left out.")
def last_row_lost(prediction, target, num_classes, ignore_index=255):
    return ref.confusion_matrix(prediction[:, :-1], target[:, :-1], num_classes, ignore_index)


@alternative(CONFUSION, "two loops over classes")
def by_loops(prediction, target, num_classes, ignore_index=255):
    rows = [[((target == t) & (prediction == p) & (target != ignore_index)).sum() for p in range(num_classes)]
            for t in range(num_classes)]  # fmt: skip
    return torch.tensor(rows)


@alternative(CONFUSION, "one-hot vectors multiplied")
def by_one_hot(prediction, target, num_classes, ignore_index=255):
    keep = target != ignore_index
    true = F.one_hot(target[keep], num_classes).double()
    called = F.one_hot(prediction[keep], num_classes).double()
    return (true.T @ called).long()


@alternative(CONFUSION, "adding ones into a matrix with index_put_")
def by_index_put(prediction, target, num_classes, ignore_index=255):
    out = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    keep = target != ignore_index
    ones = torch.ones(int(keep.sum()), dtype=torch.int64)
    return out.index_put_((target[keep], prediction[keep]), ones, accumulate=True)


# ------------------------------------------------------------------------------------------------------------ mean_iou


def _ious(confusion):
    confusion = confusion.double()
    hit = confusion.diagonal()
    return hit, confusion.sum(0), confusion.sum(1)


@mistake(MIOU, "This is pixel accuracy: a large background hides every other class.")
def pixel_accuracy(confusion):
    hit, called, _ = _ious(confusion)
    return float(hit.sum() / called.sum())


@mistake(MIOU, "The union counts the intersection twice: subtract it once.")
def counted_twice(confusion):
    hit, called, true = _ious(confusion)
    occurs = called + true > 0
    return float((hit / (called + true))[occurs].mean())


@mistake(MIOU, "This is the Dice score (F1), which weighs the intersection twice.")
def dice(confusion):
    hit, called, true = _ious(confusion)
    occurs = called + true > 0
    return float((2 * hit / (called + true))[occurs].mean())


@mistake(MIOU, "A class that occurs nowhere was counted as 0 and pulls the mean down.")
def absent_as_zero(confusion):
    hit, called, true = _ious(confusion)
    return float((hit / (called + true - hit).clamp(min=1)).mean())


@mistake(MIOU, "A class that occurs nowhere was counted as 1 and pulls the mean up.")
def absent_as_one(confusion):
    hit, called, true = _ious(confusion)
    union = called + true - hit
    return float(torch.where(union > 0, hit / union.clamp(min=1), 1.0).mean())


@mistake(MIOU, "This is the mean recall: pixels called a class without being it cost nothing.")
def mean_recall(confusion):
    hit, _, true = _ious(confusion)
    return float((hit / true)[true > 0].mean())


@mistake(MIOU, "Intersections and unions were added up over the classes before dividing, so large classes dominate.")
def pooled(confusion):
    hit, called, true = _ious(confusion)
    return float(hit.sum() / (called + true - hit).sum())


@mistake(MIOU, "The background was left out of the mean; every class that occurs counts.")
def without_background(confusion):
    hit, called, true = _ious(confusion)
    union = called + true - hit
    return float((hit / union)[1:][union[1:] > 0].mean())


@alternative(MIOU, "a loop over classes")
def by_class(confusion):
    ious = []
    for k in range(confusion.shape[0]):
        hit = int(confusion[k, k])
        union = int(confusion[k].sum() + confusion[:, k].sum()) - hit
        if union:
            ious.append(hit / union)
    return sum(ious) / len(ious) if ious else float("nan")


@alternative(MIOU, "nanmean of 0/0")
def by_nanmean(confusion):
    hit, called, true = _ious(confusion)
    return (hit / (called + true - hit)).nanmean().item()


@alternative(MIOU, "a tensor instead of a float")
def as_tensor(confusion):
    hit, called, true = _ious(confusion)
    union = called + true - hit
    return (hit[union > 0] / union[union > 0]).mean()
