"""Test the tests: every mistake must be rejected, every alternative accepted, by the visible check and the hidden cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grader.grading import grade_here
from grader.mistakes import Entry, entries_of
from vitcourse.checking import CheckFailed, run_check
from vitcourse.lessons import Lesson


@dataclass(frozen=True)
class Verdict:
    """What the two kinds of test say of one answer."""

    exercise: str
    name: str
    wrong: bool
    visible_passed: bool
    visible_message: str
    visible_mistake: str | None  # the mistake the visible check named
    hidden_passed: bool
    hidden_message: str
    hidden_mistake: str  # the mistake the hidden cases named

    @property
    def fine(self) -> bool:
        """A mistake is rejected by both and not misnamed; an alternative is accepted by both."""
        if self.wrong:
            named = {self.visible_mistake or self.name, self.hidden_mistake or self.name}
            return not self.visible_passed and not self.hidden_passed and named == {self.name}
        return self.visible_passed and self.hidden_passed


def judge_entry(entry: Entry, seed: int = 0) -> Verdict:
    """Run the visible check and the hidden cases on one answer."""
    visible, message, named = True, "", None
    try:
        run_check(entry.exercise, entry.answer)
    except CheckFailed as failure:
        visible, message, named = False, str(failure), failure.mistake
    hidden = grade_here(entry.exercise, entry.answer, seed)
    return Verdict(entry.exercise, entry.name, entry.wrong, visible, message, named, hidden.points == hidden.max_points,
                   hidden.detail, hidden.mistake)  # fmt: skip


def audit(chosen: Iterable[Lesson], seed: int = 0) -> list[Verdict]:
    """All verdicts of some lessons; the reference answer itself is the first entry of each exercise."""
    from grader.grading import reference

    verdicts = []
    for lesson in chosen:
        for exercise in lesson.exercises:
            own = Entry(exercise.id, "reference", "the reference answer", False, reference(exercise))
            verdicts += [judge_entry(e, seed) for e in (own, *entries_of(exercise.id))]
    return verdicts
