"""The `grader` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from grader.audit import Verdict
    from vitcourse.lessons import Lesson

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


def main() -> None:
    """The console script."""
    app()
