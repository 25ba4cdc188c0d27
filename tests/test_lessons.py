"""What every lesson owes its learners: hints in a ladder, questions, headings in order, alt text, small tests of tests."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from grader.cases import cases_of
from grader.mistakes import alternatives_of, mistakes_of
from grader.paths import TEXT
from grader.text import Text, read_text
from vitcourse.quiz import find_question

TEXTS = [read_text(p) for p in sorted(TEXT.glob("[0-9][0-9]_*.md"))]
each = pytest.mark.parametrize("text", TEXTS, ids=lambda t: t.path.stem)


def questions(text: Text, kind: str) -> list[str]:
    code = "\n".join(b.source for b in text.blocks if b.kind == "code")
    return re.findall(rf"\b{kind}\(\"([\w.]+)\"", code)


@each
def test_three_hints_follow_each_exercise(text: Text) -> None:
    found: dict[str, list[str]] = {}
    current = ""
    for block in text.blocks:
        if block.kind == "exercise":
            current = block.name
            found[current] = []
        elif current:
            found[current] += re.findall(r"<details><summary>Hint (\d)</summary>", block.source)
    assert found
    assert all(hints == ["1", "2", "3"] for hints in found.values()), found


@each
def test_questions_come_before_and_after_and_every_option_is_explained(text: Text) -> None:
    predictions, quizzes = questions(text, "predict"), questions(text, "quiz")
    assert len(predictions) >= 2
    assert len(quizzes) >= 4
    assert len(set(predictions + quizzes)) == len(predictions + quizzes)
    for name in predictions + quizzes:
        found = find_question(name)
        assert found.why
        assert found.wrong or found.otherwise, f"{name} explains no wrong answer"


@each
def test_multiple_choice_questions_explain_every_wrong_option(text: Text) -> None:
    whole = [(b.kind, b.source) for b in text.blocks]
    for (kind, words), (_, code) in pairwise(whole):
        asked = re.findall(r"\b(?:predict|quiz)\(\"([\w.]+)\"", code)
        if kind != "markdown" or len(asked) != 1:
            continue
        options = set(re.findall(r"^\s*[-*]\s+(?:\*\*)?\(?([a-e])[).]", words, re.M))
        found = find_question(asked[0])
        if options and found.right in options:
            missing = options - {found.right} - set(found.wrong)
            assert not missing, f"{asked[0]} does not explain {sorted(missing)}"


@each
def test_headings_come_in_order(text: Text) -> None:
    level = 1
    for block in text.blocks:
        if block.kind == "exercise":
            assert level >= 2, f"{block.name} stands before the first ## heading"
            level = 3
        if block.kind != "markdown":
            continue
        outside_code = re.sub(r"^```.*?^```", "", block.source, flags=re.M | re.S)
        for marks in re.findall(r"^(#+) ", outside_code, re.M):
            assert 2 <= len(marks) <= level + 1, (
                f"{text.path.name}:{block.line}: heading level {len(marks)} after {level}"
            )
            level = len(marks)


@each
def test_lesson_says_what_goes_wrong_and_where_to_read_on(text: Text) -> None:
    words = "\n".join(b.source for b in text.blocks if b.kind == "markdown")
    assert "<details><summary>" in words
    assert re.search(r"^## .*(goes wrong|went wrong)", words, re.M | re.I), "no section on what goes wrong"
    assert re.search(r"^## .*[Rr]ead", words, re.M), "no further reading"
    assert not re.search(r"!\[\]\(", words), "a picture without alt text"


@each
def test_symptoms_that_checks_point_to_exist(text: Text) -> None:
    from grader.paths import ROOT

    words = "\n".join(b.source for b in text.blocks if b.kind == "markdown")
    titles = re.findall(r"<details><summary>(.*?)</summary>", words)
    checks = (ROOT / "vitcourse" / "checks" / f"{text.lesson.name}.py").read_text()
    for pointed in re.findall(r"see=\"(.*?)\"", checks):
        assert any(pointed.lower() in t.lower() for t in titles), f"no symptom is called {pointed!r}"


@each
def test_catalogue_is_big_enough(text: Text) -> None:
    for exercise in text.lesson.exercises:
        assert len(cases_of(exercise.id)) >= 2, exercise.id
        assert len(mistakes_of(exercise.id)) >= 5, f"{exercise.id} has {len(mistakes_of(exercise.id))} mistakes"
        assert len(alternatives_of(exercise.id)) >= 3, (
            f"{exercise.id} has {len(alternatives_of(exercise.id))} alternatives"
        )
