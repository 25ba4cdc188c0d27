"""Make a submitted notebook whole again: read whatever was handed in, match its cells to the released ones, say what was done.

Two steps, used by `collect` (to report) and by `autograde` (to grade); neither changes the submitted file.

`read_notebook` turns bytes into cells. It accepts what honest tools make of a notebook: a byte order mark, UTF-16,
Latin-1, nbformat 3 to 4.5, lost ids, text after the end. Outputs are dropped, whoever wrote them.

`repair` matches these cells with the release: by nbgrader's id, by cell id, by the exercise a cell checks or defines, by
content. What the learner wrote is kept, what was given is restored, and every difference becomes a `Note`.
"""

from __future__ import annotations

import ast
import copy
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from grader.results import Note, clean
from vitcourse.lessons import Exercise, Lesson

MAX_BYTES, MAX_CELLS, MAX_SOURCE = 50 << 20, 3000, 1 << 20
CHECK = re.compile(r"(?<![\w.])check\(\s*[\"']([\w.]+)[\"']\s*,?\s*\)")
DEFINITION = re.compile(r"^(?:async\s+def|def|class)\s+(\w+)", re.M)
SETUP, GIVEN, ANSWER, CHECKED, EXTRA, DEMO, STUB, TEXT = (
    "setup", "given", "answer", "check", "extra", "demo", "stub", "text"
)  # fmt: skip
ALIKE = 0.75  # difflib's ratio from which two code cells are the same cell, edited


class Unreadable(Exception):
    """No notebook can be read from these bytes; the message is a sentence for a report."""


@dataclass
class RawCell:
    """A submitted cell: what survives of it."""

    kind: str
    source: str
    id: str = ""
    grade_id: str = ""
    tags: tuple[str, ...] = ()
    points: Any = None


@dataclass
class Repaired:
    """A complete notebook: every released code cell once, the learner's own cells where they were.

    Attributes:
        notebook: nbformat 4.5, with nbgrader's metadata and cell ids, without outputs.
        roles: cell id → what the cell is ("setup", "given", "answer", "check", "extra", "demo", "stub", "text").
        defines: cell id → ids of the exercises whose objects the cell defines.
        notes: what was found and done.
    """

    notebook: NotebookNode
    roles: dict[str, str] = field(default_factory=dict)
    defines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def to_run(self, demos: bool = False) -> list[NotebookNode]:
        """The code cells that grading runs: not the checks, not leftover stubs, demos only where asked for."""
        skipped = {CHECKED, STUB, TEXT} | (set() if demos else {DEMO})
        return [c for c in self.notebook.cells if c.cell_type == "code" and self.roles[c.id] not in skipped]


# ---------------------------------------------------------------------------------------------------------------- reading


