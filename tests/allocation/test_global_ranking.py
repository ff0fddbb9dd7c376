"""Global ranking against a plain loop that removes one unit after the other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.allocation import global_ranking
from autoprune.errors import ArgumentError
from autoprune.task import Task
from tests.allocation.nets import between, holds, make_scores, make_task, remove_least, rounded
from tests.budget import graphs


def reference(task: Task, scores: dict[str, np.ndarray]) -> list[int]:
    left = task.sizes.tolist()
    while not holds(task, rounded(task, left)):
        assert remove_least(task, scores, left, list(range(len(left))))
    return rounded(task, left)


@pytest.mark.parametrize("budget", ["macs=50%", "params=60%", "macs=70%,params=60%"])
@pytest.mark.parametrize("make", graphs.ALL)
@pytest.mark.parametrize("guard", [{}, {"lower": 0.0}, {"round_to": 4}, {"floor_units": 3}, {"upper": 0.9}])
def test_equals_the_plain_loop(make: object, budget: str, guard: dict[str, float]) -> None:
    graph = make()  # type: ignore[operator]
    for ties in (False, True):
        task, scores = make_task(graph, budget, **guard), make_scores(graph, 3, ties)
        found = global_ranking(task, scores)
        assert found.tolist() == reference(task, scores)
        assert task.budget.holds(found)
        assert np.array_equal(task.round_down(found), found)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0, 1),
    st.sampled_from([{"lower": 0.0}, {"lower": 0.3}, {"round_to": 2}, {"upper": 0.8}]),
    st.booleans(),
)
def test_any_feasible_problem(seed: int, spare: float, guard: dict[str, float], ties: bool) -> None:
    graph = graphs.random_graph(np.random.default_rng(seed), 5, 12)
    task = make_task(graph, between(graph, spare, **guard), seed, **guard)
    scores = make_scores(graph, seed, ties)
    assert global_ranking(task, scores).tolist() == reference(task, scores)


def test_the_units_that_stay_are_the_best_of_the_network() -> None:
    """Without a guard in the way: no removed unit scores above a kept one."""
    graph = graphs.padded_resnet(2)
    task, scores = make_task(graph, "macs=70%", lower=0.0), make_scores(graph, 1)
    kept, gone = [], []
    for name, width, least in zip(task.names, global_ranking(task, scores), task.min_widths, strict=True):
        ranked = np.sort(scores[name])[::-1]
        kept += ranked[:width].tolist()
        gone += ranked[width:].tolist()
        assert width > least
    assert max(gone) < min(kept)


def test_one_unit_more_would_break_the_budget() -> None:
    task = make_task(graphs.padded_resnet(1), "macs=60%", lower=0.0)
    scores = make_scores(task.graph, 2)
    found = global_ranking(task, scores)
    gone = {
        i: np.sort(scores[n])[::-1][w]
        for i, (n, w) in enumerate(zip(task.names, found, strict=True))
        if w < task.sizes[i]
    }
    last = max(gone, key=lambda i: gone[i])
    more = found.copy()
    more[last] += 1
    assert not task.budget.holds(more)


def test_takes_tensors_and_is_deterministic() -> None:
    task = make_task(graphs.residual())
    scores = make_scores(task.graph, 0, ties=True)
    tensors = {name: torch.tensor(values, requires_grad=True) for name, values in scores.items()}
    assert np.array_equal(global_ranking(task, scores), global_ranking(task, tensors))


def test_of_equal_scores_the_earlier_group_goes_first() -> None:
    task = make_task(graphs.padded_resnet(1), "macs=80%", lower=0.0)
    found = global_ranking(
        task, {name: np.ones(size) for name, size in zip(task.names, task.sizes, strict=True)}
    )
    assert found[0] < task.sizes[0]
    assert found[1:].tolist() == task.sizes[1:].tolist()


def test_extremes() -> None:
    graph = graphs.residual()
    scores = make_scores(graph, 0)
    assert np.array_equal(global_ranking(make_task(graph, "macs=100%"), scores), make_task(graph).sizes)
    tight = make_task(graph, between(graph, 0.0))
    assert np.array_equal(global_ranking(tight, scores), tight.min_widths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "scores must hold every prunable group, but 'stream0' is missing"),
        (np.ones(3), r"scores\['stream0'\] must be 16 finite numbers, one per unit, got shape \(3,\)"),
        (np.full(16, np.nan), r"scores\['stream0'\] must be 16 finite numbers, one per unit, got nan among"),
        (np.ones((16, 1)), r"got shape \(16, 1\)"),
    ],
)
def test_refuses_scores(change: object, message: str) -> None:
    task = make_task(graphs.residual())
    scores: dict[str, object] = {**make_scores(task.graph, 0)}
    if change is None:
        del scores["stream0"]
    else:
        scores["stream0"] = change
    with pytest.raises(ArgumentError, match=message):
        global_ranking(task, scores)
