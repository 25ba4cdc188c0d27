"""What the commands print: progress with the time left, tables of scores and reasons."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.table import Table

from grader.grading import Reason
from grader.results import Note, clean
from vitcourse.lessons import Lesson

if TYPE_CHECKING:
    from grader.autograde import Change, Summary
    from grader.collect import Report
    from grader.course import Course
    from grader.results import Result

COLOURS = {Reason.RIGHT: "green", Reason.WRONG: "yellow", Reason.ERROR: "yellow", Reason.NOT_SOLVED: "dim"}


def grade_with_progress(console: Console, course: Course, lesson: Lesson, *, dask: str = "", **options: Any) -> Summary:
    """Grade a lesson with a progress bar."""
    from grader.autograde import grade, grade_on_dask

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TextColumn("left"), TimeLeft())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{lesson.stem}: starting", total=None)

        def started(count: int) -> None:
            bar.update(task, total=count, description=f"{lesson.stem}: grading")

        def progress(result: Result) -> None:
            bar.advance(task)
            if not console.is_terminal:  # in a log every submission is a line
                console.print(f"{escape(result.student)}: {result.points:g} of {result.max_points:g}", highlight=False)

        options = {**options, "started": started, "progress": progress}
        work = grade_on_dask(dask, course, lesson, **options) if dask else grade(course, lesson, **options)
        return asyncio.run(work)


def _mark(reason: Reason) -> str:
    return f"[{COLOURS.get(reason, 'red')}]{reason}[/]"


def score_table(lesson: Lesson, found: list[Result], title: str = "") -> Table:
    """Points and reasons, a row per student."""
    table = Table(title=title or None)
    table.add_column("student")
    table.add_column("points", justify="right")
    for exercise in lesson.exercises:
        table.add_column(f"{exercise.number} {exercise.name}" if len(lesson.exercises) < 4 else exercise.number)
    table.add_column("noted")
    for result in found:
        cells = [f"{e.points:g} {_mark(e.reason)}" for e in result.exercises]
        kinds = Counter(n.kind for n in result.notes if n.kind not in ("version", "extra"))
        noted = ", ".join(k if n == 1 else f"{k} ×{n}" for k, n in kinds.items())
        table.add_row(escape(result.student), f"{result.points:g}/{result.max_points:g}", *cells, escape(noted))
    return table


def show_summary(console: Console, summary: Summary, lesson: Lesson) -> None:
    """The table of what was graded, and what was not."""
    if summary.graded:
        console.print(score_table(lesson, summary.graded))
    per = summary.seconds / max(1, len(summary.graded))
    console.print(f"{len(summary.graded)} graded in {summary.seconds:.1f} s ({per:.2f} s each), {len(summary.skipped)} "
                  "had a result already", highlight=False)  # fmt: skip
    if summary.outdated:
        console.print(f"[yellow]{len(summary.outdated)} of these were graded with other hidden cases or limits; "
                      "`--regrade` shows what would change[/]", highlight=False)  # fmt: skip
    for result in summary.graded:
        if result.status == "unreadable":
            console.print(f"[red]{escape(result.student)}: {escape(result.exercises[0].detail)}[/]", highlight=False)


def show_changes(console: Console, found: list[Change], total: int) -> None:
    """What a regrade would change."""
    if not found:
        console.print(f"{total} submissions graded again: nothing changes", highlight=False)
        return
    table = Table("student", "exercise", "before", "after")
    for change in found:
        before = f"{change.before.points:g} {_mark(change.before.reason)}" if change.before else "–"
        table.add_row(escape(change.student), change.exercise, before,
                      f"{change.after.points:g} {_mark(change.after.reason)}")  # fmt: skip
    console.print(table)
    console.print(f"{len(found)} exercises change, of {len({c.student for c in found})} of {total} students",
                  highlight=False)  # fmt: skip


def _in_short(notes: tuple[Note, ...]) -> str:
    """The first note of each kind; feedback and report have them all."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kinds.setdefault(note.kind, []).append(note.text)
    return "; ".join(clean(t[0], 100) + (f" (×{len(t)})" if len(t) > 1 else "") for t in kinds.values())


def show_collected(console: Console, report: Report) -> None:
    """What was collected, and what was refused."""
    table = Table("student", "lesson", "from", "noted")
    for item in report.collected:
        table.add_row(escape(item.student), item.lesson, escape(item.source), escape(_in_short(item.notes)))
    if report.collected:
        console.print(table)
    for source, why in report.refused:
        console.print(f"[red]refused[/] {escape(source)}: {escape(why)}", highlight=False, soft_wrap=True)
    console.print(f"{len(report.collected)} collected, {len(report.refused)} refused", highlight=False)
