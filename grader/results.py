"""What is stored about a graded submission, and where.

Per submission, in nbgrader's layout below the course folder:

    submitted/<student>/<lesson>/…             what the learner handed in; never changed
    autograded/<student>/<lesson>/<lesson>.ipynb   the repaired notebook with the outputs of its own cells, as formgrader opens it
    autograded/<student>/<lesson>/results.json     everything in this module, as JSON
    gradebook.db                                   points per exercise and a comment, through nbgrader's API

`results.json` is the source for feedback, export and reports; the gradebook has the points that count (manual points
included). Read it with `load`, never by hand: `Result.exercises` are `grader.grading.ExerciseResult`, always one for
every exercise of the lesson, in the lesson's order, each with a reason. Text in it may come from a learner (`detail`,
`why`, `outputs`, file names): it is cut to length and freed of control characters here, but not escaped for HTML or CSV.

`Result.key` says what the scores depend on: the submitted bytes, the hidden cases, the limits. A run skips a submission
whose stored key is the same (resume); another key, or `--regrade`, grades it again.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grader.grading import CaseResult, ExerciseResult, Reason

FORMAT = 1
FILE_NAME = "results.json"
# Terminal escapes, bidirectional overrides and lone surrogates have no business in a report. Tabs and newlines stay.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: object, length: int = 2000) -> str:
    """A stranger's text, safe to store and print: no control characters, cut to length."""
    words = CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text)[: length * 2])
    return words if len(words) <= length else words[: length - 1] + "…"


@dataclass(frozen=True)
class Note:
    """Something the grader noticed or repaired. `kind` is one word to count by, `text` a sentence for people.

    Kinds: renamed, encoding, version, restored, copied, reordered, matched, metadata, type, given, extra, several,
    files, cut, skipped, unreadable, stub.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class CellRun:
    """One code cell of the submission: what became of it.

    Attributes:
        id: the cell's id in the autograded notebook.
        status: "ok", "error" (it raised), "timeout", "kernel died", "out of memory", "skipped".
        exercises: ids of the exercises whose objects this cell defines.
        output: what it printed, as text, cut to length; only from before the hidden cases ran.
        error: "NameError: name 'x' is not defined" where it raised.
    """

    id: str
    status: str
    seconds: float = 0.0
    exercises: tuple[str, ...] = ()
    output: str = ""
    error: str = ""


@dataclass(frozen=True)
class Timings:
    """Seconds of wall clock: starting kernels, the learner's cells, the hidden cases, comparing, all."""

    start: float = 0.0
    cells: float = 0.0
    cases: float = 0.0
    compare: float = 0.0
    total: float = 0.0
    restarts: int = 0


@dataclass(frozen=True)
class Result:
    """One graded submission.

    Attributes:
        lesson: stem, "03_attention".
        student: id, the folder's name in `submitted/`.
        status: "graded", or "unreadable" where no notebook could be read (every exercise then has that reason and 0).
        file: the submitted notebook that was graded, relative to the submission's folder.
        digest: SHA-256 of the submitted bytes.
        seed: drew the inputs of the hidden cases.
        key: see the module's docstring.
        timestamp: when it was handed in, ISO 8601, "" where unknown.
        graded_at: when it was graded, ISO 8601 in UTC.
        exercises: one per exercise of the lesson, in order.
        notes: repairs and other findings.
        cells: the code cells in order.
    """

    lesson: str
    student: str
    status: str
    file: str
    digest: str
    seed: int
    key: str
    timestamp: str
    graded_at: str
    exercises: tuple[ExerciseResult, ...]
    notes: tuple[Note, ...] = ()
    cells: tuple[CellRun, ...] = ()
    timings: Timings = field(default_factory=Timings)
    isolation: str = "sandbox"

    @property
    def points(self) -> float:
        return sum(e.points for e in self.exercises)

    @property
    def max_points(self) -> float:
        return sum(e.max_points for e in self.exercises)

    def exercise(self, exercise_id: str) -> ExerciseResult:
        """The result of one exercise; an unknown id raises `KeyError`."""
        for found in self.exercises:
            if found.exercise == exercise_id:
                return found
        raise KeyError(exercise_id)

    def own_output(self, exercise_id: str) -> str:
        """What the cells that define this exercise printed when they ran."""
        return "".join(c.output for c in self.cells if exercise_id in c.exercises)


def to_json(result: Result) -> str:
    return json.dumps({"format": FORMAT, **asdict(result)}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def from_json(text: str) -> Result:
    """The inverse of `to_json`; raises `ValueError` for another format."""
    data: dict[str, Any] = json.loads(text)
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise ValueError("not a results.json of this version")
    try:
        exercises = tuple(
            ExerciseResult(**{**e, "reason": Reason(e["reason"]), "cases": tuple(CaseResult(**c) for c in e["cases"])})
            for e in data.pop("exercises")
        )
        cells = tuple(CellRun(**{**c, "exercises": tuple(c["exercises"])}) for c in data.pop("cells"))
        notes = tuple(Note(**n) for n in data.pop("notes"))
        return Result(exercises=exercises, cells=cells, notes=notes, timings=Timings(**data.pop("timings")), **data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a results.json of this version: {error}") from error


def path_of(course: Path, lesson: str, student: str) -> Path:
    """Where a submission's results are."""
    return course / "autograded" / student / lesson / FILE_NAME


def save(course: Path, result: Result) -> Path:
    """Write a result in one step, so that an interrupted run leaves the old file or the new one, never half of one."""
    path = path_of(course, result.lesson, result.student)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{FILE_NAME}.part")
    part.write_text(to_json(result), encoding="utf-8")
    os.replace(part, path)
    return path


def load(course: Path, lesson: str, student: str) -> Result | None:
    """The stored result; None where there is none that this version can read."""
    try:
        return from_json(path_of(course, lesson, student).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def load_all(course: Path, lesson: str | None = None) -> list[Result]:
    """All stored results, of one lesson or of all, by student and lesson."""
    pattern = f"autograded/*/{lesson or '*'}/{FILE_NAME}"
    found = [load(course, p.parent.name, p.parent.parent.name) for p in sorted(course.glob(pattern))]
    return [r for r in found if r is not None]
