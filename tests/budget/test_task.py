import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.budget import Budget
from autoprune.errors import ArgumentError, BudgetError, ModelError
from autoprune.graph.types import PruneGraph
from autoprune.task import Task
from tests.budget import graphs


def make_task(graph: PruneGraph, budget: str = "macs=50%", **settings: float) -> Task:
    curves = graphs.random_curves(graph, np.random.default_rng(0))
    return Task(graph, Budget.parse(budget).bind(graph), curves, **settings)  # type: ignore[arg-type]


def single(size: int) -> PruneGraph:
    b = graphs.Builder()
    b.conv(b.group("a", size), graphs.Extent(4))
    return b.build()


ALLOWED = [
    (16, 0.1, 1.0, 1, list(range(2, 17))),
    (16, 0.0, 1.0, 1, list(range(1, 17))),
    (20, 0.1, 1.0, 8, [8, 16, 20]),
    (20, 0.1, 0.9, 8, [8, 16]),
    (20, 0.5, 0.8, 1, [10, 11, 12, 13, 14, 15, 16]),
    (20, 0.45, 1.0, 8, [16, 20]),
    (4, 0.1, 1.0, 8, [4]),
    (4, 0.1, 0.9, 8, [4]),
    (1, 0.1, 1.0, 1, [1]),
    (10, 0.3, 1.0, 1, [3, 4, 5, 6, 7, 8, 9, 10]),
    (10, 0.1, 0.7, 1, [1, 2, 3, 4, 5, 6, 7]),
]


@pytest.mark.parametrize(("size", "lower", "upper", "round_to", "expected"), ALLOWED)
def test_allowed_widths(size: int, lower: float, upper: float, round_to: int, expected: list[int]) -> None:
    task = make_task(single(size), "macs=100%", lower=lower, upper=upper, round_to=round_to)
    assert task.allowed(0).tolist() == expected
    assert (task.min_widths.tolist(), task.max_widths.tolist()) == ([expected[0]], [expected[-1]])
    for width in range(size + 1):
        below = [w for w in expected if w <= width] or expected[:1]
        assert task.round_down(np.array([width])).tolist() == below[-1:]
        assert task.from_ratio(np.float32(width) / np.float32(size)).tolist() == below[-1:]


def test_multiples_by_group() -> None:
    names = [group.name for group in graphs.padded_resnet(1, (16, 20, 32)).prunable]
    task = make_task(graphs.padded_resnet(1, (16, 20, 32)), "macs=90%", round_to={names[1]: 8})
    plain = make_task(graphs.padded_resnet(1, (16, 20, 32)), "macs=90%")
    assert task.allowed(1).tolist() == [8, 16, 20]
    assert all(task.allowed(at).tolist() == plain.allowed(at).tolist() for at in range(len(names)) if at != 1)
    with pytest.raises(ArgumentError, match="round_to must be an integer of at least 1, got 0"):
        make_task(graphs.padded_resnet(1, (16, 20, 32)), "macs=90%", round_to={names[0]: 0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lower": -0.1}, "lower must lie in"),
        ({"lower": 1.0}, "lower must lie in"),
        ({"lower": float("nan")}, "lower must lie in"),
        ({"upper": 1.1}, "upper must lie in"),
        ({"lower": 0.5, "upper": 0.5}, "upper must lie in"),
        ({"round_to": 0}, "round_to must be an integer"),
        ({"round_to": 2.0}, "round_to must be an integer"),
        ({"round_to": True}, "round_to must be an integer"),
        ({"floor_units": 0}, "floor_units must be an integer of at least 1, got 0"),
        ({"floor_units": 1.5}, "floor_units must be an integer"),
        (
            {"floor_units": 17},
            "floor_units must not exceed the size of a prunable group, got 17, but 'stream0' has 16 units",
        ),
    ],
)
def test_refuses_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make_task(graphs.residual(), **settings)


FLOORS = [
    (8, {"lower": 0.0, "floor_units": 3}, [3, 4, 5, 6, 7, 8]),
    (8, {"lower": 0.5, "floor_units": 3}, [4, 5, 6, 7, 8]),
    (20, {"lower": 0.1, "floor_units": 9, "round_to": 4}, [12, 16, 20]),
    (20, {"lower": 0.1, "floor_units": 19, "round_to": 8}, [20]),
    (8, {"lower": 0.0, "floor_units": 7, "upper": 0.5}, [8]),
    (8, {"lower": 0.0, "floor_units": 8}, [8]),
]


@pytest.mark.parametrize(("size", "settings", "expected"), FLOORS)
def test_allowed_widths_with_a_floor_in_units(
    size: int, settings: dict[str, float], expected: list[int]
) -> None:
    task = make_task(single(size), "macs=100%", **settings)
    assert task.allowed(0).tolist() == expected


def test_infeasible_names_the_floor() -> None:
    with pytest.raises(BudgetError, match="that lower=0, floor_units=8 and round_to=1 allow, macs is still"):
        make_task(graphs.residual(), "macs=5%", lower=0.0, floor_units=8)


def test_refuses_curves() -> None:
    task = make_task(single(5), "macs=100%")
    for curves, message in (
        ({}, "'a' is missing"),
        ({"a": np.zeros(5)}, r"must have shape \(6,\), one error per width, got \(5,\)"),
        ({"a": np.array([1, 1, np.nan, 1, 1, 0])}, "must be finite, got nan at width 2"),
    ):
        with pytest.raises(ArgumentError, match=message):
            dataclasses.replace(task, curves=curves)


