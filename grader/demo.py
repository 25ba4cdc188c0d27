"""A made-up class, graded end to end: is every score what it must be?

Nothing here is tied to a lesson. Right answers come from `solutions/`, other styles and mistakes from the catalogue, and
the points that a mistake must get are computed from the catalogue's own entry, so the class grows with the lessons.
"""

from __future__ import annotations

import ast
import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from grader import build
from grader.course import CONFIG, Course
from grader.grading import Reason, grade_here
from grader.mistakes import Entry, alternatives_of, mistakes_of
from grader.paths import ROOT, SOLUTIONS
from grader.text import read_text
from vitcourse.lessons import Exercise, Lesson, lessons

EXERCISE_SECONDS = 8.0
FAULTS = {
    "endless": ("while True:\n        pass", Reason.TIMEOUT),
    "leaves": ("import os\n    os._exit(1)", Reason.KERNEL_DIED),
    "hungry": ("return bytearray(8 << 30)", Reason.OUT_OF_MEMORY),
}
FORGERY = """\
import builtins, sys, types
import torch, numpy as np
import vitcourse.probes as probes
for module in (torch, torch.testing, np, np.testing):
    for name in ("equal", "allclose", "isclose", "assert_close", "assert_allclose", "array_equal"):
        if hasattr(module, name):
            setattr(module, name, lambda *a, **k: True)
torch.Tensor.__eq__ = lambda *a: True
probes.Draw.normal = lambda self, *shape, **k: torch.zeros(shape)
probes.run_probe = lambda *a, **k: {"status": "returned", "data": True}
probes.pack = lambda value: b"full marks"
__main__ = sys.modules["__main__"]
__main__.score = __main__.points = 100
class Everything(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.zeros(1)
def _forged(*args, **kwargs):
    return torch.zeros(2, 3).as_subclass(Everything)
"""


@dataclass
class Expected:
    """What an exercise of a made-up submission must get: points and, where one is certain, the reason."""

    points: float
    reasons: tuple[Reason, ...] = ()


@dataclass
class Member:
    """One made-up student."""

    name: str
    about: str
    notebook: NotebookNode | bytes
    expected: Callable[[Exercise, int], Expected]
    file: str = ""
    files: dict[str, bytes] = field(default_factory=dict)


def notebook_bytes(notebook: NotebookNode | bytes) -> bytes:
    return notebook if isinstance(notebook, bytes) else nbformat.writes(notebook).encode()


def full(exercise: Exercise, seed: int) -> Expected:
    return Expected(float(exercise.points), (Reason.RIGHT,))


def all_but_one(faulty: Exercise, reason: Reason, exercise: Exercise, seed: int) -> Expected:
    return Expected(0.0, (reason,)) if exercise.id == faulty.id else full(exercise, seed)


def with_answers(
    learner: NotebookNode, source: NotebookNode, change: Callable[[str, str], str] | None = None
) -> NotebookNode:
    """The learner notebook with the reference answers; `change(exercise's grade id, code)` may change each."""
    answers = {
        c.metadata.nbgrader.grade_id: c.source for c in source.cells if c.metadata.get("nbgrader", {}).get("solution")
    }
    notebook = copy.deepcopy(learner)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if grade_id in answers:
            cell.source = answers[grade_id]
            if change is not None:
                cell.source = change(grade_id.removesuffix("-answer"), cell.source)
    return notebook


def replaced(exercise: Exercise, with_name: str) -> str:
    """Code that puts one object in the place of an exercise's objects."""
    return "\n".join(f"{name} = {with_name}" for name in exercise.objects)


CATALOGUE_CELL = """\
import sys
for _name in [m for m in sys.modules if m.split(".")[0] in ("grader", "solutions")]:
    del sys.modules[_name]
sys.path.insert(0, "catalogue")
from grader.mistakes import entries_of
_answer = next(e.answer for e in entries_of("{exercise}") if e.name == "{name}")
"""


def catalogue_cell(exercise: Exercise, entry: Entry) -> str:
    """A cell that answers an exercise with an entry of the catalogue, whose files lie beside the notebook."""
    code = CATALOGUE_CELL.format(exercise=exercise.id, name=entry.name)
    if len(exercise.objects) == 1:
        return f"{code}{exercise.objects[0]} = _answer"
    return code + "\n".join(f"{name} = _answer.{name}" for name in exercise.objects)


