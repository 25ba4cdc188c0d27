"""Assemble the notebooks: text + solutions + checks + cases → source, learner and solved notebooks.

    notebooks/text/03_attention.md ─┐
    solutions/attention.py ─────────┼→ build/source/03_attention/03_attention.ipynb   nbgrader's source notebook
    grader/cases/attention.py ──────┘      ├→ notebooks/03_attention.ipynb            nbgrader's release of it, committed
                                           └→ build/solved/03_attention.ipynb         solved, for nbval

Builds are deterministic: cell ids derive from exercise ids and headings, and nothing depends on time or machine.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from grader.cases import cases_of
from grader.paths import LESSONS_JSON, NOTEBOOKS, README, SOLUTIONS, SOLVED, SOURCE, TEXT, shown
from grader.text import Block, Text, TextError, read_text
from vitcourse.checking import CHECKS
from vitcourse.lessons import Exercise
from vitcourse.quiz import find_question

REPOSITORY = "https://github.com/vit-course/vit-course"  # the one place that knows the public address
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
QUESTION = re.compile(r"\b(?P<kind>predict|quiz)\(\s*\"(?P<id>[\w.]+)\"\s*,\s*answer=\"\"\s*\)")
HIDE_INPUT = "hide-input"
SETUP_CELL = """\
# Run this cell first. Where the course is missing (on Colab), it installs it; nothing else is changed.
import importlib.util, subprocess, sys
if importlib.util.find_spec("vitcourse") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "git+{repository}"], check=True)
from vitcourse import check, predict, quiz, setup

setup("{stem}")"""


@dataclass
class Built:
    """The three notebooks of one lesson."""

    text: Text
    source: NotebookNode
    learner: NotebookNode
    solved: NotebookNode


class BuildError(Exception):
    """The parts of a lesson do not fit together; the message names file and line."""


def lesson_texts() -> list[Text]:
    """All text notebooks, in order."""
    return [read_text(path) for path in sorted(TEXT.glob("[0-9][0-9]_*.md"))]


# ---------------------------------------------------------------------------------------------- code from solutions/


@lru_cache(maxsize=32)
def _module(lesson: str) -> tuple[list[str], ast.Module]:
    path = SOLUTIONS / f"{lesson}.py"
    raw = path.read_text(encoding="utf-8")
    return raw.splitlines(), ast.parse(raw, filename=str(path))


def object_source(text: Text, block: Block, qualified: str, *, solution: bool) -> str:
    """The code of `<lesson>.<object>` as it stands in `solutions/`, decorators and leading comments included.

    Raises:
        TextError: the module or the object does not exist, or an exercise lacks its solution markers.
    """
    lesson, name = qualified.split(".", 1)
    if not (SOLUTIONS / f"{lesson}.py").exists():
        raise TextError(text.path, block.line, f"{qualified}: there is no solutions/{lesson}.py")
    lines, tree = _module(lesson)
    for node in tree.body:
        names = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
        if isinstance(node, ast.Assign):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        if name in names:
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(d.lineno for d in decorators)]) - 1
            while first > 0 and lines[first - 1].startswith("#"):
                first -= 1
            last = node.end_lineno or node.lineno
            while last < len(lines) and re.match(r"\s+#", lines[last]):  # a closing comment belongs to the object
                last += 1
            source = "\n".join(lines[first:last])
            if solution and (BEGIN not in source or source.count(BEGIN) != source.count(END)):
                raise TextError(text.path, block.line,
                                f"solutions/{lesson}.py:{node.lineno}: {name} needs `{BEGIN}` and `{END}` around "
                                "what the learner writes")  # fmt: skip
            return source
    raise TextError(text.path, block.line, f"solutions/{lesson}.py has no object {name!r}")


# ------------------------------------------------------------------------------------------------------------- cells


def _slug(source: str) -> str:
    heading = re.search(r"^#+ +(.+)$", source, re.M)
    if heading:
        words = re.sub(r"[^a-z0-9]+", "-", heading[1].lower()).strip("-")[:40].strip("-")
        if words:
            return words
    return hashlib.sha1(source.encode()).hexdigest()[:8]


class _Ids:
    """Cell ids that stay the same from build to build and differ within a notebook."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, wanted: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_-]", "-", wanted)[:58]
        self.seen[wanted] = self.seen.get(wanted, 0) + 1
        return wanted if self.seen[wanted] == 1 else f"{wanted}-{self.seen[wanted]}"