def test_refuses_a_network_without_prunable_groups() -> None:
    b = graphs.Builder()
    b.conv(b.group("a", 4, "output"), graphs.Extent(4))
    with pytest.raises(ModelError, match="all 1 groups are locked"):
        make_task(b.build())


def test_refuses_a_budget_of_another_network() -> None:
    task = make_task(graphs.residual())
    with pytest.raises(ArgumentError, match="must be bound to the graph"):
        dataclasses.replace(task, budget=Budget.parse("macs=50%").bind(single(5)))


def test_infeasible_names_the_binding_cost_and_its_smallest_value() -> None:
    graph = graphs.padded_resnet(1)
    feasible = make_task(graph, "macs=30%,params=50%", lower=0.2)
    smallest = graph.params(feasible.widths(feasible.min_widths))
    assert feasible.smallest["params"] == smallest
    expected = (
        rf"lower=0.2 and round_to=1 allow, params is still {smallest:,} \(.*limit 50\) and macs reaches"
    )
    with pytest.raises(BudgetError, match=expected):
        make_task(graph, "macs=30%,params=50", lower=0.2)
    make_task(graph, f"params={smallest}", lower=0.2)
    with pytest.raises(BudgetError):
        make_task(graph, f"params={smallest - 1}", lower=0.2)


def test_vectors_and_mappings() -> None:
    graph = graphs.padded_resnet(1)
    task = make_task(graph)
    assert task.names == ("0.0", "1.0", "2.0")
    assert task.widths(np.array([3, 4, 5])) == {"0.0": 3, "1.0": 4, "2.0": 5}
    assert task.vector({"1.0": 4}).tolist() == [16, 4, 64]
    with pytest.raises(ArgumentError, match="no group named"):
        task.vector({"x": 1})
    curves = task.curves
    assert task.errors(np.array([[3, 4, 5]])).tolist() == [
        [curves["0.0"][3], curves["1.0"][4], curves["2.0"][5]]
    ]
    assert task.errors_at(1, np.array([4, 32])).tolist() == [curves["1.0"][4], 0.0]


def reference_wall(task: Task, position: int, chosen: np.ndarray) -> int:
    """The plain loop: from the largest width down until the budget can be met."""
    for width in reversed(task.allowed(position).tolist()):
        vector = [*chosen[:position].tolist(), width, *task.min_widths[position + 1 :].tolist()]
        costs = {"macs": task.graph.macs, "params": task.graph.params}
        widths = dict(zip(task.names, vector, strict=True))
        if all(costs[name](widths) <= limit for name, limit in task.budget.limits.items()):
            return int(width)
    return int(task.min_widths[position])


tasks = st.builds(
    dict,
    seed=st.integers(0, 10_000),
    lower=st.sampled_from([0.0, 0.1, 0.3]),
    upper=st.sampled_from([1.0, 0.8]),
    round_to=st.sampled_from([1, 2, 4]),
    spare=st.floats(0, 1),
)


def random_task(seed: int, spare: float, **settings: float) -> Task:
    """A random network; `spare` moves the budget from the smallest reachable cost to the dense one."""
    graph = graphs.random_graph(np.random.default_rng(seed))
    loose = make_task(graph, "macs=100%,params=100%", **settings)
    limits = [
        f"{name}={int(loose.smallest[name] + spare * (dense - loose.smallest[name]))}"
        for name, dense in loose.budget.dense.items()
    ]
    return make_task(graph, ",".join(limits[: 1 + seed % 2]), **settings)


@settings(max_examples=150, deadline=None)
@given(tasks, st.integers(0, 2**32 - 1))
def test_wall_is_the_largest_width_from_which_the_budget_can_be_met(
    arguments: dict[str, float], seed: int
) -> None:
    task = random_task(**arguments)  # type: ignore[arg-type]
    chosen = task.round_down(graphs.random_widths(task.graph, np.random.default_rng(seed), 5))
    for position in range(len(task.names)):
        walls = task.walls(position, chosen)
        assert walls.tolist() == [reference_wall(task, position, row) for row in chosen]
        assert task.wall(position, chosen[0, :position]) == walls[0]


@settings(max_examples=150, deadline=None)
@given(tasks, st.integers(0, 2**32 - 1))
def test_clip_meets_the_budget_and_leaves_alone_what_does(arguments: dict[str, float], seed: int) -> None:
    task = random_task(**arguments)  # type: ignore[arg-type]
    wanted = graphs.random_widths(task.graph, np.random.default_rng(seed), 5)
    clipped = task.clip(wanted)
    assert task.budget.holds(clipped).all()
    assert np.array_equal(task.clip(clipped), clipped)
    for want, got in zip(wanted, clipped, strict=True):
        vector = task.round_down(want)
        for position in range(len(vector)):
            vector[position] = min(vector[position], reference_wall(task, position, vector))
        assert np.array_equal(vector, got)
        assert np.array_equal(task.clip(want), got)


def test_wall_of_groups_with_many_widths_takes_few_evaluations() -> None:
    graph = single(5000)
    for limit in (4, 5, 63, 64, 65, 2047, 2048, 4000, 4999, 5000):
        task = make_task(graph, f"macs={limit * 9 * 64 * 4}", lower=0.0)
        assert task.wall(0, np.array([], np.int64)) == limit
