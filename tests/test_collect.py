"""Collecting what learners hand in, and making it whole: formats, names, archives, and notebooks that nobody foresaw."""

from __future__ import annotations

import copy
import io
import json
import os
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from grader import build
from grader.collect import CANVAS, CollectError, Report, collect_all, refusal, student_id
from grader.course import Course
from grader.repair import Candidate, Unreadable, choose, defined_names, fits_name, read_notebook, repair, validated
from grader.text import read_text
from vitcourse.lessons import Lesson, lessons

LESSON: Lesson = next(x for x in lessons() if x.name == "attention")
STEM = LESSON.stem


@pytest.fixture(scope="module")
def learner() -> NotebookNode:
    return build.build(read_text(build.TEXT / f"{STEM}.md")).learner


@pytest.fixture(scope="module")
def submission(learner: NotebookNode) -> NotebookNode:
    """The released notebook with every answer written."""
    notebook = copy.deepcopy(learner)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = cell.source.replace("raise NotImplementedError()", "return 42")
    return notebook


@pytest.fixture
def course(tmp_path: Path) -> Course:
    made = Course(tmp_path / "course")
    made.init()
    (made.root / "release" / STEM).mkdir()
    text = build.written(build.build(read_text(build.TEXT / f"{STEM}.md")).learner)
    (made.root / "release" / STEM / f"{STEM}.ipynb").write_text(text)
    return made


def data(notebook: NotebookNode) -> bytes:
    return nbformat.writes(notebook).encode()


def archive(files: dict[str, bytes], date: tuple[int, ...] = (2024, 5, 1, 12, 0, 0)) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name, date), content, zipfile.ZIP_DEFLATED)  # type: ignore[arg-type]
    return buffer.getvalue()


def handed_in(course: Course) -> dict[str, list[str]]:
    """Student → the files below `submitted/`."""
    base = course.root / "submitted"
    found: dict[str, list[str]] = {}
    for path in sorted(base.rglob("*")):
        if path.is_file() and path.name != "timestamp.txt":
            parts = path.relative_to(base).parts
            found.setdefault(parts[0], []).append("/".join(parts[1:]))
    return found


def kinds(report: Report, student: str) -> set[str]:
    return {n.kind for c in report.collected if c.student == student for n in c.notes}


# ------------------------------------------------------------------------------------------------------------- deliveries