def grade_id(exercise_id: str) -> str:
    """The nbgrader id of an exercise's graded cell, "attention-Attention"; its answer cell adds "-answer"."""
    return exercise_id.replace(".", "-")


def header(text: Text) -> str:
    """The first cell: title, what the lesson costs and gives, the Colab badge."""
    lesson = text.lesson
    notebook = f"{REPOSITORY.removeprefix('https://github.com')}/blob/main/notebooks/{lesson.stem}.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github{notebook})"
    goals = "\n".join(f"- {goal}" for goal in text.goals)
    return (
        f"# Lesson {lesson.number} · {lesson.title}\n\n{lesson.summary}\n\n"
        f"**Time** about {lesson.minutes} minutes · **Exercises** {len(lesson.exercises)} · **Points** {lesson.points} · "
        f"**Runs** in at most 120 s on two CPU cores with 3 GB of memory, without a download\n\n{badge}\n\n"
        f"After this lesson you can:\n\n{goals}"
    )


def label(exercise: Exercise) -> str:
    """The heading of an exercise: number, title, difficulty, minutes, points."""
    dots = "●" * exercise.difficulty + "○" * (5 - exercise.difficulty)
    plural = "point" if exercise.points == 1 else "points"
    return (
        f"### Exercise {exercise.number} · {exercise.title}\n\n"
        f"Difficulty {dots} ({exercise.difficulty} of 5) · about {exercise.minutes} minutes · {exercise.points} {plural} · "
        f"you write `{'`, `'.join(exercise.objects)}`"
    )


def _nbgrader(cell_id: str, *, grade: bool, points: int | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"grade": grade, "grade_id": cell_id, "locked": grade, "schema_version": 3,
                             "solution": not grade, "task": False}  # fmt: skip
    if points is not None:
        entry["points"] = points
    return entry


def _cell_metadata(block: Block) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if block.tags:
        metadata["tags"] = list(block.tags)
    if HIDE_INPUT in block.tags:
        metadata["jupyter"] = {"source_hidden": True}
    return metadata


def source_cells(text: Text) -> Iterator[NotebookNode]:
    """The cells of the nbgrader source notebook."""
    ids = _Ids()
    name = text.lesson.name
    exercises = {e.id: e for e in text.lesson.exercises}
    yield new_markdown_cell(header(text), id=ids(f"{name}-title"))
    yield new_code_cell(
        SETUP_CELL.format(repository=REPOSITORY, stem=text.lesson.stem),
        id=ids(f"{name}-setup"),
        metadata={"tags": ["setup"]},
    )
    for block in text.blocks:
        if block.kind == "markdown":
            yield new_markdown_cell(block.source, id=ids(f"{name}-{_slug(block.source)}"))
        elif block.kind == "code":
            yield new_code_cell(block.source, id=ids(f"{name}-{_slug(block.source)}"), metadata=_cell_metadata(block))
        elif block.kind == "object":
            source = object_source(text, block, block.name, solution=False)
            yield new_code_cell(source, id=ids(f"{block.name}-given"), metadata=_cell_metadata(block))
        else:
            exercise = exercises[block.name]
            _check_exercise(text, block, exercise)
            answer = "\n\n\n".join(
                object_source(text, block, f"{exercise.lesson}.{o}", solution=True) for o in exercise.objects
            )
            cell = grade_id(exercise.id)
            yield new_markdown_cell(label(exercise), id=ids(f"{cell}-task"))
            yield new_code_cell(
                answer,
                id=ids(f"{cell}-answer"),
                metadata=_cell_metadata(block) | {"nbgrader": _nbgrader(f"{cell}-answer", grade=False)},
            )
            hidden = "### BEGIN HIDDEN TESTS\nfrom grader.stock import check  # runs the hidden cases and returns the points\n### END HIDDEN TESTS\n"
            yield new_code_cell(f'{hidden}check("{exercise.id}")', id=ids(cell),
                                metadata={"nbgrader": _nbgrader(cell, grade=True, points=exercise.points)})  # fmt: skip


