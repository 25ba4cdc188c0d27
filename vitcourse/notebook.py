"""What the first cell of each notebook calls: `setup("03_attention")`."""

from __future__ import annotations

from typing import Any


def setup(lesson: str, seed: int = 0) -> None:
    """Prepare a notebook: seeds, the picture style, and friendly words for exercises that are not solved yet.

    Args:
        lesson: the stem of the lesson, "03_attention".
        seed: the seed of torch's, numpy's and Python's random numbers.
    """
    from IPython import get_ipython

    from vitcourse.devices import describe_device, seed_everything
    from vitcourse.lessons import lessons

    seed_everything(seed)
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((NotImplementedError,), _not_solved)
    found = next((entry for entry in lessons() if entry.stem == lesson), None)
    if found is None:
        raise ValueError(f"there is no lesson {lesson!r}; known: {', '.join(entry.stem for entry in lessons())}")
    print(f"Lesson {found.number:02d}, {found.title}: {len(found.exercises)} exercises, {found.points} points, "
          f"about {found.minutes} minutes. {describe_device()}")  # fmt: skip


def _not_solved(shell: Any, kind: type, error: Exception, trace: Any, tb_offset: int | None = None) -> list[str]:
    """One line in place of a traceback when code runs into an unsolved exercise."""
    from vitcourse.lessons import lessons

    names = []
    while trace is not None:
        code = trace.tb_frame.f_code
        names.append(getattr(code, "co_qualname", code.co_name))
        trace = trace.tb_next
    by_object = {name: e for lesson in lessons() for e in lesson.exercises for name in e.objects}
    for qualified in reversed(names):
        found = by_object.get(qualified.split(".")[0])
        if found is not None:
            print(f"{found.label} is not solved yet. This cell needs it: solve it first, then run this cell again.")
            return []
    print(f"Not solved yet: {error or 'this cell needs code that is still missing'}.")
    return []
