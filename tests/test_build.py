"""The builder: learner notebooks are nbgrader's own release, hold no answer, and errors name file and line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from grader import build as builder
from grader import text as reader
from grader.paths import NOTEBOOKS, SOLUTIONS, TEXT
from grader.text import TextError, read_text

STEMS = sorted(p.stem for p in TEXT.glob("[0-9][0-9]_*.md"))
HEADER = """---
kernelspec: {display_name: Python 3, language: python, name: python3}
lesson: {title: T, summary: S, minutes: 5, goals: [g]}
---
"""
EXERCISE = """
```{code-cell}
:exercise: attention.scaled_dot_product_attention
:points: 4
:minutes: 5
:difficulty: 1
```
"""


def as_text(tmp_path: Path, body: str, stem: str = "03_attention") -> reader.Text:
    path = tmp_path / f"{stem}.md"
    path.write_text(HEADER + body)
    return read_text(path)


@pytest.mark.parametrize("stem", STEMS)
def test_committed_notebook_is_what_the_build_makes(stem: str) -> None:
    built = builder.build(read_text(TEXT / f"{stem}.md"))
    assert (NOTEBOOKS / f"{stem}.ipynb").read_text() == builder.written(built.learner)
    again = builder.build(read_text(TEXT / f"{stem}.md"))
    assert builder.written(again.source) == builder.written(built.source)


def test_learner_notebooks_equal_what_nbgrader_releases(tmp_path: Path) -> None:
    for stem in STEMS:
        folder = tmp_path / "source" / stem
        folder.mkdir(parents=True)
        source = builder.build(read_text(TEXT / f"{stem}.md")).source
        (folder / f"{stem}.ipynb").write_text(builder.written(source))
    script = (
        "import sys; from traitlets.config import Config; from nbgrader.apps import NbGraderAPI\n"
        "config = Config(); config.CourseDirectory.root = sys.argv[1]; api = NbGraderAPI(config=config)\n"
        "for stem in sys.argv[2:]:\n"
        "    done = api.generate_assignment(stem); assert done['success'], done\n"
    )
    # nbgrader calls `alembic` by name when it makes a gradebook
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-c", script, str(tmp_path), *STEMS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr[-2000:]
    for stem in STEMS:
        released = (tmp_path / "release" / stem / f"{stem}.ipynb").read_text()
        assert released == (NOTEBOOKS / f"{stem}.ipynb").read_text(), f"{stem} differs from nbgrader's release"


@pytest.mark.parametrize("stem", STEMS)
def test_learner_notebook_is_valid_and_holds_no_answer(stem: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    nbformat.validate(notebook)
    ids = [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[\w-]+", i) for i in ids)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code)
    joined = "\n".join(c.source for c in notebook.cells)
    assert "HIDDEN TESTS" not in joined
    assert "BEGIN SOLUTION" not in joined
    answers = "\n".join(c.source for c in code if c.metadata.get("nbgrader", {}).get("solution"))
    raw = (SOLUTIONS / f"{stem[3:]}.py").read_text()
    for region in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", raw, re.S):
        for line in region.splitlines():
            words = line.strip()
            if len(words) > 25 and not words.startswith(("#", "raise ", '"')) and raw.count(words) == 1:
                assert words not in answers, f"{stem} shows the solution line {words!r}"


@pytest.mark.parametrize("stem", STEMS)
def test_released_exercises_are_the_whole_lesson(stem: str) -> None:
    text = read_text(TEXT / f"{stem}.md")
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    graded = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")}
    assert set(graded) == {builder.grade_id(e.id) for e in text.lesson.exercises}
    for exercise in text.lesson.exercises:
        cell = graded[builder.grade_id(exercise.id)]
        assert cell.source == f'check("{exercise.id}")'
        assert cell.metadata.nbgrader.points == exercise.points


@pytest.mark.parametrize("stem", STEMS)
def test_solved_notebook_answers_every_question(stem: str) -> None:
    solved = builder.build(read_text(TEXT / f"{stem}.md")).solved
    joined = "\n".join(c.source for c in solved.cells if c.cell_type == "code")
    assert 'answer=""' not in joined
    assert "YOUR CODE HERE" not in joined
    assert "SOLUTION" not in joined


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("```{code-cell}\n:exercise: attention.nothing\n:points: 1\n:minutes: 1\n:difficulty: 1\n```\n", r":5: .*no"),
        (
            "```{code-cell}\n:exercise: other.thing\n:points: 1\n:minutes: 1\n:difficulty: 1\n```\n",
            r":5: .*of the form",
        ),
        ("```{code-cell}\n:exercise: attention.f\n:minutes: 1\n:difficulty: 1\n```\n", r":5: .*`:points:`"),
        (
            "```{code-cell}\n:exercise: attention.f\n:points: 1\n:minutes: 1\n:difficulty: 9\n```\n",
            r":5: .*from 1 to 5",
        ),
        ("```{code-cell}\n:colour: red\nx\n```\n", r":5: unknown option of a code cell: colour"),
        ("\n```{hnt} 1\ntext\n```\n", r":6: unknown directive \{hnt\}"),
        ("```{hint}\ntext\n```\n", r":5: \{hint\} needs a title"),
        ("words\n```{output}\n1\n```\n", r":6: \{output\} must follow a code cell"),
        ("```{code-cell}\n:object: attention.Nothing\n```\n", r":5: solutions/attention.py has no object 'Nothing'"),
        ("```{code-cell}\n:object: nowhere.Thing\n```\n", r":5: .*there is no solutions/nowhere.py"),
        ('```{code-cell}\nquiz("attention.unknown", answer="")\n```\n', r":6: .*no question 'attention.unknown'"),
        (EXERCISE + EXERCISE, r"stands here twice"),
        (EXERCISE.replace(":points: 4", ":points: 77"), r":6: .*worth 77 points, its cases .* \d"),
    ],
)
def test_what_does_not_fit_together_is_named_with_file_and_line(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(TextError, match=r"03_attention\.md" + message if message.startswith(":") else message):
        builder.build(as_text(tmp_path, body))


def test_a_header_without_its_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "03_attention.md"
    path.write_text("---\nlesson: {title: T}\n---\n")
    with pytest.raises(TextError, match=r":1: .*goals, minutes, summary"):
        read_text(path)


def test_a_solution_without_markers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attention.py").write_text("def scaled_dot_product_attention(q, k, v):\n    return q\n")
    monkeypatch.setattr(builder, "SOLUTIONS", tmp_path)
    builder._module.cache_clear()
    try:
        with pytest.raises(TextError, match=r"03_attention\.md:6: .*attention\.py:1: .*BEGIN SOLUTION"):
            builder.build(as_text(tmp_path, EXERCISE))
    finally:
        builder._module.cache_clear()


def test_a_lesson_without_cases_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "cases_of", lambda exercise_id: [])
    with pytest.raises(TextError, match=r"03_attention\.md:6: .*no hidden cases in grader/cases/attention\.py"):
        builder.build(as_text(tmp_path, EXERCISE))


def test_a_stale_file_is_shown_with_a_diff(tmp_path: Path) -> None:
    notebook = NOTEBOOKS / f"{STEMS[0]}.ipynb"
    changed = notebook.read_text().replace("Lesson", "Lektion", 1)
    found = dict(builder.stale({notebook: changed}))
    assert "+# Lektion" in found[notebook]
    assert "-# Lesson" in found[notebook]


def test_hints_fold_and_stated_outputs_reach_the_solved_notebook(tmp_path: Path) -> None:
    text = as_text(
        tmp_path, "```{code-cell}\nprint(1 + 1)\n```\n\n```{output}\n2\n```\n\n```{hint} 1\nCount.\n```\n" + EXERCISE
    )
    built = builder.build(text)
    folded = [c.source for c in built.learner.cells if c.source.startswith("<details>")]
    assert folded == ["<details><summary>Hint 1</summary>\n\nCount.\n\n</details>"]
    cell = next(c for c in built.solved.cells if c.source == "print(1 + 1)")
    assert cell.outputs[0].text == "2\n"
    assert "nbval-check-output" in cell.metadata.tags
    assert not any(c.get("outputs") for c in built.learner.cells)
