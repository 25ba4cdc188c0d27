"""Grade a lesson's submissions: repair, run, compare, record. Whatever one submission does, the others are graded.

The learner's code runs in `grader.execution`; expected values, comparison and the gradebook stay in this process, on one
thread of their own (random numbers and database sessions are not shared between threads). A result counts when its
`results.json` is written, which is the last step, so a run that is interrupted anywhere goes on where it was.
"""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output

from grader import results
from grader.cases import cases_of
from grader.course import Course, CourseError, Submitted, cases_file, earlier_solutions, now, probes_file
from grader.execution import runner
from grader.execution.provisioner import Template
from grader.execution.runner import Job, Run, TaskOutcome
from grader.execution.sandbox import SandboxError
from grader.grading import CaseResult, ExerciseResult, Reason, expected, score
from grader.repair import Candidate, Repaired, Unreadable, choose, empty_notebook, repair
from grader.results import CellRun, Note, Result, Timings, clean
from vitcourse.lessons import Exercise, Lesson
from vitcourse.probes import unpack

REASONS = {
    runner.TIMEOUT: Reason.TIMEOUT, runner.DIED: Reason.KERNEL_DIED, runner.MEMORY: Reason.OUT_OF_MEMORY,
    runner.MISSING: Reason.MISSING, runner.ERROR: Reason.ERROR, runner.TOO_LARGE: Reason.WRONG,
}  # fmt: skip
HELPERS_LEFT_OUT = (".ipynb", ".zip")
Progress = Callable[[Result], None]
Execute = Callable[[Job], Any]  # a coroutine function: Job → Run


@dataclass(frozen=True)
class Prepared:
    """A submission, ready to run; `job` is None where no notebook can be read."""

    submission: Submitted
    file: str
    notes: tuple[Note, ...]
    repaired: Repaired | None
    job: Job | None
    trouble: str = ""


@dataclass
class Summary:
    """What a run did."""

    graded: list[Result] = field(default_factory=list)
    skipped: list[Result] = field(default_factory=list)  # had a result already
    outdated: list[str] = field(default_factory=list)  # of these, students graded with other cases or limits
    failed: dict[str, str] = field(default_factory=dict)  # student → what went wrong in the grader itself
    seconds: float = 0.0


# -------------------------------------------------------------------------------------------------------------- prepare


def prepare(course: Course, lesson: Lesson, submission: Submitted, release: NotebookNode, *, isolation: str,
            demos: bool) -> Prepared:  # fmt: skip
    """Find the notebook among the files, repair it, and say what is to be run."""
    notes = [Note("files", r) for r in submission.refused]
    candidates = [Candidate(name, data, submission.changed[name]) for name, data in submission.files.items()
                  if name.lower().endswith(".ipynb")]  # fmt: skip
    try:
        chosen, cells, found = choose(candidates, lesson)
    except Unreadable as error:
        return Prepared(submission, "", tuple(notes), None, None, str(error))
    repaired = repair(cells, release, lesson)
    notes += [*found, *repaired.notes]
    job = job_of(repaired, lesson, course.seed(lesson, submission), {
        name: data for name, data in submission.files.items()
        if not name.lower().endswith(HELPERS_LEFT_OUT) and not name.startswith("solutions/")
    })  # fmt: skip
    grading = course.grading
    job = replace(job, budget=grading.budget, limits=grading.limits, isolation=isolation,
                  cells=cells_to_run(repaired, demos))  # fmt: skip
    return Prepared(submission, chosen.name, tuple(notes), repaired, job)


def cells_to_run(repaired: Repaired, demos: bool = False) -> tuple[runner.Cell, ...]:
    return tuple(runner.Cell(c.id, c.source, repaired.defines.get(c.id, ())) for c in repaired.to_run(demos))


def job_of(repaired: Repaired, lesson: Lesson, seed: int, files: dict[str, bytes] | None = None) -> Job:
    """What to run for a repaired notebook of a lesson. The learner's helper files lie beside it, earlier answers too."""
    return Job(
        cells=cells_to_run(repaired),
        tasks=tuple(runner.Task(e.id, e.objects) for e in lesson.exercises),
        cases=cases_file(lesson).read_text(encoding="utf-8"),
        probes=probes_file().read_text(encoding="utf-8"),
        seed=seed,
        files={**(files or {}), **earlier_solutions(lesson)},
    )


# ---------------------------------------------------------------------------------------------------------------- score


