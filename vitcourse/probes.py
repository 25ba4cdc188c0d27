"""Hidden cases: how a grader asks an answer for data.

A case is a probe `(answer, draw) -> data`. It calls the learner's object on inputs drawn from a seed and returns plain
data: tensors, numbers, strings, and lists, tuples or dicts of them. The same probe runs on the reference in another
process, and the two results are compared there. This module holds the machinery that both processes need. It holds
no expected value: the learner's process only ever sees inputs.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Probe = Callable[[Any, "Draw"], Any]
JSON_KEY, TENSOR_KEY = "structure", "__tensor__"


class Draw:
    """Inputs drawn from one seed, the same on every machine: `draw.normal(2, 3)`, `draw.sizes(3)`, `draw.scramble(module)`.

    Random numbers come from a CPU generator in float64 and are cast last, so float32 and float64 runs see the
    same numbers.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)
        self.generator = torch.Generator().manual_seed(seed % 2**63)

    def _place(self, values: Tensor) -> Tensor:
        return values.to(dtype=torch.get_default_dtype(), device=self.device)

    def normal(self, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Normal numbers of this shape in the default dtype."""
        return self._place(torch.randn(shape, generator=self.generator, dtype=torch.float64) * std + mean)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high)."""
        return self._place(torch.rand(shape, generator=self.generator, dtype=torch.float64) * (high - low) + low)

    def integer(self, low: int, high: int) -> int:
        """One integer in [low, high], both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def integers(self, *shape: int, low: int = 0, high: int = 9) -> Tensor:
        """An int64 tensor of integers in [low, high], both ends included: labels, indices."""
        return torch.randint(low, high + 1, shape, generator=self.generator).to(self.device)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]

    def sizes(self, count: int, low: int = 2, high: int = 9, distinct: bool = True) -> list[int]:
        """`count` sizes in [low, high]. Distinct sizes show swapped axes; squares hide them."""
        if not distinct:
            return [self.integer(low, high) for _ in range(count)]
        if high - low + 1 < count:
            raise ValueError(f"there are no {count} distinct sizes between {low} and {high}")
        order = torch.randperm(high - low + 1, generator=self.generator)[:count]
        return [low + int(i) for i in order]

    def scramble(self, module: nn.Module) -> nn.Module:
        """Fill every parameter with numbers that depend only on the seed, its name and its shape. Returns the module."""
        return scramble(module, self.seed).to(device=self.device, dtype=torch.get_default_dtype())


def scramble(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter of a module values drawn from (seed, name, shape); returns the module.

    Default initialisation hides mistakes: zero biases, unit norms and a zero head make wrong code look right. Matrices
    get standard deviation 1/√fan_in so that activations keep unit scale; vectors get 1 ± 0.3 for the scales of norms
    and 0 ± 0.5 for biases; tokens and positions get 1. Two modules with equal parameter names and shapes get equal
    values, whatever order they were defined in.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            tag = f"{seed}/{name}/{tuple(parameter.shape)}".encode()
            generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(tag).digest()[:7], "big"))
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            leaf = name.rsplit(".", 1)[-1]
            if parameter.ndim >= 2 and leaf == "weight":
                values = values / math.sqrt(parameter[0].numel())
            elif parameter.ndim == 1 and leaf == "weight":
                values = 1 + 0.3 * values
            elif parameter.ndim == 1:
                values = 0.5 * values
            parameter.copy_(values)
    return module


@dataclass(frozen=True)
class Case:
    """One hidden case of an exercise: the probe, what it is worth, and how near its result must be."""

    exercise: str
    name: str
    points: float
    about: str
    probe: Probe = field(repr=False)
    atol: float = 1e-5
    rtol: float = 1e-5
    after: Callable[[Any], Any] | None = field(default=None, repr=False)
    beside: bool = False

    def seed(self, submission_seed: int) -> int:
        """The seed of this case's inputs for one submission."""
        tag = f"{submission_seed}/{self.exercise}/{self.name}".encode()
        return int.from_bytes(hashlib.sha256(tag).digest()[:7], "big")

    def draw(self, submission_seed: int, device: torch.device | str = "cpu") -> Draw:
        return Draw(self.seed(submission_seed), device)


CASES: dict[str, list[Case]] = {}


def case(
    exercise: str,
    *,
    points: float,
    about: str,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    after: Callable[[Any], Any] | None = None,
    beside: bool = False,
) -> Callable[[Probe], Probe]:
    """Register a probe as a hidden case of an exercise.

    Args:
        exercise: the exercise id, "attention.scaled_dot_product_attention".
        points: what passing is worth; the cases of an exercise add up to its points.
        about: what it looks at, in words an instructor reads ("different numbers of queries and keys").
        atol, rtol: how near the result must be to the reference's.
        after: runs on what came back, in the grader's own process and on both sides, before the comparison: for
            answers that are right in many ways (random masks, orders). It must not raise on odd data.
        beside: the right result is the same for all inputs (a refusal, say), so it can be given without knowing anything.
            The case counts only beside another case of the exercise that passed.

    Raises:
        ValueError: two cases of one exercise share a name.
    """

    def register(probe: Probe) -> Probe:
        name = getattr(probe, "__name__", "case")
        found = CASES.setdefault(exercise, [])
        if any(c.name == name for c in found):
            raise ValueError(f"two cases of {exercise} are called {name!r}")
        found.append(Case(exercise, name, points, about, probe, atol, rtol, after, beside))
        return probe

    return register


def raised(call: Callable[[], Any]) -> str:
    """Which built-in exception a call raises ("ValueError"; a subclass counts as its base), or "nothing"."""
    try:
        call()
    except NotImplementedError:
        raise  # an unsolved exercise, not a refusal
    except Exception as error:
        for kind in type(error).__mro__:
            if getattr(builtins, kind.__name__, None) is kind:
                return kind.__name__
    return "nothing"


def run_probe(
    probe_case: Case, answer: Any, submission_seed: int, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Run one case on an answer; returns {"status": "returned", "data": ...} or {"status": "raised", "error", "message"}."""
    draw = probe_case.draw(submission_seed, device)
    torch.manual_seed(draw.seed % 2**63)
    try:
        return {"status": "returned", "data": plain(probe_case.probe(answer, draw))}
    except NotImplementedError:
        return {"status": "not solved"}
    except Exception as error:
        return {"status": "raised", "error": type(error).__name__, "message": str(error)[:500]}


def plain(value: Any) -> Any:
    """Turn a probe's result into plain data: CPU tensors, numbers, strings, None, and lists and dicts of them.

    Raises:
        TypeError: the result holds anything else.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.to_dense() if value.layout != torch.strided else value).contiguous().clone()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, torch.Size)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "__array__"):
        return torch.as_tensor(value.__array__())
    raise TypeError(f"the answer returned a {type(value).__name__}, which is not a tensor, a number or a list of them")


