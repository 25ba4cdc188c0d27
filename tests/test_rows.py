"""Every row of what graders get wrong, in variants: each graded beside innocent submissions whose score must not move.

One grading run for all of them. `must` says which exercises still get full points; the others get 0, with a reason.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from made_up_course import EXERCISES, LESSON, POINTS, World, hand_in, make_world, points, reasons, results
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

ALL = EXERCISES
REST = EXERCISES[1:]
NONE: tuple[str, ...] = ()
INNOCENTS = 12


@dataclass
class Row:
    """One submission. `reason` is what `after.double` must get where it does not get its points."""

    name: str
    make: Callable[[World], NotebookNode | bytes | None]
    must: tuple[str, ...] = ALL
    reason: str | tuple[str, ...] = ()
    file: str = f"{LESSON}.ipynb"
    files: dict[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def body(code: str) -> Callable[[World], NotebookNode]:
    """The exercise `double` with this body."""
    return lambda world: world.solved(double="def double(x):\n    " + code.replace("\n", "\n    "))


def cell(code: str, at: int = 2) -> Callable[[World], NotebookNode]:
    """All answers right, one more cell."""

    def make(world: World) -> NotebookNode:
        notebook = world.solved()
        notebook.cells.insert(at, new_code_cell(code))
        return notebook

    return make


def wrong_with(code: str) -> Callable[[World], NotebookNode]:
    """Wrong answers everywhere, after code that tampers with the process."""

    def make(world: World) -> NotebookNode:
        wrong = world.solved(
            double="def double(x):\n    return x",
            Scale="class Scale(nn.Module):\n    def __init__(self, dim):\n        super().__init__()\n"
                  "        self.weight = nn.Parameter(torch.ones(dim))\n    def forward(self, x):\n        return x",
            split="def halve(x):\n    return x, x\ndef join(parts):\n    return parts[0]",
        )  # fmt: skip
        wrong.cells.insert(2, new_code_cell(code))
        return wrong

    return make


def edited(change: Callable[[NotebookNode], None]) -> Callable[[World], NotebookNode]:
    def make(world: World) -> NotebookNode:
        notebook = copy.deepcopy(world.solved())
        change(notebook)
        return notebook

    return make


def find(notebook: NotebookNode, grade_id: str) -> int:
    return next(i for i, c in enumerate(notebook.cells) if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def strip_all(notebook: NotebookNode) -> None:
    notebook.metadata = nbformat.from_dict({})
    for number, c in enumerate(notebook.cells):
        c.metadata, c.id = nbformat.from_dict({}), f"x{number}"


def without(*grade_ids: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        for grade_id in grade_ids:
            del notebook.cells[find(notebook, grade_id)]

    return change


def duplicate(grade_id: str, shift: int = 1) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        place = find(notebook, grade_id)
        twin = copy.deepcopy(notebook.cells[place])
        twin.id = f"twin-{place}"
        notebook.cells.insert(place + shift, twin)

    return change


def stub_copy_after(notebook: NotebookNode) -> None:
    """The learner keeps the empty stub below the answer."""
    place = find(notebook, "after-double-answer")
    stub = new_code_cell('def double(x: Tensor) -> Tensor:\n    """Two times x; raises `ValueError` for a scalar."""\n'
                         "    # YOUR CODE HERE\n    raise NotImplementedError()")  # fmt: skip
    stub.metadata["nbgrader"] = copy.deepcopy(notebook.cells[place].metadata["nbgrader"])
    notebook.cells.append(stub)


def retype(grade_id: str, kind: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        place = find(notebook, grade_id)
        old = notebook.cells[place]
        new = new_markdown_cell(old.source, metadata=old.metadata, id=old.id)
        new.cell_type = kind
        notebook.cells[place] = new

    return change


def marks(place: str, /, **changes: object) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        found = notebook.cells[find(notebook, place)].metadata["nbgrader"]
        for key, value in changes.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value

    return change


def source(grade_id: str, text: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[find(notebook, grade_id)].source = text

    return change


def raw(change: Callable[[bytes], bytes]) -> Callable[[World], bytes]:
    return lambda world: change(nbformat.writes(world.solved()).encode())


def older_format(minor: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        content = json.loads(data)
        content["nbformat_minor"] = minor
        for c in content["cells"]:
            c.pop("id", None)
        return json.dumps(content).encode()

    return change


def format_three(data: bytes) -> bytes:
    content = json.loads(data)
    cells = []
    for c in content["cells"]:
        new = {"cell_type": c["cell_type"], "metadata": c["metadata"]}
        new["input" if c["cell_type"] == "code" else "source"] = c["source"]
        cells.append(new | ({"outputs": [], "language": "python"} if c["cell_type"] == "code" else {}))
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}).encode()


FAKE_ASSERT = """
import builtins, numpy, torch, sys
builtins.isinstance = lambda *a: True
builtins.abs = lambda x: 0
builtins.max = lambda *a, **k: 0
numpy.allclose = numpy.array_equal = torch.equal = torch.allclose = lambda *a, **k: True
torch.testing.assert_close = numpy.testing.assert_allclose = lambda *a, **k: None
torch.Tensor.__eq__ = lambda *a: True
torch.Tensor.allclose = lambda *a, **k: True
"""
FAKE_PROBES = """
import sys, torch, vitcourse.probes as probes, vitcourse.checking as checking
probes.run_probe = lambda *a, **k: {"status": "returned", "data": True, "points": 100}
probes.pack = lambda v: b"x" * 100
probes.plain = lambda v: 1
probes.raised = lambda call: "ValueError"
probes.Draw.normal = lambda self, *shape, **k: torch.zeros(shape)
probes.Draw.__init__ = lambda self, *a, **k: None
probes.scramble = lambda module, seed=0: module
probes.CASES.clear()
checking.run_check = lambda *a: 99
"""
FAKE_KERNEL = """
import grader.execution.kernel as kernel, safetensors.torch, json
kernel.run_cases = lambda *a, **k: safetensors.torch.save({}, metadata={"structure": json.dumps({
    n: {"status": "returned", "data": None, "passed": True, "points": 9} for n in ("numbers", "scrambled", "both")})})
