"""The audit notices what it must: a mistake that passes, a right answer that fails, a loop, a wrong name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grader import audit
from grader.cli import app
from grader.mutants import answer_of, mutants_of, source_of
from solutions.attention import scaled_dot_product_attention as right
from vitcourse.lessons import exercise, lessons

SDPA = "attention.scaled_dot_product_attention"
FIRST_LINE = f"# exercise: {SDPA}\n"
RIGHT = "def scaled_dot_product_attention(q, k, v):\n    w = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)\n    return w @ v, w\n"
WRONG = RIGHT.replace("* q.shape[-1] ** -0.5", "")


def unscaled(q, k, v):
    weights = (q @ k.mT).softmax(-1)
    return weights @ v, weights


def test_a_mistake_that_passes_is_a_problem() -> None:
    assert "accepted by" in audit.judge_answer(SDPA, "none", "mistake", right).problem


def test_a_right_answer_that_fails_is_a_problem() -> None:
    assert "rejected by" in audit.judge_answer(SDPA, "none", "right", unscaled).problem


def test_a_wrong_name_is_a_problem() -> None:
    verdict = audit.judge_answer(SDPA, "another", "mistake", unscaled)
    assert verdict.problem == "called by the name of another mistake: no_scale"
    assert not audit.judge_answer(SDPA, "no_scale", "mistake", unscaled).problem


def test_an_endless_answer_is_rejected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(q, k, v):
        while True:
            pass

    original = audit.time_limit
    monkeypatch.setattr(audit, "time_limit", lambda: original(1))
    verdict = audit.judge_answer(SDPA, "endless", "mistake", endless)
    assert "no end after 1 s" in verdict.visible_message
    assert not verdict.hidden_passed


def test_mutants_differ_from_the_reference_in_one_place_and_are_noticed() -> None:
    found = exercise(SDPA)
    mutants = list(mutants_of(found))
    assert len(mutants) >= 8
    assert len({m.id for m in mutants}) == len(mutants)
    no_softmax = next(
        m for m in mutants if "softmax" in m.change.split("→")[0] and "softmax" not in m.change.split("→")[1]
    )
    assert not audit.judge_answer(SDPA, no_softmax.change, "mutant", answer_of(found, no_softmax.source)).problem


def test_every_reference_runs_from_its_source() -> None:
    """Also modules with data classes: were they refused as they stand, their mutants would all seem to be noticed."""
    for lesson in lessons():
        found = lesson.exercises[0]
        assert not audit._judge_source(found, "unchanged", source_of(found)).hidden_message


def write(folder: Path, kind: str, name: str, source: str) -> None:
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / f"{name}.py").write_text(source)


def test_extra_answers_are_tried(tmp_path: Path) -> None:
    write(tmp_path, "right", "keyword", FIRST_LINE + RIGHT)
    write(tmp_path, "wrong", "unscaled", FIRST_LINE + WRONG)
    write(tmp_path, "wrong", "broken", FIRST_LINE + "def scaled_dot_product_attention(:\n")
    done = CliRunner().invoke(app, ["audit", "--extra", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "3 answers, 0 not judged as their folder says" in done.output
    write(tmp_path, "wrong", "actually_right", FIRST_LINE + RIGHT)
    done = CliRunner().invoke(app, ["audit", "--extra", str(tmp_path)])
    assert done.exit_code == 1
    assert "mistake accepted by the visible check and the hidden cases" in done.output


@pytest.mark.parametrize(
    ("source", "words"), [("x = 1\n", "the first line must be"), ("# exercise: attention.nothing\n", "no exercise")]
)
def test_extra_says_what_is_wrong_with_a_file(tmp_path: Path, source: str, words: str) -> None:
    write(tmp_path, "wrong", "file", source)
    done = CliRunner().invoke(app, ["audit", "--extra", str(tmp_path)])
    assert done.exit_code == 1
    assert words in done.output
    assert "file.py:1" in done.output.replace("\n", "")


def test_what_stays_is_readable(tmp_path: Path) -> None:
    report = audit.Report([audit.judge_answer(SDPA, "<b>no_scale</b>", "mistake", unscaled)], case_runs=3)
    audit.write(report, tmp_path)
    counts = json.loads((tmp_path / "audit.json").read_text())["counts"]
    assert counts["mistakes"] == counts["caught_by_visible"] == counts["caught_by_hidden"] == 1
    page = (tmp_path / "audit.html").read_text()
    assert "<b>no_scale" not in page
    assert "&lt;b&gt;no_scale" in page
