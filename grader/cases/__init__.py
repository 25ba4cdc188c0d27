"""Hidden cases, one module per lesson, written with `vitcourse.probes.case`.

A case module imports torch, numpy, einops and `vitcourse.probes` only, so that the learner's process can run its probes
without importing `solutions` or `grader`.
"""

from __future__ import annotations

import importlib
import importlib.util

from vitcourse.probes import CASES, Case


def cases_of(exercise_id: str) -> list[Case]:
    """The hidden cases of an exercise, in the order they are written; an empty list where there are none."""
    module = f"{__name__}.{exercise_id.split('.', 1)[0]}"
    if exercise_id not in CASES and importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    return CASES.get(exercise_id, [])
