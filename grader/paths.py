"""Where things lie in the repository. One stem names a lesson everywhere."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
TEXT = NOTEBOOKS / "text"
SOLUTIONS = ROOT / "solutions"
BUILD = ROOT / "build"
SOURCE = BUILD / "source"  # nbgrader source notebooks: SOURCE/03_attention/03_attention.ipynb
SOLVED = BUILD / "solved"  # solved notebooks, for nbval: SOLVED/03_attention.ipynb
LESSONS_JSON = ROOT / "vitcourse" / "assets" / "lessons.json"
README = ROOT / "README.md"


def shown(path: Path) -> str:
    """A path as maintainers know it: relative to the repository."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
