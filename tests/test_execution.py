"""Grading end to end: kernels, restarts, hidden code, resume, regrade, other databases, other machines."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from made_up_course import LESSON, POINTS, World, hand_in, make_world, points, reasons, results
from nbformat.v4 import new_code_cell, new_notebook

import vitcourse.probes
from grader import autograde
from grader import results as stored
from grader.cases import cases_of
from grader.execution import runner
from grader.execution.provisioner import Template, WarmProvisioner
from grader.execution.runner import Budget, Cell, Job, Task, run
from grader.execution.sandbox import missing_part
from grader.grading import expected
from vitcourse.lessons import lessons
from vitcourse.probes import unpack

ROOT = Path(__file__).resolve().parent.parent
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = pytest.mark.skipif(bool(missing_part()), reason=f"NO SANDBOX ON THIS MACHINE: {missing_part()}")

CASES = """
SECRET_LINE_OF_THE_CASES = 1
from vitcourse.probes import case
@case("x.f", points=1, about="numbers")
def numbers(answer, draw):
    return answer(draw.normal(2, 3))
@case("x.g", points=1, about="more")
def more(answer, draw):
    return answer(draw.normal(3, 2))
"""
TASKS = (Task("x.f", ("f",)), Task("x.g", ("g",)))


def job(*sources: str, **options: object) -> Job:
    cells = tuple(Cell(f"c{i}", s) for i, s in enumerate(sources))
    probes = Path(vitcourse.probes.__file__).read_text()
    return Job(cells, TASKS, CASES, probes, 7, **options)  # type: ignore[arg-type]


def go(*sources: str, **options: object) -> runner.Run:
    return asyncio.run(run(job(*sources, **options)))


@pytest.fixture(scope="module", autouse=True)
def _end_of_template() -> Iterator[None]:
    yield
    Template.stop()


# ---------------------------------------------------------------------------------------------------------------- kernels


def test_nbclient_runs_a_notebook_in_a_warm_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from jupyter_client.provisioning import factory
    from nbclient import NotebookClient

    registry = factory.KernelProvisionerFactory.instance()
    entry = EntryPoint("vitcourse-warm", "grader.execution.provisioner:WarmProvisioner", registry.GROUP_NAME)
    monkeypatch.setitem(registry.provisioners, "vitcourse-warm", entry)
    monkeypatch.setattr(registry, "default_provisioner_name", "vitcourse-warm")
    assert '"grader.execution.provisioner:WarmProvisioner"' in (ROOT / "pyproject.toml").read_text()
    code = "import sys, os; print('torch' in sys.modules, os.getcwd())", "1 / 0", "print('after')"
    notebook = new_notebook(cells=[new_code_cell(c) for c in code])
    (tmp_path / "book").mkdir()
    done = NotebookClient(notebook, allow_errors=True, timeout=60,
                          resources={"metadata": {"path": str(tmp_path / "book")}}).execute()  # fmt: skip
    assert done.cells[0].outputs[0].text == f"True {tmp_path / 'book'}\n"
    assert done.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert done.cells[2].outputs[0].text == "after\n"


def test_interrupt_reaches_the_kernel() -> None:
    async def interrupted() -> str:
        session = runner.Session(job())
        await session.start()
        try:
            request = session.client.execute("import time\ntime.sleep(60)")
            await asyncio.sleep(0.5)
            await session.provisioner.send_signal(signal.SIGINT)
            return str((await session._reply(request, 20))["content"]["ename"])
        finally:
            await session.stop()

    assert asyncio.run(interrupted()) == "KeyboardInterrupt"


def test_a_dead_kernel_is_noticed_at_once() -> None:
    began = time.monotonic()
    outcome = go("import os, time; time.sleep(0.1); os._exit(3)", "f = g = lambda x: x", budget=Budget(60, 120))
    assert [c.status for c in outcome.cells] == ["kernel died", "ok"]
    assert outcome.cells[0].seconds < 5
    assert time.monotonic() - began < 60
    assert [t.status for t in outcome.tasks] == ["ran", "ran"]


def test_a_fault_costs_what_it_touched() -> None:
    outcome = go("print('once')", "while True: pass", "def f(x):\n    while True: pass\ng = lambda x: 2 * x",
                 budget=Budget(exercise_seconds=3))  # fmt: skip
    assert [c.status for c in outcome.cells] == ["ok", "timeout", "ok"]
    assert [t.status for t in outcome.tasks] == ["timeout", "ran"]
    assert unpack(outcome.tasks[1].packed)["more"]["status"] == "returned"
    assert outcome.restarts == 2


def test_a_submission_has_a_limit_too() -> None:
    began = time.monotonic()
    outcome = go(*["import time; time.sleep(3)"] * 20, "f = g = lambda x: x", budget=Budget(5, 8))
    assert time.monotonic() - began < 60
    assert {t.status for t in outcome.tasks} == {"timeout"}


def test_results_do_not_depend_on_the_process() -> None:
    one, two = go("f = g = lambda x: x"), go("import torch; torch.rand(99)\nf = g = lambda x: x")
    assert [t.packed for t in one.tasks] == [t.packed for t in two.tasks]


def test_hidden_code_is_nowhere() -> None:
    spy = """