def test_a_folder_per_student(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    for student in ("ada", "bob", "Zoë Müller"):
        folder = tmp_path / "in" / student
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(data(submission))
        (folder / "helper.py").write_text("x = 1")
    report = collect_all([tmp_path / "in"], course)
    expected = [f"{STEM}/{STEM}.ipynb", f"{STEM}/helper.py"]
    assert handed_in(course) == {"ada": expected, "bob": expected, "Zoë Müller": expected}
    assert not report.refused
    assert (tmp_path / "in" / "ada" / f"{STEM}.ipynb").read_bytes() == data(submission)


def test_nbgraders_own_layout(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    folder = tmp_path / "in" / "ada" / STEM
    folder.mkdir(parents=True)
    (folder / f"{STEM}.ipynb").write_bytes(data(submission))
    collect_all([tmp_path / "in"], course)
    assert handed_in(course) == {"ada": [f"{STEM}/{STEM}.ipynb"]}


def test_one_students_folder(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    folder = tmp_path / "ada" / STEM
    folder.mkdir(parents=True)
    (folder / f"{STEM}.ipynb").write_bytes(data(submission))
    collect_all([tmp_path / "ada"], course)
    assert handed_in(course) == {"ada": [f"{STEM}/{STEM}.ipynb"]}


def test_canvas(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    files = {
        f"doejane_12345_678901_{STEM}.ipynb": data(submission),
        f"smithbob_LATE_22345_678902_{STEM}-1.ipynb": data(submission),
        f"oconnor_32345_678903_{STEM} (2).ipynb": data(submission),
    }
    (tmp_path / "submissions.zip").write_bytes(archive(files))
    report = collect_all([tmp_path / "submissions.zip"], course)
    assert set(handed_in(course)) == {"doejane", "smithbob", "oconnor"}
    assert "renamed" in kinds(report, "oconnor")
    assert CANVAS.match("doejane_LATE_1_2_a.ipynb")


@pytest.mark.parametrize("name", ["{who}_{id}_assignsubmission_file_/{file}", "{who}_{id}_assignsubmission_file/{file}",
                                  "{who}_{id}_assignsubmission_file_{file}"])  # fmt: skip
def test_moodle(name: str, tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    files = {name.format(who=who, id=n, file=f"{STEM}.ipynb"): data(submission)
             for n, who in enumerate(("Ada Lovelace", "Émile d'Été"), 100)}  # fmt: skip
    (tmp_path / "Lesson-3.zip").write_bytes(archive(files))
    collect_all([tmp_path / "Lesson-3.zip"], course)
    assert handed_in(course) == {w: [f"{STEM}/{STEM}.ipynb"] for w in ("Ada Lovelace", "Émile d'Été")}


def test_a_zip_in_a_zip_and_a_folder_around(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    inner = archive(
        {f"{STEM}/{STEM}.ipynb": data(submission), "__MACOSX/x": b"", f"{STEM}/.ipynb_checkpoints/a.ipynb": b"{}"}
    )
    outer = archive({"class/Ada_1_assignsubmission_file_/work.zip": inner})
    (tmp_path / "all.zip").write_bytes(outer)
    collect_all([tmp_path / "all.zip"], course)
    assert [f for files in handed_in(course).values() for f in files] == [f"{STEM}/{STEM}.ipynb"]


def test_colab_downloads(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    bare = copy.deepcopy(submission)
    bare.metadata = nbformat.from_dict({"colab": {"provenance": []}})
    for number, cell in enumerate(bare.cells):
        cell.metadata, cell.id = nbformat.from_dict({"id": f"Ab{number}"}), f"Ab{number}"
    for name in (f"{STEM}_ada.ipynb", f"Copy of {STEM} - bob.ipynb", f"cleo {STEM} (1).ipynb"):
        (tmp_path / name).write_bytes(data(bare))
    report = collect_all(sorted(tmp_path.glob("*.ipynb")), course)
    assert set(handed_in(course)) == {"ada", "bob", "cleo"}
    assert {"matched", "metadata"} <= kinds(report, "ada")


def test_several_versions(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    for number, name in enumerate((f"{STEM}.ipynb", f"{STEM} (1).ipynb", f"{STEM}_final.ipynb")):
        (folder / name).write_bytes(data(submission))
        os.utime(folder / name, (1_700_000_000 + number, 1_700_000_000 + number))
    report = collect_all([tmp_path / "in"], course)
    assert "several" in kinds(report, "ada")
    said = next(n.text for n in report.collected[0].notes if n.kind == "several")
    assert f"{STEM}_final.ipynb; not" in said


def test_a_second_delivery_keeps_the_first(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    later = copy.deepcopy(submission)
    later.cells.append(new_code_cell("later = True"))
    for number, notebook in enumerate((submission, later)):
        folder = tmp_path / str(number) / "ada"
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(data(notebook))
        os.utime(folder / f"{STEM}.ipynb", (1_700_000_000 + number, 1_700_000_000 + number))
        collect_all([tmp_path / str(number)], course)
    assert handed_in(course)["ada"] == [f"{STEM}/{STEM} (earlier 1).ipynb", f"{STEM}/{STEM}.ipynb"]
    read = course.submitted(LESSON, "ada")
    chosen = choose([Candidate(n, d, read.changed[n]) for n, d in read.files.items()], LESSON)[0]
    assert b"later = True" in chosen.data


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "name", ["../../gradebook.db", "/etc/passwd", "a/../../b.ipynb", "..\\..\\x.ipynb", "C:\\x.ipynb"]
)
def test_paths_that_lead_out(name: str, tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    (tmp_path / "in.zip").write_bytes(archive({name: b"x", f"ada/{STEM}.ipynb": data(submission)}))
    report = collect_all([tmp_path / "in.zip"], course)
    assert handed_in(course) == {"ada": [f"{STEM}/{STEM}.ipynb"]}
    assert any("path" in why for _, why in report.refused)
    assert refusal(name)


def test_links_are_refused(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    (tmp_path / "secret.txt").write_text("the gradebook")
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    (folder / f"{STEM}.ipynb").write_bytes(data(submission))
    (folder / "data.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "more").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (tmp_path / "in" / "bob").symlink_to(folder)
    report = collect_all([tmp_path / "in"], course)
    assert handed_in(course) == {"ada": [f"{STEM}/{STEM}.ipynb"]}
    assert len(report.refused) >= 3

    entry = zipfile.ZipInfo("cleo/link.ipynb")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(entry, "/etc/passwd")
        made.writestr(f"cleo/{STEM}.ipynb", data(submission))
    (tmp_path / "in.zip").write_bytes(buffer.getvalue())
    report = collect_all([tmp_path / "in.zip"], course)
    assert handed_in(course)["cleo"] == [f"{STEM}/{STEM}.ipynb"]
    assert ("a link") in [why for _, why in report.refused]


def test_a_zip_bomb_is_refused(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    bomb = archive({"ada/zeros.bin": bytes(45 << 20), f"ada/{STEM}.ipynb": data(submission)})
    (tmp_path / "in.zip").write_bytes(bomb)
    report = collect_all([tmp_path / "in.zip"], course)
    assert handed_in(course) == {"ada": [f"{STEM}/{STEM}.ipynb"]}
    assert "unpacks to 45 MB" in report.refused[0][1]
    nested = archive({f"{n}.zip": archive({"x.zip": archive({"y.zip": archive({"z": b""})})}) for n in range(3)})
    (tmp_path / "nested.zip").write_bytes(nested)
    collect_all([tmp_path / "nested.zip"], course)


def test_other_things_are_refused_in_words(tmp_path: Path, course: Course, submission: NotebookNode) -> None:
    (tmp_path / "broken.zip").write_bytes(archive({f"{STEM}.ipynb": data(submission)})[:-30])
    (tmp_path / "notes.txt").write_text("hello")
    with tarfile.open(tmp_path / "in.tar", "w") as made:
        made.add(tmp_path / "notes.txt")
    (tmp_path / "other.ipynb").write_bytes(data(nbformat.v4.new_notebook(cells=[new_code_cell("1")])))
    report = collect_all(sorted(tmp_path.glob("*.*")), course)
    assert not report.collected
    assert len(report.refused) == 4
    with pytest.raises(CollectError):
        collect_all([tmp_path / "missing"], course)


@pytest.mark.parametrize(("name", "must"), [("Ada Lovelace", "Ada Lovelace"), ("../x", "-x"), ("a+b/c", "a-b-c"),
                                            ("  . ", "unnamed"), ("e\u0301", "\xe9"), ("=cmd()", "=cmd()")])  # fmt: skip
def test_student_ids(name: str, must: str) -> None:
    assert student_id(name) == must


# ----------------------------------------------------------------------------------------------------------------- repair


def test_a_whole_notebook_needs_nothing(submission: NotebookNode, learner: NotebookNode) -> None:
    cells, notes = read_notebook(data(submission))
    made = repair(cells, learner, LESSON)
    assert not notes
    assert not made.notes
    assert [c.source for c in made.notebook.cells] == [c.source for c in submission.cells]
    assert [c.id for c in made.notebook.cells] == [c.id for c in learner.cells]


def test_demo_and_check_cells_are_not_run(submission: NotebookNode, learner: NotebookNode) -> None:
    made = repair(read_notebook(data(submission))[0], learner, LESSON)
    run = {c.id for c in made.to_run()}
    for cell in learner.cells:
        if "demo" in cell.metadata.get("tags", []) or cell.metadata.get("nbgrader", {}).get("grade"):
            assert cell.id not in run
    assert run <= {c.id for c in made.to_run(demos=True)}


@pytest.mark.parametrize("exercise", LESSON.exercises, ids=lambda e: e.name)
def test_an_answer_is_found_by_what_it_defines(exercise: Any, submission: NotebookNode, learner: NotebookNode) -> None:
    text = "\n".join(f"{name} = lambda *a: 42" for name in exercise.objects)
    bare = nbformat.v4.new_notebook(cells=[new_markdown_cell("my work"), new_code_cell(text)])
    made = repair(read_notebook(data(bare))[0], learner, LESSON)
    own = [i for i, e in made.defines.items() if e == (exercise.id,) and i in {c.id for c in made.to_run()}]
    assert len(own) == 1
    assert next(c.source for c in made.notebook.cells if c.id == own[0]) == text


@pytest.mark.parametrize("name", ["03_attention.ipynb", "03_attention (1).ipynb", "03_Attention-Copy2.ipynb", "attention.ipynb",
                                  "Ada 03 attention final.ipynb", "03_attention.ipynb.ipynb", "a/b/03-attention.ipynb"])  # fmt: skip
def test_names_that_fit(name: str) -> None:
    assert fits_name(name, LESSON)


@pytest.mark.parametrize("name", ["03_attentive.ipynb", "scratch.ipynb", "04_vision_transformer.ipynb", ".ipynb"])
def test_names_that_do_not_fit(name: str) -> None:
    assert not fits_name(name, LESSON)


@pytest.mark.parametrize(("source", "names"), [
    ("def f(): pass\nclass C: pass\nx = y = 1\nz: int = 2", {"f", "C", "x", "y", "z"}),
    ("%matplotlib inline\n!ls\ndef f(): pass", {"f"}),
    ("def f(:\n  pass", {"f"}),
    ("from a import b as c", {"c"}),
    ("if True:\n    def inner(): pass", set()),
])  # fmt: skip
def test_what_a_cell_defines(source: str, names: set[str]) -> None:
    assert defined_names(source) == names


# ----------------------------------------------------------------------------------------------------------------- fuzzing

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
SOURCE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["check(\"attention.scaled_dot_product_attention\")", "def scaled_dot_product_attention(q, k, v): return 1",
                     "def scaled_dot_product_attention(", "%%capture\n1", "\x00", "\ud800", "raise NotImplementedError()"]),
    st.lists(st.text(max_size=10), max_size=3),
    JSON,
)  # fmt: skip
CELL = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "cell_type": st.sampled_from(["code", "markdown", "raw", "heading"]) | JSON,
            "source": SOURCE,
            "input": SOURCE,
            "id": st.sampled_from(["attention-title", "attention-setup", "attention-scaled_dot_product_attention-answer"]) | JSON,
            "metadata": st.one_of(JSON, st.fixed_dictionaries({"nbgrader": st.one_of(JSON, st.fixed_dictionaries(
                {}, optional={"grade_id": st.sampled_from(["attention-scaled_dot_product_attention",
                                                           "attention-scaled_dot_product_attention-answer"]) | JSON,
                              "points": JSON, "grade": JSON}))}), st.fixed_dictionaries({"tags": JSON})),
            "outputs": JSON,
        },
    ),
)  # fmt: skip
NOTEBOOK = st.fixed_dictionaries(
    {"cells": st.lists(CELL, max_size=8) | JSON},
    optional={"nbformat": JSON, "nbformat_minor": JSON, "metadata": JSON, "worksheets": JSON},
)


def read_or_refused(content: bytes) -> list[Any] | None:
    """The cells; None where the file is refused, with words."""
    try:
        return read_notebook(content)[0]
    except Unreadable as error:
        if not str(error):
            raise AssertionError("refused without a reason") from error
        return None


def whole(cells: list[Any], learner: NotebookNode) -> None:
    """What must hold of every repaired notebook."""
    made = repair(cells, learner, LESSON)
    validated(made.notebook)
    ids = [c.id for c in made.notebook.cells]
    assert len(set(ids)) == len(ids)
    assert set(made.roles) == set(ids)
    grade_ids = [c.metadata.nbgrader.grade_id for c in made.notebook.cells if "nbgrader" in c.metadata]
    assert sorted(grade_ids) == sorted(c.metadata.nbgrader.grade_id for c in learner.cells if "nbgrader" in c.metadata)
    for cell in learner.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            kept = next(c for c in made.notebook.cells if c.id == cell.id)
            assert (kept.source, kept.metadata, kept.cell_type) == (cell.source, cell.metadata, "code")
    again = repair(read_notebook(data(made.notebook))[0], learner, LESSON)
    assert [c.source for c in again.to_run()] == [c.source for c in made.to_run()]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(content=NOTEBOOK | JSON)
def test_any_json_is_repaired_or_refused(content: Any, learner: NotebookNode) -> None:
    cells = read_or_refused(json.dumps(content).encode())
    if cells is not None:
        whole(cells, learner)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300), cut=st.integers(0, 3000), at=st.integers(0, 3000))
def test_any_bytes_are_read_or_refused(
    noise: bytes, cut: int, at: int, submission: NotebookNode, learner: NotebookNode
) -> None:
    original = data(submission)
    for damaged in (noise, original[:cut] + noise, original[:at] + noise + original[at + len(noise) :]):
        cells = read_or_refused(damaged)
        if cells is not None:
            whole(cells, learner)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False), drop=st.sets(st.integers(0, 40)), twin=st.sets(st.integers(0, 40)),
       bare=st.booleans())  # fmt: skip
def test_any_shuffling_is_undone(order: Any, drop: set[int], twin: set[int], bare: bool, submission: NotebookNode,
                                 learner: NotebookNode) -> None:  # fmt: skip
    shuffled = copy.deepcopy(submission)
    cells = [c for i, c in enumerate(shuffled.cells) if i not in drop]
    cells += [copy.deepcopy(c) for i, c in enumerate(cells) if i in twin]
    order.shuffle(cells)
    for cell in cells if bare else []:
        cell.metadata = nbformat.from_dict({})
    found, _ = read_notebook(
        json.dumps({"cells": [dict(c) for c in cells], "nbformat": 4, "nbformat_minor": 4}).encode()
    )
    whole(found, learner)
    if not drop:
        made = repair(found, learner, LESSON)
        answers = {c.id: c.source for c in submission.cells if c.metadata.get("nbgrader", {}).get("solution")}
        assert {c.id: c.source for c in made.notebook.cells if c.id in answers} == answers
