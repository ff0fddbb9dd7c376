from collections.abc import Callable

import numpy as np
import pytest

from autoprune.budget import GraphCost, graph_costs
from autoprune.errors import ModelError
from autoprune.graph.types import Extent, Group, PruneGraph, Term
from tests.budget import graphs


@pytest.mark.parametrize("make", graphs.ALL)
def test_equals_the_graph_for_any_widths(make: Callable[[], PruneGraph]) -> None:
    graph = make()
    names = [g.name for g in graph.prunable]
    vectors = graphs.random_widths(graph, np.random.default_rng(0), 100)
    vectors[0] = [g.size for g in graph.prunable]
    vectors[1] = 1
    costs = graph_costs(graph)
    for name, count in (("macs", graph.macs), ("params", graph.params)):
        values = costs[name](vectors)
        assert values.dtype == np.int64
        assert values.tolist() == [count(dict(zip(names, v.tolist(), strict=True))) for v in vectors]


def test_keeps_the_leading_shape() -> None:
    graph = graphs.residual()
    cost = graph_costs(graph)["macs"]
    vectors = graphs.random_widths(graph, np.random.default_rng(1), 12)
    assert cost(vectors[0]).shape == ()
    assert cost(vectors[:0]).shape == (0,)
    assert np.array_equal(cost(vectors.reshape(3, 4, -1)), cost(vectors).reshape(3, 4))


@pytest.mark.parametrize("make", graphs.ALL)
def test_never_falls_when_a_width_grows(make: Callable[[], PruneGraph]) -> None:
    graph = make()
    vectors = graphs.random_widths(graph, np.random.default_rng(2), 50)
    sizes = np.array([g.size for g in graph.prunable])
    for cost in graph_costs(graph).values():
        for i in range(len(sizes)):
            larger = vectors.copy()
            larger[:, i] = np.minimum(larger[:, i] + 1, sizes[i])
            assert (cost(larger) >= cost(vectors)).all()


@pytest.mark.parametrize("power", [20, 50, 53, 60])
def test_is_exact_where_floats_are_not(power: int) -> None:
    terms = [Term("x", 2**power + 1, (graphs.of("a"),)), Term("y", 1, (graphs.of("a"), graphs.of("b")))]
    graph = PruneGraph((Group("a", 3, ()), Group("b", 5, ())), (), tuple(terms), (), {})
    cost = GraphCost(graph, terms, "macs", "MACs")
    for a in (1, 2, 3):
        assert cost(np.array([a, 5])).item() == graph.macs({"a": a})


def test_refuses_costs_beyond_64_bits() -> None:
    terms = [Term("x", 2**62, (graphs.of("a"),))]
    graph = PruneGraph((Group("a", 3, ()),), (), tuple(terms), (), {})
    with pytest.raises(ModelError, match=r"'macs' must stay below 2\^63"):
        graph_costs(graph)


def test_locked_groups_are_constants() -> None:
    terms = [Term("x", 2, (graphs.of("a"), graphs.of("b")), Extent(0, (("b", 1),)))]
    graph = PruneGraph((Group("a", 3, ()), Group("b", 5, (), "locked")), (), tuple(terms), (), {})
    assert GraphCost(graph, terms, "macs", "MACs")(np.array([[1], [3]])).tolist() == [2, 6]


def test_says_what_it_is() -> None:
    cost = graph_costs(graphs.residual())["params"]
    assert (cost.name, cost.unit, repr(cost)) == (
        "params",
        "parameters",
        "GraphCost('params', 8 prunable groups)",
    )
