"""What the tests are tested with: wrong answers that must be caught, and right answers in other styles.

One module per lesson. A mistake's name is the name of its function or class; its sentence is what a learner reads.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One answer of the catalogue: a mistake (with the sentence that names it) or an alternative (with its style)."""

    exercise: str
    name: str
    words: str
    wrong: bool
    answer: Any = field(repr=False)

    @property
    def id(self) -> str:
        return f"{self.exercise}:{self.name}"


ENTRIES: dict[str, list[Entry]] = {}


def _register(exercise: str, words: str, wrong: bool) -> Callable[[T], T]:
    def register(answer: T) -> T:
        name = getattr(answer, "__name__", "answer")
        found = ENTRIES.setdefault(exercise, [])
        if any(e.name == name for e in found):
            raise ValueError(f"{exercise} has two catalogue entries called {name!r}")
        found.append(Entry(exercise, name, words, wrong, answer))
        return answer

    return register


def mistake(exercise: str, sentence: str) -> Callable[[T], T]:
    """Register a wrong answer: the visible check and the hidden cases must both reject it."""
    return _register(exercise, sentence, True)


def alternative(exercise: str, style: str) -> Callable[[T], T]:
    """Register a right answer in another style: the visible check and the hidden cases must both accept it."""
    return _register(exercise, style, False)


def entries_of(exercise_id: str) -> list[Entry]:
    """The catalogue of one exercise."""
    module = f"{__name__}.{exercise_id.split('.', 1)[0]}"
    if exercise_id not in ENTRIES and importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    return ENTRIES.get(exercise_id, [])


def mistakes_of(exercise_id: str) -> list[Entry]:
    return [e for e in entries_of(exercise_id) if e.wrong]


def alternatives_of(exercise_id: str) -> list[Entry]:
    return [e for e in entries_of(exercise_id) if not e.wrong]
