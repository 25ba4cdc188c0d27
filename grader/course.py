"""The course folder, in nbgrader's layout, and its gradebook, through nbgrader's API.

course/
  nbgrader_config.py   nbgrader's settings and ours (`c.Grading...`)
  source/<lesson>/     notebooks with answers          release/<lesson>/   what learners get
  submitted/<student>/<lesson>/   autograded/…   feedback/…
  bundles/<lesson>.zip the release as one file         gradebook.db        points and comments
  .seed                secret from which every submission's seed is derived
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat.notebooknode import NotebookNode
from traitlets import Bool, Enum, Float, Int, Unicode
from traitlets.config import Config, Configurable, PyFileConfigLoader

from grader.execution.provisioner import ISOLATIONS
from grader.execution.runner import Budget
from grader.execution.sandbox import Limits
from grader.grading import ExerciseResult, Reason
from grader.paths import ROOT, SOLUTIONS
from grader.results import Result, clean
from vitcourse.lessons import Lesson, lessons

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

CONFIG = '''"""Settings of nbgrader and of `grader`; every line may be left out."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "vit"
c.CourseDirectory.db_url = "sqlite:///gradebook.db"  # PostgreSQL: "postgresql://user@host/name"

# What a submission may use. Lessons are written to stay far below.
c.Grading.exercise_seconds = 20.0
c.Grading.submission_seconds = 120.0
c.Grading.memory_mb = 2500
c.Grading.processes = 64
c.Grading.file_mb = 50
c.Grading.output_kb = 50

