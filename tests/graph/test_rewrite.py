"""The rewritten graph as a network of its own."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph.flops import counted_macs
from autoprune.graph.rewrite import rewrite
from autoprune.graph.trace import trace_program
from autoprune.graph.tracer import Settings
from tests.graph.cases import Case, Cases
from tests.graph.checks import cast, difference, draw, masked, outputs, randomize, widths
from tests.graph.nets import NETS, Lambda, tokens


def rewritten(name: str) -> Case:
    torch.manual_seed(0)
    model, inputs = NETS[name]()
    model, inputs = randomize(model), cast(inputs)
    return Case(model, inputs, trace_program(model, inputs, Settings(rewritten=True)))


def test_constant_cuts_are_followed() -> None:
    model, inputs, traced = rewritten("constant_cuts")
    graph = traced.graph
    assert sum(g.size for g in graph.prunable if g.name.startswith("stem")) == 7  # one of each part stays
    assert all("only the rewritten graph" in g.note for g in graph.prunable if g.name.startswith("stem"))
    generator = np.random.default_rng(0)
    for keep in ({g.name: [0] for g in graph.prunable}, draw(graph, generator), draw(graph, generator)):
        small = rewrite(traced, keep)
        assert difference(outputs(masked(model, graph, keep), inputs), outputs(small, inputs)) < 1e-12
        assert graph.macs(widths(keep)) == counted_macs(small, inputs)


def test_units_of_a_group_cost_the_same() -> None:
    """Channels that appear twice in a dimension that only a cost depends on are a group of their own."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        doubled = torch.cat([y, y[..., :3].relu()], -1).transpose(1, 2)
        return m.b(doubled).square().sum(1)

    torch.manual_seed(0)
    model, inputs = Lambda(forward, a=nn.Linear(12, 8), b=nn.Linear(5, 4, bias=False)), tokens()
    model, inputs = randomize(model), cast(inputs)
    traced = trace_program(model, inputs, Settings(rewritten=True))
    graph = traced.graph
    assert [g.size for g in graph.prunable] == [2, 5]
    for group in graph.prunable:
        for unit in range(group.size):
            keep = {group.name: [u for u in range(group.size) if u != unit]}
            assert graph.macs(widths(keep)) == counted_macs(rewrite(traced, keep), inputs)


@pytest.mark.parametrize("name", ["attention_fused", "attention_chunked", "glu", "chunked", "stacked"])
def test_every_network_can_be_traced_for_rewriting(name: str) -> None:
    model, inputs, traced = rewritten(name)
    keep = {g.name: [0] for g in traced.graph.prunable}
    small = rewrite(traced, keep)
    assert difference(outputs(masked(model, traced.graph, keep), inputs), outputs(small, inputs)) < 1e-12


def test_names_shapes_and_training(case: Cases) -> None:
    found = case("two_inputs_dict_output")
    keep = {"conv.0.weight": [1, 5]}
    small = rewrite(found.traced, keep)
    assert list(small.state_dict()) == [key for key in found.model.state_dict()]
    assert small.get_parameter("conv.0.weight").shape == (2, 3, 3, 3)
    assert set(small(**found.inputs)) == {"logits", "extra"}
    sum(t.sum() for t in (small(**found.inputs)["logits"],)).backward()
    assert small.get_parameter("conv.0.weight").grad is not None
    assert found.model.get_parameter("conv.0.weight").grad is None


def test_it_is_independent_of_the_model(case: Cases) -> None:
    found = case("plain_cnn")
    small = rewrite(found.traced, {})
    before = outputs(small, found.inputs)
    assert difference(outputs(found.model, found.inputs), before) < 1e-12
    other = copy.deepcopy(small)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert difference(before, outputs(small, found.inputs)) == 0


def test_it_can_be_pickled(case: Cases) -> None:
    found = case("attention_fused")
    small = rewrite(found.traced, {"up.weight": [0, 3]})
    assert (
        difference(outputs(small, found.inputs), outputs(pickle.loads(pickle.dumps(small)), found.inputs))
        == 0
    )


def test_frozen_parameters_stay_frozen() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    model[0].requires_grad_(False)
    small = rewrite(trace_program(model, torch.randn(3, 4)), {"0.weight": [1, 2]})
    assert [p.requires_grad for p in small.parameters()] == [False, False, True, True]


def test_inputs_of_another_structure_are_refused(case: Cases) -> None:
    small = rewrite(case("plain_cnn").traced, {})
    with pytest.raises(ArgumentError, match="the structure that was traced"):
        small(case("plain_cnn").inputs, 3)


def test_locked_groups_are_refused(case: Cases) -> None:
    with pytest.raises(ArgumentError, match="locked"):
        rewrite(case("option_a").traced, {"stem.0.weight": [0]})
