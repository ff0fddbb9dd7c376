"""What an object shows of itself at the prompt and in a notebook."""

import html

import pytest
import torch

import autoprune
from autoprune.graph import text
from autoprune.measures import measure
from autoprune.run.sweep import Sweep, SweepPoint
from autoprune.sensitivity import Point, Sensitivity
from tests.api.problem import network
from tests.api.runs import search


@pytest.fixture(scope="module")
def graph() -> autoprune.PruneGraph:
    return autoprune.trace(network(), torch.zeros(1, 1, 8, 8))


@pytest.fixture(scope="module")
def small() -> autoprune.SearchResult:
    return search(None, episodes=3)


def test_a_graph_is_a_table(graph: autoprune.PruneGraph) -> None:
    lines = repr(graph).splitlines()
    assert lines[0].split() == ["group", "units", "state"]
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines[1:-1]}
    assert rows == {
        g.name: [str(g.size), "prunable" if g.prunable else f"locked: {g.reason}"] for g in graph.groups
    }
    assert f"{graph.macs():,} MACs" in lines[-1] and f"{graph.params():,} parameters" in lines[-1]
    assert html.unescape(graph._repr_html_()) == f"<pre>{graph!r}</pre>"


def test_a_large_graph_is_cut(graph: autoprune.PruneGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MOST", 2)
    lines = repr(graph).splitlines()
    assert lines[3] == f"... and {len(graph.groups) - 2} more groups" and len(lines) == 5


def test_a_plan_is_a_table(graph: autoprune.PruneGraph) -> None:
    plan = autoprune.plan(graph, widths={"conv1.weight": 3}, criterion="l2")
    assert "conv1.weight" in repr(plan)
    assert html.unescape(plan._repr_html_()) == f"<pre>{plan!r}</pre>"


@pytest.mark.parametrize("written", ["macs=50%", "params=0.5M,macs=60%"])
def test_a_budget_shows_how_to_make_it(written: str) -> None:
    budget = autoprune.Budget.parse(written)
    assert eval(repr(budget), {"Budget": autoprune.Budget}) == budget


def test_a_budget_is_a_table_in_a_notebook(graph: autoprune.PruneGraph) -> None:
    budget = autoprune.Budget.parse("macs=50%,params=500")
    lines = [line.split(maxsplit=1) for line in budget._repr_html_()[5:-6].splitlines()]
    assert lines == [["cost", "at most"], ["macs", "50% of the dense network"], ["params", "500"]]
    bound = [line.split() for line in repr(budget.bind(graph)).splitlines()]
    assert bound[0] == ["cost", "dense", "at", "most", "asked"]
    assert bound[2][0] == "params" and bound[2][2] == "500"


def test_results_are_tables(small: autoprune.SearchResult) -> None:
    sweep = Sweep(small.dense, (SweepPoint("macs=50%", small.found, small.plan, None),), "macs")
    for shown, parts in (
        (small, ("uniform", "found", "best of 3 episodes")),
        (small.found, ("found: macs", "score")),
        (small.timings, (" s ", "%")),
        (sweep, ("budget", "macs=50%", "front")),
        (Sensitivity((Point("a.weight", 8, 0.5, 4, 0.1, 0.2, None, None),), {"kl": 0.0}), ("a.weight",)),
        (measure(small.model), ("conv1", "total")),
    ):
        text = repr(shown)
        assert all(part in text for part in parts), text
        assert html.unescape(shown._repr_html_()) == f"<pre>{text}</pre>"
    assert "array" not in repr(small) and len(repr(small.plan).splitlines()) > 3


def test_a_group_is_one_line(graph: autoprune.PruneGraph) -> None:
    assert repr(graph.groups[0]).startswith("Group('stem.weight', size=8")
    assert "reason='output of the model'" in repr(graph.groups[-1])
