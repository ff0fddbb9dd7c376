import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.allocation import greedy, uniform
from autoprune.budget import Budget
from autoprune.errors import ArgumentError
from autoprune.graph.types import PruneGraph
from autoprune.task import Task
from tests.budget import graphs

BUDGETS = ("macs=50%", "macs=80%", "params=60%", "macs=70%,params=60%")


def make_task(graph: PruneGraph, budget: str, seed: int = 0, convex: bool = False, **settings: float) -> Task:
    curves = graphs.random_curves(graph, np.random.default_rng(seed), convex)
    return Task(graph, Budget.parse(budget).bind(graph), curves, **settings)  # type: ignore[arg-type]


def every_candidate(task: Task) -> np.ndarray:
    """All allowed widths that meet the budget."""
    widths = np.array(list(itertools.product(*[task.allowed(i) for i in range(len(task.names))])))
    return widths[task.budget.holds(widths)]


def reference_uniform(task: Task) -> np.ndarray:
    """The plain loop: the largest ratio of all at which any group changes."""
    ratios = sorted({w / s for i, s in enumerate(task.sizes) for w in task.allowed(i)}, reverse=True)
    for ratio in ratios:
        widths = []
        for i, size in enumerate(task.sizes):
            below = [w for w in task.allowed(i) if w <= ratio * size + 1e-9]
            widths.append(below[-1] if below else task.allowed(i)[0])
        if task.budget.holds(np.array(widths)):
            return np.array(widths)
    return task.min_widths


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("make", graphs.ALL)
@pytest.mark.parametrize("round_to", [1, 4])
def test_uniform_is_the_largest_common_ratio(make: object, budget: str, round_to: int) -> None:
    task = make_task(make(), budget, lower=0.0, round_to=round_to)  # type: ignore[operator]
    found = uniform(task)
    assert task.budget.holds(found)
    assert np.array_equal(found, reference_uniform(task))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("make", graphs.ALL)
@pytest.mark.parametrize("round_to", [1, 4])
def test_greedy_meets_the_budget_with_allowed_widths(make: object, budget: str, round_to: int) -> None:
    task = make_task(make(), budget, lower=0.0, round_to=round_to)  # type: ignore[operator]
    found = greedy(task)
    assert task.budget.holds(found)
    assert np.array_equal(task.round_down(found), found)
    assert task.errors(found).sum() <= task.errors(uniform(task)).sum()


def test_dense_if_the_budget_allows_it() -> None:
    task = make_task(graphs.residual(), "macs=100%")
    assert np.array_equal(greedy(task), task.sizes)
    assert np.array_equal(uniform(task), task.sizes)


def test_smallest_if_the_budget_allows_nothing_else() -> None:
    loose = make_task(graphs.residual(), "macs=100%", lower=0.2)
    task = make_task(graphs.residual(), f"macs={loose.smallest['macs']}", lower=0.2)
    assert np.array_equal(greedy(task), task.min_widths)
    assert np.array_equal(uniform(task), task.min_widths)


def between(graph: PruneGraph, spare: float, **settings: float) -> str:
    """Limits on all costs, `spare` of the way from the smallest reachable value to the dense one."""
    loose = make_task(graph, "macs=100%,params=100%", **settings)
    costs = {
        k: int(loose.smallest[k] + spare * (v - loose.smallest[k])) for k, v in loose.budget.dense.items()
    }
    return ",".join(f"{name}={limit}" for name, limit in costs.items())


def gaps(convex: bool) -> np.ndarray:
    """Relative excess over the optimum of small problems, found by trying every candidate."""
    result = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = (graphs.random_graph(rng, 4, 6), graphs.residual((5, 6), 1), graphs.mobile((5, 6, 7)))[
            seed % 3
        ]
        task = make_task(graph, between(graph, 0.3), seed, convex, lower=0.0)
        weights = rng.random(len(task.names))
        best = (task.errors(every_candidate(task)) @ weights).min()
        result.append(float(task.errors(greedy(task, weights)) @ weights) / max(best, 1e-9) - 1)
    return np.array(result)


@pytest.mark.parametrize("convex", [True, False])
def test_greedy_is_near_the_optimum_of_small_problems(convex: bool) -> None:
    excess = gaps(convex)
    assert excess.min() > -1e-9
    assert (excess < 1e-9).mean() > 0.8
    assert excess.mean() < 0.03


def test_greedy_is_near_the_lagrangian_bound_of_a_deep_network() -> None:
    graph = graphs.padded_resnet()
    for seed, convex in ((0, True), (1, False)):
        task = make_task(graph, "macs=50%", seed, convex)
        assert task.errors(greedy(task)).sum() < 1.005 * lagrangian_bound(task)