def catalogue_files(lesson: Lesson) -> dict[str, bytes]:
    """What a cell of `catalogue_cell` needs: the catalogue's module, and the solutions that it may build on."""
    wanted = {
        "grader/__init__.py": b"",
        "grader/mistakes/__init__.py": (ROOT / "grader/mistakes/__init__.py").read_bytes(),
    }
    own = ROOT / "grader" / "mistakes" / f"{lesson.name}.py"
    if own.exists():
        wanted[f"grader/mistakes/{lesson.name}.py"] = own.read_bytes()
    wanted |= {f"solutions/{p.name}": p.read_bytes() for p in SOLUTIONS.glob("*.py")}
    return {f"catalogue/{name}": content for name, content in wanted.items()}


def from_catalogue(
    lesson: Lesson, learner: NotebookNode, source: NotebookNode, entries: dict[str, Entry]
) -> NotebookNode:
    """The reference answers, with the catalogue's entry where there is one for the exercise."""
    by_grade_id = {e.id.replace(".", "-"): e for e in lesson.exercises}

    def change(grade_id: str, code: str) -> str:
        exercise = by_grade_id[grade_id]
        return catalogue_cell(exercise, entries[exercise.id]) if exercise.id in entries else code

    return with_answers(learner, source, change)


def the_class(lesson: Lesson, learner: NotebookNode, source: NotebookNode) -> list[Member]:
    """The members of the made-up class."""
    perfect = with_answers(learner, source)
    alone = stands_alone(lesson)
    members = [
        Member("perfect", "the reference answers", perfect, full),
        Member("untouched", "the notebook as released", learner, lambda e, s: Expected(0.0, (Reason.NOT_SOLVED,))),
        Member("renamed", "downloaded twice, another name", perfect, full, f"{lesson.stem} (1).ipynb"),
        Member("stripped", "all metadata and ids lost", stripped(perfect), full),
        Member("loud", "warns, prints to stderr, prints 20 MB", with_cell(perfect, LOUD), full),
        Member("broken", "half a file", notebook_bytes(perfect)[:2000],
               lambda e, s: Expected(0.0, (Reason.UNREADABLE,))),
        Member("forger", "wrong answers, patched torch, numpy and probes", forged(lesson, learner, source),
               lambda e, s: Expected(0.0, tuple(r for r in Reason if r is not Reason.RIGHT))),
    ]  # fmt: skip
    styles = {e.id: alternatives_of(e.id)[0] for e in lesson.exercises if alternatives_of(e.id)}
    files = catalogue_files(lesson)
    members.append(Member("own-style", "right in another way", from_catalogue(lesson, learner, source, styles), full,
                          files=files))  # fmt: skip
    for number in range(3):
        entries = {e.id: mistakes_of(e.id)[number] for e in lesson.exercises if len(mistakes_of(e.id)) > number}
        if entries:
            members.append(Member(f"mistaken-{number + 1}", "typical mistakes",
                                  from_catalogue(lesson, learner, source, entries),
                                  partial(mistaken, entries), files=files))  # fmt: skip
    for name, (body, reason) in FAULTS.items():
        members.append(Member(name, f"exercise {alone.number}: {reason}", faulty(lesson, learner, source, alone, body),
                              partial(all_but_one, alone, reason)))  # fmt: skip
    return members


def stands_alone(lesson: Lesson) -> Exercise:
    """The first exercise that no other answer of the lesson calls: a fault in it must cost nothing else."""
    tree = ast.parse((SOLUTIONS / f"{lesson.name}.py").read_text(encoding="utf-8"))
    defined = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for exercise in lesson.exercises:
        others = [defined[name] for e in lesson.exercises if e.id != exercise.id for name in e.objects]
        called = {n.id for node in others for n in ast.walk(node) if isinstance(n, ast.Name)}
        if not called & set(exercise.objects):
            return exercise
    raise ValueError(f"every exercise of {lesson.stem} is used by another one")


def mistaken(entries: dict[str, Entry], exercise: Exercise, seed: int) -> Expected:
    """What a mistake of the catalogue must get: the points that the catalogue's own object gets, less than all."""
    if exercise.id not in entries:
        return full(exercise, seed)
    points = grade_here(exercise.id, entries[exercise.id].answer, seed, diagnose=False).points
    return Expected(min(points, exercise.points - 1e-6), (Reason.WRONG, Reason.ERROR))


def stripped(notebook: NotebookNode) -> NotebookNode:
    """What is left after a copy by hand into a new notebook, saved by an old tool."""
    bare = copy.deepcopy(notebook)
    for number, cell in enumerate(bare.cells):
        cell.metadata = nbformat.from_dict({})
        cell.id = f"c{number}"
    return bare


