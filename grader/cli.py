"""The `grader` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from grader.export import Format

if TYPE_CHECKING:
    from grader.audit import Verdict
    from grader.marks import Mark
    from vitcourse.lessons import Lesson

app = typer.Typer(
    help="Build, release, grade and audit the course.", no_args_is_help=True, pretty_exceptions_enable=False
)
console = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=160)  # in a log: wide tables
LessonArgument = Annotated[
    str | None, typer.Argument(help="a lesson: 3, 03, attention or 03_attention; all where it is left out")
]


def fail(message: str) -> typer.Exit:
    """Print an error and return the exit to raise."""
    console.print(f"[bold red]error:[/] {message}", highlight=False, soft_wrap=True)
    return typer.Exit(1)


@app.command()
def build(
    lesson: LessonArgument = None,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; fail with a diff when something committed is stale")
    ] = False,
) -> None:
    """Assemble the notebooks from text, solutions and cases."""
    from grader import build as builder
    from grader.paths import shown
    from grader.text import TextError

    try:
        committed, derived = builder.build_all(lesson)
    except (TextError, builder.BuildError) as error:
        raise fail(str(error)) from error
    if check:
        found = [(p, d) for p, d in builder.stale(committed) if lesson is None or p in committed]
        for path, diff in found:
            console.print(f"[bold]{shown(path)}[/] is stale", highlight=False)
            console.print(diff, markup=False, highlight=False)
        if found:
            raise fail("run `grader build` and commit what it writes")
        console.print(f"{len(committed)} committed files are up to date")
        return
    for path in builder.write(committed | derived):
        console.print(f"wrote {shown(path)}", highlight=False)
    console.print(f"{len(committed)} committed files and {len(derived)} files under build/ are up to date")


@app.command()
def audit(
    lesson: LessonArgument = None,
    extra: Annotated[
        Path | None, typer.Option("--extra", help="a folder with wrong/*.py and right/*.py to try instead")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="seeds per right answer")] = 20,
    mutants: Annotated[bool, typer.Option(help="also change the reference answers mechanically")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; one per core where it is left out")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="print every verdict, not only the problems")
    ] = False,
) -> None:
    """Test the tests: mistakes must be rejected, right answers accepted, by both kinds of test."""
    from grader import audit as auditor
    from grader.paths import BUILD

    if extra is not None:
        try:
            tried = auditor.extra(extra)
        except ValueError as error:
            raise fail(str(error)) from error
        for e in tried:
            _print_verdict(e.verdict, str(e.path))
        bad = [e for e in tried if e.verdict.problem]
        console.print(f"{len(tried)} answers, {len(bad)} not judged as their folder says")
        if bad:
            raise typer.Exit(1)
        return
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("auditing exercises", total=None)
        report = auditor.run(
            chosen_lessons(lesson), seeds=seeds, mutants=mutants, jobs=jobs,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    for v in report.verdicts:
        if (verbose and v.kind != "mutant") or v.problem:
            _print_verdict(v, v.name)
    for key in report.unused:
        console.print(
            f"✗ grader/mistakes/equivalent.py lists a mutant that does not exist: {key}", style="bold red", markup=False
        )
    auditor.write(report, BUILD)
    table = Table("what", "number", title="audit")
    for name, number in report.counts().items():
        table.add_row(name.replace("_", " "), str(number))
    console.print(table)
    console.print("written to build/audit.json and build/audit.html")
    if report.problems or report.unused:
        raise fail(f"{len(report.problems) + len(report.unused)} problems: the tests are not right yet")


def _print_verdict(v: Verdict, name: str) -> None:
    said = ["rejects", "accepts"]
    console.print(
        f"{'✗' if v.problem else '✓'} {v.exercise}  {name}  {v.kind}: visible check {said[v.visible_passed]}"
        f"{f' ({v.visible_mistake})' if v.visible_mistake else ''}, hidden cases {said[v.hidden_passed]}"
        f"{f' ({v.hidden_mistake})' if v.hidden_mistake else ''}. {v.problem + '. ' if v.problem else ''}"
        f"{v.visible_message or v.hidden_message}",
        style="bold red" if v.problem else None, markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def chosen_lessons(lesson: str | None) -> list[Lesson]:
    """The lessons an argument names; all where there is none. An unknown name ends the command with the known ones."""
    from vitcourse.lessons import lessons

    chosen = [x for x in lessons() if lesson in (None, x.stem, x.name, str(x.number), f"{x.number:02d}")]
    if not chosen:
        raise fail(f"there is no lesson {lesson!r}; known: {', '.join(x.stem for x in lessons())}")
    return chosen


# ------------------------------------------------------------------------------------------------------ a course's life

CourseOption = Annotated[Path, typer.Option("--course", "-C", help="the course folder", envvar="VIT_COURSE")]
LessonsArgument = Annotated[str, typer.Argument(help="a lesson: 3, 03, attention or 03_attention")]
DbOption = Annotated[str, typer.Option("--db", help="the gradebook's address, for SQLAlchemy; default: the course's")]


@app.command()
def init(course: Annotated[Path, typer.Argument(help="where")] = Path("course")) -> None:
    """Make a course folder in nbgrader's layout. The other commands do it themselves where it is missing."""
    from grader.course import Course

    made = Course(course).init()
    console.print(f"{course}: {len(made)} parts made" if made else f"{course} is complete", highlight=False)


