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
        shell.set_custom_exc((NotImplementedError, NameError), _explain)
    found = next((entry for entry in lessons() if entry.stem == lesson), None)
    if found is None:
        raise ValueError(f"there is no lesson {lesson!r}; known: {', '.join(entry.stem for entry in lessons())}")
    print(f"Lesson {found.number:02d}, {found.title}: {len(found.exercises)} exercises, {found.points} points, "
          f"about {found.minutes} minutes. {describe_device()}")  # fmt: skip


def _explain(shell: Any, kind: type, error: Any, trace: Any, tb_offset: int | None = None) -> list[str]:
    handler = _not_defined if issubclass(kind, NameError) else _not_solved
    return handler(shell, kind, error, trace, tb_offset)


def _not_solved(shell: Any, kind: type, error: Exception, trace: Any, tb_offset: int | None = None) -> list[str]:
    """One line in place of a traceback when code runs into an unsolved exercise."""
    from vitcourse.checking import unsolved

    found = unsolved(error)
    if found is not None:
        line = f"{found.label} is not solved yet. This cell needs it: solve it first, then run this cell again."
    else:
        line = f"Not solved yet: {error or 'this cell needs code that is still missing'}."
    return _say(shell, kind, error, line)


def _not_defined(shell: Any, kind: type, error: NameError, trace: Any, tb_offset: int | None = None) -> list[str]:
    """One line where a cell uses a name that an earlier cell should have made; elsewhere the usual traceback."""
    last = trace
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or last.tb_frame.f_code.co_name != "<module>" or not getattr(error, "name", None):
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
        return []
    line = (
        f"`{error.name}` is not defined. Run the cell above that makes it; where that cell needs an exercise, "
        "solve the exercise first."
    )
    return _say(shell, kind, error, line)


def _say(shell: Any, kind: type, error: Exception, line: str) -> list[str]:
    """Show one line as the cell's error, so that tools which look for errors still see one."""
    shell._showtraceback(kind, error, [line])
    return []
