"""Schedules against the formulas of their papers."""

import math
from dataclasses import FrozenInstanceError
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from autoprune.errors import ArgumentError
from autoprune.schedules import (
    SCHEDULES,
    GradualPruning,
    IterativeGeometric,
    IterativeLinear,
    OneCycle,
    OneShot,
    Schedule,
    schedule,
)


@st.composite
def any_schedule(draw: st.DrawFn) -> Schedule:
    low, high = sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1))))
    name = draw(st.sampled_from(list(SCHEDULES)))
    if name == "geometric":
        low, high = min(low, 0.999), min(high, 0.999)
    settings = {"initial": low, "begin": draw(st.integers(0, 20)), "every": draw(st.integers(1, 7))}
    if name == "one_cycle":
        settings |= {"alpha": draw(st.floats(0.1, 50)), "beta": draw(st.floats(-20, 20))}
    return schedule(name, high, draw(st.integers(1, 40)), **settings)


@given(any_schedule())
def test_never_falls_and_is_exact_at_both_ends(plan: Schedule) -> None:
    targets = [plan(step) for step in range(plan.end + 10)]
    assert all(a <= b for a, b in pairwise(targets))
    assert all(plan.initial <= t <= plan.final for t in targets)
    assert plan(plan.end) == plan(math.inf) == plan.final
    assert plan(plan.begin - 1) == plan.initial
    if plan.end > plan.begin:
        assert plan(plan.begin) == plan.initial


@given(any_schedule())
def test_changes_are_all_steps_at_which_the_target_rises(plan: Schedule) -> None:
    rises, last = [], plan.initial
    for step in range(plan.end + 3):
        if plan(step) != last:
            rises.append((step, plan(step)))
        last = plan(step)
    assert list(plan.changes) == rises


@given(any_schedule(), st.integers(0, 60))
def test_the_target_holds_between_updates(plan: Schedule, step: int) -> None:
    if plan.begin <= step < plan.end:
        update = plan.begin + (step - plan.begin) // plan.every * plan.every
        assert plan(step) == plan(update)


@pytest.mark.parametrize("step", range(0, 40))
def test_gradual_pruning_is_equation_1_of_zhu_and_gupta(step: int) -> None:
    first, last, begin, times, every = 0.1, 0.9, 4, 6, 5
    plan = GradualPruning(last, times * every, initial=first, begin=begin, every=every)
    t = min(max(begin, begin + (step - begin) // every * every), begin + times * every)
    expected = last + (first - last) * (1 - (t - begin) / (times * every)) ** 3
    assert plan(step) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("step", range(1, 31))
def test_one_cycle_is_the_formula_of_hubens(step: int) -> None:
    plan = OneCycle(0.8, 30, initial=0.2)
    share = (1 + math.exp(-14 + 5)) / (1 + math.exp(-14 * step / 30 + 5))
    assert plan(step) == pytest.approx(0.2 + share * 0.6, abs=1e-15)


def test_one_cycle_is_slow_then_fast_then_slow() -> None:
    targets = np.array([OneCycle(1.0, 100)(s) for s in range(101)])
    steps = np.diff(targets)
    assert steps[:5].max() < 0.01 and steps[-40:].max() < 0.01 and steps.max() > 0.03


@pytest.mark.parametrize("final", [0.0, 0.2, 0.8, 0.99])
@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_geometric_rounds_prune_an_equal_share_of_what_is_left(final: float, rounds: int) -> None:
    plan = IterativeGeometric(final, rounds)
    left = [1 - plan(k) for k in range(rounds + 1)]
    assert [b / a for a, b in pairwise(left)] == pytest.approx([(1 - final) ** (1 / rounds)] * rounds)


def test_the_lottery_ticket_prunes_a_fifth_in_every_round() -> None:
    plan = IterativeGeometric(1 - 0.8**5, 5)
    assert [1 - plan(k) for k in range(6)] == pytest.approx([0.8**k for k in range(6)])


def test_linear_rounds_are_equal() -> None:
    assert [IterativeLinear(0.8, 4, initial=0.4)(k) for k in range(5)] == pytest.approx(
        [0.4, 0.5, 0.6, 0.7, 0.8]
    )


def test_one_shot_is_at_once() -> None:
    assert OneShot(0.5)(0) == 0.5
    assert [OneShot(0.5, begin=3)(s) for s in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert OneShot(0.5, begin=3).changes == ((3, 0.5),)
    assert schedule("one_shot", 0.5, 10)(0) == 0.5


def test_an_unfinished_last_interval_still_ends_exactly() -> None:
    assert [s for s, _ in GradualPruning(0.9, 10, every=4).changes] == [4, 8, 10]
    assert GradualPruning(0.9, 10, every=40).changes == ((10, 0.9),)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (IterativeLinear, {"final": 1.1, "steps": 3}, r"final must be a share in 0\.\.1 .* got 1.1"),
        (IterativeLinear, {"final": math.nan, "steps": 3}, "final must be a share .* got nan"),
        (IterativeLinear, {"final": "80%", "steps": 3}, "final must be a share .* got '80%'"),
        (IterativeLinear, {"final": True, "steps": 3}, "final must be a share"),
        (GradualPruning, {"final": 0.5, "steps": 3, "initial": -0.1}, "initial must be a share"),
        (GradualPruning, {"final": 0.5, "steps": 3, "initial": 0.6}, r"not exceed final \(0.5\), got 0.6"),
        (GradualPruning, {"final": 0.5, "steps": 0}, "steps must be a whole number of at least 1, got 0"),
        (GradualPruning, {"final": 0.5, "steps": 2.5}, "steps must be a whole number .* got 2.5"),
        (GradualPruning, {"final": 0.5, "steps": 2, "begin": -1}, "begin must be .* at least 0, got -1"),
        (GradualPruning, {"final": 0.5, "steps": 2, "every": 0}, "every must be .* at least 1, got 0"),
        (IterativeGeometric, {"final": 1.0, "steps": 2}, "final must be below 1"),
        (OneCycle, {"final": 0.5, "steps": 2, "alpha": 0.0}, "alpha must lie"),
        (OneCycle, {"final": 0.5, "steps": 2, "beta": math.inf}, "beta in"),
    ],
)
def test_bad_arguments(kind: type[Schedule], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kind(**arguments)


def test_a_step_that_is_no_number() -> None:
    with pytest.raises(ArgumentError, match="step must be a number, got nan"):
        IterativeLinear(0.5, 3)(math.nan)


def test_numpy_numbers_are_numbers() -> None:
    assert IterativeLinear(np.float64(0.5), np.int64(2))(np.int64(1)) == 0.25  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gradul", {}, "no schedule 'gradul'; did you mean 'gradual'\\?; there are: one_shot, linear"),
        ("zzz", {}, "no schedule 'zzz'; there are"),
        ("linear", {"alpha": 3}, "'linear' has no setting 'alpha'; it has: final, steps"),
    ],
)
def test_bad_names(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        schedule(name, 0.5, 3, **settings)


def test_schedules_are_frozen_values() -> None:
    assert schedule("gradual", 0.5, 3) == GradualPruning(0.5, 3)
    assert len({GradualPruning(0.5, 3), GradualPruning(0.5, 3), OneCycle(0.5, 3)}) == 2
    with pytest.raises(FrozenInstanceError):
        GradualPruning(0.5, 3).final = 0.6  # type: ignore[misc]
