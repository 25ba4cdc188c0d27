"""The same submissions through stock `nbgrader autograde` and through `grader autograde`, in one run, chunk by chunk.

    python -m benchmarks.grading                              # 30 submissions of lesson 03, chunks of 6
    python -m benchmarks.grading --submissions 6 --stock 3    # short: stock grades only 3 of them
    python -m benchmarks.grading --scale 300                  # then `grader` alone on 30 and on 300

A third of the submissions hold the reference answers, a third other styles, a third mistakes of the catalogue. Both
graders get fresh course folders, released beforehand. A chunk goes through one grader, then the other; who is first
alternates, so that a machine's other work falls on both. Each chunk counts with its start-up: small chunks favour
neither, but say little about large classes. Both run with their defaults: stock nbgrader runs every cell of the
notebook, also the ones tagged `demo`, and torch with all cores; `grader` skips the demos and runs one thread per
submission, several submissions at once. Writes `build/bench/grading.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat.notebooknode import NotebookNode
from rich.console import Console
from rich.table import Table

from grader import build
from grader.course import Course, earlier_solutions, find_lesson
from grader.mistakes import Entry, alternatives_of, mistakes_of
from grader.paths import BUILD, ROOT, SOLUTIONS
from grader.results import load_all
from grader.text import read_text
from vitcourse.lessons import Exercise, Lesson

OUT = BUILD / "bench" / "grading.json"
PACKAGE = "benchmark_answers"  # the catalogue under a name of its own: stock nbgrader's kernel has `grader` loaded
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
}  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """One made-up submission: the notebook and the files beside it."""

    student: str
    notebook: str
    files: dict[str, bytes]


@dataclass
class Chunk:
    """One call of one grader."""

    tool: str
    submissions: int
    seconds: float
    own_seconds: list[float]  # per submission: the learner's cells and the hidden cases
    total_seconds: list[float]  # per submission, where the tool says it
    peak_mb: float
    points: dict[str, float]


# ------------------------------------------------------------------------------------------------------- submissions


def answer_files(lesson: Lesson) -> dict[str, bytes]:
    """The catalogue and the answers it builds on, as a package that a notebook can import in either grader."""
    catalogue = (ROOT / "grader" / "mistakes" / f"{lesson.name}.py").read_text(encoding="utf-8")
    own = (SOLUTIONS / f"{lesson.name}.py").read_text(encoding="utf-8")
    renamed = catalogue.replace("grader.mistakes", PACKAGE).replace(f"solutions.{lesson.name}", f"{PACKAGE}.reference")
    return {
        f"{PACKAGE}/__init__.py": (ROOT / "grader/mistakes/__init__.py").read_bytes(),
        f"{PACKAGE}/{lesson.name}.py": renamed.encode(),
        f"{PACKAGE}/reference.py": own.encode(),
    }


def answer_cell(exercise: Exercise, entry: Entry) -> str:
    """A cell that answers an exercise with an entry of the catalogue."""
    code = f"from {PACKAGE} import entries_of\n"
    code += f'_answer = next(e.answer for e in entries_of("{exercise.id}") if e.name == "{entry.name}")\n'
    if len(exercise.objects) == 1:
        return f"{code}{exercise.objects[0]} = _answer"
    return code + "\n".join(f"{name} = _answer.{name}" for name in exercise.objects)


def submissions(lesson: Lesson, count: int, learner: NotebookNode, source: NotebookNode) -> list[Submission]:
    """A third perfect, a third in other styles, a third mistaken, mixed."""
    from grader.demo import with_answers

    by_grade_id = {build.grade_id(e.id): e for e in lesson.exercises}
    files = answer_files(lesson) | earlier_solutions(lesson)
    found = []
    for number in range(count):
        entries: dict[str, Entry] = {}
        for e in lesson.exercises:
            choice = [[], alternatives_of(e.id), mistakes_of(e.id)][number % 3]
            if choice:
                entries[e.id] = choice[number // 3 % len(choice)]

        def change(grade_id: str, code: str, entries: dict[str, Entry] = entries) -> str:
            exercise = by_grade_id[grade_id]
            return answer_cell(exercise, entries[exercise.id]) if exercise.id in entries else code

        notebook = with_answers(learner, source, change)
        kind = ("perfect", "style", "mistaken")[number % 3]
        found.append(Submission(f"{kind}-{number:03d}", nbformat.writes(notebook), files))
    return found


def hand_in(course: Path, lesson: Lesson, chosen: list[Submission]) -> None:
    for submission in chosen:
        folder = course / "submitted" / submission.student / lesson.stem
        content = {f"{lesson.stem}.ipynb": submission.notebook.encode()} | submission.files
        for name, data in content.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


# ------------------------------------------------------------------------------------------------------------ measure


def memory_mb(process: psutil.Process) -> float:
    """The proportional share of memory, so that what forks have in common counts once; resident where it is refused."""
    with contextlib.suppress(OSError, StopIteration), open(f"/proc/{process.pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss / 2**20
    return 0.0


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; returns seconds and the peak memory of its processes in MB."""
    log = folder / "benchmark.log"
    peak, stop = 0.0, threading.Event()
    with log.open("ab") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file)

        def watch() -> None:
            nonlocal peak
            parent = psutil.Process(process.pid)
            while not stop.wait(0.5):
                with contextlib.suppress(psutil.Error):
                    peak = max(peak, sum(memory_mb(p) for p in [parent, *parent.children(recursive=True)]))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        status = process.wait()
        seconds = time.perf_counter() - began
        stop.set()
        watcher.join()
    if status:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-4000:]}")
    return seconds, peak


