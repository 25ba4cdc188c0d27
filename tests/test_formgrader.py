"""An instructor's afternoon, for real: the command line from release to export, then formgrader in a browser."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from typer.testing import CliRunner

from grader import build, demo
from grader.build import grade_id
from grader.cli import app
from grader.course import find_lesson
from grader.paths import BUILD, ROOT
from grader.text import read_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = BUILD / "screenshots"
LESSON = find_lesson("03")
FIRST = LESSON.exercises[0]
STUDENTS = ("ada", "ben", "cleo")
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
}  # fmt: skip


def grader(course: Path, *arguments: str) -> str:
    """`grader …` on the course, in a process of its own; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "grader", *arguments, "-C", str(course)], env=ENVIRONMENT, cwd=course.parent,
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, f"grader {arguments}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def here(course: Path, *arguments: str) -> str:
    """`grader …` in this process, which has nbgrader imported already."""
    done = CliRunner().invoke(app, [*arguments, "-C", str(course)])
    assert done.exit_code == 0, f"grader {arguments}:\n{done.output}\n{done.exception!r}"
    return done.output


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released, collected and graded lesson: ada is right, ben has one wrong answer, cleo has done nothing."""
    root = tmp_path_factory.mktemp("term")
    made = build.build(read_text(build.TEXT / f"{LESSON.stem}.md"))
    perfect = demo.with_answers(made.learner, made.source)
    wrong = demo.replaced(FIRST, "lambda q, k, v: v")
    ben = demo.with_answers(
        made.learner, made.source, lambda g, code: f"{code}\n{wrong}" if g == grade_id(FIRST.id) else code
    )
    for student, notebook in zip(STUDENTS, (perfect, ben, made.learner), strict=True):
        folder = root / "handed_in" / student
        folder.mkdir(parents=True)
        (folder / f"{LESSON.stem}.ipynb").write_bytes(demo.notebook_bytes(notebook))
    folder = root / "course"
    here(folder, "release", "03")
    assert "3 collected, 0 refused" in here(folder, "collect", str(root / "handed_in"))
    grader(folder, "autograde", "03")
    return folder


def exported(course: Path, style: str) -> list[dict[str, str]]:
    here(course, "export", "--format", style)
    with (course / f"marks-{style}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_feedback_report_and_export_run_on_a_graded_class(course: Path) -> None:
    here(course, "feedback", "03")
    pages = {s: (course / "feedback" / s / LESSON.stem / f"{LESSON.stem}.html").read_text() for s in STUDENTS}
    assert f"{LESSON.points} of {LESSON.points} points" in pages["ada"]
    assert pages["ben"].count("✗") == 1
    assert pages["cleo"].count("✗ not solved") == len(LESSON.exercises)
    here(course, "report", "03")
    report = (course / "reports" / f"{LESSON.stem}.html").read_text()
    assert all(s in report for s in STUDENTS)
    rows = {r["student"]: r for r in exported(course, "spreadsheet")}
    total = f"lesson {LESSON.number:02d} points (of {LESSON.points})"
    assert float(rows["ada"][total]) == LESSON.points
    assert LESSON.points - FIRST.points <= float(rows["ben"][total]) < LESSON.points
    assert float(rows["cleo"][total]) == 0
    assert "not solved" in rows["cleo"][f"lesson {LESSON.number:02d} remarks"]
    assert [float(r[f"Lesson 03 {LESSON.title}"]) for r in exported(course, "moodle")] == [
        float(rows[s][total]) for s in STUDENTS
    ]
    assert len(exported(course, "canvas")) == len(STUDENTS) + 1


# -------------------------------------------------------------------------------------------------------------- formgrader


@pytest.fixture(scope="module")
def lab(course: Path) -> Iterator[str]:
    """JupyterLab started in the course folder, as the instructor's guide says; gives the address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    log = course.parent / "lab.log"
    root = ["--allow-root"] if os.geteuid() == 0 else []
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
             "--IdentityProvider.token=", *root],
            cwd=course, env={**ENVIRONMENT, "JUPYTER_CONFIG_DIR": str(course.parent / ".jupyter")},
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("JupyterLab did not start: " + log.read_text()[-3000:])
        yield address
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.fail("the browser tests need Chromium: install Debian's package `chromium`")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        found = browser.new_page(viewport={"width": 1300, "height": 900})
        found.set_default_timeout(60_000)
        yield found
        browser.close()


def row(page: Page, words: str) -> str:
    """The text of the table row that holds some words."""
    found = page.locator("tbody tr").filter(has_text=words).first
    expect(found).to_be_visible(timeout=60_000)
    return re.sub(r"\s+", " ", found.inner_text())


def test_formgrader_shows_the_lesson_and_its_submissions(page: Page, lab: str) -> None:
    page.goto(f"{lab}/formgrader/manage_assignments")
    assert LESSON.stem in row(page, LESSON.stem)
    page.screenshot(path=SHOTS / "formgrader_lessons.png")
    page.goto(f"{lab}/formgrader/manage_submissions/{LESSON.stem}")
    assert f"{LESSON.points} / {LESSON.points}" in row(page, "ada")
    assert re.search(r"\b(?!24 )[\d.]+ / 24", row(page, "ben"))
    assert "0 / 24" in row(page, "cleo")
    page.screenshot(path=SHOTS / "formgrader_submissions.png")


def test_points_given_by_hand_are_the_ones_exported(page: Page, lab: str, course: Path) -> None:
    page.goto(f"{lab}/formgrader/manage_students/ben/{LESSON.stem}")
    page.locator("tbody tr a").first.click()
    box = page.locator(f"input.score#{grade_id(FIRST.id)}")
    expect(box).to_be_visible()
    box.scroll_into_view_if_needed()
    page.screenshot(path=SHOTS / "formgrader_submission.png")
    with page.expect_response(lambda r: "/formgrader/api/grade/" in r.url and r.request.method == "PUT") as saved:
        box.fill("1.5")
        box.press("Tab")
    assert saved.value.ok
    words = page.locator("textarea.comment").first
    with page.expect_response(lambda r: "/formgrader/api/comment/" in r.url and r.request.method == "PUT") as saved:
        words.fill("Nearly: <b>weights</b> are missing")
        words.press("Tab")
    assert saved.value.ok
    name = f"{FIRST.number} {FIRST.title} (of {FIRST.points})"
    marks = {r["student"]: r[name] for r in exported(course, "spreadsheet")}
    assert marks == {"ada": f"{FIRST.points}", "ben": "1.5", "cleo": "0"}
    here(course, "feedback", "03")
    page_of_ben = (course / "feedback" / "ben" / LESSON.stem / f"{LESSON.stem}.html").read_text()
    assert "a person has set 1.5" in page_of_ben
    assert "Nearly: &lt;b&gt;weights&lt;/b&gt; are missing" in page_of_ben
