"""The list of lessons and exercises, as `grader build` writes it from the text notebooks into `assets/lessons.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

LESSONS_FILE = Path(__file__).parent / "assets" / "lessons.json"


@dataclass(frozen=True)
class Exercise:
    """One exercise. `id` is "<lesson>.<object>", `number` is what learners see, "3.2"."""

    id: str
    number: str
    title: str
    points: int
    minutes: int
    difficulty: int
    objects: tuple[str, ...]

    @property
    def name(self) -> str:
        """The object the learner writes."""
        return self.id.split(".", 1)[1]

    @property
    def lesson(self) -> str:
        """The stem without its number: "attention"."""
        return self.id.split(".", 1)[0]

    @property
    def label(self) -> str:
        return f"Exercise {self.number} · {self.name}"


@dataclass(frozen=True)
class Lesson:
    """One lesson. `stem` is "03_attention"."""

    stem: str
    title: str
    summary: str
    minutes: int
    exercises: tuple[Exercise, ...] = field(default=())

    @property
    def number(self) -> int:
        return int(self.stem.split("_", 1)[0])

    @property
    def name(self) -> str:
        """The stem without its number, the name of the lesson's modules: "attention"."""
        return self.stem.split("_", 1)[1]

    @property
    def points(self) -> int:
        return sum(e.points for e in self.exercises)


@lru_cache(maxsize=1)
def lessons() -> tuple[Lesson, ...]:
    """All lessons in order."""
    if not LESSONS_FILE.exists():
        return ()
    found = []
    for entry in json.loads(LESSONS_FILE.read_text(encoding="utf-8")):
        exercises = tuple(Exercise(**{**e, "objects": tuple(e["objects"])}) for e in entry.pop("exercises"))
        found.append(Lesson(**entry, exercises=exercises))
    return tuple(found)


def exercise(exercise_id: str) -> Exercise:
    """The exercise with this id; an unknown id raises `KeyError` with the known ones of that lesson."""
    known = {e.id: e for lesson in lessons() for e in lesson.exercises}
    if exercise_id not in known:
        near = [i for i in known if i.split(".")[0] == exercise_id.split(".")[0]] or list(known)
        raise KeyError(f"there is no exercise {exercise_id!r}; known: {', '.join(near)}")
    return known[exercise_id]