def pack(value: Any) -> bytes:
    """Write plain data as safetensors bytes: the tensors, and the structure around them as JSON in the header."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}

    def strip(node: Any) -> Any:
        if isinstance(node, Tensor):
            key = f"t{len(tensors)}"
            tensors[key] = node
            return {TENSOR_KEY: key}
        if isinstance(node, list):
            return [strip(v) for v in node]
        if isinstance(node, dict):
            return {k: strip(v) for k, v in node.items()}
        return node

    structure = json.dumps(strip(value))
    return save(tensors, metadata={JSON_KEY: structure})


def unpack(data: bytes) -> Any:
    """Read what `pack` wrote. Only tensors and JSON can come out of it, whoever wrote the bytes.

    Raises:
        ValueError: the bytes are not of that form.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        length = int.from_bytes(data[:8], "little")
        if not 2 <= length <= len(data) - 8:
            raise ValueError("truncated header")
        structure = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][JSON_KEY])
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not a packed result: {type(error).__name__}") from error

    def fill(node: Any) -> Any:
        if isinstance(node, dict) and set(node) == {TENSOR_KEY}:
            if node[TENSOR_KEY] not in tensors:
                raise ValueError("not a packed result: a tensor is missing")
            return tensors[node[TENSOR_KEY]]
        if isinstance(node, dict):
            return {k: fill(v) for k, v in node.items()}
        if isinstance(node, list):
            return [fill(v) for v in node]
        return node

    return fill(structure)


def source_line(probe_case: Case) -> str:
    """Where a case is written, "grader/cases/attention.py:12", for messages to maintainers."""
    code = inspect.unwrap(probe_case.probe).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
