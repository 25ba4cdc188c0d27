"""From what an answer returned to points and reasons. Nothing here runs learners' code.

The learner's process runs the probes and sends data back. This module runs the same probes on `solutions/`, compares,
and says why a case failed. It is the only place that holds an expected value.
"""

from __future__ import annotations

import enum
import importlib
import types
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from grader.cases import cases_of
from grader.mistakes import mistakes_of
from vitcourse.lessons import Exercise, exercise
from vitcourse.probes import Case, run_probe


class Reason(enum.StrEnum):
    """Why an exercise has the points it has."""

    RIGHT = "right"
    WRONG = "wrong"
    ERROR = "error"
    NOT_SOLVED = "not solved"
    MISSING = "missing"
    TIMEOUT = "timeout"
    KERNEL_DIED = "kernel died"
    OUT_OF_MEMORY = "out of memory"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class CaseResult:
    """One case: passed or not, and in words why not."""

    name: str
    about: str
    points: float
    passed: bool
    why: str = ""


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of one submission."""

    exercise: str
    points: float
    max_points: float
    reason: Reason
    detail: str = ""
    mistake: str = ""  # name of the catalogue's mistake that the answer equals
    cases: tuple[CaseResult, ...] = field(default=())


def reference(found: Exercise) -> Any:
    """The reference answer: one object, or a namespace of several."""
    module = importlib.import_module(f"solutions.{found.lesson}")
    if len(found.objects) == 1:
        return getattr(module, found.objects[0])
    return types.SimpleNamespace(**{name: getattr(module, name) for name in found.objects})


@lru_cache(maxsize=4096)
def _expected(exercise_id: str, index: int, seed: int, dtype: torch.dtype) -> dict[str, Any]:
    return run_probe(cases_of(exercise_id)[index], reference(exercise(exercise_id)), seed)


def expected(exercise_id: str, case: Case, seed: int) -> dict[str, Any]:
    """What the reference returns for a case; raises `RuntimeError` when the reference itself fails."""
    index = [c.name for c in cases_of(exercise_id)].index(case.name)
    outcome = _expected(exercise_id, index, seed, torch.get_default_dtype())
    if outcome["status"] != "returned":
        raise RuntimeError(f"the reference of {exercise_id} fails its own case {case.name!r}: {outcome}")
    return outcome


def difference(got: Any, want: Any, atol: float, rtol: float, at: str = "the result") -> str:
    """How `got` differs from `want`, in words; empty where they agree within the tolerance."""
    if isinstance(want, Tensor) or isinstance(got, Tensor):
        if not isinstance(got, (Tensor, int, float, bool)) or not isinstance(want, (Tensor, int, float, bool)):
            return f"{at} should be {_kind(want)}, got {_kind(got)}"
        a, b = torch.as_tensor(got), torch.as_tensor(want)
        if a.shape != b.shape:
            return f"{at} should have shape {tuple(b.shape)}, got {tuple(a.shape)}"
        if a.is_complex() != b.is_complex():
            return f"{at} should be {b.dtype}, got {a.dtype}"
        if not a.is_complex():
            a, b = a.to(torch.float64), b.to(torch.float64)
        same = (a == b) | (a.isnan() & b.isnan())
        finite = b.abs().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        scale = float(finite.max()) if b.numel() else 0.0
        gap = torch.where(same, torch.zeros_like(b), a - b).abs().nan_to_num(nan=float("inf"))
        largest = float(gap.max()) if gap.numel() else 0.0
        return "" if largest <= atol + rtol * scale else f"{at} is off by up to {largest:.2g}"
    if isinstance(want, list):
        if not isinstance(got, list) or len(got) != len(want):
            return f"{at} should be {_kind(want)}, got {_kind(got)}"
        parts = (
            difference(g, w, atol, rtol, f"{at}, part {i + 1}") for i, (g, w) in enumerate(zip(got, want, strict=True))
        )
        return next((p for p in parts if p), "")
    if isinstance(want, dict):
        if not isinstance(got, dict) or set(got) != set(want):
            return f"{at} should be {_kind(want)}, got {_kind(got)}"
        parts = (difference(got[k], w, atol, rtol, f"{at}, {k}") for k, w in want.items())
        return next((p for p in parts if p), "")
    if isinstance(want, float) and isinstance(got, (int, float)) and not isinstance(got, bool):
        return difference(
            torch.tensor(float(got), dtype=torch.float64), torch.tensor(want, dtype=torch.float64), atol, rtol, at
        )
    return "" if got == want and isinstance(got, bool) == isinstance(want, bool) else f"{at} is not as expected"


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"{len(value)} values"
    return {type(None): "nothing", str: "text", bool: "True or False", int: "a number", float: "a number",
            dict: "named values"}.get(type(value), type(value).__name__)  # fmt: skip


def judge(case: Case, outcome: dict[str, Any], seed: int) -> CaseResult:
    """Compare what came back from an answer with what the reference gives."""

    def result(why: str) -> CaseResult:
        return CaseResult(case.name, case.about, case.points, not why, why)

    status = outcome.get("status")
    if status == "not solved":
        return result("not solved")
    if status == "raised":
        return result(f"raised {outcome.get('error')}: {outcome.get('message')}")
    if status != "returned" or "data" not in outcome:
        return result("no result came back")
    got, want = outcome["data"], expected(case.exercise, case, seed)["data"]
    if case.after is not None:
        want = case.after(want)
        try:
            got = case.after(got)
        except Exception as error:  # `after` is ours, its input is a stranger's: odd data is a wrong answer
            return result(f"the result has an unexpected form ({type(error).__name__})")
    return result(difference(got, want, case.atol, case.rtol))


def score(exercise_id: str, outcomes: dict[str, dict[str, Any]], seed: int, *, diagnose: bool = True) -> ExerciseResult:
    """Points and reason of one exercise.

    Args:
        exercise_id: the exercise.
        outcomes: per case name, what `run_probe` returned in the learner's process; a missing case counts as failed.
        seed: the submission's seed, which drew the inputs.
        diagnose: also say which known mistake the answer equals.
    """
    cases = cases_of(exercise_id)
    results = _beside(cases, tuple(judge(c, outcomes.get(c.name, {}), seed) for c in cases))
    total = sum(c.points for c in cases)
    points = sum(r.points for r in results if r.passed)
    failed = [r for r in results if not r.passed]
    mistake = detail = ""
    if not failed:
        reason = Reason.RIGHT
    elif all(r.why == "not solved" for r in results):
        reason = Reason.NOT_SOLVED
    elif all(outcomes.get(r.name, {}).get("status") == "raised" for r in failed) and not points:
        reason, detail = Reason.ERROR, failed[0].why
    else:
        reason, detail = Reason.WRONG, failed[0].why
    if failed and diagnose and reason in (Reason.WRONG, Reason.ERROR):
        mistake, words = diagnosis(exercise_id, outcomes, results, seed)
        detail = words or detail
    return ExerciseResult(exercise_id, points, total, reason, detail, mistake, results)


def _beside(cases: list[Case], results: tuple[CaseResult, ...]) -> tuple[CaseResult, ...]:
    """Take the points of cases that count only beside a right result where there is no right result."""
    if any(r.passed and not c.beside for c, r in zip(cases, results, strict=True)):
        return results
    return tuple(
        replace(r, passed=False, why="counts only beside a right result") if c.beside and r.passed else r
        for c, r in zip(cases, results, strict=True)
    )


def diagnosis(
    exercise_id: str, outcomes: dict[str, dict[str, Any]], results: tuple[CaseResult, ...], seed: int
) -> tuple[str, str]:
    """Which catalogue mistake gives the same result as the answer on every case: (name, sentence), or ("", "").

    Where several do, or none, nothing is named: a wrong name is worse than none.
    """
    cases = {c.name: c for c in cases_of(exercise_id)}
    matches = []
    for entry in mistakes_of(exercise_id):
        if all(
            _same(cases[r.name], outcomes.get(r.name, {}), _mistaken(entry.id, r.name, seed, torch.get_default_dtype()))
            for r in results
        ):
            matches.append(entry)
    sentences = {m.words for m in matches}
    return (matches[0].name, matches[0].words) if len(sentences) == 1 else ("", "")


@lru_cache(maxsize=4096)
def _mistaken(entry_id: str, case_name: str, seed: int, dtype: torch.dtype) -> dict[str, Any]:
    exercise_id, name = entry_id.split(":")
    entry = next(e for e in mistakes_of(exercise_id) if e.name == name)
    found = next(c for c in cases_of(exercise_id) if c.name == case_name)
    return run_probe(found, entry.answer, seed)


def _same(case: Case, got: dict[str, Any], other: dict[str, Any]) -> bool:
    if got.get("status") != other.get("status"):
        return False
    if got.get("status") == "raised":
        return got.get("error") == other.get("error")
    if got.get("status") != "returned" or "data" not in got:
        return False
    a, b = got["data"], other["data"]
    if case.after is not None:
        try:
            a, b = case.after(a), case.after(b)
        except Exception:  # odd data matches no known mistake
            return False
    return not difference(a, b, case.atol, case.rtol)


def grade_here(exercise_id: str, answer: Any, seed: int = 0, *, diagnose: bool = True) -> ExerciseResult:
    """Run the cases on an answer in this process and score it: for the audit and for stock nbgrader. Never for
    strangers' code: `autograde` runs that in a sandbox."""
    outcomes = {c.name: run_probe(c, answer, seed) for c in cases_of(exercise_id)}
    return score(exercise_id, outcomes, seed, diagnose=diagnose)
