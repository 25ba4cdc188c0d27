"""A course of two tiny lessons for the grader's tests, so that they do not depend on the real ones.

`make_world` copies the code (not the lessons) into a folder and writes the lessons there; the grader then runs from that
copy, in a process of its own, as it would for an instructor. Lesson 02 imports an answer of lesson 01 and has three
exercises: a function (2 points), a module (2 points) and two functions that belong together (1 point).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
LESSON = "02_after"
EXERCISES = ("after.double", "after.Scale", "after.split")
POINTS = {"after.double": 2.0, "after.Scale": 2.0, "after.split": 1.0}

FILES = {
    "notebooks/text/01_before.md": '''---
kernelspec: {display_name: Python 3, language: python, name: python3}
lesson: {title: Before, summary: What comes first, minutes: 5, goals: [triple a tensor]}
---

```{code-cell}
from torch import Tensor
```

```{code-cell}
:exercise: before.triple
:points: 1
:minutes: 5
:difficulty: 1
```
''',
    "notebooks/text/02_after.md": '''---
kernelspec: {display_name: Python 3, language: python, name: python3}
lesson: {title: After, summary: What comes then, minutes: 5, goals: [double a tensor]}
---

```{code-cell}
import torch
from torch import Tensor, nn

from solutions.before import triple
```

```{code-cell}
:object: after.OFFSET
```

```{code-cell}
:exercise: after.double
:points: 2
:minutes: 5
:difficulty: 1
```

```{code-cell}
print(double(torch.ones(2)) + 0 * triple(torch.ones(2)))
```

```{code-cell}
:exercise: after.Scale
:points: 2
:minutes: 5
:difficulty: 1
```

```{code-cell}
:tags: [demo]
raise RuntimeError("a demo that grading must not run")
```

```{code-cell}
:exercise: after.split
:objects: halve join
:points: 1
:minutes: 5
:difficulty: 1
```
''',
    "solutions/__init__.py": '"""Answers."""\n',
    "solutions/before.py": '''"""Lesson 01."""

from torch import Tensor


def triple(x: Tensor) -> Tensor:
    """Three times x."""
    ### BEGIN SOLUTION
    return 3 * x
    ### END SOLUTION
''',
    "solutions/after.py": '''"""Lesson 02. THE_SECRET_OF_THE_SOLUTION."""

import torch
from torch import Tensor, nn

from solutions.before import triple

OFFSET = 1.0  # given


def double(x: Tensor) -> Tensor:
    """Two times x; raises `ValueError` for a scalar."""
    ### BEGIN SOLUTION
    if x.ndim == 0:
        raise ValueError("a scalar")
    return triple(x) - x
    ### END SOLUTION


class Scale(nn.Module):
    """Scale by a parameter and add OFFSET."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        ### BEGIN SOLUTION
        return x * self.weight + OFFSET
        ### END SOLUTION


