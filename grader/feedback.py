"""One page of feedback per submission: points, reasons, the mistake in words, a hint, the learner's own code and output.

No hidden test is shown: what a case looks at is said in words, its inputs and its code are not. Everything a learner wrote is
escaped; the page loads nothing and runs nothing.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from html import escape
from pathlib import Path

import nbformat

from grader.build import grade_id
from grader.grading import ExerciseResult, Reason
from grader.marks import Mark
from grader.pages import page, table
from grader.paths import TEXT
from grader.results import Note
from vitcourse.lessons import Exercise, Lesson

WORDS = {
    Reason.RIGHT: "All hidden cases passed.",
    Reason.WRONG: "Your code runs, but some of its results differ from what the exercise asks for.",
    Reason.ERROR: "Your code raised an error.",
    Reason.NOT_SOLVED: "This exercise was left unsolved.",
    Reason.MISSING: "The notebook does not define what the exercise asks for.",
    Reason.TIMEOUT: "Your code did not come to an end in time.",
    Reason.KERNEL_DIED: "Your code ended the Python process.",
    Reason.OUT_OF_MEMORY: "Your code asked for more memory than there is.",
    Reason.UNREADABLE: "The file could not be read as a notebook.",
}

DETAILED = (Reason.ERROR, Reason.TIMEOUT, Reason.KERNEL_DIED, Reason.MISSING, Reason.UNREADABLE)


def path_of(course: Path, lesson: str, student: str) -> Path:
    """Where nbgrader looks for the feedback of a submission."""
    return course / "feedback" / student / lesson / f"{lesson}.html"


def hints_of(lesson: Lesson) -> dict[str, list[str]]:
    """The hints of each exercise, as plain text, from the text notebook."""
    from grader.text import read_text

    source = TEXT / f"{lesson.stem}.md"
    hints: dict[str, list[str]] = {}
    if not source.exists():
        return hints
    current = ""
    for block in read_text(source).blocks:
        if block.kind == "exercise":
            current = block.name
            hints[current] = []
        elif current and block.kind == "markdown":
            hints[current] += re.findall(r"<summary>Hint \d</summary>\n\n(.*?)\n\n</details>", block.source, re.S)
    return hints


def own_code(course: Path, lesson: str, student: str) -> dict[str, str]:
    """The source of each answer cell in the autograded notebook, by nbgrader id."""
    path = course / "autograded" / student / lesson / f"{lesson}.ipynb"
    if not path.exists():
        return {}
    notebook = nbformat.read(path, as_version=4)
    return {c.metadata.nbgrader.grade_id: c.source for c in notebook.cells if "nbgrader" in c.metadata}


def render(lesson: Lesson, mark: Mark, code: dict[str, str], hints: dict[str, list[str]]) -> str:
    """The page of one submission."""
    result = mark.result
    rows: list[list[str | float]] = []
    parts = []
    for exercise in lesson.exercises:
        points = mark.points.get(exercise.id, 0.0)
        graded = result.exercise(exercise.id) if result is not None else None
        by_hand = exercise.id in mark.manual
        said = "graded by hand" if by_hand else str(graded.reason) if graded is not None else "not graded yet"
        rows.append([f"{exercise.number} {exercise.title}", said, f"{points:g} of {exercise.points}"])
        if graded is not None:
            output = result.own_output(exercise.id) if result is not None else ""
            parts.append(_exercise(exercise, graded, points, by_hand, code.get(f"{grade_id(exercise.id)}-answer", ""), output,
                                   hints.get(exercise.id, []), mark.comments.get(exercise.id, "")))  # fmt: skip
    body = [
        f"<p>Feedback for {escape(mark.student)}</p><h1>Lesson {lesson.number} · {escape(lesson.title)}</h1>",
        f"<p><strong>{mark.total:g} of {lesson.points} points</strong></p>",
        table(["exercise", "result", "points"], rows, {2}),
    ]
    if result is not None and result.notes:
        body.append(_noticed(result.notes))
    return page(f"Lesson {lesson.number}: feedback for {mark.student}", "\n".join(body + parts))


def marked(text: str) -> str:
    """Escaped text, with `code` between backticks shown as code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))


def _noticed(notes: tuple[Note, ...]) -> str:
    """What the grader found odd. A cell that was stopped is said in words: learners never see a cell's id."""
    stopped = Counter(n.text.rpartition(": ")[2] for n in notes if n.kind == "skipped")
    said = [n.text for n in notes if n.kind != "skipped"]
    said += [
        f"{n} cell{'s' if n > 1 else ''} of your notebook did not run to the end: {why}" for why, n in stopped.items()
    ]
    free = not {"skipped", "unreadable", "cut", "files"} & {n.kind for n in notes}
    items = "".join(f"<li>{escape(text)}</li>" for text in dict.fromkeys(said))
    return (
        f"<h2>What we noticed about your file</h2>{'<p>None of this cost points.</p>' if free else ''}<ul>{items}</ul>"
    )


def _exercise(exercise: Exercise, graded: ExerciseResult, points: float, by_hand: bool, code: str, output: str,
              hints: list[str], comment: str) -> str:  # fmt: skip
    right = graded.reason == Reason.RIGHT
    mark = '<span class="good">✓ right</span>' if right else f'<span class="bad">✗ {escape(str(graded.reason))}</span>'
    parts = [
        f'<h2><span>{exercise.number} · {escape(exercise.title)}</span> <span class="points">{points:g} of '
        f"{exercise.points} points</span></h2><p>{mark}. {WORDS[graded.reason]}</p>"
    ]
    if by_hand and points != graded.points:
        parts.append(f"<p>The automatic result was {graded.points:g} points; a person has set {points:g}.</p>")
    if comment:
        parts.append(f'<p class="comment">{escape(comment)}</p>')
    if graded.mistake or (graded.reason in DETAILED and graded.detail):
        parts.append(f'<p class="said">{marked(graded.detail)}</p>')
    passed = [c.about for c in graded.cases if c.passed]
    failed = [c.about for c in graded.cases if not c.passed]
    if failed and graded.reason in (Reason.WRONG, Reason.ERROR):
        parts.append("<p>Not right yet: " + "; ".join(escape(a) for a in failed) + ".</p>")
        if passed:
            parts.append("<p>Right already: " + "; ".join(escape(a) for a in passed) + ".</p>")
    if hints and not right:
        parts.append(
            f"<details><summary>A hint</summary><p>{marked(hints[-1] if graded.mistake else hints[0])}</p></details>"
        )
    if code:
        parts.append(f"<details><summary>Your code</summary><pre>{escape(code)}</pre></details>")
    if output:
        parts.append(f"<details><summary>What it printed</summary><pre>{escape(output)}</pre></details>")
    return "\n".join(parts)


def write(course: Path, lesson: Lesson, mark: Mark, hints: dict[str, list[str]]) -> Path:
    """Write the page of one submission in one step; returns its path."""
    path = path_of(course, lesson.stem, mark.student)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(render(lesson, mark, own_code(course, lesson.stem, mark.student), hints), encoding="utf-8")
    os.replace(part, path)
    return path
