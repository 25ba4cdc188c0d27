"""Run one submission in a sandboxed warm kernel: its cells, then the hidden cases of each exercise.

`run` takes a `Job`, which is all data (cells, files, the source of the cases), and returns a `Run`, which is all data
too: what became of each cell, and for each exercise the packed results of its cases or why there are none. It knows no
expected value and gives no points, so it may run on any machine (`--dask`).

A fault costs what it touched. Where a cell or an exercise hangs, dies or takes too much memory, the kernel is thrown
away, a fresh one runs the cells again without the one at fault, and the rest is asked as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import queue
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

from grader.execution.provisioner import WarmProvisioner
from grader.execution.sandbox import Limits, SandboxError

OK, ERROR, TIMEOUT, DIED, MEMORY = "ok", "error", "timeout", "kernel died", "out of memory"
MISSING, TOO_LARGE, RAN, SKIPPED = "missing", "too large", "ran", "skipped"
FATAL = (TIMEOUT, DIED, MEMORY)
MESSAGE_LIMIT = 64 << 20  # bytes of one message from a kernel; libzmq closes the connection of one that sends more
MEMORY_WORDS = ("can't allocate memory", "cannot allocate memory", "unable to allocate", "not enough memory")
Output = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """Seconds and bytes that one submission may use."""

    exercise_seconds: float = 20.0
    submission_seconds: float = 120.0
    output_kb: int = 50  # text per cell
    picture_kb: int = 400  # per picture
    result_mb: int = 32  # packed results of one exercise
    restarts: int = 12


@dataclass(frozen=True)
class Cell:
    """A code cell to run, with the ids of the exercises whose objects it defines."""

    id: str
    source: str
    exercises: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """An exercise to ask: its id and the names of the objects that answer it."""

    exercise: str
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """Everything that running one submission needs, and nothing that a learner must not see before its time."""

    cells: tuple[Cell, ...]
    tasks: tuple[Task, ...]
    cases: str  # source of grader/cases/<lesson>.py
    probes: str  # source of vitcourse/probes.py
    seed: int
    files: Mapping[str, bytes] = field(default_factory=dict)  # the notebook's folder
    budget: Budget = field(default_factory=Budget)
    limits: Limits = field(default_factory=Limits)
    isolation: str = "sandbox"


@dataclass
class CellOutcome:
    """What became of a cell. `outputs` are nbformat outputs, without HTML and scripts."""

    id: str
    status: str
    seconds: float = 0.0
    outputs: list[Output] = field(default_factory=list)
    error: str = ""


@dataclass
class TaskOutcome:
    """What became of an exercise: status "ran" with the packed results, or another status with words."""

    exercise: str
    status: str
    detail: str = ""
    packed: bytes = b""


@dataclass
class Run:
    """The outcome of a job."""

    cells: list[CellOutcome]
    tasks: list[TaskOutcome]
    start_seconds: float = 0.0
    cell_seconds: float = 0.0
    case_seconds: float = 0.0
    restarts: int = 0
    notes: list[str] = field(default_factory=list)


class KernelGone(Exception):
    """The kernel was stopped for time or memory, or died; `status` is one of FATAL."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status


# ------------------------------------------------------------------------------------------------------------ one kernel