@app.command()
def release(lesson: LessonsArgument, course: CourseOption = Path("course"), db: DbOption = "") -> None:
    """Release a lesson: learner notebook, `solutions/` of earlier lessons only, one zip; and enter it into the gradebook."""
    from grader.course import Course, CourseError, find_lesson
    from grader.text import TextError

    try:
        folder = Course(course, db).release(find_lesson(lesson))
    except (CourseError, TextError) as error:
        raise fail(str(error)) from error
    console.print(f"released into {folder}; as one file: {course}/bundles/{folder.name}.zip", highlight=False)


@app.command()
def autograde(
    lesson: LessonsArgument,
    course: CourseOption = Path("course"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="submissions at once; 0: one per core")] = 0,
    isolation: Annotated[str, typer.Option(help="sandbox, or none: unprotected, as in stock nbgrader")] = "",
    db: DbOption = "",
    regrade: Annotated[bool, typer.Option("--regrade", help="grade all again; shows what changes, then asks")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="with --regrade: do not ask")] = False,
    demos: Annotated[bool, typer.Option("--demos", help="also run the cells tagged demo")] = False,
    student: Annotated[list[str] | None, typer.Option("--student", help="only this student; may be repeated")] = None,
    dask: Annotated[str, typer.Option("--dask", help="address of a Dask scheduler that runs the submissions")] = "",
) -> None:
    """Grade what has been handed in. A run that was interrupted goes on where it was."""
    from grader.course import Course, CourseError, find_lesson
    from grader.execution.sandbox import SandboxError
    from grader.show import grade_with_progress, show_changes, show_summary

    if isolation not in ("", "sandbox", "none"):
        raise fail(f"--isolation is sandbox or none, not {isolation!r}")
    opened = Course(course, db)
    try:
        found = find_lesson(lesson)
        summary = grade_with_progress(
            console, opened, found, dask=dask, jobs=jobs, isolation=isolation, demos=demos or None,
            students=student, regrade=regrade,
        )  # fmt: skip
    except (CourseError, SandboxError, RuntimeError) as error:
        raise fail(str(error)) from error
    except KeyboardInterrupt:
        raise fail("interrupted; the same command goes on where this one was") from None
    if regrade and not summary.failed:
        from grader.autograde import apply_regrade, changes, drop_regrade

        difference = changes(opened, found, summary)
        show_changes(console, difference, len(summary.graded) + len(summary.skipped))
        if not (yes or typer.confirm("Write these results?")):
            drop_regrade(opened, found)
            raise fail("nothing was written")
        console.print(f"{apply_regrade(opened, found)} results written", highlight=False)
    else:
        show_summary(console, summary, found)
    if summary.failed:
        raise fail("the grader failed for " + ", ".join(f"{s} ({why})" for s, why in sorted(summary.failed.items())))


