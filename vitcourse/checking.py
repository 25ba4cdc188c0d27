"""Visible checks: `check("attention.scaled_dot_product_attention")` tells a learner at once whether an answer is right.

A check compares the answer with references that do not give it away (torch, torchvision, small numbers) and with
invariants. It speaks in words. It never shows a bare AssertionError, writes nothing to stderr, and leaves the
notebook's random numbers as they were.

Checks are written in `vitcourse/checks/<lesson>.py` with the helpers below, each of which counts as one check:
`shape`, `close`, `differs`, `require`, `raises`, `gradients_reach`.
"""

from __future__ import annotations

import builtins
import importlib
import linecache
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from vitcourse.lessons import Exercise, exercise, lessons
from vitcourse.probes import scramble

__all__ = [
    "CheckFailed", "answer_from", "check", "close", "differs", "gradients_reach", "images", "normal", "raises",
    "require", "run_check", "scramble", "shape", "visible_check",
]  # fmt: skip

CHECKS: dict[str, Callable[[Any], None]] = {}
_passed = 0  # checks passed so far in the running check


class CheckFailed(Exception):
    """What a failed check says. Jupyter shows the message alone, without a traceback.

    Attributes:
        mistake: the name in `grader/mistakes/<lesson>.py` of the mistake the check recognised, if it did.
    """

    def __init__(self, message: str, hint: int | None = None, see: str | None = None, mistake: str | None = None):
        self.hint, self.see, self.mistake = hint, see, mistake
        for pointer in (f"Hint {hint}" if hint else "", f"What goes wrong: “{see}”" if see else ""):
            message += f" · {pointer}" if pointer else ""
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:  # IPython asks an exception for this before it makes a traceback
        return [str(self)]


class NotSolved(CheckFailed):
    """The answer is still the stub."""