def halve(x: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the last axis in two."""
    ### BEGIN SOLUTION
    return x.chunk(2, -1)
    ### END SOLUTION


def join(parts: tuple[Tensor, Tensor]) -> Tensor:
    """Undo `halve`."""
    ### BEGIN SOLUTION
    return torch.cat(parts, -1)
    ### END SOLUTION
''',
    "vitcourse/checks/before.py": '''from vitcourse.checking import close, normal, visible_check


@visible_check("before.triple")
def triple(answer):
    close(answer(normal(2, 3)), 3 * normal(2, 3), "three times")
''',
    "vitcourse/checks/after.py": '''from vitcourse.checking import close, normal, visible_check


@visible_check("after.double")
def double(answer):
    close(answer(normal(2, 3)), 2 * normal(2, 3), "two times")


@visible_check("after.Scale")
def scale(answer):
    close(answer(3)(normal(2, 3)), normal(2, 3) + 1, "scale and add")


@visible_check("after.split")
def split(answer):
    close(answer.join(answer.halve(normal(2, 4))), normal(2, 4), "there and back")
''',
    "grader/cases/before.py": '''from vitcourse.probes import case


@case("before.triple", points=1, about="numbers")
def numbers(answer, draw):
    return answer(draw.normal(2, 3))
''',
    "grader/cases/after.py": '''"""THE_SECRET_OF_THE_CASES."""

import torch

from vitcourse.probes import case, raised


@case("after.double", points=1, about="numbers")
def numbers(answer, draw):
    return answer(draw.normal(*draw.sizes(2)))


@case("after.double", points=1, about="refuses a scalar")
def refuses_a_scalar(answer, draw):
    return [raised(lambda: answer(draw.normal())), answer(draw.normal(3, 2))]


@case("after.Scale", points=2, about="scrambled weights")
def scrambled(answer, draw):
    b, d = draw.sizes(2)
    return draw.scramble(answer(d))(draw.normal(b, d))


@case("after.split", points=1, about="both")
def both(answer, draw):
    x = draw.normal(3, 2 * draw.integer(2, 4))
    parts = answer.halve(x)
    return [list(parts), answer.join(parts)]
''',
    "grader/mistakes/before.py": "",
    "grader/mistakes/after.py": '''from grader.mistakes import alternative, mistake


@mistake("after.double", "This is x itself.")
def same(x):
    return x


@alternative("after.double", "a sum")
def added(x):
    if x.dim() == 0:
        raise ValueError
    return x + x
''',
}  # fmt: skip


@dataclass
class World:
    """A copy of the grader with the two lessons, and a place for course folders."""

    root: Path
    places: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.root), "COLUMNS": "200", "DATABASE_SECRET": "THE_SECRET_PASSWORD"}

    def grader(
        self, *arguments: str | Path, timeout: float = 400, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `grader …` from the copy."""
        done = subprocess.run(
            [sys.executable, "-m", "grader", *map(str, arguments)], env=self.environment, cwd=self.places,
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"grader {arguments} failed:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done

    def python(self, code: str, timeout: float = 400) -> str:
        """Run Python from the copy; returns what it prints."""
        done = subprocess.run([sys.executable, "-c", code], env=self.environment, cwd=self.places,
                              capture_output=True, text=True, timeout=timeout)  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done.stdout

    def course(self, name: str, exercise_seconds: float = 20, extra: str = "") -> Path:
        """A fresh course folder with both lessons released."""
        folder = self.places / name
        folder.mkdir()
        settings = f"\nc.Grading.exercise_seconds = {exercise_seconds}\n{extra}"
        self.python(  # in one process, which imports nbgrader once
            "from pathlib import Path\nfrom grader.course import CONFIG, Course, find_lesson\n"
            f"Path({str(folder)!r}, 'nbgrader_config.py').write_text(CONFIG + {settings!r})\n"
            f"for lesson in '12': Course({str(folder)!r}).release(find_lesson(lesson))"
        )
        return folder

    def source(self, lesson: str = LESSON) -> NotebookNode:
        return nbformat.read(self.root / "build" / "source" / lesson / f"{lesson}.ipynb", as_version=4)

    def learner(self, lesson: str = LESSON) -> NotebookNode:
        return nbformat.read(self.root / "notebooks" / f"{lesson}.ipynb", as_version=4)

    def solved(self, lesson: str = LESSON, **changes: str) -> NotebookNode:
        """The learner notebook with the right answers; `double="code"` replaces the code of an answer cell."""
        answers = {c.metadata.nbgrader.grade_id: c.source for c in self.source(lesson).cells
                   if c.metadata.get("nbgrader", {}).get("solution")}  # fmt: skip
        notebook = self.learner(lesson)
        for cell in notebook.cells:
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
            if grade_id in answers:
                cell.source = changes.get(grade_id.split("-")[1], answers[grade_id])
        return notebook


def make_world(folder: Path) -> World:
    """Copy the code and build the two lessons."""
    root = folder / "repository"
    for package in ("grader", "vitcourse"):
        shutil.copytree(ROOT / package, root / package,
                        ignore=lambda d, names: [n for n in names if n == "__pycache__" or n.endswith(".npz")])  # fmt: skip
    for kept in ("grader/cases", "grader/mistakes", "vitcourse/checks"):
        for path in (root / kept).glob("*.py"):
            if path.name != "__init__.py":
                path.unlink()
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (root / "vitcourse/assets/lessons.json").write_text("[]\n")
    places = folder / "places"
    places.mkdir()
    world = World(root, places)
    world.grader("build")
    return world


def hand_in(course: Path, student: str, content: NotebookNode | bytes | str, file: str = f"{LESSON}.ipynb",
            lesson: str = LESSON) -> Path:  # fmt: skip
    """Put a file into a student's submission."""
    path = course / "submitted" / student / lesson / file
    path.parent.mkdir(parents=True, exist_ok=True)
    data = nbformat.writes(content) if isinstance(content, NotebookNode) else content
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def results(course: Path, student: str, lesson: str = LESSON) -> dict[str, Any]:
    """A student's results.json."""
    return json.loads((course / "autograded" / student / lesson / "results.json").read_text())


def points(course: Path, student: str) -> dict[str, float]:
    return {e["exercise"]: e["points"] for e in results(course, student)["exercises"]}


def reasons(course: Path, student: str) -> dict[str, str]:
    return {e["exercise"]: e["reason"] for e in results(course, student)["exercises"]}