@app.command()
def collect(
    paths: Annotated[list[Path], typer.Argument(help="folders, zips of a learning platform, or single notebooks")],
    course: CourseOption = Path("course"),
    lesson: Annotated[
        str, typer.Option("--lesson", help="the lesson; where left out, each notebook says which it is")
    ] = "",
) -> None:
    """Sort what was handed in into `submitted/`, and report what is odd about it. The originals stay as they are."""
    from grader.collect import CollectError, collect_all
    from grader.course import Course, CourseError, find_lesson
    from grader.show import show_collected

    opened = Course(course)
    try:
        opened.init()
        report = collect_all(paths, opened, find_lesson(lesson) if lesson else None)
    except (CollectError, CourseError) as error:
        raise fail(str(error)) from error
    show_collected(console, report)
    if not report.collected:
        raise fail("nothing was collected")


@app.command()
def demo(
    lesson: Annotated[str, typer.Argument(help="a lesson, or all")] = "03",
    course: Annotated[Path | None, typer.Option("--course", "-C", help="where; default: a temporary folder")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="submissions at once; 0: one per core")] = 0,
    isolation: Annotated[str, typer.Option(help="sandbox, or none")] = "",
) -> None:
    """Make up a class, grade it end to end, and compare the scores with what they must be."""
    chosen = None if lesson == "all" else chosen_lessons(lesson)
    from grader.demo import run_demo
    from grader.execution.sandbox import SandboxError

    try:
        wrong = run_demo(console, course, chosen=chosen, jobs=jobs, isolation=isolation)
    except SandboxError as error:
        raise fail(str(error)) from error
    if wrong:
        raise fail(f"{wrong} scores are not what they must be")


# ------------------------------------------------------------------------------------------------------- what comes of it


def _marks(lesson: str | None, course: Path, db: str) -> tuple[list[tuple[Lesson, list[Mark]]], Path]:
    from grader.course import Course, CourseError, find_lesson
    from grader.marks import marks
    from vitcourse.lessons import lessons

    opened = Course(course, db)
    try:
        chosen = [find_lesson(lesson)] if lesson else list(lessons())
    except CourseError as error:
        raise fail(str(error)) from error
    if not opened.root.is_dir():
        raise fail(f"there is no course folder {course}: name it with --course, or run `grader autograde` first")
    found = [(x, marks(opened, x)) for x in chosen]
    found = [(x, m) for x, m in found if m]
    if not found:
        raise fail(f"nothing has been graded in {course}: run `grader autograde` first")
    return found, opened.root


@app.command()
def feedback(lesson: LessonsArgument, course: CourseOption = Path("course"), db: DbOption = "") -> None:
    """Write one page of feedback per submission, into nbgrader's `feedback/`."""
    from rich.progress import track

    from grader.feedback import hints_of, write

    for found, graded in _marks(lesson, course, db)[0]:
        hints = hints_of(found)
        for mark in track(graded, description="feedback", console=console, transient=True):
            write(course, found, mark, hints)
        console.print(
            f"{len(graded)} pages in {course}/feedback/<student>/{found.stem}/{found.stem}.html", highlight=False
        )


@app.command()
def export(
    lesson: LessonArgument = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="the CSV file; default: marks-<format>.csv in the course")
    ] = None,
    style: Annotated[Format, typer.Option("--format", help="who reads the file")] = Format.SPREADSHEET,
    course: CourseOption = Path("course"),
    db: DbOption = "",
) -> None:
    """Write the marks as CSV: what the gradebook says, points given by hand included."""
    from grader.export import export as to_text

    found, folder = _marks(lesson, course, db)
    path = to or folder / f"marks-{style}.csv"
    path.write_text(to_text(found, style), encoding="utf-8", newline="")
    students = len({m.student for _, marks in found for m in marks})
    console.print(f"{path}: {students} students, {len(found)} lessons", highlight=False)


@app.command()
def report(lesson: LessonsArgument, course: CourseOption = Path("course"), db: DbOption = "") -> None:
    """Write a page about the class: points, hard exercises and cases, commonest mistakes, anything odd."""
    from grader.report import render

    found, folder = _marks(lesson, course, db)
    for x, graded in found:
        path = folder / "reports" / f"{x.stem}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(x, graded), encoding="utf-8")
        console.print(f"{path}: {len(graded)} submissions", highlight=False)


def main() -> None:
    """The console script."""
    app()