def decode(packed: bytes) -> dict[str, dict[str, Any]]:
    """What came back from a learner's process, checked: outcomes by case, each with a status. Odd data is dropped."""
    try:
        data = unpack(packed)
    except Exception:  # a stranger's bytes; whatever is wrong with them, they are no result
        return {}
    if not isinstance(data, dict):
        return {}
    outcomes = {}
    for name, outcome in data.items():
        if isinstance(outcome, dict) and isinstance(outcome.get("status"), str):
            for key in ("error", "message"):
                if key in outcome:
                    outcome[key] = clean(outcome[key], 100 if key == "error" else 300)
            outcomes[name] = outcome
    return outcomes


def without_hidden(text: str, cases: str) -> str:
    """An error message as it may be shown: not where it quotes the hidden cases."""
    lines = [line.strip() for line in cases.splitlines()]
    quoted = any(len(line) >= 16 and line in text for line in lines)
    return "(message left out: it quotes the grader)" if quoted else text


def evaluate(outcome: TaskOutcome, exercise: Exercise, job: Job) -> ExerciseResult:
    """Points and reason of one exercise. Runs the reference, never the learner's code."""
    if outcome.status != runner.RAN:
        detail = without_hidden(clean(outcome.detail, 500), job.cases)
        return nothing(exercise, REASONS.get(outcome.status, Reason.ERROR), detail)
    outcomes = decode(outcome.packed)
    for found in outcomes.values():
        if "message" in found:
            found["message"] = without_hidden(found["message"], job.cases)
    try:
        result = score(exercise.id, outcomes, job.seed)
    except RuntimeError:
        raise  # the reference fails its own case: the course is broken, not the answer
    except Exception as error:  # data that nobody foresaw: wrong, and the others go on
        return nothing(exercise, Reason.WRONG, f"the results have an unexpected form ({type(error).__name__})")
    memory = [o for o in outcomes.values() if o["status"] == "raised"
              and runner.is_memory_error(f"{o.get('error')}: {o.get('message')}")]  # fmt: skip
    if memory and result.reason in (Reason.ERROR, Reason.WRONG):
        result = replace(result, reason=Reason.OUT_OF_MEMORY)
    return result


def nothing(exercise: Exercise, reason: Reason, detail: str) -> ExerciseResult:
    """No points, with the reason."""
    cases = tuple(CaseResult(c.name, c.about, c.points, False, str(reason)) for c in cases_of(exercise.id))
    return ExerciseResult(exercise.id, 0.0, float(sum(c.points for c in cases)), reason, detail, "", cases)


def check_reference(lesson: Lesson) -> None:
    """Make sure that the reference passes its own cases before anyone is graded against it."""
    for exercise in lesson.exercises:
        for case in cases_of(exercise.id):
            expected(exercise.id, case, 0)


def finish(course: Course, lesson: Lesson, prepared: Prepared, run: Run | None, key: str, isolation: str,
           began: float) -> tuple[Result, NotebookNode]:  # fmt: skip
    """Compare what came back and put result and autograded notebook together."""
    mark = time.monotonic()
    submission, seed = prepared.submission, course.seed(lesson, prepared.submission)
    if run is None or prepared.job is None or prepared.repaired is None:
        exercises = tuple(nothing(e, Reason.UNREADABLE, prepared.trouble) for e in lesson.exercises)
        result = Result(lesson.stem, submission.student, "unreadable", "", submission.digest, seed, key,
                        submission.timestamp, now(), exercises, (*prepared.notes, Note("unreadable", prepared.trouble)),
                        isolation=isolation)  # fmt: skip
        return result, autograded(empty_notebook(course.released(lesson)), Run([], []), result, lesson)
    by_id = {t.exercise: t for t in run.tasks}
    exercises = tuple(evaluate(by_id[e.id], e, prepared.job) for e in lesson.exercises)
    defined = {c.id: c.exercises for c in prepared.job.cells}
    cells = tuple(
        CellRun(
            c.id, c.status, round(c.seconds, 3), defined[c.id], clean(_printed(c.outputs), 4000), clean(c.error, 500)
        )
        for c in run.cells
    )
    notes = (
        *prepared.notes,
        *(Note("skipped", f"cell {c.id}: {c.status}") for c in run.cells if c.status in runner.FATAL),
    )
    timings = Timings(round(run.start_seconds, 3), round(run.cell_seconds, 3), round(run.case_seconds, 3),
                      round(time.monotonic() - mark, 3), round(time.monotonic() - began, 3), run.restarts)  # fmt: skip
    result = Result(lesson.stem, submission.student, "graded", clean(prepared.file, 200), submission.digest, seed, key,
                    submission.timestamp, now(), exercises, notes, cells, timings, isolation)  # fmt: skip
    return result, autograded(prepared.repaired.notebook, run, result, lesson)