import gc, inspect, linecache, os, sys
def f(x):
    print("PRINTED WHILE ASKED")
    os.system("echo PRINTED WHILE ASKED")
    frame, found = sys._getframe(1), []
    found += [str(h) for h in (In, Out, _ih, get_ipython().history_manager.input_hist_raw)]
    while frame:
        found += [linecache.getline(frame.f_code.co_filename, frame.f_lineno), inspect.getsourcefile(frame.f_code) or ""]
        try:
            found.append(inspect.getsource(frame.f_code))
        except OSError:
            pass
        frame = frame.f_back
    for folder in (os.getcwd(), "/tmp"):
        for path, _, names in os.walk(folder):
            found += [open(os.path.join(path, n), errors="replace").read() for n in names if not n.startswith("k-")]
    f.seen = "".join(found)
    if "SECRET_LINE" + "_OF_THE_CASES" in f.seen:
        raise ValueError("seen")
    return x
def g(x):
    raise RuntimeError("g was asked")
"""
    outcome = go(spy)
    assert unpack(outcome.tasks[0].packed)["numbers"]["status"] == "returned", unpack(outcome.tasks[0].packed)
    assert "PRINTED" not in str([c.outputs for c in outcome.cells])


def test_what_is_printed_after_a_restart_is_dropped() -> None:
    """The cases' text, saved by an answer that then dies on purpose, must not be printed by the next kernel."""
    code = """
import os, sys
for folder in (os.getcwd(), "/tmp"):
    if os.path.exists(folder + "/stolen"):
        print("STOLEN")
print("cells run")
def f(x):
    for folder in (os.getcwd(), "/tmp"):
        open(folder + "/stolen", "w").write("cases")
    os._exit(0)
g = f
"""
    outcome = go(code)
    assert [t.status for t in outcome.tasks] == ["kernel died", "kernel died"]
    assert "STOLEN" not in str(outcome.cells)
    assert str(outcome.cells).count("cells run") == 1


def test_an_error_that_quotes_the_cases_is_not_shown() -> None:
    text = "def numbers(answer, draw):"
    assert autograde.without_hidden(f"ValueError: {text}", CASES) == "(message left out: it quotes the grader)"
    assert autograde.without_hidden("ValueError: shapes differ", CASES) == "ValueError: shapes differ"


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\x80\x04K\x01.", bytes(8) + b"{}", b"\xff" * 64,
                                  (2).to_bytes(8, "little") + b"{}"])  # fmt: skip
def test_odd_bytes_are_no_result(data: bytes) -> None:
    assert autograde.decode(data) == {}


def test_outputs_are_cut_and_harmless() -> None:
    outcome = go(
        "for _ in range(50): print('x' * 100_000)",
        "from IPython.display import HTML, Javascript, display\ndisplay(HTML('<script>alert(1)</script>'), Javascript('1'))",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
    )
    assert len(str(outcome.cells[0].outputs)) < 80_000
    assert "cut here" in str(outcome.cells[0].outputs)
    assert "<script>" not in str(outcome.cells[1].outputs)
    assert any("image/png" in o.get("data", {}) for o in outcome.cells[2].outputs)


def test_thirty_submissions_leave_nothing_behind() -> None:
    """Processes, folders, open files: the same after thirty as after one."""
    import psutil

    async def many(count: int) -> None:
        limit = asyncio.Semaphore(4)

        async def one() -> None:
            async with limit:
                await run(job("f = g = lambda x: x"))

        await asyncio.gather(*[one() for _ in range(count)])

    asyncio.run(many(2))
    me, folders = psutil.Process(), lambda: len(list(Path("/tmp").glob("vit-*")))
    files, memory, before = me.num_fds(), me.memory_info().rss, folders()
    asyncio.run(many(30))
    assert me.num_fds() <= files + 6
    assert me.memory_info().rss < memory + (60 << 20)
    assert folders() <= before + 1
    template = Template.get().process.pid
    deadline = time.monotonic() + 10
    while psutil.Process(template).children(recursive=True) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert psutil.Process(template).children(recursive=True) == []