LOUD = (
    "import sys, warnings\nwarnings.warn('this will be slow')\nprint('careful', file=sys.stderr)\n"
    "for _ in range(20):\n    print('x' * 1_000_000)"
)


def with_cell(notebook: NotebookNode, code: str) -> NotebookNode:
    """The notebook with one more code cell at the end."""
    longer = copy.deepcopy(notebook)
    longer.cells.append(nbformat.v4.new_code_cell(code))
    return longer


def forged(lesson: Lesson, learner: NotebookNode, source: NotebookNode) -> NotebookNode:
    """Wrong answers, everything patched that a test might call, full marks written into every output."""
    by_grade_id = {e.id.replace(".", "-"): e for e in lesson.exercises}
    notebook = with_answers(learner, source, lambda g, code: f"{FORGERY}{replaced(by_grade_id[g], '_forged')}")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="full marks\n")]
            cell.execution_count = 1
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source, cell.metadata.nbgrader.points = "100.0", 100
    return notebook


def faulty(lesson: Lesson, learner: NotebookNode, source: NotebookNode, exercise: Exercise, body: str) -> NotebookNode:
    """Right answers, but one exercise's objects do something terrible when called."""
    fault = f"\n\n\ndef _fault(*args, **kwargs):\n    {body}\n\n\n{replaced(exercise, '_fault')}"
    grade_id = exercise.id.replace(".", "-")
    return with_answers(learner, source, lambda g, code: code + fault if g == grade_id else code)


def hand_in(course: Course, lesson: Lesson, member: Member) -> None:
    """Put a member's submission where nbgrader collects them."""
    folder = course.root / "submitted" / member.name / lesson.stem
    for name, content in {
        member.file or f"{lesson.stem}.ipynb": notebook_bytes(member.notebook),
        **member.files,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def grade_class(course: Course, lesson: Lesson, console: Console, *, jobs: int = 0, isolation: str = "") -> int:
    """Release, hand in, grade, compare; prints a table and returns how many scores are not what they must be."""
    from grader.show import grade_with_progress

    made = build.build(read_text(build.TEXT / f"{lesson.stem}.md"))
    course.release(lesson)
    members = {m.name: m for m in the_class(lesson, made.learner, made.source)}
    for member in members.values():
        hand_in(course, lesson, member)
    summary = grade_with_progress(console, course, lesson, jobs=jobs, isolation=isolation)
    table = Table(title=f"{lesson.number:02d} {lesson.title}: {len(members)} submissions, {summary.seconds:.1f} s")
    for column in ("student", "what was handed in", "points", "reasons", "as it must be"):
        table.add_column(column)
    wrong = len(members) - len(summary.graded)
    for result in summary.graded:
        member, said = members[result.student], []
        for exercise, found in zip(lesson.exercises, result.exercises, strict=True):
            must = member.expected(exercise, result.seed)
            if abs(found.points - must.points) > 1e-9 or (must.reasons and found.reason not in must.reasons):
                wanted = " or ".join(must.reasons[:3]) or "any reason"
                said.append(f"{exercise.number}: {must.points:g}, {wanted}")
        wrong += bool(said)
        reasons = ", ".join(dict.fromkeys(str(e.reason) for e in result.exercises))
        table.add_row(member.name, member.about, f"{result.points:g}/{result.max_points:g}", reasons,
                      f"[red]✗ {escape('; '.join(said))}[/]" if said else "[green]✓[/]")  # fmt: skip
    console.print(table)
    for student, why in summary.failed.items():
        console.print(f"[red]{student}: the grader failed: {escape(why)}[/]", highlight=False)
    return wrong


def run_demo(console: Console, folder: Path | None = None, *, chosen: list[Lesson] | None = None, jobs: int = 0,
             isolation: str = "") -> int:  # fmt: skip
    """Grade a made-up class for some lessons, all where none is chosen; returns the number of wrong scores."""
    with tempfile.TemporaryDirectory(prefix="vit-demo-") as temporary:
        root = folder or Path(temporary)
        course = Course(root)
        if not (root / "nbgrader_config.py").exists():
            root.mkdir(parents=True, exist_ok=True)
            (root / "nbgrader_config.py").write_text(
                CONFIG.replace("exercise_seconds = 20.0", f"exercise_seconds = {EXERCISE_SECONDS}"), encoding="utf-8"
            )
        course.init()
        return sum(
            grade_class(course, x, console, jobs=jobs, isolation=isolation) for x in chosen or lessons() if x.exercises
        )