def _check_exercise(text: Text, block: Block, exercise: Exercise) -> None:
    """An exercise has hidden cases worth its points and a visible check; otherwise a clear error."""
    found = cases_of(exercise.id)
    where = f"grader/cases/{exercise.lesson}.py"
    if not found:
        raise TextError(text.path, block.line, f"exercise {exercise.id} has no hidden cases in {where}")
    total = sum(c.points for c in found)
    if abs(total - exercise.points) > 1e-9:
        raise TextError(
            text.path,
            block.line,
            f"exercise {exercise.id} is worth {exercise.points} points, its cases in {where} {total:g}",
        )
    try:
        __import__(f"vitcourse.checks.{exercise.lesson}")
    except ModuleNotFoundError as error:
        raise TextError(
            text.path, block.line, f"{error}: exercise {exercise.id} needs a visible check there"
        ) from error
    if exercise.id not in CHECKS:
        raise TextError(
            text.path,
            block.line,
            f"exercise {exercise.id} has no visible check in vitcourse/checks/{exercise.lesson}.py",
        )


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook = new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


# --------------------------------------------------------------------------------------------------------- notebooks


def build(text: Text) -> Built:
    """Assemble the notebooks of one lesson.

    Raises:
        TextError: an exercise, an object, a question or a case is missing; the message names file and line.
    """
    source = _notebook(list(source_cells(text)))
    return Built(text, source, release(source), solve(text, source))


def release(source: NotebookNode) -> NotebookNode:
    """nbgrader's release of a source notebook, by nbgrader's own preprocessors in its own order."""
    from nbgrader.preprocessors import (
        CheckCellMetadata,
        ClearHiddenTests,
        ClearMarkScheme,
        ClearOutput,
        ClearSolutions,
        ComputeChecksums,
        LockCells,
    )

    notebook = nbformat.from_dict(json.loads(json.dumps(source)))
    resources: dict[str, Any] = {}
    steps = (LockCells, ClearSolutions, ClearOutput, CheckCellMetadata, ComputeChecksums, ClearHiddenTests,
             ClearMarkScheme, ComputeChecksums, CheckCellMetadata)  # fmt: skip
    for step in steps:
        notebook, resources = step().preprocess(notebook, resources)
    return notebook


def solve(text: Text, source: NotebookNode) -> NotebookNode:
    """The solved notebook: answers in place, questions answered, stated outputs stored for nbval to compare."""
    outputs = [b.output for b in text.blocks if b.kind == "code"]
    plain = [
        c
        for c in source.cells
        if c.cell_type == "code" and "nbgrader" not in c.metadata and not c.id.endswith("-given")
    ][1:]
    expected = dict(zip((c.id for c in plain), outputs, strict=True))
    cells = []
    for cell in nbformat.from_dict(json.loads(json.dumps(source.cells))):
        if cell.cell_type == "code":
            cell.source = re.sub(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n", "", cell.source, flags=re.S)
            cell.source = "\n".join(line for line in cell.source.split("\n") if line.strip() not in (BEGIN, END))
            cell.source = QUESTION.sub(lambda m: _answered(text, m), cell.source)
            cell.metadata.pop("nbgrader", None)
            if expected.get(cell.id):
                cell.execution_count = 1  # nbval compares the outputs of cells that were run
                cell.outputs = [new_output("stream", name="stdout", text=expected[cell.id])]
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), "nbval-check-output"]
        cells.append(cell)
    return _notebook(cells)


def _answered(text: Text, match: re.Match[str]) -> str:
    try:
        right = find_question(match["id"]).right
    except KeyError as error:
        lines = text.path.read_text(encoding="utf-8").splitlines()
        line = next((i for i, t in enumerate(lines, 1) if match["id"] in t), 1)
        raise TextError(text.path, line, f"vitcourse/checks/{text.lesson.name}.py: {error.args[0]}") from error
    return f'{match["kind"]}("{match["id"]}", answer={json.dumps(right, ensure_ascii=False)})'