def _printed(outputs: list[dict[str, Any]]) -> str:
    parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs if o["output_type"] != "error"]
    return "".join(parts)


def autograded(notebook: NotebookNode, run: Run, result: Result, lesson: Lesson) -> NotebookNode:
    """The notebook that formgrader opens: the learner's cells with their outputs, points and reason under each check."""
    notebook = copy.deepcopy(notebook)
    outcomes = {c.id: c for c in run.cells}
    by_id = {e.id.replace(".", "-"): e.id for e in lesson.exercises}
    count = 0
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if cell.id in outcomes and outcomes[cell.id].status != runner.SKIPPED:
                count += 1
                cell.execution_count = count
                cell.outputs = [nbformat.from_dict(o) for o in outcomes[cell.id].outputs]
        if marks.get("grade") and marks["grade_id"] in by_id:
            found = result.exercise(by_id[marks["grade_id"]])
            words = f"{found.points:g} of {found.max_points:g} points: {found.reason}"
            detail = f". {found.detail}" if found.detail else ""
            cell.outputs = [new_output("stream", name="stdout", text=f"{words}{detail}\n")]
    return notebook


# ---------------------------------------------------------------------------------------------------------------- write


class Writer:
    """Writes results: notebook, gradebook, and at last `results.json`, which makes it count. One thread uses it."""

    def __init__(self, course: Course, lesson: Lesson) -> None:
        self.course, self.lesson = course, lesson
        self._book: Any = None

    def __call__(self, result: Result, notebook: NotebookNode) -> None:
        if self._book is None:
            self._book = self.course.gradebook()
        folder = results.path_of(self.course.root, result.lesson, result.student).parent
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / ".notebook.part"
        part.write_text(nbformat.writes(notebook), encoding="utf-8")
        os.replace(part, folder / f"{self.lesson.stem}.ipynb")
        if result.timestamp:
            (folder / "timestamp.txt").write_text(result.timestamp, encoding="utf-8")
        try:
            self.course.record(self._book, self.lesson, result)
        except Exception:
            self._book.db.rollback()
            raise
        results.save(self.course.root, result)

    def close(self) -> None:
        if self._book is not None:
            self._book.close()
            self._book = None


# ------------------------------------------------------------------------------------------------------------------ run


def stage(course: Course, lesson: Lesson) -> Path:
    """Where `--regrade` keeps new results until they are accepted."""
    return course.root / ".regrade" / lesson.stem


async def grade(
    course: Course,
    lesson: Lesson,
    *,
    jobs: int = 0,
    isolation: str = "",
    demos: bool | None = None,
    students: Iterable[str] | None = None,
    regrade: bool = False,
    execute: Execute = runner.run,
    progress: Progress = lambda result: None,
    started: Callable[[int], None] = lambda count: None,
) -> Summary:
    """Grade what is to be graded of one lesson.

    Args:
        jobs: submissions at once; 0: as configured.
        isolation: "sandbox" or "none"; empty: as configured.
        demos: also run demo cells; None: as configured.
        students: only these; None: all who handed in.
        regrade: grade everything again, into the stage; `apply_regrade` then writes it.
        execute: runs a job; another one sends it to another machine.
        progress: called after each submission.
        started: called once with the number of submissions to grade.

    Raises:
        SandboxError: this machine cannot run submissions as asked.
        RuntimeError: the lesson's reference fails its own cases.
    """
    began = time.monotonic()
    grading = course.grading
    isolation = isolation or str(grading.isolation)
    demos = bool(grading.run_demos) if demos is None else demos
    jobs = jobs or int(grading.jobs) or os.cpu_count() or 1
    course.init()
    if execute is runner.run:
        Template.get()  # imports torch while we import nbgrader
    release = course.released(lesson)
    summary = Summary()
    one = ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    writer = Writer(course, lesson)

    def to_do() -> list[tuple[Submitted, str]]:
        check_reference(lesson)
        found = []
        for student in course.students(lesson) if students is None else sorted(students):
            submission = course.submitted(lesson, student)
            key = course.key(lesson, submission, isolation, demos)
            old = _staged(course, lesson, student) if regrade else results.load(course.root, lesson.stem, student)
            if old is not None and (old.key == key or (not regrade and old.digest == submission.digest)):
                summary.skipped.append(old)
                if old.key != key:
                    summary.outdated.append(student)
            else:
                found.append((submission, key))
        return found

    async def one_submission(submission: Submitted, key: str) -> None:
        mark = time.monotonic()
        try:
            prepared = await loop.run_in_executor(
                None, lambda: prepare(course, lesson, submission, release, isolation=isolation, demos=bool(demos))
            )
            run = await execute(prepared.job) if prepared.job is not None else None
            result, notebook = await loop.run_in_executor(
                one, lambda: finish(course, lesson, prepared, run, key, isolation, mark)
            )
            if regrade:
                await loop.run_in_executor(one, lambda: _put_on_stage(course, lesson, result, notebook))
            else:
                await loop.run_in_executor(one, lambda: writer(result, notebook))
        except (SandboxError, CourseError):
            raise
        except Exception as error:  # a fault of the grader costs this submission, is shown, and stops nobody else
            summary.failed[submission.student] = f"{type(error).__name__}: {error}"
            return
        summary.graded.append(result)
        progress(result)

    try:
        waiting = await loop.run_in_executor(one, to_do)
        started(len(waiting))
        await _limited(jobs, [partial(one_submission, s, k) for s, k in waiting])
    finally:
        await loop.run_in_executor(one, writer.close)
        one.shutdown()
    summary.graded.sort(key=lambda r: r.student)
    summary.seconds = time.monotonic() - began
    return summary