def lagrangian_bound(task: Task) -> float:
    """A lower bound of any solution's error; needs a cost that is linear in the widths."""
    per_unit = np.array(
        [
            task.budget.values(task.sizes) - task.budget.values(task.sizes - row)
            for row in np.eye(len(task.sizes), dtype=int)
        ]
    )[:, 0]
    over = float(task.budget.values(task.sizes)[0] - task.budget.bounds[0] - per_unit @ task.sizes)
    best = 0.0
    for price in np.geomspace(1e-9, 1e-4, 1000):
        total = price * over
        for i in range(len(task.sizes)):
            widths = task.allowed(i)
            total += (task.errors_at(i, widths) + price * per_unit[i] * widths).min()
        best = max(best, total)
    return best


def test_weights_say_where_to_prune() -> None:
    task = make_task(graphs.padded_resnet(2), "macs=50%", convex=True)
    heavy = np.ones(6)
    heavy[2] = 1000.0
    light = np.ones(6)
    light[2] = 0.0
    assert greedy(task, heavy)[2] > greedy(task)[2] > greedy(task, light)[2] == task.min_widths[2]


@pytest.mark.parametrize("weights", [np.ones(5), np.full(6, -1.0), np.full(6, np.nan), np.ones((1, 6))])
def test_refuses_weights(weights: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="weights must be 6 finite numbers of at least 0"):
        greedy(make_task(graphs.padded_resnet(2), "macs=50%"), weights)


class Peak:
    """A cost that no single group lowers: the largest width counts."""

    name, unit = "memory", "bytes"

    def __call__(self, widths: np.ndarray) -> np.ndarray:
        return widths.max(-1)


def test_costs_that_only_fall_together() -> None:
    graph = graphs.padded_resnet(2, (8, 8))
    budget = Budget.parse("memory=50%", ("memory",)).bind(graph, {"memory": Peak()})
    task = Task(graph, budget, graphs.random_curves(graph, np.random.default_rng(0)))
    assert greedy(task).tolist() == [4] * 4
    assert uniform(task).tolist() == [4] * 4


class Milliseconds:
    """A measured cost: small floats, with steps of four units."""

    name, unit = "latency", "ms"

    def __call__(self, widths: np.ndarray) -> np.ndarray:
        return 1e-3 * np.ceil(widths / 4).sum(-1)


def test_measured_costs_beside_counted_ones() -> None:
    graph = graphs.residual((8, 8), 1)
    budget = Budget.parse("latency=60%,macs=50%", ("latency", "macs")).bind(
        graph, {"latency": Milliseconds()}
    )
    task = Task(graph, budget, graphs.random_curves(graph, np.random.default_rng(0)), lower=0.0)
    best = task.errors(every_candidate(task)).sum(-1).min()
    assert task.budget.holds(greedy(task))
    assert task.errors(greedy(task)).sum() < 1.05 * best
    assert task.budget.holds(uniform(task))


def test_groups_with_many_widths() -> None:
    b = graphs.Builder()
    b.conv(b.group("a", 1500), b.group("b", 3000), kernel=1)
    b.linear(graphs.of("b"), graphs.Extent(10))
    task = make_task(b.build(), "macs=40%", convex=True)
    found = greedy(task)
    assert task.budget.holds(found)
    grid = np.array(list(itertools.product(task.allowed(0)[::10], task.allowed(1)[::10])))
    assert task.errors(found).sum() < 1.01 * task.errors(grid[task.budget.holds(grid)]).sum(-1).min()


def test_is_deterministic_and_leaves_the_task_alone() -> None:
    task = make_task(graphs.residual(), "macs=40%")
    before = {name: curve.copy() for name, curve in task.curves.items()}
    assert np.array_equal(greedy(task), greedy(task))
    assert np.array_equal(uniform(task), uniform(task))
    assert all(np.array_equal(before[name], curve) for name, curve in task.curves.items())
    assert np.array_equal(task.max_widths, task.sizes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from([1, 2, 4]), st.sampled_from([0.0, 0.3]))
def test_any_feasible_problem_is_solved(seed: int, spare: float, round_to: int, lower: float) -> None:
    graph = graphs.random_graph(np.random.default_rng(seed), 5, 12)
    limits = between(graph, spare, lower=lower, round_to=round_to)
    task = make_task(graph, limits, seed, lower=lower, round_to=round_to)
    for found in (greedy(task, np.random.default_rng(seed).random(len(task.names))), uniform(task)):
        assert task.budget.holds(found)
        assert np.array_equal(task.round_down(found), found)


def test_is_fast_enough_to_be_called_for_every_episode() -> None:
    task = make_task(graphs.padded_resnet(), "macs=50%", convex=True)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        greedy(task)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5, "a guard against another order of magnitude, not a benchmark"