def visible_check(exercise_id: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register the function that checks an answer. It gets the learner's object, or for an exercise of several
    objects a namespace that holds them."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        if exercise_id in CHECKS:
            raise ValueError(f"{exercise_id} has two visible checks")
        CHECKS[exercise_id] = function
        return function

    return register


def check(exercise_id: str) -> None:
    """Check the answer to an exercise in the running notebook, and print the verdict.

    Raises:
        CheckFailed: the answer is missing, unsolved or wrong; the message says what to look at.
        KeyError: no exercise has this id.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise RuntimeError("check() looks for your answer in a notebook; in a script call run_check(id, answer)")
    found = exercise(exercise_id)
    passed = run_check(exercise_id, answer_from(found, shell.user_ns))
    print(f"✓ {found.label}: {passed} checks passed")


def answer_from(found: Exercise, names: Mapping[str, Any]) -> Any:
    """The learner's object(s) among these names; raises `CheckFailed` where one is missing."""
    for name in found.objects:
        if name not in names:
            raise NotSolved(f"✗ {found.label}. `{name}` is not defined yet: run the cell that defines it first.")
    if len(found.objects) == 1:
        return names[found.objects[0]]
    return types.SimpleNamespace(**{name: names[name] for name in found.objects})


def run_check(exercise_id: str, answer: Any) -> int:
    """Run the visible check on an answer; returns how many checks passed.

    Raises:
        CheckFailed: with the sentence the learner reads. Whatever the answer does, only this comes out.
    """
    global _passed
    found = exercise(exercise_id)
    if exercise_id not in CHECKS:
        importlib.import_module(f"vitcourse.checks.{found.lesson}")
    _passed = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            CHECKS[exercise_id](answer)
        except NotImplementedError as stub:
            needed = unsolved(stub)
            if needed is not None and needed.id != found.id:
                raise NotSolved(f"✗ {found.label} needs {needed.label}, which is not solved yet.") from None
            raise NotSolved(
                f"✗ {found.label} is not solved yet. Write your code where it says YOUR CODE HERE."
            ) from None
        except CheckFailed as failure:
            failed = type(failure)(f"✗ {found.label}. {failure}", mistake=failure.mistake)
            failed.hint, failed.see = failure.hint, failure.see
            raise failed from None
        except Exception as error:
            raise CheckFailed(f"✗ {found.label}. {_in_words(error)}") from None
    return _passed


def unsolved(error: BaseException) -> Exercise | None:
    """The innermost exercise whose stub raised this error, as far as the traceback tells."""
    by_object = {name: e for lesson in lessons() for e in lesson.exercises for name in e.objects}
    names, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        names.append(getattr(code, "co_qualname", code.co_name))
        trace = trace.tb_next
    return next((by_object[n.split(".")[0]] for n in reversed(names) if n.split(".")[0] in by_object), None)


def _in_words(error: Exception) -> str:
    """An exception from a learner's code as one sentence, with the innermost line of their own."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "ipykernel" in frame.filename or frame.filename.startswith("<ipython-input")
    ]
    where = f" in line {own[-1].lineno} of your cell: `{(own[-1].line or '').strip()}`" if own else ""
    linecache.checkcache()
    message = str(error).strip().splitlines()
    return f"Your code raised {type(error).__name__}{where}" + (f" ({message[0][:300]})" if message else "")


def _count() -> None:
    global _passed
    _passed += 1


def _fail(message: str, detail: str, hint: int | None, see: str | None, mistake: str | None) -> NoReturn:
    first = message.split(" ", 1)[0]
    sentence = message[:1].upper() + message[1:] if first.isalpha() else message  # not `nn.Linear`
    sentence += "" if sentence.endswith((".", "?", "!")) else "."
    raise CheckFailed(f"{sentence} ({detail})" if detail else sentence, hint, see, mistake)


def _tensor(value: Any, what: str = "your answer") -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if value is None:
        raise CheckFailed(f"{what[:1].upper() + what[1:]} returned None: does the function end with `return`?")
    if isinstance(value, (tuple, list)):
        raise CheckFailed(
            f"{what[:1].upper() + what[1:]} returned a {type(value).__name__} where one tensor is expected."
        )
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise CheckFailed(f"{what[:1].upper() + what[1:]} returned a {type(value).__name__}, not a tensor.") from None


def normal(*shape: int, seed: int = 0, std: float = 1.0) -> Tensor:
    """Standard normal numbers that depend on the shape and the seed only."""
    generator = torch.Generator().manual_seed(hash((shape, seed)) % 2**63)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * std).to(torch.get_default_dtype())


def images(batch: int = 2, channels: int = 3, height: int = 4, width: int = 6) -> Tensor:
    """Images (B, C, H, W) whose every pixel has a number of its own, 0, 1, 2, ...: a moved pixel shows."""
    return torch.arange(batch * channels * height * width, dtype=torch.get_default_dtype()).view(
        batch, channels, height, width
    )


def shape(actual: Any, expected: Iterable[int], message: str, *, hint: int | None = None, see: str | None = None,
          mistake: str | None = None) -> Tensor:  # fmt: skip
    """The answer has this shape; returns it as a tensor. `message` says what each axis is."""
    tensor, expected = _tensor(actual), tuple(expected)
    if tuple(tensor.shape) != expected:
        _fail(message, f"expected shape {expected}, got {tuple(tensor.shape)}", hint, see, mistake)
    _count()
    return tensor


def _largest_difference(actual: Tensor, expected: Tensor) -> float:
    a, b = actual.detach().to(torch.float64), expected.detach().to(torch.float64)
    same = (a == b) | (a.isnan() & b.isnan())
    difference = torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=float("inf"))
    return float(difference.max()) if difference.numel() else 0.0


def close(actual: Any, expected: Any, message: str, *, atol: float = 1e-5, rtol: float = 1e-5, hint: int | None = None,
          see: str | None = None, mistake: str | None = None) -> None:  # fmt: skip
    """The answer equals the expected numbers within a tolerance."""
    tensor, wanted = _tensor(actual), torch.as_tensor(expected)
    if wanted.ndim and tensor.shape != wanted.shape:
        _fail(message, f"expected shape {tuple(wanted.shape)}, got {tuple(tensor.shape)}", hint, see, mistake)
    wanted = wanted.to(tensor.device).expand_as(tensor)
    difference = _largest_difference(tensor, wanted)
    scale = (
        float(wanted.detach().to(torch.float64).abs().nan_to_num(posinf=0.0, neginf=0.0).max())
        if wanted.numel()
        else 0.0
    )
    if not difference <= atol + rtol * scale:
        _fail(message, f"largest difference {difference:.2g}", hint, see, mistake)
    _count()


def differs(actual: Any, wrong: Any, message: str, *, atol: float = 1e-5, hint: int | None = None,
            see: str | None = None, mistake: str | None = None) -> None:  # fmt: skip
    """The answer does not equal what a known mistake gives; where it does, `message` names that mistake."""
    tensor, wanted = _tensor(actual), _tensor(wrong)
    if tensor.shape == wanted.shape and _largest_difference(tensor, wanted) <= atol * max(
        1.0, float(wanted.abs().max())
    ):
        _fail(message, "", hint, see, mistake)
    _count()


def require(condition: Any, message: str, *, hint: int | None = None, see: str | None = None,
            mistake: str | None = None) -> None:  # fmt: skip
    """A condition holds."""
    if not bool(condition):
        _fail(message, "", hint, see, mistake)
    _count()


def raises(kind: type[Exception], call: Callable[[], Any], message: str, *, hint: int | None = None,
           see: str | None = None, mistake: str | None = None) -> None:  # fmt: skip
    """Bad input is refused with this exception."""
    try:
        call()
    except NotImplementedError:
        raise
    except kind:
        _count()
        return
    except Exception as error:
        name = type(error).__name__ if hasattr(builtins, type(error).__name__) else "another exception"
        _fail(message, f"expected {kind.__name__}, got {name}", hint, see, mistake)
    _fail(message, f"expected {kind.__name__}, nothing was raised", hint, see, mistake)


def gradients_reach(module: nn.Module, output: Tensor, message: str, *, hint: int | None = None,
                    see: str | None = None, mistake: str | None = None) -> None:  # fmt: skip
    """A gradient from the output reaches every parameter of the module, and there are parameters."""
    parameters = dict(module.named_parameters())
    module.zero_grad()
    if output.requires_grad:
        (output * normal(*output.shape, seed=7).to(output)).sum().backward()
    silent = [name for name, p in parameters.items() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    module.zero_grad()
    if silent or not parameters:
        _fail(message, f"no gradient reaches {', '.join(silent[:4])}" if silent else "the module has no parameters",
              hint, see, mistake)  # fmt: skip
    _count()