k = get_ipython().kernel
def forged(stream, ident, parent):
    k.session.send(stream, "probe_reply", {"status": "ok", "missing": [], "points": 5, "score": 5, "passed": True},
                   parent, ident=ident, buffers=[b"passed"])
k.shell_handlers["probe_request"] = forged
"""
FAKE_TENSORS = """
import torch
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.ones(2, 3)
def _liar(x):
    return torch.ones(2, 3).as_subclass(Liar)
"""
FORKS = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open("/tmp/daemon", "w").write(str(os.getpid()))
            os.execvp("sleep", ["sleep", "86397"])
        os._exit(0)
"""
FORK_BOMB = """
import os
def bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass
if os.fork() == 0:
    bomb()
"""

DIED, SLOW, LARGE = "kernel died", "timeout", "out of memory"
ROWS = [
    # ----------------------------------------------------------------------------------- loops
    Row("loop-in-function", body("while True: pass"), REST, SLOW),
    Row("loop-in-cell", cell("while True: pass")),
    Row("loop-in-answer-cell", lambda w: w.solved(double="while True: pass\ndef double(x): return 2 * x"), REST, SLOW),
    Row("loop-in-c", body("import re\nreturn re.match(r'(a+)+$', 'a' * 64 + 'b')"), REST, SLOW),
    Row("loop-sum-in-c", body("return sum(range(10 ** 15))"), REST, SLOW),
    Row("loop-sigint-ignored", body("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"),
        REST, SLOW),
    Row("loop-catches-everything", body("while True:\n    try:\n        while True: pass\n    except BaseException: pass"),
        REST, SLOW),
    Row("sleep", body("import time\ntime.sleep(1000)"), REST, SLOW),
    Row("deadlock", body("import threading\nthreading.Lock().acquire()\nl = threading.Lock()\nl.acquire()\nl.acquire()"),
        REST, SLOW),
    Row("busy-thread", cell("import threading\ndef spin():\n    while True: pass\n"
                            "threading.Thread(target=spin, daemon=True).start()")),
    # ----------------------------------------------------------------------------------- dying
    Row("os-exit", body("import os\nos._exit(0)"), REST, DIED),
    Row("os-exit-one", body("import os\nos._exit(1)"), REST, DIED),
    Row("os-exit-in-cell", cell("import os; os._exit(0)")),
    Row("kill-self", body("import os\nos.kill(os.getpid(), 9)"), REST, DIED),
    Row("kill-group", body("import os\nos.killpg(0, 9)"), REST, DIED),
    Row("kill-everything", body("import os\nos.kill(-1, 9)\nimport time\ntime.sleep(1)"), REST, (DIED, "error", "wrong")),
    Row("segfault", body("import ctypes\nctypes.string_at(1)"), REST, DIED),
    Row("abort", body("import os\nos.abort()"), REST, DIED),
    Row("stack-overflow", body("import sys\nsys.setrecursionlimit(10 ** 8)\ndef f(): return f()\nreturn f()"), REST,
        (DIED, LARGE, "error", SLOW)),
    Row("recursion", body("return double(x)"), REST, "error"),
    # ----------------------------------------------------------------------------------- memory, files, processes
    Row("memory-python", body("return bytearray(8 << 30)"), REST, LARGE),
    Row("memory-torch", body("import torch\nreturn torch.ones(8 << 28, dtype=torch.float64)"), REST, LARGE),
    Row("memory-numpy", body("import numpy as np\nreturn np.ones(8 << 28)"), REST, LARGE),
    Row("memory-little-by-little", body("held = []\nwhile True: held.append(bytes(50 << 20))"), REST, LARGE),
    Row("memory-shared", body("import mmap\nheld = []\nwhile True:\n    m = mmap.mmap(-1, 256 << 20)\n"
                              "    m.write(bytes(256 << 20))\n    held.append(m)"), REST, (LARGE, "error", DIED, SLOW)),
    Row("memory-in-cell", cell("x = bytearray(8 << 30)")),
    Row("fills-the-disk", cell("for i in range(100):\n    open(f'big{i}', 'wb').write(bytes(60 << 20))")),
    Row("fork-bomb", cell(FORK_BOMB)),
    Row("daemons", cell(FORKS)),
    Row("many-threads", cell("import threading, time\nfor _ in range(2000):\n"
                             "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()")),
    # ----------------------------------------------------------------------------------- leaving politely, asking
    Row("sys-exit", body("import sys\nsys.exit()"), REST, "error"),
    Row("sys-exit-in-cell", cell("import sys; sys.exit()")),
    Row("quit-in-cell", cell("quit()")),
    Row("exit-in-cell", cell("exit")),
    Row("input-in-cell", cell("name = input('your name')")),
    Row("input-in-function", body("input()\nreturn 2 * x"), REST, "error"),
    Row("keyboard-interrupt", body("raise KeyboardInterrupt"), REST, "error"),
    # ----------------------------------------------------------------------------------- cells tampered with
    Row("check-edited", edited(source("after-double", "1 + 1")), notes=("restored",)),
    Row("check-points-changed", edited(marks("after-double", points=1000)), notes=("restored",)),
    Row("check-to-markdown", edited(retype("after-double", "markdown")), notes=("type",)),
    Row("answer-to-raw", edited(retype("after-double-answer", "raw")), notes=("type",)),
    Row("check-deleted", edited(without("after-double")), notes=("restored",)),
    Row("all-checks-deleted", edited(without("after-double", "after-Scale", "after-split")), notes=("restored",)),
    Row("answer-deleted", edited(without("after-double-answer")), REST, ("not solved", "missing"), notes=("restored",)),
    Row("check-copied", edited(duplicate("after-double")), notes=("copied",)),
    Row("answer-copied", edited(duplicate("after-double-answer")), notes=("copied",)),
    Row("stub-kept-below", edited(stub_copy_after)),
    Row("schema-version-lost", edited(marks("after-double", schema_version=None))),
    Row("grade-id-lost", edited(marks("after-double-answer", grade_id=None))),
    Row("metadata-stripped", edited(strip_all), notes=("matched", "metadata")),
    Row("reordered", edited(lambda n: n.cells.reverse()), notes=("reordered",)),
    Row("setup-deleted", edited(lambda n: n.cells.pop(1)), notes=("given",)),
    Row("everything-in-one-cell", lambda w: nbformat.v4.new_notebook(cells=[new_code_cell("\n".join(
        c.source for c in w.solved().cells if c.cell_type == "code" and "check(" not in c.source and "demo" not in c.source
        and "setup(" not in c.source))])),
    Row("extra-cells", cell("x = 1\nprint(x)")),
    Row("empty-cells", edited(lambda n: n.cells.extend(new_code_cell("") for _ in range(50)))),
    Row("magics", cell("%timeit -n1 -r1 1 + 1\n!echo hello\n%matplotlib inline")),
    Row("await-at-top-level", cell("import asyncio\nawait asyncio.sleep(0.01)")),
    Row("syntax-error-elsewhere", cell("this is not Python")),
    Row("syntax-error-in-answer", lambda w: w.solved(double="def double(x:\n    return 2 * x"), REST, "error"),
    Row("names-shadowed", cell("list = str = print = len = isinstance = 0\nimport torch as _t\n")),
    Row("float64-by-default", cell("import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)")),
    # ----------------------------------------------------------------------------------- forgeries
    Row("fake-assertions", wrong_with(FAKE_ASSERT), NONE),
    Row("fake-probes", wrong_with(FAKE_PROBES), NONE),
    Row("fake-kernel", wrong_with(FAKE_KERNEL), NONE),
    Row("fake-tensors", lambda w: w.solved(double=FAKE_TENSORS + "double = _liar"), REST, "wrong"),
    Row("fake-transformers", wrong_with("import ast\nclass T(ast.NodeTransformer):\n    def visit_Assert(self, n): return None\n"
                                        "get_ipython().ast_transformers.append(T())\n"
                                        "get_ipython().input_transformers_cleanup.append(lambda l: ['100.0'])"), NONE),
    Row("fake-main", wrong_with("import __main__\n__main__.score = __main__.points = 5\npoints = score = 5"), NONE),
    Row("fake-outputs", edited(lambda n: [c.update(outputs=[nbformat.v4.new_output("stream", text="5 of 5")]) for c in n.cells
                                          if c.cell_type == "code"] and source("after-double-answer", "pass")(n)),
        REST, ("missing", "not solved", "error")),
    Row("fake-pickle", wrong_with("import pickle, os\nclass P:\n    def __reduce__(self): return os.system, ('touch /tmp/pwned',)\n"
                                  "import vitcourse.probes as p\np.pack = lambda v: pickle.dumps(P())"), NONE),
    Row("echoes-huge", body("return x.new_zeros(300_000_000 // 4)"), REST, ("wrong", LARGE, SLOW)),
    Row("returns-a-lambda", body("return lambda: 1"), REST, ("error", "wrong")),
    Row("returns-a-huge-number", body("return 10 ** 400"), REST, ("error", "wrong")),
    Row("returns-deep-lists", body("l = []\nfor _ in range(900): l = [l]\nreturn l"), REST, ("error", "wrong")),
    Row("shadows-torch", wrong_with("import torch, numpy, einops"), NONE,
        files={f"{m}.py": b"raise SystemExit\nallclose = equal = lambda *a, **k: True\n" for m in
               ("torch", "numpy", "einops", "safetensors", "solutions", "grader", "sitecustomize")}),
    Row("shadows-but-right", lambda w: w.solved(), ALL,
        files={"einops.py": b"x = 1\n", "numpy.py": b"raise RuntimeError\n", "grader.py": b"", "json.py": b"raise OSError"}),
    Row("solutions-of-their-own", wrong_with("from solutions.after import *"), NONE,
        files={"solutions/after.py": b"def double(x): return x\n", "solutions/before.py": b"def triple(x): return 0\n"}),
    # ----------------------------------------------------------------------------------- output
    Row("prints-100-mb", cell("for _ in range(100): print('x' * 1_000_000)")),
    Row("prints-from-c", cell("import os\nfor _ in range(100): os.write(1, b'y' * 1_000_000)")),
    Row("prints-from-a-process", cell("!yes | head -c 30000000")),
    Row("prints-in-function", body("print('x' * 50_000_000)\nif x.ndim == 0: raise ValueError\nreturn 2 * x")),
    Row("pictures", cell("import matplotlib.pyplot as plt\nfor _ in range(3):\n    plt.plot([1, 2]); plt.show()")),
    Row("warns", body("import warnings, sys\nwarnings.warn('careful')\nprint('oh', file=sys.stderr)\n"
                      "if x.ndim == 0: raise ValueError\nreturn 2 * x")),
    Row("not-unicode", cell("import os; os.write(1, bytes(range(256)))\nprint('\\ud800')")),
    Row("escape-codes", body("raise RuntimeError('\\x1b[2J<script>alert(1)</script>=HYPERLINK(1)')"), REST, "error"),
    # ----------------------------------------------------------------------------------- files
    Row("bom", raw(lambda d: b"\xef\xbb\xbf" + d), notes=("encoding",)),
    Row("utf-16", raw(lambda d: d.decode().encode("utf-16")), notes=("encoding",)),
    Row("latin-1", lambda w: nbformat.writes(cell("# café")(w)).encode("latin-1", "replace").replace(b"caf?", b"caf\xe9"),
        notes=("encoding",)),
    Row("text-after-the-end", raw(lambda d: d + b"\n<<<<<<< HEAD\n"), notes=("cut",)),
    Row("nbformat-4.4", raw(older_format(4)), notes=("version",)),
    Row("nbformat-4.0", raw(older_format(0)), notes=("version",)),
    Row("nbformat-3", raw(format_three), notes=("version",)),
    Row("other-kernelspec", edited(lambda n: n.metadata.update(kernelspec={"name": "julia", "display_name": "Julia"}))),
    Row("renamed-copy", lambda w: w.solved(), file=f"{LESSON} (1).ipynb", notes=("renamed",)),
    Row("renamed-unicode", lambda w: w.solved(), file="Lösung 02_After – Zoë.ipynb", notes=("renamed",)),
    Row("renamed-altogether", lambda w: w.solved(), file="Untitled.ipynb", notes=("renamed",)),
    Row("empty-file", lambda w: b"", NONE, "unreadable"),
    Row("broken-json", raw(lambda d: d[: len(d) // 2]), NONE, "unreadable"),
    Row("not-a-notebook", lambda w: b"\x89PNG\r\n\x1a\n" + bytes(500), NONE, "unreadable"),
    Row("json-of-another-kind", lambda w: b"[1, 2, 3]", NONE, "unreadable"),
    Row("deep-json", lambda w: b"[" * 100_000, NONE, "unreadable"),
    Row("no-notebook", lambda w: None, NONE, "unreadable", files={"answer.txt": b"42"}),
    Row("extra-notebooks", lambda w: w.solved(), files={"scratch.ipynb": b'{"cells": [], "nbformat": 4}'}),
    Row("untouched", lambda w: w.learner(), NONE, "not solved"),
    Row("ünïcode name", lambda w: w.solved()),
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def graded(world: World) -> tuple[Path, str]:
    """All rows and the innocents, graded in one run."""
    course = world.course("rows", exercise_seconds=4)
    every = max(1, len(ROWS) // INNOCENTS)
    for number, row in enumerate(ROWS):
        content = row.make(world)
        if content is not None:
            hand_in(course, row.name, content, row.file)
        for name, data in row.files.items():
            hand_in(course, row.name, data, name)
        if number % every == 0:  # an innocent beside the guilty, by name and so by time
            hand_in(course, f"{row.name}-innocent", world.solved())
    linked = course / "submitted" / "linker" / LESSON
    linked.mkdir(parents=True)
    os.symlink(course / "gradebook.db", linked / "data.db")
    os.symlink(course / "source" / LESSON / f"{LESSON}.ipynb", linked / f"{LESSON}.ipynb")
    done = world.grader("autograde", "2", "-C", course, "--jobs", "4", timeout=580)
    return course, done.stdout + done.stderr


def test_enough_rows() -> None:
    assert len(ROWS) >= 70
    assert len({r.name for r in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_row(row: Row, graded: tuple[Path, str]) -> None:
    course, _ = graded
    got, why = points(course, row.name), reasons(course, row.name)
    found = results(course, row.name)
    for exercise in EXERCISES:
        if exercise in row.must:
            assert (got[exercise], why[exercise]) == (POINTS[exercise], "right"), (exercise, found["exercises"])
        else:
            assert got[exercise] == 0, (exercise, found["exercises"])
            assert why[exercise] != "right"
    if row.reason:
        allowed = (row.reason,) if isinstance(row.reason, str) else row.reason
        assert why["after.double"] in allowed, found["exercises"][0]
    kinds = {n["kind"] for n in found["notes"]}
    assert set(row.notes) <= kinds, found["notes"]


def test_innocents(graded: tuple[Path, str]) -> None:
    course, _ = graded
    innocents = sorted(p.name for p in (course / "submitted").glob("*-innocent"))
    assert len(innocents) >= INNOCENTS
    for name in innocents:
        assert points(course, name) == POINTS, name


def test_links_are_not_followed(graded: tuple[Path, str]) -> None:
    course, _ = graded
    assert set(reasons(course, "linker").values()) == {"unreadable"}
    assert not [p for p in (course / "autograded" / "linker").rglob("*") if p.is_symlink() or p.suffix == ".db"]


def test_sizes_and_leftovers(graded: tuple[Path, str]) -> None:
    course, _ = graded
    for path in (course / "autograded").rglob("*"):
        if path.is_file():
            assert path.stat().st_size < 1_500_000, path
    assert not Path("/tmp/daemon").exists()
    assert not Path("/tmp/pwned").exists()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"86397" not in process.read_bytes(), "a daemon of a submission is alive"
        except OSError:
            continue


def test_nothing_hidden_is_shown(graded: tuple[Path, str]) -> None:
    course, printed = graded
    for path in [*(course / "autograded").rglob("*.ipynb"), *(course / "autograded").rglob("*.json")]:
        text = path.read_text()
        assert "THE_SECRET" not in text, path
        assert "draw.sizes" not in text, path
    assert "THE_SECRET" not in printed
    assert "\x1b[2J" not in printed


def test_gradebook_agrees(graded: tuple[Path, str], world: World) -> None:
    course, _ = graded
    code = (
        "import json\nfrom grader.course import Course\n"
        f"with Course({str(course)!r}).gradebook() as book:\n"
        f"    print(json.dumps({{s.student.id: s.score for s in book.assignment_submissions({LESSON!r})}}))"
    )
    scores = json.loads(world.python(code).splitlines()[-1])
    for row in ROWS:
        assert scores[row.name] == pytest.approx(sum(POINTS[e] for e in row.must)), row.name
