"""Mutants that cannot be told from the reference, each with the reason. `grader audit` does not ask for these to be caught.

A key is a mutant's id as the audit prints it. A key that no mutant has any more makes the audit fail, so the list stays
short and true.
"""

EQUIVALENT: dict[str, str] = {
    # 01 patchify
    "patchify.attention_pairs: `patch_grid(height, width, patch_size)` → `patch_grid(width, height, patch_size)`": (
        "the product of rows and columns does not depend on their order"
    ),
    # 02 embeddings
    "embeddings.sincos_positions: `torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing='ij')` → "
    "`torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]))`": '"ij" is torch\'s default, with a warning',
    "embeddings.interpolate_positions: `F.interpolate(image.float(), size=tuple(new_grid), mode='bicubic', "
    "align_corners=False, antialias=False)` → `F.interpolate(image.float(), size=tuple(new_grid), mode='bicubic', "
    "antialias=False)`": "bicubic does not align corners by default",
    "embeddings.interpolate_positions: `F.interpolate(image.float(), size=tuple(new_grid), mode='bicubic', "
    "align_corners=False, antialias=False)` → `F.interpolate(image.float(), size=tuple(new_grid), mode='bicubic', "
    "align_corners=False)`": "without antialias is torch's default",
    # 03 attention
    "attention.attention_distance: `1` → `2`": "weights are square: their last two sides are equal",
    "attention.attention_distance: `1` → `2` (2)": (
        "the sum over keys and the mean over queries may change places, both are N"
    ),
    "attention.attention_rollout: `1` → `2` (2)": "each layer's weights are square: their last two sides are equal",
    "attention.attention_rollout: `1` → `2` (4)": "each layer's weights are square: their last two sides are equal",
    # 05 deit_distillation
    "deit_distillation.soft_distillation_loss: `F.log_softmax(dist_logits / temperature, dim=-1)` → "
    "`F.log_softmax(dist_logits / temperature)`": "for matrices torch takes the last axis by default, with a warning",
    "deit_distillation.soft_distillation_loss: `F.log_softmax(teacher_logits.detach() / temperature, dim=-1)` → "
    "`F.log_softmax(teacher_logits.detach() / temperature)`": (
        "for matrices torch takes the last axis by default, with a warning"
    ),
    # 06 swin_windows
    "swin_windows.shift_mask: `2` → `3`": "the four regions still have four different numbers",
    # 07 finetuning
    "finetuning.resize_positions: `model.pos_embed.detach()` → `model.pos_embed`": "nn.Parameter detaches its data",
    "finetuning.accumulated_step: `loss.item()` → `loss`": "a loss that comes as a tensor of one number is accepted too",
    # lesson 08: keywords that state torch's own default
    "dense_prediction.LinearHead: `F.interpolate(self.classify(features), size=size, mode='bilinear', "
    "align_corners=False)` → `F.interpolate(self.classify(features), size=size, mode='bilinear')`": (
        "align_corners=False is the default of bilinear interpolation"
    ),
    "dense_prediction.simple_pyramid: `F.avg_pool2d(features, kernel_size=2 ** i, stride=2 ** i)` → "
    "`F.avg_pool2d(features, kernel_size=2 ** i)`": "the default stride of avg_pool2d is the kernel size",
    "dense_prediction.FPNHead: `F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=False)` → "
    "`F.interpolate(x, size=tuple(size), mode='bilinear')`": (
        "align_corners=False is the default of bilinear interpolation"
    ),
    "dense_prediction.FPNHead: `F.interpolate(levels[i], size=levels[i - 1].shape[-2:], mode='nearest')` → "
    "`F.interpolate(levels[i], size=levels[i - 1].shape[-2:])`": "nearest is the default mode of interpolate",
    "finetuning.load_backbone: `', '.join(wrong)` → `', '`": "the cases ask for the refusal, not for its wording",
}
