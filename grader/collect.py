"""Sort what learners handed in into `submitted/<student>/<lesson>/`, and say what is odd about it.

Accepted: a folder per student; a folder of notebooks; a zip as Canvas, Moodle or a person makes it; single notebooks, as
Colab downloads them. What arrives is copied byte for byte, times included, and repaired only when it is graded.
Nothing that leads out of its folder comes in: absolute paths, `..`, links, and archives that unpack to too much are
refused with a reason. A later delivery of the same student goes beside the earlier one's files; when it is graded, the
latest counts and the report says so.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from grader.course import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, Course, read_folder
from grader.repair import Candidate, RawCell, Unreadable, choose, fits_content, fits_name, read_notebook, repair
from grader.results import Note, clean
from vitcourse.lessons import Lesson, lessons

# Canvas: doejane_LATE_1234_56789_03_attention-1.ipynb; "LATE" and the number of the attempt come and go.
CANVAS = re.compile(r"^(?P<student>[^_/]+)_(?:LATE_)?(?P<user>\d+)_(?P<item>\d+)_(?P<file>.+)$")
# Moodle: "Jane Doe_12345_assignsubmission_file/03_attention.ipynb" or with the file's name behind a last underscore.
MOODLE = re.compile(
    r"^(?P<student>.+?)_(?P<user>\d+)_assignsubmission_(?:file|onlinetext)_?(?:/(?P<inner>.+)|(?P<file>.+))?$"
)
SUFFIX = re.compile(r"(?i)(?:[\s_-]*(?:\(\d+\)|-?copy\d*|copy of|final|v?\d{1,2}))+$")
MAX_RATIO = 200  # unpacked to packed size of one entry; notebooks with pictures stay below 20
ZIP_DEPTH = 2


class CollectError(Exception):
    """A path on the command line cannot be used."""


@dataclass
class Delivery:
    """Files of one student, before it is known which lesson they are of. `source` is where they came from, in words."""

    student: str
    source: str
    files: dict[str, bytes] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class Collected:
    """One submission that was put into `submitted/`."""

    student: str
    lesson: str
    source: str
    notes: tuple[Note, ...]


@dataclass
class Report:
    """What came of collecting."""

    collected: list[Collected] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # (where, why)


def student_id(name: str) -> str:
    """A name as a folder: NFC, no separators, nothing that nbgrader or a file system takes for something else."""
    name = unicodedata.normalize("NFC", name).strip()
    name = re.sub(r"[\\/:*?\"<>|+\x00-\x1f\x7f]+", "-", name)
    name = re.sub(r"\s+", " ", name).strip(" .")[:100].strip(" .")
    return name or "unnamed"


def refusal(name: str) -> str:
    """Why a path inside an archive or folder is refused; empty where it is fine."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or re.match(r"^[A-Za-z]:", name):
        return "an absolute path"
    if ".." in path.parts:
        return "a path that leads out of its folder"
    if "\0" in name or any(len(p.encode(errors="replace")) > 255 for p in path.parts) or len(path.parts) > 20:
        return "a path that cannot be a file's name"
    return ""


# ---------------------------------------------------------------------------------------------------------- from archives


