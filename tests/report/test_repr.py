"""What an object shows of itself at the prompt and in a notebook."""

import html

import pytest
import torch

import autoprune
from autoprune.graph import text
from tests.api.problem import network


@pytest.fixture(scope="module")
def graph() -> autoprune.PruneGraph:
    return autoprune.trace(network(), torch.zeros(1, 1, 8, 8))


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