def decode(data: bytes) -> tuple[str, list[Note]]:
    """Bytes to text, by byte order mark or by trial."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            note = Note("encoding", f"the file begins with a byte order mark ({encoding.removesuffix('-sig').upper()})")
            return data.decode(encoding, errors="replace"), [note]
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        if data[1:2] == b"\0" or data[:1] == b"\0":
            name = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
            return data.decode(name, errors="replace"), [Note("encoding", "the file is in UTF-16, not UTF-8")]
        return data.decode("cp1252", errors="replace"), [
            Note("encoding", "the file is not in UTF-8; read as Windows-1252")
        ]


def read_notebook(data: bytes) -> tuple[list[RawCell], list[Note]]:
    """The cells of a submitted file.

    Raises:
        Unreadable: with the reason in words.
    """
    if not data.strip():
        raise Unreadable("the file is empty")
    if len(data) > MAX_BYTES:
        raise Unreadable(f"the file is larger than {MAX_BYTES >> 20} MB")
    text, notes = decode(data)
    text = text.lstrip()
    try:
        content, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}"
        what = "it ends too early" if error.pos >= len(text.rstrip()) - 1 else f"{error.msg} at {at}"
        raise Unreadable(f"the file is not a notebook: {what}") from None
    except (RecursionError, ValueError) as error:
        raise Unreadable(f"the file is not a notebook: {type(error).__name__}") from None
    if text[end:].strip():
        notes.append(Note("cut", "text after the end of the notebook was left out"))
    if not isinstance(content, dict):
        raise Unreadable("the file is not a notebook: it holds JSON of another kind")
    cells = content.get("cells")
    if not isinstance(cells, list):
        sheets = content.get("worksheets")
        if not isinstance(sheets, list):
            raise Unreadable("the file is not a notebook: it has no cells")
        cells = [c for s in sheets if isinstance(s, dict) for c in _list(s.get("cells"))]
        notes.append(Note("version", "a notebook of nbformat 3, read as such"))
    found = [cell for cell in map(_cell, cells[:MAX_CELLS]) if cell is not None]
    if len(cells) > MAX_CELLS:
        notes.append(Note("cut", f"only the first {MAX_CELLS} of {len(cells)} cells were read"))
    minor = content.get("nbformat_minor")
    if content.get("nbformat") == 4 and isinstance(minor, int) and minor < 5:
        notes.append(Note("version", f"a notebook of nbformat 4.{minor}, which has no cell ids"))
    return found, notes


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    text = "".join(v for v in value if isinstance(v, str)) if isinstance(value, list) else value
    text = text if isinstance(text, str) else ""
    return text.encode("utf-8", "replace").decode()[:MAX_SOURCE].replace("\r\n", "\n").replace("\r", "\n")


def _cell(raw: Any) -> RawCell | None:
    if not isinstance(raw, dict):
        return None
    kind = raw.get("cell_type")
    kind = kind if kind in ("code", "markdown", "raw") else "markdown"
    source = _text(raw.get("source", raw.get("input")))
    metadata = _dict(raw.get("metadata"))
    marks = _dict(metadata.get("nbgrader"))
    identity = raw.get("id") or metadata.get("id")
    return RawCell(
        kind, source, identity if isinstance(identity, str) else "",
        marks["grade_id"] if isinstance(marks.get("grade_id"), str) else "",
        tuple(t for t in _list(metadata.get("tags")) if isinstance(t, str)), marks.get("points"),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- matching


def defined_names(source: str) -> set[str]:
    """The functions, classes and variables that a cell defines at its top level, also where its syntax is broken."""
    try:
        tree = ast.parse(_without_magics(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(DEFINITION.findall(source))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {leaf.id for t in targets for leaf in ast.walk(t) if isinstance(leaf, ast.Name)}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(a.asname or a.name).split(".")[0] for a in node.names}
    return names


def _without_magics(source: str) -> str:
    return "\n".join("pass" if line.startswith(("%", "!", "?")) else line for line in source.split("\n"))


def _normal(source: str) -> str:
    """What two versions of a cell share when nobody changed it: no comments' spacing, no blank lines, one form of é."""
    return "\n".join(line.rstrip() for line in unicodedata.normalize("NFC", source).split("\n") if line.strip())