# ------------------------------------------------------------------------------------------------------------- files


def written(notebook: NotebookNode) -> str:
    """A notebook as nbgrader writes it."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def lessons_json(texts: list[Text]) -> str:
    """What `vitcourse.lessons` reads."""
    return json.dumps([asdict(t.lesson) for t in texts], indent=1, ensure_ascii=False) + "\n"


def readme_table(texts: list[Text]) -> str:
    """The table of lessons in the README."""
    rows = [
        f"| [{t.lesson.number:02d} {t.lesson.title}](notebooks/{t.lesson.stem}.ipynb) | {t.lesson.summary} | "
        f"{len(t.lesson.exercises)} | {t.lesson.points} | {t.lesson.minutes} min |"
        for t in texts
    ]
    return "\n".join(["| lesson | what it answers | exercises | points | time |", "|---|---|---|---|---|", *rows])


def with_table(readme: str, table: str) -> str:
    """The README with its table of lessons replaced; raises `BuildError` where the markers are missing."""
    begin, end = "<!-- lessons:begin -->", "<!-- lessons:end -->"
    if begin not in readme or end not in readme:
        raise BuildError(f"README.md needs the markers {begin} and {end} around the table of lessons")
    head, rest = readme.split(begin, 1)
    return f"{head}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"


def build_all(only: str | None = None) -> tuple[dict[Path, str], dict[Path, str]]:
    """Assemble everything in memory.

    Args:
        only: a lesson's stem, name or number to restrict the notebooks to; the lists are made from all lessons.

    Returns:
        The committed files and the files under `build/`, each as path → content.
    """
    texts = lesson_texts()
    committed = {LESSONS_JSON: lessons_json(texts)}
    if README.exists():
        committed[README] = with_table(README.read_text(encoding="utf-8"), readme_table(texts))
    derived: dict[Path, str] = {}
    chosen = [
        t for t in texts if only in (None, t.lesson.stem, t.lesson.name, str(t.lesson.number), f"{t.lesson.number:02d}")
    ]
    if not chosen:
        raise BuildError(f"there is no lesson {only!r}; known: {', '.join(t.lesson.stem for t in texts) or 'none'}")
    for text in chosen:
        made = build(text)
        stem = text.lesson.stem
        committed[NOTEBOOKS / f"{stem}.ipynb"] = written(made.learner)
        derived[SOURCE / stem / f"{stem}.ipynb"] = written(made.source)
        derived[SOLVED / f"{stem}.ipynb"] = written(made.solved)
    return committed, derived


def write(files: dict[Path, str]) -> list[Path]:
    """Write the files that changed; returns them."""
    changed = []
    for path, content in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            changed.append(path)
    return changed


def stale(committed: dict[Path, str]) -> Iterator[tuple[Path, str]]:
    """The committed files that are not what the build makes, each with a readable diff."""
    for path, content in committed.items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old != content:
            lines = list(
                difflib.unified_diff(
                    _readable(old, path), _readable(content, path), "committed", "built", lineterm="", n=1
                )
            )
            more = [f"… and {len(lines) - 40} more lines"] if len(lines) > 40 else []
            yield path, "\n".join(lines[:40] + more)
    known = {p.name for p in committed}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if path.name not in known:
            yield path, f"{shown(path)} has no text notebook: remove it, or add notebooks/text/{path.stem}.md"


def _readable(content: str, path: Path) -> list[str]:
    """A notebook as its cells' text, other files as their lines."""
    if path.suffix != ".ipynb" or not content:
        return content.splitlines()
    try:
        notebook = nbformat.reads(content, as_version=4)
    except Exception:  # a broken notebook is shown as the text it is
        return content.splitlines()
    lines = []
    for cell in notebook.cells:
        lines.append(f"[{cell.cell_type} {cell.get('id', '')}] {json.dumps(cell.metadata, sort_keys=True)}")
        lines.extend(cell.source.splitlines())
    return lines