# ------------------------------------------------------------------------------------------------------- the real lessons


@pytest.mark.parametrize("exercise_id", [e.id for x in lessons() for e in x.exercises])
def test_every_case_depends_on_its_inputs(exercise_id: str) -> None:
    """Inputs are drawn in the learner's process. A case whose result is the same for all of them can be answered by
    heart: return the result for a good input beside it (see CONTRIBUTING, rules for cases)."""

    def reduced(case: vitcourse.probes.Case, seed: int) -> bytes:
        data = expected(exercise_id, case, seed)["data"]
        return vitcourse.probes.pack({"data": data})

    for case in cases_of(exercise_id):
        same = case.beside or len({reduced(case, seed) for seed in range(3)}) > 1
        assert same, f"{vitcourse.probes.source_line(case)}: {case.name}"


def test_the_demo_class_gets_what_it_must(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "grader", "demo", "-C", str(tmp_path / "course")], cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}, capture_output=True, text=True,
                          timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert done.stdout.count("✓") >= 10


# ----------------------------------------------------------------------------------------------------- a course end to end


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("execution"))


STOCK = """
c.Execute.timeout = 300
c.Execute.startup_timeout = 300
"""
HONEST = {
    "ada": (5.0, {}),
    "bob": (3.0, {"double": "def double(x):\n    return x"}),
    "cleo": (4.0, {"double": "def double(x):\n    return x + x"}),
    "dora": (3.0, {"Scale": "class Scale(nn.Module):\n    pass"}),
}


@pytest.fixture(scope="module")
def honest(world: World) -> Path:
    """A course with honest submissions, graded with one job."""
    course = world.course("honest", extra=STOCK)
    for student, (_, changes) in HONEST.items():
        hand_in(course, student, world.solved(**changes))
    hand_in(course, "emil", world.learner())
    shutil.copytree(course, world.places / "four")
    shutil.copytree(course, world.places / "stock")
    world.grader("autograde", "2", "-C", course, "--jobs", "1")
    return course


def scores(world: World, course: Path, db: str = "") -> dict[str, float]:
    code = (
        "import json\nfrom grader.course import Course\n"
        f"with Course({str(course)!r}, {db!r}).gradebook() as book:\n"
        f"    print(json.dumps({{s.student.id: s.score for s in book.assignment_submissions({LESSON!r})}}))"
    )
    return json.loads(world.python(code).splitlines()[-1])


def test_honest_scores(honest: Path, world: World) -> None:
    must = {student: total for student, (total, _) in HONEST.items()} | {"emil": 0.0}
    assert scores(world, honest) == must
    assert reasons(honest, "emil") == dict.fromkeys(POINTS, "not solved")
    assert results(honest, "bob")["exercises"][0]["mistake"] == "same"
    assert points(honest, "cleo")["after.double"] == 1.0  # partial credit: it refuses no scalar
    for student in must:
        notebook = nbformat.read(honest / "autograded" / student / LESSON / f"{LESSON}.ipynb", as_version=4)
        nbformat.validate(notebook)
        assert "demo that grading must not run" not in str([c.get("outputs") for c in notebook.cells])
    assert stored.load(honest, LESSON, "ada") == stored.from_json(stored.to_json(stored.load(honest, LESSON, "ada")))  # type: ignore[arg-type]


def test_four_jobs_give_the_same(honest: Path, world: World) -> None:
    course = world.places / "four"
    world.grader("autograde", "2", "-C", course, "--jobs", "4")
    assert scores(world, course) == scores(world, honest)
    for student in [*HONEST, "emil"]:
        assert results(course, student)["exercises"] == results(honest, student)["exercises"]