def _is_code(source: str) -> bool:
    try:
        return bool(ast.parse(_without_magics(source)).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _alike(one: str, other: str) -> bool:
    if max(len(one), len(other)) > 20_000 or not one or not other:
        return False
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    return matcher.real_quick_ratio() > ALIKE and matcher.quick_ratio() > ALIKE and matcher.ratio() > ALIKE


@dataclass
class _Given:
    """A released cell, and which submitted cells stand for it."""

    cell: NotebookNode
    role: str
    exercise: Exercise | None
    place: int
    found: int | None = None  # index of the submitted cell that takes its place


def _role(cell: NotebookNode, exercises: dict[str, Exercise]) -> tuple[str, Exercise | None]:
    marks = cell.metadata.get("nbgrader", {})
    grade_id = marks.get("grade_id", "")
    if cell.cell_type != "code":
        return TEXT, None
    if marks.get("grade"):
        return CHECKED, exercises.get(grade_id)
    if marks.get("solution"):
        return ANSWER, exercises.get(grade_id.removesuffix("-answer"))
    tags = cell.metadata.get("tags", [])
    return (SETUP if "setup" in tags else DEMO if "demo" in tags else GIVEN), None


def repair(cells: list[RawCell], release: NotebookNode, lesson: Lesson) -> Repaired:
    """Match submitted cells with the released notebook of the lesson and put a complete notebook together."""
    exercises = {e.id.replace(".", "-"): e for e in lesson.exercises}
    given = [_Given(c, *_role(c, exercises), place=i) for i, c in enumerate(release.cells)]
    notes: list[Note] = []
    names = [defined_names(c.source) if c.kind == "code" or _is_code(c.source) else set() for c in cells]
    defines = [tuple(e.id for e in lesson.exercises if n & set(e.objects)) for n in names]

    _match(cells, given, defines, names, notes)
    taken: dict[int, _Given] = {g.found: g for g in given if g.found is not None}
    stubs = _leftover_stubs(cells, given, defines, taken)
    return _assemble(cells, given, taken, stubs, defines, release, notes)


def _match(cells: list[RawCell], given: list[_Given], defines: list[tuple[str, ...]], names: list[set[str]],
           notes: list[Note]) -> None:  # fmt: skip
    """Find for each released cell the submitted one that stands for it; sets `found`."""
    free = set(range(len(cells)))
    lost: list[str] = []

    def take(entry: _Given, candidates: Iterable[int], by: str = "") -> bool:
        chosen = [i for i in candidates if i in free]
        if not chosen:
            return False
        entry.found = chosen[-1] if entry.role == ANSWER else chosen[0]
        free.discard(entry.found)
        if by and entry.exercise is not None:
            lost.append(f"{entry.exercise.name} ({entry.role}) by {by}")
        return True

    for entry in given:
        stub = _normal(entry.cell.source)
        if entry.role == ANSWER and entry.exercise is not None:
            own = [i for i in free if entry.exercise.id in defines[i]]
            marked = [i for i in free if cells[i].grade_id == entry.cell.metadata.nbgrader.grade_id]
            written = sorted(i for i in own if _normal(cells[i].source) != stub)
            named = [i for i in free if cells[i].id == entry.cell.id]
            best = [i for i in written if i in marked] or [i for i in written if i in named]
            (take(entry, best) or take(entry, written, "what it defines") or take(entry, sorted(set(own) & set(marked)))
             or take(entry, marked) or take(entry, named) or take(entry, sorted(own), "what it defines"))  # fmt: skip
        elif entry.role == CHECKED and entry.exercise is not None:
            marked = [i for i in free if cells[i].grade_id == entry.cell.metadata.nbgrader.grade_id]
            named = [i for i in free if cells[i].id == entry.cell.id]
            calls = [i for i in free if not defines[i] and CHECK.findall(cells[i].source) == [entry.exercise.id]
                     and len(_normal(cells[i].source).split("\n")) <= 3]  # fmt: skip
            take(entry, sorted(marked)) or take(entry, sorted(named)) or take(entry, sorted(calls), "the call of check")
    for entry in given:
        if entry.found is None and entry.role not in (ANSWER, CHECKED):
            same = [i for i in free if cells[i].id == entry.cell.id]
            text = _normal(entry.cell.source)
            take(entry, sorted(same)) or take(entry, sorted(i for i in free if _normal(cells[i].source) == text))
    for entry in given:  # what was edited and has lost its id
        if entry.found is None and entry.role in (SETUP, GIVEN, DEMO):
            text = _normal(entry.cell.source)
            take(entry, sorted(i for i in free if cells[i].kind == "code" and not defines[i]
                               and _alike(_normal(cells[i].source), text)))  # fmt: skip
    if lost:
        notes.append(Note("matched", "cells without nbgrader's metadata were matched: " + "; ".join(lost)))


def _leftover_stubs(cells: list[RawCell], given: list[_Given], defines: list[tuple[str, ...]],
                    taken: dict[int, _Given]) -> set[int]:  # fmt: skip
    """Untouched copies of a stub beside a written answer: they must not be run after it."""
    stubs = {_normal(g.cell.source) for g in given if g.role == ANSWER}
    return {i for i, c in enumerate(cells) if i not in taken and defines[i] and _normal(c.source) in stubs}


def _assemble(cells: list[RawCell], given: list[_Given], taken: dict[int, _Given], stubs: set[int],
              defines: list[tuple[str, ...]], release: NotebookNode, notes: list[Note]) -> Repaired:  # fmt: skip
    """Put the notebook together in the release's order, the learner's extra cells behind the cell they stood behind."""
    placed = [g.place for i in range(len(cells)) if (g := taken.get(i)) is not None and g.role != TEXT]
    if placed != sorted(placed):
        notes.append(Note("reordered", "cells stood in another order; they were put back into the released one"))
    following: dict[int, list[int]] = {}
    anchor = -1
    for i in range(len(cells)):
        if i in taken:
            anchor = taken[i].place
        else:
            following.setdefault(anchor, []).append(i)

    made = Repaired(_empty(release), notes=notes)
    used = {c.id for c in release.cells}

    def add(cell: NotebookNode, role: str, exercises: tuple[str, ...] = ()) -> None:
        made.notebook.cells.append(cell)
        made.roles[cell.id] = role
        if exercises:
            made.defines[cell.id] = exercises

    def add_extras(place: int) -> None:
        for i in following.get(place, []):
            identity, number = f"extra-{i}", 0
            while identity in used:
                number += 1
                identity = f"extra-{i}-{number}"
            used.add(identity)
            cell = cells[i]
            role = STUB if i in stubs else _extra_role(cell)
            add(_new(cell, identity), role, () if role == STUB else defines[i])

    add_extras(-1)
    copies = [i for i in range(len(cells)) if i not in taken and (cells[i].grade_id or i in stubs)]
    for entry in given:
        if entry.found is None:
            written = entry.exercise is not None and any(entry.exercise.id in d for d in defines)
            _restore(entry, add, notes, elsewhere=written and entry.role == ANSWER)
        else:
            _keep(entry, cells[entry.found], add, defines[entry.found], notes)
        add_extras(entry.place)
    if copies:
        notes.append(Note("copied", f"{len(copies)} copied cell{'s' * (len(copies) > 1)} beside the original: "
                                    "only one counts as the graded cell"))  # fmt: skip
    extra = [i for i in range(len(cells)) if i not in taken and i not in copies and cells[i].kind == "code"
             and cells[i].source.strip()]  # fmt: skip
    if extra:
        notes.append(Note("extra", f"{len(extra)} code cell{'s' * (len(extra) > 1)} of the learner's own"))
    _common_objects(made, cells)
    return made


def _common_objects(made: Repaired, cells: list[RawCell]) -> None:
    """Say it where the metadata is gone altogether, which stock tools turn into a silent 0."""
    if cells and not any(c.grade_id for c in cells):
        made.notes.append(
            Note("metadata", "nbgrader's metadata was missing in the whole notebook and has been restored")
        )


def _extra_role(cell: RawCell) -> str:
    if cell.kind != "code":
        return TEXT
    lines = _normal(cell.source).split("\n")
    if CHECK.search(cell.source) and len(lines) <= 3 and lines[-1].startswith("check("):
        return CHECKED
    return DEMO if "demo" in cell.tags else EXTRA


def _empty(release: NotebookNode) -> NotebookNode:
    notebook = new_notebook(metadata=copy.deepcopy(dict(release.metadata)))
    notebook.nbformat_minor = 5
    return notebook


def _new(cell: RawCell, identity: str) -> NotebookNode:
    make = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}[cell.kind]
    return make(cell.source, id=identity, metadata={"tags": ["demo"]} if "demo" in cell.tags else {})


