"""Warm kernels for jupyter_client: the provisioner `vitcourse-warm`, usable by nbclient, papermill and nbval.

A kernel is started by asking the template (see `template.py`) for a fork, which takes milliseconds where a fresh Python
with torch takes seconds. To use it for any notebook tool: `JUPYTER_DEFAULT_PROVISIONER_NAME=vitcourse-warm`, or name it
in a kernelspec's `metadata.kernel_provisioner`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Dict, Enum, Instance, Unicode

from grader.execution.sandbox import Limits, SandboxError, missing_part

ISOLATIONS = ("sandbox", "none")
HIDDEN_PACKAGES = ("solutions", "grader")
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "MPLCONFIGDIR")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
PICTURES = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # read when matplotlib is imported
START_SECONDS = 120  # how long the template may take to import torch on a busy machine


def package_folders(name: str) -> list[str]:
    """Every place where a package of this name could be imported from."""
    found = [os.path.join(entry or ".", name) for entry in sys.path if os.path.isdir(os.path.join(entry or ".", name))]
    spec = importlib.util.find_spec(name)
    found += list(spec.submodule_search_locations or []) if spec else []
    return [os.path.realpath(f) for f in dict.fromkeys(found)]


def readable_roots() -> list[str]:
    """What a learner's process may read beside the system: Python, its packages, and `vitcourse`.

    The repository itself is not among them: in an editable install only its `vitcourse` folder is.
    """
    prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix, sysconfig.get_path("stdlib"), *site.getsitepackages()]
    user = site.getusersitepackages()
    if user in sys.path:
        prefixes.append(user)
    return [p for p in dict.fromkeys([*prefixes, *package_folders("vitcourse")]) if os.path.isdir(p)]


class Template:
    """The warm process that kernels are forked from. One per grader process; made when first needed."""

    _instance: Template | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here = str(Path(__file__).resolve().parents[2])
        code = f"import sys; sys.path.insert(0, {here!r}); from grader.execution.template import main; main({theirs.fileno()})"
        environment = {k: v for k, v in os.environ.items() if k in KEPT_ENVIRONMENT}
        environment |= THREADS | PICTURES
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", code], env=environment, pass_fds=[theirs.fileno()], cwd="/",
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        setup = {
            "path": list(dict.fromkeys(os.path.abspath(p) for p in sys.path if p and "__editable__" not in p)),
            "readable": readable_roots(),
            "hidden": [folder for name in HIDDEN_PACKAGES for folder in package_folders(name)],
        }
        ours.settimeout(START_SECONDS)
        ours.send(json.dumps(setup).encode())
        self.control = ours
        self._ready = False

    @classmethod
    def get(cls) -> Template:
        """The running template; a new one where there is none or it has died."""
        with cls._lock:
            if cls._instance is None or cls._instance.process.poll() is not None:
                cls._instance = cls()
            return cls._instance

    @classmethod
    def stop(cls) -> None:
        """End the template. Kernels that run go on until their links close."""
        with cls._lock:
            if cls._instance is not None:
                cls._instance.control.close()
                cls._instance.process.wait(timeout=10)
                cls._instance = None

    def wait_ready(self) -> None:
        """Block until the imports are done."""
        with self._lock:
            if not self._ready:
                try:
                    answer = self.control.recv(64)
                except TimeoutError:
                    answer = b""
                if not answer:
                    self.process.kill()
                    raise RuntimeError("the warm template did not start; the lines above say why")
                self._ready = True

    def fork(self, request: dict[str, Any]) -> socket.socket:
        """Ask for a kernel; returns the link to its keeper."""
        self.wait_ready()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._lock, theirs:
            socket.send_fds(self.control, [json.dumps(request).encode()], [theirs.fileno()])
        return ours


class WarmProvisioner(KernelProvisionerBase):
    """Starts kernels by forking a warm process, and locks them in."""

    isolation = Enum(ISOLATIONS, "sandbox", help="sandbox, or none where the platform lacks it").tag(config=True)
    folder = Unicode("", help="the working folder; empty: the one the kernel is started in").tag(config=True)
    limits = Instance(Limits, ())
    environment = Dict(help="more environment variables").tag(config=True)

    link: socket.socket | None = None
    pid: int | None = None
    code: int | None = None  # exit status, once the kernel ended; negative: the signal
    reason: str = ""  # why the keeper ended it
    ended: asyncio.Event
    control_folder: Path
    _loop: asyncio.AbstractEventLoop

    @property
    def has_process(self) -> bool:
        return self.link is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        manager: Any = self.parent
        self.control_folder = Path(tempfile.mkdtemp(prefix="vit-"))
        if manager.transport != "ipc":  # the sandbox has no network to share with us
            manager.transport = "ipc"
        manager.ip = str(self.control_folder / "k")
        manager.connection_file = str(self.control_folder / "kernel.json")
        manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        kwargs.pop("extra_arguments", None)
        return {**kwargs, "cmd": []}  # the environment that the base class prepares is not what the kernel gets

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        if self.isolation == "sandbox" and (missing := missing_part()):
            raise SandboxError(f"{missing}. With --isolation none submissions run unprotected, as in stock nbgrader.")
        folder = os.path.realpath(self.folder or kwargs.get("cwd") or os.getcwd())
        mount_point = self.control_folder / "root"
        mount_point.mkdir(exist_ok=True)
        home = folder if self.isolation == "sandbox" else os.environ.get("HOME", folder)
        environment = {
            "HOME": home, "USER": "learner", "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8",
            "TMPDIR": "/tmp", "IPYTHONDIR": "/tmp/.ipython", "MPLCONFIGDIR": "/tmp/.matplotlib",
            **PICTURES, **THREADS, **self.environment,
        }  # fmt: skip
        if self.isolation == "none":
            environment |= {k: str(self.control_folder) for k in ("IPYTHONDIR", "MPLCONFIGDIR")}
        request = {
            "connection_file": str(self.control_folder / "kernel.json"),
            "isolation": self.isolation,
            "limited": bool(self.folder),
            "limits": asdict(self.limits),
            "writable": [folder, str(self.control_folder)],
            "mount_point": str(mount_point),
            "shared_mb": 256,
            "env": environment,
        }
        loop = asyncio.get_running_loop()
        self.ended, self.code, self.reason, self.pid = asyncio.Event(), None, "", None
        template = Template.get()
        self.link = await loop.run_in_executor(None, template.fork, request)
        self.link.setblocking(False)
        while self.pid is None:
            self._heard(await loop.sock_recv(self.link, 65536))
        loop.add_reader(self.link, self._hear)
        self._loop = loop
        return self.connection_info

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                self._heard(self.link.recv(65536) if self.link else b"")
            except (SandboxError, ConnectionError):
                self._gone(-signal.SIGKILL, "the keeper died")

    def _heard(self, message: bytes) -> None:
        if not message:
            if self.pid is None:
                raise SandboxError("the process that keeps the kernel ended before the kernel started")
            self._gone(-signal.SIGKILL, self.reason)
            return
        said = json.loads(message)
        if said["event"] == "failed":
            raise SandboxError(f"the kernel could not be started: {said['message']}")
        if said["event"] == "started":
            self.pid = said["pid"]
        else:
            self._gone(said["code"], said["reason"])

    def _gone(self, code: int, reason: str) -> None:
        if self.code is None:
            self.code, self.reason = code, reason
        self.ended.set()
        if self.link is not None:
            self._loop.remove_reader(self.link)

    async def poll(self) -> int | None:
        return self.code if self.link is not None else 0

    async def wait(self) -> int | None:
        if self.link is not None:
            await self.ended.wait()
            self._close()
        return self.code

    def _close(self) -> None:
        if self.link is not None:
            with contextlib.suppress(ValueError, OSError, RuntimeError):
                self._loop.remove_reader(self.link)
            self.link.close()
            self.link = None

    async def send_signal(self, signum: int) -> None:
        if signum == signal.SIGKILL:
            await self.kill()
        elif self.link is not None and self.code is None and signum:
            with contextlib.suppress(OSError):
                self.link.send(json.dumps({"signal": int(signum)}).encode())

    async def kill(self, restart: bool = False) -> None:
        """End every process of the sandbox; returns when they are gone."""
        if self.link is not None and self.code is None:
            with contextlib.suppress(OSError):
                self.link.shutdown(socket.SHUT_WR)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), 10)

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        self._close()
        if not restart:
            shutil.rmtree(self.control_folder, ignore_errors=True)