def test_stock_nbgrader_gives_the_same(honest: Path, world: World) -> None:
    course = world.places / "stock"
    env = {**world.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-m", "nbgrader", "autograde", LESSON, "--course-dir", str(course)],
                          cwd=course, env=env, capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert scores(world, course) == scores(world, honest)


def test_regrade_shows_first_and_respects_people(honest: Path, world: World) -> None:
    by_hand = (
        "from grader.course import Course\n"
        f"with Course({str(honest)!r}).gradebook() as book:\n"
        f"    g = book.find_grade('after-Scale', {LESSON!r}, {LESSON!r}, 'dora')\n"
        "    g.manual_score, g.extra_credit = 1.5, 0.25\n    book.db.commit()"
    )
    world.python(by_hand)
    cases = world.root / "grader" / "cases" / "after.py"
    before, old = cases.read_text(), results(honest, "bob")
    try:
        cases.write_text(before.replace("answer(draw.normal(*draw.sizes(2)))", "0 * answer(draw.normal(3, 4))"))
        again = world.grader("autograde", "2", "-C", honest)
        assert "0 graded" in again.stdout
        assert "--regrade" in again.stdout
        refused = subprocess.run([sys.executable, "-m", "grader", "autograde", "2", "-C", str(honest), "--regrade"],
                                 input="n\n", env=world.environment, cwd=world.places, capture_output=True, text=True, timeout=300)  # fmt: skip
        assert refused.returncode == 1
        assert "bob" in refused.stdout
        assert results(honest, "bob") == old
        world.grader("autograde", "2", "-C", honest, "--regrade", "--yes")
        assert points(honest, "bob")["after.double"] == 1.0
        assert scores(world, honest)["bob"] == 4.0
        assert scores(world, honest)["dora"] == 3.0 + 1.75
    finally:
        cases.write_text(before)


def test_killed_and_resumed(world: World) -> None:
    course = world.course("killed")
    for number in range(8):
        hand_in(course, f"s{number}", world.solved(double="import time; time.sleep(1.5)\ndef double(x):\n"
                                                          "    if x.ndim == 0: raise ValueError\n    return x + x"))  # fmt: skip
    command = [sys.executable, "-m", "grader", "autograde", "2", "-C", str(course), "--jobs", "2"]
    first = subprocess.Popen(
        command, env=world.environment, cwd=world.places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while len(list(course.glob("autograded/*/*/results.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = len(list(course.glob("autograded/*/*/results.json")))
    assert 2 <= done < 8, done
    second = world.grader(*command[3:])
    assert f"{done} had a result already" in second.stdout, second.stdout
    assert scores(world, course) == {f"s{n}": 5.0 for n in range(8)}
    assert "0 graded" in world.grader(*command[3:]).stdout


# ------------------------------------------------------------------------------------------------- databases and clusters


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A real PostgreSQL server, run by an unprivileged user."""
    if not POSTGRES:
        pytest.skip("NOT TESTED: there is no PostgreSQL server here (apt-get install postgresql)")
    programs = POSTGRES[-1].parent
    data = Path(f"/tmp/vit-postgres-{os.getpid()}")
    data.mkdir(mode=0o700)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    if drop:
        os.chown(data, 65534, 65534)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = {"check": True, "capture_output": True, "cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
    subprocess.run([*drop, programs / "initdb", "-D", data / "db", "-U", "teacher", "-A", "trust"], **quiet)  # type: ignore[call-overload]
    start = [*drop, programs / "pg_ctl", "-D", data / "db", "-w", "-l", data / "log", "-o",
             f"-p {port} -c listen_addresses=127.0.0.1 -k {data}"]  # fmt: skip
    subprocess.run([*start, "start"], check=True, stdout=subprocess.DEVNULL, cwd="/")
    try:
        yield f"postgresql+psycopg2://teacher@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*start, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL, cwd="/")
        shutil.rmtree(data, ignore_errors=True)


def test_postgresql(postgres: str, world: World) -> None:
    course = world.places / "postgres"
    world.grader("init", course)
    world.grader("release", "2", "-C", course, "--db", postgres)
    hand_in(course, "ada", world.solved())
    hand_in(course, "bob", world.learner())
    world.grader("autograde", "2", "-C", course, "--db", postgres)
    assert scores(world, course, postgres) == {"ada": 5.0, "bob": 0.0}
    assert not (course / "gradebook.db").exists()


def test_dask(world: World) -> None:
    pytest.importorskip("distributed", reason="NOT TESTED: dask.distributed is not installed")
    course = world.course("dask")
    for student, (_, changes) in HONEST.items():
        hand_in(course, student, world.solved(**changes))
    hand_in(course, "loop", world.solved(double="import os\ndef double(x):\n    os._exit(1)"))
    script = (
        "import subprocess, sys\nfrom distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        f"        sys.exit(subprocess.run([sys.executable, '-m', 'grader', 'autograde', '2', '-C', {str(course)!r},"
        " '--dask', cluster.scheduler_address]).returncode)\n"
    )
    file = world.places / "cluster.py"
    file.write_text(script)
    done = subprocess.run([sys.executable, str(file)], env=world.environment, capture_output=True, text=True, timeout=400,
                          cwd=world.places)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert scores(world, course) == {s: total for s, (total, _) in HONEST.items()} | {"loop": 3.0}


def test_the_provisioner_is_what_the_entry_point_names() -> None:
    assert WarmProvisioner.__module__ == "grader.execution.provisioner"
