"""The rewritten graph as a network of its own."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoprune.errors import ArgumentError
from autoprune.graph.flops import counted_macs
from autoprune.graph.reorder import fold_shuffles
from autoprune.graph.rewrite import rewrite
from autoprune.graph.trace import trace_program
from autoprune.graph.tracer import Settings
from autoprune.graph.unstack import unstack
from tests.graph.cases import Case, Cases
from tests.graph.checks import cast, difference, draw, masked, outputs, randomize, swapped, widths
from tests.graph.nets import NETS, Attention, Lambda, tokens


def rewritten(name: str) -> Case:
    torch.manual_seed(0)
    model, inputs = NETS[name]()
    model, inputs = randomize(model), cast(inputs)
    return Case(model, inputs, trace_program(model, inputs, Settings(rewritten=True)))


def test_constant_cuts_are_followed() -> None:
    model, inputs, traced = rewritten("constant_cuts")
    graph = traced.graph
    assert [(g.name, g.size) for g in graph.prunable] == [
        ("stem.0.weight", 4),
        ("stem.0.weight:1", 5),  # one of the last part stays, the others hold a whole group
        ("side.0.weight", 5),
    ]
    assert all("only the rewritten graph" in g.note for g in graph.prunable if g.name.startswith("stem"))
    generator = np.random.default_rng(0)
    for keep in ({g.name: [0] for g in graph.prunable}, draw(graph, generator), draw(graph, generator)):
        small = rewrite(traced, keep)
        assert difference(outputs(masked(model, graph, keep), inputs), outputs(small, inputs)) < 1e-12
        assert graph.macs(widths(keep)) == counted_macs(small, inputs)


def test_shuffled_channels_are_free_in_a_rewritten_graph() -> None:
    """Every channel of the stage by itself; the model's own class ties them down to a single unit."""
    model, inputs, traced = rewritten("shuffle_net")
    graph = traced.graph
    stage = [
        g
        for g in graph.groups
        if g.name.startswith(("1.side.1", "1.main.2", "2.main.2", "3.main.2", "4.main.2"))
    ]
    assert sum(g.size for g in stage) == 2 * 10 + 3 * 10
    assert {g.reason for g in stage} == {"", "it has a single unit"}
    assert all("shuffled" in g.note for g in stage)
    assert {a.parameter for g in stage for a in g.axes} > {"4.main.0.0.weight", "5.0.weight"}
    generator = np.random.default_rng(0)
    for keep in ({g.name: [0] for g in graph.prunable}, *(draw(graph, generator) for _ in range(2))):
        small = rewrite(traced, keep)
        assert difference(outputs(masked(model, graph, keep), inputs), outputs(small, inputs)) < 1e-12
        assert graph.macs(widths(keep)) == counted_macs(small, inputs)
        assert graph.params(widths(keep)) == sum(p.numel() for p in small.parameters())
        again = outputs(pickle.loads(pickle.dumps(small)), inputs)
        assert difference(outputs(small, inputs), again) == 0