def scores(course: Path, lesson: Lesson, chosen: list[Submission]) -> dict[str, float]:
    with Course(course).gradebook() as book:
        return {s.student: float(book.find_submission(lesson.stem, s.student).score) for s in chosen}


def cell_seconds(path: Path) -> float:
    """How long the cells of a notebook ran that nbconvert has executed."""
    total = 0.0
    for cell in nbformat.read(path, as_version=4).cells:
        times = cell.metadata.get("execution", {})
        if "iopub.execute_input" in times and "shell.execute_reply" in times:
            begin, end = (datetime.fromisoformat(times[k].replace("Z", "+00:00"))
                          for k in ("iopub.execute_input", "shell.execute_reply"))  # fmt: skip
            total += (end - begin).total_seconds()
    return total


def stock(folder: Path, lesson: Lesson, chosen: list[Submission], source: Path) -> Chunk:
    """One chunk through stock nbgrader, with the source notebook that `grader build` makes."""
    target = folder / "source" / lesson.stem
    target.mkdir(parents=True)
    shutil.copy(source, target)
    (folder / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "vit"\n')
    nbgrader = [sys.executable, "-m", "nbgrader"]
    timed([*nbgrader, "generate_assignment", lesson.stem], folder)
    hand_in(folder, lesson, chosen)
    seconds, peak = timed([*nbgrader, "autograde", lesson.stem], folder)
    paths = [folder / "autograded" / s.student / lesson.stem / f"{lesson.stem}.ipynb" for s in chosen]
    return Chunk("stock", len(chosen), seconds, [cell_seconds(p) for p in paths], [], peak,
                 scores(folder, lesson, chosen))  # fmt: skip


def ours(folder: Path, lesson: Lesson, chosen: list[Submission], jobs: int) -> Chunk:
    """One chunk through `grader autograde`."""
    Course(folder).release(lesson)
    hand_in(folder, lesson, chosen)
    command = [sys.executable, "-m", "grader", "autograde", lesson.stem, "-C", str(folder), "--jobs", str(jobs)]
    seconds, peak = timed(command, folder)
    found = load_all(folder, lesson.stem)
    return Chunk("grader", len(chosen), seconds, [r.timings.cells + r.timings.cases for r in found],
                 [r.timings.total for r in found], peak, scores(folder, lesson, chosen))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ put together


def summary(chunks: list[Chunk], tool: str, jobs: int) -> dict[str, float]:
    """Medians over the chunks of one tool."""
    own = [c for c in chunks if c.tool == tool]
    busy = statistics.median(s for c in own for s in c.own_seconds)
    if tool == "grader":  # submissions run side by side: each one's own clock
        overhead = statistics.median(t - o for c in own for t, o in zip(c.total_seconds, c.own_seconds, strict=True))
    else:  # one after the other: the wall clock, start-up shared out
        overhead = statistics.median((c.seconds - sum(c.own_seconds)) / c.submissions for c in own)
    return {
        "seconds_per_submission": statistics.median(c.seconds / c.submissions for c in own),
        "cells_and_cases_seconds": busy,
        "overhead_seconds_per_submission": overhead,
        "peak_mb": max(c.peak_mb for c in own),
        "jobs": jobs if tool == "grader" else 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=30)
    parser.add_argument("--stock", type=int, help="how many of them stock nbgrader grades too; default: all")
    parser.add_argument("--chunk", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=0, help="of grader; 0: one per core")
    parser.add_argument(
        "--scale", type=int, help="also grade this many with grader alone, and compare with --submissions"
    )
    parser.add_argument("--lesson", default="03")
    options = parser.parse_args()
    lesson, console = find_lesson(options.lesson), Console()
    jobs = options.jobs or os.cpu_count() or 1
    made = build.build(read_text(build.TEXT / f"{lesson.stem}.md"))
    all_of_them = submissions(lesson, max(options.submissions, options.scale or 0), made.learner, made.source)
    chosen = all_of_them[: options.submissions]
    compared = len(chosen) if options.stock is None else min(options.stock, len(chosen))
    chunks: list[Chunk] = []
    growth: dict[str, Any] = {}

    def show(chunk: Chunk) -> Chunk:
        console.print(f"{chunk.tool}: {chunk.submissions} in {chunk.seconds:.1f} s "
                      f"({chunk.seconds / chunk.submissions:.2f} s each)", highlight=False)  # fmt: skip
        return chunk

    with tempfile.TemporaryDirectory(prefix="vit-bench-") as temporary:
        root = Path(temporary)
        source = root / f"{lesson.stem}.ipynb"
        source.write_text(build.written(made.source), encoding="utf-8")
        for number, first in enumerate(range(0, len(chosen), options.chunk)):
            part = chosen[first : first + options.chunk]
            both = part[: max(0, compared - first)]
            calls = [lambda n=number, p=part: ours(root / f"grader-{n}", lesson, p, jobs)]
            if both:
                calls.append(lambda n=number, p=both: stock(root / f"stock-{n}", lesson, p, source))
            for call in calls if number % 2 else reversed(calls):
                chunks.append(show(call()))
        if options.scale:
            few = show(ours(root / "few", lesson, chosen, jobs))
            many = show(ours(root / "many", lesson, all_of_them, jobs))
            growth = {
                "few": asdict(few), "many": asdict(many),
                "time_growth": many.seconds / few.seconds,
                "submission_growth": many.submissions / few.submissions,
                "per_submission_growth": many.seconds / many.submissions * few.submissions / few.seconds,
                "memory_growth": many.peak_mb / few.peak_mb if few.peak_mb else None,
            }  # fmt: skip

    ours_says = {s: p for c in chunks if c.tool == "grader" for s, p in c.points.items()}
    stock_says = {s: p for c in chunks if c.tool == "stock" for s, p in c.points.items()}
    result: dict[str, Any] = {
        "lesson": lesson.stem, "submissions": len(chosen), "compared": compared, "chunk": options.chunk,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version(),
                    "load": os.getloadavg()},
        "grader": summary(chunks, "grader", jobs),
        "stock": summary(chunks, "stock", jobs) if stock_says else None,
        "different_points": {s: [p, ours_says[s]] for s, p in stock_says.items() if abs(p - ours_says[s]) > 1e-9},
        "growth": growth, "chunks": [asdict(c) for c in chunks],
    }  # fmt: skip
    if stock_says:
        result["throughput_ratio"] = (
            result["stock"]["seconds_per_submission"] / result["grader"]["seconds_per_submission"]
        )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    table = Table("", "stock nbgrader", f"grader, {jobs} jobs", title=f"{lesson.stem}: {len(chosen)} submissions")
    for key, words in (
        ("seconds_per_submission", "seconds per submission, median of chunks"),
        ("cells_and_cases_seconds", "of it the learner's cells and the cases"),
        ("overhead_seconds_per_submission", "overhead per submission"),
        ("peak_mb", "peak memory, MB"),
    ):
        table.add_row(words, f"{result['stock'][key]:.2f}" if stock_says else "–", f"{result['grader'][key]:.2f}")
    console.print(table)
    if stock_says:
        console.print(f"throughput: {result['throughput_ratio']:.1f} times stock; "
                      f"other points in {len(result['different_points'])} of {len(stock_says)}", highlight=False)  # fmt: skip
    if growth:
        console.print(f"from {growth['few']['submissions']} to {growth['many']['submissions']} submissions: time × "
                      f"{growth['time_growth']:.2f}, memory × {growth['memory_growth'] or 0:.2f}", highlight=False)  # fmt: skip
    console.print(f"written to {OUT.relative_to(ROOT)}", highlight=False)


if __name__ == "__main__":
    main()
