"""Test the tests: every mistake must be rejected, every right answer accepted, by the visible check and the hidden cases.

For each exercise: the reference and its alternatives (accepted, for many seeds, in float32 and float64, with one and two
threads), the catalogue's mistakes (rejected, whatever the seed, and never called by another mistake's name), and the
mechanical mutants of the reference (rejected by the hidden cases unless listed as equivalent).
"""

from __future__ import annotations

import contextlib
import html
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from grader.cases import cases_of
from grader.grading import grade_here, judge, reference
from grader.mistakes import Entry, entries_of
from grader.mistakes.equivalent import EQUIVALENT
from grader.mutants import answer_of, mutants_of, source_of
from vitcourse.checking import CheckFailed, run_check
from vitcourse.lessons import Exercise, Lesson, exercise
from vitcourse.probes import run_probe

SECONDS_PER_ANSWER = 20  # an answer that loops for ever is a wrong answer


@dataclass(frozen=True)
class Verdict:
    """What the two kinds of test say of one answer. `kind` is "mistake" (of the catalogue), "right", "mutant" or "wrong"
    (an extra answer)."""

    exercise: str
    name: str
    kind: str
    visible_passed: bool
    visible_message: str
    visible_mistake: str | None  # the mistake the visible check named
    hidden_passed: bool
    hidden_message: str
    hidden_mistake: str  # the mistake the hidden cases named
    note: str = ""

    @property
    def problem(self) -> str:
        """What is wrong with the tests, or nothing."""
        if self.kind == "right":
            by = [
                w
                for w, p in (("the visible check", self.visible_passed), ("the hidden cases", self.hidden_passed))
                if not p
            ]
            return f"right answer rejected by {' and '.join(by)}" if by else ""
        if self.kind == "mutant":
            return "" if not self.hidden_passed else "mutant not noticed by the hidden cases"
        by = [w for w, p in (("the visible check", self.visible_passed), ("the hidden cases", self.hidden_passed)) if p]
        if by:
            return f"mistake accepted by {' and '.join(by)}"
        if self.kind == "wrong":
            return ""  # an extra answer has no name in the catalogue
        wrong = {self.visible_mistake, self.hidden_mistake} - {self.name, None, ""}
        return f"called by the name of another mistake: {', '.join(sorted(str(w) for w in wrong))}" if wrong else ""


@dataclass
class Report:
    """The verdicts of an audit, and how many case runs of right answers it made."""

    verdicts: list[Verdict] = field(default_factory=list)
    case_runs: int = 0
    equivalent: int = 0
    unused: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[Verdict]:
        return [v for v in self.verdicts if v.problem]

    def counts(self) -> dict[str, int]:
        """The numbers of `build/audit.json`."""
        wrong = [v for v in self.verdicts if v.kind == "mistake"]
        right = [v for v in self.verdicts if v.kind == "right"]
        mutants = [v for v in self.verdicts if v.kind == "mutant"]
        return {
            "mistakes": len(wrong),
            "caught_by_visible": sum(not v.visible_passed for v in wrong),
            "caught_by_hidden": sum(not v.hidden_passed for v in wrong),
            "named_by_visible": sum(v.visible_mistake == v.name for v in wrong),
            "named_by_hidden": sum(v.hidden_mistake == v.name for v in wrong),
            "misnamed": sum("another mistake" in v.problem for v in wrong),
            "alternatives": sum(v.name != "reference" for v in right),
            "accepted_by_visible": sum(v.visible_passed for v in right if v.name != "reference"),
            "accepted_by_hidden": sum(v.hidden_passed for v in right if v.name != "reference"),
            "mutants": len(mutants),
            "killed": sum(not v.hidden_passed for v in mutants),
            "equivalent_mutants": self.equivalent,
            "case_runs_of_right_answers": self.case_runs,
            "problems": len(self.problems),
        }


class TooSlow(BaseException):
    """An answer did not come to an end. Not an `Exception`: a check that catches those must let it through."""


