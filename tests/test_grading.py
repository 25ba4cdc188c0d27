"""Probes, the bytes that cross, the comparison, and the points."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.cases import cases_of
from grader.grading import Reason, difference, grade_here, score
from vitcourse.probes import Draw, pack, plain, raised, run_probe, scramble, unpack

SDPA = "attention.scaled_dot_product_attention"

data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(data)
@settings(max_examples=60, deadline=None)
def test_plain_data_survives_the_crossing(value: object) -> None:
    assert unpack(pack(plain(value))) == plain(value)


def test_tensors_survive_the_crossing() -> None:
    value = {
        "a": [torch.randn(2, 3).t(), torch.tensor(True)],
        "b": torch.zeros(0, 2),
        "c": torch.randn(3, dtype=torch.float64),
    }
    back = unpack(pack(plain(value)))
    assert torch.equal(back["a"][0], value["a"][0])
    assert back["a"][1].dtype == torch.bool
    assert back["b"].shape == (0, 2)
    assert torch.equal(back["c"], value["c"])


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_strange_bytes_are_refused_with_a_value_error(strange: bytes) -> None:
    with pytest.raises(ValueError, match="not a packed result"):
        unpack(strange)


def test_nothing_but_data_comes_out_of_a_probe() -> None:
    with pytest.raises(TypeError, match="which is not a tensor"):
        plain([object()])


def test_draws_depend_on_the_seed_alone() -> None:
    assert torch.equal(Draw(5).normal(3, 4), Draw(5).normal(3, 4))
    assert not torch.equal(Draw(5).normal(3, 4), Draw(6).normal(3, 4))
    sizes = Draw(1).sizes(4, low=2, high=9)
    assert len(set(sizes)) == 4
    with pytest.raises(ValueError, match="no 4 distinct sizes"):
        Draw(1).sizes(4, low=1, high=3)


def test_scrambling_depends_on_names_not_on_order() -> None:
    first = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 4), "b": torch.nn.LayerNorm(4)})
    second = torch.nn.ModuleDict({"b": torch.nn.LayerNorm(4), "a": torch.nn.Linear(3, 4)})
    scramble(first, 2), scramble(second, 2)
    assert torch.equal(first["a"].weight, second["a"].weight)
    assert all(bool(p.abs().min() > 0) for p in first.parameters())


def test_raised_names_the_built_in_exception() -> None:
    class Mine(ValueError):
        pass

    def fail() -> None:
        raise Mine

    assert raised(fail) == "ValueError"
    assert raised(lambda: None) == "nothing"


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (torch.zeros(2), torch.zeros(3)), (torch.zeros(2), torch.ones(2)), (torch.tensor(float("nan")), torch.tensor(1.0)),
        ([1], [1, 2]), ({"a": 1}, {"b": 1}), (1, True), ("x", "y"), (None, torch.zeros(2)), ("x", torch.zeros(2)),
        (torch.tensor(float("inf")), torch.tensor(1.0)), ([torch.ones(1)], [torch.zeros(1)]), (2.0, 1.0),
    ],
)  # fmt: skip
def test_what_differs_is_said(got: object, want: object) -> None:
    assert difference(got, want, 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (torch.ones(2, dtype=torch.float64), torch.ones(2)), (torch.tensor([1]), torch.tensor([1.0])),
        (torch.tensor(float("inf")), torch.tensor(float("inf"))), (3, 3.0), ([1, "a", None], [1, "a", None]),
        (torch.zeros(0, 3), torch.zeros(0, 3)), (0.5, torch.tensor(0.5)),
    ],
)  # fmt: skip
def test_what_agrees_passes(got: object, want: object) -> None:
    assert difference(got, want, 1e-5, 1e-5) == ""


def test_points_reasons_and_diagnosis() -> None:
    from solutions.attention import scaled_dot_product_attention as right

    def unscaled(q, k, v):
        weights = (q @ k.mT).softmax(-1)
        return weights @ v, weights

    def unsolved(q, k, v):
        raise NotImplementedError

    assert grade_here(SDPA, right).reason == Reason.RIGHT
    assert grade_here(SDPA, right).points == grade_here(SDPA, right).max_points
    wrong = grade_here(SDPA, unscaled, seed=4)
    assert wrong.reason == Reason.WRONG
    assert wrong.mistake == "no_scale"
    assert wrong.points < wrong.max_points
    assert grade_here(SDPA, unsolved).reason == Reason.NOT_SOLVED
    assert grade_here(SDPA, lambda q, k, v: 1 / 0).reason == Reason.ERROR


def test_half_right_gets_half_the_points() -> None:
    from solutions.attention import scaled_dot_product_attention as right

    first, *rest = cases_of(SDPA)
    outcomes = {first.name: run_probe(first, right, 0)} | {c.name: {"status": "raised", "error": "E"} for c in rest}
    assert score(SDPA, outcomes, 0).points == first.points
    assert score(SDPA, {}, 0).points == 0


def test_other_seeds_draw_other_inputs() -> None:
    one = run_probe(cases_of(SDPA)[0], lambda *a: list(a), 1)["data"][0]
    two = run_probe(cases_of(SDPA)[0], lambda *a: list(a), 2)["data"][0]
    assert one.shape != two.shape or not torch.equal(one, two)


def test_a_refusal_alone_earns_nothing() -> None:
    def refuse(*sizes):
        raise ValueError

    result = grade_here("patchify.patch_grid", refuse)
    assert any(c.beside for c in cases_of("patchify.patch_grid"))
    assert result.points == 0
