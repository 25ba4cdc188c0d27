"""The `grader` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    help="Build, release, grade and audit the course.", no_args_is_help=True, pretty_exceptions_enable=False
)
console = Console()
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
def audit(lesson: LessonArgument = None) -> None:
    """Run the visible checks and the hidden cases on the catalogue of mistakes and alternatives."""
    from grader.audit import audit as run
    from vitcourse.lessons import lessons

    chosen = [x for x in lessons() if lesson in (None, x.stem, x.name, str(x.number), f"{x.number:02d}")]
    if not chosen:
        raise fail(f"there is no lesson {lesson!r}")
    verdicts = run(chosen)
    said = ["rejects", "accepts"]
    for v in verdicts:
        console.print(
            f"{'✓' if v.fine else '✗'} {v.exercise}:{v.name} ({'mistake' if v.wrong else 'right'}): visible {said[v.visible_passed]} "
            f"[{v.visible_mistake or '–'}], hidden {said[v.hidden_passed]} [{v.hidden_mistake or '–'}]  "
            f"{v.visible_message or v.hidden_message}",
            style=None if v.fine else "bold red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    wrong = [v for v in verdicts if v.wrong]
    bad = [v for v in verdicts if not v.fine]
    console.print(
        f"{len(wrong)} mistakes, {len(verdicts) - len(wrong)} right answers; {len(bad)} verdicts are not as they must be; "
        f"named by the visible check {sum(bool(v.visible_mistake) for v in wrong)}, by the hidden cases {sum(bool(v.hidden_mistake) for v in wrong)}"
    )
    if bad:
        raise fail("the tests are not right yet: " + ", ".join(f"{v.exercise}:{v.name}" for v in bad[:8]))


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
    course: Annotated[Path | None, typer.Option("--course", "-C", help="where; default: a temporary folder")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="submissions at once; 0: one per core")] = 0,
    isolation: Annotated[str, typer.Option(help="sandbox, or none")] = "",
) -> None:
    """Make up a class, grade it end to end, and compare the scores with what they must be."""
    from grader.demo import run_demo
    from grader.execution.sandbox import SandboxError

    try:
        wrong = run_demo(console, course, jobs=jobs, isolation=isolation)
    except SandboxError as error:
        raise fail(str(error)) from error
    if wrong:
        raise fail(f"{wrong} scores are not what they must be")


def main() -> None:
    """The console script."""
    app()
