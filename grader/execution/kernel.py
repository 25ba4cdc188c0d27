"""The kernel of a learner's process: ipykernel, plus one message that runs hidden cases.

`probe_request` brings the source of the case module and of `vitcourse.probes`; `probe_reply` takes back the packed
results. Nothing passes through IPython's `run_cell`: no history, no `In`, no file, no hook that a notebook has set.
The modules are made afresh for each request, so a notebook that changed its own `vitcourse.probes` changes nothing here.
What a learner's code can still do in its own process is return data. Data is compared elsewhere.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import sys
import types
from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.ipkernel import IPythonKernel

# Held from the start: a notebook may shadow or replace the names later.
_compile, _exec, _modules = compile, exec, sys.modules
PROBES, CASES = "vitcourse.probes", "hidden cases"


class LimitedStream(OutStream):
    """Standard output or error that stops after so many characters per cell, so that a flood costs nobody memory."""

    limit = 200_000
    written = 0

    def write(self, string: str) -> int | None:  # type: ignore[override]
        left = self.limit - self.written
        self.written += len(string)
        if left <= 0:
            return len(string)
        if len(string) > left:
            super().write(string[:left] + "\n[output cut here: too long]\n")
            return len(string)
        return super().write(string)


class Silence(io.TextIOBase):
    """Takes everything and keeps nothing: what a learner's code prints during probes."""

    def write(self, text: str) -> int:
        return len(text)

    def writable(self) -> bool:
        return True


def module_from(source: str, name: str, origin: str) -> types.ModuleType:
    """A new module object from source text, without a file and without entries in the line cache."""
    module = types.ModuleType(name)
    module.__file__ = origin
    _modules[name] = module
    _exec(_compile(source, origin, "exec", dont_inherit=True), module.__dict__)
    return module


def run_cases(answer: Any, exercise: str, seed: int, cases: str, probes: str) -> bytes:
    """Run the hidden cases of one exercise on an answer; returns the packed outcomes by case name."""
    before = {name: _modules.get(name) for name in (PROBES, CASES)}
    try:
        machinery = module_from(probes, PROBES, "<probes>")
        module_from(cases, CASES, "<hidden cases>")
        outcomes: dict[str, Any] = {}
        for case in machinery.CASES.get(exercise, []):
            _calm()
            try:
                outcomes[case.name] = machinery.run_probe(case, answer, seed)
                machinery.pack(outcomes[case.name])
            except BaseException as error:  # also SystemExit and KeyboardInterrupt: they come from the answer
                outcomes[case.name] = {"status": "raised", "error": type(error).__name__, "message": str(error)[:500]}
        return machinery.pack(outcomes)
    finally:
        for name, module in before.items():
            if module is None:
                _modules.pop(name, None)
            else:
                _modules[name] = module


def _calm() -> None:
    """Undo global switches of torch that an honest notebook may have set for its own experiments."""
    import torch

    torch.set_default_dtype(torch.float32)
    torch.set_default_device("cpu")
    torch.set_grad_enabled(True)


class Kernel(IPythonKernel):
    """ipykernel's kernel, with the probe message, without `quit()`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shell_handlers["probe_request"] = self.probe_request
        assert self.shell is not None
        self.shell.ask_exit = lambda: None  # `quit()` in a cell would end the process in the middle of the notebook

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        for out in (sys.stdout, sys.stderr):
            if isinstance(out, LimitedStream):
                out.written = 0
        await super().execute_request(stream, ident, parent)

    def probe_request(self, stream: Any, ident: Any, parent: Any) -> None:
        wanted = parent["content"]
        names: dict[str, Any] = self.shell.user_ns  # type: ignore[union-attr]
        content: dict[str, Any] = {"status": "ok", "missing": [n for n in wanted["objects"] if n not in names]}
        packed = b""
        if not content["missing"]:
            found = {name: names[name] for name in wanted["objects"]}
            answer = next(iter(found.values())) if len(found) == 1 else types.SimpleNamespace(**found)
            try:
                silence = Silence()
                with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                    packed = run_cases(answer, wanted["exercise"], wanted["seed"], wanted["cases"], wanted["probes"])
            except BaseException as error:
                content = {"status": "error", "missing": [], "error": type(error).__name__, "message": str(error)[:500]}
        if builtins.len(packed) > wanted["limit"]:
            content, packed = {"status": "too large", "missing": []}, b""
        session: Any = self.session
        session.send(stream, "probe_reply", content, parent, ident=ident, buffers=[packed])