class Session:
    """A kernel with a working folder of its own, and the conversation with it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = Path(tempfile.mkdtemp(prefix="vit-w-"))
        write_files(self.folder, job.files)
        context = zmq.asyncio.Context()
        context.setsockopt(zmq.MAXMSGSIZE, MESSAGE_LIMIT)
        context.setsockopt(zmq.LINGER, 0)
        self.context = context
        self.manager = AsyncKernelManager(context=context, transport="ipc")
        self.provisioner = WarmProvisioner(
            parent=self.manager, kernel_id=self.folder.name, folder=str(self.folder), isolation=job.isolation,
            limits=job.limits,
        )  # fmt: skip
        self.provisioner.environment = {"PIP_NO_INDEX": "1", "PIP_RETRIES": "0"}  # there is no network: fail at once
        self.manager.provisioner = self.provisioner
        self.client: AsyncKernelClient
        self.pump: asyncio.Task[None] | None = None
        self.collecting: Collector | None = None

    async def start(self, timeout: float = 60.0) -> None:
        """Start the kernel and wait until it answers."""
        await self.manager.start_kernel()
        self.client = self.manager.client(context=self.context)
        self.client.start_channels(stdin=False, hb=False, control=False)
        self.pump = asyncio.create_task(self._pump())
        ready = self._collect(self.client.kernel_info())
        deadline = time.monotonic() + timeout
        while not ready.heard:  # the subscription to outputs takes a moment; until then messages are lost
            await self._reply(ready.request, max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ready.idle.wait(), 0.2)
            if not ready.heard:
                ready = self._collect(self.client.kernel_info())

    def _collect(self, request: str) -> Collector:
        self.collecting = Collector(request, self.job.budget)
        return self.collecting

    async def _pump(self) -> None:
        """Read what the kernel publishes all the time, so that nothing piles up."""
        while True:
            try:
                message = await self.client.get_iopub_msg(timeout=None)
                if self.collecting is not None:
                    self.collecting.take(message)
            except asyncio.CancelledError:
                raise
            except (zmq.ZMQError, queue.Empty):
                await asyncio.sleep(0.01)
            except Exception:  # a message that is not one: the kernel belongs to a stranger
                continue

    async def _reply(self, request: str, timeout: float) -> dict[str, Any]:
        """The reply to a request; raises `KernelGone` where none will come."""

        async def matching() -> dict[str, Any]:
            while True:
                try:
                    reply = await self.client.get_shell_msg(timeout=None)
                except (asyncio.CancelledError, zmq.ZMQError):
                    raise
                except Exception:  # not a message: wait for one that is
                    continue
                if isinstance(reply, dict) and reply.get("parent_header", {}).get("msg_id") == request:
                    return reply

        answer = asyncio.create_task(matching())
        ended = asyncio.create_task(self.provisioner.ended.wait())
        try:
            done, _ = await asyncio.wait({answer, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if ended in done and answer not in done:  # the last reply may still be on its way
                done |= (await asyncio.wait({answer}, timeout=0.05))[0]
            if answer in done:
                return answer.result()
            if ended in done:
                raise KernelGone(*self._obituary())
            raise KernelGone(TIMEOUT, f"not finished after {timeout:.3g} s")
        finally:
            for task in (answer, ended):
                task.cancel()
            await asyncio.gather(answer, ended, return_exceptions=True)

    def _obituary(self) -> tuple[str, str]:
        if self.provisioner.reason == MEMORY:
            return MEMORY, f"more than {self.job.limits.memory_mb} MB of memory"
        code = self.provisioner.code or 0
        number = -code if code < 0 else code - 128
        if number > 0:
            with contextlib.suppress(ValueError):
                name = {signal.SIGXCPU: "used too much processor time", signal.SIGSEGV: "crashed (segmentation fault)"}
                return (
                    DIED,
                    f"the process {name.get(signal.Signals(number), 'was ended by ' + signal.Signals(number).name)}",
                )
        return DIED, f"the process ended itself with status {code}"

    async def execute(self, cell: Cell, timeout: float) -> CellOutcome:
        """Run a cell. A cell that raises is an outcome like another; a kernel that is gone raises `KernelGone`."""
        began = time.monotonic()
        collector = self._collect(
            self.client.execute(cell.source, allow_stdin=False, stop_on_error=False, store_history=True)
        )
        try:
            reply = await self._reply(collector.request, timeout)
        except KernelGone as gone:
            gone.outcome = CellOutcome(  # type: ignore[attr-defined]
                cell.id, gone.status, time.monotonic() - began, collector.outputs, str(gone)
            )
            raise
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(collector.idle.wait(), 1.0)
        content = reply.get("content", {})
        error = ""
        if content.get("status") == "error":
            error = f"{content.get('ename')}: {content.get('evalue')}"[:500]
        status = OK if not error else MEMORY if is_memory_error(error) else ERROR
        return CellOutcome(cell.id, status, time.monotonic() - began, collector.outputs, error)

    async def probe(self, task: Task, timeout: float) -> TaskOutcome:
        """Run the hidden cases of an exercise; what the learner's code prints meanwhile is dropped."""
        job = self.job
        limit = job.budget.result_mb << 20
        content = {"exercise": task.exercise, "objects": list(task.objects), "seed": job.seed, "cases": job.cases,
                   "probes": job.probes, "limit": limit}  # fmt: skip
        message = self.client.session.msg("probe_request", content)
        self.collecting = None
        self.client.shell_channel.send(message)
        reply = await self._reply(message["header"]["msg_id"], timeout)
        said = reply.get("content", {})
        if not isinstance(said, dict):
            said = {}
        if said.get("missing"):
            return TaskOutcome(task.exercise, MISSING, f"`{str(said['missing'])[:100]}` is not defined")
        buffers = reply.get("buffers") or [b""]
        packed = bytes(buffers[0])
        if said.get("status") == TOO_LARGE or len(packed) > limit:
            return TaskOutcome(task.exercise, TOO_LARGE, f"the results are larger than {job.budget.result_mb} MB")
        if said.get("status") != "ok":
            error = f"{said.get('error')}: {said.get('message')}"[:500]
            return TaskOutcome(task.exercise, MEMORY if is_memory_error(error) else ERROR, error)
        return TaskOutcome(task.exercise, RAN, "", packed)

    async def stop(self) -> None:
        """End every process of the kernel and remove its folder."""
        if self.pump is not None:
            self.pump.cancel()
            await asyncio.gather(self.pump, return_exceptions=True)
            self.client.stop_channels()
        with contextlib.suppress(Exception):
            await self.provisioner.kill()
        with contextlib.suppress(Exception):
            await self.manager.cleanup_resources()
        self.context.destroy(linger=0)
        shutil.rmtree(self.folder, ignore_errors=True)