def _restore(entry: _Given, add: Any, notes: list[Note], elsewhere: bool) -> None:
    """A released cell that is not in the submission: code comes back, text does not matter.

    An answer that is written elsewhere, in a cell with others, gets its cell back for the gradebook; it is not run.
    """
    if entry.role == TEXT:
        return
    if elsewhere:
        add(copy.deepcopy(entry.cell), STUB)
        notes.append(Note("matched", f"{entry.exercise.name if entry.exercise else ''} is answered in another cell"))
        return
    add(copy.deepcopy(entry.cell), entry.role, (entry.exercise.id,) if entry.role == ANSWER and entry.exercise else ())
    if entry.exercise is not None:
        what = "answer cell (empty)" if entry.role == ANSWER else "check cell"
        notes.append(Note("restored", f"the {what} of {entry.exercise.name} was missing"))
    elif entry.role != DEMO:
        notes.append(Note("given", "a given code cell was missing and has been restored"))


def _keep(entry: _Given, cell: RawCell, add: Any, defines: tuple[str, ...], notes: list[Note]) -> None:
    """A released cell that is in the submission: the learner's text where they write, the released one where they do not."""
    kept = copy.deepcopy(entry.cell)
    name = entry.exercise.name if entry.exercise else ""
    if cell.kind != kept.cell_type and entry.role != TEXT:
        notes.append(Note("type", f"a code cell{' of ' + name if name else ''} had been turned into {cell.kind}"))
    if entry.role == CHECKED:
        if _normal(cell.source) != _normal(kept.source):
            notes.append(Note("restored", f"the check cell of {name} was changed and has been restored"))
        if cell.grade_id and cell.points != kept.metadata.nbgrader.get("points"):
            notes.append(
                Note("restored", f"the points of {name} were changed to {clean(cell.points, 20)} and restored")
            )
    elif entry.role != SETUP:
        kept.source = cell.source
    add(kept, entry.role, defines if entry.role != SETUP else ())
    if entry.role == SETUP and _normal(cell.source) != _normal(kept.source):
        notes.append(Note("restored", "the set-up cell was changed: the released one runs first, then the learner's"))
        add(new_code_cell(cell.source, id=f"{kept.id[:50]}-own"), EXTRA, defines)


