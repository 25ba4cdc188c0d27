"""The warm template: a Python that has imported torch and waits; each kernel is a fork of it.

    template ──fork──→ keeper ──fork──→ init (pid 1 of the sandbox) ──fork──→ kernel
    waits for          waits for the    takes in orphans; when it ends,      runs the
    requests           other two and    the system ends everything in        learner's code
                       for the grader   its pid namespace

A request is one JSON message with one file descriptor: the keeper's link to the grader. Over it the keeper says that the
kernel started, failed to start, or ended; when the grader closes its end (or dies), the keeper ends the sandbox. There is
no address to connect to and nothing is unpickled, so a sandbox has no way back to the template.

This is what multiprocessing's forkserver does, which is not used here because its children inherit the grader's
environment and arguments (a gradebook's address may hold a password), run its `__main__` again, and know the address
where the server takes pickled orders. This module imports nothing that a learner must not see.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

from grader.execution import sandbox

PRELOAD = (
    "torch", "torch.nn.functional", "torchvision", "torchvision.transforms.v2", "numpy", "einops", "safetensors.torch",
    "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.debugger", "IPython.core.completer", "IPython.core.completerlib", "IPython.core.debugger", "IPython.core.oinspect", "pdb", "IPython.core.magics", "comm",
    "IPython.extensions.storemagic", "matplotlib.pyplot",
    "matplotlib.backends.backend_agg", "tqdm.auto", "PIL.Image", "zmq.asyncio", "tornado.platform.asyncio",
    "vitcourse", "vitcourse.checking", "vitcourse.data", "vitcourse.devices", "vitcourse.lessons", "vitcourse.notebook",
    "vitcourse.plots", "vitcourse.probes", "vitcourse.quiz", "vitcourse.training", "grader.execution.kernel",
)  # fmt: skip
TIDY = signal.SIGUSR1
MEMORY_CHECK = 0.2  # seconds between two looks at the memory of a sandbox
Request = dict[str, Any]


def main(control_fd: int) -> None:
    """Import, then fork on request until the grader closes its end."""
    control = socket.socket(fileno=control_fd)
    setup = json.loads(control.recv(1 << 20))
    sys.path[:] = setup["path"]
    sys.modules["debugpy"] = None  # type: ignore[assignment]  # half of a kernel's start, for a debugger nobody attaches
    for name in PRELOAD:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    shown = sandbox.readable_paths([*setup["readable"], *sandbox.SYSTEM], setup["hidden"])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are nobody's business once they are started
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grader, which then closes the links
    gc.collect()
    gc.freeze()  # children share these pages as long as the collector leaves them alone
    control.send(b"{}")
    while True:
        message, handles, _, _ = socket.recv_fds(control, 1 << 20, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            keep({**setup, **json.loads(message), "shown": shown}, socket.socket(fileno=handles[0]))
            os._exit(0)
        for handle in handles:
            os.close(handle)


# ----------------------------------------------------------------------------------------------------------- the keeper


def keep(request: Request, link: socket.socket) -> None:
    """Start a sandboxed kernel, watch it, end all of it; never returns with a process of the sandbox alive."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    sandbox.libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to the keeper, also without a namespace
    failed_r, failed_w = os.pipe()
    sealed = request["isolation"] == "sandbox"
    try:
        learner = 0
        if sealed:
            learner = sandbox.leave_the_machine(
                [*request["readable"], *sandbox.SYSTEM], request["writable"], request["hidden"],
                request["mount_point"], request["shared_mb"],
            )  # fmt: skip
        first = os.fork()
        if first == 0:
            link.close()
            os.close(failed_r)
            _init(request, learner, failed_w)
    except BaseException as error:
        _say(link, event="failed", message=_in_words(error))
        return
    os.close(failed_w)
    failure = b""
    while block := os.read(failed_r, 65536):  # the kernel closes its end when the lock is on
        failure += block
    os.close(failed_r)
    if failure:
        _end(first, sealed)
        _say(link, event="failed", message=failure.decode(errors="replace"))
        return
    _say(link, event="started", pid=first)
    code, reason = _watch(first, link, request, sealed)
    _end(first, sealed)
    _say(link, event="ended", code=code, reason=reason)