async def _limited(count: int, makers: list[Callable[[], Any]]) -> None:
    """Run coroutines, `count` at a time; the first that raises stops all."""
    queue = iter(makers)

    async def worker() -> None:
        for make in queue:
            await make()

    tasks = [asyncio.create_task(worker()) for _ in range(min(count, len(makers)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -------------------------------------------------------------------------------------------------------------- regrade


@dataclass(frozen=True)
class Change:
    """One exercise whose points or reason a regrade would change; `before` is None where there was no result."""

    student: str
    exercise: str
    before: ExerciseResult | None
    after: ExerciseResult


def _staged(course: Course, lesson: Lesson, student: str) -> Result | None:
    try:
        return results.from_json((stage(course, lesson) / f"{student}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _put_on_stage(course: Course, lesson: Lesson, result: Result, notebook: NotebookNode) -> None:
    folder = stage(course, lesson)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.student}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    part = folder / f".{result.student}.part"
    part.write_text(results.to_json(result), encoding="utf-8")
    os.replace(part, folder / f"{result.student}.json")


def changes(course: Course, lesson: Lesson, summary: Summary) -> list[Change]:
    """What accepting a regrade would change."""
    found = []
    for result in sorted([*summary.graded, *summary.skipped], key=lambda r: r.student):
        old = results.load(course.root, lesson.stem, result.student)
        before = {e.exercise: e for e in old.exercises} if old else {}
        for after in result.exercises:
            was = before.get(after.exercise)
            if was is None or (was.points, was.max_points, was.reason) != (
                after.points,
                after.max_points,
                after.reason,
            ):
                found.append(Change(result.student, after.exercise, was, after))
    return found


def apply_regrade(course: Course, lesson: Lesson) -> int:
    """Write the staged results where they count; returns how many."""
    folder = stage(course, lesson)
    writer = Writer(course, lesson)
    count = 0
    try:
        for path in sorted(folder.glob("*.json")):
            result = results.from_json(path.read_text(encoding="utf-8"))
            writer(result, nbformat.read(path.with_suffix(".ipynb"), as_version=4))
            path.unlink()
            path.with_suffix(".ipynb").unlink()
            count += 1
    finally:
        writer.close()
    drop_regrade(course, lesson)
    return count


def drop_regrade(course: Course, lesson: Lesson) -> None:
    """Throw the staged results away."""
    import shutil

    shutil.rmtree(stage(course, lesson), ignore_errors=True)


# ----------------------------------------------------------------------------------------------------------------- dask


def run_here(job: Job) -> Run:
    """Run a job in this process; what a Dask worker calls."""
    return asyncio.run(runner.run(job))


async def grade_on_dask(address: str, course: Course, lesson: Lesson, *, jobs: int = 0, **options: Any) -> Summary:
    """Like `grade`, with the submissions run by the workers of a Dask cluster. Scores are still given here."""
    from distributed import Client

    async with Client(address, asynchronous=True) as client:
        workers = sum((await client.nthreads()).values()) if hasattr(client, "nthreads") else 0

        async def execute(job: Job) -> Run:
            return await client.submit(run_here, job, pure=False)

        return await grade(course, lesson, jobs=jobs or workers or 4, execute=execute, **options)
