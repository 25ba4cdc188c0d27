"""A class page: how the class did, which exercises and cases were hard, the commonest mistakes, and anything odd."""

from __future__ import annotations

import statistics
from collections import Counter
from html import escape

from grader.grading import Reason
from grader.marks import Mark
from grader.mistakes import mistakes_of
from grader.pages import page, table
from grader.results import clean
from vitcourse.lessons import Lesson

ODD = {Reason.TIMEOUT, Reason.KERNEL_DIED, Reason.OUT_OF_MEMORY, Reason.UNREADABLE, Reason.MISSING}


def render(lesson: Lesson, found: list[Mark]) -> str:
    """The page of one lesson."""
    graded = [m for m in found if m.result is not None]
    title = f"Lesson {lesson.number} · {lesson.title}: the class"
    if not graded:
        return page(title, f"<h1>{escape(title)}</h1><p>No submission of this lesson has been graded yet.</p>")
    totals = [m.total for m in graded]
    summary: list[list[str | float]] = [
        ["submissions", len(graded)],
        ["points, mean", round(statistics.mean(totals), 2)],
        ["points, median", statistics.median(totals)],
        ["points possible", lesson.points],
        ["graded by hand in part", sum(bool(m.manual) for m in graded)],
    ]
    body = [
        f"<h1>{escape(title)}</h1>",
        table(["what", "number"], summary, {1}, compact=True),
        "<h2>Points</h2>",
        _histogram(lesson, totals),
    ]
    body += ["<h2>Exercises</h2>", _exercises(lesson, graded), "<h2>Hidden cases</h2>", _cases(lesson, graded)]
    body += ["<h2>Commonest mistakes</h2>", _mistakes(lesson, graded), "<h2>Anything odd</h2>", _odd(lesson, graded)]
    body += ["<h2>Submissions</h2>", _submissions(lesson, graded)]
    return page(title, "\n".join(body))


def _histogram(lesson: Lesson, totals: list[float]) -> str:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    from vitcourse import plots

    with plots.style():
        fig, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
        bins = min(lesson.points, 20)
        counts, _, _ = axes.hist(totals, bins=bins, range=(0, lesson.points), color=plots.PALETTE[0], edgecolor="white")
        axes.set_xlabel("points")
        axes.set_ylabel("submissions")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    full = sum(t == lesson.points for t in totals)
    alt = (
        f"Histogram of the points of {len(totals)} submissions, from {min(totals):g} to {max(totals):g} of {lesson.points}; "
        f"{full} have all points; the fullest of {bins} bars holds {int(max(counts))}."
    )
    html = plots.figure_html(fig, alt)
    plt.close(fig)
    return html


def _exercises(lesson: Lesson, graded: list[Mark]) -> str:
    rows: list[list[str | float]] = []
    for e in lesson.exercises:
        reasons = Counter(str(m.result.exercise(e.id).reason) for m in graded if m.result is not None)
        right = reasons.pop("right", 0)
        others = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
        mean = statistics.mean(m.points[e.id] for m in graded)
        rows.append(
            [f"{e.number} {e.title}", f"{100 * right / len(graded):.0f} %", f"{mean:.1f} of {e.points}", others or "–"]
        )
    return table(["exercise", "all right", "mean points", "other results"], rows, {1, 2})


def _cases(lesson: Lesson, graded: list[Mark]) -> str:
    rows: list[list[str | float]] = []
    for e in lesson.exercises:
        tried = [m.result.exercise(e.id).cases for m in graded if m.result is not None]
        names = list(dict.fromkeys((c.name, c.about) for cases in tried for c in cases))
        for name, about in names:
            passed = [c.passed for cases in tried for c in cases if c.name == name]
            rows.append([f"{e.number} {e.title}", about, f"{100 * sum(passed) / len(passed):.0f} %", f"{len(passed)}"])
    return table(["exercise", "case", "passed", "of"], rows, {2, 3})


def _mistakes(lesson: Lesson, graded: list[Mark]) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for e in lesson.exercises:
        sentences = {m.name: m.words for m in mistakes_of(e.id)}
        for mark in graded:
            name = mark.result.exercise(e.id).mistake if mark.result is not None else ""
            if name:
                counts[f"{e.number} {e.title}", sentences.get(name, name)] += 1
    if not counts:
        return "<p>No answer equals a mistake of the catalogue.</p>"
    return table(["exercise", "mistake", "submissions"], [[e, s, n] for (e, s), n in counts.most_common(20)], {2})


def _odd(lesson: Lesson, graded: list[Mark]) -> str:
    """One row per student and kind: what was noted about the file, and exercises that ended in another way than wrong."""
    rows: list[list[str | float]] = []
    for mark in graded:
        assert mark.result is not None
        notes: dict[str, list[str]] = {}
        for note in mark.result.notes:
            if note.kind != "unreadable":  # the reason says it
                notes.setdefault(note.kind, []).append(note.text)
        for kind, said in notes.items():
            more = f" (and {len(said) - 1} more of this kind)" if len(said) > 1 else ""
            rows.append([mark.student, kind, clean(said[0], 240) + more])
        ends: dict[tuple[str, str], list[str]] = {}
        for e in lesson.exercises:
            result = mark.result.exercise(e.id)
            if result.reason in ODD:
                ends.setdefault((str(result.reason), result.detail), []).append(e.number)
        for (reason, detail), numbers in ends.items():
            plural = "exercises" if len(numbers) > 1 else "exercise"
            rows.append([mark.student, reason, f"{plural} {', '.join(numbers)}" + (f": {detail}" if detail else "")])
    return table(["student", "kind", "what"], rows) if rows else "<p>Nothing.</p>"


def _submissions(lesson: Lesson, graded: list[Mark]) -> str:
    head = ["student", *(e.number for e in lesson.exercises), "points", "seconds"]
    rows: list[list[str | float]] = []
    for m in graded:
        assert m.result is not None
        rows.append([m.student, *(m.points[e.id] for e in lesson.exercises), m.total, f"{m.result.timings.total:.1f}"])
    return table(head, rows, set(range(1, len(head))))