def _in_words(error: BaseException) -> str:
    if isinstance(error, sandbox.SandboxError):
        return str(error)
    return "".join(traceback.format_exception(error))[-2000:]


def _say(link: socket.socket, **message: Any) -> None:
    with contextlib.suppress(OSError):  # the grader may be gone
        link.send(json.dumps(message).encode())


def _watch(first: int, link: socket.socket, request: Request, sealed: bool) -> tuple[int, str]:
    """Wait until the kernel ends, the grader says stop, or the sandbox holds too much memory."""
    handle = os.pidfd_open(first)
    watched: list[Any] = [handle, link]
    limit = (request["limits"]["memory_mb"] << 20) * 3 // 2
    while True:
        ready, _, _ = select.select(watched, [], [], MEMORY_CHECK)
        if handle in ready:
            status = os.waitpid(first, 0)[1]
            return os.waitstatus_to_exitcode(status), ""
        if link in ready:
            order = link.recv(4096)
            if not order:
                return -signal.SIGKILL, "stopped"
            signal.pidfd_send_signal(handle, json.loads(order)["signal"])
        if sealed and _memory("statm") > limit and _memory("smaps_rollup") > limit:
            return -signal.SIGKILL, "out of memory"


def _memory(source: str) -> int:
    """Bytes resident in all processes of the sandbox; the keeper sees the sandbox's own /proc.

    From `statm` at no cost, counting pages that forks share once per process; from `smaps_rollup` exactly.
    """
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/{source}") as file:
                if source == "statm":
                    total += int(file.read().split()[1]) * 4096
                else:
                    total += next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    return total


def _end(first: int, sealed: bool) -> None:
    """Kill and collect every process of the sandbox."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)
    while True:  # with a namespace one round suffices; without, orphans turn up at the keeper one generation at a time
        try:
            if not sealed:
                with open(f"/proc/self/task/{os.getpid()}/children") as file:
                    for pid in file.read().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)
        except (ChildProcessError, FileNotFoundError):
            return


# ------------------------------------------------------------------------------------------------- inside the sandbox


def _init(request: Request, learner: int, failed: int) -> None:
    """The sandbox's first process: starts the kernel, collects orphans, ends with the kernel's status."""
    sandbox.die_with_parent()
    sealed = request["isolation"] == "sandbox"
    try:
        if sealed:
            sandbox.own_proc()
        kernel = os.fork()
    except BaseException as error:
        os.write(failed, _in_words(error).encode())
        os._exit(1)
    if kernel == 0:
        _become_kernel(request, learner, failed)
    os.close(failed)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: os.kill(kernel, n))
    signal.signal(TIDY, lambda *_: _tidy(kernel) if sealed else None)
    while True:
        pid, status = os.wait()
        if pid == kernel:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _tidy(kernel: int) -> None:
    """Kill what the notebook's cells have left running beside the kernel, before anything is measured."""
    for _ in range(50 if os.path.isdir("/proc/1") else 0):
        others = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, kernel) and _alive(p)]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none can fork out of the way
            for pid in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        if not others:
            return


def _alive(pid: str) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _become_kernel(request: Request, learner: int, failed: int) -> None:
    """Lock the door, then run ipykernel until the end."""
    try:
        folder = request["writable"][0]
        os.setsid()
        sandbox.die_with_parent()
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(folder)
        limits = sandbox.Limits(**request["limits"])
        if request["isolation"] == "sandbox":
            sandbox.lock(learner, request["shown"], request["writable"], limits)
        elif request["limited"]:
            sandbox.set_limits(limits)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.closerange(3, failed)
        os.closerange(failed + 1, 65536)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.path[:] = [folder if request["isolation"] == "sandbox" else "", *sys.path]
        sys.argv[:] = ["notebook"]
        app = _application(request)
    except BaseException as error:
        os.write(failed, _in_words(error).encode())
        os._exit(1)
    os.close(failed)
    app.start()
    os._exit(0)


def _application(request: Request) -> Any:
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.IPKernelApp.kernel_class = "grader.execution.kernel.Kernel"
    config.IPKernelApp.outstream_class = "grader.execution.kernel.LimitedStream"
    app = IPKernelApp.instance(parent_handle=1, config=config)  # 1: there is no parent to poll, the keeper does that
    app.initialize(["-f", request["connection_file"]])
    return app