def is_memory_error(words: str) -> bool:
    """Whether an error's text says that memory ran out."""
    return words.startswith("MemoryError") or any(w in words.lower() for w in MEMORY_WORDS)


class Collector:
    """The outputs of one request, cut to size: text and pictures, no HTML, no scripts, no widgets."""

    def __init__(self, request: str, budget: Budget) -> None:
        self.request, self.outputs = request, list[Output]()
        self.text_left, self.picture_limit = budget.output_kb << 10, budget.picture_kb << 10
        self.heard = False
        self.idle = asyncio.Event()

    def take(self, message: dict[str, Any]) -> None:
        if message["parent_header"].get("msg_id") != self.request:
            return
        self.heard = True
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status" and content.get("execution_state") == "idle":
            self.idle.set()
        elif kind == "stream":
            self._stream(str(content.get("name")), str(content.get("text", "")))
        elif kind in ("display_data", "execute_result"):
            self._display(content.get("data", {}))
        elif kind == "error":
            trace = [self._cut(str(line)) for line in content.get("traceback", [])[:50]]
            self.outputs.append({"output_type": "error", "ename": str(content.get("ename"))[:200],
                                 "evalue": str(content.get("evalue"))[:2000], "traceback": trace})  # fmt: skip

    def _cut(self, text: str) -> str:
        kept = text.encode(errors="replace")[: max(0, self.text_left)].decode(errors="ignore")
        self.text_left -= len(kept.encode())
        return kept

    def _stream(self, name: str, text: str) -> None:
        name = name if name in ("stdout", "stderr") else "stdout"
        was_open, text = self.text_left > 0, self._cut(text)
        if was_open and self.text_left <= 0:
            text += "\n[output cut here: too long]\n"
        if not text or len(self.outputs) > 200:
            return
        if self.outputs and self.outputs[-1].get("name") == name:
            self.outputs[-1]["text"] += text
        else:
            self.outputs.append({"output_type": "stream", "name": name, "text": text})

    def _display(self, data: dict[str, Any]) -> None:
        kept: dict[str, Any] = {}
        if isinstance(text := data.get("text/plain"), str):
            kept["text/plain"] = self._cut(text)
        picture = data.get("image/png")
        if isinstance(picture, str) and len(picture) <= self.picture_limit and len(self.outputs) < 20:
            with contextlib.suppress(binascii.Error, ValueError):
                if base64.b64decode(picture, validate=False).startswith(b"\x89PNG"):
                    kept["image/png"] = picture
        if kept and len(self.outputs) <= 200:
            self.outputs.append({"output_type": "display_data", "data": kept, "metadata": {}})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a submission's files below a folder; names that lead out of it are left out."""
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
            continue
        path = folder.joinpath(*parts)
        with contextlib.suppress(OSError):  # a file where a folder should be, a name too long: that file is missing
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


