"""The sandbox from inside: what a submission can and cannot reach, as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spy

from grader.execution import provisioner, sandbox
from grader.execution.runner import Budget, Cell, Job, Run, run
from grader.execution.sandbox import Limits, SandboxError, missing_part, readable_paths

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(bool(missing_part()), reason=f"NO SANDBOX ON THIS MACHINE: {missing_part()}")
# An ordinary user, where the tests run as root: the same files, another uid, no rights over the machine.
AS_USER = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
# … and in a container that hides a part of /proc, so that no other /proc can be mounted.
HIDDEN_PROC = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs none /proc/irq && exec "$@"', "sh", *AS_USER]
WAYS: dict[str, list[str]] = {"as it is": [], "as a user": AS_USER, "where /proc is hidden": HIDDEN_PROC}


@pytest.fixture(scope="module", params=WAYS)
def spied(request: pytest.FixtureRequest) -> dict[str, Any]:
    prefix = WAYS[request.param]
    if prefix and (os.geteuid() != 0 or not shutil.which("unshare")):
        pytest.skip("NOT TESTED: to try other users this needs root and `unshare`")
    if prefix and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"NOT TESTED: {' '.join(prefix)} does not work here")
    done = subprocess.run(
        [*prefix, sys.executable, str(ROOT / "tests" / "spy.py"), "sandbox"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == "ok", found
    return {**found["said"], "intact": found["intact"], "way": request.param}


def test_nothing_outside_can_be_reached(spied: dict[str, Any]) -> None:
    succeeded = {name: spied[name] for name in spy.ATTEMPTS if spied[name][0] != "raised"}
    assert not succeeded
    assert spied["intact"]


def test_what_a_notebook_needs_works(spied: dict[str, Any]) -> None:
    failed = {name: spied[name] for name in spy.ALLOWED if spied[name][0] != "did"}
    assert not failed


def test_what_can_be_seen(spied: dict[str, Any]) -> None:
    def seen(name: str) -> str:
        assert spied[name][0] == "did", (name, spied[name])
        return spied[name][1]

    assert seen("uid") != "0"
    assert "SECRET_OF_THE_GRADER" not in seen("environment") + seen("initial environment") + seen("arguments")
    assert "password" not in seen("environment") + seen("initial environment") + seen("arguments")
    assert set(eval(seen("modules"))) == {
        "grader", "grader.execution", "grader.execution.sandbox", "grader.execution.template", "grader.execution.kernel",
    }  # fmt: skip
    assert len(eval(seen("processes"))) <= 4
    assert str(os.getpid()) not in eval(seen("processes"))
    files = [f for f in eval(seen("open files")) if not f.startswith(("socket:", "pipe:", "anon_inode:", "/dev/"))]
    assert [f for f in files if not f.startswith(("/proc/", "/tmp/"))] == []
    assert set(eval(seen("folder"))) >= {"helper.py"}
    assert not [f for f in eval(seen("tmp")) if f.startswith("spied-")]
    assert len(eval(seen("everything below tmp"))) < 60  # also: the root is not mounted inside itself
    assert seen("core") == "(0, 0)"
    assert set(eval(seen("capabilities"))) == {"0" * 16}
    assert eval(seen("interfaces")) == ["lo"]


# ------------------------------------------------------------------------------------------------------------- one kernel


def go(*sources: str, **options: Any) -> Run:
    cells = tuple(Cell(f"c{i}", s) for i, s in enumerate(sources))
    return asyncio.run(run(Job(cells, (), "", "", 0, **options)))


@pytest.fixture(scope="module", autouse=True)
def _end_of_template() -> Iterator[None]:
    yield
    provisioner.Template.stop()


def printed(outcome: Run, cell: int = 0) -> str:
    return "".join(o.get("text", "") for o in outcome.cells[cell].outputs)


def test_every_process_ends_with_the_kernel() -> None:
    number = str(40_000_000 + os.getpid())
    began = time.monotonic()
    outcome = go(
        "import os, subprocess\n"
        f"for _ in range(3): subprocess.Popen(['sleep', '{number}'], start_new_session=True)\n"
        f"if os.fork() == 0:\n    os.setsid()\n    os.fork()\n    os.execvp('sleep', ['sleep', '{number}'])"
    )
    assert outcome.cells[0].status == "ok"
    assert time.monotonic() - began < 60
    alive = [p for p in Path("/proc").glob("[0-9]*/cmdline") if number.encode() in _read(p)]
    assert alive == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_folders_are_removed() -> None:
    where = printed(go("import os; print(os.getcwd())")).strip()
    assert where
    assert not Path(where).exists()


def test_processes_are_limited() -> None:
    outcome = go(
        "import os, time\ncount = 0\n"
        "try:\n    while count < 500:\n        if os.fork() == 0: time.sleep(30); os._exit(0)\n        count += 1\n"
        "except OSError as error: print(count, error)",
        limits=Limits(processes=40),
    )
    assert "Resource temporarily unavailable" in printed(outcome), outcome.cells
    assert int(printed(outcome).split()[0]) < 40


def test_memory_of_all_processes_is_limited() -> None:
    code = (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        held = bytearray(b'x') * (250 << 20)\n"
        "        time.sleep(60)\ntime.sleep(30)"
    )
    outcome = go(code, limits=Limits(memory_mb=400), budget=Budget(exercise_seconds=20, restarts=0))
    assert outcome.cells[0].status == "out of memory", outcome.cells


def test_a_large_file_is_refused() -> None:
    assert "File too large" in go("open('big', 'wb').write(bytes(3 << 20))", limits=Limits(file_mb=1)).cells[0].error


def test_missing_landlock_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "landlock_abi", lambda: 0)
    missing_part.cache_clear()
    try:
        with pytest.raises(SandboxError, match=r"no Landlock.*--isolation none"):
            go("1 + 1")
        assert go("print('unprotected')", isolation="none").cells[0].status == "ok"
    finally:
        monkeypatch.undo()
        missing_part.cache_clear()


def test_isolation_none_ends_all_processes_too() -> None:
    number = str(50_000_000 + os.getpid())
    go(f"import subprocess; subprocess.Popen(['sleep', '{number}'], start_new_session=True)", isolation="none")
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if number.encode() in _read(p)] == []


# -------------------------------------------------------------------------------------------------------------- the paths


def test_hidden_paths_are_left_out(tmp_path: Path) -> None:
    for name in ("site/torch/a.py", "site/solutions/b.py", "site/grader/c.py", "site/one.py", "other/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "site" / "link").symlink_to(tmp_path / "site" / "solutions")
    site = tmp_path / "site"
    shown = readable_paths([str(site), str(tmp_path / "other"), str(tmp_path / "missing")],
                           [str(site / "solutions"), str(site / "grader")])  # fmt: skip
    assert shown == [str(site / "one.py"), str(site / "torch"), str(tmp_path / "other")]


def test_the_repository_is_not_readable() -> None:
    roots = provisioner.readable_roots()
    assert str(ROOT) not in roots
    assert not [r for r in roots if Path(r).resolve() in ROOT.parents]
    assert [r for r in roots if r.endswith("vitcourse")]
