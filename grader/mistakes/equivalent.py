"""Mutants that cannot be told from the reference, each with the reason. `grader audit` does not ask for these to be caught.

A key is a mutant's id as the audit prints it. A key that no mutant has any more makes the audit fail, so the list stays
short and true.
"""

EQUIVALENT: dict[str, str] = {
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
}