# ------------------------------------------------------------------------------------------------- which file it is


@dataclass(frozen=True)
class Candidate:
    """A notebook among the submitted files."""

    name: str
    data: bytes = field(repr=False)
    changed: float = 0.0  # seconds since 1970; 0 where unknown


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKD", name).casefold())


def fits_name(name: str, lesson: Lesson) -> bool:
    """Whether a file's name is the lesson's, give or take what people and browsers add: "03_attention (1).ipynb"."""
    base = _plain(re.sub(r"(?i)(\.ipynb)+$", "", name.rsplit("/", 1)[-1]))
    return _plain(lesson.stem) in base or base == _plain(lesson.name)


def fits_content(cells: list[RawCell], lesson: Lesson) -> int:
    """How many of the lesson's exercises a notebook speaks of: in ids, in checks, in definitions."""
    count = 0
    for exercise in lesson.exercises:
        grade_id = exercise.id.replace(".", "-")
        count += any(
            c.grade_id.removesuffix("-answer") == grade_id or c.id.removesuffix("-answer") == grade_id
            or exercise.id in CHECK.findall(c.source) or defined_names(c.source) & set(exercise.objects)
            for c in cells
        )  # fmt: skip
    return count


def choose(candidates: Iterable[Candidate], lesson: Lesson) -> tuple[Candidate, list[RawCell], list[Note]]:
    """The notebook that counts among all that were handed in: the lesson's, readable, the latest.

    Raises:
        Unreadable: none of them can be read, or none is of this lesson.
    """
    fitting: list[tuple[bool, float, int, Candidate, list[RawCell], list[Note]]] = []
    broken: list[tuple[Candidate, str]] = []
    other: list[str] = []
    for candidate in candidates:
        named = fits_name(candidate.name, lesson)
        try:
            cells, notes = read_notebook(candidate.data)
        except Unreadable as error:
            broken.append((candidate, str(error)))
            continue
        if not named and not fits_content(cells, lesson):
            other.append(candidate.name)
            continue
        number = re.search(r"\((\d+)\)|-Copy(\d+)", candidate.name)
        version = int(next(g for g in number.groups() if g)[:9]) if number else 0
        counts = bool(fits_content(cells, lesson)) or not lesson.exercises
        fitting.append((counts, candidate.changed, version, candidate, cells, notes))
    if not fitting:
        if broken:
            first = next((b for b in broken if fits_name(b[0].name, lesson)), broken[0])
            raise Unreadable(f"{clean(first[0].name, 100)}: {first[1]}")
        raise Unreadable(f"no notebook of lesson {lesson.stem} among {', '.join(clean(o, 60) for o in other[:5])}"
                         if other else "no notebook was handed in")  # fmt: skip
    fitting.sort(key=lambda f: f[:3])
    _, _, _, chosen, cells, notes = fitting[-1]
    if chosen.name != f"{lesson.stem}.ipynb":
        notes = [Note("renamed", f"the notebook is called {clean(chosen.name, 120)}"), *notes]
    if len(fitting) > 1:
        rest = ", ".join(clean(f[3].name, 80) for f in fitting[:-1][:5])
        notes.append(
            Note("several", f"of {len(fitting)} versions the latest counts, {clean(chosen.name, 80)}; not {rest}")
        )
    if other:
        notes.append(Note("files", f"other notebooks were left alone: {', '.join(clean(o, 60) for o in other[:5])}"))
    notes += [Note("unreadable", f"{clean(c.name, 80)} could not be read: {why}") for c, why in broken[:5]]
    return chosen, cells, notes


def empty_notebook(release: NotebookNode) -> NotebookNode:
    """What stands in for a submission that cannot be read, so that formgrader has something to open."""
    return copy.deepcopy(release)


def validated(notebook: NotebookNode) -> NotebookNode:
    """The same notebook; raises `nbformat.ValidationError` where the repair made something invalid (a bug)."""
    nbformat.validate(notebook)
    return notebook