@contextlib.contextmanager
def time_limit(seconds: int = SECONDS_PER_ANSWER) -> Iterator[None]:
    """Interrupt what runs inside after some seconds (POSIX, main thread; elsewhere there is no limit)."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooSlow(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge_answer(exercise_id: str, name: str, kind: str, answer: Any, seeds: Iterable[int] = (0,)) -> Verdict:
    """Run the visible check once and the hidden cases for each seed. A right answer must pass for every seed, and a
    wrong one must fail for every seed; the first seed that says otherwise is the one reported."""
    visible, message, named = True, "", None
    try:
        with time_limit():
            run_check(exercise_id, answer)
    except CheckFailed as failure:
        visible, message, named = False, str(failure), failure.mistake
    except TooSlow as slow:
        visible, message = False, str(slow)
    hidden, detail, mistake = kind == "right", "", ""
    for index, seed in enumerate(seeds):
        try:
            with time_limit():
                result = grade_here(exercise_id, answer, seed, diagnose=kind == "mistake")
        except TooSlow as slow:
            hidden, detail = False, str(slow)
            break
        passed = result.points == result.max_points
        if index == 0:
            hidden, detail, mistake = passed, result.detail, result.mistake
        if passed != (kind == "right"):
            hidden = passed
            detail = f"seed {seed}: {result.detail or 'all cases passed'}"
            break
    return Verdict(exercise_id, name, kind, visible, message, named, hidden, detail, mistake)


@contextlib.contextmanager
def precision(dtype: torch.dtype, threads: int) -> Iterator[None]:
    """Run what is inside with another default dtype and number of threads."""
    dtype_before, threads_before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype_before)
        torch.set_num_threads(threads_before)


def audit_exercise(exercise_id: str, seeds: int = 20, mutants: bool = True) -> Report:
    """Everything about one exercise."""
    found = exercise(exercise_id)
    report = Report()
    own = Entry(exercise_id, "reference", "the reference answer", False, reference(found))
    for entry in (own, *entries_of(exercise_id)):
        if entry.wrong:
            report.verdicts.append(judge_answer(exercise_id, entry.name, "mistake", entry.answer, range(3)))
            continue
        verdict = judge_answer(exercise_id, entry.name, "right", entry.answer, range(seeds))
        if not verdict.problem:
            with precision(torch.float64, 2):
                in_double = judge_answer(exercise_id, entry.name, "right", entry.answer, range(max(2, seeds // 4)))
            verdict = in_double if in_double.problem else verdict
        report.case_runs += (seeds + max(2, seeds // 4)) * len(cases_of(exercise_id))
        report.verdicts.append(verdict)
    if mutants:
        _audit_mutants(found, report)
    return report


def _audit_mutants(found: Exercise, report: Report) -> None:
    known = {key for key in EQUIVALENT if key.startswith(f"{found.id}: ")}
    # First the source as it stands, taken the same way: were it refused, every mutant would seem to be noticed.
    unchanged = _judge_source(found, "unchanged", source_of(found))
    if not unchanged.hidden_passed:
        raise RuntimeError(f"{found.id}: the cases refuse the reference's own source: {unchanged.hidden_message}")
    for mutant in mutants_of(found):
        if mutant.id in known:
            known.remove(mutant.id)
            report.equivalent += 1
        else:
            report.verdicts.append(_judge_source(found, mutant.change, mutant.source))
    report.unused += sorted(known)


def _judge_source(found: Exercise, name: str, source: str) -> Verdict:
    """The verdict of the hidden cases on a mutant, by the first case that fails; the visible check is not asked."""
    detail = ""
    try:
        with time_limit():
            answer = answer_of(found, source)
            for case in cases_of(found.id):
                result = judge(case, run_probe(case, answer, 0), 0)
                if not result.passed:
                    detail = result.why
                    break
    except (Exception, TooSlow) as error:  # a module that does not even run
        detail = f"{type(error).__name__}: {error}"
    return Verdict(found.id, name, "mutant", False, "", None, not detail, detail, "")


def _worker(threads: int) -> None:
    torch.set_num_threads(threads)


def run(
    chosen: Iterable[Lesson], *, seeds: int = 20, mutants: bool = True, jobs: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:  # fmt: skip
    """Audit lessons, exercises in parallel; `progress(done, total)` is called after each."""
    ids = [e.id for lesson in chosen for e in lesson.exercises]
    jobs = jobs or min(len(ids), os.cpu_count() or 1) or 1
    reports: dict[str, Report] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_worker, initargs=(1,)) as pool:
        pending = {pool.submit(audit_exercise, i, seeds, mutants): i for i in ids}
        for done, future in enumerate(as_completed(pending), 1):
            reports[pending[future]] = future.result()
            progress(done, len(ids))
    total = Report()
    for i in ids:
        total.verdicts += reports[i].verdicts
        total.case_runs += reports[i].case_runs
        total.equivalent += reports[i].equivalent
        total.unused += reports[i].unused
    return total


# ------------------------------------------------------------------------------------------------------ extra answers


@dataclass(frozen=True)
class Extra:
    """One file of `--extra DIR`: `wrong/*.py` must be rejected, `right/*.py` accepted."""

    path: Path
    verdict: Verdict


def extra(folder: Path) -> list[Extra]:
    """Try other people's answers.

    The first line of each file is `# exercise: attention.scaled_dot_product_attention`; the rest defines the object(s)
    the learner would write. It sees the names the notebook gives: imports, given code, the other exercises' objects.

    Raises:
        ValueError: the folder has neither `wrong/` nor `right/`, or a file's first line names no exercise.
    """
    files = [(p, kind) for kind in ("wrong", "right") for p in sorted((folder / kind).glob("*.py"))]
    if not files:
        raise ValueError(f"{folder} holds no wrong/*.py and no right/*.py")
    return [Extra(path, _judge_file(path, kind)) for path, kind in files]


def _judge_file(path: Path, kind: str) -> Verdict:
    source = path.read_text(encoding="utf-8")
    first = source.split("\n", 1)[0].strip()
    if not first.startswith("# exercise:"):
        raise ValueError(f"{path}:1: the first line must be `# exercise: <id>`")
    exercise_id = first.removeprefix("# exercise:").strip()
    try:
        found = exercise(exercise_id)
    except KeyError as error:
        raise ValueError(f"{path}:1: {error.args[0]}") from error
    try:
        with time_limit():
            answer = answer_of(found, source, str(path), whole=False)
    except (Exception, TooSlow) as error:  # a file that does not even run is a rejected answer
        said = f"the file does not run: {type(error).__name__}: {error}"
        return Verdict(exercise_id, path.stem, kind, False, said, None, False, said, "")
    return judge_answer(exercise_id, path.stem, kind, answer, range(3))


# ---------------------------------------------------------------------------------------------------------- what stays


def write(report: Report, folder: Path) -> None:
    """Write `audit.json` and `audit.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [asdict(v) | {"problem": v.problem} for v in report.verdicts]
    content = {"counts": report.counts(), "unused_equivalents": report.unused, "verdicts": entries}
    (folder / "audit.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "audit.html").write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The matrix as one self-contained HTML page."""
    rows, last = [], ""
    for v in report.verdicts:
        if v.kind == "mutant" and not v.problem:
            continue
        if v.exercise != last:
            rows.append(f'<tr><th colspan="6" scope="rowgroup">{html.escape(v.exercise)}</th></tr>')
            last = v.exercise
        said = ["rejects", "accepts"]
        names = f"{v.visible_mistake or '–'} / {v.hidden_mistake or '–'}"
        cells = [v.kind, v.name, said[v.visible_passed], said[v.hidden_passed], names,
                 v.problem or v.visible_message or v.hidden_message]  # fmt: skip
        flag = ' class="problem"' if v.problem else ""
        rows.append(f"<tr{flag}>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
    counts = "".join(f"<li>{html.escape(k.replace('_', ' '))}: {n}</li>" for k, n in report.counts().items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Audit of the tests</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1a1a1a;background:#fff}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;text-align:left;"
        "vertical-align:top}th{background:#f2f2f2}.problem td{background:#fde3d8;font-weight:600}ul{columns:3}"
        "</style></head><body><h1>Audit of the tests</h1>"
        "<p>Each row is an answer. Mistakes must be rejected by the visible check and by the hidden cases, right answers "
        "accepted by both. Mutants that the hidden cases caught are only counted.</p>"
        f"<ul>{counts}</ul><table><thead><tr><th>kind</th><th>answer</th><th>visible check</th><th>hidden cases</th>"
        f"<th>named by visible / hidden</th><th>message</th></tr></thead><tbody>{''.join(rows)}</tbody></table></body></html>\n"
    )
