"""The points that count: what the gradebook says, manual points included."""

from __future__ import annotations

from dataclasses import dataclass, field

from grader.build import grade_id
from grader.course import Course
from grader.results import Result, load_all
from vitcourse.lessons import Lesson


@dataclass(frozen=True)
class Mark:
    """One submission's points: per exercise id, as they count. `manual` holds the ids that a person has graded, `comments` what a person wrote."""

    student: str
    first_name: str
    last_name: str
    email: str
    points: dict[str, float]
    manual: frozenset[str]
    result: Result | None
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.points.values())


def marks(course: Course, lesson: Lesson) -> list[Mark]:
    """All marks of a lesson, by student.

    Students of the gradebook who handed nothing in are not listed.
    """
    from nbgrader.api import MissingEntry

    results = {r.student: r for r in load_all(course.root, lesson.stem)}
    found = []
    with course.gradebook() as gradebook:
        try:
            submissions = gradebook.notebook_submissions(lesson.stem, lesson.stem)
        except MissingEntry:
            submissions = []
        for submission in submissions:
            student = submission.student
            grades = {g.name: g for g in submission.grades}
            written = {
                c.name.removesuffix("-answer"): c.manual_comment for c in submission.comments if c.manual_comment
            }
            comments = {e.id: written[grade_id(e.id)] for e in lesson.exercises if grade_id(e.id) in written}
            points, manual = {}, set()
            for exercise in lesson.exercises:
                grade = grades.get(grade_id(exercise.id))
                points[exercise.id] = float(grade.score) if grade is not None else 0.0
                if grade is not None and grade.manual_score is not None:
                    manual.add(exercise.id)
            found.append(Mark(student.id, student.first_name or "", student.last_name or "", student.email or "", points,
                              frozenset(manual), results.get(student.id), comments))  # fmt: skip
    return sorted(found, key=lambda m: m.student)
