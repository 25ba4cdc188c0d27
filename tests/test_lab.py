"""A learner's first minutes, for real: `make lab`, a browser, a wrong answer, a right one, nbgrader's Validate."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from grader.paths import BUILD, NOTEBOOKS, ROOT, SOLVED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHOTS = BUILD / "screenshots"
LESSON = "01_patchify.ipynb"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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
        yield browser.new_page(viewport={"width": 1300, "height": 1000})
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`make lab` on a copy of the course's notebooks; gives the address."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns("text", ".ipynb_checkpoints"))
    port = free_port()
    arguments = f"--no-browser --port={port} --ServerApp.port_retries=0 --IdentityProvider.token="
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(root / ".jupyter")}
    log = (root / "lab.log").open("w")
    server = subprocess.Popen(
        ["make", "lab", f"LAB_ROOT={root}", f"LAB_ARGS={arguments}"],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, (root / "lab.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("JupyterLab did not start: " + (root / "lab.log").read_text()[-3000:])
        yield address
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def open_notebook(page: Page, lab: str, path: str) -> None:
    page.goto(f"{lab}/lab/tree/{path}?reset")
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=90_000)
    expect(page.get_by_text("| Idle").first).to_be_visible(timeout=90_000)


def test_make_lab_opens_lesson_01(page: Page, lab: str) -> None:
    page.goto(lab)
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=90_000)
    expect(page.get_by_role("heading", name="Lesson 1")).to_be_visible(timeout=30_000)
    page.screenshot(path=SHOTS / "lesson_01.png")


def run_cell(page: Page, holding: str, replace: str | None = None) -> str:
    """Click the code cell that holds this text, perhaps replace its code, run it; returns what it printed."""
    cell = page.locator(".jp-CodeCell").filter(has_text=holding).first
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    if replace is not None:
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(replace)
        cell = page.locator(".jp-CodeCell.jp-mod-active")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".jp-CodeCell.jp-mod-active .jp-InputPrompt")).to_have_text(
        __import__("re").compile(r"\[\d+\]"), timeout=60_000
    )
    return page.locator(".jp-CodeCell.jp-mod-active .jp-OutputArea").inner_text()


def test_a_learner_sees_unsolved_then_wrong_then_right(page: Page, lab: str) -> None:
    open_notebook(page, lab, f"notebooks/{LESSON}")
    assert "Lesson 01" in run_cell(page, "Run this cell first")
    run_cell(page, "import torch")
    run_cell(page, "def patchify(")
    assert "is not solved yet" in run_cell(page, 'check("patchify.patchify")')
    wrong = "def patchify(images, patch_size):\n  b, c, h, w = images.shape\n  return images.reshape(b, -1, c * patch_size**2)\n"
    run_cell(page, "def patchify(", wrong)
    said = run_cell(page, 'check("patchify.patchify")')
    assert said.strip().startswith("✗ Exercise 1.")
    assert "Traceback" not in said
    page.screenshot(path=SHOTS / "wrong_answer.png")
    right = (
        "from einops import rearrange\n"
        "def patchify(images, patch_size):\n"
        "  if images.shape[-2] % patch_size or images.shape[-1] % patch_size: raise ValueError('indivisible')\n"
        "  return rearrange(images, 'b c (h p) (w q) -> b (h w) (c p q)', p=patch_size, q=patch_size)\n"
    )
    run_cell(page, "def patchify(", right)
    assert "✓ Exercise 1." in run_cell(page, 'check("patchify.patchify")')
    page.screenshot(path=SHOTS / "right_answer.png")


@pytest.mark.parametrize("solved", [False, True])
def test_nbgraders_validate_works_on_the_learner_notebook(solved: bool, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / LESSON, as_version=4)
    if solved:
        answers = {c.id: c.source for c in nbformat.read(SOLVED / LESSON, as_version=4).cells}
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = answers[cell.id]
    nbformat.write(notebook, tmp_path / LESSON)
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "validate", LESSON], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ("Success! Your notebook passes all the tests." in done.stdout) == solved, (
        done.stdout[-2000:] + done.stderr[-2000:]
    )
    if not solved:
        assert "is not solved yet" in done.stdout