# -------------------------------------------------------------------------------------------------------- one submission


async def run(job: Job) -> Run:
    """Run a job to its end. Whatever the submission does, this returns; it raises only where no kernel can be started.

    Raises:
        SandboxError: this machine cannot start the kernel as asked.
    """
    began = time.monotonic()
    deadline = began + job.budget.submission_seconds
    done: dict[str, CellOutcome] = {}
    killers: dict[str, CellOutcome] = {}
    asked: dict[str, TaskOutcome] = {}
    outcome = Run([], [])
    recorded = False  # outputs count until the first hidden case has been in a kernel of this submission

    def left() -> float:
        return min(job.budget.exercise_seconds, deadline - time.monotonic())

    for attempt in range(job.budget.restarts + 1):
        outcome.restarts = attempt
        if left() <= 0 or (all(t.exercise in asked for t in job.tasks) and (recorded or len(done) == len(job.cells))):
            break
        session = Session(job)
        mark = time.monotonic()
        try:
            await session.start()
            outcome.start_seconds += time.monotonic() - mark
            mark = time.monotonic()
            try:
                for cell in job.cells:
                    if cell.id in killers or left() <= 0:
                        continue
                    result = await session.execute(cell, left())
                    if cell.id not in done and not recorded:
                        done[cell.id] = result
            except KernelGone as gone:
                killers[cell.id] = done[cell.id] = gone.outcome  # type: ignore[attr-defined]
                continue
            finally:
                outcome.cell_seconds += time.monotonic() - mark
            mark = time.monotonic()
            await session.provisioner.send_signal(signal.SIGUSR1)  # the sandbox's init ends left-over processes
            try:
                for task in job.tasks:
                    if task.exercise not in asked and left() > 0:
                        recorded = True
                        asked[task.exercise] = await session.probe(task, left())
            except KernelGone as gone:
                asked[task.exercise] = TaskOutcome(task.exercise, gone.status, str(gone))
                continue
            finally:
                outcome.case_seconds += time.monotonic() - mark
            break
        except KernelGone as gone:
            outcome.notes.append(f"a kernel did not answer: {gone}")  # and the next round tries again
        finally:
            await session.stop()

    for cell in job.cells:
        outcome.cells.append(done.get(cell.id) or CellOutcome(cell.id, SKIPPED))
    for task in job.tasks:
        outcome.tasks.append(_final(task, asked.get(task.exercise), job, outcome.cells))
    return outcome


def _final(task: Task, asked: TaskOutcome | None, job: Job, cells: list[CellOutcome]) -> TaskOutcome:
    """Where an exercise has no results, say what its own cells did rather than that something is missing."""
    if asked is None:
        words = f"the submission's {job.budget.submission_seconds:g} s were used up before this exercise"
        asked = TaskOutcome(task.exercise, TIMEOUT, words)
    if asked.status == MISSING or not asked.status:
        own = [outcome for cell, outcome in zip(job.cells, cells, strict=True) if task.exercise in cell.exercises]
        for outcome in reversed(own):
            if outcome.status not in (OK, SKIPPED):
                return TaskOutcome(task.exercise, outcome.status, outcome.error)
    return asked


__all__ = ["Budget", "Cell", "CellOutcome", "Job", "Run", "SandboxError", "Task", "TaskOutcome", "run"]