def read_archive(data: bytes, where: str, report: Report, depth: int = 0) -> tuple[dict[str, bytes], dict[str, float]]:
    """The files of a zip, with their times. What is unsafe is refused one by one; a bomb is refused as a whole."""
    files: dict[str, bytes] = {}
    changed: dict[str, float] = {}
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        report.refused.append((where, f"not a readable zip: {clean(error, 100)}"))
        return {}, {}
    total = sum(e.file_size for e in entries)
    if total > MAX_TOTAL_BYTES * 20 or len(entries) > 20_000:
        report.refused.append((where, f"unpacks to {total >> 20} MB in {len(entries)} files"))
        return {}, {}
    unpacked = 0
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        inside = f"{where}: {clean(name, 120)}"
        if entry.is_dir() or any(p in ("__MACOSX", ".ipynb_checkpoints", ".git") for p in name.split("/")):
            continue
        if stat.S_ISLNK(entry.external_attr >> 16):
            report.refused.append((inside, "a link"))
        elif why := refusal(name):
            report.refused.append((inside, why))
        elif entry.file_size > MAX_FILE_BYTES or entry.file_size > (1 << 20) + MAX_RATIO * max(1, entry.compress_size):
            report.refused.append(
                (inside, f"unpacks to {entry.file_size >> 20} MB from {entry.compress_size >> 10} KB")
            )
        else:
            try:
                with archive.open(entry) as file:
                    content = file.read(MAX_FILE_BYTES + 1)  # the header's size may lie
            except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, NotImplementedError) as error:
                report.refused.append((inside, f"cannot be unpacked: {clean(error, 80)}"))
                continue
            unpacked += len(content)
            if len(content) > MAX_FILE_BYTES or unpacked > MAX_TOTAL_BYTES * 20:
                report.refused.append((inside, "unpacks to more than it says"))
                continue
            files[name], changed[name] = content, _zip_time(entry)
    for name in [n for n in files if n.lower().endswith(".zip")] if depth < ZIP_DEPTH else []:
        inner, times = read_archive(files.pop(name), f"{where}: {clean(name, 120)}", report, depth + 1)
        files |= {f"{name[:-4]}/{n}": c for n, c in inner.items()}
        changed |= {f"{name[:-4]}/{n}": t for n, t in times.items()}
    return files, changed


