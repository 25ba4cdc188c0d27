"""Mechanical mistakes: small changes to the reference answers that the tests must notice.

Each mutant changes one place inside a solution region: an operator, a comparison, a constant, a call that is dropped, a
keyword that is dropped. A mutant that gives the same results as the reference is equivalent; those are listed, each
with the reason, in `EQUIVALENT` of `grader/mistakes/equivalent.py`.
"""

from __future__ import annotations

import ast
import copy
import importlib
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grader.build import BEGIN, END
from grader.paths import SOLUTIONS
from vitcourse.lessons import Exercise

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
SYMMETRIC = {"transpose", "swapaxes", "max", "min", "maximum", "minimum", "gcd"}  # the order of arguments is free
# Dropping these changes a type or a memory layout, seldom a value: not worth asking for.
CASTS = {"float", "int", "bool", "tuple", "list", "long", "double", "contiguous", "type_as", "to"}
# Dropping or changing these keywords only relaxes a check, or leaves einops to infer one size of two.
FREE_KEYWORDS = {"strict"}
EINOPS = {"rearrange", "repeat", "reduce"}
MODULES = {"torch", "F", "nn", "math", "einops", "np"}


@dataclass(frozen=True)
class Mutant:
    """One mutant: its exercise, what was changed (stable while the line stands), and the mutated module's source."""

    exercise: str
    change: str
    source: str

    @property
    def id(self) -> str:
        return f"{self.exercise}: {self.change}"


def source_of(exercise: Exercise) -> str:
    """The module that holds an exercise's reference answer."""
    return (SOLUTIONS / f"{exercise.lesson}.py").read_text(encoding="utf-8")


def mutants_of(exercise: Exercise) -> Iterator[Mutant]:
    """All mutants of an exercise's reference answer."""
    lines = source_of(exercise).splitlines()
    tree = ast.parse("\n".join(lines))
    regions, start = [], 0
    for number, words in enumerate(lines, 1):
        if BEGIN in words:
            start = number
        elif END in words:
            regions.append(range(start, number + 1))
    seen: dict[str, int] = {}
    for holder in tree.body:
        if not isinstance(holder, (ast.FunctionDef, ast.ClassDef)) or holder.name not in exercise.objects:
            continue
        skipped = {id(inner) for node in ast.walk(holder) if _is_words(node) for inner in ast.walk(node)}
        for node in ast.walk(holder):
            line = getattr(node, "lineno", 0)
            if id(node) in skipped or not any(line in region for region in regions):
                continue
            for variant, changed in enumerate(_variants(node)):
                change = f"`{ast.unparse(node)}` → `{ast.unparse(changed)}`"
                seen[change] = seen.get(change, 0) + 1
                if seen[change] > 1:
                    change += f" ({seen[change]})"
                yield Mutant(exercise.id, change, _apply(tree, node, variant))


def _is_words(node: ast.AST) -> bool:
    """A message, or a keyword that only relaxes a check: nothing in it changes a result."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg in FREE_KEYWORDS)


def _variants(node: ast.AST) -> list[ast.AST]:
    """The changed versions of one node that read differently."""
    return [v for v in _all_variants(node) if ast.unparse(v) != ast.unparse(node)]


def _all_variants(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.FloorDiv)):
        yield ast.BinOp(node.right, node.op, node.left)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    negated_number = negative and isinstance(node.operand, ast.Constant)  # type: ignore[attr-defined]
    if isinstance(node, ast.UnaryOp) and (isinstance(node.op, ast.Not) or (negative and not negated_number)):
        yield node.operand  # not -2 → 2: axis -2 is often axis 2
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield ast.Constant(node.value * 1.5 + 0.1)
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        named = owner.id if isinstance(owner, ast.Name) else None
        if name in CASTS:
            pass
        elif owner is not None and named not in MODULES | {"self"}:
            yield owner  # x.y() → x
        elif named == "self" and node.args:
            yield node.args[0]  # self.norm(x) → x
        elif len(node.args) == 1 and not isinstance(node.args[0], ast.Starred):
            yield node.args[0]
        for index, keyword in enumerate(node.keywords):
            if keyword.arg in FREE_KEYWORDS or name in EINOPS:
                continue
            yield ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])
        starred = any(isinstance(a, ast.Starred) for a in node.args[:2])
        if len(node.args) >= 2 and not starred and name not in SYMMETRIC:
            yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    if isinstance(node, ast.Raise):
        yield ast.Pass()


class _Replace(ast.NodeTransformer):
    def __init__(self, place: tuple[type, int, int, int, int], variant: int):
        self.place, self.variant, self.done = place, variant, False

    def visit(self, node: ast.AST) -> ast.AST:
        if not self.done and _place(node) == self.place:
            self.done = True
            return _variants(node)[self.variant]
        return super().generic_visit(node)


def _place(node: ast.AST) -> tuple[type, int, int, int, int]:
    def at(attribute: str) -> int:
        return getattr(node, attribute, None) or -1

    return type(node), at("lineno"), at("col_offset"), at("end_lineno"), at("end_col_offset")


def _apply(tree: ast.Module, node: ast.AST, variant: int) -> str:
    mutated = _Replace(_place(node), variant).visit(copy.deepcopy(tree))
    return ast.unparse(ast.fix_missing_locations(mutated))


def answer_of(exercise: Exercise, source: str, filename: str = "<mutant>", *, whole: bool = True) -> Any:
    """The object(s) of an exercise as some source defines them.

    Args:
        exercise: the exercise.
        source: Python source. With `whole`, a whole module; otherwise only the learner's part, which then sees the
            other names of the reference module (imports, given code, the other exercises' references).
        filename: shown in tracebacks.

    Raises:
        Exception: whatever the source raises; `NameError` when it does not define the object.
    """
    module = types.ModuleType(f"answer_{exercise.name}")
    if not whole:
        reference = vars(importlib.import_module(f"solutions.{exercise.lesson}"))
        vars(module).update(
            {k: v for k, v in reference.items() if not k.startswith("__") and k not in exercise.objects}
        )
    sys.modules[module.__name__] = module  # `@dataclass` looks its module up there
    try:
        exec(compile(source, filename, "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]
    missing = [name for name in exercise.objects if name not in vars(module)]
    if missing:
        raise NameError(f"the file does not define {', '.join(missing)}")
    if len(exercise.objects) == 1:
        return getattr(module, exercise.objects[0])
    return types.SimpleNamespace(**{name: getattr(module, name) for name in exercise.objects})
