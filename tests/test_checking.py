"""Visible checks speak in words, whatever the answer does, and disturb nothing."""

from __future__ import annotations

import pytest
import torch

from vitcourse import checking
from vitcourse.checking import CheckFailed, NotSolved, run_check
from vitcourse.quiz import question, verdict

SDPA = "attention.scaled_dot_product_attention"


def message(answer: object) -> str:
    with pytest.raises(CheckFailed) as caught:
        run_check(SDPA, answer)
    return str(caught.value)


def unsolved(q, k, v):
    raise NotImplementedError


def test_an_unsolved_exercise_is_one_friendly_line() -> None:
    with pytest.raises(NotSolved, match=r"^✗ Exercise 3\.\d · scaled_dot_product_attention is not solved yet\."):
        run_check(SDPA, unsolved)


def plain_check(answer) -> None:
    q = checking.normal(2, 3, 5, 4)
    checking.shape(answer(q, q, q), (2, 3, 5, 4), "as many results as queries")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda q, k, v: None, "returned None: does the function end with `return`?"),
        (lambda q, k, v: (None, None), "returned a tuple where one tensor is expected"),
        (lambda q, k, v: q[0], "As many results as queries. (expected shape (2, 3, 5, 4), got (3, 5, 4))"),
        (lambda q, k, v: 1 / 0, "ZeroDivisionError"),
        (lambda q: q, "TypeError"),
        ("not a function", "TypeError"),
        (lambda q, k, v: "ab", "not a tensor"),
    ],
)
def test_odd_answers_get_words_not_tracebacks(answer: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checking.CHECKS, SDPA, plain_check)
    assert words in message(answer)


def test_the_exercise_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def split_heads(x, num_heads):
        raise NotImplementedError

    namespace = {"split_heads": split_heads}
    exec("def answer(q, k, v):\n    return split_heads(q, 3)", namespace)
    split_heads.__code__ = split_heads.__code__.replace(co_qualname="split_heads")
    monkeypatch.setitem(checking.CHECKS, SDPA, plain_check)
    with pytest.raises(NotSolved, match=r"needs Exercise 3\.\d · split_heads, which is not solved yet"):
        run_check(SDPA, namespace["answer"])


def test_the_failure_renders_as_its_message_alone() -> None:
    failure = CheckFailed("say this", hint=2, see="picks one token")
    assert failure._render_traceback_() == ["say this · Hint 2 · What goes wrong: “picks one token”"]


def test_checks_leave_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    message(unsolved)
    assert torch.equal(before, torch.get_rng_state())


def test_helpers_fail_with_their_sentence() -> None:
    good = torch.ones(2, 3)
    checking.shape(good, (2, 3), "rows and columns")
    checking.close(good, 1.0, "ones")
    checking.differs(good, good + 1, "twos")
    checking.raises(ValueError, lambda: int("x"), "refuse words")
    for failing in (
        lambda: checking.shape(good, (3, 2), "rows and columns"),
        lambda: checking.close(good, 2.0, "rows and columns"),
        lambda: checking.close(torch.tensor(float("nan")), 2.0, "rows and columns"),
        lambda: checking.close(good, torch.ones(3, 2), "rows and columns"),
        lambda: checking.differs(good, good + 1e-9, "rows and columns"),
        lambda: checking.require(False, "rows and columns"),
        lambda: checking.raises(ValueError, lambda: [][0], "rows and columns"),
        lambda: checking.raises(ValueError, lambda: 1, "rows and columns"),
        lambda: checking.gradients_reach(torch.nn.Linear(2, 2), torch.ones(1, 2), "rows and columns"),
    ):
        with pytest.raises(CheckFailed, match="Rows and columns"):
            failing()


def test_questions_explain() -> None:
    question("test.size", right="2x3", why="Because.", wrong={"3x2": "Turned."}, otherwise="Count again.")
    assert verdict("test.size", "")[0] is None
    assert verdict("test.size", "(2, 3)") == (True, "✓ Right. Because.")
    assert verdict("test.size", "2 × 3")[0] is True
    assert verdict("test.size", "3x2") == (False, "✗ Not quite. Turned.")
    assert "Count again" in verdict("test.size", "9")[1]
    with pytest.raises(ValueError, match="two questions"):
        question("test.size", right="1", why="")
    with pytest.raises(KeyError, match=r"no question 'attention\.none'; known: attention"):
        verdict("attention.none", "1")
