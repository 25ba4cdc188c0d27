"""Questions checked at once: `predict` before the code, `quiz` after it.

The questions stand in the text notebooks; the answers, with an explanation for each wrong option, stand in
`vitcourse/checks/<lesson>.py`:

    question("attention.scores_shape", right="2x3", why="One row per query, one column per key.",
             wrong={"3x2": "That is keys × queries. Queries come first: each row is one query's view of all keys."})
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question: the right answer, why it is right, and what each wrong answer gets wrong."""

    id: str
    right: str
    why: str
    wrong: Mapping[str, str]
    otherwise: str


QUESTIONS: dict[str, Question] = {}


def question(question_id: str, *, right: str | float, why: str, wrong: Mapping[str, str] | None = None,
             otherwise: str = "") -> None:  # fmt: skip
    """Register a question.

    Args:
        question_id: "<lesson>.<name>".
        right: the option's letter, a word, or a number.
        why: one or two sentences that explain the right answer.
        wrong: for each wrong answer worth explaining (for multiple choice: every one) what is wrong about it.
        otherwise: what to say to any other answer (for calculations).
    """
    if question_id in QUESTIONS:
        raise ValueError(f"there are two questions {question_id}")
    QUESTIONS[question_id] = Question(question_id, str(right), why, dict(wrong or {}), otherwise)


def _normal(answer: object) -> str:
    """Answers are compared without case, spaces and decoration: "2 × 3", "(2, 3)" and "2x3" are the same."""
    text = str(answer).strip().lower().replace("×", "x")
    text = re.sub(r"[\s_'\"`]", "", text)
    text = re.sub(r"(?<=\d)[,x*](?=\d)", "x", text.strip("()[]"))
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text.rstrip(".)")


def find_question(question_id: str) -> Question:
    """The question with this id; an unknown id raises `KeyError` with the known ones of that lesson."""
    lesson = question_id.split(".", 1)[0]
    if question_id not in QUESTIONS:
        try:
            importlib.import_module(f"vitcourse.checks.{lesson}")
        except ModuleNotFoundError:
            pass  # an unknown lesson: the KeyError below says which questions there are
    if question_id not in QUESTIONS:
        known = ", ".join(i for i in QUESTIONS if i.startswith(lesson + ".")) or "none in this lesson"
        raise KeyError(f"there is no question {question_id!r}; known: {known}")
    return QUESTIONS[question_id]


def verdict(question_id: str, answer: object) -> tuple[bool | None, str]:
    """(True, False or None for no answer yet, the text a learner reads)."""
    found = find_question(question_id)
    given = _normal(answer)
    if not given:
        return None, "Write your answer between the quotes, then run the cell."
    if given == _normal(found.right):
        return True, f"✓ Right. {found.why}"
    explained = {_normal(k): v for k, v in found.wrong.items()}
    reason = explained.get(given) or found.otherwise or "Not this one. Think again, then try another answer."
    return False, f"✗ Not quite. {reason}"


def quiz(question_id: str, answer: object = "") -> None:
    """Check an answer to a question in the text above; prints the verdict with the reason."""
    print(verdict(question_id, answer)[1])


def predict(question_id: str, answer: object = "") -> None:
    """Check a prediction made before the code is run; a wrong one costs nothing."""
    right, text = verdict(question_id, answer)
    print(text.replace("✗ Not quite.", "Not what happens.") if right is False else text)
