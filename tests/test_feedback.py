"""Feedback, export and report: complete, escaped, silent about hidden tests, safe in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from grader import export, feedback, report
from grader.cases import cases_of
from grader.grading import CaseResult, ExerciseResult, Reason, grade_here
from grader.marks import Mark
from grader.mistakes import mistakes_of
from grader.results import CellRun, Note, Result
from vitcourse.lessons import Lesson, lessons

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
LESSON = next(x for x in lessons() if x.name == "attention")


def result(student: str, outcomes: list[ExerciseResult], notes: tuple[Note, ...] = ()) -> Result:
    first = LESSON.exercises[0].id
    cells = (CellRun("a", "ok", 0.1, (first,), output=f"printed {SCRIPT}"),)
    return Result(LESSON.stem, student, "graded", f"{LESSON.stem}.ipynb", "0" * 64, 1, "k", "", "2026-01-01T00:00:00", tuple(outcomes),
                  notes, cells)  # fmt: skip


def mark(student: str, reason: Reason = Reason.RIGHT, *, detail: str = "", mistake: str = "", manual: bool = False,
         last: str = "", notes: tuple[Note, ...] = ()) -> Mark:  # fmt: skip
    outcomes = []
    for e in LESSON.exercises:
        right = reason == Reason.RIGHT
        cases = tuple(CaseResult(c.name, c.about, c.points, right, "" if right else "off by 3") for c in cases_of(e.id))
        outcomes.append(ExerciseResult(e.id, e.points if right else 0.0, e.points, reason, detail, mistake, cases))
    points = {e.id: o.points for e, o in zip(LESSON.exercises, outcomes, strict=True)}
    if manual:
        points[LESSON.exercises[0].id] = 1.5
    by_hand = frozenset({LESSON.exercises[0].id} if manual else ())
    return Mark(student, "Ann", last, "ann@example.org", points, by_hand, result(student, outcomes, notes))


def rendered(found: Mark, code: str = "") -> str:
    cells = {f"{LESSON.exercises[0].id.replace('.', '-')}-answer": code}
    return feedback.render(LESSON, found, cells, feedback.hints_of(LESSON))


def test_everything_a_learner_wrote_is_escaped() -> None:
    page = rendered(mark(SCRIPT, Reason.ERROR, detail=SCRIPT, notes=(Note("renamed", SCRIPT),)), code=SCRIPT)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;") >= 5


def test_no_page_asks_the_network_for_anything() -> None:
    for page in (rendered(mark("a")), report.render(LESSON, [mark("a"), mark("b", Reason.TIMEOUT)])):
        assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
        assert "url(" not in page
        assert "default-src 'none'" in page


def test_feedback_names_the_mistake_gives_a_hint_and_hides_the_tests() -> None:
    entry = mistakes_of(LESSON.exercises[0].id)[0]
    graded = grade_here(entry.exercise, entry.answer, 3)
    page = rendered(mark("a", Reason.WRONG, detail=entry.words, mistake=entry.name))
    assert graded.mistake
    assert entry.words.split(",")[0] in page.replace("&#x27;", "'")
    assert "<summary>A hint</summary>" in page
    for case in cases_of(entry.exercise):
        assert "_" not in case.name or case.name not in page  # a plain word may stand in a description
    assert "draw." not in page
    assert "off by 3" not in page


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    page = rendered(mark("a", reason))
    assert feedback.WORDS[reason] in page


def test_points_set_by_hand_are_the_ones_shown() -> None:
    page = rendered(mark("a", Reason.WRONG, manual=True))
    assert "graded by hand" in page
    assert "a person has set 1.5" in page


def test_written_where_nbgrader_looks(tmp_path: Path) -> None:
    folder = tmp_path / "autograded" / "a" / LESSON.stem
    folder.mkdir(parents=True)
    answer = new_code_cell(
        "my_code = 1", metadata={"nbgrader": {"grade_id": f"{LESSON.exercises[0].id.replace('.', '-')}-answer"}}
    )
    nbformat.write(new_notebook(cells=[answer]), folder / f"{LESSON.stem}.ipynb")
    path = feedback.write(tmp_path, LESSON, mark("a"), {})
    assert path == tmp_path / "feedback" / "a" / LESSON.stem / f"{LESSON.stem}.html"
    assert "my_code = 1" in path.read_text()


@pytest.mark.parametrize("style", list(export.Format))
@pytest.mark.parametrize("bad", ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\t=1", " =1", "\r=1"])
def test_formulas_are_text(style: export.Format, bad: str) -> None:
    text = export.export([(LESSON, [mark(bad, last=bad)])], style)
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            assert not cell.lstrip(" ").startswith(export.FORMULA), cell


def test_csv_is_rfc_4180_and_reads_back() -> None:
    text = export.export([(LESSON, [mark("a", last='O"Neil, Jr'), mark("b\nc")])], export.Format.SPREADSHEET)
    assert text.endswith("\r\n")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len({len(r) for r in rows}) == 1
    assert rows[1][1] == 'O"Neil, Jr'
    assert rows[2][0] == "b\nc"
    assert float(rows[1][-2]) == LESSON.points


def test_who_handed_nothing_in_has_no_zero() -> None:
    other: Lesson = next(x for x in lessons() if x is not LESSON)
    rows = list(csv.reader(io.StringIO(export.export([(LESSON, [mark("a")]), (other, [])], export.Format.SPREADSHEET))))
    assert rows[1][-1] == "not handed in"
    assert rows[1][-2] == ""


def test_a_zero_has_its_reason() -> None:
    rows = list(
        csv.reader(io.StringIO(export.export([(LESSON, [mark("a", Reason.TIMEOUT)])], export.Format.SPREADSHEET)))
    )
    assert "timeout" in rows[1][-1]


def test_canvas_names_the_possible_points() -> None:
    rows = list(csv.reader(io.StringIO(export.export([(LESSON, [mark("a")])], export.Format.CANVAS))))
    assert rows[0][:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert rows[1][0] == "    Points Possible"
    assert float(rows[1][5]) == LESSON.points


def test_the_class_page_counts() -> None:
    entry = mistakes_of(LESSON.exercises[0].id)[0]
    found = [mark("a"), mark("b", Reason.WRONG, detail=entry.words, mistake=entry.name), mark("c", Reason.KERNEL_DIED)]
    page = report.render(LESSON, found)
    assert "33 %" in page
    assert "kernel died" in page
    assert 'alt="Histogram of the points of 3 submissions' in page
    assert "No submission of this lesson" in report.render(LESSON, [])