# c.Grading.jobs = 4                # submissions at once; 0: one per core
# c.Grading.isolation = "none"      # only where nothing but trusted code is graded
# c.Grading.run_demos = True        # also run the cells tagged `demo`
# c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\\nraise NotImplementedError()"}
'''
STEPS = ("source", "release", "submitted", "autograded", "feedback")
MAX_FILES, MAX_FILE_BYTES, MAX_TOTAL_BYTES = 300, 50 << 20, 150 << 20


class Grading(Configurable):
    """How submissions are run; set in the course's `nbgrader_config.py`."""

    exercise_seconds = Float(20.0, help="time of one cell, and of one exercise's hidden cases").tag(config=True)
    submission_seconds = Float(120.0, help="time of a whole submission").tag(config=True)
    memory_mb = Int(2500, help="memory beyond what Python with torch itself takes").tag(config=True)
    processes = Int(64, help="processes and threads").tag(config=True)
    file_mb = Int(50, help="largest file a submission may write").tag(config=True)
    output_kb = Int(50, help="text kept of what one cell prints").tag(config=True)
    jobs = Int(0, help="submissions at once; 0: one per core").tag(config=True)
    isolation = Enum(ISOLATIONS, "sandbox", help="sandbox, or none").tag(config=True)
    run_demos = Bool(False, help="also run the cells tagged demo").tag(config=True)
    db_url = Unicode("", help="the gradebook; empty: CourseDirectory.db_url").tag(config=True)

    @property
    def budget(self) -> Budget:
        return Budget(self.exercise_seconds, self.submission_seconds, self.output_kb)

    @property
    def limits(self) -> Limits:
        return Limits(self.memory_mb, self.processes, self.file_mb, int(self.submission_seconds * 2) + 30)


class CourseError(Exception):
    """Something in the course folder does not fit; the message says what to do."""


@dataclass(frozen=True)
class Submitted:
    """What one student handed in for one lesson, read without following a link.

    Attributes:
        files: path below the submission's folder → content. Links and special files are not among them.
        changed: the same paths → time of last change.
        refused: sentences on what was left out.
        timestamp: content of timestamp.txt, as nbgrader's exchange writes it; "" where there is none.
    """

    student: str
    files: dict[str, bytes]
    changed: dict[str, float]
    refused: tuple[str, ...]
    timestamp: str

    @property
    def digest(self) -> str:
        whole = hashlib.sha256()
        for name in sorted(self.files):
            whole.update(
                f"{len(name.encode(errors='replace'))}:{name}:{len(self.files[name])}:".encode(errors="replace")
            )
            whole.update(self.files[name])
        return whole.hexdigest()


def find_lesson(name: str) -> Lesson:
    """A lesson by number, name or stem: "3", "03", "attention", "03_attention"; unknown: `CourseError`."""
    for lesson in lessons():
        if name in (lesson.stem, lesson.name, str(lesson.number), f"{lesson.number:02d}"):
            return lesson
    raise CourseError(f"there is no lesson {name!r}; known: {', '.join(x.stem for x in lessons()) or 'none'}")


class Course:
    """A course folder. Making the object changes nothing on disk; `init` does."""

    def __init__(self, root: Path | str, db_url: str = "") -> None:
        self.root = Path(root).resolve()
        self._db_url = db_url

    @cached_property
    def config(self) -> Config:
        file = self.root / "nbgrader_config.py"
        return PyFileConfigLoader(file.name, str(self.root)).load_config() if file.exists() else Config()

    @cached_property
    def grading(self) -> Grading:
        return Grading(config=self.config)

    @property
    def db_url(self) -> str:
        """The gradebook's address; a relative SQLite path is below the course folder."""
        url = self._db_url or self.grading.db_url or str(self.config.CourseDirectory.get("db_url", "") or "")
        url = url or "sqlite:///gradebook.db"
        if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
            url = f"sqlite:///{self.root / url.removeprefix('sqlite:///')}"
        return url

    def init(self) -> list[Path]:
        """Make the folder and its configuration where missing; returns what was made."""
        made = []
        for step in STEPS:
            path = self.root / step
            if not path.exists():
                path.mkdir(parents=True)
                made.append(path)
        config = self.root / "nbgrader_config.py"
        if not config.exists():
            config.write_text(CONFIG, encoding="utf-8")
            made.append(config)
        seed = self.root / ".seed"
        if not seed.exists():
            handle = os.open(seed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            made.append(seed)
        return made

    # -------------------------------------------------------------------------------------------------------- release

    def release(self, lesson: Lesson) -> Path:
        """Write source, release and bundle of a lesson and register it in the gradebook; returns the release folder."""
        from grader import build
        from grader.text import read_text

        self.init()
        made = build.build(read_text(build.TEXT / f"{lesson.stem}.md"))
        stem = lesson.stem
        release = self.root / "release" / stem
        if release.exists():
            shutil.rmtree(release)
        files = {f"{stem}.ipynb": build.written(made.learner).encode()} | earlier_solutions(lesson)
        for name, content in files.items():
            path = release / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        source = self.root / "source" / stem / f"{stem}.ipynb"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(build.written(made.source), encoding="utf-8")
        bundle = self.root / "bundles" / f"{stem}.zip"
        bundle.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):  # a fixed date: the same release is the same file
                archive.writestr(zipfile.ZipInfo(f"{stem}/{name}", (2020, 1, 1, 0, 0, 0)), files[name])
        self.register(lesson, made.source, made.learner)
        return release

    def released(self, lesson: Lesson) -> NotebookNode:
        """The released notebook; released now where it is not."""
        path = self.root / "release" / lesson.stem / f"{lesson.stem}.ipynb"
        if not path.exists():
            self.release(lesson)
        return nbformat.read(path, as_version=4)

    def register(self, lesson: Lesson, source: NotebookNode, learner: NotebookNode) -> None:
        """Enter the lesson's cells into the gradebook, as `nbgrader generate_assignment` does."""
        checksums = {c.metadata.nbgrader.grade_id: c for c in learner.cells if "nbgrader" in c.metadata}
        with self.gradebook() as book:
            book.update_or_create_assignment(lesson.stem)
            book.update_or_create_notebook(lesson.stem, lesson.stem, kernelspec=json.dumps(learner.metadata.kernelspec))
            for cell in source.cells:
                marks = cell.metadata.get("nbgrader")
                if not marks:
                    continue
                where = (marks["grade_id"], lesson.stem, lesson.stem)
                if marks["grade"]:
                    book.update_or_create_grade_cell(*where, max_score=float(marks["points"]), cell_type=cell.cell_type)
                if marks["solution"]:
                    book.update_or_create_solution_cell(*where)
                checksum = checksums[marks["grade_id"]].metadata.nbgrader.get("checksum")
                book.update_or_create_source_cell(
                    *where,
                    cell_type=cell.cell_type,
                    locked=bool(marks["locked"]),
                    source=cell.source,
                    checksum=checksum,
                )

    def gradebook(self) -> Gradebook:
        """The open gradebook, a context manager. Importing nbgrader takes seconds, so it is done here."""
        from nbgrader.api import Gradebook

        tools = str(Path(sys.executable).parent)  # for a new gradebook nbgrader calls `alembic` by name
        if tools not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", os.defpath)])
        return Gradebook(self.db_url, str(self.config.CourseDirectory.get("course_id", "") or "vit"))

    # ----------------------------------------------------------------------------------------------------- submissions

    def students(self, lesson: Lesson) -> list[str]:
        """Who handed something in for a lesson."""
        base = self.root / "submitted"
        if not base.is_dir():
            return []
        return sorted(e.name for e in os.scandir(base) if e.is_dir(follow_symlinks=False)
                      and (base / e.name / lesson.stem).is_dir() and not (base / e.name / lesson.stem).is_symlink())  # fmt: skip

    def submitted(self, lesson: Lesson, student: str) -> Submitted:
        """Read a submission. Links are never followed: what they point at is not the student's."""
        files, changed, refused = read_folder(self.root / "submitted" / student / lesson.stem)
        timestamp = files.pop("timestamp.txt", b"").decode(errors="replace").strip()
        return Submitted(student, files, changed, tuple(refused), timestamp if _is_time(timestamp) else "")

    def seed(self, lesson: Lesson, submission: Submitted) -> int:
        """The seed of a submission's inputs: the same for the same bytes, unknown to everyone without `.seed`."""
        secret = (self.root / ".seed").read_text().strip()
        tag = f"{lesson.stem}/{submission.student}/{submission.digest}".encode(errors="replace")
        return int.from_bytes(hmac.new(secret.encode(), tag, "sha256").digest()[:6], "big")

    def key(self, lesson: Lesson, submission: Submitted, isolation: str, demos: bool) -> str:
        """What the scores depend on; see `grader.results`."""
        whole = hashlib.sha256(submission.digest.encode())
        for path in (cases_file(lesson), probes_file(), *sorted(SOLUTIONS.glob("*.py"))):
            whole.update(path.read_bytes())
        whole.update(repr((asdict(self.grading.budget), asdict(self.grading.limits), isolation, demos)).encode())
        return whole.hexdigest()[:32]

    # ------------------------------------------------------------------------------------------------------- gradebook

    def record(self, book: Gradebook, lesson: Lesson, result: Result) -> None:
        """Write a result into the gradebook. What a person has entered there is never touched."""
        book.update_or_create_student(result.student)
        extra = {"timestamp": result.timestamp} if result.timestamp else {}
        with book.db.no_autoflush:  # nbgrader builds a submission in pieces, which SQLAlchemy else warns about
            submission = book.update_or_create_submission(lesson.stem, result.student, **extra)
        by_id = {e.exercise.replace(".", "-"): e for e in result.exercises}
        for notebook in submission.notebooks:
            for grade in notebook.grades:
                found = by_id.get(grade.name)
                if found is None:
                    continue
                changed = grade.auto_score != found.points
                grade.auto_score = float(found.points)
                if grade.manual_score is None:
                    grade.needs_manual_grade = False
                elif changed:
                    grade.needs_manual_grade = True  # the manual score stays; a person should look again
            for comment in notebook.comments:
                found = by_id.get(comment.name.removesuffix("-answer"))
                if found is not None:
                    comment.auto_comment = comment_on(found, result.seed)
        book.db.commit()


def comment_on(found: ExerciseResult, seed: int) -> str:
    """What the gradebook says beside the points."""
    words = f"{found.points:g} of {found.max_points:g} points: {found.reason}"
    if found.reason is not Reason.RIGHT and found.detail:
        words += f". {clean(found.detail, 400)}"
    return f"{words} [seed {seed}]"


def earlier_solutions(lesson: Lesson) -> dict[str, bytes]:
    """`solutions/` of the lessons before this one: what this lesson may import. Nothing for the first lesson."""
    before = [x.name for x in lessons() if x.number < lesson.number]
    files = {f"solutions/{n}.py": SOLUTIONS / f"{n}.py" for n in before if (SOLUTIONS / f"{n}.py").exists()}
    if files:
        files["solutions/__init__.py"] = SOLUTIONS / "__init__.py"
    return {name: path.read_bytes() for name, path in sorted(files.items())}


def cases_file(lesson: Lesson) -> Path:
    return ROOT / "grader" / "cases" / f"{lesson.name}.py"


def probes_file() -> Path:
    import vitcourse.probes

    return Path(vitcourse.probes.__file__)


def _is_time(text: str) -> bool:
    from dateutil.parser import parse

    try:
        parse(text)
    except (ValueError, OverflowError):
        return False
    return bool(text)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_folder(folder: Path) -> tuple[dict[str, bytes], dict[str, float], list[str]]:
    """All regular files below a folder, with their times; links, devices and what is too large are refused in words."""
    files: dict[str, bytes] = {}
    changed: dict[str, float] = {}
    refused: list[str] = []
    total = 0

    def walk(path: Path) -> Iterator[os.DirEntry[str]]:
        for entry in sorted(os.scandir(path), key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                if not re.fullmatch(r"\.git|\.ipynb_checkpoints|__pycache__|__MACOSX|\.venv", entry.name):
                    yield from walk(Path(entry.path))
            else:
                yield entry

    for entry in walk(folder):
        name = Path(entry.path).relative_to(folder).as_posix()
        try:
            handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            refused.append(f"{clean(name, 120)} is a link or cannot be read")
            continue
        with os.fdopen(handle, "rb") as file:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                refused.append(f"{clean(name, 120)} is not a plain file")
            elif info.st_nlink > 1 and info.st_uid != os.geteuid():
                refused.append(f"{clean(name, 120)} is a hard link to somebody else's file")
            elif len(files) >= MAX_FILES or info.st_size > MAX_FILE_BYTES or total + info.st_size > MAX_TOTAL_BYTES:
                refused.append(f"{clean(name, 120)} is too large, or one file too many")
            else:
                files[name], changed[name] = file.read(), info.st_mtime
                total += info.st_size
    return files, changed, refused


__all__ = ["Course", "CourseError", "Grading", "Submitted", "find_lesson"]