def test_negative_control_other_shuffled_channels_give_another_output() -> None:
    model, inputs, traced = rewritten("shuffle_net")
    graph = traced.graph
    stage = [g for g in graph.prunable if "shuffled" in g.note]
    keep = {g.name: list(range(g.size // 2, g.size)) for g in stage}
    expected = outputs(masked(model, graph, keep), inputs)
    assert difference(expected, outputs(rewrite(traced, keep), inputs)) < 1e-12
    assert difference(expected, outputs(rewrite(traced, swapped(graph, keep)), inputs)) > 1e-6


def test_a_rewritten_network_with_shuffles_can_be_pruned_again() -> None:
    _, inputs, traced = rewritten("shuffle_net")
    generator = np.random.default_rng(0)
    small = rewrite(traced, draw(traced.graph, generator, smallest=3))
    again = trace_program(small, inputs, Settings(rewritten=True))
    assert not any("looked up" in g.reason for g in again.graph.groups)
    for keep in ({g.name: [0] for g in again.graph.prunable}, draw(again.graph, generator)):
        expected = outputs(masked(small, again.graph, keep), inputs)
        assert difference(expected, outputs(rewrite(again, keep), inputs)) < 1e-12


def looked_up(m: Any, x: Tensor) -> Tensor:
    """Positions in another order, one of them twice and one never, and two of them by themselves."""
    y = m.a(x)
    return m.b(y[:, torch.tensor([3, 1, 7, 0, 2, 2, -1, 4])]) + m.c(y.index_select(1, torch.tensor([5, 4])))


def test_constant_positions_are_followed() -> None:
    torch.manual_seed(0)
    model = Lambda(looked_up, a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1), c=nn.Conv2d(2, 2, 1))
    model, inputs = randomize(model), cast(torch.randn(2, 3, 4, 4))
    assert "looked up by index" in trace_program(model, inputs).graph.group("a.weight").reason
    traced = trace_program(model, inputs, Settings(rewritten=True))
    graph = traced.graph
    sizes = [g.size for g in graph.prunable if g.name.startswith("a.")]
    assert sizes == [3, 2]  # 0, 1 and 3 once; 2 and 7 twice; 4, 5 and 6 each in another way
    generator = np.random.default_rng(0)
    for keep in ({g.name: [0] for g in graph.prunable}, *(draw(graph, generator) for _ in range(4))):
        small = rewrite(traced, keep)
        assert difference(outputs(masked(model, graph, keep), inputs), outputs(small, inputs)) < 1e-12
        assert graph.macs(widths(keep)) == counted_macs(small, inputs)


SHUFFLES = {
    "split, turned and joined": lambda x: x.unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2),
    "three parts of three": lambda x: x.view(2, 3, 2, 2, 8, 8).permute(0, 3, 2, 1, 4, 5).reshape(x.shape),
    "op": lambda x: F.channel_shuffle(x, 4),
    "height": lambda x: x.view(2, 12, 2, 4, 8).transpose(2, 3).reshape(x.shape),
    "turned twice": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "two at once": lambda x: F.channel_shuffle(F.channel_shuffle(x, 2), 3),
    "rows and columns": lambda x: x.transpose(2, 3),
    "no shuffle": lambda x: x.reshape(2, 3, 4, 8, 8).transpose(0, 1).reshape(x.shape),
}


@pytest.mark.parametrize(("name", "count"), list(zip(SHUFFLES, (1, 1, 1, 1, 0, 2, 0, 0), strict=True)))
def test_only_shuffles_are_folded(name: str, count: int) -> None:
    model = Lambda(lambda m, x: SHUFFLES[name](x))
    x = torch.randn(2, 12, 8, 8)
    program = torch.export.export(model, (x,), strict=False)
    assert fold_shuffles(program.graph_module) == count
    (found,) = program.graph_module(x)
    assert torch.equal(found, model(x))


STACKS = {
    "unbound": (1, lambda x: x.view(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)),
    "selected": (1, lambda x: [y[i] for y in [x.view(2, 5, 3, 8).transpose(0, 2)] for i in (2, 0)]),
    "negative index": (1, lambda x: [x.unflatten(-1, (3, 8)).select(2, -1)]),
    "unsqueezed and squeezed": (
        1,
        lambda x: x.unflatten(-1, (3, 8)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous().unbind(0),
    ),
    "of the first dimension": (1, lambda x: x.transpose(0, 2).unflatten(0, (3, 8)).unbind(0)),
    "inner parts": (0, lambda x: x.view(2, 5, 8, 3).unbind(3)),
    "read twice": (0, lambda x: (x.view(2, 5, 3, 8).select(2, 0), x + 1)),
    "one index twice": (0, lambda x: [x.view(2, 5, 3, 8).select(2, i) for i in (0, 0)]),
    "another reader": (0, lambda x: (y := x.view(2, 5, 3, 8), y.select(2, 0), y.sum())[1:]),
    "plain dimension": (0, lambda x: x.transpose(0, 1).unbind(0)),
}


@pytest.mark.parametrize("name", STACKS)
def test_only_stacks_of_parts_are_taken_apart(name: str) -> None:
    count, take = STACKS[name]
    model = Lambda(lambda m, x: tuple(take(x)))
    x = torch.randn(2, 5, 24)
    program = torch.export.export(model, (x,), strict=False)
    assert unstack(program.graph_module) == count
    program.graph_module.graph.lint()
    program.graph_module.recompile()
    assert all(torch.equal(a, b) for a, b in zip(program.graph_module(x), model(x), strict=True))


@pytest.mark.parametrize("kind", ["fused", "chunked", "by_hand"])
def test_values_of_one_fused_head_are_free_of_queries_and_keys(kind: str) -> None:
    torch.manual_seed(0)
    attention = Attention(12, 1, fused=True, chunked=kind == "chunked", by_hand=kind == "by_hand")
    model, inputs = randomize(nn.Sequential(attention, nn.Linear(12, 2))), cast(tokens())
    traced = trace_program(model, inputs, Settings(rewritten=True))
    graph = traced.graph
    assert [(g.name, g.size) for g in graph.prunable] == [
        ("0.qkv.weight", 12),
        ("0.qkv.weight:1", 12),
        ("0.proj.weight", 12),
    ]
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
    assert [g.size for g in graph.prunable] == [3, 5]
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
