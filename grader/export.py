"""Marks as CSV (RFC 4180), for spreadsheets, Canvas and Moodle.

A cell that a spreadsheet would take for a formula gets an apostrophe in front, so that a learner who is called
`=HYPERLINK(…)` stays text.
"""

from __future__ import annotations

import csv
import enum
import io
from collections import Counter

from grader.marks import Mark
from vitcourse.lessons import Lesson

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Format(enum.StrEnum):
    """Who reads the file."""

    SPREADSHEET = "spreadsheet"
    CANVAS = "canvas"
    MOODLE = "moodle"


def safe(value: str | float) -> str:
    """A cell's text. Numbers stay numbers; text that would be a formula is neutralised."""
    if not isinstance(value, str):
        return f"{value:g}"
    text = value.replace("\x00", "")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def to_csv(rows: list[list[str | float]]) -> str:
    """Rows as RFC 4180: CRLF line ends, quotes where they are needed, quotes doubled."""
    out = io.StringIO()
    csv.writer(out, dialect="excel", lineterminator="\r\n").writerows([[safe(v) for v in row] for row in rows])
    return out.getvalue()


def export(lessons: list[tuple[Lesson, list[Mark]]], style: Format) -> str:
    """The marks of some lessons in one of the formats. A learner without a submission has empty cells, not zeros."""
    students: dict[str, Mark] = {}
    by_lesson: list[tuple[Lesson, dict[str, Mark]]] = []
    for lesson, found in lessons:
        by_lesson.append((lesson, {m.student: m for m in found}))
        students |= {m.student: m for m in found if m.student not in students}
    order = sorted(students)
    columns = {Format.SPREADSHEET: _spreadsheet, Format.CANVAS: _canvas, Format.MOODLE: _moodle}[style]
    return to_csv(columns(by_lesson, [students[s] for s in order]))


def _spreadsheet(lessons: list[tuple[Lesson, dict[str, Mark]]], students: list[Mark]) -> list[list[str | float]]:
    head: list[str | float] = ["student", "last name", "first name", "email"]
    for lesson, _ in lessons:
        head += [f"{e.number} {e.title} (of {e.points})" for e in lesson.exercises]
        head += [f"lesson {lesson.number:02d} points (of {lesson.points})", f"lesson {lesson.number:02d} remarks"]
    rows = [head]
    for who in students:
        row: list[str | float] = [who.student, who.last_name, who.first_name, who.email]
        for lesson, found in lessons:
            mark = found.get(who.student)
            if mark is None:
                row += [""] * (len(lesson.exercises) + 1) + ["not handed in"]
                continue
            row += [mark.points[e.id] for e in lesson.exercises]
            row += [mark.total, _remarks(lesson, mark)]
        rows.append(row)
    return rows


def _remarks(lesson: Lesson, mark: Mark) -> str:
    """Everything but a plain right or wrong: a 0 never stands without its reason."""
    if mark.result is None:
        return "no automatic result"
    said = [f"{e.number} {mark.result.exercise(e.id).reason}" for e in lesson.exercises
            if mark.result.exercise(e.id).reason not in ("right", "wrong")]  # fmt: skip
    notes = Counter(note.kind for note in mark.result.notes)
    return "; ".join(said + [kind if n == 1 else f"{kind} ×{n}" for kind, n in notes.items()])


def _canvas(lessons: list[tuple[Lesson, dict[str, Mark]]], students: list[Mark]) -> list[list[str | float]]:
    head: list[str | float] = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    possible: list[str | float] = ["    Points Possible", "", "", "", ""]
    head += [f"Lesson {lesson.number:02d} {lesson.title}" for lesson, _ in lessons]
    possible += [lesson.points for lesson, _ in lessons]
    rows = [head, possible]
    for who in students:
        name = f"{who.last_name}, {who.first_name}" if who.last_name else who.student
        rows.append([name, "", "", who.student, "", *_totals(lessons, who)])
    return rows


def _moodle(lessons: list[tuple[Lesson, dict[str, Mark]]], students: list[Mark]) -> list[list[str | float]]:
    head: list[str | float] = ["Username", "First name", "Last name", "Email address"]
    head += [f"Lesson {lesson.number:02d} {lesson.title}" for lesson, _ in lessons]
    return [head, *([w.student, w.first_name, w.last_name, w.email, *_totals(lessons, w)] for w in students)]


def _totals(lessons: list[tuple[Lesson, dict[str, Mark]]], who: Mark) -> list[str | float]:
    return [found[who.student].total if who.student in found else "" for _, found in lessons]