def _zip_time(entry: zipfile.ZipInfo) -> float:
    try:
        return datetime(*entry.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def from_archive(data: bytes, name: str, report: Report, changed_at: float = 0.0) -> list[Delivery]:
    """The deliveries in a zip: a learning platform's, with all students, or one student's own."""
    files, changed = read_archive(data, name, report)
    return list(_by_student(files, changed, name))


def _by_student(files: dict[str, bytes], changed: dict[str, float], where: str) -> Iterator[Delivery]:
    """Sort files by the student that their paths name, in the manner of Canvas, of Moodle, or a folder per student."""
    found: dict[str, Delivery] = {}

    def put(student: str, inner: str, name: str, kind: str) -> None:
        student = student_id(student)
        delivery = found.setdefault(student, Delivery(student, f"{where} ({kind})"))
        while inner in delivery.files:  # two attempts with one name are two files
            stem, dot, ending = inner.rpartition(".")
            inner = f"{stem} (again){dot}{ending}" if dot else f"{inner} (again)"
        delivery.files[inner], delivery.changed[inner] = files[name], changed.get(name, 0.0)

    names = list(files)
    top = {n.split("/")[0] for n in names}
    if len(top) == 1 and all("/" in n for n in names) and not MOODLE.match(names[0]):  # one folder around everything
        prefix = len(next(iter(top))) + 1
        lone = next(iter(top))
        inner_top = {n[prefix:].split("/")[0] for n in names}
        if all("/" in n[prefix:] or CANVAS.match(n[prefix:]) for n in names) and not _is_submission_folder(inner_top):
            files = {n[prefix:]: c for n, c in files.items()}
            changed = {n[prefix:]: t for n, t in changed.items()}
            names = list(files)
        elif not _looks_like_lesson(lone):
            for n in names:
                put(lone, n[prefix:], n, "folder")
            yield from found.values()
            return
    for name in names:
        base = name.rsplit("/", 1)[-1]
        if match := MOODLE.match(name):
            put(match["student"], match["inner"] or match["file"] or "submission", name, "Moodle")
        elif match := CANVAS.match(base):
            put(match["student"], match["file"], name, "Canvas")
        elif "/" in name:
            student, inner = name.split("/", 1)
            put(student, inner, name, "folder")
        elif base.lower().endswith(".ipynb"):
            put(_student_of_file(base, where), base, name, "single")
    yield from found.values()


def _is_submission_folder(names: set[str]) -> bool:
    return any(_looks_like_lesson(n) for n in names)


def _looks_like_lesson(name: str) -> bool:
    return any(fits_name(name, lesson) for lesson in lessons())


def _student_of_file(file: str, where: str) -> str:
    """Whose a lone notebook is: what its name says beside the lesson, else the name of what it lay in."""
    stem = re.sub(r"(?i)(\.ipynb)+$", "", file)
    for lesson in lessons():
        match = re.search(rf"(?i){re.escape(lesson.stem)}|{lesson.number:02d}[\s_-]*{re.escape(lesson.name)}", stem)
        if match:
            rest = SUFFIX.sub("", stem[: match.start()] + stem[match.end() :]).strip(" _-.()")
            rest = re.sub(r"(?i)^copy of\s*", "", rest).strip(" _-.()")
            if rest:
                return rest
            return re.sub(r"(?i)\.zip$", "", Path(where).name)
    return SUFFIX.sub("", stem).strip(" _-.()") or stem


# ------------------------------------------------------------------------------------------------------ from the file system


def deliveries_of(path: Path, report: Report) -> list[Delivery]:
    """The deliveries in something named on the command line.

    Raises:
        CollectError: the path does not exist.
    """
    if path.is_symlink():
        report.refused.append((str(path), "a link"))
        return []
    if not path.exists():
        raise CollectError(f"{path} does not exist")
    if path.is_dir():
        return _folder(path, report)
    data = path.read_bytes() if path.stat().st_size <= MAX_TOTAL_BYTES * 4 else b""
    if zipfile.is_zipfile(io.BytesIO(data)):
        return from_archive(data, path.name, report, path.stat().st_mtime)
    if tarfile.is_tarfile(path):
        report.refused.append((path.name, "a tar archive: unpack it first"))
        return []
    if path.suffix.lower() == ".ipynb":
        student = _student_of_file(path.name, path.parent.name)
        delivery = Delivery(student_id(student), f"{path.name} (single)")
        delivery.files[path.name], delivery.changed[path.name] = data, path.stat().st_mtime
        return [delivery]
    report.refused.append((path.name, "neither a folder, nor a zip, nor a notebook"))
    return []


def _folder(path: Path, report: Report) -> list[Delivery]:
    """A folder per student, a folder of zips and notebooks, or one student's folder."""
    entries = [e for e in sorted(os.scandir(path), key=lambda e: e.name) if not e.name.startswith((".", "__MACOSX"))]
    if any(e.is_dir(follow_symlinks=False) and _looks_like_lesson(e.name) for e in entries):
        return [_own_folder(path, path.name, report)]
    found: list[Delivery] = []
    loose: dict[str, bytes] = {}
    times: dict[str, float] = {}
    for entry in entries:
        shown = f"{path.name}/{clean(entry.name, 120)}"
        canvas = CANVAS.match(entry.name)
        if entry.is_symlink():
            report.refused.append((shown, "a link"))
        elif entry.is_dir():
            moodle = MOODLE.match(entry.name)
            found.append(_own_folder(Path(entry.path), moodle["student"] if moodle else entry.name, report))
        elif entry.name.lower().endswith(".ipynb"):
            loose[entry.name], times[entry.name] = Path(entry.path).read_bytes(), entry.stat().st_mtime
        elif entry.name.lower().endswith(".zip") and canvas:
            files, changed = read_archive(Path(entry.path).read_bytes(), shown, report)
            found.append(Delivery(student_id(canvas["student"]), f"{shown} (Canvas)", files, changed))
        else:
            found += deliveries_of(Path(entry.path), report)
    return [*found, *_by_student(loose, times, str(path.resolve()))]


def _own_folder(path: Path, student: str, report: Report) -> Delivery:
    """One student's folder, zips in it unpacked."""
    files, changed, refused = read_folder(path)
    report.refused += [(path.name, why) for why in refused]
    for name in [n for n in files if n.lower().endswith(".zip")]:
        inner, times = read_archive(files.pop(name), f"{path.name}/{name}", report, 1)
        files |= inner
        changed |= times
    return Delivery(student_id(student), str(path), files, changed)


# ----------------------------------------------------------------------------------------------------------------- to put


def lessons_of(delivery: Delivery, wanted: Lesson | None) -> dict[str, list[str]]:
    """Which files belong to which lesson: notebooks by name or content, other files to each lesson of the delivery."""
    found: dict[str, list[str]] = {}
    for name, data in delivery.files.items():
        if not name.lower().endswith(".ipynb"):
            continue
        cells: list[RawCell] = []
        with contextlib.suppress(Unreadable):
            cells = read_notebook(data)[0]
        choices = [wanted] if wanted else list(lessons())
        named = [x for x in choices if fits_name(name, x) or any(fits_name(p, x) for p in name.split("/")[:-1])]
        spoken = sorted(choices, key=lambda x: -fits_content(cells, x))
        if named:
            found.setdefault(named[0].stem, []).append(name)
        elif spoken and fits_content(cells, spoken[0]):
            found.setdefault(spoken[0].stem, []).append(name)
        elif wanted:
            found.setdefault(wanted.stem, []).append(name)
    others = [n for n in delivery.files if not n.lower().endswith((".ipynb", ".zip"))]
    return {stem: names + others for stem, names in found.items()}


def put(course: Course, delivery: Delivery, wanted: Lesson | None, report: Report) -> None:
    """Copy a delivery's files below `submitted/` and report what grading will find."""
    by_stem = {x.stem: x for x in lessons()}
    sorted_files = lessons_of(delivery, wanted)
    if not sorted_files:
        files = ", ".join(clean(n, 60) for n in list(delivery.files)[:4]) or "no files"
        report.refused.append((f"{delivery.source}: {delivery.student}", f"no notebook of a known lesson ({files})"))
        return
    for stem, names in sorted_files.items():
        lesson = by_stem[stem]
        folder = course.root / "submitted" / delivery.student / stem
        total = 0
        notes = list(delivery.notes)
        for taken, name in enumerate(names):
            total += len(delivery.files[name])
            if taken >= MAX_FILES or total > MAX_TOTAL_BYTES:
                notes.append(Note("cut", f"only {taken} of {len(names)} files were taken"))
                break
            _write(folder, _inner(name, lesson), delivery.files[name], delivery.changed.get(name, 0.0))
        latest = max((delivery.changed.get(n, 0.0) for n in names if n.lower().endswith(".ipynb")), default=0.0)
        stamp = folder / "timestamp.txt"
        if latest and not (stamp.exists() and "timestamp.txt" in names):
            stamp.write_text(datetime.fromtimestamp(latest, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), encoding="utf-8")
        report.collected.append(
            Collected(delivery.student, stem, delivery.source, (*notes, *preview(course, lesson, delivery.student)))
        )


def _inner(name: str, lesson: Lesson) -> str:
    """The path below the submission's folder: without the folders that only repeat student and lesson."""
    parts = list(PurePosixPath(name).parts)
    for place, part in enumerate(parts[:-1]):
        if fits_name(part, lesson):
            return "/".join(parts[place + 1 :])
    return parts[-1] if name.lower().endswith(".ipynb") else "/".join(parts)


def _write(folder: Path, name: str, content: bytes, changed: float) -> None:
    """Write a file that was handed in; an earlier one of that name with other content stays, as an earlier version."""
    path = folder.joinpath(*PurePosixPath(name).parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    if path.exists() and path.read_bytes() != content and path.suffix.lower() == ".ipynb":
        number = 1
        while (older := path.with_name(f"{path.stem} (earlier {number}){path.suffix}")).exists():
            number += 1
        os.replace(path, older)
    path.write_bytes(content)
    if changed:
        os.utime(path, (changed, changed))


def preview(course: Course, lesson: Lesson, student: str) -> tuple[Note, ...]:
    """What grading will find in a submission: renamed, repaired, several versions, unreadable."""
    submission = course.submitted(lesson, student)
    candidates = [
        Candidate(n, d, submission.changed[n]) for n, d in submission.files.items() if n.lower().endswith(".ipynb")
    ]
    try:
        _, cells, notes = choose(candidates, lesson)
    except Unreadable as error:
        return (Note("unreadable", str(error)),)
    return (*notes, *repair(cells, course.released(lesson), lesson).notes)


def collect_all(paths: list[Path], course: Course, lesson: Lesson | None = None) -> Report:
    """Collect everything that some paths hold.

    Raises:
        CollectError: a path does not exist.
    """
    report = Report()
    for path in paths:
        for delivery in deliveries_of(path, report):
            put(course, delivery, lesson, report)
    return report
