"""Imports run one way: grader → solutions → vitcourse; later lessons may import earlier ones, never the reverse."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from grader.paths import ROOT, TEXT

ORDER = [p.stem[3:] for p in sorted(TEXT.glob("[0-9][0-9]_*.md"))]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "vitcourse").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_vitcourse_imports_neither_solutions_nor_grader(path: Path) -> None:
    assert not packages(path) & {"solutions", "grader"}


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.py")), ids=lambda p: p.stem)
def test_solutions_import_only_earlier_lessons(path: Path) -> None:
    assert "grader" not in packages(path)
    if path.stem in ORDER:
        allowed = set(ORDER[: ORDER.index(path.stem)])
        used = {name.split(".")[1] for name in imported(path) if name.startswith("solutions.")}
        assert used <= allowed, f"{path.stem} imports {used - allowed}"


@pytest.mark.parametrize("path", sorted((ROOT / "grader" / "cases").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_case_modules_run_where_solutions_are_not_installed(path: Path) -> None:
    standard = set(sys.stdlib_module_names)
    assert packages(path) - standard <= {"torch", "numpy", "einops", "vitcourse"}
    assert (
        not {n for n in imported(path) if n.startswith("vitcourse")}
        - {"vitcourse.probes"}
        - {n for n in imported(path) if n.startswith("vitcourse.probes.")}
    )


def test_importing_vitcourse_is_light() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import vitcourse; print('\\n'.join(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"matplotlib", "torchvision", "sklearn", "ipywidgets", "IPython"} & {
        m.split(".")[0] for m in done.stdout.split()
    }
    assert not heavy
