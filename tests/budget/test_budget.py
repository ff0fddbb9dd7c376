from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.budget import Budget, Limit, graph_costs
from autoprune.errors import BudgetError
from tests.budget import graphs

GOOD = [
    ("macs=50%", [("macs", "50", True)], "macs=50%"),
    ("params=0.5M", [("params", "500000", False)], "params=500K"),
    (" macs = 20M ", [("macs", "20000000", False)], "macs=20M"),
    ("params=40%,macs=60%", [("macs", "60", True), ("params", "40", True)], "macs=60%,params=40%"),
    (
        "macs=1.5G,params=12k",
        [("macs", "1500000000", False), ("params", "12000", False)],
        "macs=1.5G,params=12K",
    ),
    ("macs=1234567", [("macs", "1234567", False)], "macs=1.234567M"),
    ("macs=33.3%", [("macs", "33.3", True)], "macs=33.3%"),
    ("macs=.5%", [("macs", "0.5", True)], "macs=0.5%"),
    ("macs=2e3", [("macs", "2000", False)], "macs=2K"),
    ("macs=100%", [("macs", "100", True)], "macs=100%"),
    ("latency=5ms", [("latency", "5", False)], "latency=5ms"),
    ("latency=800us", [("latency", "0.800", False)], "latency=0.8ms"),
    ("latency=1.5s", [("latency", "1500", False)], "latency=1500ms"),
    ("latency=5", [("latency", "5", False)], "latency=5ms"),
    ("size=2MB", [("size", "2000000", False)], "size=2MB"),
    ("size=1.5MiB", [("size", "1572864", False)], "size=1.572864MB"),
    ("memory=300KiB", [("memory", "307200", False)], "memory=307.2KB"),
    ("memory=512B", [("memory", "512", False)], "memory=512B"),
    (
        "size=40%,latency=60%,params=2M",
        [("latency", "60", True), ("params", "2000000", False), ("size", "40", True)],
        "latency=60%,params=2M,size=40%",
    ),
]

BAD = [
    ("", "does not parse; allowed"),
    ("macs", "'macs' does not parse; allowed: NAME=NUMBER%"),
    ("macs=", "does not parse"),
    ("macs=half", "does not parse"),
    ("macs=50%%", "does not parse"),
    ("macs=50T", "does not parse"),
    ("macs=50%,", "'' does not parse"),
    ("macs=50% params=40%", "does not parse"),
    ("macs=nan", "does not parse"),
    ("macs=1e999999999", "does not parse"),
    ("mac=50%", r"cannot limit 'mac'; did you mean 'macs'\? \(known: latency, macs, memory, params, size\)"),
    ("latncy=5ms", r"cannot limit 'latncy'; did you mean 'latency'\?"),
    ("latency=5MB", "budget 'latency' has no unit 'MB'; write 5ms or 800us, or a percentage"),
    ("size=5ms", "budget 'size' has no unit 'ms'; write 2MB or 1.5MiB"),
    ("macs=5MB", "budget 'macs' has no unit 'MB'; write 0.5M"),
    ("latency=0ms", "'latency=0' must be above 0"),
    ("weight=50%", r"cannot limit 'weight'; \(known: latency, macs, memory, params, size\)"),
    ("macs=0", "'macs=0' must be above 0"),
    ("macs=0%", "must be above 0"),
    ("macs=-5%", "'macs=-5' must be above 0"),
    ("macs=101%", "'macs=101%' must be at most 100%"),
    ("macs=50%,macs=20M", "every cost once, got 'macs' twice"),
]


@pytest.mark.parametrize(("text", "limits", "canonical"), GOOD)
def test_parses(text: str, limits: list[tuple[str, str, bool]], canonical: str) -> None:
    budget = Budget.parse(text)
    assert budget.limits == tuple(Limit(name, Decimal(value), relative) for name, value, relative in limits)
    assert str(budget) == canonical


@pytest.mark.parametrize(("text", "message"), BAD)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        Budget.parse(text)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["macs", "params", "latency"]),
            st.decimals("1e-6", "100", places=6),
            st.sampled_from(["", "K", "M", "G", "%"]),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda t: t[0],
    )
)
def test_text_comes_back(parts: list[tuple[str, Decimal, str]]) -> None:
    known = ("macs", "params", "latency")
    budget = Budget.parse(",".join(f"{n}={v:f}{s}" for n, v, s in parts), known)
    again = Budget.parse(str(budget), known)
    assert again == budget and hash(again) == hash(budget) and str(again) == str(budget)


def test_binds_to_absolute_numbers() -> None:
    graph = graphs.padded_resnet(1)
    bound = Budget.parse("macs=33.3%,params=20K").bind(graph)
    assert bound.limits == {"macs": graph.macs() * 333 // 1000, "params": 20_000}
    assert bound.dense == {"macs": graph.macs(), "params": graph.params()}
    assert str(bound) == "macs=33.3%,params=20K"


def test_holds_exactly_up_to_the_limit() -> None:
    graph = graphs.residual()
    vectors = graphs.random_widths(graph, np.random.default_rng(0), 200)
    macs = graph_costs(graph)["macs"](vectors)
    middle = int(np.sort(macs)[100])
    bound = Budget.parse(f"macs={middle}").bind(graph)
    assert np.array_equal(bound.holds(vectors), macs <= middle)
    assert np.array_equal(bound.shortfall(vectors)["macs"], np.maximum(macs - middle, 0))
    assert bound.holds(vectors[0]).shape == ()
    assert np.array_equal(bound.holds(vectors.reshape(10, 20, -1)), bound.holds(vectors).reshape(10, 20))


def test_all_limits_hold_at_once() -> None:
    graph = graphs.padded_resnet(1)
    vectors = graphs.random_widths(graph, np.random.default_rng(0), 200)
    both = Budget.parse("macs=60%,params=55%").bind(graph).holds(vectors)
    macs, params = (Budget.parse(t).bind(graph).holds(vectors) for t in ("macs=60%", "params=55%"))
    assert np.array_equal(both, macs & params)
    assert macs.sum() > both.sum() and params.sum() > both.sum() and both.any()


class Milliseconds:
    """A measured cost: floats, with steps."""

    name, unit = "latency", "ms"

    def __call__(self, widths: np.ndarray) -> np.ndarray:
        return 0.1 + 0.25 * np.ceil(widths / 4).sum(-1)


def test_takes_measured_costs_without_a_change() -> None:
    graph = graphs.residual()
    budget = Budget.parse("latency=50%,macs=60%", ("latency", "macs"))
    bound = budget.bind(graph, {"latency": Milliseconds()})
    sizes = np.array([g.size for g in graph.prunable])
    assert bound.limits["latency"] == pytest.approx(Milliseconds()(sizes) / 2)
    vectors = graphs.random_widths(graph, np.random.default_rng(0), 50)
    expected = (Milliseconds()(vectors) <= bound.limits["latency"]) & (
        graph_costs(graph)["macs"](vectors) <= bound.limits["macs"]
    )
    assert np.array_equal(bound.holds(vectors), expected)
    assert set(bound.costs(vectors)) == {"latency", "macs", "params"}


def test_refuses_what_the_network_cannot_count() -> None:
    with pytest.raises(BudgetError, match=r"cannot limit 'latency'; \(known: macs, params\)"):
        Budget.parse("latency=50%", ("latency",)).bind(graphs.residual())


def test_refuses_limits_above_the_dense_model() -> None:
    graph = graphs.residual()
    with pytest.raises(
        BudgetError, match="must not exceed the dense model: params is limited to 1,000,000,000 but"
    ):
        Budget.parse("params=1G").bind(graph)
