"""The `grader` command."""

from __future__ import annotations

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


def main() -> None:
    """The console script."""
    app()
